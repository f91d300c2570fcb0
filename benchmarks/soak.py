"""`fetchd serve` under load for half an hour: `python -m benchmarks.soak --minutes 30`.

200 accounts on a private Dovecot, POP3 and IMAP in turn, each line TLS: IMAP waits by IDLE,
POP3 is polled. Once all have been synced, mail comes at random by LMTP, as fast as `--rate`
says, for four fifths of the time, while lines are cut at random and the server is restarted
now and then. Then nothing arrives: all mail must come home, and what the service uses in the
last fifth is what it costs to wait. At the end it is told to stop.

What must hold is in soak_figures.py, beside the issue's limits: every message that the server
has is once in the archive, by `tar`, and once in the Maildir; memory neither grows nor is
much; IDLE is fast; schedules are kept; the process ends well. The seed fixes the mail and
when what happens; what it hits is the machine's. The exit code is 1 when a limit is passed;
archive, Maildir and log are then kept.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import mail
from benchmarks.fleet import trusting, write_settings
from benchmarks.soak_figures import Figures
from benchmarks.soak_service import Service
from benchmarks.soak_site import Site
from benchmarks.verdict import all_hold, table
from tests.servers.dovecot import dovecot_available
from tests.servers.processes import HOST, free_ports

LOADED = 0.8  # share of the time in which mail comes
SYNCED = 180.0  # seconds for all accounts' first syncs
HOME = 240.0  # seconds for the last mail to come home: back-off after a restart included
LOOK = 2.0  # seconds between two looks at memory
ASK = 20.0  # seconds between two looks at the metrics
STOPPING = 60.0
LATE_99 = ("fetchd_schedule_lateness_seconds", 'quantile="0.99"')

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """How much of what; times in seconds."""

    accounts: int = 200
    seconds: float = 1800.0
    rate: float = 5.0  # messages a second
    cut_every: float = 40.0
    restart_every: float = 240.0
    poll: str = "60s"
    seed: int = 1


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--accounts", type=int, default=Plan.accounts)
    parser.add_argument("--rate", type=float, default=Plan.rate, help="messages a second, in all")
    parser.add_argument("--poll", default=Plan.poll, help="the schedule of POP3 accounts")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    given = parser.parse_args()
    if reason := dovecot_available():
        print(f"The soak cannot run: {reason}.", file=sys.stderr)
        return 1
    plan = Plan(given.accounts, given.minutes * 60, given.rate, poll=given.poll, seed=given.seed)
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    lines = soak(directory, plan, print).lines()
    print(table(lines))
    if not all_hold(lines):
        print(f"Kept: {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


def soak(directory: Path, plan: Plan, say: Say = lambda _line: None) -> Figures:
    """Run it whole; nothing of it is left running."""
    figures = Figures(plan.accounts)
    with Site(plan.accounts, random.Random(plan.seed)) as site:
        port = free_ports(1)[0]
        settings = write_settings(
            directory,
            site.members,
            connections=plan.accounts + 16,  # one for each that watches, and some for syncs
            keys={
                "pop3": {"schedule": plan.poll, "first_sync": "deliver"},
                "imap": {"schedule": "idle", "first_sync": "deliver", "mailboxes": ["INBOX"]},
            },
            tables=["[web]", f'listen = "{HOST}:{port}"'],
        )
        with Service(settings, port, trusting(site.server.ca_file)) as service:
            service.wait_until_all_synced(plan.accounts, SYNCED)
            say(f"{plan.accounts} accounts synced once, {service.resident_mb():.0f} MB")
            load(site, service, plan, figures, say)
            wait_until_home(directory, site, say)
            figures.idle_cpu = idle(service, plan.seconds * (1 - LOADED))
            figures.exit_code, figures.stopping = service.stop(STOPPING)
            figures.tracebacks = service.log().count("Traceback")
        figures.restarts, figures.cuts = site.restarts, site.cuts
        figures.look(directory, site.expected(), site.sent)
    return figures


def load(site: Site, service: Service, plan: Plan, figures: Figures, say: Say) -> None:
    """Mail and troubles, each at its random instants, and looks at regular ones."""
    rng, began = site.rng, time.monotonic()
    length = plan.seconds * LOADED

    def look() -> None:
        figures.memory.append((time.monotonic() - began, service.resident_mb()))

    def ask() -> None:
        late = service.metrics().get(LATE_99)
        figures.late += [] if late is None else [late]
        at, megabytes = figures.memory[-1]
        say(f"{at:5.0f} s  {len(site.sent)} messages, {megabytes:.1f} MB, p99 late {late} s")

    happenings: list[tuple[Callable[[], None], Callable[[], float]]] = [
        (site.send, lambda: rng.expovariate(plan.rate)),
        (site.cut, lambda: rng.expovariate(1 / plan.cut_every)),
        (site.restart, lambda: plan.restart_every * rng.uniform(0.7, 1.3)),
        (look, lambda: LOOK),
        (ask, lambda: min(ASK, length / 3)),
    ]
    due = [began + wait() for _, wait in happenings]
    while (at := min(due)) < began + length:
        time.sleep(max(0.0, at - time.monotonic()))
        happen, wait = happenings[which := due.index(at)]
        happen()
        # From when it was due: a restart must not thin out the mail that follows it.
        due[which] = at + wait()
    look()
    ask()
    figures.seconds = time.monotonic() - began


def wait_until_home(directory: Path, site: Site, say: Say) -> None:
    """All that was sent is in the Maildir, or it is too late; `look` tells which."""
    began = time.monotonic()
    there = 0
    while there < len(site.sent) and time.monotonic() < began + HOME:
        time.sleep(0.2)  # it is looked at from outside
        there = sum(1 for _ in mail.messages(directory / "Maildir"))
    say(f"{there} of {len(site.sent)} home {time.monotonic() - began:.0f} s after the last")


def idle(service: Service, seconds: float) -> float:
    """What the service uses of a core while nothing arrives."""
    began, used = time.monotonic(), service.cpu_seconds()
    time.sleep(seconds)
    return (service.cpu_seconds() - used) / (time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
