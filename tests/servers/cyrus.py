"""A private Cyrus IMAP 3 on loopback: the second opinion on what an IMAP server is.

    with Cyrus() as server:
        server.add_user("work", "secret")
        server.fill("work", [Mail(octets, ("\\Seen",))], mailbox="INBOX.Sent")
        server.port.imap, server.port.imaps    # STARTTLS on the plain port
        server.served_imap("work")             # {mailbox: {uid: Served}}, by another client

It has what Dovecot 2.3 has not: OBJECTID, APPENDLIMIT, COMPRESS in the middle of
LITERAL+, its own idea of untagged responses; and it refuses NUL and bare LF.

The program comes from the distribution's packages, unpacked rather than installed
(`make test` does it, see the Makefile): cyrus-common depends on a mail transport
agent, and a suite must not bring one. An installed Cyrus serves as well;
`cyrus_available()` says what is missing, or None. Passwords are checked by a
thread that speaks saslauthd's protocol, so that users cost nothing to add.

It runs as `nobody` where we are root, in a temporary directory of its own.
Nothing outside is touched; Cyrus logs to syslog only, so there is no log here.

To change the configuration, change IMAPD_CONF.
"""

import getpass
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.servers.certificates import Authority
from tests.servers.mail import Contents, Mail, mails
from tests.servers.other_client import OtherClient
from tests.servers.processes import (
    HOST,
    check_reachable,
    end_session,
    free_ports,
    greets,
    mail_uid,
    own_by_mail_user,
)

