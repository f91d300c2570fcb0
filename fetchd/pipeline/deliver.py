"""From the outbox to the destinations: put as they come, settled together, then recorded.

Fresh messages are handed over right after their commit, while their octets are
still at hand; what earlier rounds left behind is read from the archive. Nothing
is a fact before `settle`: the destination makes all that was put durable at
once, and the outcomes go into the catalog in one transaction. Whoever waits for
a settlement shares it with everybody who waits at that moment, so a hundred
accounts that deliver to one Maildir cost few journal commits of its file system.

A process that dies in between leaves its claims to the next one, as doubtful.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from fetchd.catalog import keeping, outbox
from fetchd.catalog.outbox import OutgoingRow
from fetchd.contracts import Change, DeliverySession, Outcome, Outgoing, Settled
from fetchd.errors import ArchiveDamaged
from fetchd.pipeline.committer import Committed, Committer
from fetchd.pipeline.storage import Storage, make_spool
from fetchd.policy.retry import MAILDIR, retry_at
from fetchd.values import Struct

SETTLE_MESSAGES = 4000  # put and not settled: more would wait too long for being a fact
SETTLE_OCTETS = 256 << 20
PATIENCE = 0.3  # seconds: how long a settlement waits for others to share it
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
        destinations: Mapping[str, DeliverySession],
        now: Callable[[], datetime],
    ) -> None:
        self._storage, self._now = storage, now
        self._tallies: dict[str, Tally] = {}
        self._coming = 0
        self._all_came = asyncio.Event()
        self._caught_up = asyncio.Event()
        self._caught_up.set()
        self._desks = {
            name: _Desk(name, session, self._count, storage, committer, now)
            for name, session in destinations.items()
        }

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
                )
            )  # fmt: skip
        for destination, outgoing in by_destination.items():
            await self._desks[destination].put(outgoing)

    async def put_overdue(self, *, patient: bool = False) -> None:
        """Hand over what earlier rounds left; `patient` respects the times of deferred ones.

        A round that a person or a timer asks for is not patient: a local
        destination that works again shall get its mail at once.
        """
        self._caught_up.clear()
        try:
            await self._put_overdue(patient)
        finally:
            self._caught_up.set()

    async def _put_overdue(self, patient: bool) -> None:
        names = list(self._desks)
        last = 0
        while names:
            until = self._now() if patient else datetime.max.replace(tzinfo=self._now().tzinfo)
            claimed = await self._storage.blocking(
                outbox.claim_due, self._storage.catalog, names, until, CLAIM, last
            )
            if not claimed:
                return
            last = claimed[-1].id
            for row in claimed:
                await self._put_stored(row)

    async def put_held(self, ids: Sequence[int]) -> None:
        """Hand over deliveries that are in our hands, from the archive."""
        rows = await self._storage.blocking(outbox.outgoing, self._storage.catalog, ids)
        for row in rows:
            await self._put_stored(row)

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

    async def _put_stored(self, row: OutgoingRow) -> None:
        desk = self._desks[row.destination]
        if row.location is None:
            await desk.defer(row, "The archive does not hold this message now.")
            return
        spool = make_spool(self._storage)
        try:
            body = await self._storage.blocking(
                self._storage.archive.body, row.location, row.size, spool
            )
        except ArchiveDamaged as damage:
            # Marked, so that the next sync fetches it again where a server still has it.
            await self._storage.blocking(keeping.mark_damaged, self._storage.catalog, [row.digest])
            await desk.defer(row, f"{damage} {damage.advice}")
            return
        try:
            await desk.put(
                [
                    Outgoing(
                        id=row.id, key=row.key, account=row.account, digest=row.digest,
                        size=row.size, queued_at=row.queued_at, attempts=row.attempts,
                        doubtful=row.doubtful, body=body, mailbox=row.mailbox,
                        flags=row.flags, arrived=row.arrived,
                    )
                ]
            )  # fmt: skip
        finally:
            body.discard()

    async def settle(self, destinations: Iterable[str] | None = None) -> None:
        """All that was put there (or anywhere) before this call has an outcome on return."""
        names = self._desks if destinations is None else destinations
        await asyncio.gather(*(self._desks[name].settle() for name in names))

    def _count(self, destination: str, account: str, settled: Settled) -> None:
        self._tallies.setdefault(account, Tally()).add(destination, settled)

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

    async def close(self) -> None:
        """Let go of all destinations; what was put and not settled stays owed."""
        for desk in self._desks.values():
            await desk.close()


class _Put(Struct, frozen=True):
    account: str
    key: str
    attempts: int


class _Desk:
    """One destination: what was put there and not settled yet."""

    def __init__(
        self,
        name: str,
        session: DeliverySession,
        count: Callable[[str, str, Settled], None],
        storage: Storage,
        committer: Committer,
        now: Callable[[], datetime],
    ) -> None:
        self._name, self._session, self._count = name, session, count
        self._storage, self._committer, self._now = storage, committer, now
        self._open: dict[int, _Put] = {}
        self._octets = 0
        self._turn = asyncio.Lock()

    async def put(self, outgoing: Sequence[Outgoing]) -> None:
        # Before the put: a settlement may run at any moment behind it.
        self._open |= {one.id: _Put(one.account, one.key, one.attempts) for one in outgoing}
        await self._session.put(outgoing)
        self._octets += sum(one.size for one in outgoing)
        if len(self._open) >= SETTLE_MESSAGES or self._octets >= SETTLE_OCTETS:
            await self.settle()

    async def settle(self) -> None:
        async with self._turn:
            if not self._open:
                return  # the settlement that we waited for was ours too
            self._octets = 0
            settled = await self._session.settle()
            puts = {one.id: self._open.pop(one.id) for one in settled if one.id in self._open}
            await self._record(settled, puts)

    async def follow(self, changes: Sequence[Change]) -> None:
        async with self._turn:
            await self._session.follow(changes)

    async def held(self, account: str, mailbox: str, keys: Collection[str]) -> frozenset[str]:
        async with self._turn:
            return await self._session.held(account, mailbox, keys)

    async def defer(self, row: OutgoingRow, reason: str) -> None:
        """This delivery cannot even be tried now."""
        deferred = Settled(row.id, Outcome.DEFERRED, reason)
        await self._record([deferred], {row.id: _Put(row.account, row.key, row.attempts)})

    async def _record(self, settled: Sequence[Settled], puts: Mapping[int, _Put]) -> None:
        now = self._now()
        later = {
            one.id: retry_at(puts[one.id].attempts + 1, now, random.random(), MAILDIR)  # noqa: S311
            for one in settled
            if one.outcome is Outcome.DEFERRED and one.id in puts
        }
        await self._storage.blocking(outbox.settle, self._storage.catalog, settled, now, later)
        for one in settled:
            if put := puts.get(one.id):
                self._count(self._name, put.account, one)
        self._committer.note_delivered(self._made(settled, puts))

    def _made(
        self, settled: Iterable[Settled], puts: Mapping[int, _Put]
    ) -> Iterable[tuple[str, str]]:
        for one in settled:
            if one.outcome is Outcome.DELIVERED and one.id in puts:
                yield self._name, puts[one.id].key

    async def close(self) -> None:
        # What was put and not settled stays in our hands: once this process has
        # ended, the next one takes it over as doubtful, which it may be.
        await self._session.close()
