"""Take from the server what it need not keep, and say when to look again.

`policy.retention` decides; here the decision is carried out in the only safe
order: deliveries settled, stored octets read back and hashed, the intent
written down, and only then the server asked. That it obeyed is recorded here where
it says so at once (IMAP), else by whoever closes the session (visit.py).
"""

import asyncio
from collections.abc import Awaitable, Collection
from datetime import datetime
from typing import TypeVar

from fetchd.catalog import inventory as inventories
from fetchd.catalog.inventory import MailboxState
from fetchd.contracts import Removed, Session
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.survey import Survey
from fetchd.pipeline.tools import Tools
from fetchd.pipeline.verify import read_back
from fetchd.policy.plan import Inventory
from fetchd.policy.retention import Retirement, plan_retirement
from fetchd.values import replace

KEEP_ALIVE = 60.0  # seconds; RFC 1939 §3 lets a server hang up after ten idle minutes

T = TypeVar("T")


async def thin(
    session: Session,
    survey: Survey,
    fetched: Collection[bytes],
    taken: Collection[str],
    errand: Errand,
    tools: Tools,
    report: RunReport,
) -> tuple[Retirement, frozenset[bytes]]:
    """Ask the server to drop what the window does not want there.

    What was asked for, and the uids whose removal is confirmed and recorded already.
    `taken` are the mailboxes that the settings want.
    """
    if survey.leave == "forever":
        return Retirement(), frozenset()
    tools.progress.phase(errand.account, "thinning")
    await _meanwhile(session, tools.deliveries.settle(errand.destinations))
    catalog = tools.storage.catalog
    inventory = await tools.storage.blocking(
        inventories.inventory, catalog, errand.account, survey.mailbox, arrivals=errand.by_arrival
    )
    retirement = retirement_of(
        survey, inventory, errand, tools.now(), tools.confirm_retire, fetched
    )
    digests = {
        digest
        for message, _ in retirement.retire
        if (digest := inventory.messages[message.uid].digest) is not None
    }
    damaged = await _meanwhile(
        session, tools.storage.blocking(read_back, tools.storage, digests, tools.now())
    )
    if damaged:
        report.notices.append(
            f"{len(damaged)} stored copies turned out damaged: they stay on the server "
            "and are fetched again by the next sync."
        )
    retirement = replace(
        retirement,
        retire=tuple(
            pair
            for pair in retirement.retire
            if inventory.messages[pair[0].uid].digest not in damaged
        ),
        skipped=retirement.skipped or ("stored copies are damaged" if damaged else None),
    )
    removed = await _drop(session, survey, retirement, errand, tools)
    if removed.to in taken:
        await _rename(removed, inventory, errand, tools)
    report.retired += len(removed.uids)
    report.on_server -= len(removed.uids)
    return retirement, removed.uids


def retirement_of(
    survey: Survey,
    inventory: Inventory,
    errand: Errand,
    now: datetime,
    confirmed: bool,
    fetched: Collection[bytes],
) -> Retirement:
    """The decision, with all that a survey knows."""
    return plan_retirement(
        survey.listing,
        inventory,
        survey.leave,
        now,
        last_run_at=survey.state.last_run_at,
        restarted=survey.plan.restarted,
        emptied=survey.plan.emptied,
        adopted=survey.renumbered,
        confirmed=confirmed,
        share=errand.retire_share,
        fetched_this_run=fetched,
    )


def next_look(
    survey: Survey,
    errand: Errand,
    retirement: Retirement,
    now: datetime,
    octets: int,
    *,
    whole: bool,
) -> MailboxState:
    """What the next poll shall know; it may skip a listing of which nothing is left to do.

    `whole`: all that was wanted came home. What a run foresaw counts for the next
    one's brake only if it was free to act on it.
    """
    listing = survey.listing
    left = retirement.held or retirement.waiting or retirement.skipped or retirement.retire
    settled = whole and listing.complete and not survey.plan.emptied and not left
    # A delta says nothing of messages that wait, unchanged, for another try.
    before = survey.state.next_due if listing.delta else None
    dues = [due for due in (survey.again_at, retirement.next_due, before) if due is not None]
    decided = whole and not (retirement.braked or retirement.skipped)
    going = [message for message, _ in retirement.retire]
    return MailboxState(
        listing_digest=listing.digest if settled else None,
        rules=errand.terms,
        next_due=min(dues, default=None),
        on_server=listing.on_server - len(going),
        on_server_octets=octets - sum(m.size for m in going),
        last_run_at=now if decided else survey.state.last_run_at,
        caught_up=survey.state.caught_up or (whole and listing.complete),
    )


def next_octets(survey: Survey) -> int:
    """How many octets the server has there, as listed."""
    listing, known = survey.listing, survey.inventory.messages
    octets = sum(m.size for m in listing.messages)
    if not listing.delta:
        return octets
    before = [*(m.uid for m in listing.messages), *listing.vanished]
    return (
        survey.state.on_server_octets
        + octets
        - sum(known[uid].size for uid in before if uid in known)
    )


async def _drop(
    session: Session, survey: Survey, retirement: Retirement, errand: Errand, tools: Tools
) -> Removed:
    """Write the intent, then ask; what the server confirms at once is written down."""
    removed = Removed()
    catalog, place = tools.storage.catalog, (errand.account, survey.mailbox)
    messages = [message for message, _ in retirement.retire]
    if messages:
        uids = [message.uid for message in messages]
        await tools.storage.blocking(
            inventories.mark_retiring, catalog, *place, uids, survey.listing.digest
        )
        removed = await session.retire(messages)
        await tools.storage.blocking(
            inventories.mark_retired, catalog, *place, removed.uids, tools.now()
        )
    if not (retirement.braked or retirement.skipped):
        await tools.storage.blocking(inventories.restamp, catalog, *place, errand.rules)
    return removed


async def _rename(removed: Removed, inventory: Inventory, errand: Errand, tools: Tools) -> None:
    """What was moved within the account is not fetched again from where it went."""
    known = inventory.messages
    moved = {
        message: digest
        for uid, message in removed.moved.items()
        if uid in removed.uids and (digest := known[uid].digest)
    }
    if moved:
        origin = errand.origin(removed.to)
        await tools.deliveries.put_held(await tools.committer.link(origin, moved))


async def _meanwhile(session: Session, work: Awaitable[T]) -> T:
    """Do something else without letting the server think that we are gone."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=KEEP_ALIVE))[0]:
            await session.keep_alive()
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
