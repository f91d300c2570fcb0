"""What passes between an export and its writers."""

from datetime import datetime
from pathlib import Path
from typing import Protocol, Self

from fetchd.contracts import Body
from fetchd.values import Struct

BATCH_MESSAGES = 1000  # made durable together
BATCH_OCTETS = 64 << 20


class Place(Struct, frozen=True):
    """A mailbox in which a message was seen, and its uid there."""

    account: str
    mailbox: str
    uid: bytes


class Exported(Struct, frozen=True):
    """One message on its way out; at least one place."""

    digest: bytes
    size: int
    date: datetime
    places: tuple[Place, ...]


class Writer(Protocol):
    """One export; a context manager. OSError leaves it as it is.

    Nothing half-written is ever visible as a message, and all that `written`
    counts is durable after `finish`.
    """

    written: int
    octets: int  # of messages written
    present: int
    conflicts: list[Path]

    def has(self, message: Exported) -> bool:
        """Whether nothing is to be written: it is there, or something else is in its way."""

    def put(self, message: Exported, body: Body) -> None:
        """Write it; the body may go when this returns."""

    def finish(self) -> None:
        """Make all that was put durable."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
