"""A private Dovecot 2.3 on loopback, from the distribution's packages.

    with Dovecot() as server:
        server.add_user("work", "secret")
        server.fill("work", messages)          # CRLF octets, one item a message
        server.port.pop3, server.port.pop3s    # STLS is offered on the plain port
        server.served("work")                  # what a client must receive
        server.fill("work", [Mail(octets, flags=("\\Seen",))], mailbox="Kept/Würfel")
        server.port.imap, server.port.imaps    # STARTTLS on the plain port
        server.served_imap("work")             # {mailbox: {uid: Served}}, by another client
        server.client("work")                  # that client, which changes things too
        server.lmtp_port, server.lmtp_socket   # takes mail for users; 550 for anyone else
        server.arrivals("work", 1)             # what LMTP brought, without the trace on top

It needs the packages dovecot-core, dovecot-pop3d, dovecot-imapd, dovecot-lmtpd
and openssl; `dovecot_available()` says what is missing, or None. It runs as root
(mail is then handled as `nobody`, since Dovecot never serves mail as root) or as
an ordinary user, in a temporary directory of its own unless one is given. A given
one must have a short path (sockets live in it) and, as root, be reachable by
`nobody`, which pytest's tmp_path is not.

Nothing outside the directory is touched. `stop()` and `start()` keep mail and
ports; leaving the context stops the server and removes a directory it made.

What Dovecot does with octets, as tests/servers/test_dovecot.py shows:
a bare LF in a file is served as CRLF and a CRLF as itself, so files with either
line end give the same octets; a bare CR and a NUL go through untouched, 8-bit
likewise; a message whose last line is not ended gets a CRLF (an empty file is
served as one CRLF); a line that starts with a dot is stuffed on the wire and
nothing else is changed. LIST announces sizes without that last CRLF.

Calls that change a maildrop behind the server's back (`fill`, `expunge`,
`renumber`) must not be made while a session on it is open.

To change the server's configuration, change dovecot_config.py or pass `extra`.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from tests.servers import maildir
from tests.servers.certificates import Authority, Certificate
from tests.servers.dovecot_config import FAR_HOST, MECHANISMS, Options, Ports, configuration
from tests.servers.dovecot_users import Users
from tests.servers.mail import Contents, Mail
from tests.servers.other_client import OtherClient
from tests.servers.processes import (
    HOST,
    POLL,
    check_reachable,
    end_session,
    find_program,
    free_ports,
    greets,
    mail_uid,
    own_by_mail_user,
)
from tests.servers.raw_pop3 import RawPop3
from tests.servers.receivers import Arrival, arrival, in_maildir, wait_until_there

START_ATTEMPTS = 5  # another process may take a port between our choice and its use
START_DEADLINE = 20.0
IMAP = "/usr/lib/dovecot/imap"


def dovecot_available() -> str | None:
    """None when this Dovecot can run here, else the reason why not."""
    for program in ("dovecot", "openssl"):
        if find_program(program) is None:
            return f"{program} is not installed"
    for service, package in (("pop3", "pop3d"), ("imap", "imapd"), ("lmtp", "lmtpd")):
        if not Path("/usr/lib/dovecot", service).exists():
            return f"the package dovecot-{package} is not installed"
    done = subprocess.run(
        [str(find_program("dovecot")), "--version"], capture_output=True, text=True, check=False
    )
    if not done.stdout.startswith("2.3."):
        return f"Dovecot 2.3 is needed, found {done.stdout.strip() or 'none that runs'}"
    return None


class Dovecot:
    """One server with its users, certificates and mail."""

    def __init__(
        self,
        directory: Path | None = None,
        *,
        uidl_format: str = "%08Xu%08Xv",
        mechanisms: Sequence[str] = MECHANISMS,
        certificate: Certificate | None = None,
        plaintext_auth: bool = True,
        sessions_per_process: int = 1,
        idle_processes: int = 0,
        connections_per_user: int = 1000,
        separator: str = ".",
        prefix: str = "",
        hide: Iterable[str] = (),
        odd_names: bool = False,
        extra: str = "",
    ) -> None:
        """`certificate` replaces the good one; `extra` is appended to the configuration.

        `sessions_per_process` above 1 lets a process serve one session after
        another and `idle_processes` keeps some ready: both for hundreds of logins.
        `plaintext_auth=False` refuses passwords without TLS to whoever comes by
        `far_host`; with equal addresses at both ends Dovecot calls any line secure.

        For IMAP: `separator` and `prefix` ("INBOX.") are the namespace's, `hide` has
        capabilities not to announce (Dovecot still obeys the commands), `odd_names`
        allows mailbox names with dots, slashes and a tilde in any place.
        """
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="dovecot-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        check_reachable(self.directory)
        self.authority = Authority(self.directory / "tls")
        self.certificate = certificate or self.authority.issue()
        self.host, self.far_host = HOST, FAR_HOST
        self.port = Ports(0, 0, 0, 0, 0)
        self._users = Users(self.directory / "users")
        self._process: subprocess.Popen[bytes] | None = None
        self._options = Options(
            uidl_format=uidl_format,
            mechanisms=" ".join(mechanisms),
            certificate=self.certificate,
            plaintext_auth=plaintext_auth,
            sessions_per_process=sessions_per_process,
            idle_processes=idle_processes,
            connections_per_user=connections_per_user,
            separator=separator,
            prefix=prefix,
            hide=frozenset(hide),
            odd_names=odd_names,
            extra=extra,
        )
        (self.directory / "mail").mkdir(exist_ok=True)
        own_by_mail_user(self.directory / "mail")

    @property
    def ca_file(self) -> Path:
        """The authority that a client must trust."""
        return self.authority.ca_file

    @property
    def lmtp_port(self) -> int:
        """LMTP over TCP; STARTTLS is offered, a login is not asked for."""
        return self.port.lmtp

    @property
    def lmtp_socket(self) -> Path:
        """LMTP over a UNIX socket, which anyone may open."""
        return self.directory / "lmtp"

    @property
    def auth_socket(self) -> Path:
        """Where another server may ask whether a login is right (Dovecot's auth protocol)."""
        return self.directory / "auth"

    # -- running -------------------------------------------------------------

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
        """Start, and return once the POP3 port greets; ports survive a restart."""
        for attempt in range(START_ATTEMPTS):
            if attempt or not self.port.pop3:
                self.port = Ports(*free_ports(5))
            if greets(self._launch(), self.port.pop3, b"+OK", START_DEADLINE):
                return
            self.stop()
        raise RuntimeError(f"Dovecot did not start:\n{self.log()}")

    def stop(self) -> None:
        """Stop master and children, and wait until none is left."""
        process, self._process = self._process, None
        if process is not None:
            end_session(process)

    def close(self) -> None:
        """Stop, and remove the directory if it was made here."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The master's, which leads a session of its own."""
        if self._process is None:
            raise RuntimeError("Dovecot does not run")
        return self._process.pid

    def log(self) -> str:
        """All that Dovecot has logged."""
        path = self.directory / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def complaints(self) -> list[str]:
        """The log's lines that say something went wrong inside the server."""
        marks = ("Error:", "Fatal:", "Panic:")
        return [line for line in self.log().splitlines() if any(mark in line for mark in marks)]

    @property
    def _config(self) -> Path:
        return self.directory / "dovecot.conf"

    def _launch(self) -> subprocess.Popen[bytes]:
        self._config.write_text(configuration(self.directory, self.port, self._options))
        with (self.directory / "dovecot.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(find_program("dovecot")), "-F", "-c", str(self._config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        return self._process

    def _await_login(self, user: str) -> None:
        deadline = time.monotonic() + START_DEADLINE
        while True:
            try:
                return self.session(user).quit()
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(POLL)

    # -- users and mail ------------------------------------------------------

    def add_user(self, name: str, password: str, *, full: str | None = None) -> None:
        """Add a user or change a password; a running server knows it on return.

        `full` ("refuse" or "defer") is one whose quota is spent: see dovecot_users.py.
        """
        home = self.directory / "mail" / name
        for folder in (home, home / "Maildir", *(home / "Maildir" / sub for sub in maildir.PARTS)):
            folder.mkdir(exist_ok=True)
            own_by_mail_user(folder)
        changed = self._users.write(name, password, full)
        if changed and self._process is not None:
            self._await_login(name)

    def maildir(self, user: str, mailbox: str = "INBOX") -> Path:
        """Where a mailbox's mail lies; any but INBOX wants a running server."""
        if mailbox == "INBOX":
            return self.directory / "mail" / user / "Maildir"
        return Path(self.doveadm("mailbox", "path", "-u", user, mailbox).rstrip("\n"))

    def fill(
        self,
        user: str,
        messages: Iterable[bytes | Mail],
        *,
        mailbox: str = "INBOX",
        newline: str = "lf",
        part: str = "cur",
    ) -> int:
        """Append messages (CRLF octets) as files; return how many.

        A mailbox that does not exist is created. `newline="lf"` stores LF, as mail
        servers on Unix do; "exact" stores the octets as given. Not fsynced: a test
        server's mail may die with the machine.
        """
        if mailbox != "INBOX":
            self._ensure(user, mailbox)
        home = self.maildir(user, mailbox)
        return maildir.append(home, messages, newline=newline, part=part, uid=mail_uid())

    def expunge(self, user: str, numbers: Iterable[int] | None = None) -> None:
        """Remove messages by POP3 number (all when None), as another client would."""
        maildir.remove(self.maildir(user), None if numbers is None else set(numbers))

    def renumber(self, user: str) -> None:
        """Give every message a new UIDL in every `uidl_format`; bodies and order stay."""
        maildir.renumber(self.maildir(user), uid=mail_uid())

    def session(self, user: str) -> RawPop3:
        """A logged-in session of the independent reader."""
        return RawPop3(HOST, self.port.pop3, user, self._users.password(user))

    def served(self, user: str) -> list[bytes]:
        """Every message's exact octets as the server hands them out."""
        with self.session(user) as session:
            return list(session.messages())

    def uidls(self, user: str) -> list[bytes]:
        """Every message's unique-id, in order; also warms the server's index."""
        with self.session(user) as session:
            return session.uidls()

    def arrivals(self, user: str, count: int) -> list[Arrival]:
        """What LMTP brought, in order; Dovecot answers only once it is there."""
        found = wait_until_there(lambda: in_maildir(self.maildir(user)), count, log=self.log)
        return [arrival(octets) for octets in found]

    # -- IMAP ------------------------------------------------------------------

    def client(self, user: str) -> OtherClient:
        """A logged-in session of the second IMAP client."""
        return OtherClient(HOST, self.port.imap, user, self._users.password(user))

    def served_imap(self, user: str) -> Contents:
        """Every mailbox and message as the server hands them out."""
        with self.client(user) as client:
            return client.everything()

    def change_uidvalidity(self, user: str, mailbox: str, value: int) -> None:
        """Give a mailbox another UIDVALIDITY; its UIDs stay."""
        self.doveadm("mailbox", "update", "--uid-validity", str(value), "-u", user, mailbox)

    def connections(self, user: str, protocol: str = "imap") -> int:
        """How many sessions the user has open."""
        rows = [line.split() for line in self.doveadm("who", "-1").splitlines()]
        return sum(row[:2] == [user, protocol] for row in rows)

    def kick(self, user: str) -> None:
        """End the user's sessions as an administrator would; none is no error."""
        self.doveadm("kick", user, accept=(0, 68))

    def preauth_command(self, user: str) -> list[str]:
        """A program that speaks IMAP on its standard streams, logged in already."""
        return [IMAP, "-c", str(self._config), "-u", user]

    def doveadm(self, *arguments: str, accept: Sequence[int] = (0,)) -> str:
        """Run Dovecot's own administration against the running server; what it printed."""
        done = subprocess.run(
            [str(find_program("doveadm")), "-c", str(self._config), *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode not in accept:
            raise RuntimeError(f"doveadm {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done.stdout

    def _ensure(self, user: str, mailbox: str) -> None:
        found = self.doveadm("mailbox", "list", "-u", user).splitlines()
        if mailbox not in found:
            self.doveadm("mailbox", "create", "-s", "-u", user, mailbox)
