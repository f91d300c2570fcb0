"""Waiting until something holds, for whoever shares it within one event loop.

An asyncio.Condition has to be entered, and waited for, before anything is given back: who is
cancelled a second time there gives back nothing. Here giving back is one call that does not
wait; and when `until` returns, the condition holds, since nobody else has run since.
"""

import asyncio
from collections.abc import Callable


class Change:
    """Those who wait look again whenever they are told, in the order in which they came."""

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[None], None] = {}

    def tell(self) -> None:
        """Something is otherwise now."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return as soon as it does, while it does."""
        while not holds():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters[waiter] = None
            try:
                await waiter
            finally:
                self._waiters.pop(waiter, None)
