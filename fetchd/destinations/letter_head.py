"""The header of a message that is sent on: where it ends, and which fields stay behind.

    Return-Path            its last server writes a new one (RFC 5321 §4.4)
    Bcc, Resent-Bcc        whom the author hid stays hidden (RFC 5322 §3.6.3)
    Delivered-To           where it names a recipient of ours, servers see a loop (RFC 9228)
    "From " of an mbox     is no header field at all

All other octets stay as they are, so that signatures hold (DKIM, RFC 6376). A field is
looked for until the first empty line, also behind lines that are no field and over any
kind of line end: readers disagree on where a broken header ends, and none of them shall
see a Bcc. For that the whole header must be looked at; LIMIT is what Exim takes, and ten
times what Postfix does.
"""

import re
from collections.abc import Collection, Iterator

from fetchd.destinations.letter_octets import Octets, beyond, first
from fetchd.errors import DeliveryRefused
from fetchd.values import Struct

LIMIT = 1 << 20  # octets of a header

# Before an empty line: an LF, or one of several CRs that no LF follows.
_END = re.compile(rb"\n(?=[\r\n])|(?<!\r)\r(?=\r++(?!\n))")
_LINE_END = rb"(?:\r++\n|\n|\r)"
_FIELD = re.compile(rb"(?:[^\r\n]++|%b(?=[ \t]))*+%b?" % (_LINE_END, _LINE_END))
_NAMED = re.compile(rb"[!-9;-~]+[ \t]*:")  # RFC 5322 §3.6.8, and blanks as of §4.5
_MBOX = re.compile(rb">?From [^\r\n]*\b\d\d:\d\d\b[^\r\n]*%b?" % _LINE_END)
_HIDDEN = frozenset((b"bcc", b"resent-bcc"))
_SIGNATURES = (b"dkim-signature", b"arc-message-signature")
_SIGNED = re.compile(rb"(?:^|;)h=([^;]*)", re.IGNORECASE)


class Edited(Struct, frozen=True):
    """A message whose first `replaced` octets, its header, gave way to another header."""

    header: bytes
    replaced: int
    octets: Octets

    @property
    def size(self) -> int:
        return len(self.header) + self.octets.size - self.replaced

    def pieces(self) -> Iterator[bytes]:
        """As often as wanted; blocking when in a file."""
        if self.header:
            yield self.header
        yield from beyond(self.octets.pieces(), self.replaced)


def header_in(octets: Octets) -> bytes:
    """The header with its last line end, without the empty line that ends it."""
    front = first(octets.pieces(), LIMIT)
    if front.startswith((b"\r", b"\n")):
        return b""
    end = _END.search(front)
    if end is None and len(front) < octets.size:
        told = "The header of this message is longer than 1 MiB, which mail servers do not take."
        raise DeliveryRefused(
            told, advice="Save it by 'fetchd export', or deliver it to a Maildir."
        )
    return front[: end.end()] if end else front


def stripped(header: bytes, recipients: Collection[str]) -> bytes:
    """The header of a message that is sent on to these recipients."""
    ours = {address.casefold() for address in recipients}
    mbox = _MBOX.match(header)
    fields = fields_of(header[mbox.end() :] if mbox else header)
    return b"".join(field for field in fields if not _stays_behind(field, ours))


def without_hidden(header: bytes) -> bytes:
    """The header of a message that is attached."""
    return b"".join(field for field in fields_of(header) if _name(field) not in _HIDDEN)


def lacks_field(header: bytes) -> bool:
    """Whether what stands below another field would be no field of its own, or part of it."""
    return bool(header) and not _NAMED.match(header)


def signs_absent(header: bytes, names: Collection[bytes]) -> bool:
    """Whether a signature says of one of these fields that there are no (more) such fields.

    Signers name fields once more than there are (RFC 6376 §8.15), old Exims some that are
    not there, the Resent ones among them: who adds one breaks the signature.
    """
    fields = fields_of(header)
    signed = [_signed(field) for field in fields if _name(field) in _SIGNATURES]
    if not signed:
        return False
    there = [_name(field) for field in fields]
    return any(each.count(name) > there.count(name) for name in names for each in signed)


def fields_of(header: bytes) -> list[bytes]:
    """Each with the lines that continue it and its line end; a line that is none by itself."""
    return [field for field in _FIELD.findall(header) if field]


def _stays_behind(field: bytes, recipients: Collection[str]) -> bool:
    name = _name(field)
    if name == b"delivered-to":
        value = field.partition(b":")[2].decode("utf-8", "replace")
        return value.strip().strip("<>").casefold() in recipients
    return name == b"return-path" or name in _HIDDEN


def _name(field: bytes) -> bytes:
    name, colon, _ = field.partition(b":")
    return name.strip().lower() if colon else b""


def _signed(field: bytes) -> list[bytes]:
    """The names in a signature's h= tag."""
    found = _SIGNED.search(b"".join(field.partition(b":")[2].split()))
    return found[1].lower().split(b":") if found else []
