"""What is on a server now, and what of it is here: the mailboxes, or one page of messages.

A listing tells uids, sizes and, by IMAP, flags and dates; headers are asked for only of
the page that is shown (TOP, BODY.PEEK[HEADER]), bodies of none. A search looks into the
catalog for what is stored, and asks the server for the headers of the rest.

Nothing is changed, neither there nor here. What fetches from here is by_hand.py.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from fetchd.catalog import inventory as inventories
from fetchd.catalog.holdings import Holding, holdings, stored_counts, summaries
from fetchd.contracts import Session
from fetchd.errors import UsageError
from fetchd.message import Summary, examine
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.looking import existing_mailboxes, looked_at, shown, the_mailbox
from fetchd.pipeline.storage import Storage
from fetchd.policy.mailboxes import Mailbox
from fetchd.policy.plan import Known, Listing, RemoteMessage, RemoteState, fits, is_another
from fetchd.protocol.imap import commands
from fetchd.protocol.imap.types import MailboxStatus
from fetchd.sources.imap import ImapSession
from fetchd.sources.imap_overview import ask_status
from fetchd.values import Struct

_UNKNOWN_AGE = datetime.min.replace(tzinfo=UTC)


class MailboxSeen(Struct, frozen=True):
    """One mailbox of an IMAP account; None where the server does not say."""

    name: str
    role: str | None
    messages: int | None
    octets: int | None
    stored: int  # of what is there, as far as the last sync knew
    chosen: bool  # by `mailboxes` in the settings


class Stored(StrEnum):
    """Whether a message on the server is here too."""

    YES = "yes"
    NO = "no"
    QUARANTINED = "quarantined"
    TOO_LARGE = "too_large"
    DAMAGED = "damaged"
    EXPIRED = "expired"  # `archive.keep` let it go


class MessageSeen(Struct, frozen=True):
    """One message on the server; `at` is when it arrived, as far as anybody tells."""

    uid: str
    size: int
    at: datetime | None
    sender: str
    recipients: str
    subject: str
    message_id: str
    flags: tuple[str, ...]
    labels: tuple[str, ...]
    stored: Stored
    reason: str  # of a quarantine
    digest: bytes | None  # of what is, or was, stored


class Asked(Struct, frozen=True):
    """What to show; the first page is 1. `search` is text in From or Subject."""

    page: int = 1
    limit: int = 50
    search: str = ""


class Page(Struct, frozen=True):
    """Newest first. `found` of the `on_server` messages fit the search."""

    mailbox: str
    on_server: int
    found: int
    number: int
    pages: int
    messages: tuple[MessageSeen, ...]


# -- Mailboxes ---------------------------------------------------------------------


async def browse_mailboxes(errand: Errand, storage: Storage) -> list[MailboxSeen]:
    """All that an IMAP account has."""
    async with looked_at(errand) as session:
        assert isinstance(session, ImapSession)
        chosen = set(await session.mailboxes())
        there = await existing_mailboxes(session)
        told = await _status(session, there)
    stored = await storage.blocking(stored_counts, storage.catalog, errand.account)
    return [
        MailboxSeen(
            name=mailbox.name,
            role=mailbox.role,
            messages=status.messages,
            octets=status.size,
            stored=stored.get(mailbox.name, 0),
            chosen=mailbox.name in chosen,
        )
        for mailbox in there
        for status in [told.get(mailbox.wire, MailboxStatus(mailbox.wire))]
    ]


async def _status(
    session: ImapSession, mailboxes: Sequence[Mailbox]
) -> Mapping[bytes, MailboxStatus]:
    """RFC 8438 gives octets too; without it what LIST told already need not be asked for."""
    if "STATUS=SIZE" in session.capabilities:
        asks = [commands.status(mailbox.wire, ["MESSAGES", "SIZE"]) for mailbox in mailboxes]
        flight = await session.client.flight(*asks)
        return {event.name: event for event in flight.events if isinstance(event, MailboxStatus)}
    told = session.overview.status
    untold = [mailbox for mailbox in mailboxes if mailbox.wire not in told]
    asked, _ = await ask_status(session.client, session.capabilities, untold)
    return {**told, **asked}


# -- Messages ----------------------------------------------------------------------


async def browse_messages(errand: Errand, mailbox: str, storage: Storage, asked: Asked) -> Page:
    """One page of a mailbox; POP3 has one, which needs no name."""
    async with looked_at(errand) as session:
        name = await the_mailbox(session, errand.account, mailbox)
        listing = await session.list(name)
        assert listing is not None  # without a mark nothing is unchanged
        beside = await storage.blocking(_beside, storage, errand.account, listing)
        fitting = await _fitting(session, listing.messages, beside, asked.search, storage)
        newest = sorted(fitting, key=_age, reverse=True)
        pages = max(math.ceil(len(newest) / asked.limit), 1)
        if asked.page > pages:
            raise UsageError(f"there is no page {asked.page}", advice=f"The last one is {pages}.")
        page = newest[(asked.page - 1) * asked.limit :][: asked.limit]
        headers = {h.remote.uid: h.header async for h in session.headers(page)}
    stored = await storage.blocking(
        summaries, storage.catalog, [d for m in page if (d := beside.digest(m)) is not None]
    )
    seen = tuple(_seen(m, listing, beside, headers, stored, errand) for m in page)
    return Page(name, listing.on_server, len(newest), asked.page, pages, seen)


class _Beside(Struct, frozen=True):
    """What is known of the messages of a listing."""

    known: Mapping[bytes, Known]
    held: Mapping[bytes, Holding]

    def digest(self, message: RemoteMessage) -> bytes | None:
        """Of what is here under this uid; None too where it named another one before."""
        known = self.known.get(message.uid)
        past = known is None or known.state in (RemoteState.GONE, RemoteState.RETIRED)
        if known is None or past or is_another(message, known.size):
            return None
        return known.digest


def _beside(storage: Storage, account: str, listing: Listing) -> _Beside:
    uids = [message.uid for message in listing.messages]
    known = inventories.inventory(storage.catalog, account, listing.mailbox, uids).messages
    digests = {one.digest for one in known.values() if one.digest is not None}
    return _Beside(known, holdings(storage.catalog, digests))


async def _fitting(
    session: Session,
    messages: Sequence[RemoteMessage],
    beside: _Beside,
    search: str,
    storage: Storage,
) -> Iterable[RemoteMessage]:
    """Those with the text in From or Subject; what is stored needs no word from the server."""
    if not search:
        return messages
    digests = {m.uid: digest for m in messages if (digest := beside.digest(m)) is not None}
    told = await storage.blocking(summaries, storage.catalog, digests.values())
    fit = {uid for uid, d in digests.items() if d in told and _fits_text(told[d], search)}
    strangers = [m for m in messages if m.uid not in digests]
    async for header in session.headers(strangers):
        if _fits_text(examine((header.header,))[1], search):
            fit.add(header.remote.uid)
    return [message for message in messages if message.uid in fit]


def _fits_text(summary: Summary, search: str) -> bool:
    return search.casefold() in f"{summary.sender}\n{summary.subject}".casefold()


def _age(message: RemoteMessage) -> tuple[datetime, int]:
    return message.arrived or _UNKNOWN_AGE, message.number


def _seen(
    message: RemoteMessage,
    listing: Listing,
    beside: _Beside,
    headers: Mapping[bytes, bytes],
    stored: Mapping[bytes, Summary],
    errand: Errand,
) -> MessageSeen:
    digest = beside.digest(message)
    header = headers.get(message.uid)
    # A server without TOP shows nothing of its messages; of those that are here, we can.
    _, summary, at = examine((header or b"",))
    if header is None and digest is not None:
        summary = stored.get(digest, summary)
    known = beside.known.get(message.uid)
    state = stored_as(known, beside.held.get(digest or b""), message, errand.max_message_size)
    return MessageSeen(
        uid=shown(message.uid, listing.epoch),
        size=message.size,
        at=message.arrived or at,
        sender=summary.sender,
        recipients=summary.recipients,
        subject=summary.subject,
        message_id=summary.message_id,
        flags=tuple(message.flags.split()),
        labels=tuple(filter(None, message.labels.split("\n"))),
        stored=state,
        reason=known.reason if known is not None and state is Stored.QUARANTINED else "",
        digest=digest,
    )


def stored_as(
    known: Known | None, holding: Holding | None, message: RemoteMessage, max_size: int | None
) -> Stored:
    """Whether this message, listed now, is here."""
    match holding:
        case Holding(expired=True):
            return Stored.EXPIRED
        case Holding(readable=True):
            return Stored.YES
        case Holding():
            return Stored.DAMAGED
    refused = known is not None and known.state is RemoteState.QUARANTINED
    size = max(message.size, known.size) if known is not None and refused else message.size
    if not fits(size, max_size):
        return Stored.TOO_LARGE
    return Stored.QUARANTINED if refused else Stored.NO
