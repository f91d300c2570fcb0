"""Let octets go as `keep` says: expire, remove dead segments, compact half-dead ones.

What a segment's journal knows must outlive it, or a rebuilt catalog would fetch
and deliver again what a server still holds. So before a segment goes, the facts
of its living messages, and of all expired ones that some server still lists, are
written into the open one.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from fetchd.archive.names import entry_name
from fetchd.archive.packing import Packed, pack
from fetchd.catalog import keeping, recording, search
from fetchd.catalog.keeping import SegmentUse
from fetchd.contracts import Body, Commit, Location
from fetchd.errors import CatalogError
from fetchd.pipeline.storage import Storage, commit, make_spool
from fetchd.telemetry import log
from fetchd.values import replace

Keep = Literal["forever", "delivered"] | timedelta

HALF_DEAD = 0.5  # of a sealed segment's octets in living frames: less is worth rewriting
BATCH = 200  # messages rewritten in one commit
BATCH_OCTETS = 8 << 20
WORTH_SEALING = 1 << 20  # octets; a smaller open segment may hold its dead for a while
CARRIED = 2000  # octets; several times what carrying one message's facts over costs
CARRIED_AT_ONCE = 5000  # messages in one journal entry


def let_expire(storage: Storage, keep: Keep, now: datetime) -> None:
    """Forget the octets that `keep` lets go; what a server still lists stays known."""
    if keep == "forever":
        return
    before = now - keep if isinstance(keep, timedelta) else None
    with storage.writing:  # or somebody may be owed one of them in between
        digests = keeping.expirable(storage.catalog, before)
        if digests:
            commit(storage, (), lambda _: Commit(expired=tuple(digests)))
    if digests:
        log().info("archive.expired", messages=len(digests))
    _make_room(storage)


def _make_room(storage: Storage) -> None:
    carried = keeping.expired_on_servers(storage.catalog)
    room = WORTH_SEALING + len(carried) * CARRIED
    uses = [use for use in keeping.segments(storage.catalog) if _worth_it(use, room)]
    with storage.writing:
        if any(not use.sealed for use in uses):
            storage.archive.seal()
        ours = storage.archive.take_sealed()
        for segment in ours:
            keeping.seal_segment(storage.catalog, segment)
    # What another process appends to is left alone.
    going = [use for use in uses if use.sealed or use.path in ours]
    rewritten = [use for use in going if _rewrite(storage, use)]
    if rewritten:
        _carry_over(storage, carried)
    for use in rewritten:
        with storage.writing:
            storage.archive.remove(use.path)  # first: what the catalog does not know is replayed
            keeping.drop_segment(storage.catalog, use.path)
        log().info("archive.compacted", segment=use.path, kept=use.live)


def _worth_it(use: SegmentUse, room: int) -> bool:
    if use.sealed:
        return use.live_frames < use.length * HALF_DEAD
    return use.live == 0 and use.length >= room


def _rewrite(storage: Storage, use: SegmentUse) -> bool:
    """Copy the living messages into the open segment, with all that is known of them.

    False where something in it is damaged: such a segment stays as it is, since a
    person may still save more of it than we can.
    """
    living = keeping.contents(storage.catalog, use.path)
    faults = dict(storage.archive.check(living))
    if damaged := [digest for digest, fault in faults.items() if fault is not None]:
        keeping.mark_damaged(storage.catalog, damaged)
        log().warning("archive.damaged", segment=use.path, messages=len(damaged))
        return False
    batch: list[tuple[bytes, int, Location]] = []
    octets = 0
    for stored in living:
        batch.append(stored)
        octets += stored[1]
        if len(batch) == BATCH or octets > BATCH_OCTETS:
            _rewrite_batch(storage, batch)
            batch, octets = [], 0
    if batch:
        _rewrite_batch(storage, batch)
    return True


def _rewrite_batch(storage: Storage, stored: Sequence[tuple[bytes, int, Location]]) -> None:
    spool = make_spool(storage)
    bodies = [storage.archive.body(at, size, spool) for _, size, at in stored]
    try:
        digests = [digest for digest, _, _ in stored]
        facts = keeping.facts(storage.catalog, digests)
        by_digest = {message.digest: message for message in facts.messages}
        dates = [int(by_digest[digest].internal_date.timestamp()) for digest in digests]
        names = [_name(storage, digest) for digest in digests]
        packed = pack(list(zip(names, dates, bodies, strict=True)), spool)
        moved: list[tuple[bytes, Location]] = []

        def commit_of(places: Sequence[Sequence[Location]]) -> Commit:
            moved.extend(zip(digests, places[0], strict=True))
            located = dict(moved)
            return replace(
                facts,
                messages=tuple(
                    replace(message, location=located[message.digest]) for message in facts.messages
                ),
            )

        with storage.writing:
            _say_again(storage, [packed], commit_of)
            keeping.move(storage.catalog, moved, 0)
    finally:
        _discard(bodies)


def _carry_over(storage: Storage, digests: Sequence[bytes]) -> None:
    """What servers still list and we have let go: said again in the open segment."""
    for start in range(0, len(digests), CARRIED_AT_ONCE):
        part = digests[start : start + CARRIED_AT_ONCE]
        facts = replace(keeping.facts(storage.catalog, part), expired=tuple(part))
        _say_again(storage, (), _always(facts))


def _always(facts: Commit) -> Callable[[object], Commit]:
    return lambda _: facts


def _say_again(
    storage: Storage,
    packed: Sequence[Packed],
    commit_of: Callable[[Sequence[Sequence[Location]]], Commit],
) -> None:
    """For the journal alone: the catalog knows more of these facts than a journal can say."""
    with storage.writing:
        recorded = storage.archive.append(packed, commit_of)
        try:
            recording.record(storage.catalog, [replace(recorded, commit=Commit())])
        except CatalogError:
            storage.archive.abandon()
            raise
        for segment in storage.archive.take_sealed():
            keeping.seal_segment(storage.catalog, segment)


def _name(storage: Storage, digest: bytes) -> str:
    seen = search.sightings(storage.catalog, digest)
    if not seen:
        return entry_name("unknown", "unknown", b"", digest)
    return entry_name(seen[0].account, seen[0].mailbox, seen[0].uid, digest)


def _discard(bodies: Sequence[Body]) -> None:
    for body in bodies:
        body.discard()
