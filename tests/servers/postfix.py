"""A private Postfix 3 on loopback: the mail server that the smtp destination must get on with.

    with Postfix() as server:
        server.port                            # a relay: no login, STARTTLS if one likes
        server.submission_port                 # login as server.user, server.password by STARTTLS
        server.tls_port                        # the same by implicit TLS
        server.add_user("you")                 # whoever was not added is unknown: 550
        server.reply("late", "450 4.2.0 later")  # what RCPT gets that names this user
        server.wait_for("you", 1)              # the message there, with what Postfix put on top
        server.arrivals("you", 1)              # the same taken apart: sender, recipient, octets
        server.arrivals("x@elsewhere.net", 1)  # mail to another domain stays here as well

Postfix comes from the distribution's package, unpacked rather than installed (`make test`
does it, see the Makefile), since an installed one would start. An installed one serves as
well and stays untouched: the configuration, queue and mail are in a directory of our own,
and so is the Dovecot that checks the passwords. `postfix_available()` says what is
missing, or None. Postfix's master insists on being root.

What it does with octets, as tests/servers/test_postfix.py shows: a bare LF ends a line and so
is CRLF then, CR before CRLF vanish, and any other bare CR becomes a space unless `extra`
says `cleanup_replace_stray_cr_lf = no`. All else is kept, NUL and 8 bits included, also
what an ordinary Postfix drops, such as Bcc.

To change the configuration, change postfix_config.py or pass `extra` (main.cf's names).
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.servers.certificates import Certificate
from tests.servers.dovecot import Dovecot, dovecot_available
from tests.servers.dovecot_config import MECHANISMS
from tests.servers.postfix_config import (
    ELSEWHERE,
    GROUP,
    OWNER,
    QUEUES,
    Options,
    Ports,
    main_cf,
    master_cf,
)
from tests.servers.processes import (
    HOST,
    check_reachable,
    end_session,
    free_ports,
    greets,
    own_by_mail_user,
)
from tests.servers.receivers import WAIT, Arrival, arrival, in_maildir, wait_until_there
from tests.servers.unpacked import Unpacked

PACKAGE = Unpacked("postfix", "usr/lib/postfix/sbin/master", libraries=("usr/lib/postfix",))
START_ATTEMPTS = 5  # another process may take a port between our choice and its use
START_DEADLINE = 20.0
LONG_AGO = 1_600_000_000
DEFAULT_SIZE_LIMIT = 100_000_000


def postfix_available() -> str | None:
    """None when this Postfix can run here, else the reason why not."""
    if os.geteuid() != 0:
        return "Postfix starts as root only: run the tests as root"
    if reason := dovecot_available():
        return f"Postfix needs Dovecot for its logins: {reason}"
    return PACKAGE.missing()


class Postfix:
    """One server with its users, certificate and mail."""

    def __init__(
        self,
        directory: Path | None = None,
        *,
        domain: str = "example.org",
        discard: Iterable[str] = (),
        message_size_limit: int = DEFAULT_SIZE_LIMIT,
        mechanisms: Sequence[str] = MECHANISMS,
        certificate: Certificate | None = None,
        extra: Mapping[str, str] | None = None,
        doorman: str = "",
    ) -> None:
        """`discard` names EHLO keywords not to offer: 8BITMIME, SMTPUTF8, CHUNKING, PIPELINING.

        `mechanisms` are those of the login, in Dovecot's words; `certificate` replaces
        the good one. A directory given must have a short path and be open to all.
        """
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="postfix-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        check_reachable(self.directory)
        self.host, self.domain = HOST, domain
        self.user, self.password = "me", "secret"
        self._doorman = Dovecot(self.directory / "dovecot", mechanisms=mechanisms, extra=doorman)
        self._ports = Ports(0, 0, 0)
        self._users: set[str] = set()
        self._replies: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._options = Options(
            domain=domain,
            certificate=certificate or self._doorman.certificate,
            discard=tuple(discard),
            message_size_limit=message_size_limit,
            auth_socket=self._doorman.auth_socket,
            extra=extra or {},
        )
        self._prepare()

    @property
    def port(self) -> int:
        """Takes mail for the users from anyone."""
        return self._ports.relay

    @property
    def submission_port(self) -> int:
        """Takes mail for anyone, after STARTTLS and a login."""
        return self._ports.submission

    @property
    def tls_port(self) -> int:
        """Takes mail for anyone, after a login; TLS from the first octet."""
        return self._ports.submissions

    @property
    def ca_file(self) -> Path:
        """The authority that a client must trust."""
        return self._doorman.ca_file

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
        """Start, and return once the relay's port greets; mail and ports survive a restart."""
        self._doorman.start()
        for attempt in range(START_ATTEMPTS):
            if attempt or not self.port:
                self._ports = Ports(*free_ports(3))
            if greets(self._launch(), self.port, b"220", START_DEADLINE):
                return
            self._end()
        raise RuntimeError(f"Postfix did not start:\n{self.log()}")

    def stop(self) -> None:
        """Stop master and children, and wait until none is left."""
        self._end()
        self._doorman.stop()

    def close(self) -> None:
        """Stop, and remove the directory if it was made here."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """All that Postfix has logged."""
        path = self.directory / "postfix.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def complaints(self) -> list[str]:
        """The log's lines that say something went wrong inside the server."""
        marks = ("warning:", "error:", "fatal:", "panic:")
        lines = [line for line in self.log().splitlines() if any(mark in line for mark in marks)]
        refused = ("SASL", "authentication failed")  # the client's fault
        return [line for line in lines if not all(word in line for word in refused)]

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            end_session(process)

    def _prepare(self) -> None:
        for name in ("etc", "data", "mail", "queue", "queue/pid"):
            (self.directory / name).mkdir(exist_ok=True)
        shutil.chown(self.directory / "data", OWNER)
        own_by_mail_user(self.directory / "mail")
        for name in QUEUES:
            folder = self.directory / "queue" / name
            folder.mkdir(exist_ok=True, mode=0o700)
            shutil.chown(folder, OWNER, GROUP if name in ("maildrop", "public") else None)
        root = PACKAGE.root
        assert root is not None, postfix_available()
        self._write_settled("main.cf", main_cf(self.directory, root, self._options))
        self._write_map("replies", {})
        self.add_user(self.user, self.password)

    def _launch(self) -> subprocess.Popen[bytes]:
        self._write_settled("master.cf", master_cf(self._ports))
        with (self.directory / "postfix.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PACKAGE.path(PACKAGE.program), "-c", str(self._etc), "-d"],
                env=PACKAGE.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        return self._process

    # -- users -----------------------------------------------------------------------

    def add_user(self, name: str, password: str = "secret") -> str:
        """Add a user, whom connections made from now on know; the user's address."""
        self._doorman.add_user(name, password)
        self._users.add(name)
        self._write_map("users", {self.address(user): f"{user}/Maildir/" for user in self._users})
        return self.address(name)

    def address(self, name: str) -> str:
        """The user's address; one that is whole already stays."""
        return name if "@" in name else f"{name}@{self.domain}"

    def reply(self, name: str, reply: str | None) -> str:
        """What RCPT gets from now on for a user or address: "450 4.2.0 later"; None: as usual.

        The code comes back as given, the text with Postfix's own around it; connections
        that are open already keep to what was.
        """
        if reply is None:
            self._replies.pop(self.address(name), None)
        else:
            self._replies[self.address(name)] = reply
        self._write_map("replies", self._replies)
        return self.address(name)

    def _write_map(self, name: str, entries: Mapping[str, str]) -> None:
        """A file in place of the old one: Postfix looks at each connection whether that is gone."""
        text = "".join(f"{key} {value}\n" for key, value in entries.items())
        source = self._write_settled(f"{name}.new", text)
        done = subprocess.run(
            [PACKAGE.path("usr/sbin/postmap"), "-c", str(self._etc), f"hash:{source}"],
            env=PACKAGE.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"postmap failed: {done.stderr.strip()}")
        source.with_name(f"{name}.new.db").rename(self._etc / f"{name}.db")
        source.unlink()

    def _write_settled(self, name: str, text: str) -> Path:
        """A file that looks old: Postfix lets one that is not "cool down", for seconds."""
        path = self._etc / name
        path.write_text(text)
        os.utime(path, (LONG_AGO, LONG_AGO))
        return path

    @property
    def _etc(self) -> Path:
        return self.directory / "etc"

    # -- mail --------------------------------------------------------------------------

    def maildir(self, user: str) -> Path:
        """Where a user's mail lies."""
        return self.directory / "mail" / user / "Maildir"

    def arrived(self, user: str) -> list[bytes]:
        """Every message for a user, or an address of another domain, oldest first, with CRLF."""
        name, _, domain = user.partition("@")
        if domain in ("", self.domain):
            return in_maildir(self.maildir(name))
        gone = in_maildir(self.maildir(ELSEWHERE))
        return [octets for octets in gone if arrival(octets).recipient == user]

    def wait_for(self, user: str, count: int, timeout: float = WAIT) -> list[bytes]:
        """What has arrived, once there are so many."""
        return wait_until_there(lambda: self.arrived(user), count, timeout=timeout, log=self.log)

    def arrivals(self, user: str, count: int, timeout: float = WAIT) -> list[Arrival]:
        """The same, taken apart."""
        return [arrival(octets) for octets in self.wait_for(user, count, timeout)]
