"""CRLF to LF, only where it can be undone.

A message whose every LF follows a CR is written with LF alone; replacing each
LF by CRLF gives it back exactly. One bare LF would make that a lie, so such a
message is written as it is. Bodies in files are read twice, first to decide,
then to convert, in bounded memory.
"""

from collections.abc import Iterable, Iterator

from fetchd.contracts import Body


def written_size(body: Body, newline: str) -> int:
    """Octets that `written` will yield."""
    if newline != "lf":
        return body.size
    lines, pairs = _count(body.chunks())
    return body.size - pairs if lines == pairs else body.size


def written(body: Body, size: int) -> Iterator[bytes]:
    """The octets to write, given `written_size`: fewer than the body's mean conversion."""
    return body.chunks() if size == body.size else _converted(body.chunks())


def _count(chunks: Iterable[bytes]) -> tuple[int, int]:
    """How many LF there are, and how many of them follow a CR."""
    lines = pairs = 0
    after_cr = False
    for chunk in chunks:
        lines += chunk.count(b"\n")
        pairs += chunk.count(b"\r\n") + (after_cr and chunk.startswith(b"\n"))
        after_cr = chunk.endswith(b"\r")
    return lines, pairs


def _converted(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held = b""  # a CR whose LF may open the next chunk
    for chunk in chunks:
        piece = held + chunk
        held = b"\r" if piece.endswith(b"\r") else b""
        if held:
            piece = piece[:-1]
        yield piece.replace(b"\r\n", b"\n")
    if held:
        yield held
