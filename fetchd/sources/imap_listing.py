"""What an open mailbox holds: UIDs, sizes, flags and dates as a Listing.

* A message is named by UIDVALIDITY and UID together, so another epoch has other names,
  and one that repeats an old value is recognised by what it holds (quirks 30, 31).
* A server without UIDVALIDITY has no names that last: headers identify, as in POP3.
* With a mark (`imap_mark`) and CONDSTORE only what has changed is asked for. With
  QRESYNC the server tells what vanished; without it a count that does not add up means
  a whole listing. An answer is believed only if it is about the epoch of the mark.
* Everything that may be missing from an answer is missing somewhere (quirk 37): a FETCH
  without UID is nobody's, one without flags or size is asked for once more. If its flags
  still cannot be had it is ambiguous, since one of them might have kept it on the server.
"""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from fetchd.clients.imap import ImapClient
from fetchd.clients.imap_refusals import mailbox_refusal
from fetchd.contracts import HeaderDigest
from fetchd.errors import RemoteProtocolError
from fetchd.message import header_digest, header_of, is_distinctive
from fetchd.policy.mailboxes import Mailbox
from fetchd.policy.plan import Listing, RemoteMessage, batches
from fetchd.protocol.imap import commands, names
from fetchd.protocol.imap.events import Completed, Event
from fetchd.protocol.imap.rules import Command
from fetchd.protocol.imap.sequence import write_sets
from fetchd.protocol.imap.types import (
    Code,
    Exists,
    Expunged,
    Extra,
    Fetched,
    MailboxStatus,
    Status,
    Vanished,
)
from fetchd.sources.identity import named
from fetchd.sources.imap_mark import Mark
from fetchd.values import replace

HEADERS_AT_ONCE = 84  # of one command: below the 1,000 octets that any server takes (quirk 46)
SET_OCTETS = 900  # likewise
MAX_LISTED = 4_000_000  # messages in a mailbox; more is a server that does not come to an end
HEADER_ESTIMATE = 4096  # octets
HEADER = "BODY.PEEK[HEADER]"
MAX_VANISHED = 200_000  # of one answer; RFC 7162 §3.2.6 allows UIDs that never were
_ALL = b"1:*"
_SYSTEM = ("\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen")
_CASED = {flag.lower(): flag for flag in _SYSTEM}


@dataclass(slots=True)
class Place:
    """An open mailbox, as SELECT or EXAMINE told of it."""

    uidvalidity: int = 0  # 0: none
    uidnext: int = 0
    messages: int = 0
    modseq: int = 0  # 0: the mailbox does not count its changes
    read_only: bool = False

    @property
    def epoch(self) -> bytes:
        """What all names begin with; empty where no name lasts."""
        return b"%d." % self.uidvalidity if self.uidvalidity else b""

    def hear(self, event: Event) -> None:
        """One response between the command and its tagged OK, or that OK."""
        match event:
            case Exists(count):
                self.messages = count
            case Status(code=Code(name="UIDVALIDITY", value=int(value))):
                self.uidvalidity = value
            case Status(code=Code(name="UIDNEXT", value=int(value))):
                self.uidnext = value
            case Status(code=Code(name="HIGHESTMODSEQ", value=int(value))):
                self.modseq = value
            case Completed(code=Code(name="READ-ONLY")) | Status(code=Code(name="READ-ONLY")):
                self.read_only = True

    def mark(self, full_pass: datetime) -> Mark:
        """To be remembered, if all that is there now becomes known."""
        return Mark(self.uidvalidity, self.uidnext, self.messages, self.modseq, full_pass)


@dataclass(slots=True)
class _Answer:
    """What opening and listing brought."""

    place: Place = field(default_factory=Place)
    told: list[Fetched] = field(default_factory=list)
    vanished: list[Vanished] = field(default_factory=list)
    expunged: int = 0  # while we listed
    refused: Completed | None = None

    def hear(self, event: Event) -> None:
        match event:
            case Fetched(uid=uid) if uid is not None:
                self.told.append(event)
            case Vanished(earlier=True):
                self.vanished.append(event)
            case Vanished(uids=uids):
                self.expunged += uids.count
            case Expunged():
                self.expunged += 1
            case Completed() if not event.ok:
                self.refused = event


