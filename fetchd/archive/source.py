"""Reading a segment file by position, so that threads and generators may share it.

Whoever reads what may be spoilt catches SPOILT: everything that a file cut short,
a wrong frame or a wrong tar makes these functions raise. OSError passes.
"""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from fetchd.archive import compression

PIECE = 1 << 20
DATA_MAGIC = b"\x28\xb5\x2f\xfd"

_HEADER_LIMIT = 18  # octets of a frame header, RFC 8878 §3.1.1.1
_BLOCK_LIMIT = 128 * 1024  # RFC 8878 §3.1.1.2.4
_RLE_BLOCK, _RESERVED_BLOCK = 1, 3
_HAS_CHECKSUM = 0x04  # of the frame header descriptor

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

    def check(self, start: int, end: int) -> int:
        """CRC-32 of the octets as they are in the file."""
        check = 0
        for offset in range(start, end, PIECE):
            check = zlib.crc32(self.at(offset, min(PIECE, end - offset)), check)
        return check

    def frame_end(self, offset: int, limit: int) -> int | None:
        """Where the data frame that begins at `offset` ends, as it says itself.

        None where none begins, or it does not end before `limit`. RFC 8878 §3.1.1:
        a header, blocks that tell their sizes, four octets of checksum.
        """
        start = self.at(offset, min(_HEADER_LIMIT, limit - offset))
        if not start.startswith(DATA_MAGIC):
            return None
        try:
            at = offset + compression.header_size(start)
        except compression.ZstdError:
            return None
        last = False
        while not last:
            if at + 3 > limit:
                return None
            block = int.from_bytes(self.at(at, 3), "little")
            last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
            if kind == _RESERVED_BLOCK or size > _BLOCK_LIMIT:
                return None
            at += 3 + (1 if kind == _RLE_BLOCK else size)
        at += 4 if start[4] & _HAS_CHECKSUM else 0
        return at if at <= min(limit, self.size) else None

    def content_size(self, offset: int) -> int:
        """Octets that the frame there says it holds; -1 where it does not say."""
        return compression.content_size(self.at(offset, _HEADER_LIMIT))

    def content(self, offset: int, length: int) -> Iterator[bytes]:
        """What the one frame there holds, in bounded pieces; SPOILT at the first wrong one."""
        end = offset + length
        if self.frame_end(offset, end) != end:
            raise ValueError("no frame of that length is there")
        yield from compression.stream_from(_Span(self, offset, length))


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
