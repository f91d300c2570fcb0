"""The archive: append-only segments of .tar.zst below one folder, YYYY/MM/<ulid>.tar.zst.

An append is a group commit: data frames, then the journal frame that vouches for
them, then one fdatasync. It succeeds as a whole or leaves the file as it was.
Each process appends to a segment of its own, held by a lock; reading needs none.
What a crash leaves is told apart by `recover`, at the next start.

Where to change what: `packing` makes the frames, `journal` says what a commit
was, `segment` is one file, `scanning` finds the way through it, `recovery` and
`replaying` turn it back into commits, `reading` gives messages.
"""

import errno
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import accumulate
from pathlib import Path

from fetchd.archive import journal
from fetchd.archive.journal import JournalEntry
from fetchd.archive.packing import Packed
from fetchd.archive.reading import Reader
from fetchd.archive.recovery import Recovery
from fetchd.archive.replaying import Damage, Replay
from fetchd.archive.segment import NAME, Segment, make_folders, remove_segment, sweep
from fetchd.archive.source import Source
from fetchd.archive.trouble import archive_error
from fetchd.contracts import Body, Commit, Location, Recorded, SegmentFacts
from fetchd.errors import ArchiveError

__all__ = ["Archive", "Damage"]

SEGMENT_SIZE = 128 << 20

_YEAR, _MONTH = re.compile(r"[0-9]{4}"), re.compile(r"[0-9]{2}")
# The file is as good as before, and may have room again at the next attempt.
_PASSING = (errno.ENOSPC, errno.EDQUOT)


