"""From messages to compressed frames: pure CPU, no lock, any thread.

Small messages share a frame of up to GROUP octets of tar; a larger one has a
frame of its own, compressed as it is read, and its frame spills to an unnamed
file above SPILL. So memory use does not depend on the size of a message.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from fetchd.archive import compression, tarentry
from fetchd.contracts import Body
from fetchd.errors import ArchiveError
from fetchd.values import Struct

GROUP = 256 * 1024
SPILL = 4 * 1024 * 1024
PIECE = 1 << 20


class Frame(Struct, frozen=True):
    """One compressed frame, in memory or in an unnamed file."""

    length: int
    data: bytes = b""
    file: IO[bytes] | None = None

    def pieces(self) -> Iterator[bytes]:
        """Its octets from the beginning."""
        if self.file is None:
            yield self.data
            return
        self.file.seek(0)
        while piece := self.file.read(PIECE):
            yield piece


class Place(Struct, frozen=True):
    """Where a message went: the index of its frame, and its offset in the content."""

    frame: int
    inner: int
    size: int


@dataclass(slots=True)
class Packed:
    """Frames ready to be appended; `places` is in the order of the messages."""

    frames: list[Frame] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    def discard(self) -> None:
        """Give back the files; the archive does it after an append."""
        for frame in self.frames:
            if frame.file is not None:
                frame.file.close()


def pack(messages: Sequence[tuple[str, int, Body]], spool: Path) -> Packed:
    """Frames for (entry name, mtime, body); large ones spill into folder `spool`."""
    packed = Packed()
    group: list[bytes] = []
    filled = 0
    try:
        for name, mtime, body in messages:
            head = tarentry.header(name, mtime, body.size)
            whole = len(head) + body.size + -body.size % tarentry.BLOCK
            if filled and filled + whole > GROUP:
                _close_group(packed, group)
                group, filled = [], 0
            packed.places.append(Place(len(packed.frames), filled + len(head), body.size))
            if whole > GROUP:
                packed.frames.append(_large_frame(head, body, whole, spool))
                continue
            group += [head, *_exactly(body), tarentry.padding(body.size)]
            filled += whole
        if filled:
            _close_group(packed, group)
    except BaseException:
        packed.discard()
        raise
    return packed


def _close_group(packed: Packed, group: list[bytes]) -> None:
    content = b"".join(group)
    data = compression.compressed(content)
    packed.frames.append(Frame(len(data), data))


def _large_frame(head: bytes, body: Body, whole: int, spool: Path) -> Frame:
    out = tempfile.SpooledTemporaryFile(max_size=SPILL, dir=str(spool))  # noqa: SIM115
    try:
        compression.stream_into(out, _tar(head, body), whole)
        length = out.tell()
        if length > SPILL:
            return Frame(length, file=out)
        out.seek(0)
        data = out.read()
    except BaseException:
        out.close()
        raise
    out.close()
    return Frame(length, data)


def _tar(head: bytes, body: Body) -> Iterator[bytes]:
    yield head
    yield from _exactly(body)
    yield tarentry.padding(body.size)


def _exactly(body: Body) -> Iterator[bytes]:
    """The body's chunks; a body that is not as long as it says would ruin the tar."""
    seen = 0
    for chunk in body.chunks(PIECE):
        seen += len(chunk)
        if seen > body.size:
            break
        yield chunk
    if seen != body.size:
        raise ArchiveError(
            f"A message of {body.size} octets changed in {body.path} before it was stored.",
            advice="Sync again; nothing else may write into the data folder.",
        )
