"""How the stored octets fare: verified, damaged, expired, and what segments still hold."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from fetchd.catalog.database import Catalog
from fetchd.contracts import Commit, Location, QueuedDelivery, RemoteRecord, StoredMessage
from fetchd.instants import micros, moment, moment_or_none
from fetchd.message import Summary
from fetchd.values import Struct

_MESSAGES = """
SELECT digest, size, internal_date, message_id, date, sender, recipients, subject, header_digest,
    copy_key
FROM message WHERE digest IN ({}) ORDER BY id"""

_REMOTES = """
SELECT b.account, b.name, r.uid, r.size, r.digest, r.first_seen, r.rules, r.flags, r.arrived,
    r.object_id, r.labels
FROM remote_message r JOIN mailbox b ON b.id = r.mailbox_id WHERE r.digest IN ({})"""


class SegmentUse(Struct, frozen=True):
    """What a segment holds. `live_frames` are the octets of frames with a live message in them.

    Compare `live_frames` with `length` to tell whether compaction pays; a segment
    without live messages can be removed.
    """

    path: str
    length: int
    sealed: bool
    live: int  # messages
    live_octets: int  # of those messages, uncompressed
    live_frames: int


class VerifyMark(Struct, frozen=True):
    """Where an unfinished `fetchd verify` stands."""

    segment: str
    offset: int
    started_at: datetime


def mark_verified(catalog: Catalog, digests: Iterable[bytes], now: datetime) -> None:
    """Read back and hashed: whole."""
    with catalog.transaction() as db:
        db.executemany(
            "UPDATE message SET verified_at = ?, damaged = 0 WHERE digest = ?",
            [(micros(now), digest) for digest in digests],
        )


def mark_damaged(catalog: Catalog, digests: Iterable[bytes]) -> None:
    """Read back and not what was stored: to be fetched again where a server still has it."""
    with catalog.transaction() as db:
        db.executemany("UPDATE message SET damaged = 1 WHERE digest = ?", [(d,) for d in digests])
        db.execute("UPDATE mailbox SET listing_digest = NULL")  # the next poll must look closely


def verify_mark(catalog: Catalog) -> VerifyMark | None:
    rows = catalog.rows("SELECT segment, frame_offset, started_at FROM verify_progress")
    return VerifyMark(rows[0][0], rows[0][1], moment(rows[0][2])) if rows else None


def save_verify_mark(catalog: Catalog, mark: VerifyMark | None) -> None:
    """Remember how far verification came; None when it is done."""
    with catalog.transaction() as db:
        db.execute("DELETE FROM verify_progress")
        if mark:
            db.execute(
                "INSERT INTO verify_progress (id, segment, frame_offset, started_at)"
                " VALUES (1,?,?,?)",
                (mark.segment, mark.offset, micros(mark.started_at)),
            )


def expirable(catalog: Catalog, stored_before: datetime | None) -> list[bytes]:
    """Messages that `keep` lets go: all deliveries made and, with an instant, stored before it.

    A message that no destination was ever owed is not let go by delivery
    (`stored_before` None), only by age.
    """
    owed = (
        "SELECT 1 FROM delivery d WHERE d.digest = m.digest"
        " AND d.state IN ('pending', 'deferred', 'failed')"
    )
    sql = f"SELECT m.digest FROM message m WHERE m.segment_id NOTNULL AND NOT EXISTS ({owed})"  # noqa: S608
    if stored_before is not None:
        aged = catalog.rows(f"{sql} AND m.stored_at < ?", (micros(stored_before),))
        return [row[0] for row in aged]
    made = "SELECT 1 FROM delivery d WHERE d.digest = m.digest AND d.state = 'delivered'"
    found = [row[0] for row in catalog.rows(f"{sql} AND EXISTS ({made})")]
    return found + _passed_over(catalog)


def _passed_over(catalog: Catalog) -> list[bytes]:
    """Lookalikes that `duplicates = "skip"` did not deliver, of messages that were.

    They have no delivery of their own, but the key of the one that was made.
    """
    unowed = catalog.rows(
        "SELECT m.digest, m.copy_key FROM message m WHERE m.segment_id NOTNULL"
        " AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.digest = m.digest)"
    )
    by_key = {copy_key.hex()[:32]: digest for digest, copy_key in unowed}
    sql = "SELECT key FROM delivery WHERE destination = ? AND state = 'delivered' AND key IN ({})"
    destinations = catalog.rows("SELECT DISTINCT destination FROM delivery") if by_key else []
    made = {row[0] for name in destinations for row in catalog.each(sql, by_key, before=name)}
    return [by_key[key] for key in made]


def settle_expired(catalog: Catalog) -> None:
    """What `keep` let go was owed to nobody: that it was delivered a journal may not have heard."""
    with catalog.transaction() as db:
        db.execute(
            "UPDATE delivery SET state = 'delivered', owner = '' WHERE state = 'pending'"
            " AND digest IN (SELECT digest FROM message WHERE expired = 1)"
        )


def expired_on_servers(catalog: Catalog) -> list[bytes]:
    """Messages whose octets are gone here while a server still lists them."""
    rows = catalog.rows(
        "SELECT DISTINCT m.digest FROM message m JOIN remote_message r ON r.digest = m.digest"
        " WHERE m.expired = 1 AND r.state IN ('stored', 'retiring')"
    )
    return [row[0] for row in rows]


def facts(catalog: Catalog, digests: Sequence[bytes]) -> Commit:
    """All that a journal should say of these messages; their locations are left out.

    Written again where a segment goes, since its journal goes with it.
    """
    rows = catalog.each(
        "SELECT digest, destination, account, mailbox, uid, queued_at, key, folder, label, state"
        " FROM delivery WHERE digest IN ({}) ORDER BY id",
        digests,
    )
    return Commit(
        messages=tuple(_stored(row) for row in catalog.each(_MESSAGES, digests)),
        remotes=tuple(_remote(row) for row in catalog.each(_REMOTES, digests)),
        deliveries=tuple(
            QueuedDelivery(destination, digest, account, mailbox, uid, moment(queued), *rest)
            for digest, destination, account, mailbox, uid, queued, *rest, _ in rows
        ),
        delivered=tuple((row[1], row[6]) for row in rows if row[-1] in ("delivered", "dropped")),
    )


def _stored(row: tuple[Any, ...]) -> StoredMessage:
    digest, size, internal_date, *summary = row
    return StoredMessage(digest, size, None, Summary(*summary), moment(internal_date))


def _remote(row: tuple[Any, ...]) -> RemoteRecord:
    account, mailbox, uid, size, digest, seen, rules, flags, arrived, object_id, labels = row
    return RemoteRecord(
        account, mailbox, uid, size, digest, moment(seen), rules, flags, moment_or_none(arrived),
        object_id, labels,
    )  # fmt: skip


def segments(catalog: Catalog) -> list[SegmentUse]:
    """Every segment and what lives in it, oldest first."""
    rows = catalog.rows(
        "SELECT s.path, s.length, s.sealed, coalesce(sum(f.messages), 0),"
        " coalesce(sum(f.octets), 0), coalesce(sum(f.frame_length), 0) FROM segment s LEFT JOIN"
        " (SELECT segment_id, frame_offset, frame_length, count(*) AS messages,"
        "  sum(size) AS octets FROM message WHERE segment_id NOTNULL"
        "  GROUP BY segment_id, frame_offset, frame_length) f ON f.segment_id = s.id"
        " GROUP BY s.id, s.path, s.length, s.sealed ORDER BY s.path"
    )
    return [SegmentUse(r[0], r[1], bool(r[2]), r[3], r[4], r[5]) for r in rows]


def contents(catalog: Catalog, segment: str, offset: int = 0) -> list[tuple[bytes, int, Location]]:
    """(digest, size, location) of a segment's messages from `offset` on, in file order."""
    rows = catalog.rows(
        "SELECT m.digest, m.size, s.path, m.frame_offset, m.frame_length, m.inner FROM segment s"
        " JOIN message m ON m.segment_id = s.id WHERE s.path = ? AND m.frame_offset >= ?"
        " ORDER BY m.frame_offset, m.inner",
        (segment, offset),
    )
    return [(row[0], row[1], Location(*row[2:])) for row in rows]


