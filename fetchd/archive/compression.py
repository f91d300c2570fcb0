"""The one place that knows the zstd library: levels, frames, errors.

A frame always carries its content size and a checksum (RFC 8878 §3.1.1). To
change the library, change this file; `ZstdError` is what decoding may raise.
"""

from collections.abc import Iterator
from typing import IO, Protocol, cast

import zstandard

ZstdError = zstandard.ZstdError

# Measured on mail, MB/s and ratio: text 350 and 0.33 (level 3: 245 and 0.32), base64
# 890 and 0.74 (780 and 0.74). Compressing is the largest cost of a first sync, and
# what level 3 saves on text is little beside the attachments.
LEVEL = 1
PIECE = 256 * 1024


class Readable(Protocol):
    """Anything that gives at most so many octets at a time, and none at its end."""

    def read(self, size: int, /) -> bytes: ...


def compressor() -> zstandard.ZstdCompressor:
    """Not to be shared between threads."""
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)


def compressed(data: bytes) -> bytes:
    """One frame."""
    return compressor().compress(data)


def decompressed(frame: bytes, limit: int = 0) -> bytes:
    """The content of exactly one frame."""
    return zstandard.ZstdDecompressor().decompress(
        frame, max_output_size=limit, allow_extra_data=False
    )


def stream_into(out: IO[bytes], pieces: Iterator[bytes], size: int) -> None:
    """One frame of `size` octets of content, written piece by piece."""
    stream = compressor().compressobj(size=size)
    for piece in pieces:
        if octets := stream.compress(piece):
            out.write(octets)
    out.write(stream.flush())


def stream_from(source: Readable) -> Iterator[bytes]:
    """The content of the one frame that starts where `source` stands, in bounded pieces.

    The library takes the end of `source` for the end of the frame: a source that
    may be cut short must raise.
    """
    reader = zstandard.ZstdDecompressor().stream_reader(
        cast("IO[bytes]", source), read_size=PIECE, closefd=False
    )
    while piece := reader.read(PIECE):
        yield piece


def header_size(start: bytes) -> int:
    """Octets of the frame header at the beginning of `start`, which holds 18 or more."""
    return zstandard.frame_header_size(start)


def content_size(start: bytes) -> int:
    """Octets of content that the frame header announces; -1 where it announces nothing."""
    return zstandard.frame_content_size(start)
