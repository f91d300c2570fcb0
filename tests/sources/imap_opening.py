"""How the IMAP tests open a session: on a loopback port, without TLS unless asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from fetchd.contracts import Credentials
from fetchd.errors import FetchdError
from fetchd.policy.plan import Listing
from fetchd.sources.imap import ImapSession, open_imap
from fetchd.sources.imap_login import ImapAccess
from tests.sources.opening import PASSWORD, PATIENCE, PLAIN, content

T = TypeVar("T")

MESSAGES = [
    b"Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\nbody %d\r\n" % (n, n, n) for n in range(1, 6)
]


def access(port: int, **changes: object) -> ImapAccess:
    """Loopback, plaintext, one flight for the login."""
    values = {"port": port, "tls": PLAIN, "auth": "plain", "allow_plaintext_auth": True}
    values |= {"connect_timeout": PATIENCE, "read_timeout": PATIENCE, "host": "127.0.0.1"}
    return ImapAccess(**(values | changes))


@asynccontextmanager
async def opened(
    port: int,
    *,
    user: str = "me",
    secret: str = PASSWORD,
    spill_dir: Path = Path("/tmp"),
    transcript: list[str] | None = None,
    **changes: object,
) -> AsyncIterator[ImapSession]:
    """A session that is hung up at the end, whatever happens."""
    lines = [] if transcript is None else transcript
    session = await open_imap(
        access(port, **changes),
        Credentials(user, secret),
        spill_dir,
        lambda way, line: lines.append(f"{way}: {line}"),
    )
    try:
        yield session
    finally:
        await session.abort()


def visit(port: int, work: Callable[[ImapSession], Awaitable[T]], **changes: object) -> T:
    """One session, from a synchronous test."""

    async def main() -> T:
        async with opened(port, **changes) as session:
            return await work(session)

    return asyncio.run(main())


def failure(port: int, **changes: object) -> FetchdError:
    """What a visit that lists and fetches INBOX comes to."""
    with pytest.raises(FetchdError) as raised:
        visit(port, bodies, **changes)
    return raised.value


async def whole(session: ImapSession, mailbox: str = "INBOX") -> Listing:
    """The listing, which a first visit always gets."""
    await session.mailboxes()
    listing = await session.list(mailbox)
    assert listing is not None
    return listing


async def bodies(session: ImapSession, mailbox: str = "INBOX") -> list[bytes | str]:
    """List and fetch everything: octets, or why there are none."""
    listing = await whole(session, mailbox)
    return [content(one) async for one in session.fetch(listing.messages)]


async def numbers(session: ImapSession) -> list[int]:
    """The UIDs of INBOX, as numbers."""
    return [m.number for m in (await whole(session)).messages]
