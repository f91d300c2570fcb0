"""One complete untagged response -> one value of types.py; a table from its name to its reader.

Whatever is tolerated is noted as a Quirk. What cannot be read raises
RemoteProtocolError; the caller skips the response whole, since its boundaries
are known. To read a response that fetchd ignores today, add a row to _READERS.
"""

import re
from collections.abc import Callable

from fetchd.errors import RemoteProtocolError
from fetchd.protocol.imap.fetch import Items, read_fetch
from fetchd.protocol.imap.listing import read_list, read_namespace, read_status_response
from fetchd.protocol.imap.reader import Note, Reader
from fetchd.protocol.imap.sequence import MAX_UID, UidSet, read_set, uid_set
from fetchd.protocol.imap.status import MAX_MODSEQ, read_capabilities, read_flags, read_status
from fetchd.protocol.imap.types import (
    Bye,
    Capability,
    Code,
    Enabled,
    Exists,
    Expunged,
    Flags,
    Identity,
    Other,
    Outcome,
    Quirk,
    Recent,
    Searched,
    Status,
    Untagged,
    Vanished,
)

_GREETING = re.compile(rb"\* +(OK|PREAUTH|BYE)(?![^ \t\r\n])", re.IGNORECASE)
_TAGGED = re.compile(rb"([A-Za-z0-9]+) +(OK|NO|BAD)(?![^ \t\r\n])", re.IGNORECASE)
_FOUND = re.compile(rb"([0-9 \t]*+)(?:\(MODSEQ ([0-9]{1,20})\))?[ \t]*+\r?\n?", re.IGNORECASE)
_FLAG_LIST = re.compile(rb"[ \t]*+\(([^()\r\n]*+)\)[ \t]*+\r?\n?")


def read_untagged(octets: bytes, note: Note, hole: int = -1) -> Untagged | Items:
    """The value of a response that begins with `* `; Items for FETCH, whose body may be apart."""
    reader = Reader(octets, note, at=1, hole=hole)
    reader.space()
    first = reader.word()
    if first.isdigit():
        if len(first) > 10:
            raise reader.fail("a number too large")
        number = int(first)
        reader.space()
        name = reader.word()
        if name == "FETCH":
            return read_fetch(reader, number)
        counted = _COUNTED.get(name)
        if counted is not None:
            reader.finish()
            return counted(number)
        return Other(name, octets)
    read = _READERS.get(first)
    if read is None:
        return Other(first, octets)
    return read(reader, first)


def read_greeting(octets: bytes, note: Note) -> tuple[str, Code | None, str]:
    """OK, PREAUTH or BYE with code and text; anything else is another protocol."""
    found = _GREETING.match(octets)
    if found is None:
        raise RemoteProtocolError("not an IMAP greeting", octets.strip() or b"(empty line)")
    return found[1].decode().upper(), *read_status(octets[found.end() :], note)


def read_tagged(octets: bytes, note: Note) -> tuple[str, Outcome, Code | None, str]:
    """Tag, outcome, code and text of an answer."""
    found = _TAGGED.match(octets)
    if found is None:
        raise RemoteProtocolError("not an IMAP response", octets)
    outcome = Outcome(found[2].decode().upper())
    return found[1].decode(), outcome, *read_status(octets[found.end() :], note)


def _status(reader: Reader, name: str) -> Untagged:
    code, text = read_status(reader.octets[reader.at :], reader.note)
    return Bye(code, text) if name == "BYE" else Status(Outcome(name), code, text)


def _capability(reader: Reader, _name: str) -> Untagged:
    return Capability(read_capabilities(reader.octets[reader.at :], reader.note))


def _enabled(reader: Reader, _name: str) -> Untagged:
    return Enabled(read_capabilities(reader.octets[reader.at :], reader.note))


def _identity(reader: Reader, _name: str) -> Untagged:
    reader.space()
    pairs: list[tuple[str, str | None]] = []
    if not reader.nil():
        reader.expect(b"(")
        while reader.more():
            name = _text(reader.string())
            reader.space()
            value = reader.nstring()
            pairs.append((name.lower(), None if value is None else _text(value)))
    reader.finish()
    return Identity(tuple(pairs))


