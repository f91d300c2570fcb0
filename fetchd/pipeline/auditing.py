"""Server against archive, mailbox by mailbox: is all that should be here, here?

The listing is always a whole one: no mark, and nothing that a poll remembers, stands in
for what the server says now. What follows from it is decided as in a sync (survey.py),
so a renumbered message counts as here if the next sync would recognise it. `deep` also
has the server's headers compared with what is stored under each uid.

Nothing is changed, neither there nor here.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum, auto

from fetchd.catalog import inventory as inventories
from fetchd.catalog.holdings import Holding, holdings
from fetchd.catalog.inventory import MailboxState
from fetchd.contracts import Session
from fetchd.errors import FetchdError, Scope
from fetchd.pipeline.errand import Errand, errands
from fetchd.pipeline.looking import existing_mailboxes, looked_at, shown
from fetchd.pipeline.round import Turns
from fetchd.pipeline.storage import Storage
from fetchd.pipeline.survey import Survey, survey_mailbox
from fetchd.policy.plan import Known, RemoteMessage, RemoteState
from fetchd.settings import Settings
from fetchd.values import Struct, replace

_EXPECTED = (RemoteState.STORED, RemoteState.QUARANTINED, RemoteState.RETIRING)


class Category(Enum):
    """What a message on the server is to us."""

    STORED = auto()
    RECOGNISED = auto()
    MISSING = auto()
    QUARANTINED = auto()
    TOO_LARGE = auto()
    NOT_WANTED = auto()


Placed = tuple[RemoteMessage, Category, str]  # with why, in words


class Noted(Struct, frozen=True):
    """One message and why it is named; `uid` as people see it."""

    uid: str
    size: int
    reason: str


class Reflagged(Struct, frozen=True):
    """One message whose flags (or labels) differ."""

    uid: str
    here: str
    server: str


class MailboxAudit(Struct, frozen=True):
    """One mailbox. `on_server` is the sum of stored, recognised and the four behind them.

    `recognised`: stored, and known under another uid or in another mailbox so far.
    """

    mailbox: str
    on_server: int = 0
    stored: int = 0
    recognised: int = 0
    missing: tuple[Noted, ...] = ()
    quarantined: tuple[Noted, ...] = ()
    too_large: tuple[Noted, ...] = ()
    not_wanted: tuple[Noted, ...] = ()  # `archive.keep` let the octets go
    extra: tuple[Noted, ...] = ()  # should be on the server, as far as we know, and is not
    flags: tuple[Reflagged, ...] = ()
    different: tuple[Noted, ...] = ()  # deep: another message than is stored under this uid
    unread: int = 0  # deep: headers that the server did not give
    notices: tuple[str, ...] = ()
    error: FetchdError | None = None

    @property
    def ok(self) -> bool:
        """Whether all is here that should be."""
        return not (self.missing or self.quarantined or self.different or self.error)


class AccountAudit(Struct, frozen=True):
    """One account, or why it could not be looked at; `unchosen` are mailboxes left out."""

    account: str
    mailboxes: tuple[MailboxAudit, ...] = ()
    unchosen: tuple[str, ...] = ()
    error: FetchdError | None = None

    @property
    def ok(self) -> bool:
        """Whether all is here that should be."""
        return self.error is None and all(mailbox.ok for mailbox in self.mailboxes)


async def audit_accounts(
    settings: Settings, names: Sequence[str], storage: Storage, *, deep: bool = False
) -> list[AccountAudit]:
    """These accounts, or all, in the order of the settings."""
    turns = Turns(settings.limits.connections, settings.limits.connections_per_host)

    async def in_turn(errand: Errand) -> AccountAudit:
        async with turns.turn(errand.host):
            return await _audit_account(errand, storage, deep)

    return list(await asyncio.gather(*(in_turn(e) for e in errands(settings, names, storage))))


async def _audit_account(errand: Errand, storage: Storage, deep: bool) -> AccountAudit:
    try:
        async with looked_at(errand) as session:
            chosen = await session.mailboxes()
            there = await existing_mailboxes(session)
            unchosen = tuple(m.name for m in there if m.name not in chosen)
            audits = [await _audit(session, name, errand, storage, deep) for name in chosen]
            states = await storage.blocking(
                inventories.mailbox_states, storage.catalog, errand.account
            )
            for name in sorted(await session.absent(states)):
                audits += await storage.blocking(_audit_absent, storage, errand.account, name)
    except FetchdError as error:
        if error.scope > Scope.ACCOUNT:
            raise
        return AccountAudit(errand.account, error=error)
    return AccountAudit(errand.account, tuple(audits), unchosen)


async def _audit(
    session: Session, mailbox: str, errand: Errand, storage: Storage, deep: bool
) -> MailboxAudit:
    """One mailbox; trouble with it alone does not stop the others."""
    try:
        survey = await survey_mailbox(
            session, mailbox, MailboxState(), errand, storage, datetime.now(UTC)
        )
        assert isinstance(survey, Survey)  # without a mark nothing is unchanged
        digests = {k.digest for k in survey.inventory.messages.values() if k.digest is not None}
        held = await storage.blocking(holdings, storage.catalog, digests)
        placed = list(_placed(survey, held))
        audit = _told_of(survey, placed, errand)
        return await _look_deep(session, survey, placed, held, audit) if deep else audit
    except FetchdError as error:
        if error.scope > Scope.MAILBOX:
            raise
        return MailboxAudit(mailbox, error=error)


def _audit_absent(storage: Storage, account: str, mailbox: str) -> list[MailboxAudit]:
    """A mailbox that the server has no more; none where nothing of it was left."""
    present = inventories.holders(storage.catalog, account, mailbox)
    extra = tuple(Noted(shown(uid, b""), 0, "the mailbox is gone") for uid in sorted(present))
    return [MailboxAudit(mailbox, extra=extra)] if extra else []


def _placed(survey: Survey, held: Mapping[bytes, Holding]) -> Iterator[Placed]:
    """Each listed message in its category."""
    known = survey.inventory.messages
    recognised = {m.uid for m in (*survey.adopted, *survey.linked)}
    too_large = {m.uid for m in survey.too_large}
    wanted = {m.uid for m in survey.wanted}
    for message in survey.listing.messages:
        uid = message.uid
        here = known.get(uid)
        holding = held.get(here.digest) if here is not None and here.digest is not None else None
        if uid in too_large:
            yield message, Category.TOO_LARGE, "larger than max_message_size"
        elif uid in recognised:
            yield message, Category.RECOGNISED, ""
        elif here is not None and here.state is RemoteState.QUARANTINED:
            yield message, Category.QUARANTINED, here.reason
        elif holding is not None and holding.expired and uid not in wanted:
            yield message, Category.NOT_WANTED, "archive.keep let it go"
        elif holding is not None and holding.readable and uid not in wanted:
            yield message, Category.STORED, ""
        else:
            yield message, Category.MISSING, _why_missing(here)


def _why_missing(known: Known | None) -> str:
    if known is None:
        return "not fetched yet"
    if known.damaged:
        return "the stored copy is damaged"
    return "its uid was given out again"


def _told_of(survey: Survey, placed: Sequence[Placed], errand: Errand) -> MailboxAudit:
    epoch, known = survey.listing.epoch, survey.inventory.messages
    counts = Counter(category for _, category, _ in placed)

    def noted(wanted: Category) -> tuple[Noted, ...]:
        return tuple(
            Noted(shown(message.uid, epoch), message.size, reason)
            for message, category, reason in placed
            if category is wanted
        )

    return MailboxAudit(
        mailbox=survey.mailbox,
        on_server=len(placed),
        stored=counts[Category.STORED],
        recognised=counts[Category.RECOGNISED],
        missing=noted(Category.MISSING),
        quarantined=noted(Category.QUARANTINED),
        too_large=noted(Category.TOO_LARGE),
        not_wanted=noted(Category.NOT_WANTED),
        extra=tuple(_extra(survey)),
        flags=tuple(
            Reflagged(shown(m.uid, epoch), _flags(known[m.uid]), _flags(m))
            for m in survey.plan.reflagged
        ),
        notices=tuple(_notices(survey, errand)),
    )


def _extra(survey: Survey) -> Iterator[Noted]:
    """Expected on the server and not there; what is there under another uid is not extra."""
    listed = {m.uid for m in survey.listing.messages}
    moved = set(survey.adopted.values())
    for uid, known in survey.inventory.messages.items():
        if known.state in _EXPECTED and uid not in listed and known.digest not in moved:
            fetched = "stored here" if known.digest is not None else "never fetched"
            reason = f"{fetched}, no longer on the server"
            yield Noted(shown(uid, survey.listing.epoch), known.size, reason)


def _flags(one: RemoteMessage | Known) -> str:
    return " ".join(part for part in (one.flags, *one.labels.split("\n")) if part)


def _notices(survey: Survey, errand: Errand) -> Iterator[str]:
    if not survey.listing.complete:
        yield "The server's listings contradict each other: what is absent may be there."
    if survey.listing.partial:
        yield "The server shows a part of its mail at a time: what is absent may be there."
    if survey.plan.restarted:
        yield f"The mailbox was renumbered; 'fetchd sync {errand.account}' looks at each message."
    elif survey.plan.emptied:
        yield "The mailbox is suddenly empty; what is stored here stays."


async def _look_deep(
    session: Session,
    survey: Survey,
    placed: Sequence[Placed],
    held: Mapping[bytes, Holding],
    audit: MailboxAudit,
) -> MailboxAudit:
    """Each header there against the header of what is stored under its uid."""
    known, epoch = survey.inventory.messages, survey.listing.epoch
    expected = {
        message: held[digest].header_digest
        for message, category, _ in placed
        if category is Category.STORED and (digest := known[message.uid].digest) is not None
    }
    different: list[Noted] = []
    unread = len(expected)
    async for header in session.headers(list(expected)):
        unread -= 1
        message = header.remote
        if header.digest != expected[message]:
            reason = "its header is not that of the message stored under its uid"
            different.append(Noted(shown(message.uid, epoch), message.size, reason))
    return replace(audit, different=tuple(different), unread=unread)
