"""What sessions on our disk have in common: one thread at a time, and nothing to follow."""

import asyncio
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from fetchd.contracts import Change

_T = TypeVar("_T")


class OnDisk:
    """A part of contracts.DeliverySession; a mirror has more to say to the last two."""

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor
        self._lock = threading.Lock()  # a cancelled call's thread may still be running

    async def follow(self, changes: Sequence[Change]) -> None:
        """One place for all mail is no mirror of anything."""

    async def held(self, account: str, mailbox: str, keys: Collection[str]) -> frozenset[str]:
        """Nothing is followed here, so nobody needs to know."""
        return frozenset()

    async def _blocking(self, work: Callable[[], _T]) -> _T:
        def locked() -> _T:
            with self._lock:
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._executor, locked)
