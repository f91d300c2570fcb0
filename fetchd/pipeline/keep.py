"""Let octets go as `keep` says: expire, remove dead segments, compact half-dead ones.

What a segment's journal knows must outlive it, or a rebuilt catalog would fetch
and deliver again what a server still holds. So before a segment goes, the facts
of its living messages, and of all expired ones that some server still lists, are
written into the open one.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from fetchd.archive.names import entry_name
from fetchd.archive.packing import pack
from fetchd.catalog import keeping, search
from fetchd.catalog.keeping import SegmentUse
from fetchd.contracts import Body, Commit, Location
from fetchd.pipeline.storage import Storage, commit, make_spool
from fetchd.telemetry import log

Keep = Literal["forever", "delivered"] | timedelta

HALF_DEAD = 0.5  # of a sealed segment's octets in living frames: less is worth rewriting
BATCH = 500  # messages rewritten in one commit
WORTH_SEALING = 1 << 20  # octets; a smaller open segment may hold its dead for a while


def let_expire(storage: Storage, keep: Keep, now: datetime) -> None:
    """Forget the octets that `keep` lets go; what a server still lists stays known."""
    if keep == "forever":
        return
    before = now - keep if isinstance(keep, timedelta) else None
    if digests := keeping.expirable(storage.catalog, before):
        expired = Commit(expired=tuple(digests))
        commit(storage, (), lambda _: expired)
        log().info("archive.expired", messages=len(digests))
    _make_room(storage)


def _make_room(storage: Storage) -> None:
    uses = [use for use in keeping.segments(storage.catalog) if _worth_it(use)]
    if any(not use.sealed for use in uses):
        storage.archive.seal()
    ours = storage.archive.take_sealed()
    for segment in ours:
        keeping.seal_segment(storage.catalog, segment)
    for use in uses:
        if not (use.sealed or use.path in ours):
            continue  # another process appends to it
        _rewrite(storage, use)
        _carry_over(storage)
        keeping.drop_segment(storage.catalog, use.path)
        storage.archive.remove(use.path)
        log().info("archive.compacted", segment=use.path, kept=use.live)


def _worth_it(use: SegmentUse) -> bool:
    if use.sealed:
        return use.live_frames < use.length * HALF_DEAD
    return use.live == 0 and use.length >= WORTH_SEALING


def _rewrite(storage: Storage, use: SegmentUse) -> None:
    """Copy the living messages into the open segment, with all that is known of them."""
    living = keeping.contents(storage.catalog, use.path)
    for start in range(0, len(living), BATCH):
        _rewrite_batch(storage, living[start : start + BATCH])


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

        commit(storage, [packed], commit_of)
        keeping.move(storage.catalog, moved, 0)
    finally:
        _discard(bodies)


def _carry_over(storage: Storage) -> None:
    """What servers still list and we have let go: said again in the open segment."""
    digests = keeping.expired_on_servers(storage.catalog)
    if digests:
        facts = replace(keeping.facts(storage.catalog, digests), expired=tuple(digests))
        commit(storage, (), lambda _: facts)


def _name(storage: Storage, digest: bytes) -> str:
    seen = search.sightings(storage.catalog, digest)
    if not seen:
        return entry_name("unknown", "unknown", b"", digest)
    return entry_name(seen[0].account, seen[0].mailbox, seen[0].uid, digest)


def _discard(bodies: Sequence[Body]) -> None:
    for body in bodies:
        body.discard()
