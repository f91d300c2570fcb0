"""A destination that is reached over connections: the outbox worker of SMTP, LMTP, IMAP, programs.

Whoever hands in goes on at once: only the numbers of deliveries wait here, their bodies
are read from the archive when a connection is free, and nobody else waits for a slow or
dead peer. Connections are opened as they are needed, up to the destination's own limit,
kept for what comes next, and given back. What is in our hands is known as such in the
catalog (that is the intent), an outcome is recorded before its connection carries the
next message: a crash leaves as many in doubt as there are connections, times `batch`.

    open fails, or the peer refuses all      the whole destination is out of reach: all that
                                             waits is put off, until `policy.retry` says so
    carry fails on a line that was in use    it had gone stale: once more on a new one
    open fails while other lines stand       it wants fewer lines: those that stand go on
    carry fails on a new line                it may be this message: it is deferred; after
                                             BREAKS of them in a row, the destination is
                                             out of reach, and the next attempt counts anew
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from fetchd.catalog import outbox
from fetchd.catalog.outbox import OutgoingRow
from fetchd.contracts import Carrier, Change, Courier, Outcome, Outgoing, Settled
from fetchd.errors import (
    CatalogError,
    ConnectionFailed,
    DeliveryRefused,
    FetchdError,
    Remedy,
    RemoteProtocolError,
    Scope,
    ServerUnavailable,
    TlsFailed,
    joined,
)
from fetchd.pipeline import letters
from fetchd.pipeline.lanes import Lanes, Waiting
from fetchd.pipeline.outcomes import Attempt, Outcomes
from fetchd.pipeline.pace import Pace, first_of
from fetchd.pipeline.reaching import Reaching
from fetchd.pipeline.storage import Storage
from fetchd.values import Struct

IDLE = 5.0  # seconds: how long a connection is kept for more
PATIENCE = 20.0  # seconds without any outcome, for an account that wants to go on
LAST_CALL = 60.0  # the same, when the process is about to end
RATED = 60.0  # seconds that anybody waits where the settings allow so many a minute only
BREAKS = 3  # messages in a row at which new connections break


class Dispatch:
    """The connections to one destination, and what waits for them (desk.Desk)."""

    def __init__(
        self,
        name: str,
        carrier: Carrier,
        storage: Storage,
        outcomes: Outcomes,
        now: Callable[[], datetime],
        stop: asyncio.Event,
    ) -> None:
        self._name, self._carrier, self._terms = name, carrier, carrier.terms
        self._storage, self._outcomes, self._now, self._stop = storage, outcomes, now, stop
        self._lanes = Lanes(in_order=self._terms.in_order)
        self._pace = Pace(self._terms.per_minute)
        self._reaching = Reaching(name, self._terms.schedule, storage, now)
        self._limit = self._terms.connections  # as many as the peer has taken, if it says so
        self._breaks = 0
        self._in_hand: dict[int, Waiting] = {}
        self._couriers: set[Courier] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._busy = 0  # workers that carry something
        self._stirred = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._progress = 0
        self._closing = asyncio.Event()
        self._refusing = False
        self._fault: BaseException | None = None

    # -- Desk --------------------------------------------------------------------

    async def due(self, now: datetime, *, patient: bool) -> datetime | None:
        """A peer that asked for time gets it, whoever wants otherwise."""
        await self._reaching.refresh()
        return None if await self._reaching.out() else now

    async def put(self, outgoing: Sequence[Outgoing]) -> None:
        await self._add(
            Waiting(one.id, one.account, one.key, one.attempts, one.queued_at) for one in outgoing
        )

    async def put_stored(self, rows: Sequence[OutgoingRow]) -> None:
        await self._add(
            Waiting(row.id, row.account, row.key, row.attempts, row.queued_at) for row in rows
        )

    async def settle(self, *, last: bool = False) -> None:
        clock = asyncio.get_running_loop().time
        until = clock() + RATED if self._terms.per_minute else None
        self._update()  # the owner may want to leave
        while not self._idle.is_set():
            before, stopping = self._progress, self._stop.is_set()
            waits = (self._idle,) if stopping else (self._idle, self._stop)
            await first_of(waits, LAST_CALL if last else PATIENCE)
            if stopping != self._stop.is_set():
                self._update()  # what is not under way is not waited for any longer
                continue
            in_doubt = last and any(courier.in_doubt for courier in self._couriers)
            late = until is not None and clock() >= until
            if (self._progress == before and not in_doubt) or late:
                break
        if self._fault is not None:
            raise self._fault

    async def follow(self, changes: Sequence[Change]) -> None:
        """What is sent is sent."""

    async def held(self, account: str, mailbox: str, keys: Collection[str]) -> frozenset[str]:
        """Nothing is followed here, so nobody needs to know."""
        return frozenset()

    async def refuse(self) -> None:
        self._refusing = True

    async def close(self, patience: float) -> None:
        """Finish what is under way, and let go of what waits, for whoever comes next."""
        self._closing.set()
        self._stirred.set()
        if self._workers:
            await asyncio.wait({*self._workers}, timeout=patience)
        for worker in self._workers:
            worker.cancel()
        if self._workers:
            await asyncio.wait({*self._workers})
        for courier in [*self._couriers]:  # of workers that were cut off
            await self._part(courier)
        with suppress(CatalogError):  # then they look as if they were in doubt, and go all the same
            await self._release(self._lanes.clear())

    # -- What waits -----------------------------------------------------------------

    async def _add(self, waiting: Iterable[Waiting]) -> None:
        waiting = list(waiting)
        if out := await self._reaching.out():
            assert out.not_before is not None
            await self._put_off(waiting, joined(out.last_error, out.last_advice), out.not_before)
            return
        if self._refusing:
            await self._release(waiting)
            return
        for one in waiting:
            self._lanes.add(one)
        self._update()
        self._hire()

    async def _release(self, waiting: Iterable[Waiting]) -> None:
        """For whoever comes next."""
        ids = [one.id for one in waiting]
        await self._storage.blocking(outbox.release, self._storage.catalog, ids)

    def _hire(self) -> None:
        """As many workers as have something to do; those that wait for work are stirred."""
        self._stirred.set()
        if self._leaving or self._fault is not None:
            return
        # A worker whose peer thinks for minutes helps nobody who waits.
        wanted = min(self._limit, self._busy + -(-len(self._lanes) // self._terms.batch))
        while len(self._workers) < wanted:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._left)

    def _left(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._fault = self._fault or error
        if not self._workers:
            self._limit = self._terms.connections
        if len(self._lanes):  # they came while it took its leave
            self._hire()
        self._update()

    @property
    def _leaving(self) -> bool:
        return self._stop.is_set() or self._closing.is_set()

    def _update(self) -> None:
        under_way = self._in_hand or (len(self._lanes) and not self._leaving)
        if under_way and self._fault is None:  # else nobody shall wait for what will not come
            self._idle.clear()
        else:
            self._idle.set()

    async def _next(self) -> list[Waiting]:
        """What a connection shall carry now; nothing when it is no longer needed."""
        while not self._leaving:
            if self._lanes.ready:
                if pause := self._pace.pause():
                    await first_of((self._stop, self._closing), pause)
                    continue
                taken = self._lanes.take(self._terms.batch)
                self._pace.spend(len(taken))
                self._in_hand |= {one.id: one for one in taken}
                return taken
            self._stirred.clear()
            if not await first_of((self._stirred, self._stop), IDLE) and not self._lanes.ready:
                return []
        return []

    # -- A worker ---------------------------------------------------------------------

    async def _work(self) -> None:
        """One connection at a time, for as long as there is something to carry."""
        courier: Courier | None = None
        try:
            while taken := await self._next():
                self._busy += 1
                try:
                    courier = await self._deliver(taken, courier)
                finally:
                    self._busy -= 1
                for one in taken:
                    self._in_hand.pop(one.id, None)
                self._lanes.done(taken[0].account)
                self._update()
                self._stirred.set()
                if courier is None and len(self._couriers) >= self._limit:
                    return  # those that stand are all that it takes
        finally:
            if courier is not None:
                await self._part(courier)

    async def _deliver(self, taken: Sequence[Waiting], courier: Courier | None) -> Courier | None:
        attempts = {
            one.id: Attempt(one.account, one.key, one.attempts, one.queued_at) for one in taken
        }
        found, settled = await self._storage.blocking(self._read, taken)
        trouble: FetchdError | None = None
        ride = _Ride()
        groups = deque([found] if found else [])
        try:
            while groups and trouble is None:
                group = groups.popleft()
                ride = await self._carry(group, courier)
                courier, trouble = ride.courier, ride.trouble
                if ride.broke and len(group) > 1:  # at one of them, but which?
                    groups.extend([one] for one in group)
                else:
                    settled += ride.settled
        finally:
            for letter in found:
                letter.body.discard()
        await self._outcomes.record(settled, attempts)
        self._progress += len(settled)
        if trouble is not None:
            told = {one.id for one in settled}
            left = [one for one in taken if one.id not in told]
            if ride.crowded:
                self._limit = len(self._couriers)
                self._lanes.give_back(left)
            else:
                await self._lose_reach(left, trouble)
        return courier

    def _read(self, taken: Sequence[Waiting]) -> tuple[list[Outgoing], list[Settled]]:
        """The letters, and what becomes of those that cannot be read; blocking."""
        found: list[Outgoing] = []
        settled: list[Settled] = []
        for row in outbox.outgoing(self._storage.catalog, [one.id for one in taken]):
            letter = letters.read(self._storage, row)
            if isinstance(letter, str):
                settled.append(Settled(row.id, Outcome.DEFERRED, letter))
            else:
                found.append(letter)
        return found, settled

    async def _carry(self, group: Sequence[Outgoing], courier: Courier | None) -> "_Ride":
        """Over this connection, or a new one where it has gone stale."""
        fresh = courier is None
        while True:
            if courier is None:
                try:
                    courier = await self._carrier.open()
                except FetchdError as error:
                    if error.scope > Scope.ACCOUNT:
                        raise
                    crowded = bool(self._couriers) and error.remedy is Remedy.WAIT
                    return _Ride(trouble=error, crowded=crowded)
                self._couriers.add(courier)
            try:
                settled = await courier.carry(group)
            except FetchdError as error:
                await self._part(courier)
                courier = None
                if not fresh and isinstance(error, _STALE):
                    fresh = True
                    continue
                return self._judge(group, error)
            self._breaks = 0
            await self._reaching.confirm()
            return _Ride(tuple(settled), courier)

    def _judge(self, group: Sequence[Outgoing], error: FetchdError) -> "_Ride":
        """Whether it was about these messages, or about the destination."""
        if error.scope > Scope.ACCOUNT:
            raise error
        broke = isinstance(error, _BREAK) and not isinstance(error, TlsFailed)
        if broke and len(group) == 1:
            self._breaks += 1
        if error.scope > Scope.MESSAGE and not (broke and self._breaks < BREAKS):
            return _Ride(trouble=error)
        refused = isinstance(error, DeliveryRefused)
        outcome = Outcome.FAILED if refused else Outcome.DEFERRED
        settled = tuple(Settled(one.id, outcome, error.whole) for one in group)
        return _Ride(settled, broke=broke)

    async def _part(self, courier: Courier) -> None:
        self._couriers.discard(courier)
        await courier.close()

    # -- Whether the destination is in reach ----------------------------------------------

    async def _lose_reach(self, in_hand: Iterable[Waiting], error: FetchdError) -> None:
        """All that waits is put off; the next attempt comes later with each failure."""
        self._breaks = 0  # or one message would be enough from now on
        until = await self._reaching.lose(error)
        await self._put_off([*in_hand, *self._lanes.clear()], error.whole, until)
        self._progress += 1

    async def _put_off(self, waiting: Iterable[Waiting], reply: str, until: datetime) -> None:
        attempts = {
            one.id: Attempt(one.account, one.key, one.attempts, one.queued_at) for one in waiting
        }
        await self._outcomes.postpone(attempts, reply, until)


class _Ride(Struct, frozen=True):
    """What became of some letters, and of the connection.

    `trouble` is about the whole destination, or, if `crowded`, about one connection more
    than it takes. `broke`: the line did, perhaps at one of them.
    """

    settled: tuple[Settled, ...] = ()
    courier: Courier | None = None
    trouble: FetchdError | None = None
    broke: bool = False
    crowded: bool = False


_BREAK = (ConnectionFailed, RemoteProtocolError)
_STALE = (*_BREAK, ServerUnavailable)  # what a server says to a line that it wants to close
