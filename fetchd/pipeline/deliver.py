"""From the outbox to the destinations: handed in as mail comes, and recorded when it is made.

Each destination has a desk: `desk` for what is on our disk, `dispatch` for what is reached
over connections. Fresh messages are handed in right after their commit; what earlier
rounds left behind is claimed from the outbox. A process that dies in between leaves its
claims to the next one, as doubtful.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from fetchd.catalog import outbox
from fetchd.contracts import Carrier, Change, DeliverySession, Outcome, Outgoing, Settled
from fetchd.pipeline.committer import Committed, Committer
from fetchd.pipeline.desk import Desk, LocalDesk
from fetchd.pipeline.dispatch import Dispatch
from fetchd.pipeline.outcomes import Outcomes
from fetchd.pipeline.storage import Storage
from fetchd.policy.retry import MAILDIR

PATIENCE = 0.3  # seconds: how long a settlement waits for others to share it
DRAIN = 15.0  # seconds for what is under way once the owner wants to leave
CLAIM = 500  # deliveries of earlier rounds taken at once


@dataclass(slots=True)
class Tally:
    """What became of one account's deliveries; `troubles` has a sentence per destination."""

    delivered: int = 0
    deferred: int = 0
    failed: int = 0
    troubles: dict[str, str] = field(default_factory=dict)

    def add(self, destination: str, settled: Settled) -> None:
        """Count one outcome."""
        match settled.outcome:
            case Outcome.DELIVERED:
                self.delivered += 1
            case Outcome.DEFERRED:
                self.deferred += 1
                self.troubles[destination] = settled.reply
            case Outcome.FAILED:
                self.failed += 1
                self.troubles[destination] = settled.reply


