"""Walking a segment file from commit to commit, also past damage.

The way from frame to frame is told by the frames themselves (RFC 8878 §3.1),
without decoding them. Where that way is broken, the next intact journal is
looked for octet by octet: damage never hides what comes after it.
"""

import re
from collections.abc import Iterator

from fetchd.archive import journal
from fetchd.archive.journal import JournalEntry
from fetchd.archive.source import DATA_MAGIC, PIECE, Source
from fetchd.values import Struct

_JOURNAL = re.compile(b"(?=%s[\\s\\S]{4}%s)" % (re.escape(journal.MAGIC), journal.TAG))
_DATA = re.compile(b"(?=%s)" % re.escape(DATA_MAGIC))


class Found(Struct, frozen=True):
    """An intact journal; `whole`: the data that it vouches for, and only they, precede it.

    The data are at `start` to `journal_at`, the journal from there to `end`.
    """

    start: int
    journal_at: int
    end: int
    entry: JournalEntry
    whole: bool


class Gap(Struct, frozen=True):
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
        whole = exact and source.check(began, at) == entry.data_check
        yield Found(began, at, end, entry, whole)
        position = end


def data_frames(source: Source, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(offset, end) of everything that looks like a data frame, also inside of others."""
    for at in _matches(source, _DATA, start, end):
        if (stop := source.frame_end(at, end)) is not None:
            yield at, stop


def _next_journal(source: Source, position: int) -> tuple[int, int, JournalEntry] | None:
    """The first intact journal behind `position`: its place, its end, and what it says."""
    at = position
    while (end := source.frame_end(at, source.size)) is not None:
        at = end
    if (found := _journal_at(source, at)) is not None:
        return found
    # What broke the way may be a wrong length that led past a good journal.
    for candidate in _matches(source, _JOURNAL, position, source.size):
        if (found := _journal_at(source, candidate)) is not None:
            return found
    return None


def _matches(source: Source, pattern: re.Pattern[bytes], start: int, end: int) -> Iterator[int]:
    """Where matches lie wholly between `start` and `end`; none is longer than 12 octets."""
    for offset in range(start, end, PIECE):
        stretch = source.at(offset, min(PIECE + 11, end - offset))
        for match in pattern.finditer(stretch):
            if match.start() < PIECE:
                yield offset + match.start()


def _journal_at(source: Source, offset: int) -> tuple[int, int, JournalEntry] | None:
    start = source.at(offset, 8)
    if len(start) < 8 or not start.startswith(journal.MAGIC):
        return None
    end = offset + 8 + int.from_bytes(start[4:], "little")
    if end > source.size or end - offset > journal.PAYLOAD_LIMIT:
        return None
    entry = journal.unframe(source.at(offset, end - offset), source.segment)
    return None if entry is None else (offset, end, entry)
