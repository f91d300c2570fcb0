"""One round over many accounts: how many at once, and what a stop signal does.

Each account has its own straight line (account.py); here is only who may go
when. A stop ends lines at their next batch boundary: what is in flight is
committed and delivered, what was not asked for yet waits for the next round.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from fetchd.catalog import outbox, reach
from fetchd.catalog.database import Catalog
from fetchd.errors import ServerUnavailable, joined
from fetchd.pipeline.account import sync_account
from fetchd.pipeline.allowance import Allowances
from fetchd.pipeline.at_work import at_work, utc_now
from fetchd.pipeline.deliver import Tally
from fetchd.pipeline.errand import Errand, errands
from fetchd.pipeline.keep import let_expire
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.storage import Storage
from fetchd.pipeline.tools import Progress, Tools
from fetchd.settings import Settings


@dataclass(slots=True)
class Round:
    """What a round did: a report for each account, and deliveries left from earlier rounds.

    `others` are deliveries of accounts that had no part in this round, by account.
    `unreached` has a sentence for each destination that mail waits for.
    """

    reports: list[RunReport] = field(default_factory=list)
    others: dict[str, Tally] = field(default_factory=dict)
    unreached: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Nothing failed, and nothing waits because of a failure."""
        waiting = any(tally.deferred or tally.failed for tally in self.others.values())
        return all(r.ok for r in self.reports) and not waiting and not self.unreached


class Turns:
    """Connections that may be open at once: in all, and to one host."""

    def __init__(self, connections: int, per_host: int) -> None:
        self._everywhere = asyncio.Semaphore(connections)
        self._hosts: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(per_host))

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Hold a place; the host's first, since waiting for it must not occupy one of all."""
        async with self._hosts[host], self._everywhere:
            yield

    @asynccontextmanager
    async def spare(self, host: str) -> AsyncIterator[None]:
        """A place for one more, if nobody waits for it; ServerUnavailable if there is none."""
        gates = self._hosts[host], self._everywhere
        if any(gate.locked() for gate in gates):
            raise ServerUnavailable("[limits] allow no more connections")
        async with gates[0], gates[1]:  # without waiting
            yield


async def sync_round(
    settings: Settings,
    names: Sequence[str],
    storage: Storage,
    *,
    progress: Progress,
    stop: asyncio.Event,
    confirm_retire: bool = False,
    now: Callable[[], datetime] = utc_now,
) -> Round:
    """Sync these accounts, or all, once; one bad account never stops the others.

    Raises what concerns the whole process: UsageError for an unknown name, a
    disk that is full, a catalog that cannot be written.
    """
    turns = Turns(settings.limits.connections, settings.limits.connections_per_host)
    allowances = Allowances(settings, storage, now)
    allowances.spare = turns.spare
    chosen = errands(settings, names, storage, allowances)
    async with at_work(
        settings, settings.destinations, storage, stop,
        progress=progress, confirm_retire=confirm_retire, now=now, allowances=allowances,
    ) as (tools, committing):  # fmt: skip
        return await _all(settings, chosen, tools, turns, committing)


async def _all(
    settings: Settings,
    chosen: Sequence[Errand],
    tools: Tools,
    turns: Turns,
    committing: "asyncio.Task[None]",
) -> Round:
    def turn(errand: Errand) -> Callable[[], AbstractAsyncContextManager[None]]:
        return lambda: turns.turn(errand.host)

    overdue = asyncio.create_task(tools.deliveries.put_overdue())
    lines = [asyncio.create_task(sync_account(e, tools, turn(e))) for e in chosen]
    await _until_all_done([*lines, overdue], committing)
    await tools.deliveries.settle(last=True)
    await tools.committer.flush()
    done = Round([line.result() for line in lines])
    await tell_of_strays(done.reports, tools.storage, settings)
    done.unreached = await tools.storage.blocking(
        unreached, tools.storage.catalog, settings.destinations
    )
    others = tools.deliveries.take_other_tallies()
    for report in done.reports:
        report.count_deliveries(others.pop(report.account, Tally()))
    done.others = others
    if not tools.stop.is_set():
        await tools.storage.blocking(let_expire, tools.storage, settings.archive.keep, tools.now())
    return done


async def tell_of_strays(
    reports: Sequence[RunReport], storage: Storage, settings: Settings
) -> None:
    """A notice for what accounts are owed at destinations that are not in the settings."""
    strays = await storage.blocking(outbox.strays, storage.catalog, tuple(settings.destinations))
    for report in reports:
        report.notices += [
            f"{count} deliveries are owed to '{name}', which the settings do not have: define it "
            "again, or see 'fetchd deliveries' and drop them."
            for name, count in strays.get(report.account, {}).items()
        ]


def unreached(catalog: Catalog, names: Collection[str]) -> dict[str, str]:
    """Those of these destinations that are out of reach while mail waits for them, and why."""
    states = outbox.counts(catalog)
    found: dict[str, str] = {}
    for name, one in reach.everything(catalog).items():
        waiting = states.get(name, {})
        count = waiting.get("pending", 0) + waiting.get("deferred", 0)
        if one.failures and count and one.not_before and name in names:
            found[name] = (
                f"{joined(one.last_error, one.last_advice)} {count} wait; not before "
                f"{one.not_before:%Y-%m-%d %H:%M:%S} UTC, or 'fetchd deliveries retry "
                f"--destination {name}'."
            )
    return found


async def _until_all_done(
    tasks: Sequence["asyncio.Task[object]"], committing: "asyncio.Task[None]"
) -> None:
    """Wait; the first that fails for the whole process ends the others."""
    pending: set[asyncio.Task[object]] = {*tasks}
    try:
        while pending:
            done, rest = await asyncio.wait(
                {*pending, committing}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
            pending = rest - {committing}
    finally:
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
