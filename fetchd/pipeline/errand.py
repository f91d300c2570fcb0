"""An account as the pipeline needs it: where it is, how to get in, what to do.

This is where settings become work.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fetchd.clients.meter import Meter
from fetchd.contracts import Session
from fetchd.errors import AuthenticationFailed, UsageError
from fetchd.pipeline.allowance import Allowance, Allowances, unlimited
from fetchd.pipeline.halting import still_refused
from fetchd.pipeline.owing import Beginning, Origin, Owed
from fetchd.pipeline.storage import Storage
from fetchd.policy.patterns import Pattern, wanted
from fetchd.policy.retention import Leave, Window, fingerprint
from fetchd.policy.routing import Route
from fetchd.settings import Account, MaildirDestination, Settings
from fetchd.sources import enter
from fetchd.telemetry import log
from fetchd.values import Struct, field


async def _never() -> AuthenticationFailed | None:
    return None


class Errand(Struct, frozen=True):
    """One account's part of a round.

    `open(whole)` logs in; `whole` says that the listing will be wanted whole.
    `rules` changes whenever a poll must look closely.
    """

    account: str
    protocol: str
    host: str
    open: Callable[[bool], Coroutine[Any, Any, Session]]
    owed: tuple[Owed, ...]  # by the account's own deliver_to
    leave: Leave
    retire_share: float
    max_message_size: int | None
    routes: tuple[Route, ...] = ()
    others: tuple[Owed, ...] = ()  # that routes may hand to
    among: tuple[tuple[Pattern, ...], ...] = ()  # any of these chooses what is due; none: all
    asked: bool = False  # by a person, who may want to try again what was refused
    refused: Callable[[], Coroutine[Any, Any, AuthenticationFailed | None]] = _never
    allowance: Allowance = field(default_factory=unlimited)  # of the provider

    @property
    def rules(self) -> str:
        """Fingerprint of leave_on_server, recorded with each message for the brake."""
        return fingerprint(self.leave)

    @property
    def meter(self) -> Meter:
        """The octets of all its connections."""
        return self.allowance.meter

    @property
    def terms(self) -> str:
        """Under which a listing without news needs no second look."""
        return f"{self.rules};max_message_size={self.max_message_size}"

    @property
    def by_arrival(self) -> bool:
        """Whether the window counts days from arrival."""
        return isinstance(self.leave, Window) and self.leave.since == "arrival"

    @property
    def mirrors(self) -> tuple[str, ...]:
        """The names of those that follow what happens on the server."""
        return tuple(owed.destination for owed in self.owed if owed.mirror)

    @property
    def destinations(self) -> tuple[str, ...]:
        """The names of those who may get its new messages."""
        return tuple(dict.fromkeys(owed.destination for owed in (*self.owed, *self.others)))

    @property
    def spared(self) -> tuple[str, ...]:
        """The names of those who do not get what was there before the account was added."""
        both = (*self.owed, *self.others)
        return tuple(dict.fromkeys(owed.destination for owed in both if owed.spares_old))

    def is_due(self, mailbox: str, role: str | None) -> bool:
        """Whether it is that mailbox's time."""
        return not self.among or any(wanted(mailbox, role, each) for each in self.among)

    def origin(
        self,
        mailbox: str,
        recognised: frozenset[bytes] = frozenset(),
        *,
        renumbered: bool = False,
        beginning: Beginning | None = None,
    ) -> Origin:
        """What the committer must know of a batch of this mailbox.

        `beginning` None: nothing of it is old, whatever its date.
        """
        return Origin(
            self.account, mailbox, self.rules, self.owed, recognised, renumbered,
            self.protocol == "imap", self.routes, self.others, beginning or Beginning(),
        )  # fmt: skip


def errands(
    settings: Settings,
    names: Sequence[str],
    storage: Storage,
    allowances: Allowances | None = None,
) -> list[Errand]:
    """The named accounts, or all; UsageError for a name that the settings do not have.

    `allowances`: of those who make errands more than once, or count by a clock of their own.
    """
    unknown = [name for name in names if name not in settings.accounts]
    if unknown:
        known = ", ".join(sorted(settings.accounts))
        raise UsageError(
            f"no account is called {', '.join(unknown)}", advice=f"The settings have: {known}."
        )
    chosen = dict.fromkeys(names) if names else settings.accounts
    asked = bool(names)
    allowances = allowances or Allowances(settings, storage)
    return [
        _errand(settings, settings.accounts[name], storage, allowances.of(name), asked=asked)
        for name in chosen
    ]


def _errand(
    settings: Settings, account: Account, storage: Storage, allowance: Allowance, *, asked: bool
) -> Errand:
    async def open_(whole: bool) -> Session:
        transcript = _transcript(account.name) if settings.log.transcript else None
        session = await allowance.enter(
            lambda: enter(
                account, storage.spool, transcript,
                whole=whole, meter=allowance.meter, door=allowance.helper,
            )
        )  # fmt: skip
        allowance.heard(session.facts)
        return session

    own = tuple(_owed(settings, account, name) for name in dict.fromkeys(account.deliver_to))
    others = tuple(one for one in owed_to(settings, account) if one not in own)
    return Errand(
        account=account.name,
        protocol=account.protocol,
        host=account.host.lower(),
        open=open_,
        owed=own,
        leave=account.leave_on_server,
        retire_share=account.retire_share,
        max_message_size=account.max_message_size,
        routes=settings.routing,
        others=others,
        asked=asked,
        refused=lambda: still_refused(account, storage),
        allowance=allowance,
    )


def owed_to(settings: Settings, account: Account) -> tuple[Owed, ...]:
    """Every destination that may get mail of this account, by its own wish or by a route's."""
    routed = [name for table in settings.routes for name in table.deliver_to]
    names = dict.fromkeys((*account.deliver_to, *routed))
    return tuple(_owed(settings, account, name) for name in names)


def _owed(settings: Settings, account: Account, name: str) -> Owed:
    destination = settings.destinations[name]
    mirror = isinstance(destination, MaildirDestination) and destination.layout == "mirror"
    first_sync = account.first_sync or destination.first_sync
    return Owed(name, destination.duplicates == "skip", mirror, first_sync == "archive")


def _transcript(account: str) -> Callable[[str, str], None]:
    def note(direction: str, line: str) -> None:
        log().debug("protocol", account=account, direction=direction, line=line)

    return note
