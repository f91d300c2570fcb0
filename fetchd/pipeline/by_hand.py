"""Bring home single messages that a person chose: `fetchd browse --fetch`.

They come the way of a sync: under the account's lease, committed in one step with their
deliveries, which are then made. What is asked for by hand is asked for whatever
max_message_size says and however often it was refused before. Nothing else is done:
no other message is fetched, adopted or retired, no run is recorded, no overdue delivery
is tried, and the next sync looks at the mailbox as if nobody had been here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from fetchd.catalog import inventory as inventories
from fetchd.catalog import leases, runs
from fetchd.catalog.inventory import MailboxState
from fetchd.contracts import Session
from fetchd.errors import MailboxUnavailable, ServerUnavailable
from fetchd.pipeline.at_work import at_work, utc_now
from fetchd.pipeline.errand import Errand, errands
from fetchd.pipeline.fetch import Fetcher
from fetchd.pipeline.lease import LEASE, under_lease
from fetchd.pipeline.looking import looked_at, shown, the_mailbox
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.storage import Storage
from fetchd.pipeline.survey import Survey, survey_mailbox
from fetchd.pipeline.tools import Tools
from fetchd.policy.plan import Known, Listing, RemoteMessage, RemoteState
from fetchd.settings import Settings
from fetchd.values import Struct


class Became(StrEnum):
    """What became of one message that was asked for."""

    FETCHED = "fetched"
    STORED = "stored"  # it was here already
    REFUSED = "refused"  # the server would not hand it over
    ABSENT = "absent"  # the server has no such uid
    FAILED = "failed"  # the session broke, or was stopped, before it came


class Outcome(Struct, frozen=True):
    """One message, by its uid as it was asked for."""

    uid: str
    became: Became
    size: int = 0
    digest: bytes | None = None
    reason: str = ""


@dataclass(slots=True)
class ByHand:
    """All that was asked for, in that order, and the run's own report."""

    report: RunReport
    mailbox: str = ""
    outcomes: tuple[Outcome, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all of it is here now, and delivered."""
        here = all(o.became in (Became.FETCHED, Became.STORED) for o in self.outcomes)
        return here and self.report.ok


async def fetch_by_hand(
    settings: Settings,
    account: str,
    mailbox: str,
    uids: Sequence[str],
    storage: Storage,
    *,
    stop: asyncio.Event,
    now: Callable[[], datetime] = utc_now,
) -> ByHand:
    """Fetch these messages of one mailbox now.

    AccountBusy while another process syncs the account; what stops all of it is raised.
    """
    errand = _without_limit(settings, account, storage)
    work = at_work(settings, errand.destinations, storage, stop, now=now)
    async with work as (tools, _), _leased(errand, tools):
        hand = _Hand(errand, mailbox, tuple(dict.fromkeys(uids)), tools)
        await under_lease(account, storage, now, hand.fetch(), hand.report)
        if not hand.chosen and hand.report.failures:
            raise hand.report.failures[0].error
        await tools.deliveries.settle(errand.destinations)
        await tools.committer.flush()
        hand.report.count_deliveries(tools.deliveries.take_tally(account))
        outcomes = await storage.blocking(lambda: tuple(hand.outcomes()))
        return ByHand(hand.report, hand.name, outcomes)


def _without_limit(settings: Settings, name: str, storage: Storage) -> Errand:
    """The account, but for max_message_size."""
    account = settings.accounts[name].model_copy(update={"max_message_size": None})
    accounts = {**settings.accounts, name: account}
    (errand,) = errands(settings.model_copy(update={"accounts": accounts}), [name], storage)
    return errand


@asynccontextmanager
async def _leased(errand: Errand, tools: Tools) -> AsyncIterator[None]:
    """Hold the account's lease; AccountBusy says who holds it otherwise."""
    storage, now = tools.storage, tools.now()
    terms = errand.allowance.terms
    if pause := await storage.blocking(runs.pause, storage.catalog, errand.account, now, terms):
        raise ServerUnavailable(
            f"The server wants a pause between logins: not before {pause:%Y-%m-%d %H:%M:%S} UTC.",
            advice="Ask again then.",
        )
    await storage.blocking(leases.acquire, storage.catalog, errand.account, now + LEASE, now)
    try:
        yield
    finally:
        await storage.blocking(leases.release, storage.catalog, errand.account)


@dataclass(slots=True)
class _Hand:
    """What was asked for, and how far it got."""

    errand: Errand
    wanted: str  # the mailbox, as the person calls it
    uids: tuple[str, ...]
    tools: Tools
    report: RunReport = field(init=False)
    name: str = ""
    chosen: dict[str, RemoteMessage] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.report = RunReport(self.errand.account)

    async def fetch(self) -> None:
        """One session: look, and bring what is wanted and not here."""
        errand, tools = self.errand, self.tools
        async with looked_at(errand) as session:
            self.name = await the_mailbox(session, errand.account, self.wanted)
            survey = await survey_mailbox(
                session, self.name, MailboxState(), errand, tools.storage, tools.now()
            )
            assert isinstance(survey, Survey)  # without a mark nothing is unchanged
            if survey.plan.restarted:
                # Bringing one of many strangers would make the rest look less renumbered.
                raise MailboxUnavailable(
                    f"The mailbox '{self.name}' was renumbered since the last sync.",
                    advice=f"Run 'fetchd sync {errand.account}' first: it recognises what is here.",
                )
            self.chosen = _chosen(survey.listing, self.uids)
            await self._bring(session, survey)

    async def _bring(self, session: Session, survey: Survey) -> None:
        tools, report = self.tools, self.report
        chosen = set(self.chosen.values())
        origin = self.errand.origin(self.name, survey.missing)
        adoptions = survey.adoptions(self.errand, tools.now())
        await tools.committer.adopt([r for r in adoptions if r.uid in {m.uid for m in chosen}])
        linked = {m: digest for m, digest in survey.linked.items() if m in chosen}
        if linked:
            await tools.deliveries.put_held(await tools.committer.link(origin, linked))
        known = survey.inventory.messages
        attempts = {m.uid: known[m.uid].attempts for m in chosen if m.uid in known}
        fetcher = Fetcher(origin, attempts, tools, report)
        lacking = await tools.storage.blocking(_lacking, tools.storage, survey)
        await fetcher.fetch(session, [m for m in lacking if m in chosen])
        await fetcher.finish()
        report.stopped |= fetcher.stopped

    def outcomes(self) -> Iterator[Outcome]:
        """What the catalog says now."""
        storage, account = self.tools.storage, self.errand.account
        uids = [message.uid for message in self.chosen.values()]
        known = inventories.inventory(
            storage.catalog, account, self.name, uids, only_listed=True
        ).messages
        for asked in self.uids:
            message = self.chosen.get(asked)
            if message is None:
                yield Outcome(asked, Became.ABSENT, reason="the server has no such uid")
            else:
                yield self._outcome(asked, message, known.get(message.uid))

    def _outcome(self, asked: str, message: RemoteMessage, known: Known | None) -> Outcome:
        place = (self.name, message.uid)
        match known:
            case Known(digest=bytes(digest)) if message.uid in self.report.home.get(self.name, ()):
                return Outcome(asked, Became.FETCHED, message.size, digest)
            case Known(state=RemoteState.QUARANTINED, reason=reason) if place in self.report.aside:
                return Outcome(asked, Became.REFUSED, message.size, reason=reason)
            case Known(
                digest=bytes(digest), damaged=False, state=RemoteState.STORED | RemoteState.RETIRING
            ):
                return Outcome(asked, Became.STORED, message.size, digest)
        reasons = [str(failure.error) for failure in self.report.failures]
        return Outcome(asked, Became.FAILED, message.size, reason=" ".join(reasons) or "stopped")


def _lacking(storage: Storage, survey: Survey) -> list[RemoteMessage]:
    """What is not here: wanted, waiting for another try, or let go by `archive.keep`."""
    known = survey.inventory.messages
    digests = {
        digest
        for message in survey.listing.messages
        if message.uid in known and (digest := known[message.uid].digest) is not None
    }
    expired = inventories.let_go(storage.catalog, digests)
    let_go = [
        message
        for message in survey.listing.messages
        if message.uid in known and known[message.uid].digest in expired
    ]
    return list(dict.fromkeys((*survey.wanted, *survey.plan.quarantined, *let_go)))


def _chosen(listing: Listing, uids: Iterable[str]) -> dict[str, RemoteMessage]:
    """The listed messages that these uids mean, as `browse` or as `plan` shows them."""
    meant: Mapping[str, RemoteMessage] = {
        name: message
        for message in listing.messages
        for name in (shown(message.uid, b""), shown(message.uid, listing.epoch))
    }
    return {uid: meant[uid] for uid in uids if uid in meant}
