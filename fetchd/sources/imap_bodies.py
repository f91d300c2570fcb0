"""Bodies by UID FETCH: many in one command, and each bad one found out by itself.

A flight of FETCHes brings messages in whatever order the server likes; they are told
apart by UID alone (quirk 37). What a command did not bring, or brought empty, whether
its answer was OK or NO, is asked for once more by itself, so that one message that the
server cannot read does not keep its neighbours (quirk 39); then it is Unavailable. Only
what another client expunged meanwhile, by the server's own word, is passed over. What is
asked for are the UIDs of the listing, never windows of numbers (quirk 33).

COMPRESS costs a server more than a fast line saves: Dovecot hands out 300 MB/s as they
are and 20 MB/s compressed, to 72 % of realistic mail and 40 % of small. So it is asked
for in the middle, once it has shown that the line is slower than that.
"""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from fetchd.clients.imap import Ask, ImapClient
from fetchd.clients.imap_refusals import mailbox_refusal, server_refusal
from fetchd.contracts import Fetched, Unavailable
from fetchd.errors import MailboxUnavailable
from fetchd.policy.plan import RemoteMessage, batches
from fetchd.protocol.imap import commands
from fetchd.protocol.imap.events import BodyChunk, BodyStart, Completed, Event, Unreadable
from fetchd.protocol.imap.rules import Command
from fetchd.protocol.imap.sequence import write_sets
from fetchd.protocol.imap.types import Expunged, Vanished
from fetchd.protocol.imap.types import Fetched as Told
from fetchd.sources.incoming import REFUSALS, Incoming, Sizes

BATCH_MESSAGES = 84  # of one command: below the 1,000 octets that any server takes (quirk 46)
BATCH_OCTETS = 4 << 20
SET_OCTETS = 900  # likewise
SLOW_LINE = 8 << 20  # octets a second; beyond it compressing takes longer than sending
PROBE = 4 << 20  # octets, before that is believed: TCP begins slowly
PEEK = "BODY.PEEK[]"  # RFC822 would mark as seen, and at iCloud brings nothing (quirk 38)


@dataclass(slots=True)
class Line:
    """How fast the bodies of a session have come, and whether packing them may be tried."""

    may_compress: bool
    octets: int = 0
    waited: float = 0.0  # seconds

    @property
    def is_slow(self) -> bool:
        """Whether enough has come to say so."""
        return self.octets >= PROBE and self.octets < SLOW_LINE * self.waited

    @property
    def wants_compressing(self) -> bool:
        """Whether this is the time for it; True once."""
        asked = self.may_compress and self.is_slow
        self.may_compress &= not asked
        return asked


