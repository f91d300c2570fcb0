"""A message's octets as SMTP carries them: what is in them, and lines that end in CRLF.

RFC 5321 §2.3.8 knows CR and LF only together. Where they stand alone, servers disagree on
where a line ends, and what one takes for text the next takes for the end of a message
(SMTP smuggling). So nothing leaves here as text with a bare CR or LF in it.

When they are converted, each LF is one line end together with all CRs in front of it, as
Postfix reads them: CR CR LF is what a program leaves that ends lines twice, and an empty
line in its place would end the header. Any other CR is a line end of its own.

Bodies in files are read once to learn what is in them and once to be sent, in pieces.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import repeat

from fetchd.contracts import Body
from fetchd.values import Struct

CRLF = b"\r\n"
PIECE = 1 << 20

_BEFORE_LF = re.compile(rb"(?<!\r)\r++\n")  # looked for once in a run of CRs, however long


class Content(Struct, frozen=True):
    """What SMTP needs to know of a message. `bare`: a CR or LF is no part of a CRLF."""

    nul: bool
    eight_bit: bool
    bare: bool
    ended: bool  # the last line has its line end


class Octets(Struct, frozen=True):
    """The octets of a message in the form in which they are sent; `size` is exact."""

    body: Body
    size: int
    convert: bool = False  # CR and LF only as CRLF
    end: bool = False  # a last line without line end gets one

    def pieces(self) -> Iterator[bytes]:
        """As often as wanted, the same each time; blocking when in a file."""
        chunks = _chunks(self.body)
        yield from canonical(chunks) if self.convert else chunks
        if self.end:
            yield CRLF


def examined(body: Body) -> Content:
    """Reads all of it; blocking when in a file."""
    nul = eight_bit = False
    returns = lines = pairs = 0
    last = b""
    for chunk in body.chunks(PIECE):
        nul = nul or b"\0" in chunk
        eight_bit = eight_bit or not chunk.isascii()
        returns += chunk.count(b"\r")
        lines += chunk.count(b"\n")
        pairs += chunk.count(CRLF) + (last.endswith(b"\r") and chunk.startswith(b"\n"))
        last = chunk or last
    bare = not returns == lines == pairs
    # Where no LF is bare, one at the end has its CR.
    ended = last.endswith((b"\r", b"\n"))
    return Content(nul, eight_bit, bare, ended)


def exact(body: Body) -> Octets:
    """As they came."""
    return Octets(body, body.size)


def inside(body: Body, content: Content) -> Octets:
    """With lines that end in CRLF, the last one perhaps in nothing."""
    if not content.bare:
        return exact(body)
    return Octets(body, sum(map(len, canonical(_chunks(body)))), convert=True)


def whole(body: Body, content: Content) -> Octets:
    """With lines that end in CRLF, all of them."""
    octets = inside(body, content)
    if content.ended or not body.size:
        return octets
    return Octets(body, octets.size + len(CRLF), octets.convert, end=True)


def canonical(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """CR and LF only as CRLF, the same however the octets are cut."""
    held = 0  # CRs at the end of what came; what they are, the next octet says
    for chunk in chunks:
        text = chunk.lstrip(b"\r") if held else chunk
        held += len(chunk) - len(text)
        if not text:
            continue
        if not text.startswith(b"\n"):
            yield from _line_ends(held)
        line = text.rstrip(b"\r")
        held = len(text) - len(line)
        yield _one_kind(line).replace(b"\n", CRLF)
    yield from _line_ends(held)


def _one_kind(text: bytes) -> bytes:
    """Every line end as LF, in steps of which each is one call."""
    text = text.replace(CRLF, b"\n")
    return _BEFORE_LF.sub(b"\n", text).replace(b"\r", b"\n") if b"\r" in text else text


def beyond(pieces: Iterable[bytes], count: int) -> Iterator[bytes]:
    """All but the first `count` octets."""
    for piece in pieces:
        if count < len(piece):
            yield piece[count:] if count else piece
        count = max(0, count - len(piece))


def first(pieces: Iterable[bytes], count: int) -> bytes:
    """The first `count` octets, or as many as there are."""
    taken: list[bytes] = []
    missing = count
    for piece in pieces:
        taken.append(piece[:missing])
        missing -= len(piece)
        if missing <= 0:
            break
    return taken[0] if len(taken) == 1 else b"".join(taken)


def _chunks(body: Body) -> Iterator[bytes]:
    """Of what is in memory no second copy is made at once."""
    if body.data is None or body.size <= PIECE:
        return body.chunks(PIECE)
    return (body.data[at : at + PIECE] for at in range(0, body.size, PIECE))


def _line_ends(count: int) -> Iterator[bytes]:
    full, rest = divmod(count, PIECE // len(CRLF))
    yield from repeat(CRLF * (PIECE // len(CRLF)), full)
    if rest:
        yield CRLF * rest
