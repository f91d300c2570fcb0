"""How troubles, instants, spans and sizes are said in messages. Pure."""

from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from fetchd.catalog.alerts import Alert, Kind
from fetchd.settings import Settings
from fetchd.values import Struct

_TITLES = {
    Kind.AUTHENTICATION: "account {}: the login is refused",
    Kind.ACCOUNT: "account {} needs you",
    Kind.NO_SUCCESS: "account {} was not synced for too long",
    Kind.DELIVERY_FAILED: "deliveries to {} failed for good",
    Kind.DESTINATION: "destination {} takes nothing",
    Kind.BRAKE: "account {}: removals are held back",
    Kind.QUARANTINE: "account {}: messages would not come",
    Kind.DISK: "{}: little room is left",
    Kind.DAMAGE: "the {} is damaged",
    Kind.CERTIFICATE: "account {}: the server's certificate ends soon",
    Kind.TOKEN: "{}: the login by token ends soon",
}
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_PREFIXES = ("", "k", "M", "G", "T")


class Clock(Struct, frozen=True):
    """The owner's time; `zone` None: this machine's."""

    zone: ZoneInfo | None = None

    def local(self, at: datetime) -> datetime:
        """The instant there."""
        zone: tzinfo | None = self.zone
        return at.astimezone(zone)

    def instant(self, at: datetime) -> str:
        """2026-11-25 09:30 CET."""
        return self.local(at).strftime("%Y-%m-%d %H:%M %Z").strip()


def clock_of(settings: Settings) -> Clock:
    """As `service.timezone` says."""
    zone = settings.service.timezone
    return Clock(ZoneInfo(zone) if zone else None)


def titled(one: Alert) -> str:
    """What it is about, in a few words."""
    for kind, title in _TITLES.items():
        if kind == one.kind:
            return title.format(one.subject)
    return f"{one.kind}: {one.subject}"  # of a later fetchd


def lasted(length: timedelta) -> str:
    """3 hours."""
    seconds = int(length.total_seconds())
    for size, unit in _UNITS:
        if seconds >= size:
            return counted(seconds // size, unit)
    return "less than a second"


def counted(count: int, noun: str) -> str:
    """1 message, 2,000 messages."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1] + 'ies' if noun.endswith('y') else noun + 's'}"


def octets(count: int) -> str:
    """3.4 MB."""
    size = float(count)
    for prefix in _PREFIXES:
        if size < 999.5 or prefix == _PREFIXES[-1]:
            break
        size /= 1000
    return f"{size:.{0 if not prefix or size >= 99.95 else 1}f} {prefix}B"
