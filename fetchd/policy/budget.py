"""What is left of a provider's allowance, and when there is more. Pure: facts and a clock in.

Providers say "a day" and "an hour", and not when these begin; whoever is locked out waits a
whole one. So the windows roll, which keeps any beginning: in no 24 hours more than a day's
octets, in no 60 minutes more than an hour's logins. What was spent is remembered by spans
(an hour, a minute), and each counts until the last of it is surely out of the window.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from fetchd.values import Struct


class What(StrEnum):
    """What is counted: octets in both directions, and logins."""

    DOWNLOAD = "download"
    UPLOAD = "upload"
    LOGINS = "logins"


class Rolling(Struct, frozen=True):
    """No more than the limit in any `window`, remembered by spans of `grain`."""

    window: timedelta
    grain: timedelta

    @property
    def memory(self) -> timedelta:
        """How long after its beginning a span counts."""
        return self.window + self.grain


_DAY = Rolling(timedelta(days=1), timedelta(hours=1))
_HOUR = Rolling(timedelta(hours=1), timedelta(minutes=1))
ROLLING = {What.DOWNLOAD: _DAY, What.UPLOAD: _DAY, What.LOGINS: _HOUR}
LONGEST_MEMORY = max(rolling.memory for rolling in ROLLING.values())

# A message of more than this share of a budget is fetched as soon as that share is free.
GREAT = 0.5

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(Struct, frozen=True):
    """So much was spent in the span that began then."""

    since: datetime
    amount: int


def span_of(what: What, now: datetime) -> datetime:
    """The beginning of the span that this moment is in."""
    return now - (now - _EPOCH) % ROLLING[what].grain


def spent(what: What, spans: Iterable[Span], now: datetime) -> int:
    """What still counts. A span that is yet to come was written by a clock that was ahead:
    it counts as far as it may be true, and not for years."""
    return sum(span.amount for span in _counting(what, spans, now))


def frees_at(what: What, spans: Iterable[Span], now: datetime, limit: int) -> datetime:
    """When less than the limit counts, if nothing more is spent; `now` if that is so already."""
    counting = sorted(_counting(what, spans, now), key=lambda span: span.since)
    left = sum(span.amount for span in counting)
    at = now if left < limit or counting else now + ROLLING[what].window  # a budget of nothing
    for span in counting:
        if left < limit:
            break
        left -= span.amount
        at = max(at, span.since + ROLLING[what].memory)
    return at


def admits(limit: int | None, so_far: int, size: int) -> bool:
    """Whether a message of this size may be asked for, where so much was spent before.

    One that is larger than what a day allows must not wait for ever: see GREAT.
    """
    if limit is None or so_far + size <= limit:
        return True
    return size > limit * GREAT and so_far < limit * (1 - GREAT)


def room_at(what: What, spans: Sequence[Span], now: datetime, limit: int, size: int) -> datetime:
    """When a message of this size will be admitted, if nothing more is spent."""
    below = limit - size + 1 if size <= limit * GREAT else int(limit * (1 - GREAT))
    return frees_at(what, spans, now, max(below, 1))


def _counting(what: What, spans: Iterable[Span], now: datetime) -> list[Span]:
    rolling = ROLLING[what]
    return [
        span
        for span in spans
        if now - rolling.memory < span.since <= now + rolling.window and span.amount > 0
    ]
