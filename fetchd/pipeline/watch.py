"""Stay with an account: a connection that waits for hints, and an ordinary sync after each.

What a server says by itself is only a hint (quirk 52). The sync that follows goes its usual
way, under the account's lease and on a connection of its own, and finds out what is true;
what is then told comes from the catalog (news.py). So a watch can lose nothing that a sync
would not lose, and a hint that came too much costs one poll without news.

    connect, `begin`: from here on there are hints       -> sync, for what came before
    a hint, a failed sync that is due again, or EVERY     -> sync
    the connection breaks                                 -> wait (policy.retry), from the top

A connection that breaks again and again is taken up at ever longer intervals, whatever the
login said: its failures are forgotten only once it has stood for a while. What a person
must put right is raised, and so is what concerns the whole process.

Two connections, since hints that come during a sync must not get lost in its answers.
`watch_account` is for any process that has Tools; `watch` makes them, for one account.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, TypeVar

from fetchd.errors import FetchdError, UsageError
from fetchd.pipeline.account import Turn
from fetchd.pipeline.allowance import Allowances
from fetchd.pipeline.at_work import at_work
from fetchd.pipeline.errand import Errand, errands
from fetchd.pipeline.looking import the_mailbox
from fetchd.pipeline.resync import Hearer, Resync, Syncer, Timing, Waiting, Watching, passes
from fetchd.pipeline.round import Turns
from fetchd.pipeline.storage import Storage
from fetchd.pipeline.tools import Tools
from fetchd.settings import ImapAccount, Settings
from fetchd.sources.imap import ImapSession
from fetchd.sources.imap_watch import ImapWatch

T = TypeVar("T")

GATHER = 0.1  # seconds: a moved message shows in two mailboxes, and one sync serves both
FAREWELL = 3.0  # seconds for LOGOUT; nobody needs it


async def watch(
    settings: Settings,
    name: str,
    storage: Storage,
    hearer: Hearer,
    *,
    stop: asyncio.Event,
    mailbox: str = "",
    timing: Timing | None = None,
) -> None:
    """Watch one account until `stop`; UsageError where that cannot be done."""
    check(settings, name)
    turns = Turns(settings.limits.connections, settings.limits.connections_per_host)
    allowances = Allowances(settings, storage)
    allowances.spare = turns.spare
    (errand,) = errands(settings, [name], storage, allowances)
    if errand.allowance.most_connections == 1:
        raise UsageError(
            f"the provider of account {name} allows one connection, and watching takes two",
            advice=f"Run 'fetchd sync {name}' from a timer, or raise connections in [budgets].",
        )
    async with at_work(settings, errand.destinations, storage, stop, allowances=allowances) as (
        tools,
        committing,
    ):
        watching = asyncio.create_task(
            watch_account(
                errand, tools, lambda: _lasting(errand, turns), hearer, mailbox=mailbox,
                timing=timing, syncer=_syncer(errand, tools, turns, hearer, timing),
            )
        )  # fmt: skip
        try:
            await asyncio.wait({watching, committing}, return_when=asyncio.FIRST_COMPLETED)
            if committing.done():
                committing.result()
        finally:
            await _end(watching)
        watching.result()


@asynccontextmanager
async def _lasting(errand: Errand, turns: Turns) -> AsyncIterator[None]:
    """A place for the connection that hears of news; syncs get theirs as ever."""
    async with errand.allowance.connection(lasting=True), turns.turn(errand.host):
        yield


def _syncer(
    errand: Errand, tools: Tools, turns: Turns, hearer: Hearer, timing: Timing | None
) -> Resync:
    return Resync(errand, tools, lambda: turns.turn(errand.host), hearer, timing or Timing())


async def watch_account(
    errand: Errand,
    tools: Tools,
    turn: Turn,
    hearer: Hearer,
    *,
    mailbox: str = "",
    timing: Timing | None = None,
    syncer: Syncer | None = None,
) -> None:
    """Watch until `tools.stop`; what a person must put right is raised.

    `turn` is held as long as there is a connection that watches, and once more for each
    sync: where it can be had only once, nothing is ever synced. `mailbox` is the one to
    hear of at once where the server tells of one only. `syncer` None: syncs are made here.
    """
    timing = timing or Timing()
    syncer = syncer or Resync(errand, tools, turn, hearer, timing)
    await _Watch(errand, tools, turn, hearer, mailbox, timing, syncer).run()


def check(settings: Settings, name: str) -> None:
    """UsageError where the settings do not allow it."""
    account, limits = settings.accounts[name], settings.limits
    if not isinstance(account, ImapAccount):
        raise UsageError(
            f"account {name} is a POP3 account, and a POP3 server tells nothing by itself",
            advice=f"Run 'fetchd sync {name}' from a timer; the README has one.",
        )
    allowed = {
        f"accounts.{name}.connections": account.connections,
        "limits.connections": limits.connections,
        "limits.connections_per_host": limits.connections_per_host,
    }
    if scarce := [key for key, count in allowed.items() if count < 2]:
        raise UsageError(
            "watching takes two connections: one hears of news, the other brings it home",
            advice=f"Set {' and '.join(scarce)} to 2, or run 'fetchd sync {name}' from a timer.",
        )


class _Watch:
    """One account being watched."""

    def __init__(
        self,
        errand: Errand,
        tools: Tools,
        turn: Turn,
        hearer: Hearer,
        mailbox: str,
        timing: Timing,
        syncer: Syncer,
    ) -> None:
        self._errand, self._tools, self._turn = errand, tools, turn
        self._hearer, self._mailbox, self._timing = hearer, mailbox, timing
        self._resync = syncer
        self._clock = asyncio.get_running_loop().time
        self._stirred = asyncio.Event()
        self._connected_at: float | None = None  # None: not since the last break
        self._trusted = False  # there was a connection once

    async def run(self) -> None:
        """Connect and stay, again and again."""
        await self._resync.begin()
        breaks = 0
        while not self._tools.stop.is_set():
            self._connected_at = None
            try:
                await self._stay()
            except FetchdError as error:
                if not passes(error, trusted=self._trusted):
                    raise
                breaks = 1 if self._was_steady() else breaks + 1
                await self._wait_after(error, breaks)

    def _was_steady(self) -> bool:
        since = self._connected_at
        return since is not None and self._clock() - since >= self._timing.steady

    async def _wait_after(self, error: FetchdError, breaks: int) -> None:
        now = self._tools.now()
        delay = self._timing.delay(error, breaks, now, at_login=self._connected_at is None)
        self._hearer.told(Waiting(str(error), error.advice, now + delay))
        await self._unless_stopped(asyncio.sleep(delay.total_seconds()))

    async def _stay(self) -> None:
        """One connection, from login to stop or break."""
        async with self._turn():
            session = await self._unless_stopped(self._errand.open(False))
            if session is None:
                return
            assert isinstance(session, ImapSession)
            try:
                watch = await self._unless_stopped(self._begin(session))
                if watch is not None:
                    await self._follow(watch)
                async with asyncio.timeout(FAREWELL):
                    await session.close()
            except TimeoutError:
                await session.abort()
            except BaseException:
                await session.abort()
                raise

    async def _begin(self, session: ImapSession) -> ImapWatch:
        first, names = await self._mailboxes(session)
        there = {mailbox.name: mailbox for mailbox in session.overview.mailboxes}
        chosen = [there[name] for name in names]
        watch = ImapWatch(session, chosen, there[first], self._timing.sweep)
        await watch.begin()
        self._connected_at, self._trusted = self._clock(), True
        self._hearer.told(Watching(watch.how, first))
        return watch

    async def _mailboxes(self, session: ImapSession) -> tuple[str, list[str]]:
        """The one to listen to, and all that the settings choose."""
        account = self._errand.account
        names = list(await session.mailboxes())
        if not names:
            raise UsageError(
                f"the settings choose none of the mailboxes that account {account} has",
                advice=f"Check accounts.{account}.mailboxes.",
            )
        first = await the_mailbox(session, account, self._mailbox) if self._mailbox else names[0]
        if first not in names:
            raise UsageError(
                f"the settings do not choose the mailbox '{first}' of account {account}",
                advice=f"Add it to accounts.{account}.mailboxes.",
            )
        return first, names

    async def _follow(self, watch: ImapWatch) -> None:
        """Sync for what came while nobody watched, and whenever there is reason."""
        hints = asyncio.create_task(self._collect(watch))
        self._stirred.set()
        try:
            while await self._until_due(hints):
                self._stirred.clear()
                await self._resync.sync()
        finally:
            await _end(hints)

    async def _collect(self, watch: ImapWatch) -> None:
        async with aclosing(watch.hints()) as hints:
            async for _ in hints:
                self._stirred.set()

    async def _until_due(self, hints: "asyncio.Task[None]") -> bool:
        """Wait until a sync is due; False when all is to end. A broken line is raised."""
        while not self._tools.stop.is_set():
            if hints.done():
                hints.result()
            now, stirred = self._clock(), self._stirred.is_set()
            at = max(self._resync.not_before, now if stirred else self._resync.due)
            if at <= now:
                return True
            await self._until_stirred(hints, at - now)
            if self._stirred.is_set() and not stirred:
                await self._unless_stopped(asyncio.sleep(GATHER))
        return False

    async def _until_stirred(self, hints: "asyncio.Task[None]", patience: float) -> None:
        """Or stopped, or the line is broken."""
        stopped = asyncio.create_task(self._tools.stop.wait())
        waited: set[asyncio.Task[Any]] = {hints, stopped}
        if not self._stirred.is_set():
            waited.add(asyncio.create_task(self._stirred.wait()))
        try:
            await asyncio.wait(waited, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waited - {hints}:
                await _end(task)

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the work gives; None, and the work is ended, when all is to end."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._tools.stop.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            await _end(stopped)
            await _end(task)


async def _end(task: "asyncio.Task[Any]") -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
