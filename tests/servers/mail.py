"""What tests put on a server, and what they find there: `Mail` in, `Served` out.

Servers take messages as octets with CRLF or as a `Mail`, which adds flags and the
internal date. `Served` is what an independent reader saw: the digest instead of
the octets, so that 100,000 of them can be compared.

Mailbox names are given decoded; `wire_name` and `decoded_name` translate between
them and modified UTF-7 (RFC 3501 §5.1.3), sharing no code with fetchd.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Mail:
    """One message to put on a server; flags are IMAP's words."""

    octets: bytes
    flags: tuple[str, ...] = ()
    date: datetime | None = None  # the internal date; None: now


class Served(NamedTuple):
    """One message as an independent reader found it; \\Recent is never among the flags."""

    digest: str
    flags: frozenset[str]
    date: datetime


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Contents = dict[str, dict[int, Served]]  # decoded mailbox name, UID


def mails(messages: Iterable[bytes | Mail]) -> Iterable[Mail]:
    """Each as a Mail."""
    return (m if isinstance(m, Mail) else Mail(m) for m in messages)


def digest(octets: bytes) -> str:
    """SHA-256 in hex, as everywhere in fetchd."""
    return hashlib.sha256(octets).hexdigest()


def wire_name(name: str) -> bytes:
    """A mailbox name in modified UTF-7."""
    parts = re.split(r"([^\x20-\x7e]+)", name)
    plain = (part.replace("&", "&-").encode() for part in parts[::2])
    shifted = [_shifted(part) for part in parts[1::2]] + [b""]
    return b"".join(p + s for p, s in zip(plain, shifted, strict=True))


def decoded_name(wire: bytes) -> str:
    """The name that modified UTF-7 stands for."""
    return re.sub(r"&([^-]*)-", lambda found: _unshifted(found[1]), wire.decode("ascii"))


def quoted(octets: bytes) -> bytes:
    """An IMAP quoted string."""
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def imap_date(date: datetime) -> bytes:
    """The date-time of RFC 3501 §9, with its quotes; the words are English in any locale."""
    day = f"{date.day:2}-{MONTHS[date.month - 1]}-{date.year:04}"
    return f'"{day} {date:%H:%M:%S} {date:%z}"'.encode()


def _shifted(part: str) -> bytes:
    inner = base64.b64encode(part.encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
    return b"&" + inner + b"-"


def _unshifted(inner: str) -> str:
    if not inner:
        return "&"
    padded = inner.replace(",", "/") + "=" * (-len(inner) % 4)
    return base64.b64decode(padded).decode("utf-16-be")
