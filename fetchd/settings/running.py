"""When what happens, once fetchd runs as a service, and how it is watched.

Policy's own types (`Schedule`, `Hours`) are the settings' types.
"""

import re
from datetime import time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator

from fetchd.policy.schedule import (
    SHORTEST,
    Cron,
    Every,
    Hours,
    Manual,
    Push,
    Schedule,
    cron_of,
    hours_of,
)
from fetchd.settings.values import Duration, Table, Text, in_time

MOST_JITTER = timedelta(hours=1)

_SCHEDULE = 'an interval such as "5m", a crontab line, "idle" or "manual"'


def schedule(value: object) -> Schedule:
    """As a person writes it."""
    if isinstance(value, Every | Cron | Push | Manual):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if text in ("idle", "manual"):
        return Push() if text == "idle" else Manual()
    if text.startswith("@") or len(text.split()) > 1:
        try:
            return cron_of(text)
        except ValueError as error:
            raise ValueError(f"{_SCHEDULE} ({error})") from None
    try:
        interval = in_time(value)
    except ValueError:
        raise ValueError(_SCHEDULE) from None
    if interval < SHORTEST:
        raise ValueError(f"an interval of at least {SHORTEST.total_seconds():g} s")
    return Every(interval)


def _not_pushed(found: Schedule) -> Schedule:
    if isinstance(found, Push):
        raise ValueError('an interval such as "6h", a crontab line or "manual"')
    return found


def _cron(value: object) -> Cron:
    if isinstance(value, Cron):
        return value
    try:
        return cron_of(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"a crontab line ({error})") from None


def _hours(value: object) -> Hours:
    if isinstance(value, Hours):
        return value
    return hours_of(value if isinstance(value, str) else "")


def _clock(value: object) -> time:
    if isinstance(value, time):
        return value
    text = value if isinstance(value, str) else ""
    found = re.fullmatch(r"(\d\d?):(\d\d)", text)
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        raise ValueError('a time of day such as "08:00"')
    return time(int(found[1]), int(found[2]))


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError('a time zone such as "Europe/Berlin"') from None
    return text


def _jitter(span: timedelta) -> timedelta:
    if span > MOST_JITTER:
        raise ValueError('an hour at most, such as "30s"')
    return span


def _listen(value: object) -> str:
    text = value if isinstance(value, str) else ""
    found = re.fullmatch(r"(?:\[[0-9a-fA-F:.]+\]|[^\s:\[\]/]+):(\d{1,5})", text)
    if text == "off" or (found and int(found[1]) <= 65535):
        return text
    raise ValueError('"off", or an address and a port such as "127.0.0.1:9488"')


ScheduleValue = Annotated[Schedule, PlainValidator(schedule)]
MailboxSchedule = Annotated[Schedule, PlainValidator(schedule), AfterValidator(_not_pushed)]
Jitter = Annotated[Duration, AfterValidator(_jitter)]
CronLine = Annotated[Cron, PlainValidator(_cron)]
QuietHours = Annotated[Hours, PlainValidator(_hours)]
TimeOfDay = Annotated[time, BeforeValidator(_clock)]
Zone = Annotated[Text, AfterValidator(_zone)]
Listen = Annotated[str, BeforeValidator(_listen)]


class Service(Table):
    """`fetchd serve`: what accounts do not say for themselves, and the service's own habits.

    `jitter` None: a tenth of an interval, a minute at most, and half a minute of a crontab
    line; never more than half the way to what comes next. `stalled`: a sync that makes no
    progress for so long is ended. `drain`: how long a stop waits for what is under way.
    """

    schedule: ScheduleValue = Every(timedelta(minutes=5))
    jitter: Jitter | None = None
    quiet_hours: QuietHours | None = None
    timezone: Zone | None = None
    maintenance: CronLine = cron_of("30 3 * * *")
    stalled: Duration = timedelta(minutes=10)
    drain: Duration = timedelta(seconds=30)


class Web(Table):
    """Metrics and health over HTTP."""

    listen: Annotated[Listen, Field(validate_default=True)] = "127.0.0.1:9488"
