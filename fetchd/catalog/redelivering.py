"""What `fetchd redeliver` asks of the catalog: archived messages, and who has them already."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from fetchd.catalog.database import Catalog
from fetchd.instants import micros
from fetchd.values import Struct

_EVER = -(1 << 62)


class Filter(Struct, frozen=True):
    """Which messages of an account; `mailboxes` by name, the rest empty where all fit."""

    account: str
    mailboxes: tuple[str, ...]
    since: datetime | None = None
    sender: str = ""
    subject: str = ""


class Archived(Struct, frozen=True):
    """A message where it was seen first; `whole`: the archive can hand it out."""

    mailbox: str
    uid: bytes
    digest: bytes
    size: int
    copy_key: bytes
    whole: bool


class Made(Struct, frozen=True):
    """A delivery that the destination knows already."""

    id: int
    key: str
    digest: bytes
    account: str
    state: str


def total(catalog: Catalog, asked: Filter) -> tuple[int, int]:
    """How many messages fit, and their octets."""
    where, values = _where(asked)
    sql = f"SELECT count(*), coalesce(sum(m.size), 0) FROM message m WHERE {where}"  # noqa: S608
    ((messages, octets),) = catalog.rows(sql, values)
    return messages, octets


def page(catalog: Catalog, asked: Filter, after: int, limit: int) -> tuple[int, list[Archived]]:
    """The next messages in the order in which they were stored, each octets once.

    `after` is 0, then the number that the page before came with.
    """
    where, values = _where(asked)
    rows = catalog.rows(
        "SELECT m.id, m.digest, m.size, m.copy_key, m.segment_id NOTNULL AND m.damaged = 0"  # noqa: S608
        f" FROM message m WHERE m.id > ? AND {where} ORDER BY m.id LIMIT ?",
        (after, *values, limit),
    )
    places = _first_places(catalog, asked, [row[1] for row in rows])
    found = [
        Archived(*places[digest], digest, size, copy_key, bool(whole))
        for _, digest, size, copy_key, whole in rows
    ]
    return (rows[-1][0] if rows else after), found


def made(
    catalog: Catalog, destination: str, digests: Iterable[bytes], keys: Iterable[str]
) -> list[Made]:
    """The destination's deliveries of these messages, or by these names."""
    columns = "SELECT id, key, digest, account, state FROM delivery WHERE destination = ?"
    rows = {
        *catalog.each(f"{columns} AND digest IN ({{}})", digests, before=(destination,)),
        *catalog.each(f"{columns} AND key IN ({{}})", keys, before=(destination,)),
    }
    return [Made(*row) for row in sorted(rows)]


def revive(catalog: Catalog, ids: Collection[int], queued_at: datetime | None) -> list[int]:
    """Owe these once more, to all recipients, and hold them; the ids.

    `queued_at` None: they keep the time by which a Maildir finds their file again.
    """
    at = None if queued_at is None else micros(queued_at)
    with catalog.transaction() as db:
        db.executemany(
            "UPDATE delivery SET done = CASE WHEN state = 'delivered' THEN '' ELSE done END,"
            " state = 'pending', owner = ?, not_before = 0, attempts = attempts + 1,"
            " queued_at = coalesce(?, queued_at) WHERE id = ?"
            " AND state IN ('delivered', 'failed', 'dropped')",
            [(catalog.owner, at, id_) for id_ in ids],
        )
    sql = "SELECT id FROM delivery WHERE owner = ? AND state = 'pending' AND id IN ({})"
    return [row[0] for row in catalog.each(sql, ids, before=(catalog.owner,))]


def _first_places(
    catalog: Catalog, asked: Filter, digests: Sequence[bytes]
) -> dict[bytes, tuple[str, bytes]]:
    sql = (
        "SELECT r.digest, b.name, r.uid FROM remote_message r JOIN mailbox b"  # noqa: S608
        f" ON b.id = r.mailbox_id WHERE b.account = ? AND b.name IN ({_marks(asked)})"
        " AND r.digest IN ({}) ORDER BY r.first_seen DESC, length(r.uid) DESC, r.uid DESC"
    )
    rows = catalog.each(sql, digests, before=(asked.account, *asked.mailboxes))
    return {digest: (mailbox, uid) for digest, mailbox, uid in rows}


def _where(asked: Filter) -> tuple[str, list[str | int]]:
    seen = (
        "EXISTS (SELECT 1 FROM remote_message r JOIN mailbox b ON b.id = r.mailbox_id"  # noqa: S608
        f" WHERE r.digest = m.digest AND b.account = ? AND b.name IN ({_marks(asked)}))"
    )
    where = [seen, "m.internal_date >= ?"]
    begin = _EVER if asked.since is None else micros(asked.since)
    values: list[str | int] = [asked.account, *asked.mailboxes, begin]
    for column, wanted in (("sender", asked.sender), ("subject", asked.subject)):
        if wanted:
            where.append(f"m.{column} LIKE ? ESCAPE '!'")
            literal = wanted.replace("!", "!!").replace("%", "!%").replace("_", "!_")
            values.append(f"%{literal}%")
    return " AND ".join(where), values


def _marks(asked: Filter) -> str:
    return ",".join("?" * len(asked.mailboxes))
