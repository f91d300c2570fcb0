"""FETCH responses of any shape (RFC 9051 §7.5.2): the general way; fast.py knows the regular ones.

Items come in any order and any number; what nobody asked for is skipped whole.
An item that makes no sense is left out of the result (None) with a Quirk; only
what cannot even be skipped spoils the response.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from fetchd.protocol.imap.dates import WELL_FORMED
from fetchd.protocol.imap.reader import Reader
from fetchd.protocol.imap.sequence import MAX_UID
from fetchd.protocol.imap.status import MAX_MODSEQ, read_flags
from fetchd.protocol.imap.types import NO_EXTRA, Extra, Fetched, Quirk

_SECTION = re.compile(rb'\[((?:"(?:[^"\\\r\n]|\\[^\r\n])*+"|[^"\]\r\n])*+)\]')
_ORIGIN = re.compile(rb"<([0-9]{1,10})>")
_ANNOUNCED = re.compile(rb"~?\{([0-9]{1,20})\+?\}\r?\n")
_NUMBER = re.compile(rb"[0-9]{1,20}")
_LISTED_FLAGS = re.compile(rb'\(([^()"{\r\n]*+)\)')
_LABEL = re.compile(rb'"((?:[^"\\]|\\.)*+)"|([^\x00-\x20()"]+)', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)

# As often seen again as mailboxes have combinations of flags.
known_flags = lru_cache(maxsize=1024)(read_flags)


@dataclass(slots=True)
class Items:
    """What has been read of one FETCH response."""

    number: int
    values: dict[str, Any] = field(default_factory=dict)  # fields of Fetched
    extra: dict[str, Any] = field(default_factory=dict)  # fields of Extra
    inline: bytes | None = None  # the body, where it was no literal worth streaming
    origin: int = 0

    def fetched(self) -> Fetched:
        extra = Extra(**self.extra) if self.extra else NO_EXTRA
        return Fetched(self.number, extra=extra, **self.values)


def read_fetch(reader: Reader, number: int) -> Items:
    """All items, or, of a response that breaks off at its hole, those before it."""
    items = Items(number)
    reader.space()
    reader.expect(b"(")
    first = True
    while not reader.takes(b")"):
        if not first or reader.sees(b" "):
            reader.space()
            if reader.takes(b")"):
                reader.note(Quirk.SPACING)
                break
        first = False
        name = reader.word()
        section = _SECTION.match(reader.octets, reader.at, reader.end)
        if section is not None:
            name = f"{name}[{section[1].decode('ascii', 'backslashreplace').upper()}]"
            reader.at = section.end()
        origin = _ORIGIN.match(reader.octets, reader.at, reader.end)
        if origin is not None:
            reader.at = origin.end()
            items.origin = int(origin[1])
        reader.space()
        if name in ("BODY[]", "BINARY[]", "RFC822"):
            _body(reader, items)
            if reader.at == len(reader.octets):
                return items
        elif name == "RFC822.HEADER" or name.startswith("BODY[HEADER"):
            items.values["header"] = reader.nstring()
        else:
            _ITEMS.get(name, _skip)(reader, items)
    reader.finish()
    return items


def read_labels(octets: bytes) -> tuple[bytes, ...]:
    """X-GM-LABELS without its parentheses and without literals."""
    return tuple(
        _ESCAPED.sub(rb"\1", quoted) if quoted else atom for quoted, atom in _LABEL.findall(octets)
    )


known_labels = lru_cache(maxsize=1024)(read_labels)


def _body(reader: Reader, items: Items) -> None:
    if reader.at == reader.hole:
        announced = _ANNOUNCED.match(reader.octets, reader.at)
        assert announced is not None
        reader.at = announced.end()
        items.values["body"] = int(announced[1])
        return
    octets = reader.nstring()
    if octets is None:
        reader.note(Quirk.BODY_NIL)
    elif "body" not in items.values:
        items.inline = octets
        items.values["body"] = len(octets)


def _uid(reader: Reader, items: Items) -> None:
    uid = reader.number()
    if uid is None or 1 <= uid <= MAX_UID:
        items.values["uid"] = uid
    else:
        items.values["uid"] = None
        reader.note(Quirk.UID_OUT_OF_RANGE)


def _size(reader: Reader, items: Items) -> None:
    items.values["size"] = reader.number()


def _flags(reader: Reader, items: Items) -> None:
    plain = _LISTED_FLAGS.match(reader.octets, reader.at, reader.end)
    if plain is not None:
        reader.at = plain.end()
        items.values["flags"] = known_flags(plain[1])
        return
    reader.note(Quirk.FLAGS_ODD)
    if reader.nil():
        items.values["flags"] = ()
    else:
        words = [word.decode("utf-8", "backslashreplace") for word in reader.words()]
        items.values["flags"] = tuple(word for word in words if word)


def _date(reader: Reader, items: Items) -> None:
    octets = None if reader.nil() else reader.astring()
    if octets is None or not WELL_FORMED.fullmatch(octets):
        reader.note(Quirk.DATE_MALFORMED)
        items.values["date"] = None
        if octets is not None and not reader.sees(b")") and not reader.sees(b" "):
            raise reader.fail("a date that does not end")
    else:
        items.values["date"] = octets.decode()


def _modseq(reader: Reader, items: Items) -> None:
    octets = reader.skip()
    if not octets.startswith(b"("):
        reader.note(Quirk.MODSEQ_BARE)
    digits = octets.strip(b"( )")
    if _NUMBER.fullmatch(digits) and int(digits) <= MAX_MODSEQ:
        items.values["modseq"] = int(digits)
    else:
        items.values["modseq"] = None
        reader.note(Quirk.MODSEQ_OUT_OF_RANGE)


def _object(name: str) -> Callable[[Reader, Items], None]:
    def read(reader: Reader, items: Items) -> None:
        words = [] if reader.nil() else reader.words()
        items.extra[name] = words[0].decode("ascii", "backslashreplace") if words else None

    return read


def _gmail_number(name: str) -> Callable[[Reader, Items], None]:
    def read(reader: Reader, items: Items) -> None:
        items.extra[name] = reader.number()

    return read


def _labels(reader: Reader, items: Items) -> None:
    items.extra["labels"] = () if reader.nil() else tuple(reader.words())


def _skip(reader: Reader, _items: Items) -> None:
    reader.skip()


_ITEMS: dict[str, Callable[[Reader, Items], None]] = {
    "UID": _uid,
    "FLAGS": _flags,
    "INTERNALDATE": _date,
    "RFC822.SIZE": _size,
    "MODSEQ": _modseq,
    "EMAILID": _object("email_id"),
    "THREADID": _object("thread_id"),
    "X-GM-MSGID": _gmail_number("gmail_id"),
    "X-GM-THRID": _gmail_number("gmail_thread"),
    "X-GM-LABELS": _labels,
}
