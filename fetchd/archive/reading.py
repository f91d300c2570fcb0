"""Getting stored octets back: one message for whoever wants it, many for a check.

A message is only given when the whole of its frame decodes, its checksum is
right, and a tar header of its size stands in front of it. Memory use does not
depend on sizes: what is larger than SPILL goes through a file.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path

from fetchd.archive import tarentry
from fetchd.archive.source import SPOILT, Source
from fetchd.archive.trouble import archive_error
from fetchd.contracts import Body, Location
from fetchd.errors import ArchiveDamaged

SPILL = 1 << 20  # octets of a message: more go into a file
KEPT = 512 * 1024  # content of a frame that is kept for the next message of the same

Wanted = tuple[bytes, int, Location]  # digest, size, where


class Reader:
    """Reads the segments below `root`; any thread may use it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # Messages are mostly asked for in the order in which they are stored.
        self._kept: tuple[Location, bytes] | None = None

    def body(self, location: Location, size: int, spool: Path) -> Body:
        """The octets of a message of that size; a large one in a file in `spool`."""
        try:
            with closing(self._open(location.segment)) as source:
                pieces = self._pieces(source, location)
                if size > SPILL:
                    return _spooled(pieces, location.inner, size, spool)
                parts: list[bytes] = []
                _extract(pieces, location.inner, size, parts.append)
                return Body(size, b"".join(parts))
        except SPOILT as error:
            raise ArchiveDamaged(
                f"A message at octet {location.offset} of the segment {location.segment}"
                f" is damaged: {error}."
            ) from error
        except OSError as error:
            raise ArchiveDamaged(
                f"The segment {location.segment} cannot be read: {error.strerror or error}."
            ) from error

    def check(self, wanted: Iterable[Wanted]) -> Iterator[tuple[bytes, str | None]]:
        """(digest, None) for what hashes to its digest as read from disk, else what is wrong."""
        ordered = sorted(wanted, key=lambda one: (one[2].segment, one[2].offset, one[2].inner))
        for segment, here in groupby(ordered, lambda one: one[2].segment):
            try:
                source = self._open(segment)
            except ArchiveDamaged as error:
                yield from ((digest, str(error)) for digest, _, _ in here)
                continue
            with closing(source):
                _forget_pages(source)
                for (offset, length), inside in groupby(
                    here, lambda one: (one[2].offset, one[2].length)
                ):
                    yield from _checked(source, offset, length, list(inside))

    def forget(self) -> None:
        """Keep nothing in memory."""
        self._kept = None

    def _open(self, segment: str) -> Source:
        try:
            return Source.open(self._root, segment)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ArchiveDamaged(f"The segment {segment} is missing.") from error
        except OSError as error:
            raise archive_error(self._root, error) from error

    def _pieces(self, source: Source, location: Location) -> Iterator[bytes]:
        """The content of the frame, from memory where it was the last one."""
        frame = Location(location.segment, location.offset, location.length, 0)
        kept = self._kept
        if kept is not None and kept[0] == frame:
            return iter((kept[1],))
        pieces = source.content(location.offset, location.length)
        if not 0 <= source.content_size(location.offset) <= KEPT:
            return pieces
        content = b"".join(pieces)
        self._kept = (frame, content)
        return iter((content,))


def _spooled(pieces: Iterator[bytes], inner: int, size: int, spool: Path) -> Body:
    try:
        file, name = tempfile.mkstemp(prefix="body-", dir=spool)
    except OSError as error:
        raise archive_error(spool, error, "spool folder") from error
    path = Path(name)

    def write(octets: bytes) -> None:
        view = memoryview(octets)
        try:
            while view:
                view = view[os.write(file, view) :]
        except OSError as error:
            raise archive_error(spool, error, "spool folder") from error

    try:
        _extract(pieces, inner, size, write)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return Body(size, path=path)


def _extract(
    pieces: Iterator[bytes], inner: int, size: int, write: Callable[[bytes], object]
) -> None:
    """Write the message; ValueError unless it is one."""
    content = tarentry.Content(pieces)
    content.skip(inner - tarentry.BLOCK)
    if not tarentry.announces(content.take(tarentry.BLOCK), size):
        raise ValueError("no message of that size is there")
    for octets in content.some(size):
        write(octets)
    if content.position != inner + size:
        raise ValueError("the message is cut short")
    for _ in pieces:  # the checksum comes last
        pass


def _forget_pages(source: Source) -> None:
    """Have the kernel read from the disk, and not from its memory of what was written."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(source.file, 0, 0, os.POSIX_FADV_DONTNEED)


def _checked(
    source: Source, offset: int, length: int, wanted: Sequence[Wanted]
) -> Iterator[tuple[bytes, str | None]]:
    """Read one frame and compare all that should be in it."""
    place = f"{source.segment} at octet {offset}"
    try:
        found = {
            entry.inner: (entry.size, digest)
            for entry, digest in tarentry.entries(source.content(offset, length), _sha256)
        }
    except SPOILT as error:
        yield from ((digest, f"{place}: {error}") for digest, _, _ in wanted)
        return
    except OSError as error:
        trouble = f"{place} cannot be read: {error.strerror or error}"
        yield from ((digest, trouble) for digest, _, _ in wanted)
        return
    for digest, size, location in wanted:
        right = found.get(location.inner) == (size, digest)
        yield digest, None if right else f"{place}: other octets than were stored"


def _sha256(pieces: Iterator[bytes]) -> bytes:
    state = hashlib.sha256()
    for piece in pieces:
        state.update(piece)
    return state.digest()
