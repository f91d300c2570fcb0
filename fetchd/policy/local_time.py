"""What a clock on the wall shows, and when it will show something. Pure; instants are UTC.

A wall clock is changed: an hour of the spring night is shown never, one of the autumn night
twice, in some places half an hour, and in one a whole day was left out. Nothing here assumes
when or by how much; it is looked up where the zone's offset changes.
"""

from datetime import UTC, datetime, timedelta, tzinfo

from fetchd.policy.schedule import Hours

MINUTE = timedelta(minutes=1)


class Change:
    """The instant at which a zone's clocks are changed, and what they show then."""

    __slots__ = ("after", "at", "before")

    def __init__(self, at: datetime, zone: tzinfo) -> None:
        self.at = at
        self.after = wall(at, zone)  # what they show from `at` on
        self.before = wall(at - MINUTE, zone) + MINUTE  # what they would show without it

    @property
    def ahead(self) -> timedelta:
        """By how much they are put forward."""
        return self.after - self.before


def wall(at: datetime, zone: tzinfo) -> datetime:
    """What the clock shows, without a zone."""
    return at.astimezone(zone).replace(tzinfo=None)


def change_between(begin: datetime, end: datetime, zone: tzinfo) -> Change | None:
    """The change in (begin, end], both whole minutes; in two days there is one at most."""
    offset = _offset(begin, zone)
    if _offset(end, zone) == offset:
        return None
    same, other = 0, (end - begin) // MINUTE
    while other - same > 1:
        middle = (same + other) // 2
        if _offset(begin + middle * MINUTE, zone) == offset:
            same = middle
        else:
            other = middle
    return Change(begin + other * MINUTE, zone)


def end_of_repetition(at: datetime, zone: tzinfo) -> datetime:
    """The end of the hour that the clock shows for the second time; `at` if it shows none."""
    local = at.astimezone(zone)
    if not local.fold:
        return at
    repeated = _known(local.replace(fold=0).utcoffset()) - _known(local.utcoffset())
    change = change_between(at - repeated, at, zone)
    return at if change is None else change.at + repeated


def after_quiet(at: datetime, quiet: Hours | None, zone: tzinfo) -> datetime:
    """`at`, or the end of the quiet hours that it falls into; the wall clock decides."""
    while quiet is not None and quiet.have((local := wall(at, zone)).time()):
        end = datetime.combine(local, quiet.end)
        at = _shown(end if end > local else end + timedelta(days=1), at, local, zone)
    return at


def _shown(what: datetime, since: datetime, local: datetime, zone: tzinfo) -> datetime:
    """When the clock, which shows `local` at `since`, shows what comes at most a day later."""
    at = since + (what - local)
    change = change_between(_whole(since), at, zone)
    if change is None:
        return at
    if change.before <= what < change.after:  # left out: this is when it would have come
        return change.at
    return at - change.ahead


def _whole(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _offset(at: datetime, zone: tzinfo) -> timedelta:
    return _known(at.astimezone(zone).utcoffset())


def _known(offset: timedelta | None) -> timedelta:
    assert offset is not None  # zones that tell none are not made here
    return offset


def utc(at: datetime) -> datetime:
    """The same instant, as everything else here speaks of it."""
    return at.astimezone(UTC)
