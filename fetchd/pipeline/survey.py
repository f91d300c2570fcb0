"""What is there, what we know of it, and what follows: one mailbox, looked at only.

`sync` acts on a survey and `plan` prints it, so what is printed is what would
be done. Nothing here writes, neither on the server nor at home.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from fetchd.catalog import inventory as inventories
from fetchd.catalog.inventory import MailboxState
from fetchd.contracts import RemoteRecord, Session
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.storage import Storage
from fetchd.policy.plan import (
    FetchPlan,
    Header,
    Inventory,
    Known,
    Listing,
    RemoteMessage,
    RemoteState,
    adds_up,
    adopt,
    fits,
    plan_fetch,
)
from fetchd.policy.retention import Leave
from fetchd.values import Struct, replace


class Survey(Struct, frozen=True):
    """One mailbox before anything is done.

    `adopted` gives, for strange uids, the digest of the message they turned out to be.
    """

    mailbox: str
    leave: Leave  # what the settings want left there
    state: MailboxState
    listing: Listing
    inventory: Inventory
    plan: FetchPlan
    missing: frozenset[bytes]  # digests of what should be there, and may be under another uid
    adopted: Mapping[RemoteMessage, bytes]
    linked: Mapping[RemoteMessage, bytes]  # new here, and stored already from another mailbox
    wanted: tuple[RemoteMessage, ...]  # bodies to fetch, in this order
    too_large: tuple[RemoteMessage, ...]

    attempts: Mapping[bytes, int]  # how often what is asked for again was asked for in vain
    renumbered: bool  # a message turned out to have another uid than we knew it by
    again_at: datetime | None  # when the next quarantine ends

    def without_inventory(self) -> "Survey":
        """Itself but for its largest part, which fetching makes out of date."""
        return replace(self, inventory=Inventory())

    def adoptions(self, errand: Errand, now: datetime) -> tuple[RemoteRecord, ...]:
        """The records that make adopted messages known, as they were known before."""
        adopted = set(self.adopted.values())
        before = {
            known.digest: (known.first_seen, known.rules)
            for known in self.inventory.messages.values()
            if known.digest in adopted
        }
        return tuple(
            RemoteRecord.of(
                errand.account, self.mailbox, message, digest,
                *before.get(digest, (now, errand.rules)),
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
        linked = {
            m.uid: Known(RemoteState.STORED, m.size, now, digest, rules=errand.rules)
            for m, digest in self.linked.items()
        }
        return Inventory({**self.inventory.messages, **fetched, **adopted, **linked})


async def survey_mailbox(
    session: Session,
    mailbox: str,
    state: MailboxState,
    errand: Errand,
    storage: Storage,
    now: datetime,
    blind: frozenset[bytes] = frozenset(),
) -> Survey | MailboxState:
    """The survey; only the remembered `state` where nothing has changed and nothing is due.

    The headers of `blind` uids cannot be had.
    """
    leave = errand.leave if session.may_retire(mailbox) else "forever"
    # A window is about the whole mailbox; where all stays, what has changed is enough.
    listing = await session.list(
        mailbox, state.recognises(errand.terms, now), whole=leave != "forever"
    )
    if listing is None:
        return state
    inventory = await _inventory(listing, errand, storage)
    if not adds_up(listing, inventory, state.on_server):
        listing = await session.list(mailbox)
        assert listing is not None
        inventory = await _inventory(listing, errand, storage)
    plan = plan_fetch(listing, inventory, now, errand.max_message_size)
    missing = _missing(listing, inventory, plan)
    adopted, linked = await _same_objects(plan, missing, inventory, errand, storage)
    looked = [m for m in plan.verify if m.uid not in blind and m not in adopted and m not in linked]
    adopted |= await _recognise(session, looked, plan, missing, errand, storage)
    strangers = [m for m in plan.verify if m not in adopted and m not in linked]
    fetch = [m for m in plan.fetch if m not in linked]
    known = inventory.messages
    again = [*plan.fetch, *plan.quarantined]
    ends = [at for m in plan.quarantined if (at := known[m.uid].retry_at)]
    return Survey(
        mailbox=mailbox,
        leave=leave,
        state=state,
        listing=listing,
        inventory=inventory,
        plan=plan,
        missing=missing,
        adopted=adopted,
        linked=linked,
        wanted=(*fetch, *(m for m in strangers if fits(m.size, errand.max_message_size))),
        too_large=(
            *plan.too_large,
            *(m for m in strangers if not fits(m.size, errand.max_message_size)),
        ),
        attempts={m.uid: known[m.uid].attempts for m in again if m.uid in known},
        renumbered=any(
            m.uid not in known or known[m.uid].digest != digest for m, digest in adopted.items()
        ),
        again_at=min(ends, default=None),
    )


async def _inventory(listing: Listing, errand: Errand, storage: Storage) -> Inventory:
    return await storage.blocking(
        inventories.inventory,
        storage.catalog,
        errand.account,
        listing.mailbox,
        [*(m.uid for m in listing.messages), *listing.vanished],
        arrivals=errand.by_arrival,
        only_listed=listing.delta,
    )


def _missing(listing: Listing, inventory: Inventory, plan: FetchPlan) -> frozenset[bytes]:
    listed = {m.uid for m in listing.messages}
    doubtful = {m.uid for m in (*plan.verify, *plan.returned)}
    return frozenset(
        known.digest
        for uid, known in inventory.messages.items()
        if known.digest is not None and (uid not in listed or uid in doubtful)
    )


async def _same_objects(
    plan: FetchPlan,
    missing: frozenset[bytes],
    inventory: Inventory,
    errand: Errand,
    storage: Storage,
) -> tuple[dict[RemoteMessage, bytes], dict[RemoteMessage, bytes]]:
    """What the server says is a message that we have: renumbered here, or in one more mailbox.

    RFC 8474 §5.1: one EMAILID, the same octets; Gmail's X-GM-MSGID likewise.
    """
    strange = [
        m
        for m in (*plan.verify, *plan.fetch)
        if m.object_id and not ((before := inventory.messages.get(m.uid)) and before.damaged)
    ]
    if not strange:
        return {}, {}
    known = await storage.blocking(
        inventories.by_object, storage.catalog, errand.account, {m.object_id for m in strange}
    )
    same = {m: known[m.object_id] for m in strange if m.object_id in known}
    adopted = {m: d for m, d in same.items() if plan.restarted and d in missing}
    return adopted, {m: d for m, d in same.items() if m not in adopted}


async def _recognise(
    session: Session,
    strangers: Sequence[RemoteMessage],
    plan: FetchPlan,
    missing: frozenset[bytes],
    errand: Errand,
    storage: Storage,
) -> dict[RemoteMessage, bytes]:
    """Strange uids whose header we know are adopted; the others are strangers to be fetched."""
    if not strangers:
        return {}
    headers = {h.remote: Header(h.digest, h.distinctive) async for h in session.headers(strangers)}
    candidates = await storage.blocking(
        inventories.candidates,
        storage.catalog,
        errand.account,
        {h.digest for h in headers.values()},
    )
    return adopt(headers, candidates, missing, restarted=plan.restarted)
