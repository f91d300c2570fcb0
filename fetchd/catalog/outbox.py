"""The outbox: what is owed to destinations, who is at it, and what became of it.

A delivery with an `owner` is in the hands of that process; others leave it alone
while the process lives. What a dead process held may have been accepted by the
peer without our hearing of it, so it is handed out as doubtful.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fetchd.catalog.database import Catalog
from fetchd.contracts import Location, Outcome, Settled
from fetchd.instants import micros, moment, moment_or_none
from fetchd.values import Struct

# As the partial index says it, or SQLite does not see that the index serves.
UNSETTLED = "state IN ('pending', 'deferred', 'failed')"
_OPEN = f"{UNSETTLED} AND state <> 'failed'"
_D_OPEN = "d.state IN ('pending', 'deferred', 'failed') AND d.state <> 'failed'"
_RETRIABLE = f"{UNSETTLED} AND (state <> 'pending' OR not_before > 0)"

_OUTGOING = """
SELECT d.id, d.destination, d.key, d.account, d.mailbox, d.uid, d.digest, m.size, d.queued_at,
    d.attempts, s.path, m.frame_offset, m.frame_length, m.inner, d.doubtful,
    coalesce(r.flags, ''), r.arrived, d.folder, d.label, d.done
FROM delivery d LEFT JOIN message m ON m.digest = d.digest
LEFT JOIN segment s ON s.id = m.segment_id
LEFT JOIN mailbox b ON b.account = d.account AND b.name = d.mailbox
LEFT JOIN remote_message r ON r.mailbox_id = b.id AND r.uid = d.uid
WHERE d.state IN ('pending', 'deferred') AND d.id IN ({}) ORDER BY d.id"""

_LISTING = """
SELECT d.id, d.destination, d.account, d.state, d.attempts, d.not_before, d.last_reply,
    d.queued_at, d.settled_at, d.digest, coalesce(m.sender, ''), coalesce(m.subject, ''),
    d.doubtful, d.owner
FROM delivery d LEFT JOIN message m ON m.digest = d.digest WHERE d.digest <> x''"""


LONGEST_REPLY = 1000  # characters that are kept


class OutgoingRow(Struct, frozen=True):
    """A delivery to be made, with its place in the archive (None: octets are gone)."""

    id: int
    destination: str
    key: str
    account: str
    mailbox: str
    uid: bytes
    digest: bytes
    size: int
    queued_at: datetime
    attempts: int
    doubtful: bool
    location: Location | None
    flags: str = ""
    arrived: datetime | None = None
    folder: str = ""
    label: str = ""
    done: tuple[str, ...] = ()  # recipients who have it already


class DeliveryRow(Struct, frozen=True):
    """One line of `fetchd deliveries`."""

    id: int
    destination: str
    account: str
    state: str
    attempts: int
    not_before: datetime
    last_reply: str
    queued_at: datetime
    settled_at: datetime | None
    digest: bytes
    sender: str
    subject: str
    doubtful: bool  # the peer may have accepted it


def claim_due(
    catalog: Catalog, destinations: Sequence[str], now: datetime, limit: int, after: int = 0
) -> list[OutgoingRow]:
    """Take what is due and in nobody's living hands, oldest first, from ids above `after`."""
    dead = [owner for owner in _owners(catalog) if not catalog.is_alive(owner)]
    marks = ",".join("?" * len(destinations))
    free = ",".join("?" * (len(dead) + 1))
    with catalog.transaction() as db:
        rows = db.execute(
            f"SELECT id, owner FROM delivery WHERE {_OPEN} AND not_before <= ?"  # noqa: S608
            f" AND destination IN ({marks}) AND owner IN ({free}) AND id > ? ORDER BY id LIMIT ?",
            (micros(now), *destinations, "", *dead, after, limit),
        ).fetchall()
        # What a dead process held may have been accepted without our hearing of it.
        held = [(catalog.owner, int(row[1] != ""), row[0]) for row in rows]
        db.executemany(
            "UPDATE delivery SET owner = ?, doubtful = max(doubtful, ?) WHERE id = ?", held
        )
    return outgoing(catalog, [row[0] for row in rows])


def outgoing(catalog: Catalog, ids: Iterable[int]) -> list[OutgoingRow]:
    """These deliveries, which this process holds already."""
    return [_row(row) for row in catalog.each(_OUTGOING, ids)]


def release(catalog: Catalog, ids: Iterable[int]) -> None:
    """Let go of what was claimed and not even tried."""
    with catalog.transaction(durable=False):
        catalog.each(
            "UPDATE delivery SET owner = '' WHERE state IN ('pending', 'deferred') AND id IN ({})",
            ids,
        )


