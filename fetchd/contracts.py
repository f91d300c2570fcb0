"""The seams: the values that pass between floors, and what each side promises.

Read this to learn what a session, the archive, the catalog, a destination and
a source of secrets owe each other. Implementations live on the floors above;
`tests/contracts/` runs one suite per seam against every implementation.
"""

from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from fetchd.message import Summary
from fetchd.policy.plan import Listing, RemoteMessage
from fetchd.policy.retry import RELAY, Schedule
from fetchd.values import Struct

# -- Octets ---------------------------------------------------------------------


class Body(Struct, frozen=True):
    """The octets of one message, in memory or, above the spill size, in a file.

    Exactly one of `data` and `path` is set. `size` is in octets.
    """

    size: int
    data: bytes | None = None
    path: Path | None = None

    def chunks(self, size: int = 1 << 20) -> Iterator[bytes]:
        """The octets in pieces of at most `size`; blocking when in a file."""
        if self.data is not None:
            yield self.data
        elif self.path is not None:
            with self.path.open("rb") as file:
                while piece := file.read(size):
                    yield piece

    def discard(self) -> None:
        """Remove the file, if there is one."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


class Fetched(Struct, frozen=True):
    """One message as it came from the server, not durable yet."""

    remote: RemoteMessage
    body: Body


# -- What is recorded: the journal of the archive and the rows of the catalog ----


class Location(Struct, frozen=True):
    """Where in the archive the octets are: frame `offset`/`length` in the file, then inside it."""

    segment: str  # path below the archive folder: "2026/11/<ulid>.tar.zst"
    offset: int  # of the zstd frame in the segment file
    length: int  # of the zstd frame
    inner: int  # offset of the message's octets in the decompressed frame


class StoredMessage(Struct, frozen=True):
    """One message in the archive. `digest` is SHA-256 (32 octets)."""

    digest: bytes
    size: int
    location: Location | None  # None: these octets were stored before
    summary: Summary
    internal_date: datetime


class RemoteRecord(Struct, frozen=True):
    """That this uid of this mailbox holds this message."""

    account: str
    mailbox: str
    uid: bytes
    size: int  # as listed
    digest: bytes
    seen_at: datetime
    rules: str = ""  # fingerprint of leave_on_server when it was recorded (the brake)
    # What only IMAP tells of a message, see policy.plan.RemoteMessage:
    flags: str = ""
    arrived: datetime | None = None
    object_id: str = ""
    labels: str = ""

    @classmethod
    def of(
        cls,
        account: str,
        mailbox: str,
        message: RemoteMessage,
        digest: bytes,
        seen_at: datetime,
        rules: str,
    ) -> "RemoteRecord":
        """That this message of a listing is the one of that digest."""
        return cls(
            account, mailbox, message.uid, message.size, digest, seen_at, rules, message.flags,
            message.arrived, message.object_id, message.labels,
        )  # fmt: skip


class QueuedDelivery(Struct, frozen=True):
    """That this message is owed to this destination."""

    destination: str
    digest: bytes
    account: str
    mailbox: str
    uid: bytes
    queued_at: datetime
    key: str  # unique per destination: names the file in a Maildir, finds it after a crash
    folder: str = ""  # where a route wants it, "" where the destination says
    label: str = ""  # that routes give it, joined by blanks


class Commit(Struct, frozen=True):
    """Everything that one group commit makes true at once, in archive and catalog."""

    messages: tuple[StoredMessage, ...] = ()
    remotes: tuple[RemoteRecord, ...] = ()
    deliveries: tuple[QueuedDelivery, ...] = ()
    delivered: tuple[tuple[str, str], ...] = ()  # (destination, key) settled for good
    expired: tuple[bytes, ...] = ()  # digests whose octets `keep` let go


class Recorded(Struct, frozen=True):
    """A commit as replayed from a segment: the segment's valid length after it."""

    segment: str
    end: int
    commit: Commit


class SegmentFacts(Struct, frozen=True):
    """What the catalog knows of a segment: its valid length, and whether it may grow."""

    length: int
    sealed: bool


