"""Where one message went: its deliveries, open or settled, for whoever explains them."""

from datetime import datetime
from typing import Any

from fetchd.catalog.database import Catalog
from fetchd.instants import micros, moment, moment_or_none
from fetchd.values import Struct

_COLUMNS = (
    "SELECT id, destination, key, digest, account, mailbox, uid, state, attempts, doubtful,"
    " last_reply, queued_at, settled_at, folder, label, done FROM delivery"
)


class Trace(Struct, frozen=True):
    """One delivery of a message; `done` are the recipients who have it already.

    `doubtful`: an attempt whose end we did not hear of may have arrived.
    """

    id: int
    destination: str
    key: str
    digest: bytes
    account: str
    mailbox: str
    uid: bytes
    state: str
    attempts: int
    doubtful: bool
    last_reply: str
    queued_at: datetime
    settled_at: datetime | None  # the latest attempt, whatever came of it
    folder: str
    label: str
    done: tuple[str, ...]


def of_message(catalog: Catalog, digest: bytes) -> list[Trace]:
    """All deliveries of this message, in the order in which they were owed."""
    return [
        _trace(row) for row in catalog.rows(f"{_COLUMNS} WHERE digest = ? ORDER BY id", (digest,))
    ]


def called(catalog: Catalog, destination: str, key: str) -> Trace | None:
    """The delivery of this name, be it of this message or of a copy of it."""
    rows = catalog.rows(f"{_COLUMNS} WHERE destination = ? AND key = ?", (destination, key))
    return _trace(rows[0]) if rows else None


def latest(catalog: Catalog) -> dict[str, datetime]:
    """By destination, when the last delivery there was made."""
    rows = catalog.rows(
        "SELECT destination, max(settled_at) FROM delivery WHERE state = 'delivered'"
        " AND settled_at NOTNULL GROUP BY destination"
    )
    return {destination: moment(at) for destination, at in rows}


def had_copy(catalog: Catalog, digest: bytes) -> bool:
    """Whether a copy of this message was stored before it; see message.Summary.copy_key.

    Without the index that `copies` makes, for one message is not worth a write.
    """
    rows = catalog.rows(
        "SELECT 1 FROM message m JOIN message o ON o.copy_key = m.copy_key"
        " WHERE m.digest = ? AND o.id < m.id LIMIT 1",
        (digest,),
    )
    return bool(rows)


def in_first_run(catalog: Catalog, account: str, seen_at: datetime) -> bool:
    """Whether what was seen then was seen by the account's first run, as far as that is known."""
    rows = catalog.rows(
        "SELECT (SELECT min(later.started_at) FROM run later"
        " WHERE later.account = a.name AND later.started_at > a.added_at)"
        " FROM account a JOIN run r ON r.account = a.name AND r.started_at = a.added_at"
        " WHERE a.name = ? AND a.added_at <= ?",
        (account, micros(seen_at)),
    )
    return bool(rows) and (rows[0][0] is None or micros(seen_at) < rows[0][0])


def _trace(row: tuple[Any, ...]) -> Trace:
    times = (moment(row[11]), moment_or_none(row[12]))
    where, done = row[13:15], tuple(row[15].splitlines())
    values: tuple[Any, ...] = (*row[:9], bool(row[9]), row[10], *times, *where, done)
    return Trace(*values)
