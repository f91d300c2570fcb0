"""What arrived at a receiver: the trace that it put on top, and the octets below.

Every receiver writes an envelope's sender and recipient and one Received field above
what it was given (RFC 5321 §4.4), Postfix and Dovecot in the same manner. `arrival`
takes exactly those off, so that a test may compare the rest octet by octet, also where
the message itself begins with such fields.
"""

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.servers.processes import POLL

FIELD = re.compile(rb"([!-9;-~]+):[ \t]*(.*?)\r\n(?![ \t])", re.DOTALL)
MARKS = ("return-path", "x-original-to", "delivered-to")  # X-Original-To is Postfix's alone
WAIT = 20.0


class Arrival(NamedTuple):
    """One message as a receiver took it; the addresses are the envelope's."""

    sender: str  # "" is the null reverse-path
    recipient: str  # "" where it was one of several and the receiver does not say
    received: str  # unfolded: who gave it, with which protocol
    octets: bytes


def arrival(delivered: bytes) -> Arrival:
    """Take the trace of the last receiver off a message with CRLF."""
    trace: dict[str, str] = {}
    at = 0
    while "received" not in trace:
        found = FIELD.match(delivered, at)
        name = found[1].decode().lower() if found else "no field"
        if found is None or name in trace or name not in (*MARKS, "received"):
            raise ValueError(f"no receiver's trace: {name} at octet {at} of {delivered[:200]!r}")
        trace[name] = " ".join(found[2].decode().split())
        at = found.end()
    return Arrival(
        sender=trace["return-path"].strip("<>"),
        recipient=trace.get("delivered-to", "").strip("<>"),
        received=trace["received"],
        octets=delivered[at:],
    )


def in_maildir(maildir: Path) -> list[bytes]:
    """Every message, oldest first, with CRLF for LF as it was on the wire.

    Only for what an agent wrote that ends lines with LF: all its CR are the message's.
    """
    folders = [folder for folder in (maildir / "new", maildir / "cur") if folder.exists()]
    paths = sorted((path for folder in folders for path in folder.iterdir()), key=_order)
    return [path.read_bytes().replace(b"\n", b"\r\n") for path in paths]


def wait_until_there(
    look: Callable[[], Sequence[bytes]],
    count: int,
    *,
    timeout: float = WAIT,
    log: Callable[[], str] = str,
) -> list[bytes]:
    """Look until so many have arrived; fewer, or more, is an error that shows the log's end."""
    deadline = time.monotonic() + timeout
    while len(found := look()) < count and time.monotonic() < deadline:
        time.sleep(POLL)  # a server tells nobody that it has delivered
    if len(found) != count:
        raise AssertionError(f"{len(found)} of {count} arrived:\n{log()[-2000:]}")
    return list(found)


def _order(path: Path) -> tuple[int, int, str]:
    """Maildir names tell when: "seconds.…M microseconds….host"."""
    seconds, _, rest = path.name.partition(".")
    micros = re.search(r"M(\d+)", rest)
    return int(seconds), int(micros[1]) if micros else 0, rest
