"""Accounts whose servers tell by themselves: a connection each that waits for hints.

The watch itself is pipeline/watch.py; here it is kept up for as long as the account is well,
and each hint becomes a request to the supervisor, as a schedule's would. The safety poll
comes from the schedule, so that a server which has fallen silent is noticed. A watch begins
only after a sync that went well: so logins are spread as syncs are, and a password that is
refused is refused once.
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from fetchd.daemon.line import Line, Why
from fetchd.daemon.supervisor import Supervisor
from fetchd.daemon.turns import Place
from fetchd.errors import FetchdError, Scope, UsageError
from fetchd.pipeline.resync import Condition, Hearer, Timing, Waiting, Watching
from fetchd.pipeline.tools import Tools
from fetchd.pipeline.watch import watch_account
from fetchd.policy.retry import Schedule, retry_at
from fetchd.telemetry import log

# A watch that was refused for a reason that time does not mend.
AGAIN = Schedule(timedelta(seconds=10), timedelta(hours=1))
STEADY = 3600.0  # seconds; one that stood for so long is as good as new when it ends
# A line that breaks again and again is taken up each minute at the least: that costs no more than
# a poll a minute, and while nobody watches nothing is heard until the safety poll.
TIMING = Timing(steady=60.0, reconnect=Schedule(timedelta(seconds=2), timedelta(minutes=1)))


class Pushing:
    """The watches of one service."""

    def __init__(self, supervisor: Supervisor, tools: Tools) -> None:
        self._supervisor, self._tools = supervisor, tools
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._places: dict[str, Place] = {}  # of those that are connecting
        self._closed = False

    def apply(self) -> None:
        """Watch what is pushed by now, and nothing else; a changed account is watched anew."""
        wanted = {
            name: line
            for name, line in self._supervisor.lines.items()
            if line.pushed and not line.leaving
        }
        for name, watch in self._watches.items():
            if name not in wanted:
                _hang_up(watch)
        for name, line in wanted.items():
            if name not in self._watches and not self._closed:
                watch = asyncio.create_task(self._keep(line), name=name)
                watch.add_done_callback(self._over)
                self._watches[name] = watch

    def renew(self, name: str) -> None:
        """Its settings have changed; the next watch begins when this one has hung up."""
        if watch := self._watches.get(name):
            _hang_up(watch)

    def _over(self, watch: "asyncio.Task[None]") -> None:
        del self._watches[watch.get_name()]
        self._supervisor.blame(watch)
        if watch.cancelled():
            self.apply()

    async def close(self) -> None:
        """Hang up everywhere."""
        self._closed = True
        watches = [*self._watches.values()]
        for watch in watches:
            _hang_up(watch)
        if watches:
            await asyncio.wait(watches)

    async def _keep(self, line: Line) -> None:
        """Watch whenever the account is well.

        Where a sync succeeds and a watch does not, each attempt comes later than the one before.
        """
        hearer = Hearer(_nothing, lambda condition: self._told(line, condition))
        syncer, clock = _Asking(self._supervisor, line), asyncio.get_running_loop().time
        failures = 0
        while True:
            await line.well.wait()
            began = clock()
            try:
                await watch_account(
                    line.errand, self._tools, lambda: self._turn(line), hearer, syncer=syncer,
                    timing=TIMING,
                )  # fmt: skip
                return  # the service stops
            except FetchdError as error:
                if error.scope > Scope.ACCOUNT and not isinstance(error, UsageError):
                    raise
                log().warning(
                    "watch.ended", account=line.name, error=str(error), advice=error.advice
                )
            finally:
                line.watching = False
            # An ordinary sync finds out what is wrong, and records it.
            line.well.clear()
            await self._supervisor.request(line.name, Why.RETRY)
            failures = failures + 1 if clock() - began < STEADY else 1
            now = self._tools.now()
            pause = retry_at(failures, now, random.random(), AGAIN) - now  # noqa: S311
            await asyncio.sleep(pause.total_seconds())

    @asynccontextmanager
    async def _turn(self, line: Line) -> AsyncIterator[None]:
        """Connecting takes a place among all that connect; waiting for hints takes none.

        Nobody connects while this machine has no network.
        """
        await self._supervisor.network.until_up()
        async with line.errand.allowance.connection(lasting=True):
            turns = self._supervisor.turns
            self._places[line.name] = await turns.take(line.errand.host, Why.RETRY, _nothing)
            try:
                yield
            finally:
                line.watching = False
                self._let_go(line)

    def _let_go(self, line: Line) -> None:
        if place := self._places.pop(line.name, None):
            self._supervisor.turns.give_back(place)

    def _told(self, line: Line, condition: Condition) -> None:
        match condition:
            case Watching(how, first):
                line.watching = True
                self._let_go(line)
                self._supervisor.reached(line)
                log().debug("watch.begun", account=line.name, how=str(how), mailbox=first)
            case Waiting(sentence, advice, until):
                line.watching = False
                log().info(
                    "watch.broken", account=line.name, error=sentence, advice=advice,
                    again=until.isoformat(timespec="seconds"),
                )  # fmt: skip


class _Asking:
    """Asks the supervisor for each sync (resync.Syncer)."""

    due = math.inf  # the schedule has the safety poll
    not_before = 0.0

    def __init__(self, supervisor: Supervisor, line: Line) -> None:
        self._supervisor, self._line = supervisor, line

    async def begin(self) -> None:
        """Nothing to prepare."""

    async def sync(self) -> None:
        """Wait for it, so that the hints of meanwhile are one."""
        with suppress(KeyError):  # the settings have lost the account
            await self._supervisor.request(self._line.name, Why.PUSH)


def _hang_up(watch: "asyncio.Task[None]") -> None:
    if not watch.cancelling():  # once: a second time would break off the parting
        watch.cancel()


def _nothing(*_news: object) -> None:
    """What is new is in the catalog."""
