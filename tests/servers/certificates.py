"""Certificates for servers under test, made with the openssl command.

`Authority(directory)` makes a CA once; `issue()` signs a server certificate for
localhost and 127.0.0.1, `issue_expired()` one whose time is over, `issue_for()`
one for another host, `issue_self_signed()` one that no authority vouches for.
Keys are P-256, since making one costs a few milliseconds where RSA costs a
tenth of a second.

To add a kind of certificate, add a method that ends in a `Certificate`.
"""

import hashlib
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = ("DNS:localhost", "IP:127.0.0.1", "IP:0:0:0:0:0:0:0:1")

# `openssl ca` is the one command that takes both dates, which an expired
# certificate needs; it wants a small database to write serial numbers in.
CA_CONFIG = """\
[ca]
default_ca = here
[here]
dir = {directory}
database = {directory}/index.txt
new_certs_dir = {directory}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = anything
[anything]
commonName = supplied
"""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, both PEM files."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER form, in lower-case hex: what a pin is compared with."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.certificate.read_text())).hexdigest()


class Authority:
    """A certificate authority that lives in one directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._config = directory / "ca.cnf"
        self._config.write_text(CA_CONFIG.format(directory=directory))
        (directory / "index.txt").touch()
        made = self._self_signed("ca", "fetchd test authority", ca=True, names=())
        self._key, self.ca_file = made.key, made.certificate

    def issue(self, name: str = "server") -> Certificate:
        """Valid now, for localhost and the loopback addresses."""
        return self._issue(name, "localhost", LOOPBACK, ("-days", "30"))

    def issue_expired(self) -> Certificate:
        """The right host, but over since January 2020."""
        dates = ("-startdate", "20200101000000Z", "-enddate", "20200131000000Z")
        return self._issue("expired", "localhost", LOOPBACK, dates)

    def issue_for(self, host: str) -> Certificate:
        """Valid now, for another host than the one that answers."""
        return self._issue("other-host", host, (f"DNS:{host}",), ("-days", "30"))

    def issue_self_signed(self) -> Certificate:
        """The right host and date, signed by nobody but itself."""
        return self._self_signed("self-signed", "localhost", ca=False, names=LOOPBACK)

    def _issue(
        self, name: str, subject: str, names: tuple[str, ...], dates: tuple[str, ...]
    ) -> Certificate:
        request = self._directory / f"{name}.csr"
        extensions = self._directory / f"{name}.ext"
        made = self._paths(name)
        extensions.write_text(f"subjectAltName={','.join(names)}\n")
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout")
        subject_args = ("-subj", f"/CN={subject}")
        openssl("req", "-new", *key, str(made.key), "-out", str(request), *subject_args)
        openssl(
            "ca", "-batch", "-notext", "-config", str(self._config), *dates,
            "-cert", str(self.ca_file), "-keyfile", str(self._key),
            "-in", str(request), "-out", str(made.certificate), "-extfile", str(extensions),
        )  # fmt: skip
        return made

    def _self_signed(
        self, name: str, subject: str, *, ca: bool, names: tuple[str, ...]
    ) -> Certificate:
        made = self._paths(name)
        extensions = [f"basicConstraints=critical,CA:{str(ca).upper()}"]
        extensions += ["keyUsage=critical,keyCertSign,cRLSign"] if ca else []
        extensions += [f"subjectAltName={','.join(names)}"] if names else []
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "30", "-subj", f"/CN={subject}",
            "-keyout", str(made.key), "-out", str(made.certificate),
            *(part for extension in extensions for part in ("-addext", extension)),
        )  # fmt: skip
        return made

    def _paths(self, name: str) -> Certificate:
        return Certificate(self._directory / f"{name}.crt", self._directory / f"{name}.key")


def openssl(*arguments: str) -> None:
    """Run openssl; on failure its own words are in the error."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
