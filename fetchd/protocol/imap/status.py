"""The words behind OK, NO, BAD, BYE and PREAUTH: a code in brackets, then text for people.

RFC 9051 §7.1, RFC 5530 and the extensions' own. A code that nobody knows keeps
its name and its raw arguments; a known one whose argument is of the wrong kind
has the value None.
"""

import re
from collections.abc import Callable
from sys import intern

from fetchd.protocol.imap.reader import MAX_NUMBER, Note
from fetchd.protocol.imap.sequence import MAX_UID, read_set
from fetchd.protocol.imap.types import AppendUid, Code, CodeValue, CopyUid, Quirk

MAX_MODSEQ = (1 << 63) - 1  # RFC 7162 §7

_CODE = re.compile(
    rb"[ \t]*+\[([^\x00-\x20\x7f\]]++)[ \t]*+"
    rb'((?:"(?:[^"\\]|\\.)*+"|[^"\]])*+)\]'
)
_CODE_ODDLY_QUOTED = re.compile(rb"[ \t]*+\[([^\x00-\x20\x7f\]]++)[ \t]*+([^\]]*)\]")
_NUMBER = re.compile(rb"[0-9]{1,20}")


def read_status(octets: bytes, note: Note) -> tuple[Code | None, str]:
    """Code and text of what stands behind the status word."""
    found = _CODE.match(octets) or _CODE_ODDLY_QUOTED.match(octets)
    text = octets[found.end() :] if found else octets
    shown = text.strip(b" \t\r\n").decode("utf-8", "backslashreplace")
    if not shown:
        note(Quirk.TEXT_MISSING)
    return (_code(found[1], found[2].strip(), note) if found else None), shown


def read_capabilities(octets: bytes, note: Note) -> frozenset[str]:
    """Names in capitals; a LITERAL torn from its sign is put together again."""
    names = octets.decode("ascii", "backslashreplace").upper().split()
    for sign in "+-":
        for at in [at for at, name in enumerate(names) if name == sign]:
            if names[at - 1] == "LITERAL" and at:
                note(Quirk.LITERAL_PLUS_SPACED)
                names[at - 1], names[at] = f"LITERAL{sign}", ""
    return frozenset(name for name in names if name)


def read_flags(octets: bytes) -> tuple[str, ...]:
    """Flags without their parentheses."""
    return tuple(map(intern, octets.decode("utf-8", "backslashreplace").split()))


def _code(name: bytes, raw: bytes, note: Note) -> Code:
    word = name.decode("ascii", "backslashreplace").upper()
    reader = _VALUES.get(word)
    if reader is None:
        return Code(word, raw)
    value = reader(raw, note)
    if value is None:
        note(Quirk.CODE_MALFORMED)
    return Code(word, raw, value)


def _number(raw: bytes, _note: Note) -> CodeValue:
    return int(raw) if _NUMBER.fullmatch(raw) and int(raw) <= MAX_NUMBER else None


def _uidvalidity(raw: bytes, note: Note) -> CodeValue:
    if raw == b"0":
        note(Quirk.UIDVALIDITY_ZERO)
    value = _number(raw, note)
    return value if isinstance(value, int) and 0 < value <= MAX_UID else None


def _modseq(raw: bytes, note: Note) -> CodeValue:
    value = _number(raw, note)
    if isinstance(value, int) and value <= MAX_MODSEQ:
        return value
    note(Quirk.MODSEQ_OUT_OF_RANGE)
    return None


def _flags(raw: bytes, _note: Note) -> CodeValue:
    if not (raw.startswith(b"(") and raw.endswith(b")")):
        return None
    return read_flags(raw[1:-1])


def _capabilities(raw: bytes, note: Note) -> CodeValue:
    return tuple(sorted(read_capabilities(raw, note)))


def _object(raw: bytes, _note: Note) -> CodeValue:
    inner = raw[1:-1] if raw.startswith(b"(") and raw.endswith(b")") else b""
    return inner.decode("ascii", "backslashreplace") or None


def _set(raw: bytes, _note: Note) -> CodeValue:
    return read_set(raw)


def _append_uid(raw: bytes, _note: Note) -> CodeValue:
    match raw.split():
        case [validity, uids] if _NUMBER.fullmatch(validity):
            found = read_set(uids)
            return None if found is None else AppendUid(int(validity), found)
    return None


def _copy_uid(raw: bytes, _note: Note) -> CodeValue:
    match raw.split():
        case [validity, source, destination] if _NUMBER.fullmatch(validity):
            old, new = read_set(source), read_set(destination)
            # Sets of different size pair nothing with nothing.
            if old is not None and new is not None and old.count == new.count:
                return CopyUid(int(validity), old, new)
    return None


_VALUES: dict[str, Callable[[bytes, Note], CodeValue]] = {
    "CAPABILITY": _capabilities,
    "UIDVALIDITY": _uidvalidity,
    "UIDNEXT": _number,
    "UNSEEN": _number,
    "APPENDLIMIT": _number,
    "HIGHESTMODSEQ": _modseq,
    "PERMANENTFLAGS": _flags,
    "MAILBOXID": _object,
    "MODIFIED": _set,
    "APPENDUID": _append_uid,
    "COPYUID": _copy_uid,
}
