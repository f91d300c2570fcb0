"""What an account may still take from its provider: the budgets of settings and presets at work.

    [budgets.NAME] by the account's host  >  by its provider's name  >  the provider's preset

A spent budget is no failure. What has come is committed and delivered, the run ends, and
the next one begins when there is room again (errors.BudgetSpent says when). It is looked
at where a pause costs nothing: before a login, before a message is asked for or sent.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from fetchd.auth.preset import UNLIMITED, Caps
from fetchd.auth.presets import preset_named, preset_of
from fetchd.catalog import spending
from fetchd.clients.meter import Meter
from fetchd.contracts import ServerFacts
from fetchd.errors import BudgetSpent, ServerUnavailable
from fetchd.pipeline.purse import Purse
from fetchd.pipeline.storage import Storage
from fetchd.policy.budget import What
from fetchd.settings import Account, ImapDestination, Settings
from fetchd.settings.budgets import Budget
from fetchd.values import replace

T = TypeVar("T")

SETTLE = 8 << 20  # octets that may be lost from the record when a process is killed

_DESTINATION = "\0"  # before its name, where an account of that name may be

Spare = Callable[[str], AbstractAsyncContextManager[None]]


class Allowance:
    """One account's; all its connections count into `meter`."""

    def __init__(
        self,
        purse: Purse,
        host: str,
        storage: Storage | None = None,
        now: Callable[[], datetime] | None = None,
        spare: Callable[[], Spare] = lambda: lambda _: nullcontext(),
    ) -> None:
        self.meter = Meter()
        self._purse, self._host, self._spare = purse, host, spare
        self._storage, self._now = storage, now
        self._settled = Meter()
        self._promised = self._mark = 0  # octets asked for, and what had come before
        self._known = False  # what the catalog remembers
        self._delay: timedelta | None = None  # between logins, as the server said
        self._settling = asyncio.Lock()
        purse.members.append(self)

    @property
    def floor(self) -> timedelta | None:
        """No polls closer than this: the provider's wish, or the server's LOGIN-DELAY."""
        known = [one for one in (self._purse.caps.poll_floor, self._delay) if one is not None]
        return max(known, default=None)

    @property
    def terms(self) -> str:
        """What is allowed, and whose it is: where that is another one, an old pause is over."""
        limits = ",".join(str(self._purse.limit(what)) for what in What)
        return f"{self._purse.name} {limits}"

    def heard(self, facts: ServerFacts) -> None:
        """What the server said of itself at the last login."""
        self._delay = timedelta(seconds=facts.login_delay) if facts.login_delay else None

    @property
    def most_connections(self) -> int | None:
        """That may be open at once; None: as many as the settings allow."""
        return self._purse.most

    def leave(self) -> None:
        """The account is gone, or spends from another purse."""
        self._purse.members.remove(self)

    def unsettled(self, what: What) -> int:
        """What is spent or asked for, and not in the catalog yet."""
        match what:
            case What.DOWNLOAD:
                return self.meter.received - self._settled.received + self._outstanding()
            case What.UPLOAD:
                return self.meter.sent - self._settled.sent
            case What.LOGINS:
                return 0

    # -- Before something is spent ---------------------------------------------------

    async def enter(self, opening: Callable[[], Coroutine[Any, Any, T]], *needed: What) -> T:
        """Log in by `opening`, if there is a login left; learn from how the server takes it."""
        await self.login(*needed)
        try:
            session = await opening()
        except ServerUnavailable as error:
            self.refused(error)
            raise
        self.welcome()
        return session

    async def login(self, *needed: What) -> None:
        """Spend one login; BudgetSpent where none, or nothing to download by it, is left.

        `needed`: what has to be left, where it is not that.
        """
        self._promised = 0  # of a line that broke
        if not self._counts:
            return
        await self.check(*(needed or (What.LOGINS, What.DOWNLOAD)))
        await self._spend((What.LOGINS, 1))

    async def check(self, *whats: What) -> None:
        """BudgetSpent where nothing is left; of downloads, if nothing is named."""
        if self._counts and (not self._known or self._unsettled_octets() >= SETTLE):
            await self.settle()
        for what in whats or (What.DOWNLOAD,):
            if self._now is not None:
                self._purse.expect_left(what, self._now())

    def admits(self, size: int) -> bool:
        """Whether a message of this size may be asked for; it counts from then on."""
        if self._now is None or not self._purse.admits(What.DOWNLOAD, self._now(), size):
            return self._now is None
        if not self._outstanding():
            self._promised, self._mark = 0, self.meter.received
        self._promised += size
        return True

    def takes_all(self, octets: int, messages: int) -> bool:
        """Whether so many may be sent at once; BudgetSpent where it is one, and one too many."""
        alone = messages == 1
        if self._now is None or self._purse.admits(What.UPLOAD, self._now(), octets, alone=alone):
            return True
        if alone:
            raise self.is_spent(What.UPLOAD, octets)
        return False

    def fitting(self, sizes: Sequence[int]) -> int:
        """How many of these, in order, may be sent at once; BudgetSpent where it is none."""
        octets = 0
        for count, size in enumerate(sizes, 1):
            octets += size
            if not self.takes_all(octets, count):
                return count - 1
        return len(sizes)

    def is_spent(self, what: What, size: int = 0) -> BudgetSpent:
        """Why it did not, and when it will."""
        assert self._now is not None
        return self._purse.is_spent(what, self._now(), size)

    # -- Afterwards --------------------------------------------------------------------

    async def checkpoint(self) -> None:
        """At a batch boundary: remember what was spent, if it is much."""
        if self._counts and self._unsettled_octets() >= SETTLE:
            await self.settle()

    async def settle(self) -> None:
        """Remember all that was spent; and what other processes did."""
        if self._counts:
            await self._spend()

    async def _spend(self, *more: tuple[What, int]) -> None:
        storage, now = self._storage, self._now
        if storage is None or now is None:
            return
        async with self._settling:
            received, sent = self.meter.received, self.meter.sent
            amounts = [
                (What.DOWNLOAD, received - self._settled.received),
                (What.UPLOAD, sent - self._settled.sent),
                *more,
            ]
            amounts = [(w, n) for w, n in amounts if n and self._purse.limit(w) is not None]
            catalog, name = storage.catalog, self._purse.name
            if catalog.read_only:
                self._purse.spans = await storage.blocking(spending.of, catalog, name)
            else:
                self._purse.spans = await storage.blocking(
                    spending.spend, catalog, name, amounts, now()
                )
                self._settled = Meter(received, sent)
            self._known = True

    @property
    def _counts(self) -> bool:
        return self._storage is not None and self._purse.counts

    def _unsettled_octets(self) -> int:
        return (self.meter.received - self._settled.received) + (
            self.meter.sent - self._settled.sent
        )

    def _outstanding(self) -> int:
        return max(self._promised - (self.meter.received - self._mark), 0)

    # -- Connections -----------------------------------------------------------------------

    @asynccontextmanager
    async def connection(self, *, lasting: bool = False) -> AsyncIterator[None]:
        """Wait for a place, and hold it; `lasting`: for as long as it stands, to hear of news."""
        async with self._purse.connection(lasting=lasting):
            yield

    @asynccontextmanager
    async def helper(self) -> AsyncIterator[None]:
        """One more connection of a sync; ServerUnavailable where it would be one too many."""
        async with self._spare()(self._host):
            with self._purse.spare():
                await self.login()
                try:
                    yield
                except ServerUnavailable as error:
                    self.refused(error)
                    raise

    def refused(self, error: ServerUnavailable) -> None:
        """A login was; where we are too many, we become fewer."""
        if error.crowded:
            self._purse.shrink(asyncio.get_running_loop().time())

    def welcome(self) -> None:
        """A login was not."""
        self._purse.grow(asyncio.get_running_loop().time())