def seal_segment(catalog: Catalog, segment: str) -> None:
    """Nothing will be appended to it."""
    with catalog.transaction() as db:
        db.execute("UPDATE segment SET sealed = 1 WHERE path = ?", (segment,))


def drop_segment(catalog: Catalog, segment: str) -> None:
    """The file is to be removed: what still points there counts as expired."""
    with catalog.transaction() as db:
        db.execute(
            "UPDATE message SET expired = 1, segment_id = NULL, frame_offset = NULL,"
            " frame_length = NULL, inner = NULL"
            " WHERE segment_id = (SELECT id FROM segment WHERE path = ?)",
            (segment,),
        )
        db.execute("DELETE FROM segment WHERE path = ?", (segment,))


def unlocate(catalog: Catalog, segments: Iterable[str], digests: Sequence[bytes]) -> None:
    """Forget where these messages were, if it was in one of these segments."""
    with catalog.transaction() as db:
        db.executemany(
            "UPDATE message SET segment_id = NULL, frame_offset = NULL, frame_length = NULL,"
            " inner = NULL WHERE digest = ? AND segment_id = (SELECT id FROM segment"
            " WHERE path = ?)",
            [(digest, path) for path in segments for digest in digests],
        )


def move(catalog: Catalog, moved: Iterable[tuple[bytes, Location]], length: int) -> None:
    """Compaction wrote these messages anew: from now on they are there."""
    with catalog.transaction() as db:
        for digest, at in moved:
            db.execute(
                "INSERT INTO segment (path, length) VALUES (?,?) ON CONFLICT (path)"
                " DO UPDATE SET length = excluded.length WHERE excluded.length > segment.length",
                (at.segment, length),
            )
            db.execute(
                "UPDATE message SET segment_id = (SELECT id FROM segment WHERE path = ?),"
                " frame_offset = ?, frame_length = ?, inner = ? WHERE digest = ?",
                (at.segment, at.offset, at.length, at.inner, digest),
            )