# -- Delivery -------------------------------------------------------------------


class Outgoing(Struct, frozen=True):
    """One delivery to be made. `doubtful`: an earlier attempt may have succeeded."""

    id: int
    key: str
    account: str
    digest: bytes
    size: int
    queued_at: datetime
    attempts: int
    doubtful: bool
    body: Body
    mailbox: str = ""  # where it was found
    flags: str = ""  # as IMAP told them
    arrived: datetime | None = None
    folder: str = ""  # where a route wants it, levels joined by "/"
    label: str = ""  # that routes give it: keywords, joined by blanks
    done: tuple[str, ...] = ()  # recipients who have it already


class Change(Struct, frozen=True):
    """What became of a message on its server after it was delivered to a mirror.

    `flags` None: it is no longer there.
    """

    key: str  # of its delivery
    account: str
    mailbox: str
    flags: str | None


class Outcome(StrEnum):
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"


class Settled(Struct, frozen=True):
    """What became of one delivery; `reply` is the peer's word or our error's.

    `doubtful`: it is deferred, and yet the peer may have accepted it. `done` are the
    recipients who have it although not all of them do.
    """

    id: int
    outcome: Outcome
    reply: str = ""
    doubtful: bool = False
    done: tuple[str, ...] = ()


Watch = Callable[[str, str], None]  # a step that succeeded, and what it found


def unwatched(_step: str, _found: str) -> None:
    """Nobody wants to know."""


class Terms(Struct, frozen=True):
    """How a destination that is reached over connections wants to be served."""

    connections: int = 1  # at once
    per_minute: int | None = None  # messages; None: as many as it takes
    in_order: bool = False  # an account's messages one after the other: it is a mailbox
    batch: int = 1  # messages that one `carry` may be given
    schedule: Schedule = RELAY


class Courier(Protocol):
    """One connection to a destination, which takes messages a few at a time."""

    @property
    def in_doubt(self) -> bool:
        """Whether the peer has all of a message and its answer is due: to be waited for."""

    async def carry(self, letters: Sequence[Outgoing]) -> Sequence[Settled]:
        """An outcome for each of them; what the peer did not accept for sure is deferred.

        Raises, with nothing accepted, where the connection or the whole destination is
        at fault; where the answer to what was sent whole is lost, the outcome is
        deferred and doubtful, and the next call raises.
        """

    async def close(self) -> None:
        """Part in good order, or hang up; never raises."""


@runtime_checkable
class Carrier(Protocol):
    """A destination that is reached over connections: SMTP, LMTP, IMAP, a program."""

    terms: Terms

    async def open(self, watch: Watch = unwatched) -> Courier:
        """Connect, encrypt, log in. The step that `watch` did not hear of has failed."""

    async def probe(self, watch: Watch = unwatched) -> None:
        """Whether it would take mail, asked without sending any; raises where it would not."""


class DeliverySession(Protocol):
    """An open destination on our disk. `put` many, then `settle`; before that nothing is a fact."""

    async def put(self, outgoing: Sequence[Outgoing]) -> None:
        """Hand messages over; trouble with one of them is told by `settle`."""

    async def settle(self) -> list[Settled]:
        """Make all that was put durable and say, for each, what became of it."""

    async def follow(self, changes: Sequence[Change]) -> None:
        """A mirror does what was done on the server, others nothing; may be repeated.

        DeliveryDeferred when it cannot be done now.
        """

    async def held(self, account: str, mailbox: str, keys: Collection[str]) -> frozenset[str]:
        """Those deliveries whose message a mirror still holds for that mailbox."""

    async def close(self) -> None:
        """Give up what was put and not settled, and let go."""


# -- Sessions with a server -----------------------------------------------------


