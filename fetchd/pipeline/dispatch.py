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
    carry fails on a new line                it may be this message: it is deferred; after
                                             BREAKS of them in a row, the destination is
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from fetchd.catalog import alerts, outbox, reach
from fetchd.catalog.alerts import Kind
from fetchd.catalog.outbox import OutgoingRow
from fetchd.catalog.reach import Reach
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
)
from fetchd.pipeline import letters
from fetchd.pipeline.lanes import Lanes, Waiting
from fetchd.pipeline.outcomes import Attempt, Outcomes
from fetchd.pipeline.storage import Storage
from fetchd.policy.retry import retry_at
from fetchd.values import Struct

IDLE = 5.0  # seconds: how long a connection is kept for more
PATIENCE = 20.0  # seconds without any outcome, for an account that wants to go on
LAST_CALL = 60.0  # the same, when the process is about to end
RATED = 60.0  # seconds that anybody waits where the settings allow so many a minute only
DRAIN = 15.0  # seconds for what is under way once the owner wants to leave
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
        self._pace = _Pace(self._terms.per_minute)
        self._reach: Reach | None = None
        self._confirmed = False
        self._breaks = 0
        self._in_hand: dict[int, Waiting] = {}
        self._couriers: set[Courier] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._stirred = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._progress = 0
        self._closing = False
        self._fault: BaseException | None = None

    # -- Desk --------------------------------------------------------------------

    async def due(self, now: datetime, *, patient: bool) -> datetime | None:
        """A peer that asked for time gets it, whoever wants otherwise."""
        return None if await self._out_of_reach() else now

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
        while not self._idle.is_set() and not (self._stop.is_set() and not self._in_hand):
            before = self._progress
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_CALL if last else PATIENCE):
                    await self._idle.wait()
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

    async def close(self) -> None:
        """Finish what is under way, and let go of what waits, for whoever comes next."""
        self._closing = True
        self._stirred.set()
        if self._workers:
            await asyncio.wait({*self._workers}, timeout=DRAIN)
        for worker in self._workers:
            worker.cancel()
        if self._workers:
            await asyncio.wait({*self._workers})
        left = [one.id for one in self._lanes.clear()]
        with suppress(CatalogError):  # then they look as if they were in doubt, and go all the same
            await self._storage.blocking(outbox.release, self._storage.catalog, left)

    # -- What waits -----------------------------------------------------------------

    async def _add(self, waiting: Iterable[Waiting]) -> None:
        waiting = list(waiting)
        if out := await self._out_of_reach():
            assert out.not_before is not None
            await self._put_off(waiting, f"{out.last_error} {out.last_advice}", out.not_before)
            return
        for one in waiting:
            self._lanes.add(one)
        self._update()
        self._hire()

    def _hire(self) -> None:
        """As many workers as have something to do; those that wait for work are stirred."""
        self._stirred.set()
        wanted = min(self._terms.connections, -(-len(self._lanes) // self._terms.batch))
        while len(self._workers) < wanted and not self._closing:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._left)

    def _left(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if not worker.cancelled() and (error := worker.exception()) is not None:
            self._fault = self._fault or error
            self._idle.set()  # nobody shall wait for what will not come

    def _update(self) -> None:
        if self._in_hand or len(self._lanes):
            self._idle.clear()
        else:
            self._idle.set()

    async def _next(self) -> list[Waiting]:
        """What a connection shall carry now; nothing when it is no longer needed."""
        while not (self._closing or self._stop.is_set()):
            if self._lanes.ready and await self._pace.permits(self._terms.batch, self._stop):
                if taken := self._lanes.take(self._terms.batch):
                    self._in_hand |= {one.id: one for one in taken}
                    return taken
                continue
            self._stirred.clear()
            try:
                async with asyncio.timeout(IDLE):
                    await self._stirred.wait()
            except TimeoutError:
                if not self._lanes.ready:
                    return []
        return []

    # -- A worker ---------------------------------------------------------------------

    async def _work(self) -> None:
        """One connection at a time, for as long as there is something to carry."""
        courier: Courier | None = None
        try:
            while taken := await self._next():
                courier = await self._deliver(taken, courier)
                for one in taken:
                    self._in_hand.pop(one.id, None)
                self._lanes.done(taken[0].account)
                self._progress += 1
                self._update()
                self._stirred.set()
        finally:
            if courier is not None:
                await self._part(courier)

    async def _deliver(self, taken: Sequence[Waiting], courier: Courier | None) -> Courier | None:
        attempts = {
            one.id: Attempt(one.account, one.key, one.attempts, one.queued_at) for one in taken
        }
        found, settled = await self._storage.blocking(self._read, taken)
        trouble: FetchdError | None = None
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
        if trouble is not None:
            told = {one.id for one in settled}
            await self._lose_reach([one for one in taken if one.id not in told], trouble)
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
                    return _Ride(trouble=error)
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
            await self._confirm_reach()
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
        settled = tuple(Settled(one.id, outcome, told(error)) for one in group)
        return _Ride(settled, broke=broke)

    async def _part(self, courier: Courier) -> None:
        self._couriers.discard(courier)
        await courier.close()

    # -- Whether the destination is in reach ----------------------------------------------

    async def _known_reach(self) -> Reach:
        if self._reach is None:
            catalog = self._storage.catalog
            self._reach = await self._storage.blocking(reach.of, catalog, self._name)
        return self._reach

    async def _out_of_reach(self) -> Reach | None:
        """Why nothing is to be tried now."""
        known = await self._known_reach()
        until = known.not_before
        return known if known.failures and until is not None and until > self._now() else None

    async def _lose_reach(self, in_hand: Iterable[Waiting], error: FetchdError) -> None:
        """All that waits is put off; the next attempt comes later with each failure."""
        known, now = await self._known_reach(), self._now()
        if known.not_before is None or known.not_before <= now:  # else another worker was first
            failures = known.failures + 1
            until = retry_at(failures, now, random.random(), self._terms.schedule)  # noqa: S311
            if isinstance(error, ServerUnavailable) and error.wait is not None:
                until = max(until, now + error.wait)
            remedy = str(error.remedy)
            known = Reach(self._name, failures, until, str(error), remedy, error.advice)
            self._reach = known
            await self._storage.blocking(self._write_lost, known, now)
        assert known.not_before is not None
        await self._put_off([*in_hand, *self._lanes.clear()], told(error), known.not_before)
        self._update()

    def _write_lost(self, known: Reach, now: datetime) -> None:
        catalog = self._storage.catalog
        reach.fail(catalog, known)
        if known.last_remedy == Remedy.OWNER:
            alerts.raise_alert(
                catalog, Kind.DESTINATION, self._name, known.last_error, known.last_advice, now
            )

    async def _put_off(self, waiting: Iterable[Waiting], reply: str, until: datetime) -> None:
        attempts = {
            one.id: Attempt(one.account, one.key, one.attempts, one.queued_at) for one in waiting
        }
        await self._outcomes.postpone(attempts, reply, until)

    async def _confirm_reach(self) -> None:
        """It took our call: what it refused before is forgotten."""
        known = await self._known_reach()
        if known.failures or not self._confirmed:
            self._confirmed = True
            self._reach = Reach(self._name)
            await self._storage.blocking(self._write_reached, self._now())

    def _write_reached(self, now: datetime) -> None:
        reach.succeed(self._storage.catalog, self._name, now)
        alerts.end_alert(self._storage.catalog, Kind.DESTINATION, self._name, now)


class _Ride(Struct, frozen=True):
    """What became of some letters, and of the connection.

    `trouble` is about the whole destination. `broke`: the line did, perhaps at one of them.
    """

    settled: tuple[Settled, ...] = ()
    courier: Courier | None = None
    trouble: FetchdError | None = None
    broke: bool = False


class _Pace:
    """So many messages a minute, evenly."""

    def __init__(self, per_minute: int | None) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def permits(self, messages: int, stop: asyncio.Event) -> bool:
        """Wait for the turn of so many; False if the owner wants to leave before."""
        if not self._interval:
            return True
        now = asyncio.get_running_loop().time()
        turn = max(self._next, now)
        self._next = turn + messages * self._interval
        with suppress(TimeoutError):
            async with asyncio.timeout(turn - now):
                await stop.wait()
        return not stop.is_set()


def told(error: FetchdError) -> str:
    """The error and its remedy, as one reply."""
    sentence = str(error)
    sentence = sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
    return f"{sentence} {error.advice}".strip()


_BREAK = (ConnectionFailed, RemoteProtocolError)
_STALE = (*_BREAK, ServerUnavailable)  # what a server says to a line that it wants to close
