"""What can be read off a message without parsing it: digests, a header summary, addresses.

Only the header is scanned, by bounded searches; a MIME tree is never built.
Every function accepts any octets: a message without header, without body or
without a single line end is a message too.
"""

import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import parsedate_to_datetime

from fetchd.values import Struct

HEADER_LIMIT = 256 * 1024  # longer headers are summarised from their beginning
FIELDS_LIMIT = 1000  # of one header; those behind are not looked at

_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_DATE = re.compile(
    r"\s*(?:[A-Za-z]{3},)? *(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d)(?::(\d\d))?"
    r" ([+-])([01]\d)([0-5]\d)(?: \([^()]*\))?\s*"
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_HEADER_END = re.compile(rb"\n\r?\n")
_UNFOLDED = re.compile(rb"\n(?![ \t])")  # where one field ends and the next begins
_DISTINCTIVE = re.compile(
    rb"^(?:message-id|received):[ \t]*(?:\r?\n[ \t]+)*\S", re.MULTILINE | re.IGNORECASE
)
_FIELD_NAME = re.compile(rb"[!-9;-~]+")  # RFC 5322 §3.6.8
# What an address list is made of (RFC 5322 §3.4). Lengths are those of a line and of an
# address, so that what never ends costs little wherever it begins.
_TOKEN = re.compile(
    r""""(?:[^"\\]|\\.){0,998}+"|<(?P<angle>(?:"(?:[^"\\]|\\.){0,320}+"|[^"<>])*+)>"""
    r"""|\[[^\[\]]*+\]|(?P<mark>[,;:(])|\\.|[^"<\[,;:(\\]+|.""",
    re.DOTALL,
)
_COMMENT = re.compile(r"[()]|\\.|[^()\\]+|\\", re.DOTALL)
_LOCAL = re.compile(r"""(?:"(?:[^"\\]|\\.)*+")|[^\s@"<>(),;:\\\[\]]+""")
_DOMAIN = re.compile(r"""\[[^\s\[\]]+\]|[^\s@"<>(),;:\\\[\]]+""")
_SHOWN = frozenset((b"message-id", b"date", b"from", b"to", b"subject", b"received"))
# Fields that a server may add or change between two looks at one message.
_VOLATILE = frozenset(
    (
        b"status", b"keywords", b"uid", b"uidl", b"imap", b"mozilla-status", b"mozilla-status2",
        b"x-status", b"x-keywords", b"x-uid", b"x-uidl", b"x-imap", b"x-mozilla-status",
        b"x-mozilla-status2",
    )
)  # fmt: skip
# Fields that differ between copies of one message that took different ways.
_TRACE = _VOLATILE | {
    b"received", b"return-path", b"delivered-to", b"x-original-to", b"x-delivered-to",
    b"envelope-to", b"received-spf", b"authentication-results", b"x-received", b"delivery-date",
}  # fmt: skip
_TRACES = (
    b"arc-", b"x-google-", b"x-gm-", b"x-spam-", b"x-forwarded-", b"x-envelope-", b"x-mozilla-",
)  # fmt: skip


class Summary(Struct, frozen=True):
    """What lists and searches show, decoded; empty strings where absent.

    `header_digest` recognises a message by its header alone (RFC 1939 TOP n 0);
    `copy_key` is equal for copies that differ only in trace fields: SHA-256 of the
    rest of the header, and size and CRC-32 of the body, which are as good as a
    second SHA-256 behind an equal header and cost a fraction of it.
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
    if head.startswith((b"\r\n", b"\n")):
        return b""
    end = _HEADER_END.search(head)
    return head[: end.start() + 1] if end else head


def header_digest(header: bytes) -> bytes:
    """SHA-256 of a header, blind to line-end style and to volatile fields.

    `header` is what `header_of` gives, or the answer to TOP n 0.
    """
    return _sift(header)[1]


def is_distinctive(header: bytes) -> bool:
    """Whether a header alone tells a message from all others: it was traced, or has an id."""
    return _DISTINCTIVE.search(header) is not None


class Value(str):
    """What a field says, decoded for people; `raw` is how it stands in the header."""

    __slots__ = ("raw",)
    raw: bytes


def envelope_fields(header: bytes) -> dict[str, tuple[Value, ...]]:
    """The fields of a header, by name in lower case; `header` is what `header_of` gives."""
    found: dict[str, list[Value]] = {}
    for field in _UNFOLDED.split(header, FIELDS_LIMIT)[:FIELDS_LIMIT]:
        name, colon, raw = field.partition(b":")
        if colon and _FIELD_NAME.fullmatch(name := name.rstrip()):
            value = Value(_decoded(raw))
            value.raw = raw
            found.setdefault(name.lower().decode("ascii"), []).append(value)
    return {name: tuple(values) for name, values in found.items()}


def addresses(values: Iterable[Value]) -> tuple[str, ...]:
    """The addresses in fields that list some, each once, their domains in lower case.

    What stands in a display name or a comment is none; so it is read as it stands in the
    header, since a decoded display name may look like a list of addresses.
    """
    listed = (text for value in values for text in _mailboxes(_unicode(value.raw)))
    return tuple(dict.fromkeys(found for text in listed if (found := _address(text))))


def examine(chunks: Iterable[bytes]) -> tuple[bytes, Summary, datetime | None]:
    """SHA-256, summary and arrival of a message that comes in pieces, in bounded memory.

    It arrived when the last server says that it received it (RFC 5321 §4.4), or
    was sent when it says so itself; None where neither makes sense.
    """
    pieces = iter(chunks)
    first = _beginning(pieces)
    header = header_of(first)
    whole = hashlib.sha256(first)
    shown, digest, untraced = _sift(header)
    body = memoryview(first)[len(header) :]
    check, size = zlib.crc32(body), len(body)
    for piece in pieces:
        whole.update(piece)
        check, size = zlib.crc32(piece, check), size + len(piece)
    summary = Summary(
        message_id=_decoded(shown.get(b"message-id", b""))[:998],
        date=_decoded(shown.get(b"date", b""))[:100],
        sender=_decoded(shown.get(b"from", b""))[:998],
        recipients=_decoded(shown.get(b"to", b""))[:998],
        subject=_decoded(shown.get(b"subject", b""))[:998],
        header_digest=digest,
        copy_key=hashlib.sha256(b"%b\0%d %d" % (untraced, size, check)).digest(),
    )
    arrived = _instant(shown.get(b"received", b"").rpartition(b";")[2].decode("latin-1"))
    return whole.digest(), summary, arrived or _instant(summary.date)


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


def _sift(header: bytes) -> tuple[dict[bytes, bytes], bytes, bytes]:
    """The fields to show by name, the header digest, and what is left without trace fields."""
    shown: dict[bytes, bytes] = {}
    steady, untraced = [], []
    for field in _UNFOLDED.split(header.replace(b"\r\n", b"\n").rstrip(b"\n")):
        name, _, value = field.partition(b":")
        name = name.strip().lower()
        if name in _SHOWN:
            shown.setdefault(name, value)
        if name not in _VOLATILE:
            steady.append(field)
        if name not in _TRACE and not name.startswith(_TRACES):
            untraced.append(field)
    digest = hashlib.sha256(b"\n".join(steady)).digest()
    return shown, digest, b"\n".join(untraced) + b"\n"


def _instant(date: str) -> datetime | None:
    """A date of RFC 5322 §3.3 in UTC; None where it is absent, broken or absurd."""
    try:
        # Nearly all dates look alike; the general parser takes five times as long.
        if usual := _DATE.fullmatch(date):
            day, month, year, hour, minute, second, sign, hours, minutes = usual.groups()
            local = datetime(
                int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second or 0),
                tzinfo=UTC,
            )  # fmt: skip
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            found = local - offset if sign == "+" else local + offset
        else:
            found = parsedate_to_datetime(date)
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (TypeError, ValueError, LookupError, OverflowError):
        return None
    return found if _EARLIEST < found < _LATEST else None


def _decoded(raw: bytes) -> str:
    """One field for people: unfolded, RFC 2047 decoded, no control characters."""
    text = _printable(_unicode(b" ".join(raw.split())))
    if "=?" in text:
        # Behind the last "?=" no word ends; the library would look for that at each beginning.
        end = text.rfind("?=") + 2
        # An unknown charset or a broken encoding is shown as it is.
        with suppress(LookupError, ValueError, HeaderParseError):
            text = _printable(str(make_header(decode_header(text[:end]))) + text[end:]) or text
    return text.strip()


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def _unicode(raw: bytes) -> str:
    """Raw 8-bit headers are UTF-8 (RFC 6532), or GB18030, or shown as Latin-1."""
    for charset in ("utf-8", "gb18030"):
        try:
            return raw.decode(charset)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def _mailboxes(text: str) -> Iterator[str]:
    """What may be an address, in each member of a list: in angle brackets, or all there is."""
    plain: list[str] = []
    angled = endless = False
    at = 0
    while token := _TOKEN.match(text, at):
        at = token.end()
        if token["angle"] is not None:
            yield token["angle"]
            angled = True
        elif token["mark"] is None:
            plain.append(token[0])
        elif token["mark"] in ",;":
            if not angled:
                yield "".join(plain)
            plain, angled = [], False
        elif token["mark"] == ":":  # the name of a group ends
            plain = []
        elif not endless:
            end = _end_of_comment(text, at)
            at, endless = end or at, end is None
    if not angled:
        yield "".join(plain)


def _end_of_comment(text: str, at: int) -> int | None:
    depth = 1
    for token in _COMMENT.finditer(text, at):
        depth += (token[0] == "(") - (token[0] == ")")
        if depth == 0:
            return token.end()
    return None


def _address(text: str) -> str:
    """An addr-spec without blanks around its parts, "" where there is none."""
    if text.startswith("@"):  # RFC 5322 §4.4: hops before the address, of old
        text = text.partition(":")[2]
    local, _, domain = text.rpartition("@")
    local, domain = local.strip(), domain.strip().rstrip(".").lower()
    fits = _LOCAL.fullmatch(local) and _DOMAIN.fullmatch(domain)
    return f"{local}@{domain}" if fits and f"{local}{domain}".isprintable() else ""
