"""What can be read off a message without parsing it: digests and a header summary.

Only the header is scanned, by bounded searches; a MIME tree is never built.
Every function accepts any octets: a message without header, without body or
without a single line end is a message too.
"""

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import parsedate_to_datetime

HEADER_LIMIT = 256 * 1024  # longer headers are summarised from their beginning

_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_HEADER_END = re.compile(rb"\r?\n\r?\n|\A\r?\n")
_FIELD = re.compile(
    rb"^(message-id|date|from|to|subject):[ \t]*(.*(?:\r?\n[ \t].*)*)",
    re.IGNORECASE | re.MULTILINE,
)
# Fields that a server may add or change between two looks at one message.
_VOLATILE = re.compile(
    rb"^(?:x-)?(?:status|keywords|uidl?|imap|mozilla-status2?):.*\n(?:[ \t].*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
# Fields that differ between copies of one message that took different ways.
_TRACE = re.compile(
    rb"^(?:received|return-path|delivered-to|x-original-to|x-delivered-to|envelope-to"
    rb"|received-spf|authentication-results|x-received|arc-[a-z-]+|x-google-[a-z-]+"
    rb"|x-gm-[a-z-]+|x-spam-[a-z-]+|x-forwarded-[a-z]+|delivery-date|x-envelope-[a-z]+"
    rb"|(?:x-)?status|x-keywords|x-uidl?|x-mozilla-[a-z0-9-]+):.*\n(?:[ \t].*\n)*",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Summary:
    """What lists and searches show, decoded; empty strings where absent.

    `header_digest` recognises a message by its header alone (RFC 1939 TOP n 0);
    `copy_key` is equal for copies that differ only in trace fields: SHA-256 of
    the rest of the header and of the whole body.
    """

    message_id: str
    date: str
    sender: str
    recipients: str
    subject: str
    header_digest: bytes
    copy_key: bytes


def header_of(data: bytes) -> bytes:
    """The header with its last line end, without the empty line that ends it."""
    head = data[:HEADER_LIMIT]
    end = _HEADER_END.search(head)
    if end is None:
        return head
    if end.start() == 0:
        return b""
    first = head.index(b"\n", end.start()) + 1
    return head[:first]


def header_digest(header: bytes) -> bytes:
    """SHA-256 of a header, blind to line-end style and to volatile fields.

    `header` is what `header_of` gives, or the answer to TOP n 0.
    """
    text = header.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
    return hashlib.sha256(_VOLATILE.sub(b"", text)).digest()


def examine(chunks: Iterable[bytes]) -> tuple[bytes, Summary]:
    """SHA-256 and summary of a message that comes in pieces, in bounded memory."""
    pieces = iter(chunks)
    first = _beginning(pieces)
    header = header_of(first)
    whole = hashlib.sha256(first)
    text = header.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n"
    copy = hashlib.sha256(_TRACE.sub(b"", text))
    copy.update(memoryview(first)[len(header) :])
    for piece in pieces:
        whole.update(piece)
        copy.update(piece)
    return whole.digest(), _summary(text, copy.digest())


def summarize(data: bytes) -> Summary:
    """The summary of a whole message."""
    return examine((data,))[1]


def _beginning(pieces: Iterable[bytes]) -> bytes:
    """As many pieces as hold any header that is looked at."""
    taken: list[bytes] = []
    size = 0
    for piece in pieces:
        taken.append(piece)
        size += len(piece)
        if size >= HEADER_LIMIT:
            break
    return taken[0] if len(taken) == 1 else b"".join(taken)


def _summary(text: bytes, copy_key: bytes) -> Summary:
    """`text` is the header with LF line ends."""
    found: dict[bytes, bytes] = {}
    for match in _FIELD.finditer(text):
        found.setdefault(match[1].lower(), match[2])
    return Summary(
        message_id=_decoded(found.get(b"message-id", b""))[:998],
        date=_decoded(found.get(b"date", b""))[:100],
        sender=_decoded(found.get(b"from", b""))[:998],
        recipients=_decoded(found.get(b"to", b""))[:998],
        subject=_decoded(found.get(b"subject", b""))[:998],
        header_digest=hashlib.sha256(_VOLATILE.sub(b"", text)).digest(),
        copy_key=copy_key,
    )


def sent_at(summary: Summary, otherwise: datetime) -> datetime:
    """The Date field in UTC; `otherwise` where it is absent, broken or absurd."""
    try:
        date = parsedate_to_datetime(summary.date)
    except (TypeError, ValueError, IndexError, OverflowError):
        return otherwise
    date = date.replace(tzinfo=UTC) if date.tzinfo is None else date
    try:
        date = date.astimezone(UTC)
    except OverflowError:
        return otherwise
    return date if _EARLIEST < date < _LATEST else otherwise


def _decoded(raw: bytes) -> str:
    """One field for people: unfolded, RFC 2047 decoded, no control characters."""
    text = _unicode(b" ".join(raw.split()))
    if "=?" in text:
        # An unknown charset or a broken encoding is shown as it is.
        with suppress(LookupError, ValueError, HeaderParseError):
            text = str(make_header(decode_header(text))) or text
    return "".join(c if c.isprintable() else " " for c in text).strip()


def _unicode(raw: bytes) -> str:
    """Raw 8-bit headers are UTF-8 (RFC 6532), or GB18030, or shown as Latin-1."""
    for charset in ("utf-8", "gb18030"):
        try:
            return raw.decode(charset)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")
