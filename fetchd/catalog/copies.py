"""Which messages have a copy in the archive, for routes that ask; see message.Summary.copy_key.

The index is made when the first such route does: it costs at every commit, and hardly
anybody asks.
"""

from collections.abc import Iterable

from fetchd.catalog.database import Catalog


def known_copies(catalog: Catalog, copy_keys: Iterable[bytes]) -> set[bytes]:
    """Those of the keys that a stored message has."""
    with catalog.transaction() as db:
        db.execute("CREATE INDEX IF NOT EXISTS message_copy_key ON message (copy_key)")
    sql = "SELECT DISTINCT copy_key FROM message WHERE copy_key IN ({})"
    return {row[0] for row in catalog.each(sql, copy_keys)}
