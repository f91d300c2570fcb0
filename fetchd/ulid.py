"""Unique names that sort by the time of their making (the ULID specification's 26 letters)."""

import secrets
import time
from datetime import UTC, datetime

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_ulid() -> str:
    """48 bits of milliseconds, 80 of chance."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def made_at(ulid: str) -> datetime:
    """The instant that a name holds."""
    number = 0
    for letter in ulid[:10]:
        number = number << 5 | _ALPHABET.index(letter)
    return datetime.fromtimestamp(number / 1000, UTC)
