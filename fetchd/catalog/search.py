"""Finding stored messages for people: `fetchd list`, `fetchd show`, `fetchd export`."""

from datetime import datetime
from typing import Any

from fetchd.catalog.database import Catalog
from fetchd.contracts import Location
from fetchd.instants import micros, moment, moment_or_none
from fetchd.values import Struct

_COLUMNS = """
SELECT m.id, m.digest, m.size, m.internal_date, m.message_id, m.date, m.sender, m.recipients,
    m.subject, m.damaged, m.expired, m.verified_at, s.path, m.frame_offset, m.frame_length, m.inner
FROM message m LEFT JOIN segment s ON s.id = m.segment_id"""


LIKE_A_DIGEST = 8  # digits and no letter among them: rarer than a mistyped number


class MessageRow(Struct, frozen=True):
    """One stored message; `location` is None when its octets are gone."""

    id: int
    digest: bytes
    size: int
    internal_date: datetime
    message_id: str
    date: str
    sender: str
    recipients: str
    subject: str
    damaged: bool
    expired: bool
    verified_at: datetime | None
    location: Location | None


class Sighting(Struct, frozen=True):
    """Where a message was seen."""

    account: str
    mailbox: str
    uid: bytes
    state: str
    first_seen: datetime


def messages(
    catalog: Catalog,
    *,
    account: str = "",
    since: datetime | None = None,
    sender: str = "",
    subject: str = "",
    limit: int = -1,
) -> list[MessageRow]:
    """Messages that fit all that is asked, newest first; no limit below zero."""
    where, values = ["1 = 1"], []
    if account:
        where.append(
            "m.digest IN (SELECT r.digest FROM remote_message r JOIN mailbox b"
            " ON b.id = r.mailbox_id WHERE b.account = ?)"
        )
        values.append(account)
    if since is not None:
        where.append("m.internal_date >= ?")
        values.append(str(micros(since)))
    for column, wanted in (("sender", sender), ("subject", subject)):
        if wanted:
            where.append(f"m.{column} LIKE ? ESCAPE '!'")
            values.append(f"%{_literal(wanted)}%")
    sql = f"{_COLUMNS} WHERE {' AND '.join(where)} ORDER BY m.internal_date DESC, m.id DESC LIMIT ?"
    return [_row(row) for row in catalog.rows(sql, (*values, limit))]


def by_id(catalog: Catalog, wanted: str) -> list[MessageRow]:
    """The messages that a row number or the beginning of a hexadecimal digest may mean.

    A few digits are a number, and never the digest of another message.
    """
    found = catalog.rows(
        f"{_COLUMNS} WHERE lower(hex(m.digest)) LIKE ? ESCAPE '!' ORDER BY m.id LIMIT 20",
        (_literal(wanted.lower()) + "%",),
    )
    if wanted.isdecimal() and len(wanted) < 19:
        numbered = catalog.rows(f"{_COLUMNS} WHERE m.id = ?", (int(wanted),))
        found = numbered or (found if len(wanted) >= LIKE_A_DIGEST else [])
    return [_row(row) for row in found]


def sightings(catalog: Catalog, digest: bytes) -> list[Sighting]:
    """Where this message was seen, oldest first."""
    rows = catalog.rows(
        "SELECT b.account, b.name, r.uid, r.state, r.first_seen FROM remote_message r"
        " JOIN mailbox b ON b.id = r.mailbox_id WHERE r.digest = ? ORDER BY r.first_seen",
        (digest,),
    )
    return [Sighting(a, b, uid, state, moment(seen)) for a, b, uid, state, seen in rows]


def _literal(text: str) -> str:
    """Text for LIKE ... ESCAPE '!' that means itself."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _row(row: tuple[Any, ...]) -> MessageRow:
    place = Location(*row[12:16]) if row[12] is not None else None
    flags = (bool(row[9]), bool(row[10]))
    texts, verified = row[4:9], moment_or_none(row[11])
    values: tuple[Any, ...] = (*row[:3], moment(row[3]), *texts, *flags, verified, place)
    return MessageRow(*values)
