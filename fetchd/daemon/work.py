"""One opening of the data folder by the service, and all that goes on while it is open.

It ends when the service stops, or with what concerns the whole process: a full disk, an
archive that is not mounted. The service (service.py) then opens anew, a little later.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fetchd.alerting import watch_alerts
from fetchd.catalog import outbox
from fetchd.daemon.delivering import keep_delivering
from fetchd.daemon.facts import Facts, keep_facts
from fetchd.daemon.jobs import jobs_of
from fetchd.daemon.line import Why
from fetchd.daemon.pushing import Pushing
from fetchd.daemon.reporting import log_report
from fetchd.daemon.scheduler import Due, Scheduler
from fetchd.daemon.supervisor import Supervisor
from fetchd.pipeline.allowance import Allowances
from fetchd.pipeline.at_work import at_work
from fetchd.pipeline.keep import let_expire
from fetchd.pipeline.paying import open_counted
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.snapshot import Doing, Snapshot
from fetchd.pipeline.storage import Storage, instance_of, open_storage
from fetchd.pipeline.tools import Tools
from fetchd.settings import Settings
from fetchd.telemetry import log
from fetchd.values import replace

SOON = timedelta(minutes=1)
LAST = 1.0  # second of it for closing what is open
CUT = 5.0  # seconds of the drain that are kept for what follows the syncs


@dataclass(slots=True, eq=False)
class Work:
    """What works together while the data folder is open."""

    settings: Settings
    tools: Tools
    allowances: Allowances
    supervisor: Supervisor
    pushing: Pushing
    owing: asyncio.Event = field(default_factory=asyncio.Event)  # something is to be delivered
    troubled: asyncio.Event = field(default_factory=asyncio.Event)  # or is no longer
    facts: Facts = field(default_factory=Facts)
    tasks: "list[asyncio.Task[None]]" = field(default_factory=list)  # none ends by itself
    chores: "set[asyncio.Task[None]]" = field(default_factory=set)
    scheduler: Scheduler = field(init=False)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.due, now=self.tools.now)

    async def apply(self, settings: Settings) -> None:
        """Go on by these settings; runs that are under way end as they began."""
        before, self.settings = self.settings, settings
        await self._apply_destinations(before, settings)
        await self.supervisor.apply(settings)
        for name, account in settings.accounts.items():
            if name in before.accounts and before.accounts[name] != account:
                self.pushing.renew(name)
        self.pushing.apply()
        self.plan()
        self.owing.set()  # another destination may take at once what the old one did not
        self.troubled.set()

    def plan(self) -> None:
        """What is due when."""
        service = self.settings.service
        self.scheduler.plan(
            jobs_of(self.settings), service.maintenance, self._maintain, zone=service.timezone
        )

    def begin(self) -> None:
        """All that is due within a minute need not wait for it: turns spread it well enough.

        Unless it was synced just now: a service that starts again and again is no nuisance.
        """
        self.plan()
        self.scheduler.start()
        self.pushing.apply()
        now = self.tools.now()
        for due in self.scheduler.due_by(now + SOON):
            before = self.supervisor.lines[due.account].last_success
            if before is None or now - before >= SOON:
                self.supervisor.request(due.account, Why.SCHEDULE, among=due.mailboxes)

    def due(self, due: Due) -> None:
        """The schedule says so."""
        if due.account in self.supervisor.lines:
            self.supervisor.request(due.account, Why.SCHEDULE, among=due.mailboxes, due=due.at)

    def reported(self, report: RunReport) -> None:
        """A sync has ended; most have brought nothing, and stir nobody."""
        log_report(report)
        if report.deferred:
            self.owing.set()
        if self.facts.alerts or not report.ok:
            self.troubled.set()

    def complete(self, told: Snapshot) -> Snapshot:
        """What the service knows of itself, and what is known here."""
        lines, facts = self.supervisor.lines, self.facts
        views = tuple(
            line.view(self.scheduler.next_at(name)) for name, line in sorted(lines.items())
        )
        turns = self.supervisor.turns
        return replace(
            told, network=self.supervisor.network.up, accounts=views,
            destinations=facts.destinations(self.settings, self.tools),
            queued=turns.waiting, syncing=sum(view.doing is Doing.SYNCING for view in views),
            connections=turns.held + sum(line.watching for line in lines.values()),
            lateness=tuple(self.supervisor.lateness), commits=self.tools.committer.commits,
            archive_octets=facts.archive_octets, disk_free=facts.disk_free, alerts=facts.alerts,
        )  # fmt: skip

    def status(self) -> str:
        """In a line."""
        lines = [line for line in self.supervisor.lines.values() if not line.leaving]
        syncing = sum(line.running is not None for line in lines)
        ill = [line.name for line in lines if line.failures or line.doing is Doing.HALTED]
        words = [f"{len(lines)} accounts", f"{syncing} syncing"]
        if not self.supervisor.network.up:
            words.append("no network")
        if ill:
            words.append(f"trouble with {', '.join(sorted(ill)[:5])}")
        last = max((line.last_success for line in lines if line.last_success), default=None)
        if last is not None:
            words.append(f"last success {last:%Y-%m-%d %H:%M:%S} UTC")
        return "; ".join(words)

    async def _apply_destinations(self, before: Settings, after: Settings) -> None:
        storage, deliveries = self.tools.storage, self.tools.deliveries
        instance = await storage.blocking(instance_of, after.data_dir)
        changed = {
            name: open_counted(destination, instance, self.allowances)
            for name, destination in after.destinations.items()
            if before.destinations.get(name) != destination
        }
        await deliveries.replace(changed)
        for name in changed:
            await storage.blocking(outbox.hasten, storage.catalog, name)
        if gone := before.destinations.keys() - after.destinations.keys():
            self._begin(self._remove(sorted(gone)))

    async def _remove(self, names: list[str]) -> None:
        """When nobody is left who began while they were there."""
        await self.supervisor.until_present_end()
        still_gone = [name for name in names if name not in self.settings.destinations]
        await self.tools.deliveries.remove(still_gone)

    def _maintain(self) -> None:
        self._begin(self._let_expire())

    async def _let_expire(self) -> None:
        tools, keep = self.tools, self.settings.archive.keep
        log().debug("maintenance.begun")
        await tools.storage.blocking(let_expire, tools.storage, keep, tools.now())

    def _begin(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(chore)
        self.chores.add(task)
        task.add_done_callback(self.chores.discard)
        task.add_done_callback(self.supervisor.blame)


@asynccontextmanager
async def working(
    settings: Settings, stop: asyncio.Event, now: Callable[[], datetime]
) -> AsyncIterator[Work]:
    """Open the data folder and set everything going; leave it in good order."""
    async with _opened(settings) as storage:
        allowances = Allowances(settings, storage, now)
        async with (
            at_work(
                settings, settings.destinations, storage, stop, now=now, allowances=allowances
            ) as (tools, committing),
            _going(settings, tools, allowances) as work,
        ):
            work.tasks.append(committing)
            yield work


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Storage]:
    """Off the loop: what a crash left may take long to put right, and a migration too."""
    opening = open_storage(settings)
    storage = await asyncio.to_thread(opening.__enter__)
    try:
        yield storage
    finally:
        await asyncio.to_thread(opening.__exit__, None, None, None)


async def until_ended(work: Work, stop: asyncio.Event) -> None:
    """Until the service stops; what ends by itself before that has its words raised."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, *work.tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in work.tasks:
            if task.done() and not task.cancelled():
                task.result()
    finally:
        stopping.cancel()