class Bodies:
    """Fetches messages of the mailbox that is open."""

    def __init__(
        self, client: ImapClient, line: Line, spill_dir: Path, max_size: int | None
    ) -> None:
        self._client, self._line = client, line
        self._sizes = Sizes(spill_dir, max_size)
        self._due: dict[int, RemoteMessage] = {}  # by UID
        self._asked: dict[Command, Sequence[RemoteMessage]] = {}
        self._missed: list[RemoteMessage] = []  # to be asked for once more, alone
        self._body: Incoming | None = None
        self._coming: int | None = None  # the UID of that body, if it was told
        self._refusals = 0  # in a row
        self._expunged = 0  # by others, while we fetched
        self._names_bodies = True  # each came with its UID

    @property
    def in_progress(self) -> RemoteMessage | None:
        """The message that is due first: where the line broke, if it broke."""
        if self._coming in self._due:
            return self._due[self._coming]
        return next(iter(self._due.values()), None)

    async def fetch(
        self, messages: Iterable[RemoteMessage]
    ) -> AsyncGenerator[Fetched | Unavailable, None]:
        """All of them, or why not."""
        unwanted: list[Unavailable] = []
        wanted = self._wanted(messages, unwanted)
        async with aclosing(self._flight(batches(wanted, BATCH_MESSAGES, BATCH_OCTETS))) as several:
            async for arrival in several:
                yield arrival
        for one in unwanted:
            yield one
        missed, self._missed = await self._still_there(self._missed), []
        # A body without UID is known only if nothing else was asked for.
        for group in [missed] if self._names_bodies else [[message] for message in missed]:
            alone = self._flight(((message,) for message in group), alone=True)
            async with aclosing(alone) as singles:
                async for arrival in singles:
                    yield arrival

    async def _still_there(self, missed: Sequence[RemoteMessage]) -> Sequence[RemoteMessage]:
        """Without those that were expunged, which is believed as often as it was said."""
        if not missed:
            return missed
        sets = write_sets((message.number for message in missed), SET_OCTETS)
        flight = await self._client.flight(*(commands.fetch(uids, ["FLAGS"]) for uids in sets))
        for event in flight.events:
            self._note_expunged(event)
        told = {event.uid for event in flight.events if isinstance(event, Told)}
        there = [message for message in missed if message.number in told]
        believed = flight.ok and None not in told and len(missed) - len(there) <= self._expunged
        return there if believed else missed

    def _wanted(
        self, messages: Iterable[RemoteMessage], unwanted: list[Unavailable]
    ) -> Iterator[RemoteMessage]:
        for message in messages:
            if (reason := self._sizes.unwanted(message)) is not None:
                unwanted.append(reason)
            else:
                yield message

    async def _flight(
        self, groups: Iterable[Sequence[RemoteMessage]], *, alone: bool = False
    ) -> AsyncGenerator[Fetched | Unavailable, None]:
        client, line = self._client, self._line
        received, waited = -1, 0.0
        try:
            async with aclosing(client.exchange(self._asks(groups))) as answers:
                async for events in answers:
                    if received >= 0:  # the first wait was a round trip
                        line.octets += client.received - received
                        line.waited += client.waited - waited
                    received, waited = client.received, client.waited
                    for event in events:
                        for arrival in self._take(event, alone):
                            yield arrival
        finally:
            self._discard()

    def _asks(self, groups: Iterable[Sequence[RemoteMessage]]) -> Iterator[Ask]:
        for group in groups:
            if self._line.wants_compressing:
                yield commands.compress(), 0
            self._due |= {message.number: message for message in group}
            (uids,) = write_sets([message.number for message in group])
            command = commands.fetch(uids, [PEEK])
            self._asked[command] = group
            yield command, sum(message.size for message in group)

    def _take(self, event: Event, alone: bool) -> Iterator[Fetched | Unavailable]:
        match event:
            case BodyStart(uid=uid):
                self._discard()
                self._body, self._coming = self._sizes.new_body(), uid
            case BodyChunk(data) if self._body is not None:
                self._body.add(data)
            case Told(uid=uid, body=octets) if octets is not None and self._body is not None:
                yield from self._arrived(uid, alone)
            case Unreadable():
                self._discard()
            case Completed(command=command) if command in self._asked:
                yield from self._completed(event, self._asked.pop(command), alone)
            case _:
                self._note_expunged(event)

    def _note_expunged(self, event: Event) -> None:
        match event:
            case Expunged():
                self._expunged += 1
            case Vanished(uids=uids, earlier=False):
                self._expunged += uids.count

    def _arrived(self, uid: int | None, alone: bool) -> Iterator[Fetched | Unavailable]:
        """One whole body; what nobody asked for, or asked for twice, is thrown away."""
        if uid is None:
            self._names_bodies = False
            uid = next(iter(self._due)) if len(self._due) == 1 else None  # the only one meant
        message = self._due.pop(uid, None) if uid is not None else None
        body, self._body, self._coming = self._body, None, None
        if message is None or body is None:
            if body is not None:
                body.discard()
            return
        self._refusals = 0
        if not alone and self._sizes.is_hollow(message, body):
            self._missed.append(message)
            return
        yield self._sizes.received(message, body)

    def _completed(
        self, answer: Completed, group: Sequence[RemoteMessage], alone: bool
    ) -> Iterator[Unavailable]:
        """What the command should have brought and did not."""
        missed = [m for m in group if self._due.pop(m.number, None) is not None]
        if not answer.ok:
            error = mailbox_refusal(answer.code, answer.text, "the server hands nothing over")
            if not isinstance(error, MailboxUnavailable):
                raise error
        if not missed:
            return
        if not alone:
            self._missed += missed
            return
        self._refusals += 1
        if self._refusals >= REFUSALS:
            what = f"the server refuses {REFUSALS} messages in a row"
            raise server_refusal(answer.code, answer.text, what)
        said = answer.text or "without a word"
        nothing = f"the server says {answer.outcome} and hands nothing over: {said}"
        yield Unavailable(missed[0], nothing)

    def _discard(self) -> None:
        if self._body is not None:
            self._body.discard()
        self._body = self._coming = None