def _flags(reader: Reader, _name: str) -> Untagged:
    found = _FLAG_LIST.fullmatch(reader.octets, reader.at)
    if found is None:
        raise reader.fail("flags expected")
    return Flags(read_flags(found[1]))


def _search(reader: Reader, _name: str) -> Untagged:
    """Numbers, in whatever order; a space behind the last is Courier's way (quirk 43)."""
    at = reader.at
    if reader.octets[at : reader.end].strip().upper() == b"NIL":
        reader.note(Quirk.SEARCH_NIL)
        return Searched(UidSet())
    found = _FOUND.fullmatch(reader.octets, at)
    if found is None:
        raise reader.fail("numbers expected")
    if reader.octets[reader.end - 1 : reader.end] in (b" ", b"\t"):
        reader.note(Quirk.SEARCH_SPACING)
    try:
        numbers = list(map(int, found[1].split()))
    except ValueError as error:  # too many digits
        raise reader.fail("a number too large") from error
    possible = [number for number in numbers if 1 <= number <= MAX_UID]
    if len(possible) < len(numbers):
        reader.note(Quirk.UID_OUT_OF_RANGE)
    modseq = None if found[2] is None else _modseq(int(found[2]), reader.note)
    return Searched(uid_set(possible), modseq=modseq)


def _extended_search(reader: Reader, _name: str) -> Untagged:
    """ESEARCH (RFC 4731; RFC 9051 §7.3.4)."""
    tag: str | None = None
    uid = False
    values: dict[str, int | None] = {}
    found = UidSet()
    while not reader.done:
        reader.space()
        if reader.done:
            reader.note(Quirk.SEARCH_SPACING)
            break
        if reader.takes(b"("):
            reader.word()
            reader.space()
            tag = _text(reader.astring())
            reader.expect(b")")
            continue
        name = reader.word()
        if name == "UID":
            uid = True
            continue
        reader.space()
        if name == "ALL":
            found = _read_set(reader)
        elif name in _SEARCH_NUMBERS:
            values[_SEARCH_NUMBERS[name]] = reader.number()
        else:
            reader.skip()
    if (modseq := values.get("modseq")) is not None:
        values["modseq"] = _modseq(modseq, reader.note)
    return Searched(found, tag, uid, **values)


_SEARCH_NUMBERS = {"COUNT": "count", "MIN": "minimum", "MAX": "maximum", "MODSEQ": "modseq"}


def _vanished(reader: Reader, _name: str) -> Untagged:
    reader.space()
    earlier = reader.takes(b"(")
    if earlier:
        if reader.word() != "EARLIER":
            raise reader.fail("EARLIER expected")
        reader.expect(b")")
        reader.space()
    uids = UidSet() if reader.done else _read_set(reader)
    reader.finish()
    return Vanished(uids, earlier)


def _read_set(reader: Reader) -> UidSet:
    octets = reader.atom()
    found = read_set(octets)
    if found is None:
        raise reader.fail(f"{octets[:40]!r} is no set of UIDs; then")
    return found


def _modseq(modseq: int, note: Note) -> int | None:
    if modseq <= MAX_MODSEQ:
        return modseq
    note(Quirk.MODSEQ_OUT_OF_RANGE)
    return None


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "backslashreplace")


_COUNTED: dict[str, Callable[[int], Untagged]] = {
    "EXISTS": Exists,
    "RECENT": Recent,
    "EXPUNGE": Expunged,
}

_READERS: dict[str, Callable[[Reader, str], Untagged]] = {
    "OK": _status,
    "NO": _status,
    "BAD": _status,
    "BYE": _status,
    "CAPABILITY": _capability,
    "ENABLED": _enabled,
    "ID": _identity,
    "NAMESPACE": read_namespace,
    "LIST": read_list,
    "LSUB": read_list,
    "XLIST": read_list,
    "STATUS": read_status_response,
    "SEARCH": _search,
    "ESEARCH": _extended_search,
    "FLAGS": _flags,
    "VANISHED": _vanished,
}
