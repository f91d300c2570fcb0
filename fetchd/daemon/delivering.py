"""Deliveries that no sync waits for: what was deferred goes out when its time has come.

A sync hands in what it has brought and waits a little for it; what is not taken then, and
what an earlier process left behind, is looked after here, whether or not any account is
synced meanwhile.
"""

import asyncio
from contextlib import suppress

from fetchd.catalog import outbox
from fetchd.pipeline.tools import Tools

LONGEST = 60.0  # seconds between two looks: another process may have deferred something
SHORTEST = 1.0


async def keep_delivering(tools: Tools, stirred: asyncio.Event) -> None:
    """Until cancelled; `stirred`: there is something new to wait for."""
    while not tools.stop.is_set():
        stirred.clear()
        await tools.deliveries.put_overdue(patient=True)
        await tools.deliveries.settle()
        await tools.committer.flush()
        with suppress(TimeoutError):
            async with asyncio.timeout(await _pause(tools)):
                await stirred.wait()


async def _pause(tools: Tools) -> float:
    """Seconds until the next one is due."""
    due = await tools.storage.blocking(outbox.next_due, tools.storage.catalog)
    if due is None:
        return LONGEST
    return min(LONGEST, max(SHORTEST, (due - tools.now()).total_seconds()))
