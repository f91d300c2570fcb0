"""Every account's syncs: one at a time, in their turn, watched, and tried again after trouble.

    request           whoever wants one: the schedule, the server, a person, a retry
    turn              turns.py: so many at once; who has been at it for long lets others go first
    sync_line         syncing.py: the ordinary sync of one account, watched
    judge             what follows from the report: well; again not before then; halted

What went wrong with one account changes nothing for the others. What concerns the whole
process (a full disk, say) is raised by `run`.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial

from fetchd.catalog import runs
from fetchd.daemon.jobs import unasked
from fetchd.daemon.judging import Verdict, judge
from fetchd.daemon.line import Line, Request, Why
from fetchd.daemon.network import Network
from fetchd.daemon.syncing import sync_line
from fetchd.daemon.turns import Place, Turns
from fetchd.errors import UsageError
from fetchd.pipeline.allowance import Allowances
from fetchd.pipeline.errand import errands
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.snapshot import Doing
from fetchd.pipeline.tools import Progress, Tools
from fetchd.policy.schedule import Manual, Push
from fetchd.settings import Settings

LATENESS = 2000  # of the last scheduled syncs that are remembered
JITTER = 0.1  # share of a poll floor by which a schedule may be early

Reported = Callable[[RunReport], None]


class Supervisor:
    """The accounts of one service."""

    def __init__(
        self,
        settings: Settings,
        tools: Tools,
        allowances: Allowances,
        *,
        reported: Reported = lambda _: None,
    ) -> None:
        self._settings, self._tools, self.reported = settings, tools, reported
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        limits = settings.limits
        self.turns = Turns(limits.connections, limits.connections_per_host)
        self._allowances = allowances
        allowances.spare = self.turns.spare
        self.network = Network(self._probe, self._all_again, self._hosts)
        self.lines: dict[str, Line] = {}
        self.lateness: deque[float] = deque(maxlen=LATENESS)
        self._fault: asyncio.Future[None] = self._loop.create_future()

    # -- What others want -----------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled; what concerns the whole process is raised."""
        await self._fault

    def request(
        self,
        name: str,
        why: Why,
        *,
        among: tuple[str, ...] = (),
        watcher: Progress | None = None,
        confirm_retire: bool = False,
        by_name: bool = False,
        due: datetime | None = None,
    ) -> "asyncio.Future[RunReport]":
        """A sync of this account, which was `due` then; its report, also of why there was none."""
        line = self.lines[name]
        wanted = Request(
            why, self._loop.create_future(), self._among(line, why, among),
            [watcher] if watcher is not None else [], confirm_retire, by_name, due,
        )  # fmt: skip
        if self._tools.stop.is_set() or line.leaving or self._too_soon(line, why):
            line.missed |= set(wanted.among)
            wanted.answer(RunReport(name, skipped=True, notices=[line.why]))
            return wanted.done
        if line.request is not None:
            line.request.join(wanted)
            self.turns.promote(line.errand.host, line, why)
            return wanted.done
        running = line.running
        if why in (Why.SCHEDULE, Why.RETRY) and running is not None and running.serves(wanted):
            return running.done
        line.request = wanted
        if line.task is None:
            self._begin(line)
        return wanted.done

    def _among(self, line: Line, why: Why, among: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        if among:
            return (among,)
        return line.unasked if why in (Why.PUSH, Why.RETRY) else ()

    async def apply(self, settings: Settings) -> None:
        """These are the accounts from now on; what is under way goes on as it began."""
        tools, before = self._tools, self._settings
        self._settings = settings
        self.turns.resize(settings.limits.connections, settings.limits.connections_per_host)
        known = await tools.storage.blocking(runs.health, tools.storage.catalog)
        terms = {line.name: line.errand.allowance.terms for line in self.lines.values()}
        self._allowances.apply(settings)
        again = []
        for errand in errands(settings, (), tools.storage, self._allowances):
            account = settings.accounts[errand.account]
            schedule = account.schedule or settings.service.schedule
            line = self.lines.get(errand.account)
            if line is None:
                line = self.lines[errand.account] = Line(errand)
                self._recall(line, known)
            elif line.leaving or before.accounts.get(errand.account) != account:
                line.leaving = False  # it is back before its last sync has ended
                if line.doing is not Doing.WAITING:
                    again.append(line)
                self.resume([line.name])
            elif line.doing is Doing.PAUSED and terms[line.name] != errand.allowance.terms:
                again.append(line)
                self.resume([line.name])
            line.errand = errand
            line.manual, line.unasked = isinstance(schedule, Manual), unasked(settings, line.name)
            # Watching takes a connection, and each sync another one.
            alone = errand.allowance.most_connections == 1
            line.pushed = isinstance(schedule, Push) and errand.protocol == "imap" and not alone
        for name in self.lines.keys() - settings.accounts.keys():
            self._leave(self.lines[name])
        for line in again:  # what was wrong with it may be right now
            if not line.manual:
                self.request(line.name, Why.RETRY)

    def resume(self, names: Iterable[str]) -> None:
        """A person says, or the settings do, that it may be tried again."""
        for name in names:
            line = self.lines[name]
            self._forget_retry(line)
            line.not_before, line.doing, line.why, line.advice = 0.0, Doing.WAITING, "", ""

    def reached(self, line: Line) -> None:
        """Somebody has logged in there: a line that broke before is no reason to wait longer."""
        if line.broke and line.doing is Doing.BACKING_OFF:
            self.resume([line.name])

    def all_anew(self) -> None:
        """The machine slept, or moved to another network: no earlier failure counts."""
        self.network.suspect()
        waiting = [line for line in self.lines.values() if line.doing is Doing.BACKING_OFF]
        self.resume(line.name for line in waiting)
        for line in waiting:
            self.request(line.name, Why.RETRY)

    async def drain(self) -> None:
        """Wait until what is under way has come to its end; nothing new begins."""
        for line in self.lines.values():
            self._forget_retry(line)
            line.stop.set()
            self._drop_request(line)
        tasks = [line.task for line in self.lines.values() if line.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    async def until_present_end(self) -> None:
        """Wait for the syncs that are under way now, however long they take."""
        running = [line.running.done for line in self.lines.values() if line.running is not None]
        if running:
            await asyncio.wait(running)

    def blame(self, task: "asyncio.Task[None]") -> None:
        """What this task died of concerns the whole process."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._fault.done():
            self._fault.set_exception(error)

    async def cut(self) -> None:
        """End what did not end by itself; what it had committed stays."""
        tasks = [line.task for line in self.lines.values() if line.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def require(self, names: Iterable[str]) -> list[str]:
        """These accounts, or all; UsageError for a name that is none of them."""
        known = [name for name, line in self.lines.items() if not line.leaving]
        chosen = list(dict.fromkeys(names)) or known
        if unknown := [name for name in chosen if name not in known]:
            raise UsageError(
                f"no account is called {', '.join(unknown)}",
                advice=f"The service has: {', '.join(sorted(known))}.",
            )
        return chosen

    # -- One account's syncs -----------------------------------------------------------

    def _begin(self, line: Line) -> None:
        line.task = asyncio.create_task(self._serve(line))
        line.task.add_done_callback(lambda task: self._served(line, task))

    async def _serve(self, line: Line) -> None:
        """One request after the other."""
        while (request := line.request) is not None:
            line.queued, line.since = True, self._tools.now()
            place = await self._place(line, request)
            # What joined it while it waited is served with it.
            line.queued, line.request, line.running = False, None, request
            line.begun = self._clock()
            line.catch_up(request)
            self._note_lateness(request)
            try:
                let_go = partial(self.turns.give_back, place)
                stalled = self._settings.service.stalled.total_seconds()
                report = await sync_line(line, request, self._tools, let_go, stalled)
            except BaseException:
                request.answer(RunReport(line.name, skipped=True, stopped=True))
                raise
            finally:
                line.running = None
                self.turns.give_back(place)
            self._judge(line, report)
            if request.so_far is not None:
                report.follow(request.so_far)
            if self._let_others_go(line, report):
                self._go_on_later(line, request, report)
            else:
                request.answer(report)

    def _note_lateness(self, request: Request) -> None:
        if request.due is not None:
            self.lateness.append(max(0.0, (self._tools.now() - request.due).total_seconds()))
            request.due = None  # what goes on later was not late

    def _let_others_go(self, line: Line, report: RunReport) -> bool:
        """Whether it stopped in the middle because it had been asked to."""
        asked = line.stop.is_set() and not (self._tools.stop.is_set() or line.leaving)
        return asked and report.stopped and not report.failures and not report.paused

    def _go_on_later(self, line: Line, request: Request, report: RunReport) -> None:
        request.why, request.so_far = Why.GO_ON, report
        if line.request is not None:
            request.join(line.request)
        line.request = request

    async def _place(self, line: Line, request: Request) -> Place:
        line.stop = asyncio.Event()
        return await self.turns.take(line.errand.host, request.why, line.stop.set, line)

    def _served(self, line: Line, task: "asyncio.Task[None]") -> None:
        """The line is idle again, unless something was asked for in the last moment."""
        line.task, line.queued = None, False
        if task.cancelled() or task.exception():
            self._drop_request(line)
            self.blame(task)
            return
        if line.request is not None:
            self._begin(line)
        elif line.leaving:
            del self.lines[line.name]

    def _drop_request(self, line: Line) -> None:
        if line.request is not None:
            line.request.answer(RunReport(line.name, skipped=True, stopped=True))
        line.request = None

    # -- What follows -------------------------------------------------------------------

    def _judge(self, line: Line, report: RunReport) -> None:
        if not report.skipped:
            line.totals.count(report)
        now = self._tools.now()
        self.network.note(line.name, line.errand.host, report)
        verdict = judge(report, line.failures, now, random.random(), up=self.network.up)  # noqa: S311
        known = line.doing is Doing.HALTED and verdict.doing is Doing.HALTED
        self._obey(line, verdict, now)
        if not known:
            self.reported(report)

    def _obey(self, line: Line, verdict: Verdict, now: datetime) -> None:
        self._forget_retry(line)
        line.failures, line.doing = verdict.failures, verdict.doing
        line.why, line.advice, line.since = verdict.why, verdict.advice, now
        line.broke = verdict.broke
        if verdict.well:
            line.well.set()
            if not verdict.failures:  # as the catalog counts them (runs.succeed)
                line.last_success = now
        elif verdict.failures:
            line.well.clear()
        if verdict.again is not None:
            self._retry_in(line, verdict.again, now)

    def _retry_in(self, line: Line, delay: timedelta, now: datetime) -> None:
        line.not_before = self._clock() + delay.total_seconds()
        line.again_at = now + delay
        line.retry = self._loop.call_at(line.not_before, self._retry, line)

    def _retry(self, line: Line) -> None:
        line.not_before = 0.0
        self._forget_retry(line)
        if not line.manual or line.failures:
            self.request(line.name, Why.RETRY)

    def _forget_retry(self, line: Line) -> None:
        if line.retry is not None:
            line.retry.cancel()
        line.retry, line.again_at, line.not_before = None, None, 0.0

    def _too_soon(self, line: Line, why: Why) -> bool:
        """A person may always; what is tried again has its time, and the halted have none."""
        if why is Why.OWNER:
            return False
        halted = line.doing is Doing.HALTED and why is not Why.SCHEDULE
        if why is Why.SCHEDULE and self._clock() < line.begun + self._floor(line):
            return True
        return halted or self._clock() < line.not_before or not self.network.lets(line.name)

    def _floor(self, line: Line) -> float:
        """Seconds between two polls that the provider wants, less what jitter takes away."""
        floor = line.errand.allowance.floor
        return floor.total_seconds() * (1 - JITTER) if floor is not None else 0.0

    def _recall(self, line: Line, known: Mapping[str, runs.Health]) -> None:
        """What an earlier service, or a sync by hand, found out."""
        health = known.get(line.name)
        if health is not None:
            line.failures, line.last_success = health.failures, health.last_success
            if not health.failures and health.last_success is not None:
                line.well.set()
            if health.halted:
                line.doing, line.why, line.advice = Doing.HALTED, health.error, health.advice

    def _leave(self, line: Line) -> None:
        line.leaving = True
        self._forget_retry(line)
        line.stop.set()
        if line.running is None:
            self._drop_request(line)
        if line.task is None:
            self.lines.pop(line.name, None)

    def _hosts(self) -> int:
        return len({line.errand.host for line in self.lines.values()})

    def _probe(self, name: str) -> None:
        """Whether the network is back is found out by one account."""
        if name in self.lines:
            self.resume([name])
            self.request(name, Why.RETRY)

    def _all_again(self, names: Iterable[str]) -> None:
        """The network is back."""
        for name in names:
            if name in self.lines:
                self.resume([name])
                self.request(name, Why.RETRY)