def unlimited() -> Allowance:
    """Where nobody counts."""
    return Allowance(Purse("", "", UNLIMITED), "")


class Allowances:
    """Those of all accounts; `spare` gives places among all connections of this process."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.spare: Spare = lambda _: nullcontext()
        self._settings, self._storage, self._now = settings, storage, now
        self._purses: dict[str, Purse] = {}
        self._given: dict[str, tuple[str, Allowance]] = {}

    def of(self, account: str) -> Allowance:
        """The account's; the same one each time."""
        return self._allow(account, self._settings.accounts[account])

    def at(self, destination: ImapDestination) -> Allowance:
        """That of a user whom mail is put back to, or delivered."""
        return self._allow(f"{_DESTINATION}{destination.name}", destination)

    def apply(self, settings: Settings) -> None:
        """Other settings hold from now on; what was spent is spent."""
        self._settings = settings
        for purse in self._purses.values():
            purse.allow(UNLIMITED)  # until an account says otherwise
        for key in [*self._given]:
            if key in settings.accounts:
                self.of(key)
            elif (name := key.removeprefix(_DESTINATION)) in settings.destinations:
                destination = settings.destinations[name]
                if isinstance(destination, ImapDestination):
                    self.at(destination)
            else:
                self._given.pop(key)[1].leave()

    def _allow(self, key: str, server: Account | ImapDestination) -> Allowance:
        name, title, caps = terms_of(self._settings, server)
        purse = self._purses.setdefault(name, Purse(name, title, caps))
        purse.allow(caps)
        known = self._given.get(key)
        if known is not None and known[0] == name:
            return known[1]
        if known is not None:
            known[1].leave()
        made = Allowance(purse, server.host.lower(), self._storage, self._now, lambda: self.spare)
        self._given[key] = name, made
        return made


def terms_of(settings: Settings, server: Account | ImapDestination) -> tuple[str, str, Caps]:
    """The name of its purse, what sentences call that, and what is in it."""
    host, protocol = server.host.lower(), getattr(server, "protocol", "imap")
    provider = getattr(server, "provider", None)
    preset = preset_named(provider) if provider else preset_of(host, server.username or "")
    caps = preset.caps(protocol) if preset is not None else UNLIMITED
    group = preset.name if preset is not None else host
    budgets = {name.lower(): budget for name, budget in settings.budgets.items()}
    for name in dict.fromkeys((group, host)):
        if name in budgets:
            caps = _overridden(caps, budgets[name])
    title = preset.title if preset is not None else host
    user = "" if caps.shared == "host" else f"{server.username}@"
    return f"{protocol}://{user}{group}", title, caps


def _overridden(caps: Caps, budget: Budget) -> Caps:
    own = {name: getattr(budget, name) for name in Caps.__struct_fields__}
    return replace(caps, **{name: value for name, value in own.items() if value is not None})
