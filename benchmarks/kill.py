"""SIGKILL at random instants until it has struck often enough, then: is all the mail home, once?

    python -m benchmarks.kill --kills 200 --seed 1 --protocol imap

`fetchd sync` brings mixed mail of two accounts from a private Dovecot into archive
and Maildir and thins the server (`leave_on_server = "none"`). Over IMAP each account
has several mailboxes, and the Maildir is a mirror with a folder for each. How long that takes is
first measured undisturbed. Then every run is killed at an instant drawn uniformly
from the time that its work should take, by how much is still to be fetched; one kill
in ten falls into the start-up instead. New mail comes when a run ended before its
kill and, half of the time, when all is home but not yet gone from the server: so
every kill has something to hit, the retirement too. At the end runs are left alone.

What must then hold is in `violations`: every message that the server ever served
is once in the archive, by `tar`, and once in the Maildir (of the mirror: in the folder
of its mailbox), nothing else is there, and the server is empty. A run that ended by
itself must have ended well. The seed fixes mail and draws; what the instants hit is the
machine's. The exit code is 1 when anything was violated; the mail is then kept to look
at. `--restore` kills `fetchd restore` instead, `--deliver` a sync that also forwards: see
kill_restore.py and kill_deliver.py.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.contestants import Protocol, Task, fetchd_settings, fetchd_sync
from benchmarks.kill_deliver import kill_deliver
from benchmarks.kill_home import RUN_DEADLINE, Home
from benchmarks.kill_report import Report
from benchmarks.kill_restore import kill_restore
from tests.servers.dovecot import Dovecot, dovecot_available

USERS = ("first", "second")
CALM = ("calm-first", "calm-second")  # whose sync is measured and never killed
MESSAGES = 300  # that come to each account at a time
IN_START_UP = 0.1  # share of the kills
LEAST_WORK = 0.15  # share of a whole sync's work that retiring alone is taken to be
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
    parser.add_argument("--protocol", choices=("pop3", "imap"), default="pop3")
    parser.add_argument("--restore", action="store_true", help="kill `fetchd restore` instead")
    parser.add_argument("--deliver", action="store_true", help="kill a sync that forwards")
    parser.add_argument("--messages", type=int, default=MESSAGES, help="to an account at a time")
    given = parser.parse_args()
    if reason := dovecot_available():
        print(f"The kill loop cannot run: {reason}.", file=sys.stderr)
        return 1
    directory = Path(tempfile.mkdtemp(prefix="kill-"))
    with Dovecot() as server:
        what = partial(kill, protocol=given.protocol)
        if given.restore or given.deliver:
            what = kill_restore if given.restore else kill_deliver
        report = what(
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


def fetchd_thins(task: Task, protocol: Protocol = "pop3") -> list[str]:
    """The sync that is killed: archive, Maildir, nothing left on the server."""
    thins: dict[str, object] = {"leave_on_server": "none"}
    return fetchd_sync(fetchd_settings(task, deliver=True, protocol=protocol, accounts=thins))


def kill(
    server: Dovecot,
    directory: Path,
    *,
    kills: int,
    seed: int,
    messages: int = MESSAGES,
    protocol: Protocol = "pop3",
    prepare: Callable[[Task], list[str]] | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Report:
    """Measure, kill, restart until done, and judge; the server has no such users yet."""
    rng = random.Random(seed)
    report = Report()
    started = time.monotonic()
    prepare = prepare or partial(fetchd_thins, protocol=protocol)
    calm = Home(server, directory / "calm", CALM, prepare, protocol)
    report.undisturbed, report.start_up = undisturbed(calm, messages, rng)
    say(f"undisturbed {report.undisturbed:.2f} s, with nothing new {report.start_up:.2f} s")
    home = Home(server, directory / "killed", USERS, prepare, protocol)
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


def undisturbed(calm: Home, messages: int, rng: random.Random) -> tuple[float, float]:
    """Seconds of a whole sync, and of one with nothing new: the start-up."""
    calm.fill(messages, rng)
    timed(calm)  # the first one also warms what the others find warm
    calm.fill(messages, rng)
    whole, nothing = timed(calm), timed(calm)
    return max(whole, nothing), min(whole, nothing)


def timed(calm: Home) -> float:
    """One run left alone."""
    started = time.monotonic()
    if calm.run(RUN_DEADLINE) is None or calm.complaint:
        raise RuntimeError(f"the undisturbed sync failed: {calm.complaint or 'no end'}")
    return time.monotonic() - started


def draw(home: Home, report: Report, messages: int, rng: random.Random) -> float:
    """The instant of the next kill, in seconds from its run's start."""
    # What only the first run does, making a catalog and folders, is start-up too.
    if report.kills == 0 or rng.random() < IN_START_UP:
        return rng.uniform(0, report.start_up)
    share = max(LEAST_WORK, home.waiting() / (messages * len(USERS)))
    return report.start_up + rng.uniform(0, (report.undisturbed - report.start_up) * share)


def strike(home: Home, report: Report, moment: float) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
