"""What the catalog knows of a mailbox now, for whoever tells people what has changed.

Reads only, and in bulk: a mailbox of 100,000 messages is one query and one small value
for each. What is not stored (not fetched yet, quarantined) is not there.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from sys import intern

from fetchd.catalog.database import Catalog
from fetchd.values import Struct

_PLACES = """
SELECT uid, flags, coalesce(retired_at, 0) FROM remote_message
WHERE mailbox_id = (SELECT id FROM mailbox WHERE account = ? AND name = ?) AND digest NOTNULL
AND (state IN ('stored', 'retiring') OR (state = 'retired' AND retired_at > ?))"""
_DESCRIBED = """
SELECT r.uid, r.digest, r.size, r.state, m.sender, m.subject FROM remote_message r
JOIN message m ON m.digest = r.digest
WHERE r.mailbox_id = (SELECT id FROM mailbox WHERE account = ? AND name = ?) AND r.uid IN ({})"""
_LAST_RETIRED = """
SELECT coalesce(max(retired_at), 0) FROM remote_message
WHERE mailbox_id = (SELECT id FROM mailbox WHERE account = ? AND name = ?)"""


@dataclass(slots=True)
class Places:
    """Flags by uid: of what is on the server, and of what we have removed from it lately.

    `until` is when the last removal was confirmed, as the catalog writes it; the next
    look begins there, so each removal is seen once.
    """

    present: dict[bytes, str] = field(default_factory=dict)
    retired: dict[bytes, str] = field(default_factory=dict)
    until: int = 0


class Described(Struct, frozen=True):
    """One message in a mailbox, in words."""

    digest: bytes
    size: int
    state: str
    sender: str
    subject: str


def places(catalog: Catalog, account: str, mailbox: str, since: int | None = None) -> Places:
    """What is there, and what was removed after `since`; None: of that, nothing."""
    place = (account, mailbox)
    after = catalog.rows(_LAST_RETIRED, place)[0][0] if since is None else since
    found = Places(until=after)
    for uid, flags, retired_at in catalog.scan(_PLACES, (*place, after)):
        if retired_at > after:
            found.retired[uid] = intern(flags)
            found.until = max(found.until, retired_at)
        else:
            found.present[uid] = intern(flags)
    return found


def described(
    catalog: Catalog, account: str, mailbox: str, uids: Collection[bytes]
) -> dict[bytes, Described]:
    """What these messages are, by uid, in that order."""
    rows = catalog.each(_DESCRIBED, uids, before=(account, mailbox))
    found = {row[0]: Described(*row[1:]) for row in rows}
    return {uid: found[uid] for uid in uids if uid in found}
