"""Write down what the archive made durable: the group commit's one transaction.

This is also the path by which recovery and `fetchd rebuild` replay segments, so
everything here may be repeated, and may come in any order: a delivery that is
reported as made before it was queued is remembered as such.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from fetchd.catalog.database import Catalog, insert_many
from fetchd.contracts import Commit, QueuedDelivery, Recorded, RemoteRecord, StoredMessage
from fetchd.instants import micros, micros_or_none

REPLAYED = "replay"  # owner of replayed deliveries: nobody alive, so they are doubtful

# A uid that the server gave to another message begins anew: `first_seen` is the new
# one's, or a window of days would let it go at once.
# A stored location is kept, unless its octets are gone or spoilt. A replay of the
# very commit that is spoilt does not heal it.
_MESSAGE = """
INSERT INTO message (digest, size, segment_id, frame_offset, frame_length, inner, internal_date,
    message_id, date, sender, recipients, subject, header_digest, copy_key, stored_at)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
ON CONFLICT (digest) DO UPDATE SET segment_id = excluded.segment_id,
    frame_offset = excluded.frame_offset, frame_length = excluded.frame_length,
    inner = excluded.inner, damaged = 0, expired = 0
WHERE excluded.segment_id IS NOT NULL AND (message.segment_id IS NULL OR message.expired = 1
    OR (message.damaged = 1 AND (message.segment_id <> excluded.segment_id
        OR message.frame_offset <> excluded.frame_offset)))"""

_REMOTE = """
INSERT INTO remote_message (mailbox_id, uid, size, digest, state, rules, first_seen, fetched_at,
    flags, arrived, object_id, labels)
VALUES (?,?,?,?,'stored',?,?,?,?,?,?,?)
ON CONFLICT (mailbox_id, uid) DO UPDATE SET size = excluded.size,
    first_seen = CASE WHEN remote_message.digest <> excluded.digest THEN excluded.first_seen
        ELSE remote_message.first_seen END,
    digest = excluded.digest,
    state = 'stored', rules = excluded.rules, fetched_at = excluded.fetched_at,
    retired_at = NULL, attempts = 0, retry_at = NULL, reason = '', flags = excluded.flags,
    arrived = excluded.arrived, object_id = excluded.object_id, labels = excluded.labels"""

_DELIVERY = """
INSERT INTO delivery (destination, key, digest, account, mailbox, uid, state, queued_at, owner,
    folder, label)
VALUES (?,?,?,?,?,?,'pending',?,?,?,?)
ON CONFLICT (destination, key) DO UPDATE SET digest = excluded.digest,
    account = excluded.account, mailbox = excluded.mailbox, uid = excluded.uid,
    queued_at = excluded.queued_at, folder = excluded.folder, label = excluded.label
WHERE delivery.digest = x''"""

# Settled for good: delivered, or dropped by the owner, which a rebuild cannot tell apart.
_DELIVERED = """
INSERT INTO delivery (destination, key, digest, account, mailbox, uid, state, queued_at)
VALUES (?,?,x'','','',x'','delivered',0)
ON CONFLICT (destination, key) DO UPDATE SET state = 'delivered', owner = ''
WHERE delivery.state <> 'dropped'"""

_EXPIRED = """UPDATE message SET expired = 1, segment_id = NULL, frame_offset = NULL,
    frame_length = NULL, inner = NULL WHERE digest = ?"""

_SEGMENT = """
INSERT INTO segment (path, length) VALUES (?,?) ON CONFLICT (path) DO UPDATE
SET length = excluded.length WHERE excluded.length > segment.length"""


def record(
    catalog: Catalog, recorded: Sequence[Recorded], *, replay: bool = False
) -> dict[tuple[str, str], int]:
    """Record commits in one transaction; the new pending deliveries, (destination, key) -> id.

    The new deliveries are held by this process, which shall make them: once it has
    ended they are doubtful. With `replay` they are free, and doubtful.
    """
    owner = REPLAYED if replay else catalog.owner
    with catalog.transaction() as db:
        before = db.execute("SELECT coalesce(max(id), 0) FROM delivery").fetchone()[0]
        for one in recorded:
            _write(db, one, owner)
        new = db.execute(
            "SELECT destination, key, id FROM delivery WHERE id > ? AND state = 'pending'"
            " ORDER BY id",
            (before,),
        )
        return {(destination, key): id_ for destination, key, id_ in new}


def mailbox_id(db: sqlite3.Connection, account: str, mailbox: str) -> int:
    """The row of a mailbox, made (with its account) where it is absent."""
    find = "SELECT id FROM mailbox WHERE account = ? AND name = ?"
    found = db.execute(find, (account, mailbox)).fetchone()
    if found is None:
        db.execute("INSERT INTO account (name) VALUES (?) ON CONFLICT DO NOTHING", (account,))
        db.execute("INSERT INTO mailbox (account, name) VALUES (?,?)", (account, mailbox))
        found = db.execute(find, (account, mailbox)).fetchone()
    return int(found[0])


def _write(db: sqlite3.Connection, recorded: Recorded, owner: str) -> None:
    commit: Commit = recorded.commit
    places = {m.location.segment for m in commit.messages if m.location} | {recorded.segment}
    ends = [(path, recorded.end if path == recorded.segment else 0) for path in sorted(places)]
    db.executemany(_SEGMENT, ends)
    segments = {
        path: db.execute("SELECT id FROM segment WHERE path = ?", (path,)).fetchone()[0]
        for path in places
    }
    seen: dict[bytes, datetime] = {}
    for remote in commit.remotes:
        seen[remote.digest] = min(remote.seen_at, seen.get(remote.digest, remote.seen_at))
    insert_many(db, _MESSAGE, [_message_row(m, segments, seen) for m in commit.messages])
    _write_remotes(db, commit.remotes)
    insert_many(db, _DELIVERY, [_delivery_row(d, owner) for d in commit.deliveries])
    insert_many(db, _DELIVERED, commit.delivered)
    db.executemany(_EXPIRED, [(digest,) for digest in commit.expired])


def _write_remotes(db: sqlite3.Connection, records: Iterable[RemoteRecord]) -> None:
    ids: dict[tuple[str, str], int] = {}
    rows = []
    for r in records:
        place = (r.account, r.mailbox)
        if place not in ids:
            ids[place] = mailbox_id(db, *place)
        seen = micros(r.seen_at)
        told = (r.flags, micros_or_none(r.arrived), r.object_id, r.labels)
        rows.append((ids[place], r.uid, r.size, r.digest, r.rules, seen, seen, *told))
    insert_many(db, _REMOTE, rows)
    # A mark is about what was known when it was made: the sync that brought these makes a
    # new one at its end, and one that is killed before that has to list all.
    db.executemany(
        "UPDATE mailbox SET listing_digest = NULL WHERE id = ?", [(box,) for box in ids.values()]
    )


def _message_row(
    m: StoredMessage, segments: dict[str, int], seen: dict[bytes, datetime]
) -> tuple[object, ...]:
    at, s = m.location, m.summary
    place = (segments[at.segment], at.offset, at.length, at.inner) if at else (None,) * 4
    stored = seen.get(m.digest, m.internal_date)
    header = (s.message_id, s.date, s.sender, s.recipients, s.subject, s.header_digest, s.copy_key)
    return (m.digest, m.size, *place, micros(m.internal_date), *header, micros(stored))


def _delivery_row(d: QueuedDelivery, owner: str) -> tuple[object, ...]:
    place = (d.account, d.mailbox, d.uid)
    return (d.destination, d.key, d.digest, *place, micros(d.queued_at), owner, d.folder, d.label)
