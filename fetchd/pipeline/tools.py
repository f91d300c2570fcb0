"""What every account's line shares within one process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import ParamSpec, Protocol, TypeVar

from fetchd.pipeline.change import Change
from fetchd.pipeline.committer import Committer
from fetchd.pipeline.deliver import Deliveries
from fetchd.pipeline.storage import Storage

P = ParamSpec("P")
T = TypeVar("T")

MEMORY = 64 << 20  # octets of bodies, over all sessions, between the socket and the disk


class Progress(Protocol):
    """Who watches; every call is cheap."""

    def phase(self, account: str, phase: str) -> None:
        """The account is at this now."""

    def expect(self, account: str, messages: int, octets: int) -> None:
        """So much more is to be fetched."""

    def fetched(self, account: str, messages: int, octets: int) -> None:
        """So much more is committed."""


class Unwatched:
    """Nobody watches."""

    def phase(self, account: str, phase: str) -> None:
        """Say nothing."""

    def expect(self, account: str, messages: int, octets: int) -> None:
        """Say nothing."""

    def fetched(self, account: str, messages: int, octets: int) -> None:
        """Say nothing."""


class MemoryBudget:
    """Octets that may be under way at once; one taker larger than all of it goes alone."""

    def __init__(self, octets: int = MEMORY) -> None:
        self._octets = octets
        self._taken = 0
        self._change = Change()
        self._door = asyncio.Lock()

    @asynccontextmanager
    async def take(self, octets: int) -> AsyncIterator[None]:
        """Wait for room, and hold it; in the order in which they came."""
        async with self._door:
            await self._change.until(
                lambda: not self._taken or self._taken + octets <= self._octets
            )
            self._taken += octets
        try:
            yield
        finally:
            self._taken -= octets
            self._change.tell()


@dataclass(slots=True)
class Tools:
    """Storage, committer, destinations, the clock, and the wish to stop."""

    storage: Storage
    committer: Committer
    deliveries: Deliveries
    now: Callable[[], datetime]
    stop: asyncio.Event
    progress: Progress
    confirm_retire: bool = False
    memory: MemoryBudget = field(default_factory=MemoryBudget)
