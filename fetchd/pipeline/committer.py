"""Group commit: the batches of all accounts become durable together.

One task per process takes every batch that waits, appends them to the open
segment with one fsync, and records them in one transaction: messages, remote
states and deliveries together, so that sync state and outbox can never disagree
with the archive. Hashing and compressing happen before, in parallel, in
threads; the order archive first, catalog second is what makes a crash in
between repairable (the segment's journal is replayed at the next start).

Identical octets are stored once. A batch is packed without what the catalog knew
by then; where another account's batch was quicker with the same mail, it is packed
again in its turn, without that.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime

from fetchd.archive.names import entry_name
from fetchd.archive.packing import Packed, pack
from fetchd.catalog import inventory as inventories
from fetchd.catalog.copies import known_copies
from fetchd.contracts import (
    Body,
    Commit,
    Fetched,
    Location,
    QueuedDelivery,
    RemoteRecord,
    StoredMessage,
)
from fetchd.errors import ArchiveError, CatalogError, FetchdError
from fetchd.message import examine
from fetchd.pipeline.owing import Origin, Piece, deliveries, hand, place_key
from fetchd.pipeline.storage import Storage, commit
from fetchd.policy.plan import RemoteMessage
from fetchd.policy.routing import Handed
from fetchd.values import Struct

GROUP_OCTETS = 16 << 20  # one fsync for at most so much: bounds memory and what a crash costs


class Examined(Piece, frozen=True):
    """One fetched message with what can be read off it."""

    fetched: Fetched


class Committed(Struct, frozen=True):
    """What is durable now, and the ids of the deliveries it made, by (destination, key)."""

    messages: tuple[Examined, ...]
    queued: dict[tuple[str, str], int]
    deliveries: tuple[tuple[Examined, QueuedDelivery], ...]


@dataclass(slots=True)
class _Batch:
    """A prepared batch; `fresh` are the messages whose octets are in `packed`, in order."""

    origin: Origin
    messages: tuple[Examined, ...]
    fresh: tuple[Examined, ...]
    packed: Packed
    handed: Sequence[tuple[Handed, ...]]  # to whom each of the messages goes
    seen_at: datetime
    done: "asyncio.Future[Committed]"
    octets: int = field(init=False)

    def __post_init__(self) -> None:
        self.octets = sum(one.fetched.body.size for one in self.messages)


class Committer:
    """Takes batches from any number of accounts; `run` must be running meanwhile."""

    def __init__(self, storage: Storage, now: Callable[[], datetime]) -> None:
        self._storage, self._now = storage, now
        self._waiting: list[_Batch] = []
        self._ended = False
        self._arrival = asyncio.Event()
        self._delivered: list[tuple[str, str]] = []
        self.commits = 0  # groups that became durable

    async def commit(
        self,
        origin: Origin,
        batch: Sequence[Fetched],
        turn: asyncio.Event | None = None,
        following: asyncio.Event | None = None,
    ) -> Committed:
        """Make a batch durable; on return it is in the archive and in the catalog.

        Batches are prepared side by side, and the smaller would overtake: this one is written
        not before `turn`, and what waits for `following` not before this one.
        """
        done: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        try:
            prepared = await self._storage.blocking(self._prepare, origin, batch, done)
            if turn is not None:
                await turn.wait()
            if self._ended:
                prepared.packed.discard()
                raise asyncio.CancelledError
            self._waiting.append(prepared)
            self._arrival.set()
        finally:
            if following is not None:
                following.set()
        return await done

    async def adopt(self, records: Sequence[RemoteRecord]) -> None:
        """Record that these uids hold messages that are stored already."""
        if records:
            await self._storage.blocking(self._write_facts, records)

    async def link(
        self,
        origin: Origin,
        known: Mapping[RemoteMessage, bytes],
        destinations: Set[str] | None = None,
    ) -> list[int]:
        """Record that messages, whose digests are given, are in this mailbox (too).

        All mirrors, or these, are owed them there; gives the ids of the deliveries, which
        are in our hands. What `keep` has let go nobody could deliver: it is left out where a
        mirror wants it, and so will be fetched.
        """
        now = self._now()
        if any(owed.mirror for owed in origin.owed):
            catalog = self._storage.catalog
            expired = await self._storage.blocking(inventories.let_go, catalog, {*known.values()})
            known = {m: digest for m, digest in known.items() if digest not in expired}
        records = [
            RemoteRecord.of(origin.account, origin.mailbox, message, digest, now, origin.rules)
            for message, digest in known.items()
        ]
        deliveries = [
            QueuedDelivery(
                owed.destination, digest, origin.account, origin.mailbox, message.uid, now,
                place_key(origin, message.uid, digest),
            )
            for message, digest in known.items()
            for owed in origin.owed
            if owed.mirror and (destinations is None or owed.destination in destinations)
        ]  # fmt: skip
        queued = await self._storage.blocking(self._write_facts, records, deliveries)
        return list(queued.values())

    async def owe(self, deliveries: Sequence[QueuedDelivery]) -> list[int]:
        """Queue deliveries of what is stored; the ids of the new ones, which are in our hands."""
        queued = await self._storage.blocking(self._write_facts, (), deliveries)
        return list(queued.values())

    def note_delivered(self, settled: Iterable[tuple[str, str]]) -> None:
        """These (destination, key) pairs go into the journal with the next commit."""
        self._delivered += settled

    async def flush(self) -> None:
        """Write what `note_delivered` was told, so that a rebuild repeats no delivery."""
        if self._delivered:
            await self._storage.blocking(self._write_facts)

    async def run(self) -> None:
        """Commit what waits, group by group, until cancelled; then nobody waits for it."""
        group: list[_Batch] = []
        try:
            while True:
                await self._arrival.wait()
                group = [self._waiting.pop(0)]
                octets = group[0].octets
                while self._waiting and octets + self._waiting[0].octets <= GROUP_OCTETS:
                    group.append(self._waiting.pop(0))
                    octets += group[-1].octets
                if not self._waiting:
                    self._arrival.clear()
                await self._commit_group(group)
        finally:
            self._ended = True
            for batch in (*group, *self._waiting):
                batch.done.cancel()

    async def beat(self) -> bool:
        """Whether commits still come to their end: True, sooner or later, if they do."""
        await self._storage.blocking(self._until_idle)
        return not self._ended

    async def close(self) -> None:
        """Wait for what a thread may still be writing; to be called when `run` has ended."""
        await self._storage.blocking(self._until_idle)

    def _until_idle(self) -> None:
        with self._storage.writing:
            pass

    async def _commit_group(self, group: list[_Batch]) -> None:
        results: Sequence[Committed | FetchdError]
        try:
            results = await self._storage.blocking(self._write_group, group)
        except (ArchiveError, CatalogError) as error:
            results = [error] * len(group)
        for batch, result in zip(group, results, strict=True):
            if batch.done.done():
                continue  # whoever waited for it was cancelled
            if isinstance(result, Committed):
                batch.done.set_result(result)
            else:
                batch.done.set_exception(result)

    # -- In threads ------------------------------------------------------------

    def _prepare(
        self, origin: Origin, batch: Sequence[Fetched], done: "asyncio.Future[Committed]"
    ) -> _Batch:
        """Hash, summarise, and compress what is new."""
        now = self._now()
        messages = tuple(_examined(fetched, now) for fetched in batch)
        known = inventories.known_digests(self._storage.catalog, {m.digest for m in messages})
        fresh = _first_of_each(messages, known)
        handed = self._hand(origin, messages, known)
        return _Batch(origin, messages, fresh, self._pack(origin, fresh), handed, now, done)

    def _hand(
        self, origin: Origin, messages: Sequence[Examined], known: Set[bytes]
    ) -> list[tuple[Handed, ...]]:
        copies = set[bytes]()
        if origin.asks_for_duplicates:
            keys = {one.summary.copy_key for one in messages}
            copies = known_copies(self._storage.catalog, keys)
        handed = []
        for one in messages:
            key = one.summary.copy_key
            duplicate = one.digest in known or key in copies
            handed.append(hand(origin, one, one.fetched.body, duplicate=duplicate))
            copies.add(key)
        return handed

    def _pack(self, origin: Origin, messages: Sequence[Examined]) -> Packed:
        try:
            return pack([_entry(origin, one) for one in messages], self._storage.spool)
        except OSError as error:
            raise ArchiveError(
                f"{self._storage.spool} cannot be used: {error.strerror or error}."
            ) from error

    def _write_group(self, group: Sequence[_Batch]) -> list[Committed | ArchiveError]:
        """What became of each batch; one that cannot be read again fails alone."""
        with self._storage.writing:
            failed = self._pack_what_is_new_by_now(group)
            whole = [batch for batch in group if id(batch) not in failed]
            written = iter(self._append_and_record(whole) if whole else ())
            return [failed.get(id(batch)) or next(written) for batch in group]

    def _pack_what_is_new_by_now(self, group: Sequence[_Batch]) -> dict[int, ArchiveError]:
        """Pack again where somebody has stored the same mail meanwhile, or `keep` let it go."""
        digests = {one.digest for batch in group for one in batch.messages}
        known = inventories.known_digests(self._storage.catalog, digests)
        failed: dict[int, ArchiveError] = {}
        for batch in group:
            fresh = _first_of_each(batch.messages, known)
            if fresh != batch.fresh:
                batch.packed.discard()
                try:
                    batch.packed = self._pack(batch.origin, fresh)
                except ArchiveError as error:
                    failed[id(batch)] = error
                    continue
                batch.fresh = fresh
            known |= {one.digest for one in fresh}
        return failed

    def _append_and_record(self, group: Sequence[_Batch]) -> list[Committed | ArchiveError]:
        made = [_deliveries(batch) for batch in group]
        delivered = list(self._delivered)

        def commit_of(places: Sequence[Sequence[Location]]) -> Commit:
            return Commit(
                messages=tuple(
                    message
                    for batch, located in zip(group, places, strict=True)
                    for message in _stored(batch, located)
                ),
                remotes=tuple(record for batch in group for record in _remotes(batch)),
                deliveries=tuple(queued for deliveries in made for _, queued in deliveries),
                delivered=tuple(delivered),
            )

        queued = commit(self._storage, [batch.packed for batch in group], commit_of)
        self.commits += 1
        del self._delivered[: len(delivered)]
        return [
            Committed(batch.messages, queued, deliveries)
            for batch, deliveries in zip(group, made, strict=True)
        ]

    def _write_facts(
        self, remotes: Sequence[RemoteRecord] = (), deliveries: Sequence[QueuedDelivery] = ()
    ) -> dict[tuple[str, str], int]:
        """A commit without octets."""
        with self._storage.writing:
            delivered = tuple(self._delivered)
            facts = Commit(
                remotes=tuple(remotes), deliveries=tuple(deliveries), delivered=delivered
            )
            queued = commit(self._storage, (), lambda _: facts)
            del self._delivered[: len(delivered)]
            return queued


def _first_of_each(messages: Sequence[Examined], known: Set[bytes]) -> tuple[Examined, ...]:
    """Those whose octets are new, each octets once."""
    fresh = {one.digest: one for one in reversed(messages) if one.digest not in known}
    return tuple(reversed(fresh.values()))


def _examined(fetched: Fetched, now: datetime) -> Examined:
    digest, summary, arrived = examine(fetched.body.chunks())
    remote = fetched.remote
    return Examined(remote, digest, summary, remote.arrived or arrived or now, fetched)


def _entry(origin: Origin, one: Examined) -> tuple[str, int, Body]:
    name = entry_name(origin.account, origin.mailbox, one.fetched.remote.uid, one.digest)
    return name, int(one.internal_date.timestamp()), one.fetched.body


def _stored(batch: _Batch, located: Sequence[Location]) -> Iterable[StoredMessage]:
    """The batch's messages; those whose octets were stored before have no location."""
    places = {one.digest: at for one, at in zip(batch.fresh, located, strict=True)}
    for one in batch.messages:
        yield StoredMessage(
            digest=one.digest,
            size=one.fetched.body.size,
            location=places.pop(one.digest, None),
            summary=one.summary,
            internal_date=one.internal_date,
        )


def _remotes(batch: _Batch) -> Iterable[RemoteRecord]:
    origin = batch.origin
    for one in batch.messages:
        yield RemoteRecord.of(
            origin.account, origin.mailbox, one.fetched.remote, one.digest, batch.seen_at,
            origin.rules,
        )  # fmt: skip


def _deliveries(batch: _Batch) -> tuple[tuple[Examined, QueuedDelivery], ...]:
    return tuple(
        (one, queued)
        for one, handed in zip(batch.messages, batch.handed, strict=True)
        for queued in deliveries(batch.origin, one, handed, batch.seen_at)
    )
