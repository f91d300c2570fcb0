"""Walking a segment file from commit to commit, also past damage.

The way from frame to frame is told by the frames themselves (RFC 8878 §3.1),
without decoding them. Where that way is broken, the next intact journal is
looked for octet by octet: damage never hides what comes after it.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fetchd.archive import compression, journal
from fetchd.archive.journal import JournalEntry
from fetchd.archive.source import PIECE, Source

DATA_MAGIC = b"\x28\xb5\x2f\xfd"

_HEADER_LIMIT = 18  # octets of a zstd frame header, RFC 8878 §3.1.1.1
_BLOCK_LIMIT = 128 * 1024  # RFC 8878 §3.1.1.2.4
_RESERVED_BLOCK, _RLE_BLOCK = 3, 1
_HAS_CHECKSUM = 0x04  # of the frame header descriptor
_JOURNAL = re.compile(b"(?=%s[\\s\\S]{4}%s)" % (re.escape(journal.MAGIC), journal.TAG))
_DATA = re.compile(b"(?=%s)" % re.escape(DATA_MAGIC))


@dataclass(frozen=True, slots=True)
class Found:
    """An intact journal; `whole`: the data that it vouches for, and only they, precede it.

    The data are at `start` to `journal_at`, the journal from there to `end`.
    """

    start: int
    journal_at: int
    end: int
    entry: JournalEntry
    whole: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """Octets that no intact journal vouches for."""

    start: int
    end: int


def walk(source: Source, start: int) -> Iterator[Found | Gap]:
    """Everything from `start`, a place between two commits, to the end of the file."""
    position = start
    while position < source.size:
        found = _next_journal(source, position)
        if found is None:
            yield Gap(position, source.size)
            return
        at, end, entry = found
        began = min(max(entry.start, position), at)
        if began > position:
            yield Gap(position, began)
        exact = began == entry.start
        whole = exact and source.digest(began, at) == entry.data_digest
        yield Found(began, at, end, entry, whole)
        position = end


def frame_end(source: Source, offset: int, limit: int) -> int | None:
    """Where the frame that begins at `offset` ends; None when none does, or it passes `limit`."""
    start = source.at(offset, min(_HEADER_LIMIT, limit - offset))
    if start.startswith(journal.MAGIC) and len(start) >= 8:
        end: int | None = offset + 8 + struct.unpack_from("<I", start, 4)[0]
    elif start.startswith(DATA_MAGIC):
        end = _data_frame_end(source, offset, start, limit)
    else:
        return None
    return end if end is not None and end <= limit else None


def data_frames(source: Source, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(offset, end) of everything that looks like a data frame, also inside of others."""
    for at in _matches(source, _DATA, start, end):
        if (stop := frame_end(source, at, end)) is not None:
            yield at, stop


def _next_journal(source: Source, position: int) -> tuple[int, int, JournalEntry] | None:
    """The first intact journal behind `position`: its place, its end, and what it says."""
    at = position
    while (end := frame_end(source, at, source.size)) is not None:
        if source.at(at, 4) == journal.MAGIC:
            if entry := _read(source, at, end):
                return at, end, entry
            break
        at = end
    # What broke the way may be a wrong length that led past a good journal.
    for candidate in _matches(source, _JOURNAL, position, source.size):
        end = frame_end(source, candidate, source.size)
        if end is not None and (entry := _read(source, candidate, end)):
            return candidate, end, entry
    return None


def _matches(source: Source, pattern: re.Pattern[bytes], start: int, end: int) -> Iterator[int]:
    """Where matches lie wholly between `start` and `end`; none is longer than 12 octets."""
    for offset in range(start, end, PIECE):
        stretch = source.at(offset, min(PIECE + 11, end - offset))
        for match in pattern.finditer(stretch):
            if match.start() < PIECE:
                yield offset + match.start()


def _read(source: Source, offset: int, end: int) -> JournalEntry | None:
    if end - offset > journal.PAYLOAD_LIMIT:
        return None
    return journal.unframe(source.at(offset, end - offset), source.segment)


def _data_frame_end(source: Source, offset: int, start: bytes, limit: int) -> int | None:
    """RFC 8878 §3.1.1: a header, blocks that tell their sizes, four octets of checksum."""
    try:
        at = offset + compression.header_size(start)
    except compression.ZstdError:
        return None
    last = False
    while not last and at + 3 <= limit:
        block = int.from_bytes(source.at(at, 3), "little")
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        if kind == _RESERVED_BLOCK or size > _BLOCK_LIMIT:
            return None
        at += 3 + (1 if kind == _RLE_BLOCK else size)
    if not last:
        return None
    return at + (4 if start[4] & _HAS_CHECKSUM else 0)
