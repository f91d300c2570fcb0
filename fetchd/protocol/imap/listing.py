"""Responses about mailboxes: LIST and its kin, STATUS, NAMESPACE (RFC 9051 §7.3, RFC 2342).

Names are what servers get wrong most (quirk 61), so there is a second way to
read each: what stands where the name must be, up to the end of the line, is it.
"""

import re
from typing import Any

from fetchd.protocol.imap.reader import Reader
from fetchd.protocol.imap.sequence import MAX_UID
from fetchd.protocol.imap.status import MAX_MODSEQ
from fetchd.protocol.imap.types import (
    Listed,
    MailboxStatus,
    Namespace,
    Namespaces,
    Quirk,
    Untagged,
)

_8BIT = re.compile(rb"[\x80-\xff]")
_ODD_ATOM = re.compile(rb'[\x00-\x20\x7f(){%*"\\\]]')


def read_list(reader: Reader, verb: str) -> Untagged:
    """Attributes, delimiter, name, and what LIST-EXTENDED adds."""
    reader.space()
    attributes = frozenset(
        word.decode("ascii", "backslashreplace").lower() for word in reader.words()
    )
    reader.space()
    delimiter = _delimiter(reader)
    reader.space()
    name = _name(reader)
    child_info: tuple[str, ...] = ()
    old_name: bytes | None = None
    if not reader.done:
        reader.space()
    if reader.takes(b"("):
        while reader.more():
            item = reader.astring().upper()
            reader.space()
            if item == b"CHILDINFO" and reader.sees(b"("):
                child_info = tuple(
                    word.decode("ascii", "backslashreplace").upper() for word in reader.words()
                )
            elif item == b"OLDNAME" and reader.sees(b"("):
                old_name = next(iter(reader.words()), None)
            else:
                reader.skip()
    reader.finish()
    return Listed(verb, attributes, delimiter, name, child_info, old_name)


def read_status_response(reader: Reader, _verb: str) -> Untagged:
    reader.space()
    name = _status_name(reader)
    values: dict[str, Any] = {}
    reader.expect(b"(")
    while reader.more():
        item = reader.word()
        reader.space()
        field = _STATUS_NUMBERS.get(item)
        if field is not None:
            values[field] = None if reader.nil() else reader.number(_LIMITS.get(field, MAX_MODSEQ))
        elif item == "MAILBOXID":
            words = reader.words()
            values["mailboxid"] = words[0].decode("ascii", "backslashreplace") if words else None
        else:
            reader.skip()
    reader.finish()
    if values.get("uidvalidity") == 0:
        reader.note(Quirk.UIDVALIDITY_ZERO)
        values["uidvalidity"] = None
    return MailboxStatus(name, **values)


_STATUS_NUMBERS = {
    item: item.lower()
    for item in (
        "MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "RECENT", "DELETED", "SIZE",
        "HIGHESTMODSEQ", "APPENDLIMIT",
    )
}  # fmt: skip
_LIMITS = {"uidvalidity": MAX_UID}


def read_namespace(reader: Reader, _verb: str) -> Untagged:
    groups: list[tuple[Namespace, ...]] = []
    while not reader.done and len(groups) < 3:
        reader.space()
        if not reader.done:
            groups.append(_namespaces(reader))
    reader.finish()
    if len(groups) < 3:
        reader.note(Quirk.NAMESPACE_ODD)
        groups += [()] * (3 - len(groups))
    return Namespaces(*groups)


def _namespaces(reader: Reader) -> tuple[Namespace, ...]:
    if reader.nil():
        return ()
    found = []
    reader.expect(b"(")
    while reader.more():
        reader.expect(b"(")
        prefix = reader.string()
        reader.space()
        found.append(Namespace(prefix, _delimiter(reader)))
        while reader.more():  # RFC 2342 §5: extensions, a string and a list each
            reader.skip()
    return tuple(found)


def _delimiter(reader: Reader) -> str | None:
    octets = None if reader.nil() else reader.astring()
    if octets is None:
        return None
    text = octets.decode("utf-8", "backslashreplace")
    if len(text) != 1:
        reader.note(Quirk.DELIMITER_ODD)
        return None
    return text


def _name(reader: Reader) -> bytes:
    """The name behind the delimiter, with LIST-EXTENDED's data behind it or at the end."""
    start = reader.at
    if reader.sees(b'"') or reader.sees(b"{"):
        return _quoted_name(reader)
    name = reader.octets[start : reader.end].rstrip(b" \t")
    extended = name.find(b" (")
    if extended >= 0 and name.endswith(b")"):
        name = name[:extended]
    if not name:
        raise reader.fail("a name expected")
    reader.at = start + len(name)
    if _ODD_ATOM.search(name):
        reader.note(Quirk.NAME_UNQUOTED)
    return _checked(reader, name)


def _quoted_name(reader: Reader) -> bytes:
    start, literal = reader.at, reader.sees(b"{")
    name = reader.string()
    if literal or reader.done or reader.sees(b" "):
        return name if literal else _checked(reader, name)
    # A quote inside: the last one of the line ends the name, and nothing is escaped.
    reader.note(Quirk.NAME_QUOTES)
    last = reader.octets.rfind(b'"', start, reader.end)
    reader.at = last + 1
    return _checked(reader, reader.octets[start + 1 : last])


def _checked(reader: Reader, name: bytes) -> bytes:
    if _8BIT.search(name):
        reader.note(Quirk.NAME_8BIT)
    return name


def _status_name(reader: Reader) -> bytes:
    """A string, or whatever stands before the parentheses."""
    if reader.sees(b'"') or reader.sees(b"{"):
        name = _quoted_name(reader)
        reader.space()
        return name
    end = reader.octets.find(b" (", reader.at, reader.end)
    if end <= reader.at:
        raise reader.fail("a name and its numbers expected")
    name = reader.octets[reader.at : end].rstrip(b" \t")
    if _ODD_ATOM.search(name):
        reader.note(Quirk.NAME_UNQUOTED)
    reader.at = end
    reader.space()
    return _checked(reader, name)
