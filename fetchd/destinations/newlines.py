"""CRLF to LF, only where it can be undone.

A message whose every LF follows a CR is written with LF alone; replacing each
LF by CRLF gives it back exactly. One bare LF would make that a lie, so such a
message is written as it is. Bodies in files are read twice, first to decide,
then to convert, in bounded memory.

Where every CR is part of a line end, which is nearly always, CRs are deleted:
that is three times as fast as replacing pairs.
"""

from collections.abc import Iterable, Iterator

from fetchd.contracts import Body


def written(body: Body, newline: str) -> tuple[int, Iterator[bytes]]:
    """How many octets to write, and the octets."""
    lines = pairs = returns = 0
    if newline == "lf" and body.data is not None:
        pairs = body.data.count(b"\r\n")
        text = body.data.translate(None, b"\r")
        if pairs == text.count(b"\n") == len(body.data) - len(text):
            return len(text), iter((text,))
    if newline == "lf":
        lines, pairs, returns = _count(body.chunks())
    if lines != pairs or not pairs:
        return body.size, body.chunks()
    converted = _without_cr(body.chunks()) if returns == pairs else _replaced(body.chunks())
    return body.size - pairs, converted


def _count(chunks: Iterable[bytes]) -> tuple[int, int, int]:
    """How many LF there are, how many of them follow a CR, and how many CR."""
    lines = pairs = returns = 0
    after_cr = False
    for chunk in chunks:
        lines += chunk.count(b"\n")
        returns += chunk.count(b"\r")
        pairs += chunk.count(b"\r\n") + (after_cr and chunk.startswith(b"\n"))
        after_cr = chunk.endswith(b"\r")
    return lines, pairs, returns


def _without_cr(chunks: Iterable[bytes]) -> Iterator[bytes]:
    return (chunk.translate(None, b"\r") for chunk in chunks)


def _replaced(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held = b""  # a CR whose LF may open the next chunk
    for chunk in chunks:
        piece = held + chunk
        held = b"\r" if piece.endswith(b"\r") else b""
        if held:
            piece = piece[:-1]
        yield piece.replace(b"\r\n", b"\n")
    if held:
        yield held
