"""When each account is due: jobs, kept in time by APScheduler.

`policy.timing` decides, APScheduler waits. Its own triggers are not used: its cron runs a job
twice, or never, in the night in which the clocks are changed, knows no "day or weekday", and
its interval lets jitter add up.

What was missed, however often, is due once. If the wall clock is set, or the machine slept,
nothing of that comes all at once: `rearm` spreads it over a minute. Whoever watches the
clocks (clockwatch.py) calls it; at each awakening the scheduler looks for itself too, since a
timer may well run out before the watch has noticed.

In UTC throughout. Everything happens in the event loop: `due` is called by it, and what
`due` raises goes to the loop's exception handler, while the jobs keep their times.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count

from apscheduler.executors.base import BaseExecutor  # type: ignore[import-untyped]
from apscheduler.job import Job as Entry  # type: ignore[import-untyped]
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
from apscheduler.triggers.base import BaseTrigger  # type: ignore[import-untyped]

from fetchd.daemon.jobs import Due, Job, jobs_of
from fetchd.pipeline.at_work import utc_now
from fetchd.policy import timing
from fetchd.policy.schedule import Cron
from fetchd.policy.timing import Timing
from fetchd.zones import zone_of

__all__ = ["Due", "Job", "Scheduler", "jobs_of"]

JUMP = 5.0  # seconds by which wall clock and monotonic one may part before all times are stale

logging.getLogger("apscheduler").setLevel(logging.WARNING)  # it tells of each job that it adds


@dataclass(slots=True, eq=False)
class _Planned:
    """A job, or None for maintenance, and where it stands."""

    job: Job | None
    timing: Timing
    anchor: datetime  # the first point of an interval
    last: datetime | None = None
    entry: Entry = None

    @property
    def at(self) -> datetime:
        """When it is due."""
        due: datetime = self.entry.next_run_time
        return due


class Scheduler:
    """Calls `due` when a job's time has come; made and used within a running event loop."""

    def __init__(
        self,
        due: Callable[[Due], None],
        *,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._due, self._now, self._clock = due, now, clock
        self._maintain: Callable[[], None] | None = None
        self._maintenance: _Planned | None = None
        self._planned: dict[Job, _Planned] = {}
        self._of_account: dict[str, list[_Planned]] = {}
        self._by_id: dict[str, _Planned] = {}
        self._ids = map(str, count(1))
        self._parted = self._apart()
        self._timer = _Timer(self._look_at_the_clock, self._begin)

    def start(self) -> None:
        """From now on jobs become due."""
        self._timer.start()

    def stop(self) -> None:
        """Nothing becomes due any more; it can be called twice, and before the start."""
        self._by_id.clear()
        if self._timer.running:
            self._timer.shutdown(wait=False)

    def plan(
        self,
        jobs: Sequence[Job],
        maintenance: Cron | None,
        maintain: Callable[[], None],
        *,
        zone: str | None = None,
    ) -> None:
        """What is to begin from now on; a job that was there already keeps its time.

        `zone` is that of the maintenance; jobs have their own.
        """
        now = self._now()
        with self._held():
            for gone in self._planned.keys() - set(jobs):
                self._remove(self._planned.pop(gone))
            for job in jobs:
                if job not in self._planned and (new := self._add(_timing(job), job, now)):
                    self._planned[job] = new
            self._plan_maintenance(maintenance, zone, now)
        self._maintain = maintain
        self._of_account = {}
        for job, planned in self._planned.items():
            self._of_account.setdefault(job.account, []).append(planned)

    def next_at(self, account: str) -> datetime | None:
        """When it is due next, for whichever of its mailboxes; None: never by itself."""
        return min((planned.at for planned in self._of_account.get(account, ())), default=None)

    def due_by(self, until: datetime) -> list[Due]:
        """What becomes due until then, each once."""
        return [
            Due(job.account, job.mailboxes, planned.at)
            for job, planned in self._planned.items()
            if planned.at <= until
        ]

    def rearm(self) -> None:
        """All times anew: the wall clock was set, or the machine slept."""
        now, self._parted = self._now(), self._apart()
        with self._held():
            for planned in tuple(self._by_id.values()):
                due = timing.rearmed(planned.timing, planned.at, planned.last, now)
                if due is None:
                    self._forget(planned)
                elif due != planned.at:
                    planned.anchor = due
                    planned.entry.modify(next_run_time=due)

    def _plan_maintenance(self, cron: Cron | None, zone: str | None, now: datetime) -> None:
        wanted = None if cron is None else Timing("maintenance", cron, zone_of(zone))
        there = self._maintenance
        if wanted == (None if there is None else there.timing):
            return
        if there is not None:
            self._remove(there)
        self._maintenance = None if wanted is None else self._add(wanted, None, now)

    def _add(self, wanted: Timing, job: Job | None, now: datetime) -> _Planned | None:
        due = timing.first(wanted, now)
        if due is None:
            return None
        planned = _Planned(job, wanted, due)
        identity = next(self._ids)
        planned.entry = self._timer.add_job(
            _nothing, _Trigger(planned), id=identity, name=wanted.name, next_run_time=due,
        )  # fmt: skip
        self._by_id[identity] = planned
        return planned

    def _forget(self, planned: _Planned) -> None:
        """Its line never comes true again."""
        if planned.job is None:
            self._maintenance = None
        else:
            del self._planned[planned.job]
            self._of_account[planned.job.account].remove(planned)
        self._remove(planned)

    def _remove(self, planned: _Planned) -> None:
        if self._by_id.pop(planned.entry.id, None) is not None:
            planned.entry.remove()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The timer looks at its jobs once all is changed, and not after each change."""
        if not self._timer.running:
            yield
            return
        self._timer.pause()
        try:
            yield
        finally:
            self._timer.resume()

    def _apart(self) -> float:
        """By how much wall clock and monotonic clock differ: the same until one is set."""
        return self._now().timestamp() - self._clock()

    def _look_at_the_clock(self) -> None:
        if abs(self._apart() - self._parted) > JUMP:
            self.rearm()

    def _begin(self, identity: str, at: datetime) -> None:
        planned = self._by_id.get(identity)
        if planned is None:  # stopped, or planned otherwise, a moment ago
            return
        planned.last = at
        if planned.job is not None:
            self._due(Due(planned.job.account, planned.job.mailboxes, at))
        elif self._maintain is not None:
            self._maintain()


def _timing(job: Job) -> Timing:
    name = "\n".join((job.account, *job.mailboxes))
    return Timing(name, job.schedule, zone_of(job.zone), job.jitter, job.quiet)


def _nothing() -> None:
    """What an entry would call; the executor knows better, and what it begins is told when."""


class _Timer(AsyncIOScheduler):  # type: ignore[misc]
    """APScheduler, which looks at the clock before it looks at its jobs."""

    def __init__(self, before: Callable[[], None], begin: Callable[[str, datetime], None]) -> None:
        super().__init__(timezone=UTC, executors={"default": _InTheLoop(begin)})
        self._before = before

    def wakeup(self) -> None:
        """When a job is due, or jobs were changed."""
        self._before()
        super().wakeup()


class _InTheLoop(BaseExecutor):  # type: ignore[misc]
    """Begins what is due in the event loop; APScheduler's own would take a thread for it."""

    def __init__(self, begin: Callable[[str, datetime], None]) -> None:
        super().__init__()
        self._begin = begin

    def _do_submit_job(self, job: Entry, run_times: list[datetime]) -> None:
        asyncio.get_running_loop().call_soon(self._run, job.id, run_times[-1])

    def _run(self, identity: str, at: datetime) -> None:
        self._run_job_success(identity, [])
        self._begin(identity, at)


class _Trigger(BaseTrigger):  # type: ignore[misc]
    """Asks `policy.timing`; always later than now, so that what was missed is due once."""

    def __init__(self, planned: _Planned) -> None:
        self._planned = planned

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """APScheduler's question."""
        planned = self._planned
        before = planned.anchor if previous is None else previous
        return timing.following(planned.timing, planned.anchor, before, now)
