"""How figures and instants are said to people, and how people say instants to us. Pure.

Instants are shown in local time, since a person reads them; JSON has UTC.
"""

import re
from datetime import UTC, datetime, timedelta

from fetchd.errors import UsageError

_PREFIXES = ("", "k", "M", "G", "T")
_STEPS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def octets(count: int) -> str:
    """A size: 512 B, 3.4 MB."""
    size = float(count)
    for prefix in _PREFIXES:
        if size < 999.5 or prefix == _PREFIXES[-1]:
            break
        size /= 1000
    digits = 0 if prefix == "" or size >= 99.95 else 1
    return f"{size:.{digits}f} {prefix}B"


def counted(count: int, noun: str) -> str:
    """1 message, 2,000 messages."""
    plural = noun if count == 1 else noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {plural}"


def span(length: timedelta) -> str:
    """A duration by its largest unit: 14 d, 3 h, 0.4 s."""
    seconds = length.total_seconds()
    for unit, size in _STEPS:
        if seconds >= size:
            whole = seconds / size
            return f"{whole:.1f} {unit}" if whole < 10 and unit == "s" else f"{int(whole)} {unit}"
    return f"{max(seconds, 0):.1f} s"


def instant(at: datetime) -> str:
    """2026-11-25 09:30:00, here."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def ago(at: datetime, now: datetime) -> str:
    """How long before (or after) now."""
    if at > now:
        return f"in {span(at - now)}"
    return "just now" if now - at < timedelta(seconds=1) else f"{span(now - at)} ago"


def iso(at: datetime | None) -> str | None:
    """An instant for JSON: 2026-11-25T08:30:00Z."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def since(text: str, now: datetime) -> datetime:
    """What a person means by 2026-11-01, 2026-11-01T18:30, yesterday, or 7d (before now)."""
    word = text.strip().lower()
    midnight = now.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    if word in ("today", "yesterday"):
        day = midnight if word == "today" else midnight - timedelta(days=1)
        return datetime(day.year, day.month, day.day).astimezone()
    try:
        if age := re.fullmatch(r"(\d{1,6})\s*([mhdw])", word):
            return now - timedelta(**{_UNITS[age[2]]: int(age[1])})
        found = datetime.fromisoformat(text.strip())
        found = found if found.tzinfo else found.astimezone()
        found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(
            f"'{text}' is no date",
            advice="Write 2026-11-01, 2026-11-01T18:30, yesterday, or an age such as 7d or 12h.",
        ) from None
    return found
