"""Archive and catalog of one data folder, opened together and brought into agreement.

Opening for writing replays what a crash left in the archive and not yet in the
catalog, and sweeps the spool of dead processes. Opening to read changes
nothing and works beside a running sync, and in a folder that we may not write.
"""

import asyncio
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from fetchd.archive.packing import Packed
from fetchd.archive.store import Archive
from fetchd.catalog import inventory as inventories
from fetchd.catalog import keeping, recording
from fetchd.catalog.database import Catalog
from fetchd.contracts import Commit, Location
from fetchd.errors import ArchiveError, CatalogError
from fetchd.ownership import refuse_root
from fetchd.settings import Settings
from fetchd.telemetry import log
from fetchd.ulid import new_ulid
from fetchd.values import Struct, field

P = ParamSpec("P")
T = TypeVar("T")

# No more than there are processors: these threads compute most of the time, and more
# of them only quarrel about the interpreter (six took a quarter longer than two, on two).
# Name look-ups and destinations, which may hang, have the event loop's own threads.
THREADS = max(2, os.cpu_count() or 2)
ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")  # nothing else in the spool is ours to remove


class Paths(Struct, frozen=True):
    """What lies where in the data folder."""

    catalog: Path
    archive: Path
    spool: Path


class Storage(Struct, frozen=True):
    """An open data folder; `spool` takes bodies too large for memory, of this process only.

    Who appends to the archive holds `writing` until the catalog knows of it, and one who lets
    octets go until nothing can be owed them: commits and tidying up are done side by side.
    """

    catalog: Catalog
    archive: Archive
    spool: Path
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(THREADS))
    writing: threading.RLock = field(default_factory=threading.RLock)

    async def blocking(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what computes, or waits for the disk, off the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, lambda: call(*args, **kwargs))


def data_paths(settings: Settings) -> Paths:
    """Where catalog, archive and spool are."""
    folder = settings.data_dir
    return Paths(folder / "catalog.sqlite", folder / "archive", folder / "spool")


@contextmanager
def open_storage(settings: Settings, *, read_only: bool = False) -> Iterator[Storage]:
    """The data folder; CatalogError or ArchiveError say in a sentence why it cannot be used."""
    paths = data_paths(settings)
    with Catalog(paths.catalog, read_only=read_only) as catalog:
        archive = Archive(
            paths.archive, segment_size=settings.archive.segment_size, read_only=read_only
        )
        spool = paths.spool / (catalog.owner or "reading")
        storage = Storage(catalog, archive, spool)
        try:
            if not read_only:
                _prepare_spool(paths.spool, storage)
                _recover(storage)
            yield storage
        finally:
            storage.threads.shutdown()
            archive.close()
            shutil.rmtree(spool, ignore_errors=True)


def commit(
    storage: Storage,
    packed: Sequence[Packed],
    commit_of: Callable[[Sequence[Sequence[Location]]], Commit],
) -> dict[tuple[str, str], int]:
    """Append to the archive, then record: the new deliveries' ids by (destination, key).

    Where the catalog fails, the segment is left alone from here on: its journal
    is replayed at the next start.
    """
    with storage.writing:
        recorded = storage.archive.append(packed, commit_of)
        try:
            queued = recording.record(storage.catalog, [recorded])
        except CatalogError:
            storage.archive.abandon()
            raise
        for segment in storage.archive.take_sealed():
            keeping.seal_segment(storage.catalog, segment)
    return queued


def instance_of(data_dir: Path) -> str:
    """The name by which this fetchd knows mail that it has sent itself; made once.

    Beside the catalog and not in it, since it must outlive a rebuild.
    """
    path = data_dir / "instance"
    try:
        with suppress(FileNotFoundError):
            if ULID.fullmatch(name := path.read_text("ascii").strip()):
                return name
        refuse_root(data_dir)
        name = new_ulid()
        fresh = path.with_name(f"instance.{name}")
        with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"{name}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path} cannot be read or made: {error}.") from error
    return path.read_text("ascii").strip()


def make_spool(storage: Storage) -> Path:
    """The spool folder, there for sure."""
    try:
        # One by one: `mode` is for the last folder only, the parents follow the umask.
        storage.spool.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        storage.spool.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ArchiveError(f"{storage.spool} cannot be made: {error.strerror}.") from error
    return storage.spool


def _recover(storage: Storage) -> None:
    """What the archive has and the catalog does not: a crash came in between."""
    known = inventories.segment_facts(storage.catalog)
    there = storage.archive.sizes()
    if known and not there:
        raise ArchiveError(
            "The archive's folder holds none of the segments that the catalog knows.",
            advice="Mount it, or restore it; for a new beginning remove catalog.sqlite as well.",
        )
    lost = known.keys() - there.keys()
    for recorded in storage.archive.recover(known):
        if lost:
            # An older catalog: compaction has moved messages since, and says so here.
            digests = [message.digest for message in recorded.commit.messages]
            keeping.unlocate(storage.catalog, lost, digests)
        recording.record(storage.catalog, [recorded], replay=True)
        log().info(
            "archive.recovered",
            segment=recorded.segment,
            messages=len(recorded.commit.messages),
        )
    for segment in storage.archive.take_sealed():
        keeping.seal_segment(storage.catalog, segment)


def _prepare_spool(folder: Path, storage: Storage) -> None:
    """Our own place, and none for the dead."""
    make_spool(storage)
    for path in folder.iterdir():
        if ULID.fullmatch(path.name) and not storage.catalog.is_alive(path.name):
            shutil.rmtree(path, ignore_errors=True)
