"""Whether a message goes round in circles: our own trace field, and how far it came. Pure.

Each message that is sent carries, above everything else, where it was sent to:

    X-Fetchd-Trace: <instance>; to=<destination>; id=<delivery key>

`instance` is the name of one fetchd, `to` the first 12 hex digits of the SHA-256 of the
destination's name: the recipients see the field, and what an owner calls things is theirs.
A message that has a field of this very instance and destination went there before, and
whoever sends it once more sends it for ever. Where the trace is taken away on the round,
Received fields pile up instead (RFC 5321 §6.3), and so do the traces of other fetchds.

Only what `mark` could have written counts as a trace; anything else of that name is a
stranger's text. Whoever forges one keeps nothing but his own message from being sent on.
"""

import hashlib
import re

from fetchd.message import HEADER_LIMIT
from fetchd.values import Struct

NAME = "X-Fetchd-Trace"

_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BLANK = rb"(?:(?:\r?\n)?[ \t])"  # also where the field was folded on the way
_TRACE = re.compile(
    rb"^%b[ \t]*:%b*+([\w.-]{1,64});%b++to=([0-9a-f]{12});%b++id=([\w.-]{1,64})[ \t]*+\r?$"
    % (NAME.encode(), _BLANK, _BLANK, _BLANK),
    re.MULTILINE | re.IGNORECASE | re.ASCII,
)
_RECEIVED = re.compile(rb"^received[ \t]*:", re.MULTILINE | re.IGNORECASE)


class Trace(Struct, frozen=True):
    """That a message was sent, by whom, where to, and as which delivery."""

    instance: str
    to: str
    id: str

    def field(self) -> bytes:
        """How it stands in a header, without the line end."""
        return f"{NAME}: {self.instance}; to={self.to}; id={self.id}".encode("ascii")


def mark(instance: str, destination: str, key: str) -> Trace:
    """The trace of one delivery, the same at each attempt."""
    return Trace(_token(instance), _digest(destination)[:12], _token(key))


def traces(header: bytes) -> tuple[Trace, ...]:
    """Those in a header, topmost first."""
    found = _TRACE.findall(header[:HEADER_LIMIT])
    return tuple(Trace(*(part.decode("ascii") for part in parts)) for parts in found)


def loop(header: bytes, ours: Trace, max_received: int) -> str:
    """A clause that says why this message must not be sent on, "" where it may."""
    past = traces(header)
    if any((one.instance, one.to) == (ours.instance, ours.to) for one in past):
        return "it went to this destination before: a loop"
    hops = max(len(_RECEIVED.findall(header[:HEADER_LIMIT])), len(past))
    if hops > max_received:
        return f"{hops} servers passed it on, more than {max_received}: probably a loop"
    return ""


def _token(text: str) -> str:
    """A name as a field can hold it: as it is, or its digest."""
    return text if _TOKEN.fullmatch(text) else _digest(text)[:32]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
