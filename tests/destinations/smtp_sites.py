"""SMTP and LMTP destinations at a scripted server, for tests."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fetchd.contracts import Outgoing, Settled
from fetchd.destinations.smtp import SmtpCarrier
from fetchd.settings import LmtpDestination, SmtpDestination
from tests.servers.scripted_smtp import ScriptedSmtp

PATIENCE = 30.0
INSTANCE = "instance"
BOB, EVE, FAY = "bob@example.org", "eve@example.org", "fay@example.org"

ONE_FLIGHT = ("PIPELINING", "CHUNKING", "8BITMIME")
PIPELINED = ("PIPELINING", "8BITMIME")
CHUNKED = ("CHUNKING", "8BITMIME")
STEP_BY_STEP = ("8BITMIME",)
WAYS = [ONE_FLIGHT, PIPELINED, CHUNKED, STEP_BY_STEP]


def carrier(
    server: ScriptedSmtp, *recipients: str, read: float = PATIENCE, **more: Any
) -> SmtpCarrier:
    """A destination there; `more` are its settings, and the carrier's `transcript`, `environ`."""
    kind = LmtpDestination if server.lmtp else SmtpDestination
    own = {key: more.pop(key) for key in ("transcript", "environ") if key in more}
    place = {"socket": server.path} if server.path else {"host": "127.0.0.1", "port": server.port}
    settings = kind(
        kind="lmtp" if server.lmtp else "smtp",
        **{
            "tls": "none",
            "recipients": recipients or (BOB,),
            "helo": "me.example.org",
            "timeouts": {"connect": PATIENCE, "read": read},
        }
        | place
        | more,
    )
    return SmtpCarrier(settings, INSTANCE, final_wait=read, **own)


async def carried(site: SmtpCarrier, *items: Outgoing) -> list[Settled]:
    """Open, carry one after the other, close; no wait is for ever."""
    settled: list[Settled] = []
    async with asyncio.timeout(PATIENCE):
        courier = await site.open()
        try:
            for item in items:
                settled += await courier.carry([item])
        finally:
            await courier.close()
    return settled


def carry(site: SmtpCarrier, *items: Outgoing) -> list[Settled]:
    """The same, for who is not in a loop."""
    return asyncio.run(carried(site, *items))


def one(settled: Sequence[Settled]) -> tuple[str, str]:
    """Outcome and reply of the only one."""
    (found,) = settled
    return str(found.outcome), found.reply