def postpone(catalog: Catalog, ids: Iterable[int], reply: str, not_before: datetime) -> None:
    """Put off what cannot even be tried, since the whole destination is out of reach."""
    with catalog.transaction():
        catalog.each(
            "UPDATE delivery SET state = 'deferred', owner = '', last_reply = ?, not_before = ?,"
            " attempts = attempts + 1 WHERE state IN ('pending', 'deferred') AND id IN ({})",
            ids,
            before=(reply[:LONGEST_REPLY], micros(not_before)),
        )


class Owed(Struct, frozen=True):
    """A delivery of a message of one mailbox to one mirror.

    `made`: its file was written. `due`: it will be, at some time.
    """

    uid: bytes  # as it was called then
    digest: bytes
    key: str
    made: bool
    due: bool


def owed(
    catalog: Catalog, destination: str, account: str, mailbox: str, digests: Iterable[bytes]
) -> list[Owed]:
    """All deliveries of these messages, if they were found in this mailbox."""
    sql = (
        "SELECT uid, digest, key, state = 'delivered', state IN ('pending', 'deferred')"
        " FROM delivery WHERE destination = ? AND account = ? AND mailbox = ?"
        " AND digest IN ({}) ORDER BY id"
    )
    rows = catalog.each(sql, digests, before=(destination, account, mailbox))
    return [Owed(uid, digest, key, bool(made), bool(due)) for uid, digest, key, made, due in rows]


def reopen(catalog: Catalog, destination: str, keys: Collection[str]) -> list[int]:
    """What was delivered is owed once more, if it is no longer there, and in our hands; the ids."""
    with catalog.transaction() as db:
        db.executemany(
            "UPDATE delivery SET state = 'pending', owner = ?, attempts = attempts + 1"
            " WHERE destination = ? AND key = ? AND state = 'delivered'",
            [(catalog.owner, destination, key) for key in keys],
        )
    sql = "SELECT id FROM delivery WHERE destination = ? AND key IN ({}) AND state = 'pending'"
    return [row[0] for row in catalog.each(sql, keys, before=(destination,))]


def settle(
    catalog: Catalog, settled: Sequence[Settled], now: datetime, not_before: Mapping[int, datetime]
) -> None:
    """Record outcomes in one transaction; `not_before` says when deferred ones are due again."""
    at = micros(now)
    alike: dict[tuple[Any, ...], list[int]] = {}
    for one in settled:
        due = micros(not_before.get(one.id, now)) if one.outcome is Outcome.DEFERRED else 0
        reply, done = one.reply[:LONGEST_REPLY], "\n".join(one.done)
        what = (str(one.outcome), due, reply, int(one.doubtful), done, done)
        alike.setdefault(what, []).append(one.id)
    with catalog.transaction():
        for what, ids in alike.items():
            catalog.each(
                "UPDATE delivery SET state = ?, not_before = ?, last_reply = ?,"
                " doubtful = max(doubtful, ?), done = CASE WHEN ? = '' THEN done ELSE ? END,"
                " settled_at = ?, attempts = attempts + 1, owner = ''"
                " WHERE state <> 'delivered' AND (state <> 'dropped' OR ? = 'delivered')"
                " AND id IN ({})",
                ids,
                before=(*what, at, what[0]),
            )


def counts(catalog: Catalog) -> dict[str, dict[str, int]]:
    """How many deliveries there are, by destination and state."""
    found: dict[str, dict[str, int]] = {}
    for destination, state, count in catalog.rows(
        "SELECT destination, state, count(*) FROM delivery GROUP BY destination, state"
    ):
        found.setdefault(destination, {})[state] = count
    return found


def waiting(catalog: Catalog) -> dict[str, dict[str, int]]:
    """The same, of what is not settled yet: the partial index answers that."""
    found: dict[str, dict[str, int]] = {}
    for destination, state, count in catalog.rows(
        f"SELECT destination, state, count(*) FROM delivery WHERE {UNSETTLED}"  # noqa: S608
        " GROUP BY destination, state"
    ):
        found.setdefault(destination, {})[state] = count
    return found


def next_due(catalog: Catalog) -> datetime | None:
    """When the first delivery that is in nobody's hands will be due; None: there is none."""
    rows = catalog.rows(
        f"SELECT min(max(d.not_before, coalesce(w.not_before, 0))) FROM delivery d"  # noqa: S608
        f" LEFT JOIN destination w ON w.name = d.destination WHERE {_D_OPEN} AND d.owner = ''"
    )
    return moment_or_none(rows[0][0])


def strays(catalog: Catalog, destinations: Sequence[str]) -> dict[str, dict[str, int]]:
    """What is owed to destinations other than these: account -> destination -> how many."""
    marks = ",".join("?" * len(destinations))
    rows = catalog.rows(
        f"SELECT account, destination, count(*) FROM delivery WHERE {UNSETTLED}"  # noqa: S608
        f" AND destination NOT IN ({marks}) GROUP BY account, destination",
        tuple(destinations),
    )
    found: dict[str, dict[str, int]] = {}
    for account, destination, count in rows:
        found.setdefault(account, {})[destination] = count
    return found


