"""Sync an account again and again: when there is reason, how soon after trouble, and what is told.

The part of a watch (watch.py) that does not know where hints come from.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from fetchd.catalog import runs
from fetchd.errors import FetchdError, Remedy, Scope, ServerUnavailable, TlsFailed
from fetchd.pipeline.account import Turn, sync_account
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.news import Ledger, News
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.tools import Tools
from fetchd.policy.retry import RECONNECT, TURNED_AWAY, Schedule, retry_at
from fetchd.sources.imap_watch import SWEEP, How
from fetchd.values import Struct

# Seconds; without any hint, for what falls due by itself: windows, deferred deliveries.
EVERY = 15 * 60.0
BUSY = 1.0  # seconds until another process's sync is asked after again


class Watching(Struct, frozen=True):
    """There is a connection, and the server will tell; `first` is what IDLE listens to."""

    how: How
    first: str


class Waiting(Struct, frozen=True):
    """Something stands in the way, and is tried again not before `until`."""

    sentence: str
    advice: str
    until: datetime


class Noticed(Struct, frozen=True):
    """For the owner, and no failure; each is told once."""

    sentence: str


Condition = Watching | Waiting | Noticed


class Hearer(Struct, frozen=True):
    """Who is told; both are called in the event loop, as things are found."""

    changed: Callable[[Sequence[News]], None]
    told: Callable[[Condition], None] = lambda _: None


class Timing(Struct, frozen=True):
    """How patient a watch is: `sweep` and `steady` in seconds.

    A connection that stood for `steady` is as good as new when it breaks.
    """

    sweep: float = SWEEP
    steady: float = 300.0
    reconnect: Schedule = RECONNECT
    turned_away: Schedule = TURNED_AWAY

    def delay(
        self, error: FetchdError | None, failures: int, now: datetime, *, at_login: bool
    ) -> timedelta:
        """After so many failures in a row; at least as long as the server wishes.

        None: neither line nor login failed, and what did (a mailbox, a destination) needs time.
        """
        turned_away = error is None or (at_login and isinstance(error, ServerUnavailable))
        schedule = self.turned_away if turned_away else self.reconnect
        wish = error.wait if isinstance(error, ServerUnavailable) else None
        later = retry_at(failures, now, random.random(), schedule) - now  # noqa: S311
        return max(later, wish or timedelta())


def passes(error: FetchdError, *, trusted: bool) -> bool:
    """Whether time alone may heal it.

    `trusted`: it was right before. A certificate is another's in a hotel, and right again later.
    """
    back_home = isinstance(error, TlsFailed) and trusted
    return error.scope <= Scope.ACCOUNT and (error.remedy is Remedy.WAIT or back_home)


class Syncer(Protocol):
    """Who syncs an account when there is reason; times are the event loop's."""

    due: float  # when it is time even without a hint
    not_before: float  # whatever hints come

    async def begin(self) -> None:
        """From here on there may be hints."""

    async def sync(self) -> None:
        """A sync, done on return."""


class Resync:
    """The syncs of one account; `due` is when the next one is, by the event loop's clock.

    Whatever hints come, none is `not_before` its time: a server that turned us away, or
    another process that is at it, is left alone.
    """

    def __init__(
        self, errand: Errand, tools: Tools, turn: Turn, hearer: Hearer, timing: Timing
    ) -> None:
        self._errand, self._tools, self._turn = errand, tools, turn
        self._hearer, self._timing = hearer, timing
        self._clock = asyncio.get_running_loop().time
        self._ledger: Ledger | None = None
        self.due = self.not_before = 0.0
        self._failures = 0  # in a row
        self._noticed: set[str] = set()
        self._trouble = ""  # told last

    async def begin(self) -> None:
        """From here on changes are told."""
        storage = self._tools.storage
        self._ledger = await storage.blocking(Ledger, storage.catalog, self._errand.account)

    async def sync(self) -> None:
        """An ordinary sync, and what it changed; what a person must put right is raised."""
        tools, ledger = self._tools, self._ledger
        assert ledger is not None
        report = await sync_account(self._errand, tools, self._turn)
        if not report.skipped:
            await self._put_overdue(report)
        news = await tools.storage.blocking(lambda: list(ledger.compare(tools.now())))
        if news:
            self._hearer.changed(news)
        await self._judge(report)

    async def _put_overdue(self, report: RunReport) -> None:
        """What a round does once for all accounts (round.py); deferred ones in their time."""
        deliveries = self._tools.deliveries
        await deliveries.put_overdue(patient=True)
        await deliveries.settle()
        report.count_deliveries(deliveries.take_tally(self._errand.account))
        deliveries.take_other_tallies()
        await self._tools.committer.flush()

    async def _judge(self, report: RunReport) -> None:
        """When to sync again."""
        broken = [failure.error for failure in report.failures if failure.scope >= Scope.ACCOUNT]
        for error in broken:
            if not passes(error, trusted=True):
                raise error
        if report.skipped:
            await self._put_off(report)
            return
        self._notice(report.notices)
        self.not_before = 0.0
        self.due = self._clock() + EVERY
        if report.paused and report.not_before is not None:
            self._again_in(report.not_before - self._tools.now(), hints=False)
            return
        if report.ok:
            self._failures, self._trouble = 0, ""
            return
        self._failures += 1
        now = self._tools.now()
        causes: list[FetchdError | None] = [*broken] or [None]
        delay = max(self._timing.delay(e, self._failures, now, at_login=True) for e in causes)
        self._again_in(delay, hints=not broken)
        self._tell_trouble(report.sentence(), report.advice(), delay)

    async def _put_off(self, report: RunReport) -> None:
        """Another process is at it, or the server wants no login yet."""
        storage, now = self._tools.storage, self._tools.now()
        pause = report.not_before or await storage.blocking(
            runs.pause, storage.catalog, self._errand.account, now, self._errand.allowance.terms
        )
        delay = pause - now if pause is not None else timedelta(seconds=BUSY)
        self._again_in(delay, hints=False)
        self._tell_trouble(" ".join(report.notices), "", delay)

    def _again_in(self, delay: timedelta, *, hints: bool) -> None:
        at = self._clock() + delay.total_seconds()
        self.due = min(at, self._clock() + EVERY) if hints else at
        self.not_before = 0.0 if hints else at

    def _tell_trouble(self, sentence: str, advice: str, delay: timedelta) -> None:
        if sentence and sentence != self._trouble:
            self._trouble = sentence
            self._hearer.told(Waiting(sentence, advice, self._tools.now() + delay))

    def _notice(self, sentences: Sequence[str]) -> None:
        for sentence in sentences:
            if sentence not in self._noticed:
                self._noticed.add(sentence)
                self._hearer.told(Noticed(sentence))
