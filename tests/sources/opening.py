"""How the tests of this folder open a session: on a loopback port, without TLS unless asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from fetchd.clients.stream import TlsMode, TlsSettings
from fetchd.contracts import Credentials, Fetched, Unavailable
from fetchd.policy.plan import Listing
from fetchd.sources.pop3 import MAILBOX, Pop3Access, Pop3Session, open_pop3

T = TypeVar("T")

PLAIN = TlsSettings(TlsMode.NONE)
PASSWORD = "swordfish"
PATIENCE = 30.0  # seconds; no test waits so long unless something is wrong


def access(port: int, **changes: object) -> Pop3Access:
    """Loopback, plaintext, USER and PASS."""
    values = {"port": port, "tls": PLAIN, "auth": "user", "allow_plaintext_auth": True}
    values |= {"connect_timeout": PATIENCE, "read_timeout": PATIENCE, "host": "127.0.0.1"}
    return Pop3Access(**(values | changes))


@asynccontextmanager
async def opened(
    port: int, *, user: str = "me", spill_dir: Path = Path("/tmp"), **changes: object
) -> AsyncIterator[Pop3Session]:
    """A session that is hung up at the end, whatever happens."""
    session = await open_pop3(access(port, **changes), Credentials(user, PASSWORD), spill_dir)
    try:
        yield session
    finally:
        await session.abort()


def visit(port: int, work: Callable[[Pop3Session], Awaitable[T]], **changes: object) -> T:
    """One session, from a synchronous test."""

    async def main() -> T:
        async with opened(port, **changes) as session:
            return await work(session)

    return asyncio.run(main())


async def whole(session: Pop3Session) -> Listing:
    """The listing, which a first visit always gets."""
    listing = await session.list(MAILBOX)
    assert listing is not None
    return listing


async def bodies(session: Pop3Session) -> list[bytes | str]:
    """List and fetch everything: octets, or why there are none."""
    listing = await whole(session)
    return [content(one) async for one in session.fetch(listing.messages)]


def content(one: Fetched | Unavailable) -> bytes | str:
    if isinstance(one, Unavailable):
        return one.reason
    data = b"".join(one.body.chunks())
    one.body.discard()
    return data
