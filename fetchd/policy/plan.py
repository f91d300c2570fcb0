"""Decide what one sync of one mailbox shall fetch. Pure: facts in, decisions out.

The caller gathers the facts (the server's listing, what the catalog remembers,
the clock) and carries the decisions out. Nothing here waits, reads or writes,
so every decision about a mailbox can be tested as one row of a table.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class RemoteMessage:
    """One line of a listing. `size` in octets, 0 when the server did not say."""

    uid: bytes
    size: int
    number: int = 0  # message number of this session (RFC 1939 §5); POP3 fetches by it
    ambiguous: bool = False  # the server gave its uid to several messages


@dataclass(frozen=True, slots=True)
class Listing:
    """The server's answer to "what do you hold?". `digest` changes whenever it does."""

    mailbox: str
    messages: tuple[RemoteMessage, ...]
    digest: bytes
    complete: bool = True  # False: truncated or contradictory; absence proves nothing
    partial: bool = False  # the server shows a part at a time (Gmail): absence proves nothing


class RemoteState(StrEnum):
    """What the catalog knows of one remote message."""

    STORED = "stored"
    QUARANTINED = "quarantined"
    RETIRING = "retiring"  # we asked the server to drop it and do not know the answer
    RETIRED = "retired"  # the server confirmed
    GONE = "gone"  # vanished without our doing


@dataclass(frozen=True, slots=True)
class Known:
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


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the catalog remembers of a mailbox, by uid."""

    messages: Mapping[bytes, Known] = field(default_factory=dict)


_PRESENT = {RemoteState.STORED, RemoteState.QUARANTINED, RemoteState.RETIRING}


@dataclass(frozen=True, slots=True)
class FetchPlan:
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
    returned: frozenset[bytes]  # we asked for it, and it is still there
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
    missing = present - listed
    emptied = not listed and bool(expected) and not listing.partial
    unknown = bool(expected) and not (expected & listed)
    restarted = bool(listed) and unknown and not listing.partial
    believable = listing.complete and not emptied and not listing.partial
    fetch: list[RemoteMessage] = []
    verify: list[RemoteMessage] = []
    again: list[RemoteMessage] = []
    waiting: list[RemoteMessage] = []
    too_large: list[RemoteMessage] = []
    lost_sizes = {known[uid].size for uid in missing}
    for message in listing.messages:
        match known.get(message.uid):
            case None if restarted or message.size in lost_sizes:
                verify.append(message)
            case Known(state=RemoteState.RETIRED | RemoteState.GONE):
                verify.append(message)  # a uid given out again, or a message that came back
            case Known(state=RemoteState.QUARANTINED) | None if not fits(message, max_size):
                too_large.append(message)
            case Known(state=RemoteState.QUARANTINED, retry_at=at) if at and at > now:
                waiting.append(message)
            case Known(state=RemoteState.QUARANTINED):
                again.append(message)
            case Known(damaged=True) | None:
                fetch.append(message)
    return FetchPlan(
        fetch=(*fetch, *again),
        verify=tuple(verify),
        quarantined=tuple(waiting),
        too_large=tuple(too_large),
        gone=frozenset(u for u in missing & expected if believable),
        retired=frozenset(u for u in missing - expected if listing.complete),
        returned=frozenset(u for u in present & listed - expected),
        restarted=restarted,
        emptied=emptied,
    )


def fits(message: RemoteMessage, max_size: int | None) -> bool:
    """Whether the owner wants a message of this listed size."""
    return max_size is None or message.size <= max_size


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored message of the account that a strange uid might turn out to be."""

    digest: bytes
    sizes: frozenset[int]  # as it was listed, and its octets


def adopt(
    headers: Mapping[RemoteMessage, bytes], candidates: Mapping[bytes, tuple[Candidate, ...]]
) -> dict[RemoteMessage, bytes]:
    """Match strange uids with stored messages by header digest and size.

    `headers` gives the header digest of each strange message, `candidates` what
    is stored by header digest. Where several strange messages share one key
    beyond what is stored under it, none is adopted: fetching decides.
    """
    keys = Counter((digest, m.size) for m, digest in headers.items())
    adopted: dict[RemoteMessage, bytes] = {}
    taken: Counter[tuple[bytes, int]] = Counter()
    for message, digest in headers.items():
        fitting = [c for c in candidates.get(digest, ()) if message.size in c.sizes]
        key = (digest, message.size)
        if len(fitting) < keys[key]:
            continue
        adopted[message] = fitting[taken[key]].digest
        taken[key] += 1
    return adopted


def batches(
    messages: Iterable[RemoteMessage], max_count: int, max_octets: int
) -> Iterator[tuple[RemoteMessage, ...]]:
    """Cut a plan into pieces small enough to commit one after the other."""
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
