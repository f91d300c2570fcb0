"""Time zones by name, and the one of this machine, which has no name that can be relied on."""

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo


class _SystemZone(tzinfo):
    """Whatever TZ or /etc/localtime says, with its changes of the clock, past and to come."""

    def utcoffset(self, at: datetime | None) -> timedelta | None:
        # astimezone() on a naive time asks the C library, and heeds `fold`.
        return None if at is None else at.replace(tzinfo=None).astimezone().utcoffset()

    def dst(self, at: datetime | None) -> timedelta | None:
        return None  # nobody asks; the offset says it all

    def tzname(self, at: datetime | None) -> str | None:
        return None if at is None else at.replace(tzinfo=None).astimezone().tzname()

    def fromutc(self, at: datetime) -> datetime:
        moment = at.replace(tzinfo=UTC).timestamp()
        return datetime.fromtimestamp(moment).replace(tzinfo=self)  # noqa: DTZ006  # it is local


_SYSTEM = _SystemZone()


def zone_of(name: str | None) -> tzinfo:
    """The zone of that name (settings have checked it); None: this machine's."""
    return _SYSTEM if name is None else ZoneInfo(name)