def listing(
    catalog: Catalog, *, state: str = "", destination: str = "", account: str = "", limit: int = 100
) -> list[DeliveryRow]:
    """Deliveries for people, newest first; without `state` those not settled yet."""
    where, values = _filters(state, destination, account)
    rows = catalog.rows(f"{_LISTING}{where} ORDER BY d.id DESC LIMIT ?", (*values, limit))
    # What a dead process held may have arrived; the next one will find that out.
    dead = {owner for owner in {row[13] for row in rows} - {""} if not catalog.is_alive(owner)}
    return [_line(row, doubtful=bool(row[12]) or row[13] in dead) for row in rows]


def retry(
    catalog: Catalog, ids: Sequence[int] | None = None, *, destination: str = "", account: str = ""
) -> int:
    """Make what failed, or waits for its time, due now: these, or all that fit; how many.

    Recipients who have it already stay those who have it, and a doubt stays a doubt. It has
    as many attempts before it as a new one: its age alone shall not give it up at once.
    """
    change = (
        "SET state = 'pending', not_before = 0, attempts = 0,"
        " doubtful = max(doubtful, attempts > 0)"
    )
    if ids is not None:
        return _change(catalog, change, _RETRIABLE, ids)
    where, values = _filters("", destination, account)
    sql = f"SELECT d.id FROM delivery d WHERE {_RETRIABLE}{where}"  # noqa: S608
    return _change(catalog, change, _RETRIABLE, [row[0] for row in catalog.rows(sql, values)])


def hasten(catalog: Catalog, destination: str) -> None:
    """What is owed there is due now: the destination is another one than that which failed."""
    with catalog.transaction() as db:
        db.execute(
            f"UPDATE delivery SET not_before = 0 WHERE destination = ? AND {_OPEN}",  # noqa: S608
            (destination,),
        )
        db.execute("UPDATE destination SET not_before = 0 WHERE name = ?", (destination,))


def drop(catalog: Catalog, ids: Sequence[int]) -> int:
    """Owe these no longer, because the owner says so; how many."""
    return _change(catalog, "SET state = 'dropped', owner = ''", UNSETTLED, ids)


def dropped(catalog: Catalog, ids: Sequence[int]) -> list[tuple[str, str]]:
    """Those of them that are dropped, as the journal names them: destination and key."""
    sql = "SELECT destination, key FROM delivery WHERE state = 'dropped' AND id IN ({})"
    return [(destination, key) for destination, key in catalog.each(sql, ids)]


def concerned(catalog: Catalog, ids: Sequence[int] | None, account: str) -> list[str]:
    """The destinations of these deliveries, or of what an account is still owed."""
    if ids is not None:
        sql = "SELECT DISTINCT destination FROM delivery WHERE id IN ({})"
        return sorted({row[0] for row in catalog.each(sql, ids)})
    sql = f"SELECT DISTINCT destination FROM delivery WHERE {UNSETTLED} AND account = ?"  # noqa: S608
    return sorted(row[0] for row in catalog.rows(sql, (account,)))


def _owners(catalog: Catalog) -> list[str]:
    sql = f"SELECT DISTINCT owner FROM delivery WHERE {_OPEN} AND owner <> ''"  # noqa: S608
    return [row[0] for row in catalog.rows(sql)]


def _row(row: tuple[Any, ...]) -> OutgoingRow:
    attempts, doubtful, flags, arrived, folder, label, done = row[9], *row[14:]
    place = Location(*row[10:14]) if row[10] is not None else None
    tail = (row[7] or 0, moment(row[8]), attempts, attempts > 0 or bool(doubtful), place)
    told = (flags, moment_or_none(arrived), folder, label, tuple(done.split("\n") if done else ()))
    values: tuple[Any, ...] = (*row[:7], *tail, *told)
    return OutgoingRow(*values)


def _line(row: tuple[Any, ...], *, doubtful: bool) -> DeliveryRow:
    times = (moment(row[5]), row[6], moment(row[7]), moment_or_none(row[8]))
    values: tuple[Any, ...] = (*row[:5], *times, *row[9:12], doubtful)
    return DeliveryRow(*values)


def _filters(state: str, destination: str, account: str) -> tuple[str, list[str]]:
    asked = {"d.state": state, "d.destination": destination, "d.account": account}
    given = {column: value for column, value in asked.items() if value}
    where = "".join(f" AND {column} = ?" for column in given)
    if not state:
        where += " AND d.state NOT IN ('delivered', 'dropped')"
    return where, list(given.values())


def _change(catalog: Catalog, change: str, which: str, ids: Sequence[int]) -> int:
    with catalog.transaction() as db:
        done = db.executemany(
            f"UPDATE delivery {change} WHERE id = ? AND {which}",
            [(i,) for i in ids],
        )
        return max(done.rowcount, 0)