UNPACKED = Path(sys.prefix, "cyrus")  # where the Makefile puts it
BINARIES = "usr/lib/cyrus/bin"
START_ATTEMPTS = 5  # another process may take a port between our choice and its use
START_DEADLINE = 20.0
FOLDERS = ("db", "proc", "socket", "log", "msg", "lock", "user", "quota", "sync", "backup")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the services listen."""

    imap: int
    imaps: int


def cyrus_available() -> str | None:
    """None when this Cyrus can run here, else the reason why not."""
    root = _root()
    if root is None:
        return "Cyrus IMAP is not there: make cyrus"
    done = subprocess.run(
        ["ldd", str(root / BINARIES / "imapd")],
        env=_environment(root), capture_output=True, text=True, check=False,
    )  # fmt: skip
    lacking = [line.split()[0] for line in done.stdout.splitlines() if "not found" in line]
    return f"Cyrus IMAP lacks {', '.join(lacking)}" if lacking else None


def _root() -> Path | None:
    """Where the program lies: unpacked beside the environment, or installed."""
    roots = (UNPACKED, Path("/"))
    return next((root for root in roots if (root / BINARIES / "imapd").exists()), None)


def _environment(root: Path) -> dict[str, str]:
    if root == Path("/"):
        return dict(os.environ)
    folders = [*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*"), root / "usr/lib"]
    return os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, folders))}


class Cyrus:
    """One server with its users, certificate and mail."""

    def __init__(self, *, separator: str = ".", prefix: str = "INBOX.", extra: str = "") -> None:
        """`separator` is "." or "/"; `prefix` "INBOX." or "", Cyrus's altnamespace."""
        self.directory = Path(tempfile.mkdtemp(prefix="cyrus-"))
        self.directory.chmod(0o755)
        check_reachable(self.directory)
        self.authority = Authority(self.directory / "tls")
        self.host, self.port = HOST, Ports(0, 0)
        self._passwords: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._prepare(separator, prefix, extra)
        self._doorman = Doorman(self.directory / "mux", self._passwords)

    @property
    def ca_file(self) -> Path:
        """The authority that a client must trust."""
        return self.authority.ca_file

    # -- running -------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Start, and return once the IMAP port greets; ports survive a restart."""
        for attempt in range(START_ATTEMPTS):
            if attempt or not self.port.imap:
                self.port = Ports(*free_ports(2))
            if greets(self._launch(), self.port.imap, b"* OK", START_DEADLINE):
                return
            self.stop()
        raise RuntimeError("Cyrus did not start")

    def stop(self) -> None:
        """Stop master and children, and wait until none is left."""
        process, self._process = self._process, None
        if process is not None:
            end_session(process)

    def close(self) -> None:
        """Stop, and remove the directory."""
        self.stop()
        self._doorman.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _prepare(self, separator: str, prefix: str, extra: str) -> None:
        certificate = self.authority.issue()
        own_by_mail_user(certificate.key)
        for folder in ("conf", "spool", *(f"conf/{name}" for name in FOLDERS)):
            (self.directory / folder).mkdir()
            own_by_mail_user(self.directory / folder)
        (self.directory / "imapd.conf").write_text(
            IMAPD_CONF.format(
                directory=self.directory,
                user="nobody" if mail_uid() is not None else getpass.getuser(),
                certificate=certificate,
                slashes="yes" if separator == "/" else "no",
                without_prefix="no" if prefix else "yes",
                extra=extra,
            )
        )

    def _launch(self) -> subprocess.Popen[bytes]:
        root = _root()
        assert root is not None, cyrus_available()
        services = CYRUS_CONF.format(
            binaries=root / BINARIES, config=self.directory / "imapd.conf", ports=self.port
        )
        (self.directory / "cyrus.conf").write_text(services)
        self._process = subprocess.Popen(
            [
                str(root / BINARIES / "master"), "-D", "-C", str(self.directory / "imapd.conf"),
                "-M", str(self.directory / "cyrus.conf"), "-p", str(self.directory / "conf/pid"),
            ],
            env=_environment(root),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        return self._process

    # -- users and mail ------------------------------------------------------------

    def add_user(self, name: str, password: str) -> None:
        """Add a user, whose INBOX the first login makes, or change a password."""
        self._passwords[name] = password

    def fill(self, user: str, messages: Iterable[bytes | Mail], *, mailbox: str = "INBOX") -> int:
        """Append messages by IMAP; return how many. A mailbox that is not there is made."""
        appended = 0
        with self.client(user) as client:
            if mailbox not in client.mailboxes():
                client.create(mailbox)
            for mail in mails(messages):
                client.append(mailbox, mail.octets, mail.flags, mail.date)
                appended += 1
        return appended

    def client(self, user: str) -> OtherClient:
        """A logged-in session of the second IMAP client."""
        return OtherClient(HOST, self.port.imap, user, self._passwords[user])

    def served_imap(self, user: str) -> Contents:
        """Every mailbox and message as the server hands them out."""
        with self.client(user) as client:
            return client.everything()


class Doorman:
    """saslauthd's side of a socket: four counted strings in, "OK" or "NO" out, counted."""

    def __init__(self, path: Path, passwords: dict[str, str]) -> None:
        self._passwords = passwords
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        path.chmod(0o777)
        self._socket.listen(100)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() does not
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError, struct.error), connection.makefile("rb") as asked:
                user, password, _service, _realm = (_counted(asked.read) for _ in range(4))
                right = self._passwords.get(user.decode()) == password.decode()
                answer = b"OK" if right else b"NO"
                connection.sendall(struct.pack(">H", len(answer)) + answer)


def _counted(read: Callable[[int], bytes]) -> bytes:
    (size,) = struct.unpack(">H", read(2))
    return read(size)


IMAPD_CONF = """\
configdirectory: {directory}/conf
defaultpartition: default
partition-default: {directory}/spool
cyrus_user: {user}
idlesocket: {directory}/conf/socket/idle
allowplaintext: yes
sasl_pwcheck_method: saslauthd
sasl_mech_list: PLAIN LOGIN
sasl_saslauthd_path: {directory}/mux
tls_server_cert: {certificate.certificate}
tls_server_key: {certificate.key}
unixhierarchysep: {slashes}
altnamespace: {without_prefix}
autocreate_quota: 0
expunge_mode: immediate
delete_mode: immediate
{extra}
"""

CYRUS_CONF = """\
START {{
  recover cmd="{binaries}/ctl_cyrusdb -C {config} -r"
  idled cmd="{binaries}/idled -C {config}"
}}
SERVICES {{
  imap cmd="{binaries}/imapd -C {config}" listen="127.0.0.1:{ports.imap}" prefork=0
  imaps cmd="{binaries}/imapd -s -C {config}" listen="127.0.0.1:{ports.imaps}" prefork=0
}}
EVENTS {{
}}
"""
