"""The octets of a stored message, for whoever only reads: the data folder may be read-only."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fetchd.catalog.search import MessageRow
from fetchd.contracts import Body
from fetchd.errors import MessageNotStored
from fetchd.pipeline.storage import Storage


@contextmanager
def stored_body(storage: Storage, row: MessageRow) -> Iterator[Body]:
    """What the archive holds of it; large ones pass through a private folder."""
    if row.location is None:
        raise MessageNotStored(
            f"The octets of message {row.id} are not in the archive any more.",
            advice="The setting archive.keep let them go.",
        )
    with tempfile.TemporaryDirectory(prefix="fetchd-") as spool:
        yield storage.archive.body(row.location, row.size, Path(spool))
