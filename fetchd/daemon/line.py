"""One account within the service: what it is at, what was asked of it, and how it fares.

Only the supervisor changes it; `view` is what others see. Times that decide anything are
the event loop's, which no clock that is set can move; datetimes are for people.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from fetchd.pipeline.errand import Errand
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.snapshot import AccountView, Doing
from fetchd.pipeline.tools import Progress
from fetchd.policy.patterns import pattern
from fetchd.values import replace


class Why(IntEnum):
    """Why a sync is wanted; whoever has the lower number goes first."""

    OWNER = 0  # a person waits for it
    PUSH = 1  # the server told of something new
    SCHEDULE = 2
    RETRY = 3  # of what failed
    GO_ON = 4  # it had let others go first


@dataclass(slots=True, eq=False)
class Request:
    """A sync that was asked for; what is asked for twice before it begins is done once."""

    why: Why
    done: "asyncio.Future[RunReport]"
    among: tuple[tuple[str, ...], ...]  # any of these patterns chooses what is due; none: all
    watchers: list[Progress] = field(default_factory=list)
    confirm_retire: bool = False
    by_name: bool = False  # a person named the account, and wants it tried whatever was refused
    due: datetime | None = None  # when it was to begin, by the schedule
    so_far: RunReport | None = None  # of the runs that had to let others go first

    def join(self, other: "Request") -> None:
        """Do what the other one asks for as well."""
        self.why = min(self.why, other.why)
        some = self.among and other.among
        self.among = tuple(dict.fromkeys((*self.among, *other.among))) if some else ()
        self.watchers += other.watchers
        self.confirm_retire |= other.confirm_retire
        self.by_name |= other.by_name
        self.due = min((at for at in (self.due, other.due) if at is not None), default=None)
        self.done.add_done_callback(other.answer_alike)

    def serves(self, other: "Request") -> bool:
        """Whether this one, under way, looks at all that the other asks for."""
        return not self.among or (bool(other.among) and {*other.among} <= {*self.among})

    def answer(self, report: RunReport) -> None:
        """Whoever waits for it hears what became of it."""
        if not self.done.done():
            self.done.set_result(report)

    def answer_alike(self, done: "asyncio.Future[RunReport]") -> None:
        """The same as somebody else."""
        if not done.cancelled():
            self.answer(done.result())


@dataclass(slots=True)
class Totals:
    """Since the service began."""

    runs: int = 0
    failed_runs: int = 0
    stalled: int = 0
    fetched: int = 0
    octets: int = 0
    retired: int = 0
    quarantined: int = 0
    delivered: int = 0
    deferred: int = 0
    failed: int = 0

    def count(self, report: RunReport) -> None:
        """One run more."""
        self.runs += 1
        self.failed_runs += bool(report.failures)
        self.fetched += report.fetched
        self.octets += report.octets
        self.retired += report.retired
        self.quarantined += report.quarantined
        self.delivered += report.delivered
        self.deferred += report.deferred
        self.failed += report.failed


class Pulse:
    """Watches one sync (pipeline.tools.Progress): when it last got on, and how far it is."""

    def __init__(self, clock: Callable[[], float], watchers: list[Progress]) -> None:
        self._clock, self._watchers = clock, watchers
        self.last = clock()
        self.current = ""
        self.expected = self.messages = self.octets = 0

    def phase(self, account: str, phase: str) -> None:
        self.last, self.current = self._clock(), phase
        for watcher in self._watchers:
            watcher.phase(account, phase)

    def expect(self, account: str, messages: int, octets: int) -> None:
        self.last = self._clock()
        self.expected += messages
        for watcher in self._watchers:
            watcher.expect(account, messages, octets)

    def fetched(self, account: str, messages: int, octets: int) -> None:
        self.last = self._clock()
        self.messages += messages
        self.octets += octets
        for watcher in self._watchers:
            watcher.fetched(account, messages, octets)


@dataclass(slots=True, eq=False)
class Line:
    """One account's; `well` is set while its last sync was one that reached the server."""

    errand: Errand
    manual: bool = False
    unasked: tuple[tuple[str, ...], ...] = ()  # as a request's `among`, where nobody names any
    pushed: bool = False
    request: Request | None = None  # that has not begun
    running: Request | None = None
    task: "asyncio.Task[None] | None" = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)  # of the sync under way
    pulse: Pulse | None = None
    queued: bool = False
    leaving: bool = False  # the settings do not have it any more
    watching: bool = False
    well: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0  # in a row
    not_before: float = 0.0  # loop time
    broke: bool = False  # what failed was the line, and nobody asked for time
    begun: float = -math.inf  # loop time: when the last sync did
    missed: set[tuple[str, ...]] = field(default_factory=set)  # patterns whose time it was
    again_at: datetime | None = None
    doing: Doing = Doing.WAITING  # while nothing is under way
    why: str = ""
    advice: str = ""
    since: datetime | None = None
    last_success: datetime | None = None
    retry: asyncio.TimerHandle | None = None
    totals: Totals = field(default_factory=Totals)

    @property
    def name(self) -> str:
        """The account's."""
        return self.errand.account

    @property
    def busy(self) -> bool:
        """Whether something is under way or about to be."""
        return self.running is not None or self.request is not None

    def view(self, next_at: datetime | None) -> AccountView:
        """As others see it."""
        pulse = self.pulse if self.running is not None else None
        totals = {name: getattr(self.totals, name) for name in Totals.__slots__}
        return AccountView(
            name=self.name,
            protocol=self.errand.protocol,
            doing=self._doing(),
            phase=pulse.current if pulse else "",
            why=self.why,
            advice=self.advice,
            next_at=min((at for at in (next_at, self.again_at) if at is not None), default=None),
            since=self.since,
            last_success=self.last_success,
            failures=self.failures,
            sync_expected=pulse.expected if pulse else 0,
            sync_fetched=pulse.messages if pulse else 0,
            sync_octets=pulse.octets if pulse else 0,
            received=self.errand.allowance.meter.received,
            sent=self.errand.allowance.meter.sent,
            **totals,
        )

    def _doing(self) -> Doing:
        if self.running is not None:
            return Doing.SYNCING
        if self.queued:
            return Doing.QUEUED
        if self.doing is not Doing.WAITING:
            return self.doing
        if self.watching:
            return Doing.WATCHING
        return Doing.MANUAL if self.manual else Doing.WAITING

    def catch_up(self, request: Request) -> None:
        """What was not let do when its time had come is done with the next request."""
        if request.among:
            request.among = tuple(dict.fromkeys((*request.among, *sorted(self.missed))))
        self.missed = set()

    def its_errand(self, request: Request) -> Errand:
        """What is to be done for this request."""
        among = tuple(tuple(map(pattern, patterns)) for patterns in request.among)
        return replace(self.errand, among=among, asked=request.by_name)
