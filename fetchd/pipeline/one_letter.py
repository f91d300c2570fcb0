"""One message of our own carried to a destination now: past the archive and the outbox.

For what must not depend on them: a trial delivery, an alert that may be about them.
"""

import getpass
import socket
from collections.abc import Sequence

from fetchd.contracts import (
    Carrier,
    DeliverySession,
    Outgoing,
    Settled,
    Watch,
    unwatched,
)
from fetchd.errors import LocalProtocolError
from fetchd.settings import Destination
from fetchd.settings.destination import Transfer


async def carry_one(
    where: DeliverySession | Carrier, letter: Outgoing, watch: Watch = unwatched
) -> Settled:
    """What became of it; raises where the destination as a whole is at fault."""
    settled: Sequence[Settled]
    if not isinstance(where, Carrier):
        try:
            await where.put([letter])
            settled = await where.settle()
        finally:
            await where.close()
    else:
        courier = await where.open(watch)
        try:
            settled = await courier.carry([letter])
        finally:
            await courier.close()
    if len(settled) != 1:
        raise LocalProtocolError(f"one message has {len(settled)} outcomes")
    return settled[0]


def addresses(destination: Destination) -> tuple[str, tuple[str, ...]]:
    """Who sends it, and to whom: the owner's own, as far as the settings say."""
    here = f"{getpass.getuser()}@{socket.gethostname() or 'localhost'}"
    if isinstance(destination, Transfer):
        named = (destination.address or "", *destination.recipients)
        return next(filter(is_whole, named), here), tuple(destination.recipients)
    username = getattr(destination, "username", "")
    own = username if is_whole(username) else here
    return own, (own,)


def is_whole(address: str) -> bool:
    """Such as may stand in a header; a login or a local recipient may be anything."""
    return "@" in address and address.isprintable() and not set(address) & set(' ,;<>"')
