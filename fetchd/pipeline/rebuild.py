"""A new catalog from the segments alone: the catalog is an index, the segments are the truth.

The new one is made beside the old and takes its place only when it is whole;
the old one stays under another name. What a journal cannot tell (runs, the
health of accounts, quarantine) begins anew; nor does it tell what has left the
server since, so the next sync looks at the header of whatever is still listed.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fetchd.archive.store import Archive, Damage
from fetchd.catalog import inventory as inventories
from fetchd.catalog import keeping, process, recording, runs
from fetchd.catalog.database import Catalog
from fetchd.contracts import Recorded
from fetchd.errors import CatalogError
from fetchd.pipeline.storage import data_paths
from fetchd.settings import Settings
from fetchd.values import Struct

_COMPANIONS = ("-wal", "-shm")


class RebuildReport(Struct, frozen=True):
    """What the new catalog knows; `previous` is where the old one lies now."""

    messages: int
    remotes: int
    deliveries: int
    segments: int
    damage: tuple[str, ...]
    previous: Path | None


def rebuild(
    settings: Settings, *, progress: Callable[[int, int], None] = lambda _done, _whole: None
) -> RebuildReport:
    """Make the catalog anew; CatalogError while another fetchd is at work."""
    paths = data_paths(settings)
    if busy := process.living(paths.catalog.parent / "processes"):
        raise CatalogError(
            f"Process {busy[0]} is using the catalog {paths.catalog}.",
            advice="Wait until it has ended, then rebuild.",
        )
    archive = Archive(paths.archive, segment_size=settings.archive.segment_size, read_only=True)
    fresh = paths.catalog.with_name("catalog.rebuilding")
    _remove(fresh)
    with Catalog(fresh) as catalog:
        damage = _replay(archive, catalog, progress)
        inventories.doubt_all(catalog)
        keeping.settle_expired(catalog)
        runs.date_accounts(catalog)
        messages, remotes, deliveries, segments = (
            int(catalog.rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608
            for table in ("message", "remote_message", "delivery", "segment")
        )
    previous = _exchange(paths.catalog, fresh)
    return RebuildReport(messages, remotes, deliveries, segments, tuple(damage), previous)


def _replay(archive: Archive, catalog: Catalog, progress: Callable[[int, int], None]) -> list[str]:
    sizes = archive.sizes()
    whole = sum(sizes.values())
    order = sorted(sizes)
    damage: list[str] = []
    for one in archive.replay():
        match one:
            case Recorded(segment=segment, end=end):
                recording.record(catalog, [one], replay=True)
                done = sum(sizes[path] for path in order if path < segment)
                progress(min(done + end, whole), whole)
            case Damage(segment=segment, offset=offset, reason=reason):
                damage.append(f"{segment} at octet {offset}: {reason}")
    progress(whole, whole)
    return damage


def _exchange(path: Path, fresh: Path) -> Path | None:
    """The new catalog under the old one's name, durably."""
    previous: Path | None = None
    try:
        if path.exists():
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            previous = path.with_name(f"{path.name}.before-rebuild-{stamp}")
            for companion in ("", *_COMPANIONS):
                old = path.with_name(path.name + companion)
                if old.exists():
                    old.rename(previous.with_name(previous.name + companion))
        fresh.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise CatalogError(
            f"The new catalog {fresh} cannot take its place: {error.strerror}.",
            advice="Repair the permissions of the data folder and rebuild again.",
        ) from error
    return previous


def _remove(path: Path) -> None:
    for companion in ("", *_COMPANIONS):
        path.with_name(path.name + companion).unlink(missing_ok=True)
