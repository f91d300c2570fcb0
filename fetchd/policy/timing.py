"""When the next sync of an account begins: interval or crontab line, jitter, quiet hours. Pure.

Nothing is drawn by lot: where an account's syncs lie within a minute, and by how much each is
put off, follows from its name and the moment (`spread`). That spreads two thousand accounts
as well as dice would, and the same question always has the same answer.

An interval is a grid whose first point is the first sync, so jitter neither adds up nor
brings two syncs closer together than half the interval. A crontab line is put off by jitter,
at most half the way to its next moment. Whatever falls into quiet hours comes once at their
end; what was missed comes once.
"""

from datetime import datetime, timedelta, tzinfo
from hashlib import blake2b

from fetchd.policy.crontab import next_match
from fetchd.policy.local_time import MINUTE, after_quiet
from fetchd.policy.schedule import Cron, Every, Hours, Timed
from fetchd.values import Struct

JITTER = timedelta(seconds=30)  # of a crontab line; less than half a minute's way to the next
CLOCK_CORRECTED = timedelta(hours=3)  # a clock that goes back by more was wrong before


class Timing(Struct, frozen=True):
    """When something begins; `name` tells it from others. `jitter` None: the usual one."""

    name: str
    schedule: Timed
    zone: tzinfo
    jitter: timedelta | None = None
    quiet: Hours | None = None


def first(timing: Timing, now: datetime) -> datetime | None:
    """After a start: an interval begins within a minute. None: never."""
    if isinstance(timing.schedule, Every):
        return soon(timing, now)
    return following(timing, now, now, now)


def soon(timing: Timing, now: datetime) -> datetime:
    """Once, for whatever was missed: within a minute, not all at the same time."""
    schedule = timing.schedule
    within = min(schedule.interval, MINUTE) if isinstance(schedule, Every) else MINUTE
    return _loud(timing, now + spread(timing.name, within))


def following(timing: Timing, anchor: datetime, before: datetime, now: datetime) -> datetime | None:
    """The one after that of `before`, later than `now`; `anchor` is the first of an interval."""
    if isinstance(timing.schedule, Every):
        at: datetime | None = _on_the_grid(timing, timing.schedule, anchor, before, now)
    else:
        at = _by_the_line(timing, timing.schedule, max(before, now))
    return None if at is None else _loud(timing, at)


def rearmed(timing: Timing, due: datetime, last: datetime | None, now: datetime) -> datetime | None:
    """What becomes of `due` once the clock was put to `now`; `last` is when it last began."""
    if due <= now:
        return soon(timing, now)
    schedule = timing.schedule
    if isinstance(schedule, Every):
        latest = now + 1.5 * schedule.interval + _jitter(timing, schedule)
        return due if due <= _loud(timing, latest) else soon(timing, now)
    done = last is not None and not schedule.rhythm and now < last <= now + CLOCK_CORRECTED
    after = last if done and last is not None else now
    coming = following(timing, now, after, now)
    # An earlier `due` is what was missed, on its way already: the clock may be noticed twice.
    return due if coming is None else min(due, coming)


def spread(name: str, within: timedelta, salt: str = "") -> timedelta:
    """A place in [0, within) that follows from the name."""
    digest = blake2b(f"{name}\n{salt}".encode(), digest_size=8).digest()
    return within * ((int.from_bytes(digest, "big") >> 11) / (1 << 53))


def _loud(timing: Timing, at: datetime) -> datetime:
    """Out of the quiet hours, and at their end not with all others."""
    end = after_quiet(at, timing.quiet, timing.zone)
    if end == at:
        return at
    if isinstance(timing.schedule, Cron):  # a moment that comes then anyway serves for both
        own = _by_the_line(timing, timing.schedule, end)
        if own is not None and own < end + MINUTE:
            return own
    return end + spread(timing.name, MINUTE)


def _on_the_grid(
    timing: Timing, every: Every, anchor: datetime, before: datetime, now: datetime
) -> datetime:
    interval = every.interval
    earliest = max(before + interval / 2, now)
    step = max(0, -((anchor - earliest) // interval))  # rounded up
    while True:
        point = anchor + step * interval
        at = point + spread(timing.name, _jitter(timing, every), point.isoformat())
        if at > now:
            return at
        step += 1


def _by_the_line(timing: Timing, cron: Cron, after: datetime) -> datetime | None:
    jitter = JITTER if timing.jitter is None else timing.jitter
    moment = next_match(cron, after - jitter, timing.zone)
    while moment is not None:
        way = jitter
        if jitter > JITTER and (next_one := next_match(cron, moment, timing.zone)) is not None:
            way = min(jitter, (next_one - moment) / 2)
        at = moment + spread(timing.name, way, moment.isoformat())
        if at > after:
            return at
        moment = next_match(cron, moment, timing.zone)
    return None


def _jitter(timing: Timing, every: Every) -> timedelta:
    if timing.jitter is None:
        return min(every.interval / 10, MINUTE)
    return min(timing.jitter, every.interval / 2)
