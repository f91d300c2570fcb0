"""How to leave a server that was only looked at."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fetchd.contracts import Session


@asynccontextmanager
async def untouched(session: Session) -> AsyncIterator[Session]:
    """Look at what is there; nothing is removed, not even by the farewell.

    RFC 2449 §6.7: with EXPIRE 0, QUIT removes whatever was handed over, and a server
    without UIDL and TOP has handed over everything to be listed.
    """
    try:
        yield session
        if session.facts.expire_days == 0:
            await session.abort()
        else:
            await session.close()
    except BaseException:
        await session.abort()
        raise
