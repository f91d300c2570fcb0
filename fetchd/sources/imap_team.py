"""More connections for one mailbox, where the first one's line turned out to be slow.

One connection with all its questions under way fills any line: at 50 ms round trip 40 MB
take 0.23 s by one and 0.17 s by two, less than the second login. But some servers hand
out only so much by each connection, and long lines that lose packets do so by nature.
There each of a team takes its batches from the same messages.

A helper that is refused or breaks is no error (quirk 69): what it had taken and not
brought it gives back, to be fetched by whoever hired it. Nobody is hired twice.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, aclosing

from fetchd.contracts import Fetched, Unavailable
from fetchd.errors import FetchdError
from fetchd.policy.plan import RemoteMessage
from fetchd.sources.imap_bodies import Bodies

AHEAD = 4  # arrivals that may wait for the one who asked; large ones lie in files

Arrival = Fetched | Unavailable
Hire = Callable[[], AbstractAsyncContextManager[Bodies]]


class Team:
    """The helpers of one fetch, with what `own` connection goes on to bring."""

    def __init__(self, own: AsyncGenerator[Arrival, None], hire: Hire, helpers: int) -> None:
        self.returned: list[RemoteMessage] = []
        self._own, self._hire, self._helpers = own, hire, helpers
        self._room = asyncio.Semaphore(AHEAD)
        self._arrived: asyncio.Queue[Arrival | asyncio.Task[None]] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.Task[None]] = set()  # helpers that have taken nothing yet

    async def fetch(self, messages: Iterator[RemoteMessage]) -> AsyncGenerator[Arrival, None]:
        """What all of them bring, until none has anything left."""
        own = self._start(self._pump(self._own))
        self._idle = {self._start(self._help(messages)) for _ in range(self._helpers)}
        running, failed = set(self._tasks), None
        try:
            while running and failed is None:
                one = await self._arrived.get()
                if isinstance(one, asyncio.Task):
                    running.discard(one)
                    if not one.cancelled() and one.exception() is not None:
                        failed = one
                    if one is own:  # there is nothing left to take
                        running -= await _cancelled(self._idle)
                else:
                    self._room.release()
                    yield one
            await _cancelled(self._tasks)
            for one in self._left():  # what came whole before a line broke
                yield one
            if failed is not None:
                failed.result()
        finally:
            await _cancelled(self._tasks)
            for one in self._left():
                _discard(one)

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._arrived.put_nowait)
        self._tasks.add(task)
        return task

    async def _help(self, messages: Iterator[RemoteMessage]) -> None:
        taken: dict[bytes, RemoteMessage] = {}
        task = asyncio.current_task()

        def share() -> Iterator[RemoteMessage]:
            self._idle = {one for one in self._idle if one is not task}
            for message in messages:
                taken[message.uid] = message
                yield message

        try:
            async with self._hire() as bodies:
                await self._pump(bodies.fetch(share()), taken)
        except FetchdError:
            self.returned += taken.values()

    async def _pump(
        self,
        arrivals: AsyncGenerator[Arrival, None],
        taken: dict[bytes, RemoteMessage] | None = None,
    ) -> None:
        async with aclosing(arrivals):
            async for one in arrivals:
                try:
                    await self._room.acquire()
                except BaseException:
                    _discard(one)
                    raise
                if taken is not None:
                    taken.pop(one.remote.uid, None)
                self._arrived.put_nowait(one)

    def _left(self) -> Iterator[Arrival]:
        while not self._arrived.empty():
            one = self._arrived.get_nowait()
            if not isinstance(one, asyncio.Task):
                yield one


async def _cancelled(tasks: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """These, after they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return tasks


def _discard(one: Arrival) -> None:
    if isinstance(one, Fetched):
        one.body.discard()