class Archive:
    """The segments below `folder`; one thread may append while others read."""

    def __init__(
        self, folder: Path, *, segment_size: int = SEGMENT_SIZE, read_only: bool = False
    ) -> None:
        self._folder = folder
        self._segment_size = segment_size
        self._read_only = read_only
        self._open: Segment | None = None
        self._sealed: list[str] = []
        self._reader = Reader(folder)

    def recover(self, known: Mapping[str, SegmentFacts]) -> Iterator[Recorded]:
        """The commits beyond what the catalog knows, durable and oldest first.

        `known` maps paths below the folder to what the catalog has recorded. Goes
        on with the newest segment that has room and that nobody else appends to.
        """
        assert not self._read_only
        replay = Replay()
        try:
            make_folders(self._folder)
            for path in sorted(self._scan(sweep_too=True)):
                facts = known.get(path)
                if facts is None or not facts.sealed:
                    yield from self._recover(path, facts, replay)
        except OSError as error:
            raise archive_error(self._folder, error) from error

    def append(
        self,
        packed: Sequence[Packed],
        commit_of: Callable[[Sequence[Sequence[Location]]], Commit],
    ) -> Recorded:
        """One group commit, durable on return; ArchiveError when it is not, and did not happen.

        `commit_of` gets, for each Packed, where its messages went. The files of
        `packed` are given back in any case.
        """
        assert not self._read_only
        try:
            current = self._current()
            try:
                commit = _write(current, packed, commit_of)
                current.sync()
            except BaseException as error:
                self._step_back(current, error)
                raise
        except OSError as error:
            raise archive_error(self._folder, error) from error
        finally:
            for one in packed:
                one.discard()
        recorded = Recorded(current.path, current.length, commit)
        if current.length >= self._segment_size:
            self.seal()
        return recorded

    def abandon(self) -> None:
        """Append no more to the open segment: the catalog lacks what stands in it.

        It is not sealed: recovery at the next start tells the catalog.
        """
        self.close()

    def seal(self) -> None:
        """Append no more to the open segment: it is complete."""
        current, self._open = self._open, None
        if current is not None:
            self._seal(current)

    def take_sealed(self) -> tuple[str, ...]:
        """Segments that were sealed since the last call; the caller tells the catalog."""
        sealed, self._sealed = tuple(self._sealed), []
        return sealed

    def body(self, location: Location, size: int, spool: Path) -> Body:
        """The octets of a message; a large one in a file in `spool`, the caller's to discard.

        ArchiveDamaged when they are missing, or not a whole message of that size.
        """
        return self._reader.body(location, size, spool)

    def check(
        self, wanted: Iterable[tuple[bytes, int, Location]]
    ) -> Iterator[tuple[bytes, str | None]]:
        """Read (digest, size, location) back from the disk: (digest, None or what is wrong).

        By segment and offset. A frame that does not decode spoils every message in it.
        """
        return self._reader.check(wanted)

    def replay(self) -> Iterator[Recorded | Damage]:
        """Every commit of every segment, oldest segment first, and what is spoilt.

        What is given is durable. See `replaying` for what becomes of damage.
        """
        replay = Replay()
        try:
            if not self._folder.is_dir():
                raise FileNotFoundError(errno.ENOENT, "no such folder")
            for path in sorted(self._scan()):
                with closing(Source.open(self._folder, path)) as source:
                    _flush(source)
                    yield from replay.commits(source, 0)
        except OSError as error:
            raise archive_error(self._folder, error) from error

    def remove(self, segment: str) -> None:
        """Remove a sealed segment for good."""
        assert not self._read_only
        self._reader.forget()
        try:
            removed = remove_segment(self._folder, segment)
        except OSError as error:
            raise archive_error(self._folder, error) from error
        if not removed:
            raise ArchiveError(
                f"The segment {segment} is being written by another process.",
                advice="Wait until it has ended, then sync again.",
            )

    def sizes(self) -> dict[str, int]:
        """Path below the folder -> length of the file, of every segment."""
        try:
            return {path: (self._folder / path).stat().st_size for path in self._scan()}
        except OSError as error:
            raise archive_error(self._folder, error) from error

    def close(self) -> None:
        """Let go of the open segment."""
        current, self._open = self._open, None
        if current is not None:
            current.close()

    def _recover(self, path: str, facts: SegmentFacts | None, replay: Replay) -> Iterator[Recorded]:
        taken = Segment.take(self._folder, path)
        if taken is None:
            return
        recovery = Recovery(taken, facts, replay)
        try:
            yield from recovery.commits()
        except BaseException:
            taken.close()
            raise
        if taken.length == 0 and recovery.appendable:
            taken.discard()
            taken.close()
        elif taken.length >= self._segment_size or not recovery.appendable:
            self._seal(taken, mark=recovery.appendable)
        else:
            self.close()  # an older one: the newest with room is gone on with
            self._open = taken

    def _seal(self, segment: Segment, *, mark: bool = True) -> None:
        self._sealed.append(segment.path)
        if mark:
            # Without permission to change the mode the catalog's word must do.
            with suppress(OSError):
                segment.mark_sealed()
        segment.close()

    def _current(self) -> Segment:
        if self._open is None:
            self._open = Segment.create(self._folder)
        return self._open

    def _step_back(self, current: Segment, error: BaseException) -> None:
        """Leave no trace of the commit; begin a new segment where this one is in doubt."""
        try:
            if current.length == 0:
                current.discard()
                self.close()
                return
            current.cut(current.length)
        except OSError:
            self.close()  # recovery cuts it, at the next start
            return
        broken = isinstance(error, OSError) and error.errno not in _PASSING
        if current.unreliable or broken:
            self.seal()

    def _scan(self, *, sweep_too: bool = False) -> Iterator[str]:
        """The paths of all segment files, in no order."""
        for year in _entries(self._folder, _YEAR):
            for month in _entries(self._folder / year, _MONTH):
                folder = self._folder / year / month
                if sweep_too:
                    sweep(folder)
                for name in _entries(folder, NAME):
                    yield f"{year}/{month}/{name}"


def _write(
    current: Segment,
    packed: Sequence[Packed],
    commit_of: Callable[[Sequence[Sequence[Location]]], Commit],
) -> Commit:
    """Frames, then the journal, behind what is committed."""
    start = current.length
    commit = commit_of(_locations(current, packed))
    assert all(m.location is None or m.location.segment == current.path for m in commit.messages)
    check = 0
    for frame in (frame for one in packed for frame in one.frames):
        for piece in frame.pieces():
            check = zlib.crc32(piece, check)
            current.write(piece)
    current.write(journal.frame(JournalEntry(start, check, commit), current.path))
    return commit


def _locations(current: Segment, packed: Sequence[Packed]) -> list[list[Location]]:
    """Where everything will be."""
    located: list[list[Location]] = []
    offset = current.length
    for one in packed:
        starts = list(accumulate((frame.length for frame in one.frames), initial=offset))
        located.append(
            [
                Location(current.path, starts[p.frame], one.frames[p.frame].length, p.inner)
                for p in one.places
            ]
        )
        offset = starts[-1]
    return located


def _entries(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    """The names in a folder that match; none when there is no such folder."""
    try:
        with os.scandir(folder) as found:
            return [entry.name for entry in found if pattern.fullmatch(entry.name)]
    except FileNotFoundError:
        return []


def _flush(source: Source) -> None:
    """What a killed process wrote may not be on the disk yet."""
    try:
        os.fsync(source.file)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EINVAL):  # nothing to write there
            raise
