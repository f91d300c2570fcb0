"""What the settings want begun by the clock: per account, and per mailbox where they say so.

A mailbox belongs to the last entry of `mailbox_schedules` that fits it, and else to the
account; jobs say so in patterns of their own (policy.patterns), so no mailbox is in two:

    mailbox_schedules = { "Archive/**" = "6h", "Archive/2026" = "manual" }

    the account's job     ("!Archive/**", "!Archive/2026")     everything but these
    the first entry's     ("Archive/**", "!Archive/2026")
    the second's          none

They choose among the mailboxes that the account takes and add none.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from fetchd.policy.schedule import Cron, Every, Hours, Manual, Push, Schedule, Timed
from fetchd.settings import Settings
from fetchd.settings.account import Account, ImapAccount
from fetchd.values import Struct

UNTOLD = timedelta(minutes=5)  # where the service says "idle" and the protocol has no such thing


class Job(Struct, frozen=True):
    """What begins by the clock. `mailboxes` () is all; `jitter` None the usual one."""

    account: str
    schedule: Timed
    mailboxes: tuple[str, ...] = ()
    jitter: timedelta | None = None
    quiet: Hours | None = None
    zone: str | None = None  # None: this machine's


class Due(Struct, frozen=True):
    """A job whose time has come; `at` is when it was to begin, in UTC."""

    account: str
    mailboxes: tuple[str, ...]
    at: datetime


def jobs_of(settings: Settings) -> list[Job]:
    """All of them, in the order of the settings."""
    return [job for name in settings.accounts for job in _jobs(settings, name)]


def unasked(settings: Settings, name: str) -> tuple[tuple[str, ...], ...]:
    """What of an account is synced without a person who asks: patterns, as a sync takes them.

    Any of them chooses; none at all: everything. A retry and a hint of the server leave alone
    what is "manual".
    """
    account = settings.accounts[name]
    parts = list(_parts(account, settings.service.schedule))
    if len(parts) == 1:
        return ()
    return tuple(mailboxes for mailboxes, how in parts if not isinstance(how, Manual))


def _jobs(settings: Settings, name: str) -> Iterator[Job]:
    account, service = settings.accounts[name], settings.service
    for mailboxes, schedule in _parts(account, service.schedule):
        if (timed := _timed(account, schedule)) is not None:
            quiet = account.quiet_hours or service.quiet_hours
            yield Job(name, timed, mailboxes, service.jitter, quiet, service.timezone)


def _parts(account: Account, usual: Schedule) -> Iterator[tuple[tuple[str, ...], Schedule]]:
    """The account without what has a schedule of its own, and each of these."""
    own = account.mailbox_schedules if isinstance(account, ImapAccount) else {}
    others = [f"!{pattern}" for pattern in own]
    yield tuple(others), account.schedule or usual
    for index, (pattern, schedule) in enumerate(own.items(), 1):
        yield (pattern, *others[index:]), schedule


def _timed(account: Account, schedule: Schedule) -> Timed | None:
    match schedule:
        case Manual():
            return None
        case Push(safety):
            return Every(safety if isinstance(account, ImapAccount) else UNTOLD)
        case Every() | Cron():
            return schedule
