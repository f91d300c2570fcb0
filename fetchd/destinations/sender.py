"""Who sent a message, for programs and mbox files on this machine: an address or nothing.

The topmost Return-Path is the envelope sender as the last server wrote it (RFC 5321
§4.4), "<>" in it the null sender; without one the first address of From stands in.

The text was written by strangers, and ends up in the environment of programs and in
lines that other programs split at blanks. So only a plain address is believed: ASCII
without blanks, quotes and control characters, and without a leading "-" that some
program would take for an option. Anything else is no sender.
"""

import re
from email.utils import parseaddr

from fetchd.contracts import Body
from fetchd.message import HEADER_LIMIT, header_of

_FIELD = re.compile(
    rb"^(return-path|from)[ \t]*:((?:[^\n]|\n[ \t])*)", re.MULTILINE | re.IGNORECASE
)
_ROUTE = re.compile(r"[^<]*<([^<>]*)>[^<]*")
_PLAIN = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~][A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{0,63}"
    r"@[A-Za-z0-9][A-Za-z0-9.-]{0,254}"
)
_LONGEST = 2_000  # octets of a field that are looked at


def sender_of(body: Body) -> str:
    """The address; "" where there is none, or none to be believed. Blocking."""
    header = header_of(_beginning(body))
    fields: dict[bytes, str] = {}
    for found in _FIELD.finditer(header):
        value = found[2][:_LONGEST].decode("latin-1")
        fields.setdefault(found[1].lower(), " ".join(value.split()))
    if b"return-path" in fields:
        path = _ROUTE.fullmatch(fields[b"return-path"])
        address = path[1].strip() if path else fields[b"return-path"]
        if not address or _PLAIN.fullmatch(address):
            return address
    _, address = parseaddr(fields.get(b"from", ""))
    return address if _PLAIN.fullmatch(address) else ""


def _beginning(body: Body) -> bytes:
    if body.path is None:
        return body.data or b""
    with body.path.open("rb") as file:
        return file.read(HEADER_LIMIT)
