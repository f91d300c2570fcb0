"""Bodies by UID FETCH: many in one command, and each bad one found out by itself.

A flight of FETCHes brings messages in whatever order the server likes; they are told
apart by UID alone (quirk 37). What a command did not bring, whether its answer was OK
or NO, is asked for once more by itself, so that one message that the server cannot
read does not keep its neighbours (quirk 39); then it is Unavailable. What is asked for
are the UIDs of the listing, never windows of numbers (quirk 33).
"""

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
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
from fetchd.protocol.imap.types import Fetched as Told
from fetchd.sources.incoming import REFUSALS, Incoming, Sizes

BATCH_MESSAGES = 90  # of one command: below the 1,000 octets that any server takes (quirk 46)
BATCH_OCTETS = 4 << 20
PEEK = "BODY.PEEK[]"  # RFC822 would mark as seen, and at iCloud brings nothing (quirk 38)


class Bodies:
    """Fetches messages of the mailbox that is open."""

    def __init__(self, client: ImapClient, spill_dir: Path, max_size: int | None) -> None:
        self._client = client
        self._sizes = Sizes(spill_dir, max_size)
        self._due: dict[int, RemoteMessage] = {}  # by UID
        self._asked: dict[Command, Sequence[RemoteMessage]] = {}
        self._missed: list[RemoteMessage] = []  # to be asked for once more, alone
        self._body: Incoming | None = None
        self._coming: int | None = None  # the UID of that body, if it was told
        self._refusals = 0  # in a row

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
        missed, self._missed = self._missed, []
        alone = self._flight(((message,) for message in missed), alone=True)
        async with aclosing(alone) as singles:
            async for arrival in singles:
                yield arrival

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
        try:
            async with aclosing(self._client.exchange(self._asks(groups))) as answers:
                async for events in answers:
                    for event in events:
                        for arrival in self._take(event, alone):
                            yield arrival
        finally:
            self._discard()

    def _asks(self, groups: Iterable[Sequence[RemoteMessage]]) -> Iterator[Ask]:
        for group in groups:
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
                yield from self._arrived(uid)
            case Unreadable():
                self._discard()
            case Completed(command=command) if command in self._asked:
                yield from self._completed(event, self._asked.pop(command), alone)

    def _arrived(self, uid: int | None) -> Iterator[Fetched | Unavailable]:
        """One whole body; what nobody asked for, or asked for twice, is thrown away."""
        if uid is None and len(self._due) == 1:
            uid = next(iter(self._due))  # nothing else can be meant
        message = self._due.pop(uid, None) if uid is not None else None
        body, self._body, self._coming = self._body, None, None
        if message is None or body is None:
            if body is not None:
                body.discard()
            return
        self._refusals = 0
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
