"""A destination on our disk: what is put there is made durable together, then recorded.

Bodies are handed over as they come, fresh ones right after their commit. Nothing is a
fact before `settle`; whoever waits for a settlement shares it with everybody who waits
at that moment, so a hundred accounts that deliver to one Maildir cost few journal
commits of its file system.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from fetchd.catalog import outbox
from fetchd.catalog.outbox import OutgoingRow
from fetchd.contracts import Change, DeliverySession, Outcome, Outgoing, Settled
from fetchd.pipeline import letters
from fetchd.pipeline.outcomes import Attempt, Outcomes
from fetchd.pipeline.storage import Storage

SETTLE_MESSAGES = 4000  # put and not settled: more would wait too long for being a fact
SETTLE_OCTETS = 256 << 20


class Desk(Protocol):
    """Where one destination's mail is handed in, whatever kind it is."""

    async def due(self, now: datetime, *, patient: bool) -> datetime | None:
        """What fell due before is wanted now; None: nothing at all."""

    async def put(self, outgoing: Sequence[Outgoing]) -> None:
        """Hand in fresh deliveries, which are in our hands; bodies may go when this returns."""

    async def put_stored(self, rows: Sequence[OutgoingRow]) -> None:
        """Hand in claimed deliveries that are to be read from the archive."""

    async def settle(self, *, last: bool = False) -> None:
        """What was put before has an outcome, or no more is to be hoped for soon.

        `last`: the process is about to end.
        """

    async def follow(self, changes: Sequence[Change]) -> None:
        """As contracts.DeliverySession says."""

    async def held(self, account: str, mailbox: str, keys: Collection[str]) -> frozenset[str]:
        """As contracts.DeliverySession says."""

    async def refuse(self) -> None:
        """Another desk takes its place: what is handed in here from now on is let go of."""

    async def close(self, patience: float) -> None:
        """Let go; what is under way has so many seconds, what has no outcome stays owed."""


class LocalDesk:
    """One destination on our disk: what was put there and not settled yet."""

    def __init__(self, session: DeliverySession, storage: Storage, outcomes: Outcomes) -> None:
        self._session, self._storage, self._outcomes = session, storage, outcomes
        self._open: dict[int, Attempt] = {}
        self._octets = 0
        self._turn = asyncio.Lock()
        self._refusing = False
        self._putting = 0
        self._all_put = asyncio.Event()
        self._all_put.set()

    async def due(self, now: datetime, *, patient: bool) -> datetime | None:
        """A round that a person or a timer asks for is not patient.

        A disk that works again shall get its mail at once.
        """
        return now if patient else datetime.max.replace(tzinfo=now.tzinfo)

    async def put(self, outgoing: Sequence[Outgoing]) -> None:
        if self._refusing:
            ids = [one.id for one in outgoing]
            await self._storage.blocking(outbox.release, self._storage.catalog, ids)
            return
        # Before the put: a settlement may run at any moment behind it.
        self._open |= {
            one.id: Attempt(one.account, one.key, one.attempts, one.queued_at) for one in outgoing
        }
        with self._one_more_put():
            await self._session.put(outgoing)
        self._octets += sum(one.size for one in outgoing)
        if len(self._open) >= SETTLE_MESSAGES or self._octets >= SETTLE_OCTETS:
            await self.settle()

    @contextmanager
    def _one_more_put(self) -> Iterator[None]:
        self._putting += 1
        self._all_put.clear()
        try:
            yield
        finally:
            self._putting -= 1
            if not self._putting:
                self._all_put.set()

    async def refuse(self) -> None:
        self._refusing = True
        await self._all_put.wait()

    async def put_stored(self, rows: Sequence[OutgoingRow]) -> None:
        for row in rows:
            letter = await self._storage.blocking(letters.read, self._storage, row)
            if isinstance(letter, str):
                await self._defer(row, letter)
                continue
            try:
                await self.put([letter])
            finally:
                letter.body.discard()

    async def settle(self, *, last: bool = False) -> None:
        async with self._turn:
            if not self._open:
                return  # the settlement that we waited for was ours too
            self._octets = 0
            settled = await self._session.settle()
            attempts = {one.id: self._open.pop(one.id) for one in settled if one.id in self._open}
            await self._outcomes.record(settled, attempts)

    async def follow(self, changes: Sequence[Change]) -> None:
        async with self._turn:
            await self._session.follow(changes)

    async def held(self, account: str, mailbox: str, keys: Collection[str]) -> frozenset[str]:
        async with self._turn:
            return await self._session.held(account, mailbox, keys)

    async def _defer(self, row: OutgoingRow, reason: str) -> None:
        """This delivery cannot even be tried now."""
        attempt = Attempt(row.account, row.key, row.attempts, row.queued_at)
        await self._outcomes.record([Settled(row.id, Outcome.DEFERRED, reason)], {row.id: attempt})

    async def close(self, patience: float) -> None:
        # What was put and not settled stays in our hands: once this process has
        # ended, the next one takes it over as doubtful, which it may be.
        await self._session.close()
