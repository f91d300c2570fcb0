"""What is there, what we know of it, and what follows: one mailbox, looked at only.

`sync` acts on a survey and `plan` prints it, so what is printed is what would
be done. Nothing here writes, neither on the server nor at home.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fetchd.catalog import inventory as inventories
from fetchd.catalog.database import Catalog
from fetchd.catalog.inventory import MailboxState
from fetchd.contracts import RemoteRecord, Session
from fetchd.pipeline.errand import Errand
from fetchd.policy.plan import (
    FetchPlan,
    Inventory,
    Known,
    Listing,
    RemoteMessage,
    RemoteState,
    adopt,
    fits,
    plan_fetch,
)


@dataclass(frozen=True, slots=True)
class Survey:
    """One mailbox before anything is done.

    `adopted` gives, for strange uids, the digest of the message they turned out to be.
    """

    mailbox: str
    state: MailboxState
    listing: Listing
    inventory: Inventory
    plan: FetchPlan
    adopted: Mapping[RemoteMessage, bytes]
    wanted: tuple[RemoteMessage, ...]  # bodies to fetch, in this order
    too_large: tuple[RemoteMessage, ...]

    @property
    def missing(self) -> frozenset[bytes]:
        """Digests of what should be there and is not: what a new uid may turn out to hold."""
        listed = {m.uid for m in self.listing.messages}
        return frozenset(
            known.digest
            for uid, known in self.inventory.messages.items()
            if known.digest is not None and (uid not in listed or _is_past(known))
        )

    def adoptions(self, errand: Errand, now: datetime) -> tuple[RemoteRecord, ...]:
        """The records that make adopted messages known, as old as we have known them."""
        first_seen = {
            known.digest: known.first_seen
            for known in self.inventory.messages.values()
            if known.digest is not None
        }
        return tuple(
            RemoteRecord(
                errand.account, self.mailbox, message.uid, message.size, digest,
                first_seen.get(digest, now), errand.rules,
            )
            for message, digest in self.adopted.items()
        )  # fmt: skip

    def as_if_fetched(self, errand: Errand, now: datetime) -> Inventory:
        """The inventory as it will be if all that is wanted comes home and is delivered."""
        fetched = {
            m.uid: Known(RemoteState.STORED, m.size, now, rules=errand.rules) for m in self.wanted
        }
        adopted = {
            record.uid: Known(
                RemoteState.STORED, record.size, record.seen_at, record.digest, rules=record.rules
            )
            for record in self.adoptions(errand, now)
        }
        return Inventory({**self.inventory.messages, **fetched, **adopted})


async def survey_mailbox(
    session: Session, mailbox: str, errand: Errand, catalog: Catalog, now: datetime
) -> Survey | MailboxState:
    """The survey; only the remembered state where nothing has changed and nothing is due."""
    state = await asyncio.to_thread(inventories.mailbox_state, catalog, errand.account, mailbox)
    listing = await session.list(mailbox, state.recognises(errand.terms, now))
    if listing is None:
        return state
    inventory = await asyncio.to_thread(
        inventories.inventory,
        catalog,
        errand.account,
        mailbox,
        [m.uid for m in listing.messages],
    )
    plan = plan_fetch(listing, inventory, now, errand.max_message_size)
    adopted = await _recognise(session, plan, errand, catalog)
    strangers = [m for m in plan.verify if m not in adopted]
    return Survey(
        mailbox=mailbox,
        state=state,
        listing=listing,
        inventory=inventory,
        plan=plan,
        adopted=adopted,
        wanted=(*plan.fetch, *(m for m in strangers if fits(m, errand.max_message_size))),
        too_large=(
            *plan.too_large,
            *(m for m in strangers if not fits(m, errand.max_message_size)),
        ),
    )


async def _recognise(
    session: Session, plan: FetchPlan, errand: Errand, catalog: Catalog
) -> dict[RemoteMessage, bytes]:
    """Strange uids whose header we know are adopted; the others are strangers to be fetched."""
    if not plan.verify:
        return {}
    headers = {h.remote: h.digest async for h in session.headers(plan.verify)}
    candidates = await asyncio.to_thread(
        inventories.candidates, catalog, errand.account, set(headers.values())
    )
    return adopt(headers, candidates)


def _is_past(known: Known) -> bool:
    return known.state in (RemoteState.RETIRED, RemoteState.GONE)