class Deliveries:
    """All destinations of one process."""

    def __init__(
        self,
        storage: Storage,
        committer: Committer,
        destinations: Mapping[str, DeliverySession | Carrier],
        now: Callable[[], datetime],
        stop: asyncio.Event,
    ) -> None:
        self._storage, self._committer, self._now, self._stop = storage, committer, now, stop
        self._tallies: dict[str, Tally] = {}
        self.by_destination: dict[str, Tally] = {}  # the outcomes of all, since the beginning
        self._coming = 0
        self._longest: float | None = None  # at the end
        self._all_came = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._caught_up.set()
        self._desks = {name: self._desk(name, where) for name, where in destinations.items()}

    def _desk(self, name: str, where: DeliverySession | Carrier) -> Desk:
        storage, now = self._storage, self._now
        schedule = where.terms.schedule if isinstance(where, Carrier) else MAILDIR
        outcomes = Outcomes(name, schedule, storage, self._committer, self._count, now)
        if isinstance(where, Carrier):
            return Dispatch(name, where, storage, outcomes, now, self._stop)
        return LocalDesk(where, storage, outcomes)

    async def put_fresh(self, committed: Committed) -> None:
        """Hand over what a commit has just queued; its bodies may go when this returns."""
        by_destination: dict[str, list[Outgoing]] = {}
        for message, queued in committed.deliveries:
            # Taken out, since lookalikes in one commit share a key and are one delivery.
            id_ = committed.queued.pop((queued.destination, queued.key), None)
            if id_ is None:
                continue  # it was made or queued before
            by_destination.setdefault(queued.destination, []).append(
                Outgoing(
                    id=id_, key=queued.key, account=queued.account, digest=queued.digest,
                    size=message.fetched.body.size, queued_at=queued.queued_at, attempts=0,
                    doubtful=False, body=message.fetched.body, mailbox=queued.mailbox,
                    flags=message.fetched.remote.flags, arrived=message.fetched.remote.arrived,
                    folder=queued.folder, label=queued.label,
                )
            )  # fmt: skip
        for destination, outgoing in by_destination.items():
            await self._desks[destination].put(outgoing)

    async def put_overdue(self, *, patient: bool = False) -> None:
        """Hand over what earlier rounds left; `patient` respects the times of deferred ones."""
        self._caught_up.clear()
        try:
            for name, desk in [*self._desks.items()]:  # others may come meanwhile
                if until := await desk.due(self._now(), patient=patient):
                    await self._put_due(name, desk, until)
        finally:
            self._caught_up.set()

    async def _put_due(self, name: str, desk: Desk, until: datetime) -> None:
        last = 0
        while not self._stop.is_set() and self._desks.get(name) is desk:
            claimed = await self._storage.blocking(
                outbox.claim_due, self._storage.catalog, [name], until, CLAIM, last
            )
            if not claimed:
                return
            last = claimed[-1].id
            await desk.put_stored(claimed)

    async def put_held(self, ids: Sequence[int]) -> None:
        """Hand over deliveries that are in our hands, from the archive."""
        rows = await self._storage.blocking(outbox.outgoing, self._storage.catalog, ids)
        for row in rows:
            await self._desks[row.destination].put_stored([row])

    async def catch_up(self, destination: str) -> None:
        """What is owed there from before, or was put there, has an outcome on return."""
        await self._caught_up.wait()
        await self._desks[destination].settle()

    async def follow(self, destination: str, changes: Sequence[Change]) -> None:
        """Let a mirror follow what became of messages on their server."""
        await self._desks[destination].follow(changes)

    async def held(
        self, destination: str, account: str, mailbox: str, keys: Collection[str]
    ) -> frozenset[str]:
        """Those deliveries whose message the mirror still has there."""
        return await self._desks[destination].held(account, mailbox, keys)

    async def settle(
        self, destinations: Iterable[str] | None = None, *, last: bool = False
    ) -> None:
        """What was put there (or anywhere) before this call has an outcome on return.

        Where that takes long, what is still waiting is left to the next round; `last`: the
        process is about to end, so more patience is due.
        """
        names = self._desks if destinations is None else destinations
        await asyncio.gather(*(self._desks[name].settle(last=last) for name in names))

    def _count(self, destination: str, account: str, settled: Settled) -> None:
        self._tallies.setdefault(account, Tally()).add(destination, settled)
        self.by_destination.setdefault(destination, Tally()).add(destination, settled)

    @asynccontextmanager
    async def more_to_come(self) -> AsyncIterator[None]:
        """While somebody may still put something."""
        self._coming += 1
        self._all_came.clear()
        try:
            yield
        finally:
            self._coming -= 1
            if not self._coming:
                self._all_came.set()

    async def settle_together(self, destinations: Iterable[str]) -> None:
        """`settle`, after a moment in which others may join: fewer syncs for many accounts."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._all_came.wait()
        await self.settle(destinations)

    def take_tally(self, account: str) -> Tally:
        """The outcomes for one account since the last call."""
        return self._tallies.pop(account, Tally())

    def take_other_tallies(self) -> dict[str, Tally]:
        """The outcomes of all accounts that nobody has taken."""
        taken, self._tallies = self._tallies, {}
        return taken

    async def replace(self, destinations: Mapping[str, DeliverySession | Carrier]) -> None:
        """These are new, or other ones now: what waits at the old ones goes to them."""
        old = [self._desks[name] for name in destinations if name in self._desks]
        for name, where in destinations.items():
            self._desks[name] = self._desk(name, where)
        await asyncio.gather(*(_retire(desk) for desk in old))

    async def remove(self, names: Iterable[str]) -> None:
        """Nothing goes there any more; what is owed there stays so."""
        for name in names:
            if desk := self._desks.pop(name, None):
                await _retire(desk)

    def hurry(self, seconds: float) -> None:
        """`close` has no more time than this: the owner has waited long enough."""
        self._longest = seconds

    async def close(self) -> None:
        """Let go of all destinations; what was put and not settled stays owed."""
        patience = DRAIN if self._longest is None else min(DRAIN, self._longest)
        await asyncio.gather(*(desk.close(patience) for desk in self._desks.values()))


async def _retire(desk: Desk) -> None:
    """Nothing is handed in there any more; what was has its outcome, or is let go of."""
    await desk.refuse()
    await desk.settle()
    await desk.close(DRAIN)
