"""Stored messages copied out: as .eml files, into an mbox, or into a Maildir.

Octets are read from the archive in the order in which they lie there, hashed,
and only then written; what is damaged is reported and the rest is exported.
What is there already is skipped, so an export that was interrupted goes on
where it stopped; nothing is ever overwritten. Memory does not depend on sizes.

To add a form: a module with a `Writer` and its case in `_open_writer`.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from fetchd.catalog import search
from fetchd.catalog.search import MessageRow
from fetchd.contracts import Body
from fetchd.errors import ArchiveDamaged, DeliveryDeferred, UsageError
from fetchd.pipeline.export_eml import EmlWriter
from fetchd.pipeline.export_maildir import MaildirWriter
from fetchd.pipeline.export_mbox import MboxWriter
from fetchd.pipeline.exported import Exported, Place, Writer
from fetchd.pipeline.storage import Storage
from fetchd.values import Struct

Form = Literal["eml", "mbox", "maildir"]


class Unreadable(Struct, frozen=True):
    """A message whose stored octets are not what was stored."""

    id: int
    digest: bytes
    subject: str
    reason: str


class ExportReport(Struct, frozen=True):
    """What one export did. `gone`: messages whose octets `keep` has let expire.

    `conflicts` are files in the way, of another content, that were left alone.
    """

    written: int
    octets: int
    present: int
    gone: int
    damaged: tuple[Unreadable, ...]
    conflicts: tuple[Path, ...]

    @property
    def ok(self) -> bool:
        """Everything that the archive has is out."""
        return not (self.damaged or self.conflicts)


def export(
    storage: Storage,
    rows: Sequence[MessageRow],
    form: Form,
    path: Path,
    *,
    account: str = "",
    progress: Callable[[int, int], None] = lambda _done, _whole: None,
) -> ExportReport:
    """Copy these messages to `path`, durably; of one account's copies only, if one is named."""
    if not path.parent.is_dir():
        raise UsageError(
            f"{path.parent} is no folder", advice="Create it, or name a place in one that is there."
        )
    stored = sorted((row for row in rows if row.location is not None), key=_where)
    whole = sum(row.size for row in stored)
    done = 0
    damaged: list[Unreadable] = []
    with _told(path), _open_writer(form, path) as writer, _spool() as spool:
        for row in stored:
            try:
                _copy(storage, row, account, writer, spool)
            except ArchiveDamaged as damage:
                damaged.append(Unreadable(row.id, row.digest, row.subject, str(damage)))
            done += row.size
            progress(done, whole)
        writer.finish()
    gone = len(rows) - len(stored)
    return ExportReport(
        writer.written, writer.octets, writer.present, gone, tuple(damaged), tuple(writer.conflicts)
    )


def _copy(storage: Storage, row: MessageRow, account: str, writer: Writer, spool: Path) -> None:
    assert row.location is not None
    message = Exported(row.digest, row.size, row.internal_date, _places(storage, row, account))
    if writer.has(message):
        return
    body = storage.archive.body(row.location, row.size, spool)
    try:
        _require_digest(body, row)
        writer.put(message, body)
    finally:
        body.discard()


def _require_digest(body: Body, row: MessageRow) -> None:
    digest = hashlib.sha256()
    for chunk in body.chunks():
        digest.update(chunk)
    if digest.digest() != row.digest:
        raise ArchiveDamaged("its octets do not have the digest of what was stored")


def _places(storage: Storage, row: MessageRow, account: str) -> tuple[Place, ...]:
    """Where it was seen, once for each mailbox; the first uid it had there."""
    places: dict[tuple[str, str], Place] = {}
    for seen in search.sightings(storage.catalog, row.digest):
        if account in ("", seen.account):
            place = Place(seen.account, seen.mailbox, seen.uid)
            places.setdefault((seen.account, seen.mailbox), place)
    return tuple(places.values()) or (Place("unknown", "unknown", b""),)


def _where(row: MessageRow) -> tuple[str, int, int]:
    assert row.location is not None
    return row.location.segment, row.location.offset, row.location.inner


def _open_writer(form: Form, path: Path) -> Writer:
    match form:
        case "eml":
            return EmlWriter(path)
        case "mbox":
            return MboxWriter(path)
        case "maildir":
            return MaildirWriter(path)


@contextmanager
def _spool() -> Iterator[Path]:
    """A private folder for large bodies: the data folder may be read-only."""
    with tempfile.TemporaryDirectory(prefix="fetchd-") as folder:
        yield Path(folder)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the disk does to us, as a sentence."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise DeliveryDeferred(
            f"{where} cannot be written: {error.strerror or error}",
            advice="Free space or repair permissions, then export again: it goes on from there.",
        ) from error