class ServerFacts(Struct, frozen=True):
    """What a server said of itself after login; shown by `check`, kept with the account."""

    capabilities: tuple[str, ...] = ()
    expire_days: int | None = None  # EXPIRE; None: not said, or NEVER
    login_delay: int | None = None  # seconds
    unique_ids: bool = True
    can_preview: bool = True  # TOP / BODY.PEEK[HEADER]
    pipelining: bool = False
    implementation: str = ""
    tls: str = ""  # version and cipher, empty on a plaintext line
    partial_listings: bool = False  # shows a part of the maildrop at a time, hides what was read
    can_remove: bool = True  # single messages, and for good (UIDPLUS, MOVE)
    counts_changes: bool = True  # tells whether a mailbox changed without listing it (CONDSTORE)
    unmatched: tuple[str, ...] = ()  # patterns of `mailboxes` that no mailbox fits
    has_trash: bool = True  # the mailbox that retire_to names
    certificate_until: str = ""  # ISO 8601; empty where no certificate was verified


class HeaderDigest(Struct, frozen=True):
    """SHA-256 of a message's header as `message.header_digest` computes it.

    `distinctive`: it holds what no second message would have, see `message`.
    `header` are its octets, for whoever shows it.
    """

    remote: RemoteMessage
    digest: bytes
    distinctive: bool
    header: bytes = b""


class Unavailable(Struct, frozen=True):
    """The server lists this message but will not hand it over (yielded in place of it).

    `oversize`: not the server's refusal but the owner's, by max_message_size.
    """

    remote: RemoteMessage
    reason: str
    oversize: bool = False


class Removed(Struct, frozen=True):
    """Messages that are gone from a mailbox by the server's own word, by uid.

    `moved` says which of them is what now in the mailbox `to`, as far as the server told.
    """

    uids: frozenset[bytes] = frozenset()
    to: str = ""
    moved: Mapping[bytes, RemoteMessage] = {}


class Session(Protocol):
    """An authenticated connection to one account."""

    facts: ServerFacts

    @property
    def in_progress(self) -> RemoteMessage | None:
        """The message whose answer is due first: where the line broke, if it breaks."""

    async def mailboxes(self) -> Sequence[str]:
        """Those that the account's settings want, in the order in which to visit them."""

    def role(self, mailbox: str) -> str | None:
        """Its special use, as "\\\\Sent", if it has one (policy.roles)."""

    async def absent(self, mailboxes: Iterable[str]) -> frozenset[str]:
        """Those of them that the server does not have (any more), wanted or not."""

    async def list(
        self, mailbox: str, unchanged: bytes | None = None, *, whole: bool = True
    ) -> "Listing | None":
        """What is there; None when the listing's digest still is `unchanged`.

        `whole` False: what has changed since `unchanged` will do, where the server
        can tell. What `headers`, `fetch` and `retire` are then asked for lies here.
        """

    def headers(self, messages: Sequence[RemoteMessage]) -> AsyncGenerator[HeaderDigest, None]:
        """Header digests, pipelined; messages whose header cannot be had are left out."""

    def fetch(
        self, messages: Iterable[RemoteMessage]
    ) -> AsyncGenerator[Fetched | Unavailable, None]:
        """Bodies, pipelined, in the order in which the server sends them."""

    def may_retire(self, mailbox: str) -> bool:
        """Whether the window is for this mailbox too: not for the one that takes what leaves."""

    async def retire(self, messages: Sequence[RemoteMessage]) -> "Removed":
        """Ask the server to drop these; what it confirmed at once.

        What it confirms only at the end, `close` returns.
        """

    async def keep_alive(self) -> None:
        """Let the server know that we are still there while something else takes its time."""

    async def close(self) -> frozenset[bytes]:
        """End the session in order; the uids whose removal the server confirmed."""

    async def abort(self) -> None:
        """Hang up at once; nothing that `retire` asked for counts."""


class RunCounts(Struct, frozen=True):
    """What one run did, in messages and octets."""

    fetched: int = 0
    octets: int = 0
    adopted: int = 0
    delivered: int = 0
    deferred: int = 0
    failed: int = 0
    retired: int = 0
    quarantined: int = 0
    on_server: int = 0


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who logs in, and with what; `secret` never shows itself.

    `token`: it is an OAuth2 access token, and not a password.
    """

    username: str
    secret: str = field(repr=False)
    token: bool = False
