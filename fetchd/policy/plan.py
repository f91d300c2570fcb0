"""Decide what one sync of one mailbox shall fetch. Pure: facts in, decisions out.

The caller gathers the facts (the server's listing, what the catalog remembers,
the clock) and carries the decisions out. Nothing here waits, reads or writes,
so every decision about a mailbox can be tested as one row of a table.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import StrEnum

from fetchd.policy.retry import QUARANTINE
from fetchd.values import Struct, field


class RemoteMessage(Struct, frozen=True):
    """One line of a listing. `size` in octets, 0 when the server did not say.

    `number` ascends with age: POP3's message number of this session (RFC 1939 §5),
    IMAP's UID. The rest only IMAP tells: `flags` sorted and joined by blanks, when it
    `arrived` (INTERNALDATE), its `labels` at Gmail, and an `object_id` that is the same
    for all copies of one message in the account (EMAILID, X-GM-MSGID).
    """

    uid: bytes
    size: int
    number: int = 0
    ambiguous: bool = False  # the server gave its uid to several messages
    flags: str = ""
    arrived: datetime | None = None
    object_id: str = ""
    labels: str = ""


class Listing(Struct, frozen=True):
    """The server's answer to "what do you hold?". `digest` changes whenever it does.

    All uids of one `epoch` (UIDVALIDITY) begin with it; empty where the server vouches
    for none. A `delta` lists only what is new or changed since the listing whose digest
    was known, and what `vanished`; `total` then says how many messages there are.
    """

    mailbox: str
    messages: tuple[RemoteMessage, ...]
    digest: bytes
    complete: bool = True  # False: truncated or contradictory; absence proves nothing
    partial: bool = False  # the server shows a part at a time (Gmail): absence proves nothing
    epoch: bytes = b""
    delta: bool = False
    vanished: frozenset[bytes] = frozenset()
    total: int = 0

    @property
    def on_server(self) -> int:
        """How many messages the mailbox holds."""
        return self.total if self.delta else len(self.messages)


class RemoteState(StrEnum):
    """What the catalog knows of one remote message."""

    STORED = "stored"
    QUARANTINED = "quarantined"
    RETIRING = "retiring"  # we asked the server to drop it and do not know the answer
    RETIRED = "retired"  # the server confirmed
    GONE = "gone"  # vanished without our doing


class Known(Struct, frozen=True):
    """One remote message as the catalog remembers it."""

    state: RemoteState
    size: int
    first_seen: datetime
    digest: bytes | None = None
    header_digest: bytes | None = None
    rules: str = ""  # fingerprint of leave_on_server under which it was recorded
    settled: bool = True  # every delivery it was queued for is made
    damaged: bool = False  # `verify` found the stored octets spoilt
    retry_at: datetime | None = None  # of a quarantined one
    reason: str = ""  # why it is quarantined
    attempts: int = 0  # how often it was asked for in vain
    arrived: datetime | None = None  # at the server, as far as the message tells
    flags: str = ""
    labels: str = ""


class Inventory(Struct, frozen=True):
    """What the catalog remembers of a mailbox, by uid."""

    messages: Mapping[bytes, Known] = field(default_factory=dict)


_PRESENT = {RemoteState.STORED, RemoteState.QUARANTINED, RemoteState.RETIRING}


class FetchPlan(Struct, frozen=True):
    """What to do with a listing.

    `verify` are reappeared and possibly renumbered messages: their header
    digest decides between adoption and fetching (see `adopt`).
    """

    fetch: tuple[RemoteMessage, ...]
    verify: tuple[RemoteMessage, ...]
    quarantined: tuple[RemoteMessage, ...]  # not due for another try yet
    too_large: tuple[RemoteMessage, ...]  # beyond what the owner wants here
    gone: frozenset[bytes]  # was there, is not, and not by our doing
    retired: frozenset[bytes]  # we asked for it, and it is gone
    returned: tuple[RemoteMessage, ...]  # we asked for it, and its uid is still there
    reflagged: tuple[RemoteMessage, ...]  # known, and with other flags or labels than before
    restarted: bool  # none of the uids we know is left: a new epoch
    emptied: bool  # all gone at once, and not by us: believe it later


def plan_fetch(
    listing: Listing, inventory: Inventory, now: datetime, max_size: int | None = None
) -> FetchPlan:
    """What to fetch, what to look at first, and what to stop expecting.

    What was refused before is asked for last: should the server hang up over it
    again, everything else is home by then.
    """
    known = inventory.messages
    present = {uid for uid, m in known.items() if m.state in _PRESENT}
    listed = {m.uid for m in listing.messages}
    expected = {uid for uid in present if known[uid].state is not RemoteState.RETIRING}
    missing = present & listing.vanished if listing.delta else present - listed
    # Where the server vouches that its uids are the ones we know, nothing is a surprise.
    same_epoch = bool(listing.epoch) and any(uid.startswith(listing.epoch) for uid in present)
    doubtful = not (same_epoch or listing.delta or listing.partial)
    emptied = doubtful and bool(expected) and not listed
    # Without epochs, what we asked to drop may all be gone, and new mail have come.
    sure = present if listing.epoch else expected
    restarted = doubtful and bool(sure) and bool(listed) and not (sure & listed)
    believable = listing.complete and not emptied and not listing.partial
    fetch: list[RemoteMessage] = []
    verify: list[RemoteMessage] = []
    again: list[RemoteMessage] = []
    returned: list[RemoteMessage] = []
    waiting: list[RemoteMessage] = []
    too_large: list[RemoteMessage] = []
    lost_sizes = {known[uid].size for uid in missing & expected}
    for message in listing.messages:
        match known.get(message.uid):
            case None if restarted or message.size in lost_sizes:
                verify.append(message)
            case Known(state=RemoteState.RETIRED | RemoteState.GONE):
                verify.append(message)  # a uid given out again, or a message that came back
            case None if not fits(message.size, max_size):
                too_large.append(message)
            case Known(state=RemoteState.QUARANTINED, size=size) if not fits(
                max(size, message.size), max_size
            ):
                too_large.append(message)
            case Known(state=RemoteState.QUARANTINED, retry_at=at) if at and _ahead(at, now):
                waiting.append(message)
            case Known(state=RemoteState.QUARANTINED):
                again.append(message)
            case Known(damaged=True) | None:
                fetch.append(message)
            case Known(size=size) if is_another(message, size):
                verify.append(message)
            case Known(state=RemoteState.RETIRING):
                returned.append(message)  # still there, or its uid was given out again
    return FetchPlan(
        fetch=(*fetch, *again),
        verify=tuple(verify),
        quarantined=tuple(waiting),
        too_large=tuple(too_large),
        gone=frozenset(u for u in missing & expected if believable),
        retired=frozenset(u for u in missing - expected if listing.complete),
        returned=tuple(returned),
        reflagged=tuple(m for m in listing.messages if _has_other_flags(m, known.get(m.uid))),
        restarted=restarted,
        emptied=emptied,
    )


def adds_up(listing: Listing, inventory: Inventory, before: int) -> bool:
    """Whether a delta explains the count: so many as `before`, and what came and went.

    Where it does not, the server forgot to say something, and only a whole listing helps.
    """
    if not listing.delta:
        return True
    present = {uid for uid, m in inventory.messages.items() if m.state in _PRESENT}
    came = sum(m.uid not in present for m in listing.messages)
    return before + came - len(present & listing.vanished) == listing.total


def _has_other_flags(message: RemoteMessage, known: Known | None) -> bool:
    return (
        known is not None
        and known.state in _PRESENT
        and known.digest is not None
        and (known.flags, known.labels) != (message.flags, message.labels)
    )


def is_another(message: RemoteMessage, size: int) -> bool:
    """Whether a uid cannot name the message of this size that we know by it."""
    return bool(message.size and size and message.size != size)


def fits(size: int, max_size: int | None) -> bool:
    """Whether the owner wants a message of this size."""
    return max_size is None or size <= max_size


def _ahead(at: datetime, now: datetime) -> bool:
    """Still to come; what a clock that was ahead has left behind is not believed."""
    return now < at <= now + QUARANTINE.longest * 2


class Candidate(Struct, frozen=True):
    """A stored message of the account that a strange uid might turn out to be."""

    digest: bytes
    sizes: frozenset[int]  # as it was listed, and its octets


class Header(Struct, frozen=True):
    """What a strange message's header says of it; see contracts.HeaderDigest."""

    digest: bytes
    distinctive: bool


