"""What an account's mailboxes held, for `fetchd restore`: reads only.

All that was ever stored counts, whatever became of it on the server since: messages that
vanished there are what one restores.
"""

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime

from fetchd.catalog.database import Catalog
from fetchd.instants import micros, moment
from fetchd.policy.restoring import Copy, Sighting
from fetchd.values import Struct

_SIGHTINGS = """
SELECT r.uid, r.state, m.digest, m.size, m.message_id, m.header_digest, r.flags,
    coalesce(r.arrived, m.internal_date) AS at
FROM remote_message r JOIN message m ON m.digest = r.digest JOIN mailbox b ON b.id = r.mailbox_id
WHERE b.account = ? AND b.name = ? AND at >= ?
ORDER BY r.first_seen, length(r.uid), r.uid"""
_EVER = -(1 << 62)


class Title(Struct, frozen=True):
    """How a person finds a message again (`fetchd show`)."""

    id: int
    subject: str


def mailboxes(catalog: Catalog, account: str) -> list[str]:
    """Those of the account in which a message was stored, by name."""
    rows = catalog.rows(
        "SELECT name FROM mailbox b WHERE account = ? AND EXISTS"
        " (SELECT 1 FROM remote_message r WHERE r.mailbox_id = b.id AND r.digest NOTNULL)"
        " ORDER BY name",
        (account,),
    )
    return [row[0] for row in rows]


def sightings(
    catalog: Catalog, account: str, mailbox: str, since: datetime | None
) -> Iterator[Sighting]:
    """Every message ever stored of a mailbox, in the order in which it was seen there."""
    begin = _EVER if since is None else micros(since)
    for row in catalog.scan(_SIGHTINGS, (account, mailbox, begin)):
        uid, state, digest, size, message_id, header, flags, at = row
        copy = Copy(digest, size, message_id, header, sys.intern(flags), moment(at))
        yield Sighting(uid, sys.intern(state), copy)


def titles(catalog: Catalog, digests: Iterable[bytes]) -> dict[bytes, Title]:
    """By digest."""
    sql = "SELECT digest, id, subject FROM message WHERE digest IN ({})"
    return {digest: Title(id_, subject) for digest, id_, subject in catalog.each(sql, digests)}


def was_abandoned(catalog: Catalog, account: str) -> bool:
    """Whether a process died at work on this account and nobody has been there since."""
    rows = catalog.rows("SELECT lease_owner FROM account WHERE name = ?", (account,))
    return bool(rows and rows[0][0]) and not catalog.is_alive(rows[0][0])
