"""Instants as whole microseconds since 1970: how catalog and journal write them down."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """An aware instant as it is stored."""
    return (at - _EPOCH) // _MICROSECOND


def moment(stored: int) -> datetime:
    """What `micros` stored."""
    return _EPOCH + timedelta(microseconds=stored)


def micros_or_none(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def moment_or_none(stored: int | None) -> datetime | None:
    return None if stored is None else moment(stored)
