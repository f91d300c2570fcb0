"""A delivery read and ready for APPEND: its octets hashed, and what IMAP must be told of them.

Octets are hashed before any of them is sent, so that what was damaged at home is never
delivered. The internal date is when the message arrived: as the source's IMAP told it, as
the last server's Received field tells it, or else when fetchd queued it.
"""

from collections.abc import Iterator

from fetchd.contracts import Outcome, Outgoing, Settled
from fetchd.message import examine
from fetchd.policy.restoring import Copy
from fetchd.values import Struct

_NOTHING = "It is empty, and no IMAP server takes a message of no octets (RFC 3502)."
_DAMAGED = (
    "Its octets are not those that were stored. Run 'fetchd verify' to see what is damaged;"
    " the next sync fetches it again where a server still has it."
)


class Ready(Struct, frozen=True):
    """One delivery that can be sent; `copy` is how it would be recognised there."""

    item: Outgoing
    copy: Copy
    nul: bool  # it holds NUL octets, for which only literal8 has room


def read(item: Outgoing) -> Ready | Settled:
    """Blocking: reads the body once, in bounded memory."""
    size, nul = 0, False

    def pieces() -> Iterator[bytes]:
        nonlocal size, nul
        for piece in item.body.chunks():
            size, nul = size + len(piece), nul or b"\0" in piece
            yield piece

    try:
        digest, summary, arrived = examine(pieces())
    except OSError as error:
        reply = f"Its octets cannot be read: {error.strerror or error}. Repair the data folder."
        return Settled(item.id, Outcome.DEFERRED, reply)
    if digest != item.digest or size != item.body.size:
        return Settled(item.id, Outcome.DEFERRED, _DAMAGED)
    if not size:
        return Settled(item.id, Outcome.FAILED, _NOTHING)
    date = item.arrived or arrived or item.queued_at
    return Ready(
        item,
        Copy(digest, size, summary.message_id, summary.header_digest, item.flags, date),
        nul,
    )
