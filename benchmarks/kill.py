"""SIGKILL at random instants until it has struck often enough, then: is all the mail home, once?

    python -m benchmarks.kill --kills 200 --seed 1

`fetchd sync` brings mixed mail of two accounts from a private Dovecot into archive
and Maildir and thins the server (`leave_on_server = "none"`). How long that takes is
first measured undisturbed. Then every run is killed at an instant drawn uniformly
from the time that its work should take, by how much is still to be fetched; one kill
in ten falls into the start-up instead. New mail comes when a run ended before its
kill and, half of the time, when all is home but not yet gone from the server: so
every kill has something to hit, the retirement too. At the end runs are left alone.

What must then hold is in `violations`: every message that the server ever served
is once in the archive, by `tar`, and once in the Maildir, nothing else is there, and
the server is empty. A run that ended by itself must have ended well. The seed fixes
mail and draws; what the instants hit is the machine's. The exit code is 1 when
anything was violated; the mail is then kept to look at.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import mail
from benchmarks.contestants import PASSWORD, Task, fetchd_command, fetchd_settings
from benchmarks.mail import Expected
from tests import corpus
from tests.servers.dovecot import Dovecot, dovecot_available

USERS = ("first", "second")
CALM = ("calm-first", "calm-second")  # whose sync is measured and never killed
MESSAGES = 300  # that come to each account at a time
MEAN_SIZE = 20_000
IN_START_UP = 0.1  # share of the kills
LEAST_WORK = 0.15  # share of a whole sync's work that retiring alone is taken to be
RUN_DEADLINE = 300.0
SESSION_DEADLINE = 30.0
POLL = 0.01
LAST_RUNS = 4  # what a crash interrupted may need a second round until it is thinned
FAILURES = 5  # runs that end badly by themselves before we give up


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=MESSAGES, help="to an account at a time")
    given = parser.parse_args()
    if reason := dovecot_available():
        print(f"The kill loop cannot run: {reason}.", file=sys.stderr)
        return 1
    directory = Path(tempfile.mkdtemp(prefix="kill-"))
    with Dovecot() as server:
        report = kill(
            server,
            directory,
            kills=given.kills,
            seed=given.seed,
            messages=given.messages,
            say=print,
        )
    print(report.text())
    if report.violations:
        print(f"Kept: {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


@dataclass(slots=True)
class Report:
    """What was done and what was violated."""

    kills: int = 0
    at_work: int = 0  # of them, after the run had changed something on disk or server
    ended: int = 0  # runs that were done before their kill came
    unthinned: int = 0  # of them, leaving mail on the server for the next round
    fillings: int = 0
    messages: int = 0
    undisturbed: float = 0.0
    start_up: float = 0.0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For people."""
        lines = [
            f"{self.kills} kills in {self.seconds:.0f} s",
            f"{self.at_work} of them after the run had changed something on disk or server",
            f"{self.ended} runs ended before their kill",
            f"{self.unthinned} of them left mail on the server for the next",
            f"{self.messages} messages in {self.fillings} fillings",
            f"undisturbed {self.undisturbed:.2f} s, with nothing new {self.start_up:.2f} s",
            *(f"VIOLATED: {violation}" for violation in self.violations),
        ]
        if not self.violations:
            lines.append(
                "every message once in the archive, once in the Maildir, none missing, server empty"
            )
        return "\n".join(lines)


def fetchd_thins(task: Task) -> list[str]:
    """The sync that is killed: archive, Maildir, nothing left on the server."""
    settings = fetchd_settings(task, deliver=True, accounts={"leave_on_server": "none"})
    return [*fetchd_command(), "--config", str(settings), "sync"]


def kill(
    server: Dovecot,
    directory: Path,
    *,
    kills: int,
    seed: int,
    messages: int = MESSAGES,
    prepare: Callable[[Task], list[str]] = fetchd_thins,
    say: Callable[[str], None] = lambda _line: None,
) -> Report:
    """Measure, kill, restart until done, and judge; the server has no such users yet."""
    rng = random.Random(seed)
    report = Report()
    started = time.monotonic()
    report.undisturbed, report.start_up = undisturbed(server, directory, prepare, messages, rng)
    say(f"undisturbed {report.undisturbed:.2f} s, with nothing new {report.start_up:.2f} s")
    home = Home(server, Task(directory / "killed", Path(), server.port.pop3, USERS), prepare)
    while report.kills < kills and len(report.violations) < FAILURES:
        if home.waiting() == 0 and (home.on_server() == 0 or rng.random() < 0.5):
            home.fill(messages, rng)
            report.fillings += 1
        strike(home, report, draw(home, report, messages, rng))
        if report.kills and report.kills % 20 == 0:
            say(f"{report.kills} kills, {home.expected.crlf.total()} messages so far")
    report.violations += home.finish()
    report.messages = home.expected.crlf.total()
    report.seconds = time.monotonic() - started
    return report