class Lister:
    """Lists one mailbox after the other, and leaves each open for reading."""

    def __init__(self, client: ImapClient, capabilities: frozenset[str]) -> None:
        self._client = client
        self._items = _items(capabilities)
        self._resyncs = "QRESYNC" in client.protocol.enabled
        self._counts = bool({"QRESYNC", "CONDSTORE"} & capabilities)
        self._due: dict[int, RemoteMessage] = {}  # whose headers were asked for, by UID

    @property
    def in_progress(self) -> RemoteMessage | None:
        """The message whose header is due first."""
        return next(iter(self._due.values()), None)

    async def list(
        self, mailbox: Mailbox, status: MailboxStatus | None, mark: Mark | None, now: datetime
    ) -> tuple[Listing, Place]:
        """The whole listing, or with a `mark` what has changed since; and what is open now."""
        changes = await self._changes(mailbox, mark) if mark is not None else None
        if changes is not None:
            return changes
        empty = status is not None and status.messages == 0
        everything = commands.fetch(_ALL, self._items)
        answer = await self._ask(mailbox, None if empty else everything)
        if empty and answer.place.messages:  # just arrived, or STATUS lied
            answer = await self._ask(mailbox, everything)
        place = answer.place
        if place.messages and answer.refused is not None:
            refused = answer.refused
            what = f"the server does not list '{mailbox.name}'"
            raise mailbox_refusal(refused.code, refused.text, what)
        messages = await self._messages(answer)
        complete = len(messages) >= place.messages - answer.expunged
        if not place.uidvalidity:
            return await self._nameless(mailbox, messages, complete=complete), place
        digest = place.mark(now).written()
        return Listing(mailbox.name, messages, digest, complete, epoch=place.epoch), place

    async def _changes(self, mailbox: Mailbox, mark: Mark) -> tuple[Listing, Place] | None:
        """What has changed since the mark; None where that cannot be told."""
        if not (mark.modseq and self._counts):
            return None
        since = commands.fetch(_ALL, self._items, changed_since=mark.modseq, vanished=self._resyncs)
        answer = await self._ask(mailbox, since)
        place = answer.place
        if answer.refused is not None or place.uidvalidity != mark.uidvalidity:
            return None
        if place.modseq < mark.modseq or answer.expunged:
            return None
        messages = await self._messages(answer)
        new = sum(m.number >= mark.uidnext for m in messages)
        if not self._resyncs and mark.messages + new != place.messages:
            return None  # some have vanished, and nobody says which
        if sum(one.uids.count for one in answer.vanished) > MAX_VANISHED:
            return None
        vanished = frozenset(
            b"%b%d" % (place.epoch, uid) for one in answer.vanished for uid in one.uids
        )
        digest = place.mark(mark.full_pass).written()
        listing = Listing(
            mailbox.name, messages, digest, epoch=place.epoch, delta=True,
            vanished=vanished, total=place.messages,
        )  # fmt: skip
        return listing, place

    async def _ask(self, mailbox: Mailbox, listing: Command | None) -> _Answer:
        """EXAMINE and, in the same flight, the listing."""
        opening = commands.examine(mailbox.wire, condstore=self._counts)
        asks = [(opening, 0)] if listing is None else [(opening, 0), (listing, 0)]
        answer = _Answer()
        is_open = False
        async with aclosing(self._client.exchange(asks)) as answers:
            async for events in answers:
                for event in events:
                    if not is_open:
                        answer.place.hear(event)
                    if isinstance(event, Completed) and event.command is opening:
                        is_open = True
                        if not event.ok:
                            what = f"the mailbox '{mailbox.name}' cannot be opened"
                            raise mailbox_refusal(event.code, event.text, what)
                    answer.hear(event)
                if len(answer.told) > MAX_LISTED:
                    raise RemoteProtocolError(f"'{mailbox.name}' lists messages without end")
        return answer

    async def _messages(self, answer: _Answer) -> tuple[RemoteMessage, ...]:
        """What was told, each message once; what lacks something is asked for again."""
        lacking = self._lacking(answer.told)
        if lacking:
            asks = ((commands.fetch(s, self._items), 0) for s in write_sets(lacking, SET_OCTETS))
            async with aclosing(self._client.exchange(asks)) as answers:
                async for events in answers:
                    answer.told += [e for e in events if isinstance(e, Fetched) and e.uid]
            flagged = {one.uid for one in answer.told if one.flags is not None}
            lacking -= flagged
        found = _merged(answer.told, answer.place.epoch)
        for uid in lacking:
            found[uid] = replace(found[uid], ambiguous=True)
        return tuple(found[uid] for uid in sorted(found))

    def _lacking(self, told: Sequence[Fetched]) -> set[int]:
        """UIDs of which flags, size or labels were never told: some news said only a part."""
        labels = "X-GM-LABELS" in self._items
        partly = {
            one.uid
            for one in told
            if one.flags is None or one.size is None or (labels and one.extra.labels is None)
        }
        about = [one for one in told if one.uid in partly] if partly else []
        flagged = {one.uid for one in about if one.flags is not None}
        sized = {one.uid for one in about if one.size is not None}
        labelled = {one.uid for one in about if one.extra.labels is not None or not labels}
        return {uid for uid in partly - (flagged & sized & labelled) if uid is not None}

    # -- Headers -----------------------------------------------------------------

    async def _nameless(
        self, mailbox: Mailbox, messages: Sequence[RemoteMessage], *, complete: bool
    ) -> Listing:
        """Without UIDVALIDITY (quirk 31) a message is named by its header."""
        unnamed = [replace(message, uid=b"") for message in messages]
        headers = {h.remote.number: h.digest async for h in self.headers(unnamed)}
        found = named(unnamed, headers, {})
        told = {message.number: message for message in unnamed}
        full = tuple(
            replace(told[m.number], uid=m.uid, ambiguous=m.ambiguous) for m in found if m.uid
        )
        digest = hashlib.sha256(b"\n".join(m.uid for m in full)).digest()
        return Listing(mailbox.name, full, digest, complete and len(full) == len(messages))

    async def headers(
        self, messages: Sequence[RemoteMessage]
    ) -> AsyncGenerator[HeaderDigest, None]:
        """Header digests of messages in the open mailbox; those that do not come are left out."""
        due = self._due = {message.number: message for message in messages}
        groups = batches(messages, HEADERS_AT_ONCE, 1 << 62)
        asks = (
            (
                commands.fetch(write_sets([m.number for m in group])[0], [HEADER]),
                HEADER_ESTIMATE * len(group),
            )
            for group in groups
        )
        async with aclosing(self._client.exchange(asks)) as answers:
            async for events in answers:
                for event in events:
                    match event:
                        case Fetched(uid=int(uid), header=bytes(octets)) if uid in due:
                            header = header_of(octets)
                            yield HeaderDigest(
                                due.pop(uid), header_digest(header), is_distinctive(header), header
                            )
        due.clear()


