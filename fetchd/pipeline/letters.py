"""Deliveries read from the archive: the octets that belong to rows of the outbox."""

from pathlib import Path

from fetchd.catalog import keeping
from fetchd.catalog.outbox import OutgoingRow
from fetchd.contracts import Outgoing
from fetchd.errors import ArchiveDamaged
from fetchd.pipeline.located import moved
from fetchd.pipeline.storage import Storage, make_spool
from fetchd.values import replace


def read(storage: Storage, row: OutgoingRow) -> Outgoing | str:
    """The delivery with its body, which is the caller's to discard; else why it cannot be had.

    Blocking. What turns out damaged is marked, so that the next sync fetches it again
    where a server still has it.
    """
    if row.location is None:
        return "The archive does not hold this message now."
    spool: Path = make_spool(storage)
    try:
        body = storage.archive.body(row.location, row.size, spool)
    except ArchiveDamaged as damage:
        elsewhere = moved(storage, [(row.digest, row.size, row.location)])
        if row.digest in elsewhere:
            now = elsewhere[row.digest]
            return read(storage, replace(row, location=now[2] if now else None))
        keeping.mark_damaged(storage.catalog, [row.digest])
        return f"{damage} {damage.advice}"
    return Outgoing(
        id=row.id, key=row.key, account=row.account, digest=row.digest, size=row.size,
        queued_at=row.queued_at, attempts=row.attempts, doubtful=row.doubtful, body=body,
        mailbox=row.mailbox, flags=row.flags, arrived=row.arrived, folder=row.folder,
        label=row.label, done=row.done,
    )  # fmt: skip
