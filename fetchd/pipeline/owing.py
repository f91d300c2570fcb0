"""To whom a message is owed: its account's destinations, or what routes say; and under which key.

A mirror is owed everything, whatever routes say: it shows what is on the server. Mail that
was on the server before the account was added is old: a destination with `spares_old` never
gets it by itself, so that no storm of years of mail is sent on.
"""

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime

from fetchd.contracts import Body, QueuedDelivery
from fetchd.message import Summary, addresses, envelope_fields, header_of
from fetchd.policy.plan import RemoteMessage
from fetchd.policy.routing import Envelope, Handed, Route, route
from fetchd.values import Struct

SENDERS = ("from", "sender", "return-path")
RECIPIENTS = ("to", "cc", "bcc", "resent-to", "delivered-to", "x-original-to", "envelope-to")


class Owed(Struct, frozen=True):
    """A destination that gets new messages of an account.

    A `mirror` has a copy for each place where the server has one.
    """

    destination: str
    skip_duplicates: bool
    mirror: bool = False
    spares_old: bool = False


class Beginning(Struct, frozen=True):
    """Which of an account's messages were there before it was added.

    `everything`: all that is fetched now, since we look for the first time. Else what
    arrived before `added_at`; None: nothing.
    """

    everything: bool = False
    added_at: datetime | None = None

    def is_old(self, arrived: datetime) -> bool:
        """Whether a message that arrived then was there before."""
        return self.everything or (self.added_at is not None and arrived <= self.added_at)


class Origin(Struct, frozen=True):
    """Whose batch it is, and what becomes of it.

    `rules` is the fingerprint of leave_on_server. Messages in `recognised` (by
    digest) are ones that only changed their uid: they are owed to nobody again. `others`
    are destinations that only routes name.
    """

    account: str
    mailbox: str
    rules: str
    owed: tuple[Owed, ...]
    recognised: frozenset[bytes] = frozenset()
    renumbered: bool = False  # the mailbox; else a mirror owes itself what has a new uid
    many_mailboxes: bool = False  # of this account: the same octets may stand in several
    routes: tuple[Route, ...] = ()
    others: tuple[Owed, ...] = ()
    beginning: Beginning = Beginning()

    @property
    def asks_for_duplicates(self) -> bool:
        """Whether a route wants to know if there are copies."""
        return any(one.duplicate is not None for one in self.routes)


class Piece(Struct, frozen=True):
    """What must be known of a message to say to whom it is owed."""

    remote: RemoteMessage
    digest: bytes
    summary: Summary
    internal_date: datetime


def hand(origin: Origin, piece: Piece, body: Body, *, duplicate: bool) -> tuple[Handed, ...]:
    """Where it goes, by routes or, without any, by its account's own settings."""
    own = [owed.destination for owed in origin.owed]
    if not origin.routes:
        return tuple(Handed(name) for name in own)
    mirrors = [owed.destination for owed in origin.owed if owed.mirror]
    envelope = envelope_of(origin.account, origin.mailbox, body, duplicate=duplicate)
    routing = route(envelope, origin.routes, [name for name in own if name not in mirrors])
    return (*(Handed(name) for name in mirrors), *routing.handed)


def envelope_of(account: str, mailbox: str, body: Body, *, duplicate: bool) -> Envelope:
    """What routes ask of a message, read off its header."""
    fields = envelope_fields(header_of(next(iter(body.chunks()), b"")))

    def found(names: Collection[str]) -> tuple[str, ...]:
        return addresses([value for name in names for value in fields.get(name, ())])

    return Envelope(
        account, mailbox, body.size, duplicate, fields, found(SENDERS), found(RECIPIENTS)
    )


def deliveries(
    origin: Origin, piece: Piece, handed: Sequence[Handed], now: datetime
) -> list[QueuedDelivery]:
    """The deliveries that a fetched message makes."""
    by_name = {owed.destination: owed for owed in (*origin.others, *origin.owed)}
    made: list[QueuedDelivery] = []
    seen: set[str] = set()
    for one in handed:
        owed = by_name[one.destination]
        if piece.digest in origin.recognised and (not owed.mirror or origin.renumbered):
            continue
        if owed.spares_old and origin.beginning.is_old(piece.internal_date):
            continue
        key = delivery_key(origin, owed, piece)
        if one.destination in seen:  # another copy, in another folder
            key = hashlib.sha256(octets(f"{key}\0{one.folder}")).hexdigest()[:32]
        seen.add(one.destination)
        made.append(
            QueuedDelivery(
                one.destination, piece.digest, origin.account, origin.mailbox, piece.remote.uid,
                now, key, one.folder, one.label,
            )
        )  # fmt: skip
    return made


def delivery_key(origin: Origin, owed: Owed, piece: Piece) -> str:
    """Names one delivery for ever; where duplicates are skipped, by content alone.

    Content is the `copy_key`, so copies that differ only in trace fields share it.
    In an account of many mailboxes the same octets are one message that was copied,
    moved or labelled: only a mirror gets it for each place.
    """
    if owed.skip_duplicates:
        return piece.summary.copy_key.hex()[:32]
    if origin.many_mailboxes and not owed.mirror:
        return hashlib.sha256(piece.digest + octets(f"{origin.account}\0")).hexdigest()[:32]
    return place_key(origin, piece.remote.uid, piece.digest)


def place_key(origin: Origin, uid: bytes, digest: bytes) -> str:
    """Names the delivery of a message at one place."""
    place = octets(f"{origin.account}\0{origin.mailbox}\0")
    return hashlib.sha256(digest + place + uid).hexdigest()[:32]


def octets(text: str) -> bytes:
    """Names from a server may hold what is no character."""
    return text.encode("utf-8", "surrogateescape")
