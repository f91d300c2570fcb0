"""How fast, and how long at most: the two clocks of whoever serves a destination."""

import asyncio
from collections.abc import Iterable


def clock() -> float:
    """Seconds of the event loop."""
    return asyncio.get_running_loop().time()


class Pace:
    """So many messages a minute, evenly; None: as many as come."""

    def __init__(self, per_minute: int | None) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    def pause(self) -> float:
        """Seconds until the next may go."""
        return max(0.0, self._next - clock()) if self._interval else 0.0

    def spend(self, messages: int) -> None:
        """So many go now."""
        if self._interval:
            self._next = max(self._next, clock()) + messages * self._interval


async def first_of(events: Iterable[asyncio.Event], seconds: float) -> bool:
    """Until one of them is set, at most so long; whether one was."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    return bool(done)
