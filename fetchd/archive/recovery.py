"""After a crash: what stands in a segment beyond what the catalog knows of it.

Commits that are whole are made durable and given to the catalog; what follows
the last of them is the torn end of a commit that nobody was told of, and is cut.

Only what was never acknowledged is cut. Where the catalog does not know the
segment at all (it was lost, or comes from a backup), a spoilt end with messages
in it may have been acknowledged: then the file is left as it is and not appended
to, and `fetchd rebuild` salvages it. The same goes for a sealed file.
"""

import os
from collections.abc import Iterator
from contextlib import suppress

from fetchd.archive.replaying import Damage, Replay, rescue
from fetchd.archive.scanning import Found, walk
from fetchd.archive.segment import Segment, sync_folders
from fetchd.archive.source import Source
from fetchd.contracts import Recorded, SegmentFacts
from fetchd.telemetry import log


class Recovery:
    """What is to be done with one segment, which is locked by us."""

    def __init__(self, segment: Segment, facts: SegmentFacts | None, replay: Replay) -> None:
        self._segment, self._replay = segment, replay
        self._known = facts is not None
        self._start = facts.length if facts else 0
        self._end = segment.length
        self.appendable = not segment.sealed

    def commits(self) -> Iterator[Recorded]:
        """Cut the torn end; then the commits to record, durable already."""
        segment = self._segment
        if segment.length < self._start:
            log().warning("archive.damaged", segment=segment.path, reason="the file is too short")
            self.appendable = False
        if segment.length <= self._start:
            return
        if self.appendable:
            self._cut_torn_end()
        if self._end > self._start and self._made_durable():
            yield from self._replayed()

    def _cut_torn_end(self) -> None:
        source = self._source()
        self._end = self._start
        for item in walk(source, self._start):
            if isinstance(item, Found) and item.whole:
                self._end = item.end
        if self._end == source.size:
            return
        if not self._known and _acknowledged(source, self._end):
            self.appendable = False
            log().warning("archive.damaged", segment=self._segment.path, offset=self._end)
            return
        self._segment.cut(self._end)
        log().info("archive.cut", segment=self._segment.path, octets=source.size - self._end)

    def _made_durable(self) -> bool:
        segment = self._segment
        try:
            os.fsync(segment.file)
            sync_folders(segment.root, segment.path)
        except OSError as error:
            # Told once; a second fsync might claim success. What is lost is fetched again.
            log().warning("archive.abandoned", segment=segment.path, reason=str(error))
            if self.appendable and self._known:
                with suppress(OSError):
                    segment.cut(self._start)
            self.appendable = False
            return False
        return True

    def _replayed(self) -> Iterator[Recorded]:
        for one in self._replay.commits(self._source(), self._start):
            match one:
                case Recorded():
                    yield one
                case Damage():
                    log().warning(
                        "archive.damaged",
                        segment=one.segment,
                        offset=one.offset,
                        reason=one.reason,
                    )

    def _source(self) -> Source:
        source = Source(self._segment.file, self._segment.path)
        source.size = self._end  # nothing behind it is looked at
        return source


def _acknowledged(source: Source, end: int) -> bool:
    """Whether the spoilt end of an unknown segment may be more than a torn write."""
    if end == 0:
        return True  # a segment gets its name with its first commit
    journals = any(isinstance(item, Found) for item in walk(source, end))
    return journals or any(messages for _, messages in rescue(source, end, source.size))
