"""What is here of a mailbox, for whoever compares it with what a server shows.

Reads only. "Here" means that the archive can give the octets: located, undamaged, not
let go by `archive.keep`.
"""

from collections.abc import Iterable

from fetchd.catalog.database import Catalog
from fetchd.catalog.inventory import READABLE
from fetchd.message import Summary
from fetchd.values import Struct


class Holding(Struct, frozen=True):
    """One message of the catalog: whether its octets can be had."""

    readable: bool
    expired: bool  # `archive.keep` let them go
    header_digest: bytes


def stored_counts(catalog: Catalog, account: str) -> dict[str, int]:
    """By mailbox, how many messages that should be on the server are here."""
    rows = catalog.rows(
        "SELECT b.name, count(*) FROM remote_message r JOIN mailbox b ON b.id = r.mailbox_id"  # noqa: S608
        f" JOIN message m ON m.digest = r.digest WHERE b.account = ? AND {READABLE}"
        " AND r.state IN ('stored', 'retiring') GROUP BY b.name",
        (account,),
    )
    return dict(rows)


def holdings(catalog: Catalog, digests: Iterable[bytes]) -> dict[bytes, Holding]:
    """What has become of the messages with these digests."""
    sql = (
        f"SELECT digest, {READABLE}, expired = 1, header_digest FROM message"  # noqa: S608
        " WHERE digest IN ({})"
    )
    return {
        digest: Holding(bool(readable), bool(expired), header)
        for digest, readable, expired, header in catalog.each(sql, digests)
    }


def summaries(catalog: Catalog, digests: Iterable[bytes]) -> dict[bytes, Summary]:
    """What lists show of them."""
    sql = (
        "SELECT digest, message_id, date, sender, recipients, subject, header_digest, copy_key"
        " FROM message WHERE digest IN ({})"
    )
    return {digest: Summary(*told) for digest, *told in catalog.each(sql, digests)}
