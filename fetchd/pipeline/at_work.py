"""Committer and destinations while somebody works with them, closed behind him.

Every command that brings or delivers mail works within this: a round of all accounts,
one message by hand, one account that is watched.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fetchd.pipeline.allowance import Allowances
from fetchd.pipeline.committer import Committer
from fetchd.pipeline.deliver import Deliveries
from fetchd.pipeline.paying import open_counted
from fetchd.pipeline.storage import Storage, instance_of
from fetchd.pipeline.tools import Progress, Tools, Unwatched
from fetchd.settings import Settings


def utc_now() -> datetime:
    """The clock, where nobody brings another."""
    return datetime.now(UTC)


@asynccontextmanager
async def at_work(
    settings: Settings,
    destinations: Iterable[str],
    storage: Storage,
    stop: asyncio.Event,
    *,
    progress: Progress | None = None,
    confirm_retire: bool = False,
    now: Callable[[], datetime] = utc_now,
    allowances: Allowances | None = None,
) -> AsyncIterator[tuple[Tools, "asyncio.Task[None]"]]:
    """The tools, and the task that commits: should it end by itself, nothing more is stored."""
    allowances = allowances or Allowances(settings, storage, now)
    committer = Committer(storage, now)
    instance = await storage.blocking(instance_of, settings.data_dir)
    opened = {
        name: open_counted(settings.destinations[name], instance, allowances)
        for name in destinations
    }
    deliveries = Deliveries(storage, committer, opened, now, stop)
    tools = Tools(
        storage, committer, deliveries, now, stop, progress or Unwatched(), confirm_retire
    )
    committing = asyncio.create_task(committer.run())
    try:
        yield tools, committing
    except asyncio.CancelledError:
        if committing.done():
            committing.result()  # a committer that dies has words of its own
        raise
    finally:
        committing.cancel()
        await asyncio.wait({committing})
        await committer.close()
        await deliveries.close()
