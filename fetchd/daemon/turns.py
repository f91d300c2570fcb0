"""Whose turn it is to connect: so many syncs at once, so many at one host, and nobody starved.

Who asked first goes first among equals in rank; what holds a host's places occupies none of
the others'. A sync that has held a place for longer than QUANTUM is asked to let go at its
next batch boundary once somebody else waits for it, and comes again after them: a first
backup of a week does not delay a poll every five minutes.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count

from fetchd.errors import ServerUnavailable

QUANTUM = 30.0  # seconds: connecting anew costs a second or two of them


@dataclass(slots=True, eq=False)
class Place:
    """A place that is held; `yield_` asks its holder to come to an end soon."""

    host: str
    yield_: Callable[[], None]
    since: float
    asked: bool = False


@dataclass(slots=True, order=True)
class _Waiter:
    rank: int
    number: int
    host: str = field(compare=False)
    yield_: Callable[[], None] = field(compare=False)
    turn: "asyncio.Future[Place]" = field(compare=False)
    who: object = field(compare=False, default=None)


class Turns:
    """The places, and who waits for one."""

    def __init__(self, places: int, per_host: int) -> None:
        self._places, self._per_host = places, per_host
        self._clock = asyncio.get_running_loop().time
        self._held: set[Place] = set()
        self._at: Counter[str] = Counter()
        self._waiting: dict[str, list[_Waiter]] = {}
        self._numbers = count()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def held(self) -> int:
        """How many there are at it."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """How many there are that may not yet."""
        return sum(len(waiters) for waiters in self._waiting.values())

    def resize(self, places: int, per_host: int) -> None:
        """From now on; who holds a place keeps it."""
        self._places, self._per_host = places, per_host
        self._serve()

    async def take(
        self, host: str, rank: int, yield_: Callable[[], None], who: object = None
    ) -> Place:
        """Wait for a place; a lower rank goes first."""
        turn: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(rank, next(self._numbers), host, yield_, turn, who)
        heappush(self._waiting.setdefault(host, []), waiter)
        self._serve()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(turn.result())
            self._forget(waiter)
            raise

    def promote(self, host: str, who: object, rank: int) -> None:
        """Whoever waits there under that name has become more urgent."""
        waiters = self._waiting.get(host, [])
        for waiter in waiters:
            if waiter.who is who and waiter.rank > rank:
                waiter.rank = rank
        heapify(waiters)

    @asynccontextmanager
    async def spare(self, host: str) -> AsyncIterator[None]:
        """A place for one more, if nobody waits for it; ServerUnavailable if there is none."""
        full = len(self._held) >= self._places or self._at[host] >= self._per_host
        if full or self._waiting:
            raise ServerUnavailable("[limits] allow no more connections")
        place = self._hold(host, _let)
        try:
            yield
        finally:
            self.give_back(place)

    def give_back(self, place: Place) -> None:
        """For the next one; more than once does no harm."""
        if place in self._held:
            self._held.discard(place)
            self._at[place.host] -= 1
            if not self._at[place.host]:
                del self._at[place.host]
            self._serve()

    def _serve(self) -> None:
        """Let all begin that may; see to it that the others will."""
        while len(self._held) < self._places:
            ready = [
                waiters[0]
                for host, waiters in self._waiting.items()
                if self._at[host] < self._per_host
            ]
            if not ready:
                break
            self._begin(min(ready))
        self._press()

    def _begin(self, waiter: _Waiter) -> None:
        waiters = self._waiting[waiter.host]
        heappop(waiters)
        if not waiters:
            del self._waiting[waiter.host]
        if waiter.turn.done():
            return  # cancelled meanwhile
        waiter.turn.set_result(self._hold(waiter.host, waiter.yield_))

    def _hold(self, host: str, yield_: Callable[[], None]) -> Place:
        place = Place(host, yield_, self._clock())
        self._held.add(place)
        self._at[host] += 1
        return place

    def _press(self) -> None:
        """Ask those who have been at it for long, one for each who waits for what they hold."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if not self._waiting:
            return
        wanted = {host: len(waiters) for host, waiters in self._waiting.items()}
        by_age = sorted(self._held, key=lambda place: place.since)
        for place in by_age:
            if place.asked:
                self._count_down(wanted, place)
        now = self._clock()
        for place in by_age:
            if place.asked or not self._in_the_way(place, wanted):
                continue
            if place.since + QUANTUM > now:
                self._alarm = asyncio.get_running_loop().call_at(place.since + QUANTUM, self._press)
                return
            place.asked = True
            self._count_down(wanted, place)
            place.yield_()

    def _in_the_way(self, place: Place, wanted: dict[str, int]) -> bool:
        """Whether somebody could begin if this one ended: any, or who waits for the same host."""
        if wanted.get(place.host):
            return True
        full = len(self._held) >= self._places
        return full and any(
            left and self._at[host] < self._per_host for host, left in wanted.items()
        )

    def _count_down(self, wanted: dict[str, int], place: Place) -> None:
        """One of them will be served by this place."""
        if wanted.get(place.host):
            wanted[place.host] -= 1
            return
        for host, left in wanted.items():
            if left and self._at[host] < self._per_host:
                wanted[host] -= 1
                return

    def _forget(self, waiter: _Waiter) -> None:
        waiters = self._waiting.get(waiter.host, [])
        if waiter in waiters:
            waiters.remove(waiter)
            heapify(waiters)
            if not waiters:
                del self._waiting[waiter.host]


def _let() -> None:
    """A helper's connection ends with the sync that it helps."""
