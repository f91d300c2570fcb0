"""Kill, restart, and kill again: the loop that `kill` and `kill_deliver` have in common.

How long a run takes is first measured undisturbed. Then every run is killed at an instant
drawn from the time that its work should take; see kill.py for how, and why so.
"""

import random
import time
from collections.abc import Callable

from benchmarks.kill_home import RUN_DEADLINE, Home
from benchmarks.kill_report import Report

USERS = ("first", "second")
CALM = ("calm-first", "calm-second")  # whose sync is measured and never killed
MESSAGES = 300  # that come to each account at a time
IN_START_UP = 0.1  # share of the kills
LEAST_WORK = 0.15  # share of a whole sync's work that retiring alone is taken to be
FAILURES = 5  # runs that end badly by themselves before we give up


def strike_often(
    calm: Home,
    home: Home,
    report: Report,
    *,
    kills: int,
    seed: int,
    messages: int,
    say: Callable[[str], None],
) -> None:
    """Measure, then kill and restart until there were so many kills."""
    rng = random.Random(seed)
    started = time.monotonic()
    report.undisturbed, report.start_up = undisturbed(calm, messages, rng)
    say(f"undisturbed {report.undisturbed:.2f} s, with nothing new {report.start_up:.2f} s")
    while report.kills < kills and len(report.violations) < FAILURES:
        if home.waiting() == 0 and (home.on_server() == 0 or rng.random() < 0.5):
            home.fill(messages, rng)
            report.fillings += 1
        strike(home, report, draw(home, report, messages, rng))
        if report.kills and report.kills % 20 == 0:
            say(f"{report.kills} kills, {home.expected.crlf.total()} messages so far")
    report.messages = home.expected.crlf.total()
    report.seconds = time.monotonic() - started


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
