"""When a line of crontab(5) comes true next, in a zone whose clocks are changed. Pure.

As users of Vixie's cron expect it:

    a moment   30 2 * * *      on the night without a 02:30: once, as the clocks are changed;
                               on the night with two of them: once, the first time
    a beat     */10 * * * *    goes on: nothing in the hour that is left out, and all of it
                               in the one that comes twice
"""

from bisect import bisect_left
from datetime import date, datetime, timedelta, tzinfo

from fetchd.policy.local_time import (
    MINUTE,
    change_between,
    end_of_repetition,
    utc,
    wall,
)
from fetchd.policy.schedule import Cron

_DAY = timedelta(days=1)
_HORIZON = 41  # years: 29 February on one weekday, over a century without a leap year


def next_match(cron: Cron, after: datetime, zone: tzinfo) -> datetime | None:
    """The first instant behind `after` (UTC, a whole minute); None: never."""
    at = utc(after).replace(second=0, microsecond=0) + MINUTE
    while True:
        if not cron.rhythm:
            at = end_of_repetition(at, zone)
        local = wall(at, zone)
        match = _shown_next(cron, local)
        if match is None:
            return None
        ahead = match - local
        far = ahead > 2 * _DAY
        change = change_between(at, at + (_DAY if far else ahead), zone)
        if change is None and not far:
            return at + ahead
        if change is None:
            at += ahead - _DAY  # nothing on the way; the changes there do not matter
        elif not cron.rhythm and change.before <= match < change.after:
            return change.at
        else:
            at = change.at


def _shown_next(cron: Cron, local: datetime) -> datetime | None:
    """The first match from `local` on, by the calendar alone."""
    day = local.date()
    if _fits(cron, day):
        hour = bisect_left(cron.hours, local.hour)
        minute = 0
        if hour < len(cron.hours) and cron.hours[hour] == local.hour:
            minute = bisect_left(cron.minutes, local.minute)
            hour, minute = (hour, minute) if minute < len(cron.minutes) else (hour + 1, 0)
        if hour < len(cron.hours):
            return _moment(day, cron.hours[hour], cron.minutes[minute])
    later = _next_day(cron, day)
    return None if later is None else _moment(later, cron.hours[0], cron.minutes[0])


def _next_day(cron: Cron, day: date) -> date | None:
    last = day.year + _HORIZON
    day += _DAY
    while day.year <= last:
        if day.month not in cron.months:
            day = (day.replace(day=1) + 31 * _DAY).replace(day=1)
        elif _fits(cron, day):
            return day
        else:
            day += _DAY
    return None


def _fits(cron: Cron, day: date) -> bool:
    if day.month not in cron.months:
        return False
    in_month, in_week = day.day in cron.days, day.isoweekday() % 7 in cron.weekdays
    return in_month or in_week if cron.either else in_month and in_week


def _moment(day: date, hour: int, minute: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001  # a wall clock's
