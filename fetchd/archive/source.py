"""Reading a segment file by position, so that threads and generators may share it.

Whoever reads what may be spoilt catches SPOILT: everything that a file cut short,
a wrong frame or a wrong tar makes these functions raise. OSError passes.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from fetchd.archive import compression

PIECE = 1 << 20
SPOILT = (compression.ZstdError, ValueError)


class Source:
    """An open file; `close` it unless the descriptor is somebody else's."""

    def __init__(self, file: int, segment: str) -> None:
        self.file, self.segment = file, segment
        self.size = os.fstat(file).st_size

    @classmethod
    def open(cls, root: Path, segment: str) -> "Source":
        """The file of a segment; FileNotFoundError and its kin when there is none."""
        file = os.open(root / segment, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        return cls(file, segment)

    def close(self) -> None:
        os.close(self.file)

    def at(self, offset: int, length: int) -> bytes:
        """That many octets, or as many as there are."""
        got = os.pread(self.file, length, offset)
        while 0 < len(got) < length:
            more = os.pread(self.file, length - len(got), offset + len(got))
            if not more:
                break
            got += more
        return got

    def digest(self, start: int, end: int) -> bytes:
        """SHA-256 of the octets as they are in the file."""
        state = hashlib.sha256()
        for offset in range(start, end, PIECE):
            state.update(self.at(offset, min(PIECE, end - offset)))
        return state.digest()

    def content(self, offset: int, length: int) -> Iterator[bytes]:
        """What the one frame there holds, in bounded pieces; SPOILT at the first wrong one."""
        expected = compression.content_size(self.at(offset, min(length, 18)))
        seen = 0
        for piece in compression.stream_from(_Span(self, offset, length)):
            seen += len(piece)
            yield piece
        if seen != expected:
            raise ValueError("the frame is cut short")


class _Span:
    """A stretch of the file as a stream; it raises when the file ends within."""

    def __init__(self, source: Source, offset: int, length: int) -> None:
        self._source, self._offset, self._left = source, offset, length

    def read(self, size: int) -> bytes:
        octets = self._source.at(self._offset, min(size, self._left))
        if not octets and self._left:
            raise ValueError("the file ends within the frame")
        self._offset += len(octets)
        self._left -= len(octets)
        return octets
