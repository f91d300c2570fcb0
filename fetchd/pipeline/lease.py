"""Work that is done only while this process holds the account's lease."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any

from fetchd.catalog import leases
from fetchd.errors import AccountBusy, Scope
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.storage import Storage

Guard = Callable[[], Coroutine[Any, Any, None]]  # never returns; raises what ends the work

LEASE = timedelta(minutes=1)
RENEWAL = 20.0  # seconds: three tries before it expires


async def under_lease(
    account: str,
    storage: Storage,
    now: Callable[[], datetime],
    work: Coroutine[Any, Any, None],
    report: RunReport,
    guard: Guard | None = None,
) -> None:
    """Do the work, renewing the lease; account-wide failures go into the report.

    A lease that another process has taken meanwhile (this machine slept, say)
    ends the work at once: two at one account would fetch everything twice. So does
    what `guard` raises.
    """
    with report.shelter(Scope.ACCOUNT, account):
        task = asyncio.create_task(work)
        keepers = {asyncio.create_task(_keep(account, storage, now))}
        if guard is not None:
            keepers.add(asyncio.create_task(guard()))
        try:
            await asyncio.wait({task, *keepers}, return_when=asyncio.FIRST_COMPLETED)
            for keeper in keepers:
                if keeper.done():
                    keeper.result()
        finally:
            for keeper in keepers:
                await _end(keeper)
            if not task.done():
                await _end(task)
        task.result()


async def _keep(account: str, storage: Storage, now: Callable[[], datetime]) -> None:
    """Renew until cancelled; AccountBusy when the lease is lost."""
    while True:
        await asyncio.sleep(RENEWAL)
        until = now() + LEASE
        if not await storage.blocking(leases.renew, storage.catalog, account, until):
            raise AccountBusy(f"Another process took over account {account}.")


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task})
