"""The plan of a round without the round: what `fetchd plan` prints.

The same survey and the same decision as in a sync (visit.py), on a session
that is only read from; then the session is left without a trace.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from fetchd.catalog import inventory as inventories
from fetchd.catalog.inventory import MailboxState
from fetchd.contracts import Session
from fetchd.errors import FetchdError, Scope
from fetchd.pipeline.errand import Errand, errands
from fetchd.pipeline.round import Turns
from fetchd.pipeline.storage import Storage
from fetchd.pipeline.survey import Survey, survey_mailbox
from fetchd.pipeline.thin import retirement_of
from fetchd.pipeline.untouched import untouched
from fetchd.policy.plan import RemoteMessage, RemoteState
from fetchd.policy.retention import Reasons
from fetchd.settings import Settings
from fetchd.values import Struct


class PlannedMessage(Struct, frozen=True):
    """One message and why it is where it is in the plan."""

    uid: bytes
    size: int
    reason: str


Planned = tuple[PlannedMessage, ...]


class MailboxPlan(Struct, frozen=True):
    """What a sync of this mailbox would do now; `unchanged`: nothing at all."""

    mailbox: str
    on_server: int
    unchanged: bool = False
    fetch: Planned = ()
    adopt: Planned = ()
    gone: Planned = ()
    quarantined: Planned = ()
    retire: Planned = ()
    held: Planned = ()
    waiting: Planned = ()
    notices: tuple[str, ...] = ()


class AccountPlan(Struct, frozen=True):
    """The plan of one account, or why there is none."""

    account: str
    mailboxes: tuple[MailboxPlan, ...] = ()
    error: FetchdError | None = None


async def plan_round(
    settings: Settings, names: Sequence[str], storage: Storage
) -> list[AccountPlan]:
    """The plans of these accounts, or of all, in the order of the settings."""
    turns = Turns(settings.limits.connections, settings.limits.connections_per_host)

    async def in_turn(errand: Errand) -> AccountPlan:
        async with turns.turn(errand.host):
            return await _plan_account(errand, storage)

    return list(await asyncio.gather(*(in_turn(e) for e in errands(settings, names, storage))))


async def _plan_account(errand: Errand, storage: Storage) -> AccountPlan:
    try:
        async with untouched(await errand.open(False)) as session:
            states = await storage.blocking(
                inventories.mailbox_states, storage.catalog, errand.account
            )
            plans = [
                await _plan_if_open(
                    session, mailbox, states.get(mailbox, MailboxState()), errand, storage
                )
                for mailbox in await session.mailboxes()
            ]
    except FetchdError as error:
        if error.scope > Scope.ACCOUNT:
            raise
        return AccountPlan(errand.account, error=error)
    return AccountPlan(errand.account, tuple(plans))


async def _plan_if_open(
    session: Session, mailbox: str, state: MailboxState, errand: Errand, storage: Storage
) -> MailboxPlan:
    """One that cannot be looked into says so; a sync too goes on with the others."""
    try:
        return await _plan_mailbox(session, mailbox, state, errand, storage)
    except FetchdError as error:
        if error.scope > Scope.MAILBOX:
            raise
        return MailboxPlan(mailbox, state.on_server, notices=(f"{error}",))


async def _plan_mailbox(
    session: Session, mailbox: str, state: MailboxState, errand: Errand, storage: Storage
) -> MailboxPlan:
    now = datetime.now(UTC)
    survey = await survey_mailbox(session, mailbox, state, errand, storage, now)
    if isinstance(survey, MailboxState):
        return MailboxPlan(mailbox, survey.on_server, unchanged=True)
    known = survey.inventory.messages
    fetched = {m.uid for m in survey.wanted}
    retirement = retirement_of(
        survey, survey.as_if_fetched(errand, now), errand, now, False, fetched
    )
    plan = survey.plan
    return MailboxPlan(
        mailbox=mailbox,
        on_server=survey.listing.on_server,
        fetch=_planned((m, _why_fetched(survey, m)) for m in survey.wanted),
        adopt=_planned(
            [
                *((m, f"is {digest.hex()[:12]}, by its header")
                  for m, digest in survey.adopted.items()),
                *((m, f"is {digest.hex()[:12]}, says the server")
                  for m, digest in survey.linked.items()),
            ]
        ),
        gone=tuple(
            PlannedMessage(uid, known[uid].size, "no longer on the server")
            for uid in sorted(plan.gone | plan.retired)
        ),
        quarantined=_planned(
            [
                *((m, f"{known[m.uid].reason}; again at {known[m.uid].retry_at:%Y-%m-%d %H:%M} UTC")
                  for m in plan.quarantined),
                *((m, "larger than max_message_size") for m in survey.too_large),
            ]
        ),
        retire=_planned(retirement.retire),
        held=_planned(retirement.held),
        waiting=_planned(retirement.waiting),
        notices=tuple(n for n in (retirement.braked, retirement.skipped) if n),
    )  # fmt: skip


def _planned(pairs: Iterable[tuple[RemoteMessage, str]] | Reasons) -> Planned:
    return tuple(PlannedMessage(message.uid, message.size, why) for message, why in pairs)


def _why_fetched(survey: Survey, message: RemoteMessage) -> str:
    known = survey.inventory.messages.get(message.uid)
    if known is None:
        return "new"
    if known.damaged:
        return "the stored copy is damaged"
    if known.state is RemoteState.QUARANTINED:
        return f"refused before: {known.reason}"
    return "its unique id was given out again"
