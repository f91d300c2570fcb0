"""The form of an mbox file, mboxrd: every octet of a message can be had back from it.

A message begins with `From SENDER DATE`; its lines that look like that get one more `>`,
those that were quoted before included; a blank line ends it. CRLF becomes LF where that
can be undone, and a last line without end gets one. What a message was exactly, `restored`
tells: of the few texts that an entry can stand for, the one of that digest, which the
archive holds.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from fetchd.contracts import Body
from fetchd.destinations.newlines import written

NOBODY = "MAILER-DAEMON"  # whom a message without a sender is from

_QUOTABLE = re.compile(rb"(\n>*)From ")
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
# What may become quotable with the octets that follow: all but the `>`s is held back.
_UNDECIDED = re.compile(rb"\n>*(F?|Fr|Fro|From)\Z")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PIECE = 1 << 20  # octets that are quoted at once, however large a message is in memory


def from_line(sender: str, at: datetime) -> bytes:
    """As every reader expects it: asctime in UTC, in English whatever the locale.

    `sender` is an address without blanks.
    """
    at = at.astimezone(UTC)
    day = f"{_DAYS[at.weekday()]} {_MONTHS[at.month - 1]} {at.day:2} {at:%H:%M:%S} {at.year:04}"
    return f"From {sender or NOBODY} {day}\n".encode()


def entry(body: Body) -> Iterator[bytes]:
    """The message with its lines quoted, ended, and a blank line behind it."""
    last = b""
    for piece in quoted(_cut(written(body, "lf")[1])):
        yield piece
        last = piece or last
    yield b"\n" if last.endswith(b"\n") else b"\n\n"


def quoted(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One more `>` before every line that is `>`s and `From `, wherever the chunks are cut.

    It goes behind the others, where it makes no difference: so only `From` ever
    has to wait for the next chunk, however many `>`s there are.
    """
    held, in_run = b"", True  # whether a line end and `>`s alone precede what comes
    for chunk in chunks:
        text = (b"\n" if in_run else b"") + held + chunk
        undecided = _UNDECIDED.match(text, max(text.rfind(b"\n"), 0))
        cut = undecided.start(1) if undecided else len(text)
        piece = _QUOTABLE.sub(rb"\1>From ", text[:cut])
        yield piece[1:] if in_run else piece
        held, in_run = text[cut:], undecided is not None
    yield held


def restored(text: bytes, digest: bytes) -> bytes | None:
    """The exact octets of an entry (without its first line), or None if they are not there."""
    if not text.endswith(b"\n\n"):
        return None
    lf = _QUOTED.sub(rb"\1", text[:-1])
    crlf = lf.replace(b"\n", b"\r\n")
    for octets in (crlf, lf, crlf[:-2], lf[:-1]):
        if hashlib.sha256(octets).digest() == digest:
            return octets
    return None


def _cut(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if len(chunk) <= _PIECE:
            yield chunk
        else:
            yield from (chunk[at : at + _PIECE] for at in range(0, len(chunk), _PIECE))
