"""What follows from a sync: how the account is, and when to try again. Pure.

well, or some mailboxes only     the schedule goes on
the server wants to be left      at least for as long as it says; twice as long each time
the line broke, or it stalled    soon, then ever later; the schedule waits as long
only the owner can end it        the login was refused: halted (pipeline.halting);
                                 else seldom: certificates and keyrings mend unseen
another process is at it         a moment later
the network is down              not before it is back (network.py)
"""

from datetime import datetime, timedelta

from fetchd.errors import FetchdError, Remedy, Scope, ServerUnavailable
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.snapshot import Doing
from fetchd.policy.retry import TURNED_AWAY, Schedule, retry_at
from fetchd.values import Struct

BROKEN = Schedule(timedelta(seconds=30), timedelta(minutes=15))
OWNERS = Schedule(timedelta(minutes=5), timedelta(hours=1))
BUSY = timedelta(seconds=15)


class Verdict(Struct, frozen=True):
    """`well`: the account was reached. `again` None: when the schedule says so."""

    doing: Doing
    failures: int  # in a row
    well: bool = False
    again: timedelta | None = None
    why: str = ""
    advice: str = ""
    broke: bool = False  # it is the line that failed, and nobody asked for time


def judge(report: RunReport, failures: int, now: datetime, jitter: float, *, up: bool) -> Verdict:
    """`failures` came before it in a row; `jitter` is drawn from [0, 1); `up`: the network is."""
    wide = [failure.error for failure in report.failures if failure.scope >= Scope.ACCOUNT]
    if report.skipped and not wide:
        return _skipped(report, failures, now)
    if not wide:
        if report.not_before is not None and report.not_before > now:
            return _paused(report, now)
        said = (report.sentence(), report.advice()) if not report.ok else ("", "")
        return Verdict(Doing.WAITING, 0 if report.ok else failures + 1, True, None, *said)
    error = _weightiest(wide)
    if report.halted:
        return Verdict(
            Doing.HALTED, failures + (not report.skipped), why=f"{error}", advice=error.advice
        )
    if not up:
        return Verdict(Doing.BACKING_OFF, failures, why="this machine has no network")
    again = _delay(error, failures + 1, now, jitter)
    broke = error.remedy is Remedy.WAIT and not isinstance(error, ServerUnavailable)
    return Verdict(Doing.BACKING_OFF, failures + 1, False, again, str(error), error.advice, broke)


def _skipped(report: RunReport, failures: int, now: datetime) -> Verdict:
    why = " ".join(report.notices)
    if report.not_before is not None and report.not_before > now:
        return _paused(report, now, failures)
    return Verdict(Doing.WAITING, failures, again=None if report.stopped else BUSY, why=why)


def _paused(report: RunReport, now: datetime, failures: int = 0) -> Verdict:
    """The server, or a budget, wants no more before then."""
    assert report.not_before is not None
    doing = Doing.PAUSED if report.paused else Doing.BACKING_OFF
    why = " ".join(report.notices)
    return Verdict(doing, failures, not report.skipped, report.not_before - now, why)


def _weightiest(errors: list[FetchdError]) -> FetchdError:
    return next((error for error in errors if error.remedy is Remedy.OWNER), errors[0])


def _delay(error: FetchdError, failures: int, now: datetime, jitter: float) -> timedelta:
    if error.remedy is not Remedy.WAIT:
        schedule = OWNERS
    else:
        schedule = TURNED_AWAY if isinstance(error, ServerUnavailable) else BROKEN
    wish = error.wait if isinstance(error, ServerUnavailable) else None
    return max(retry_at(failures, now, jitter, schedule) - now, wish or timedelta())
