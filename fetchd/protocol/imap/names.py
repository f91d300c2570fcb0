"""Mailbox names between str and the wire: modified UTF-7 (RFC 3501 §5.1.3).

A name's wire octets are its identity; the str is for people and patterns. Only
a name that decodes *and* encodes back to the same octets has a str: everything
else (raw UTF-8, a wrong shift, `&AGE-` for plain `a`) gives None, and the
caller keeps the octets. After ENABLE UTF8=ACCEPT (RFC 6855) and in RFC 9051
names are UTF-8: pass utf8=True.
"""

import binascii
import re

_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")
_TO_SHIFT = re.compile("[^\x20-\x7e]+")


def decode(wire: bytes, *, utf8: bool = False) -> str | None:
    """The name, or None where it is not written as the standard wants it."""
    try:
        if utf8:
            return wire.decode("utf-8")
        text = _SHIFTED.sub(_unshifted, wire).decode("utf-8")
    except ValueError:  # binascii.Error and UnicodeError are of its kind
        return None
    return text if encode(text) == wire else None


def encode(name: str, *, utf8: bool = False) -> bytes:
    """The octets of a name. Lone surrogates keep their place in modified UTF-7."""
    if utf8:
        return name.encode("utf-8", "surrogatepass")
    return _TO_SHIFT.sub(_shifted, name.replace("&", "&-")).encode("ascii")


def _unshifted(match: re.Match[bytes]) -> bytes:
    coded = match[1].replace(b",", b"/")
    if not coded:
        return b"&"
    octets = binascii.a2b_base64(coded + b"=" * (-len(coded) % 4))
    return octets.decode("utf-16-be").encode("utf-8")


def _shifted(match: re.Match[str]) -> str:
    octets = match[0].encode("utf-16-be", "surrogatepass")
    coded = binascii.b2a_base64(octets, newline=False).rstrip(b"=").replace(b"/", b",")
    return f"&{coded.decode()}-"
