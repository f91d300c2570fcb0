"""A schedule as the lines of a systemd timer: systemd.time(7). Pure."""

from datetime import timedelta

from fetchd.policy.schedule import Cron, Every, Schedule

_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def due(schedule: Schedule, zone: str | None) -> tuple[str, ...]:
    """The lines of a timer; it asks all accounts at once, so what is pushed is polled."""
    suffix = f" {zone}" if zone else ""
    match schedule:
        case Every(interval):
            return _every(interval)
        case Cron():
            return tuple(f"OnCalendar={text}{suffix}" for text in _calendar(schedule))
    return _every(timedelta(minutes=5))


def jitter(schedule: Schedule) -> timedelta:
    """As the service has it: a tenth of an interval, and half a minute of a crontab line."""
    most = timedelta(minutes=1)
    return min(schedule.interval / 10, most) if isinstance(schedule, Every) else most / 2


def _every(interval: timedelta) -> tuple[str, ...]:
    """By the calendar where it divides a day evenly: only that is made up for (Persistent=)."""
    seconds = round(interval.total_seconds())
    for length, text in ((60, "*:*:0/{}"), (3600, "*:0/{}"), (86400, "0/{}:00")):
        unit = length // 60 if length < 86400 else 3600
        if seconds < length and seconds % unit == 0 and length % seconds == 0:
            return (f"OnCalendar={text.format(seconds // unit)}",)
    if seconds == 86400:
        return ("OnCalendar=daily",)
    return ("OnBootSec=2min", f"OnUnitInactiveSec={seconds}s")


def _calendar(cron: Cron) -> list[str]:
    """In systemd's words both weekday and day must fit; where either will do, a line for each."""
    clock = f"{_listed(cron.hours, 24)}:{_listed(cron.minutes, 60)}"
    months, days = _listed(cron.months, 12), _listed(cron.days, 31)
    weekdays = ",".join(_WEEKDAYS[day] for day in cron.weekdays)
    if cron.either:
        return [f"*-{months}-{days} {clock}", f"{weekdays} *-{months}-* {clock}"]
    on = "" if len(cron.weekdays) == len(_WEEKDAYS) else f"{weekdays} "
    return [f"{on}*-{months}-{days} {clock}"]


def _listed(numbers: tuple[int, ...], of_all: int) -> str:
    return "*" if len(numbers) == of_all else ",".join(map(str, numbers))
