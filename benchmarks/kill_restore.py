"""`fetchd restore` killed at random instants: is every message on the server then, once?

Mail of one account, in several mailboxes, with flags, is archived in peace. Then it is
restored to a new account on the same server, and killed, and restored on, until a run
ends by itself; then to the next new account, until the kills are used up. A run after
a killed one first waits for what the server may still be taking, and is struck after that.

Every account must then hold in each mailbox what another client's APPEND of the same mail
leaves there, with octets, flags and internal date, once, and nothing else. (Dovecot stores
CR CR LF as CR LF, whoever appends it, so the first account itself is not the measure.)
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.contestants import (
    PASSWORD,
    Task,
    fetchd_command,
    fetchd_settings,
    fetchd_sync,
)
from benchmarks.kill_home import MAILBOXES, MEAN_SIZE, RUN_DEADLINE, await_no_session, run_until
from benchmarks.kill_report import Report
from fetchd.pipeline.restore import SETTLE
from tests import corpus
from tests.servers.dovecot import Dovecot
from tests.servers.mail import Contents, Mail, Served

SOURCE = "origin"
REFERENCE = "reference"
MESSAGES = 300
IN_START_UP = 0.1  # share of the kills
FAILURES = 5  # runs that end badly by themselves before we give up
FLAGS = ((), ("\\Seen",), ("\\Flagged", "\\Seen"), ("\\Answered",), ("\\Draft",))
ARRIVED = 1_600_000_000  # a second for each message

Held = Counter[tuple[str, Served]]  # with the mailbox


def kill_restore(
    server: Dovecot,
    directory: Path,
    *,
    kills: int,
    seed: int,
    messages: int = MESSAGES,
    say: Callable[[str], None] = lambda _line: None,
) -> Report:
    """Archive, measure, kill, restart until done, and judge; the server has no such users yet."""
    rng = random.Random(seed)
    restoring = Restoring(server, directory, messages, rng)
    report = Report(done="every message once on the server, none missing, nothing else there")
    started = time.monotonic()
    restoring.next_target()
    report.undisturbed = restoring.timed()
    report.start_up = restoring.timed()
    say(f"undisturbed {report.undisturbed:.2f} s, with nothing to do {report.start_up:.2f} s")
    while len(report.violations) < FAILURES and report.kills < kills:
        restoring.next_target()
        _one_target(restoring, report, kills, rng)
        say(f"{report.kills} kills, {report.fillings} accounts filled")
    report.messages = report.fillings * messages
    report.seconds = time.monotonic() - started
    return report


def _one_target(restoring: "Restoring", report: Report, kills: int, rng: random.Random) -> None:
    """Kill and go on until a run ends by itself, which at the latest one left alone does."""
    report.fillings += 1
    settle, before = 0.0, 0
    while report.kills < kills:
        status, complaint = restoring.run(settle + _draw(report, rng))
        if status is not None:
            report.ended += 1
            break
        report.kills += 1
        settle = SETTLE
        held = restoring.on_server()
        report.at_work += held != before
        before = held
    else:
        status, complaint = restoring.run(RUN_DEADLINE)
    if complaint or status is None:
        report.violations.append(f"a run failed: {complaint or 'it came to no end'}")
    report.violations += restoring.violations()


def _draw(report: Report, rng: random.Random) -> float:
    """The instant of the next kill, in seconds from where its run begins to work."""
    if rng.random() < IN_START_UP:
        return rng.uniform(0, report.start_up)
    return rng.uniform(report.start_up, max(report.undisturbed, report.start_up * 1.1))


class Restoring:
    """An archive, and one new account after another to which it is restored."""

    def __init__(self, server: Dovecot, directory: Path, messages: int, rng: random.Random) -> None:
        self._server = server
        self._directory = directory / "restore"
        self._directory.mkdir()
        self._target, self._number = "", 0
        server.add_user(SOURCE, PASSWORD)
        mixed = list(
            corpus.realistic(messages, total=messages * MEAN_SIZE, seed=rng.getrandbits(32))
        )
        mailboxes = MAILBOXES["imap"]
        for number, mailbox in enumerate(mailboxes):
            chosen = mixed[number :: len(mailboxes)]
            server.fill(SOURCE, dated(chosen), mailbox=mailbox)
        self._wanted = held(appended(server, mailboxes))
        self._archive()

    def next_target(self) -> None:
        """A new account, empty."""
        self._number += 1
        self._target = f"target-{self._number}"
        self._server.add_user(self._target, PASSWORD)
        self._settings = self._written(SOURCE, self._target)

    def timed(self) -> float:
        """Seconds of one run left alone."""
        started = time.monotonic()
        status, complaint = self.run(RUN_DEADLINE)
        if status is None or complaint:
            raise RuntimeError(f"the undisturbed restore failed: {complaint or 'no end'}")
        return time.monotonic() - started

    def run(self, deadline: float) -> tuple[int | None, str]:
        """Start a restore and kill it after `deadline` seconds; see run_until."""
        command = [*fetchd_command(), "--config", str(self._settings), "restore", SOURCE]
        return run_until([*command, "--to", self._target], self._directory, deadline)

    def on_server(self) -> int:
        """How many messages the target holds."""
        home = self._server.maildir(self._target)
        return sum(path.parent.name in ("new", "cur") for path in home.rglob("*.*"))

    def violations(self) -> list[str]:
        """What the target lacks or has too much."""
        await_no_session(self._server)
        found = held(self._server.served_imap(self._target))
        lacking, surplus = self._wanted - found, found - self._wanted
        said = ((lacking, "missing or changed"), (surplus, "there more than once or changed"))
        return [
            f"{self._target}: {some.total()} messages {what}, of {self._wanted.total()}, the first "
            f"in {next(iter(some))[0]}"
            for some, what in said
            if some
        ]

    def _archive(self) -> None:
        command = fetchd_sync(self._written(SOURCE))
        status, complaint = run_until(command, self._directory, RUN_DEADLINE)
        if status is None or complaint:
            raise RuntimeError(f"the first sync failed: {complaint or 'no end'}")

    def _written(self, *users: str) -> Path:
        task = Task(self._directory, Path(), self._server.port.imap, users)
        return fetchd_settings(task, deliver=False, protocol="imap")


def appended(server: Dovecot, mailboxes: Sequence[str]) -> Contents:
    """What the server holds when somebody else has put the source's mail there."""
    server.add_user(REFERENCE, PASSWORD)
    served = server.served_imap(SOURCE)
    with server.client(SOURCE) as source, server.client(REFERENCE) as reference:
        for mailbox in mailboxes:
            if mailbox not in reference.mailboxes():
                reference.create(mailbox)
            for uid, octets in sorted(source.octets(mailbox).items()):
                one = served[mailbox][uid]
                reference.append(mailbox, octets, sorted(one.flags), one.date)
    return server.served_imap(REFERENCE)


def dated(messages: list[bytes]) -> list[Mail]:
    """With flags and internal dates of all kinds."""
    return [
        Mail(octets, FLAGS[number % len(FLAGS)], datetime.fromtimestamp(ARRIVED + number, UTC))
        for number, octets in enumerate(messages)
    ]


def held(contents: Contents) -> Held:
    """What a server holds, without its UIDs."""
    return Counter((box, one) for box, all_ in contents.items() for one in all_.values())
