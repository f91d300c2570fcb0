"""What the kill loop strikes at: accounts on a server, and where their mail must be.

A `Home` fills its accounts, runs a command on them that may be killed, and says at the
end what was violated. Over IMAP mail is spread over MAILBOXES and must be in the folder
of its mailbox. Nothing of fetchd is used but its command.
"""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks import mail
from benchmarks.contestants import PASSWORD, Protocol, Task
from benchmarks.mail import Expected
from tests import corpus
from tests.servers.dovecot import Dovecot

MAILBOXES: dict[Protocol, tuple[str, ...]] = {
    "pop3": ("INBOX",),
    "imap": ("INBOX", "Work", "Archive.2026"),
}
MEAN_SIZE = 20_000
RUN_DEADLINE = 300.0
SESSION_DEADLINE = 30.0
POLL = 0.01
LAST_RUNS = 4  # what a crash interrupted may need a second round until it is thinned


class Home:
    """Some accounts on the server, what they served so far, and where it should be by now."""

    def __init__(
        self,
        server: Dovecot,
        directory: Path,
        users: tuple[str, ...],
        prepare: Callable[[Task], list[str]],
        protocol: Protocol = "pop3",
    ) -> None:
        port = server.port.imap if protocol == "imap" else server.port.pop3
        task = Task(directory, Path(), port, users, MAILBOXES[protocol])
        self._server = server
        self._task = task
        self._protocol = protocol
        for user in users:
            server.add_user(user, PASSWORD)
        self._maildirs: list[Path] = []  # of the server, known when mail is there
        directory.mkdir(parents=True)
        self._command = prepare(task)
        self.expected = Expected()
        self.complaint = ""  # of the last run that ended by itself

    def fill(self, messages: int, rng: random.Random) -> None:
        """New mail for every account; what the server serves of it is what must come."""
        await_no_session(self._server)
        mailboxes = self._task.mailboxes
        for user in self._task.users:
            mixed = self.mail(messages, rng)
            for number, mailbox in enumerate(mailboxes):
                self._server.fill(user, mixed[number :: len(mailboxes)], mailbox=mailbox)
                for message in self._served(user, mailbox):
                    # No two messages are alike: what we know is mail of before.
                    if mail.digest(message) not in self.expected.crlf:
                        self.expect(message, self._place(user, mailbox))
        self._maildirs = self._maildirs or [
            self._server.maildir(user, mailbox)
            for user in self._task.users
            for mailbox in mailboxes
        ]

    def mail(self, messages: int, rng: random.Random) -> list[bytes]:
        """About so many new ones."""
        seed = rng.getrandbits(32)
        return list(corpus.realistic(messages, total=messages * MEAN_SIZE, seed=seed))

    def expect(self, message: bytes, place: str) -> None:
        """It must come, once, and into this folder where there are several."""
        self.expected.add(message, place)

    def run(self, deadline: float) -> int | None:
        """Start a sync and kill it after `deadline` seconds; its status if it ended before."""
        status, self.complaint = run_until(self._command, self._task.directory, deadline)
        return status

    def waiting(self) -> int:
        """How many messages are not in the Maildir yet."""
        return self.expected.crlf.total() - self._delivered()

    def on_server(self) -> int:
        """How many messages the server holds, counted on its disk."""
        return sum(files(path / part) for path in self._maildirs for part in ("new", "cur"))

    def traces(self) -> tuple[int, ...]:
        """What a run changes: octets in the archive, files in the Maildir, mail on the server."""
        segments = mail.segments(self._task.directory / "data")
        stored = sum(path.stat().st_size for path in segments)
        return stored, self._delivered(), self.on_server()

    def finish(self) -> list[str]:
        """Let runs end until the server is empty, and one more; what is violated then."""
        found = []
        done = False
        for _ in range(LAST_RUNS):
            await_no_session(self._server)
            if self.run(RUN_DEADLINE) is None:
                return ["the last run came to no end"]
            if self.complaint:
                found.append(f"the last run failed: {self.complaint}")
            if done:
                break
            done = self.on_server() == 0
        try:
            archive = mail.in_archive(self._task.directory / "data")
        except RuntimeError as error:
            return [*found, str(error)]
        if self._protocol == "imap":
            maildir = mail.in_mirror(self._task.maildir)
        else:
            maildir = mail.in_maildir(self._task.maildir)
        left = sum(1 for user in self._task.users for mailbox in self._task.mailboxes
                   for _message in self._served(user, mailbox))  # fmt: skip
        return [*found, *violations(self.expected, archive, maildir, left)]

    def _served(self, user: str, mailbox: str) -> list[bytes]:
        """What the server hands out, over the protocol by which it is fetched."""
        if self._protocol == "pop3":
            return self._server.served(user)
        with self._server.client(user) as client:
            return list(client.octets(mailbox).values())

    def _place(self, user: str, mailbox: str) -> str:
        """The folder in which a mirror must have it; there is one for all over POP3."""
        if self._protocol == "pop3":
            return ""
        return user if mailbox == "INBOX" else f"{user}/.{mailbox}"

    def _delivered(self) -> int:
        return sum(1 for _path in mail.messages(self._task.maildir))


def violations(
    expected: Expected, archive: Counter[str], maildir: Counter[str], left: int
) -> list[str]:
    """Promises 1 and 2 of fetchd, set against what was found; empty when both hold."""
    found = []
    for place, wanted, held in (
        ("archive", expected.crlf, archive),
        ("Maildir", expected.lf, maildir),
    ):
        met = mail.compare(wanted, held)
        for count, what in (
            (met.missing, "missing"),
            (met.twice, "there more than once"),
            (met.foreign, "there that no server held"),
        ):
            if count:
                found.append(f"{place}: {count} messages {what}, of {met.expected}")
    if left:
        found.append(f"server: {left} messages left")
    return found


def run_until(command: list[str], directory: Path, deadline: float) -> tuple[int | None, str]:
    """Run and kill after `deadline` seconds: the status if it ended before, and its complaint."""
    error = directory / "stderr"
    with error.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            status = process.wait(deadline)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end(process)
    said = error.read_text(errors="replace")
    failed = status not in (None, 0) or "Traceback" in said
    return status, f"exit {status}: {said.strip()[-500:]}" if failed else ""


def end(process: "subprocess.Popen[bytes]") -> None:
    """SIGKILL, to its children as well, and see it dead."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def files(folder: Path) -> int:
    """How many files a folder has; none if it is not there."""
    try:
        return sum(1 for _ in folder.iterdir())
    except FileNotFoundError:
        return 0


def await_no_session(server: Dovecot) -> None:
    """Return when the server has noticed that its clients are dead."""
    deadline = time.monotonic() + SESSION_DEADLINE
    while sessions(server):
        if time.monotonic() > deadline:
            raise RuntimeError(f"a session outlived its client by {SESSION_DEADLINE:.0f} s")
        time.sleep(POLL)  # a process of somebody else's offers nothing to wait for


def sessions(server: Dovecot) -> int:
    """The processes of this server that serve mail, one a session."""
    master = (server.directory / "run" / "master.pid").read_text().strip()
    found = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it may end while we look
        state, parent = rest.split()[:2]
        found += name in ("pop3", "imap") and parent == master and state not in "ZX"
    return found
