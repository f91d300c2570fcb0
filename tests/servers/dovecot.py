"""A private Dovecot 2.3 on loopback, from the distribution's packages.

    with Dovecot() as server:
        server.add_user("work", "secret")
        server.fill("work", messages)          # CRLF octets, one item a message
        server.port.pop3, server.port.pop3s    # STLS is offered on the plain port
        server.served("work")                  # what a client must receive

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

import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from tests.servers import maildir
from tests.servers.certificates import Authority, Certificate
from tests.servers.dovecot_config import MAIL_UID, MECHANISMS, Options, Ports, configuration
from tests.servers.raw_pop3 import RawPop3

HOST = "127.0.0.1"
START_ATTEMPTS = 5  # another process may take a port between our choice and its use
START_DEADLINE = 20.0
STOP_GRACE = 1.0  # rarely, a master waits seconds for a child
STOP_DEADLINE = 10.0
POLL = 0.01
FIRST_STAMP = 1_600_000_000


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
        extra: str = "",
    ) -> None:
        """`certificate` replaces the good one; `extra` is appended to the configuration.

        `sessions_per_process` above 1 lets a POP3 process serve one session after
        another and `idle_processes` keeps some ready: both for hundreds of logins.
        """
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="dovecot-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        check_reachable(self.directory)
        self.authority = Authority(self.directory / "tls")
        self.certificate = certificate or self.authority.issue()
        self.host = HOST
        self.port = Ports(0, 0, 0, 0, 0)
        self._passwords: dict[str, str] = {}
        self._stamps = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._options = Options(
            uidl_format=uidl_format,
            mechanisms=" ".join(mechanisms),
            certificate=self.certificate,
            plaintext_auth=plaintext_auth,
            sessions_per_process=sessions_per_process,
            idle_processes=idle_processes,
            extra=extra,
        )
        for folder in ("users", "mail"):
            (self.directory / folder).mkdir(exist_ok=True)
        own_by_mail_user(self.directory / "mail")

    @property
    def ca_file(self) -> Path:
        """The authority that a client must trust."""
        return self.authority.ca_file

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
            self._launch()
            if self._greets():
                return
            self.stop()
        raise RuntimeError(f"Dovecot did not start:\n{self.log()}")

    def stop(self) -> None:
        """Stop master and children, and wait until none is left."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            # All at once: told alone, the master takes a second to see the others out.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(STOP_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        except ProcessLookupError:
            process.wait()
        end_group(process.pid)

    def close(self) -> None:
        """Stop, and remove the directory if it was made here."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        """All that Dovecot has logged."""
        path = self.directory / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def complaints(self) -> list[str]:
        """The log's lines that say something went wrong inside the server."""
        marks = ("Error:", "Fatal:", "Panic:")
        return [line for line in self.log().splitlines() if any(mark in line for mark in marks)]

    def _launch(self) -> None:
        config = self.directory / "dovecot.conf"
        config.write_text(configuration(self.directory, self.port, self._options))
        with (self.directory / "dovecot.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(find_program("dovecot")), "-F", "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    def _greets(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + START_DEADLINE
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with socket.create_connection((HOST, self.port.pop3), timeout=1) as probe:
                    return probe.recv(3) == b"+OK"
            except OSError:
                time.sleep(POLL)  # a starting process offers nothing else to wait for
        return False

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

    def add_user(self, name: str, password: str) -> None:
        """Add a user or change a password; a running server knows it on return.

        A file for each user, since Dovecot looks for changes in a file it has read
        only once a second, and then only at its size and whole seconds of mtime.
        """
        home = self.directory / "mail" / name
        for folder in (home, home / "Maildir", *(home / "Maildir" / sub for sub in maildir.PARTS)):
            folder.mkdir(exist_ok=True)
            own_by_mail_user(folder)
        new = self.directory / "users" / f".{name}.new"
        new.write_text(f"{name}:{{PLAIN}}{password}\n")
        stamp = FIRST_STAMP + next(self._stamps)
        os.utime(new, (stamp, stamp))
        new.rename(self.directory / "users" / name)
        changed = self._passwords.get(name, password) != password
        self._passwords[name] = password
        if changed and self._process is not None:
            self._await_login(name)

    def maildir(self, user: str) -> Path:
        """Where the user's mail lies."""
        return self.directory / "mail" / user / "Maildir"

    def fill(
        self, user: str, messages: Iterable[bytes], *, newline: str = "lf", part: str = "cur"
    ) -> int:
        """Append messages (CRLF octets) as files; return how many.

        `newline="lf"` stores LF, as mail servers on Unix do; "exact" stores the
        octets as given. Not fsynced: a test server's mail may die with the machine.
        """
        home = self.maildir(user)
        return maildir.append(home, messages, newline=newline, part=part, uid=mail_uid())

    def expunge(self, user: str, numbers: Iterable[int] | None = None) -> None:
        """Remove messages by POP3 number (all when None), as another client would."""
        maildir.remove(self.maildir(user), None if numbers is None else set(numbers))

    def renumber(self, user: str) -> None:
        """Give every message a new UIDL in every `uidl_format`; bodies and order stay."""
        maildir.renumber(self.maildir(user), uid=mail_uid())

    def session(self, user: str) -> RawPop3:
        """A logged-in session of the independent reader."""
        return RawPop3(HOST, self.port.pop3, user, self._passwords[user])

    def served(self, user: str) -> list[bytes]:
        """Every message's exact octets as the server hands them out."""
        with self.session(user) as session:
            return list(session.messages())

    def uidls(self, user: str) -> list[bytes]:
        """Every message's unique-id, in order; also warms the server's index."""
        with self.session(user) as session:
            return session.uidls()


def find_program(name: str) -> str | None:
    """The path of a program, looking also where servers are installed."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; held together so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def end_group(group: int) -> None:
    """Kill what is left of a process group that we started, and wait until it is gone."""
    deadline = time.monotonic() + STOP_DEADLINE
    while alive_in(group) and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        time.sleep(POLL)


def alive_in(group: int) -> bool:
    """Whether the group has a process that is more than a zombie waiting for init."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it may end while we look
            state, _parent, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def mail_uid() -> int | None:
    """The uid that mail files must belong to, or None where they are ours anyway."""
    return MAIL_UID if os.geteuid() == 0 else None


def own_by_mail_user(path: Path) -> None:
    """Hand a path to the mail user where we are root."""
    if (uid := mail_uid()) is not None:
        os.chown(path, uid, uid)


def check_reachable(directory: Path) -> None:
    """As root, the mail user must be able to walk to the directory."""
    if os.geteuid() == 0:
        for parent in directory.resolve().parents:
            if not parent.stat().st_mode & 0o001:
                raise RuntimeError(f"{parent} is closed to the mail user; give no directory")