def undisturbed(
    server: Dovecot,
    directory: Path,
    prepare: Callable[[Task], list[str]],
    messages: int,
    rng: random.Random,
) -> tuple[float, float]:
    """Seconds of a whole sync, and of one with nothing new: the start-up."""
    calm = Home(server, Task(directory / "calm", Path(), server.port.pop3, CALM), prepare)
    calm.fill(messages, rng)
    timed(calm)  # the first one also warms what the others find warm
    calm.fill(messages, rng)
    whole, nothing = timed(calm), timed(calm)
    return max(whole, nothing), min(whole, nothing)


def timed(calm: "Home") -> float:
    """One run left alone."""
    started = time.monotonic()
    if calm.run(RUN_DEADLINE) is None or calm.complaint:
        raise RuntimeError(f"the undisturbed sync failed: {calm.complaint or 'no end'}")
    return time.monotonic() - started


def draw(home: "Home", report: Report, messages: int, rng: random.Random) -> float:
    """The instant of the next kill, in seconds from its run's start."""
    # What only the first run does, making a catalog and folders, is start-up too.
    if report.kills == 0 or rng.random() < IN_START_UP:
        return rng.uniform(0, report.start_up)
    share = max(LEAST_WORK, home.waiting() / (messages * len(USERS)))
    return report.start_up + rng.uniform(0, (report.undisturbed - report.start_up) * share)


def strike(home: "Home", report: Report, moment: float) -> None:
    """One run and its kill, if it comes to that."""
    before = home.traces()
    status = home.run(moment)
    if status is None:
        report.kills += 1
        report.at_work += home.traces() != before
        return
    report.ended += 1
    if home.complaint:
        report.violations.append(f"a run failed: {home.complaint}")
    elif home.waiting():
        report.violations.append(f"a run ended well without {home.waiting()} messages")
    report.unthinned += home.on_server() > 0


class Home:
    """Some accounts on the server, what they served so far, and where it should be by now."""

    def __init__(self, server: Dovecot, task: Task, prepare: Callable[[Task], list[str]]) -> None:
        self._server = server
        self._task = task
        for user in task.users:
            server.add_user(user, PASSWORD)
        task.directory.mkdir(parents=True)
        self._command = prepare(task)
        self.expected = Expected()
        self.complaint = ""  # of the last run that ended by itself

    def fill(self, messages: int, rng: random.Random) -> None:
        """New mail for every account; what the server serves of it is what must come."""
        await_no_session(self._server)
        for user in self._task.users:
            total, seed = messages * MEAN_SIZE, rng.getrandbits(32)
            self._server.fill(user, corpus.realistic(messages, total=total, seed=seed))
            with self._server.session(user) as session:
                for message in session.messages():
                    # No two messages are alike: what we know is mail of before.
                    if mail.digest(message) not in self.expected.crlf:
                        self.expected.add(message)

    def run(self, deadline: float) -> int | None:
        """Start a sync and kill it after `deadline` seconds; its status if it ended before."""
        error = self._task.directory / "stderr"
        with error.open("wb") as stderr:
            process = subprocess.Popen(
                self._command,
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
        self.complaint = f"exit {status}: {said.strip()[-500:]}" if failed else ""
        return status

    def waiting(self) -> int:
        """How many messages are not in the Maildir yet."""
        return self.expected.crlf.total() - self._delivered()

    def on_server(self) -> int:
        """How many messages the server holds, counted on its disk."""
        maildirs = (self._server.maildir(user) for user in self._task.users)
        return sum(files(maildir / part) for maildir in maildirs for part in ("new", "cur"))

    def traces(self) -> tuple[int, int, int]:
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
        maildir = mail.in_maildir(self._task.maildir)
        left = sum(len(self._server.uidls(user)) for user in self._task.users)
        return [*found, *violations(self.expected, archive, maildir, left)]

    def _delivered(self) -> int:
        return sum(files(self._task.maildir / part) for part in ("new", "cur"))


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
    """The POP3 processes of this server, one a session."""
    master = (server.directory / "run" / "master.pid").read_text().strip()
    found = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue  # it may end while we look
        state, parent = rest.split()[:2]
        found += name == "pop3" and parent == master and state not in "ZX"
    return found


if __name__ == "__main__":
    sys.exit(main())
