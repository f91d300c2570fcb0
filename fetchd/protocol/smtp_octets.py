"""The octets of a message on their way into SMTP, piece by piece in bounded memory.

`canonical` is the last line against SMTP smuggling: a CR or LF that stands alone is read
as a line end by some servers and not by others, and what the one takes for text between
two lines, the other takes for the end of the message and for commands behind it. Whoever
makes messages has dealt with such octets before; here they are a bug, told as one before
anything that follows them is sent.
"""

from collections.abc import Iterable, Iterator

from fetchd.errors import LocalProtocolError

END = b".\r\n"


def canonical(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same octets, proven to hold CR and LF only as CRLF; they end with one.

    No piece that it gives ends between a CR and its LF.
    """
    held = b""  # a CR whose LF opens the next piece
    ended = True
    for piece in pieces:
        if not piece:
            continue
        if held:
            piece = held + piece
        held = b"\r" if piece.endswith(b"\r") else b""
        if held:
            piece = piece[:-1]
        pairs = piece.count(b"\r\n")
        if piece.count(b"\r") != pairs or piece.count(b"\n") != pairs:
            raise LocalProtocolError("a message with a CR or LF alone was about to be sent")
        if piece:
            ended = piece.endswith(b"\r\n")
            yield piece
    if held:
        raise LocalProtocolError("a message with a CR or LF alone was about to be sent")
    if not ended:
        yield b"\r\n"


def stuffed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """As DATA wants it (RFC 5321 §4.5.2): a dot before each that begins a line, then the end."""
    begins = True  # the next octet begins a line
    for piece in canonical(pieces):
        out = piece.replace(b"\r\n.", b"\r\n..") if b"\r\n." in piece else piece
        yield b"." + out if begins and piece.startswith(b".") else out
        begins = piece.endswith(b"\r\n")
    yield END


def blocks(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same octets in pieces of exactly `size`, but for the last: few large writes."""
    held: list[bytes] = []
    length = 0
    for piece in pieces:
        position = 0
        while position < len(piece):
            part = piece[position : position + size - length]
            held.append(part)
            position += len(part)
            length += len(part)
            if length == size:
                yield b"".join(held)
                held, length = [], 0
    if held:
        yield b"".join(held)