@asynccontextmanager
async def _going(settings: Settings, tools: Tools, allowances: Allowances) -> AsyncIterator[Work]:
    supervisor = Supervisor(settings, tools, allowances)
    work = Work(settings, tools, allowances, supervisor, Pushing(supervisor, tools))
    supervisor.reported = work.reported
    await supervisor.apply(settings)
    work.begin()
    work.tasks += [
        asyncio.create_task(coroutine)
        for coroutine in (
            supervisor.run(),
            keep_delivering(tools, work.owing),
            keep_facts(work.facts, tools, lambda: work.settings),
            watch_alerts(
                lambda: work.settings, tools.storage, tools.now, tools.stop, work.troubled
            ),
        )
    ]
    try:
        yield work
    finally:
        work.scheduler.stop()
        supervisor.network.close()
        await _drain(work)
        rest = [*work.tasks, *work.chores]
        for task in rest:
            task.cancel()
        await asyncio.wait(rest)


async def _drain(work: Work) -> None:
    """What is under way comes to its end, or is ended; what is committed stays."""
    patience = work.settings.service.drain.total_seconds()
    clock = asyncio.get_running_loop().time
    until = clock() + patience
    await work.pushing.close()
    try:
        async with asyncio.timeout(max(1.0, patience - CUT)):
            await work.supervisor.drain()
    except TimeoutError:
        log().warning("service.cut", note="some syncs did not end in time; they were cut off")
        await work.supervisor.cut()
    work.tools.deliveries.hurry(max(1.0, until - LAST - clock()))