def adopt(
    headers: Mapping[RemoteMessage, Header],
    candidates: Mapping[bytes, tuple[Candidate, ...]],
    missing: AbstractSet[bytes],
    *,
    restarted: bool,
) -> dict[RemoteMessage, bytes]:
    """Match strange uids with stored messages by header digest and size.

    `candidates` gives what is stored by header digest, `missing` the digests of
    what should be in the mailbox and is not. Wrongly adopted is lost, wrongly
    fetched is only fetched, so the doubt decides for fetching:

    * a header without anything distinctive is adopted only in a renumbered
      mailbox, where most strangers are recognised, and where nothing else ever
      had that header;
    * what is not missing is adopted only in a renumbered mailbox;
    * lookalikes are adopted only if there are as many stored as there are strangers.
    """
    found: dict[RemoteMessage, bytes] = {}
    weak: dict[RemoteMessage, bytes] = {}
    for alike in _alike(headers):
        header, size = headers[alike[0]], alike[0].size
        stored = candidates.get(header.digest, ())
        fitting = [c.digest for c in stored if size in c.sizes]
        if not (header.distinctive and restarted):
            fitting = [digest for digest in fitting if digest in missing]
        if len(fitting) < len(alike):
            continue
        if header.distinctive:
            found |= dict(zip(alike, fitting, strict=False))
        elif len(stored) == len(alike) == 1:
            weak[alike[0]] = fitting[0]
    if restarted and len(found) + len(weak) > max(len(headers) / 2, 1):
        found |= weak
    return found


def _alike(headers: Mapping[RemoteMessage, Header]) -> Iterable[list[RemoteMessage]]:
    """The strangers, those of one header and size together."""
    groups: dict[tuple[bytes, int], list[RemoteMessage]] = {}
    for message, header in headers.items():
        groups.setdefault((header.digest, message.size), []).append(message)
    return groups.values()


def batches(
    messages: Iterable[RemoteMessage], max_count: int, max_octets: int
) -> Iterator[tuple[RemoteMessage, ...]]:
    """Cut a plan into pieces, none larger than this unless it is one message."""
    batch: list[RemoteMessage] = []
    octets = 0
    for message in messages:
        if batch and (len(batch) == max_count or octets + message.size > max_octets):
            yield tuple(batch)
            batch, octets = [], 0
        batch.append(message)
        octets += message.size
    if batch:
        yield tuple(batch)