def _items(capabilities: frozenset[str]) -> list[str]:
    """What to ask of each message in a listing."""
    wanted = ["FLAGS", "INTERNALDATE", "RFC822.SIZE"]
    if "OBJECTID" in capabilities:
        wanted.append("EMAILID")  # RFC 8474
    if "X-GM-EXT-1" in capabilities:
        wanted += ["X-GM-MSGID", "X-GM-LABELS"]
    return wanted


def _merged(told: Sequence[Fetched], epoch: bytes) -> dict[int, RemoteMessage]:
    """By UID; the last word on flags counts, and nothing unsays what was said."""
    found: dict[int, RemoteMessage] = {}
    for one in told:
        assert one.uid is not None
        message = RemoteMessage(
            b"%b%d" % (epoch, one.uid), one.size or 0, one.uid, False,
            joined(one.flags or ()), one.internal_date, _object_id(one.extra),
            _labels(one.extra.labels or ()),
        )  # fmt: skip
        before = found.get(one.uid)
        if before is not None:
            message = replace(
                before,
                size=message.size or before.size,
                flags=before.flags if one.flags is None else message.flags,
                arrived=message.arrived or before.arrived,
                object_id=message.object_id or before.object_id,
                labels=before.labels if one.extra.labels is None else message.labels,
            )
        found[one.uid] = message
    return found


@lru_cache(4096)
def joined(flags: tuple[str, ...]) -> str:
    """Flags as they are remembered: sorted, \\Recent left out, which is a session's business."""
    cased = {_CASED.get(flag.lower(), flag) for flag in flags if flag.lower() != "\\recent"}
    return " ".join(sorted(cased))


def _object_id(extra: Extra) -> str:
    if extra.email_id:
        return extra.email_id
    return str(extra.gmail_id) if extra.gmail_id is not None else ""


@lru_cache(4096)
def _labels(labels: tuple[bytes, ...]) -> str:
    """Gmail's labels, decoded and one a line."""
    decoded = (names.decode(label) or label.decode("utf-8", "replace") for label in labels)
    return "\n".join(sorted(decoded))
