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
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.contestants import Protocol, Task, fetchd_settings, fetchd_sync
from benchmarks.kill_deliver import kill_deliver
from benchmarks.kill_home import Home
from benchmarks.kill_loop import CALM, MESSAGES, USERS, strike_often
from benchmarks.kill_report import Report
from benchmarks.kill_restore import kill_restore
from tests.servers.dovecot import Dovecot, dovecot_available
from tests.servers.postfix import postfix_available


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
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--restore", action="store_true", help="kill `fetchd restore` instead")
    instead.add_argument("--deliver", action="store_true", help="kill a sync that forwards")
    parser.add_argument("--messages", type=int, default=MESSAGES, help="to an account at a time")
    given = parser.parse_args()
    if given.deliver and given.protocol != "pop3":
        parser.error("--deliver is over POP3")
    if reason := dovecot_available() or (postfix_available() if given.deliver else None):
        print(f"The kill loop cannot run: {reason}.", file=sys.stderr)
        return 1
    directory = Path(tempfile.mkdtemp(prefix="kill-"))
    with Dovecot() as server:
        report = what_of(given)(
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


def what_of(given: argparse.Namespace) -> Callable[..., Report]:
    """The loop that was asked for."""
    if given.restore:
        return kill_restore
    return kill_deliver if given.deliver else partial(kill, protocol=given.protocol)


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
    prepare = prepare or partial(fetchd_thins, protocol=protocol)
    calm = Home(server, directory / "calm", CALM, prepare, protocol)
    home = Home(server, directory / "killed", USERS, prepare, protocol)
    report = Report()
    strike_often(calm, home, report, kills=kills, seed=seed, messages=messages, say=say)
    report.violations += home.finish()
    return report


if __name__ == "__main__":
    sys.exit(main())
