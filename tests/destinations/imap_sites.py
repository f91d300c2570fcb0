"""IMAP destinations on loopback, and mail for them, for tests."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from fetchd.contracts import Outgoing, Settled
from fetchd.destinations.imap import ImapCarrier
from fetchd.destinations.imap_courier import ImapCourier
from fetchd.settings import ImapDestination
from fetchd.values import replace
from tests.destinations.outgoing import outgoing

T = TypeVar("T")

PATIENCE = 30.0
PASSWORD = "open sesame"


def site(port: int, user: str = "any", password: str = PASSWORD, **more: Any) -> ImapCarrier:
    """A destination there; `more` are its settings."""
    values = {
        "kind": "imap", "host": "127.0.0.1", "port": port, "tls": "none", "username": user,
        "password": password, "allow_plaintext_auth": True,
        "timeouts": {"connect": PATIENCE, "read": more.pop("read", PATIENCE)},
    }  # fmt: skip
    return ImapCarrier(ImapDestination(**(values | more)), environ={})


def visit(carrier: ImapCarrier, work: Callable[[ImapCourier], Awaitable[T]]) -> T:
    """One connection, from a synchronous test; no wait is for ever."""

    async def main() -> T:
        async with asyncio.timeout(2 * PATIENCE):
            courier = await carrier.open()
            try:
                return await work(courier)
            finally:
                await courier.close()

    return asyncio.run(main())


def carry(carrier: ImapCarrier, *items: Outgoing) -> list[Settled]:
    """All at once, over one connection."""

    async def work(courier: ImapCourier) -> list[Settled]:
        return list(await courier.carry(items))

    return visit(carrier, work)


def outcomes(settled: Sequence[Settled]) -> list[str]:
    """A word for each; a doubtful one ends in "?"."""
    return [str(one.outcome) + "?" * one.doubtful for one in settled]


def probed(carrier: ImapCarrier) -> dict[str, str]:
    """What a probe found, by step."""
    found: dict[str, str] = {}
    asyncio.run(carrier.probe(lambda step, what: found.update({step: what})))
    return found


def mail(number: int, octets: int = 10, *, message_id: str = "yes", fill: bytes = b"x") -> bytes:
    """A message that is told from others; `octets` are in its only line."""
    head = b"Message-ID: <%d@example.org>\r\n" % number if message_id else b""
    return b"From: a@example.net\r\n%bSubject: %d\r\n\r\n%b\r\n" % (head, number, fill * octets)


def letter(number: int, data: bytes | None = None, **more: Any) -> Outgoing:
    """A delivery; `more` are fields of Outgoing."""
    return replace(outgoing(number, mail(number) if data is None else data), **more)
