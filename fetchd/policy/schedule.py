"""When an account is due: what a person writes as `schedule`, as values. Pure.

    "5m"                            every five minutes
    "*/10 8-20 * * mon-fri"         a line of crontab(5), in local time
    "idle"                          pushed: IDLE or NOTIFY, with polls as the safety net
    "manual"                        only when somebody asks

A crontab's weekday 0 and 7 are both Sunday, and where day and weekday are both restricted
either is enough, as in Vixie's cron; libraries differ there, so nothing of a line's text is
left to them. What the values mean for the clock: `policy.crontab` and `policy.timing`.
"""

import re
from datetime import time, timedelta

from fetchd.values import Struct

SHORTEST = timedelta(seconds=10)  # nobody's server likes more

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # days that a month has at most
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FIELDS = (  # crontab(5): name, least, greatest, names
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _WEEKDAYS),
)
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class Every(Struct, frozen=True):
    """At an interval, from begin to begin; a sync that lasts longer leaves out what it missed."""

    interval: timedelta


class Cron(Struct, frozen=True):
    """A line of crontab(5), understood; the numbers of each field ascend, Sunday is 0.

    `either`: a day that fits one of day and weekday is enough. `rhythm`: minute or hour was
    written with a star, so the line means a beat and not moments of the day; when the clocks
    change, a beat goes on, while a moment comes exactly once.
    """

    line: str  # as written, for people
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    either: bool = False
    rhythm: bool = False


class Push(Struct, frozen=True):
    """The server tells; `safety` is how often all is polled even so."""

    safety: timedelta = timedelta(minutes=15)


class Manual(Struct, frozen=True):
    """Only when somebody asks."""


Timed = Every | Cron  # what a clock decides
Schedule = Timed | Push | Manual


class Hours(Struct, frozen=True):
    """A span of each day in local time; it may reach over midnight."""

    begin: time
    end: time

    def have(self, at: time) -> bool:
        """Whether this moment lies within."""
        if self.begin <= self.end:
            return self.begin <= at < self.end
        return at >= self.begin or at < self.end


def cron_of(text: str) -> Cron:
    """A line of crontab(5); ValueError says what is allowed."""
    line = " ".join(text.lower().split())
    fields = _NICKNAMES.get(line, line).split()
    if len(fields) != len(_FIELDS):
        raise ValueError('five fields as in crontab(5): "minute hour day month weekday"')
    minutes, hours, days, months, weekdays = map(_field, fields, _FIELDS)
    minute, hour, day, _, weekday = ("*" in field for field in fields)
    either = not day and not weekday
    if not either and days[0] > max(_LONGEST[month - 1] for month in months):
        raise ValueError("a day that the month has")
    return Cron(line, minutes, hours, days, months, weekdays, either, minute or hour)


def hours_of(text: str) -> Hours:
    """ "22:00-06:30"; ValueError says what is allowed."""
    found = re.fullmatch(r"\s*(\d\d?):(\d\d)\s*-\s*(\d\d?):(\d\d)\s*", text, re.ASCII)
    try:
        begin, end = (time(int(h), int(m)) for h, m in ((found[1], found[2]), (found[3], found[4])))  # type: ignore[index]
    except (TypeError, ValueError):
        raise ValueError('hours such as "22:00-06:00"') from None
    if begin == end:
        raise ValueError("hours that begin and end at different times")
    return Hours(begin, end)


_Rule = tuple[str, int, int, tuple[str, ...]]


def _field(text: str, rule: _Rule) -> tuple[int, ...]:
    """Which numbers one field allows."""
    chosen = {number for part in text.split(",") for number in _part(part, *rule)}
    if rule[0] == "weekday":
        chosen = {day % 7 for day in chosen}
    return tuple(sorted(chosen))


def _part(text: str, name: str, least: int, greatest: int, names: tuple[str, ...]) -> range:
    span, slash, step = text.partition("/")
    if slash and not (step.isascii() and step.isdigit() and 0 < int(step) <= greatest):
        raise ValueError(f"a step from 1 to {greatest} behind / in the field of the {name}")
    if span == "*":
        first, last = least, 6 if name == "weekday" else greatest
    else:
        begin, dash, end = span.partition("-")
        first = _number(begin, name, least, greatest, names)
        last = _number(end, name, least, greatest, names) if dash else first
        if slash and not dash:
            last = greatest  # "5/15": from there on
        if name == "weekday" and last == 0 and first > 0:
            last = 7  # fri-sun
        if last < first:
            raise ValueError(f"a range that begins before it ends in the field of the {name}")
    return range(first, last + 1, int(step) if slash else 1)


def _number(text: str, name: str, least: int, greatest: int, names: tuple[str, ...]) -> int:
    if text in names:
        return names.index(text) + (1 if name == "month" else 0)
    if text.isascii() and text.isdigit() and least <= int(text) <= greatest:
        return int(text)
    words = f" or {names[0]} to {names[-1] if name == 'month' else 'sat'}" if names else ""
    raise ValueError(f"{least} to {greatest}{words} in the field of the {name}")
