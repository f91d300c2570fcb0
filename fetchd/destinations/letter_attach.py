"""A new message of ours that has the original inside, for where it cannot go as it is.

multipart/mixed: a few lines that say what it is, then the original as message/rfc822, its
octets as they are. Where they are not for SMTP (NUL, 8-bit octets to a server of 7 bits,
bare CR or LF that shall stay), it is a file in base64 instead, application/octet-stream,
since RFC 2046 §5.2.1 has no base64 for message/rfc822.

The author of the new message is the owner, by whose domain DMARC is measured; who wrote
the original stands in front of "via fetchd", and gets the answer (Reply-To). It is
auto-generated (RFC 3834), so that nobody's holiday notice answers it. Trace fields of the
original come along on top, or a loop of two who attach would never be seen.

What strangers wrote is decoded, cut and encoded anew before it stands in a field, and
their addresses are validated: no line of theirs becomes a line of this header. The same
delivery gives the same octets at each attempt.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from datetime import datetime
from email.utils import format_datetime, parseaddr
from itertools import count

from fetchd.destinations.letter_envelope import Fields, answerable
from fetchd.destinations.letter_head import Edited
from fetchd.destinations.letter_octets import CRLF
from fetchd.message import envelope_fields
from fetchd.policy.loops import Trace
from fetchd.values import Struct

_WORD = 39  # octets that make an encoded-word of 64: lines of 76 (RFC 2047 §2), name included
_LINE = 57  # octets that make a line of 76 in base64
_LONGEST = 300  # characters of what is shown of the original
_LONGEST_NAME = 60
_ANSWERS = 10  # addresses in Reply-To
_SIMPLE = re.compile(r"[ -~]{0,66}")  # what may stand in a field as it is, on one line
_SHOWN = ("From", "To", "Date", "Subject")
_DISPOSITION = 'Content-Disposition: attachment; filename="original.eml"'
_MESSAGE = ("Content-Type: message/rfc822", _DISPOSITION)
_FILE = (
    'Content-Type: application/octet-stream; name="original.eml"',
    _DISPOSITION,
    "Content-Transfer-Encoding: base64",
    "",
)


class Cover(Struct, frozen=True):
    """Who sends the new message, and as what. Addresses as they go on the wire."""

    trace: Trace
    past: tuple[Trace, ...]  # of the original
    author: str
    recipients: tuple[str, ...]
    message_id: str
    at: datetime


class Base64(Struct, frozen=True):
    """A message in base64, in lines that end in CRLF."""

    original: Edited

    @property
    def size(self) -> int:
        lines = -(-self.original.size // _LINE)
        return -(-self.original.size // 3) * 4 + lines * len(CRLF)

    def pieces(self) -> Iterator[bytes]:
        """As often as wanted; blocking when in a file."""
        held = b""
        for piece in self.original.pieces():
            text = held + piece
            whole = len(text) - len(text) % _LINE
            held = text[whole:]
            if whole:
                yield _lines(text[:whole])
        if held:
            yield _lines(held)


def attached(
    original: Edited, fields: Fields, cover: Cover, *, eight_bit: bool, as_file: str
) -> tuple[bytes, Edited | Base64, bytes]:
    """What comes before the original, the original, and what comes behind it.

    `fields` are the original's. `as_file` says why it is one, "" where it is a message.
    """
    note = _note(fields, as_file)
    boundary = _boundary(cover, note, None if as_file else original)
    encoding = "8bit" if eight_bit and not as_file else "7bit"
    top = [
        *(trace.field().decode() for trace in (cover.trace, *cover.past)),
        *_head(fields, cover),
        f'Content-Type: multipart/mixed;\r\n boundary="{boundary}"',
        f"Content-Transfer-Encoding: {encoding}",
        "",
        f"--{boundary}",
        *_text_part(note),
        f"--{boundary}",
        *(_FILE if as_file else (*_MESSAGE, f"Content-Transfer-Encoding: {encoding}", "")),
        "",
    ]
    # The line end before a boundary is a part of the boundary (RFC 2046 §5.1.1).
    bottom = f"\r\n--{boundary}--\r\n".encode("ascii")
    return "\r\n".join(top).encode(), Base64(original) if as_file else original, bottom


def _head(fields: Fields, cover: Cover) -> Iterator[str]:
    yield f"From: {_phrase(_display_name(fields))} <{cover.author}>"
    yield f"To: {listed(cover.recipients)}"
    if answers := answerable(fields, _ANSWERS):
        yield f"Reply-To: {listed(answers)}"
    yield f"Subject: {_unstructured(('Fwd: ' + _shown(fields, 'Subject')).rstrip())}"
    yield f"Date: {format_datetime(cover.at)}"
    yield f"Message-ID: {cover.message_id}"
    yield "Auto-Submitted: auto-generated"
    yield "MIME-Version: 1.0"


def listed(recipients: Iterable[str]) -> str:
    """Addresses in a field, each on a line of its own."""
    return ",\r\n ".join(recipients)


def _note(fields: Fields, as_file: str) -> str:
    lines = ["Forwarded by fetchd. The original message is attached."]
    if as_file:
        lines.append(f"It is attached as a file, because {as_file}.")
    lines.append("")
    lines += [f"{name}: {text}" for name in _SHOWN if (text := _shown(fields, name))]
    return "\r\n".join(lines) + "\r\n"


def _text_part(note: str) -> Iterator[str]:
    encoding, text = "7bit", note
    if not note.isascii():
        encoding, text = "base64", _lines(note.encode()).decode("ascii")
    yield f"Content-Type: text/plain; charset={'us-ascii' if note.isascii() else 'utf-8'}"
    yield f"Content-Transfer-Encoding: {encoding}"
    yield "Content-Disposition: inline"
    yield ""
    yield text


def _boundary(cover: Cover, note: str, original: Edited | None) -> str:
    """One that stands nowhere in the parts. No base64 has "_" in it and need be read."""
    for number in count():
        digest = hashlib.sha256(f"{cover.message_id} {number}".encode()).hexdigest()
        boundary = f"=_{digest[:40]}"
        pieces = original.pieces() if original is not None else ()
        if boundary not in note and not _holds(pieces, boundary.encode("ascii")):
            return boundary
    raise AssertionError("Numbers do not end.")


def _holds(pieces: Iterable[bytes], wanted: bytes) -> bool:
    tail = b""
    for piece in pieces:
        text = tail + piece
        if wanted in text:
            return True
        tail = text[-len(wanted) + 1 :]
    return False


def _shown(fields: Fields, name: str) -> str:
    """What a field of the original says, decoded, on one line and not too long."""
    text = str(next(iter(fields.get(name.lower(), ())), ""))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _display_name(fields: Fields) -> str:
    """Who wrote the original. No address: filters take that for a forgery."""
    author = next(iter(fields.get("from", ())), None)
    raw = author.raw[:1000] if author is not None else b""
    name, _ = parseaddr(" ".join(raw.decode("utf-8", "replace").split()))
    # Parted first and decoded then: what is encoded may look like an address.
    decoded = envelope_fields(b"From: " + name.encode("utf-8", "replace"))["from"][0]
    name = decoded[:_LONGEST_NAME].strip()
    return f"{name} via fetchd" if name and "@" not in name else "fetchd"


def _phrase(text: str) -> str:
    """A display name (RFC 5322 §3.4)."""
    if _SIMPLE.fullmatch(text) and "=?" not in text:
        return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
    return _encoded(text)


def _unstructured(text: str) -> str:
    return text if _SIMPLE.fullmatch(text) and "=?" not in text else _encoded(text)


def _encoded(text: str) -> str:
    """Encoded-words of RFC 2047, a line each; no character is cut in two."""
    words = [b""]
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(words[-1]) + len(octets) > _WORD:
            words.append(b"")
        words[-1] += octets
    return "\r\n ".join(f"=?utf-8?b?{b64encode(word).decode('ascii')}?=" for word in words)


def _lines(octets: bytes) -> bytes:
    text = b64encode(octets)
    width = _LINE // 3 * 4
    return b"".join(text[at : at + width] + CRLF for at in range(0, len(text), width))
