"""A POP3 account as a Session: what the maildrop means (RFC 1939, RFC 2449).

How to get in is in `pop3_login`, how a message is named in `identity`, how a
body comes in in `incoming`. Here: when which command is asked, and what follows.

DELE is a fact only after +OK to QUIT, so `close` alone says what is gone. RSET
is never sent. A server that announces EXPIRE 0 deletes at QUIT whatever it has
handed over (RFC 2449 §6.7): whoever does not keep a body must `abort`.
"""

import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path

from fetchd.clients.pop3 import Ask
from fetchd.clients.refusals import is_not_understood, is_passing, refusal
from fetchd.contracts import (
    Credentials,
    Fetched,
    HeaderDigest,
    Removed,
    ServerFacts,
    Unavailable,
    Watch,
    unwatched,
)
from fetchd.errors import (
    AccountRefused,
    ConnectionFailed,
    LocalProtocolError,
    RemoteProtocolError,
    ServerUnavailable,
)
from fetchd.message import HEADER_LIMIT, header_digest, header_of, is_distinctive
from fetchd.policy.plan import Listing, RemoteMessage
from fetchd.protocol.pop3 import BodyChunk, BodyEnd, Reply, parse_listing
from fetchd.sources.identity import listed, named, nameless, unclear
from fetchd.sources.incoming import Sizes
from fetchd.sources.login import certified_until
from fetchd.sources.pop3_arrivals import Arrivals
from fetchd.sources.pop3_login import Entrance, Pop3Access, announced, enter, first_number
from fetchd.telemetry import Transcript
from fetchd.values import replace

__all__ = ["MAILBOX", "Pop3Access", "Pop3Session", "open_pop3"]

MAILBOX = "INBOX"
HEADER_ESTIMATE = 4096  # octets expected in answer to TOP n 0
ABSURD = 1 << 40  # octets: what is listed as larger is not believed, only kept from overflowing


async def open_pop3(
    access: Pop3Access,
    credentials: Credentials,
    spill_dir: Path,
    transcript: Transcript | None = None,
    watch: Watch = unwatched,
    *,
    whole: bool = False,
) -> "Pop3Session":
    """Connect, encrypt, log in; with `whole` the first look asks for sizes too."""
    entrance = await enter(access, credentials, transcript, watch, whole=whole)
    return Pop3Session(entrance, access, spill_dir)


class Pop3Session:
    """An open maildrop; implements contracts.Session."""

    def __init__(self, entrance: Entrance, access: Pop3Access, spill_dir: Path) -> None:
        self.facts = _facts(entrance)
        self._client = entrance.client
        self._looks = entrance.looks
        self._max_size = access.max_message_size
        self._spill_dir = spill_dir
        self._listed: dict[int, RemoteMessage] = {}
        self._dropped: list[bytes] = []

    @property
    def in_progress(self) -> RemoteMessage | None:
        """The message whose answer is due first: where the line broke, if it breaks."""
        pending = self._client.protocol.pending
        if not pending or pending[0].verb not in ("RETR", "TOP"):
            return None
        message = self._listed.get(int(pending[0].argument.split()[0]))
        return message if message is not None and message.uid else None

    async def mailboxes(self) -> Sequence[str]:
        """POP3 has one."""
        return (MAILBOX,)

    # -- What is there -----------------------------------------------------------

    def role(self, mailbox: str) -> str | None:
        """A maildrop is an inbox."""
        return "\\Inbox"

    async def absent(self, mailboxes: Iterable[str]) -> frozenset[str]:
        """A maildrop is always there."""
        return frozenset()

    async def list(
        self, mailbox: str, unchanged: bytes | None = None, *, whole: bool = True
    ) -> Listing | None:
        """STAT, UIDL and, unless nothing changed, LIST."""
        stat, uidl, *rest = await self._look(whole=unchanged is None)
        if not stat.ok:
            raise refusal(stat.text, "STAT failed")
        count = first_number(stat.text)
        if not uidl.ok:
            _raise_if_passing(uidl)
            self.facts = replace(self.facts, unique_ids=False)
        # With STAT, so that a unique-id given to another message is noticed too.
        digest = hashlib.sha256(b"%b\n%b" % (_drop_listing(stat.text), uidl.block)).digest()
        lines = uidl.block.count(b"\n")
        if uidl.ok and digest == unchanged and lines == count:
            return None
        sizes = await self._sizes(rest)
        tokens = parse_listing(uidl.block)
        found = listed(tokens, sizes)
        self._listed = {m.number: m for m in found}
        messages = await self._named(found)
        self._listed = {m.number: m for m in messages}
        complete = count == len(sizes) == len(messages) and (
            count == lines == len(tokens) or not uidl.ok
        )
        if not uidl.ok:
            digest = hashlib.sha256(b"\n".join(m.uid for m in messages)).digest()
            if digest == unchanged and complete:
                return None
        return Listing(mailbox, tuple(messages), digest, complete, self.facts.partial_listings)

    async def _look(self, *, whole: bool) -> Sequence[Reply]:
        """STAT and UIDL, with LIST behind them where it will be needed for sure."""
        if self._looks:  # they came along with the second CAPA
            looks, self._looks = self._looks, ()
            return looks
        verbs = ("STAT", "UIDL", "LIST") if whole else ("STAT", "UIDL")
        return await self._client.ask_all(*((verb, b"") for verb in verbs))

    async def _sizes(self, early: Sequence[Reply]) -> dict[int, int]:
        """Number -> octets; empty where the server refuses to tell."""
        reply = early[0] if early else await self._client.ask("LIST")
        if not reply.ok:
            _raise_if_passing(reply)
        sizes = parse_listing(reply.block)
        return {
            number: min(first_number(size.decode("latin-1")) or 0, ABSURD)
            for number, size in sizes.items()
        }

    async def _named(self, messages: Sequence[RemoteMessage]) -> Sequence[RemoteMessage]:
        """The messages under names that the next session will find again."""
        doubtful = unclear(messages)
        if not doubtful:
            return messages
        headers = {h.remote.number: h.digest async for h in self.headers(doubtful)}
        unread = [m for m in nameless(doubtful) if m.number not in headers]
        return named(messages, headers, await self._contents(unread))

    async def _contents(self, messages: Sequence[RemoteMessage]) -> Mapping[int, bytes]:
        """Digest of each whole message, by number."""
        digests: dict[int, bytes] = {}
        running = hashlib.sha256()
        asks = (("RETR", b"%d" % m.number, m.size) for m in messages)
        async with aclosing(self._client.exchange(asks)) as answers:
            async for events in answers:
                for event in events:
                    match event:
                        case BodyChunk(data):
                            running.update(data)
                        case BodyEnd(command):
                            digests[int(command.argument)] = running.digest()
                            running = hashlib.sha256()
        return digests

    async def headers(
        self, messages: Sequence[RemoteMessage]
    ) -> AsyncGenerator[HeaderDigest, None]:
        """Header digests by TOP n 0; nothing where the server knows no TOP."""
        waiting: deque[RemoteMessage] = deque()
        chunks: list[bytes] = []
        size = 0
        any_came = False
        async with aclosing(self._client.exchange(self._previews(messages, waiting))) as answers:
            async for events in answers:
                for event in events:
                    match event:
                        case Reply(ok=False, text=text):
                            waiting.popleft()
                            if not any_came and is_not_understood(text):
                                self.facts = replace(self.facts, can_preview=False)
                        case BodyChunk(data) if size < HEADER_LIMIT:
                            chunks.append(data)
                            size += len(data)
                        case BodyEnd():
                            header = header_of(b"".join(chunks))
                            chunks, size, any_came = [], 0, True
                            yield HeaderDigest(
                                waiting.popleft(),
                                header_digest(header),
                                is_distinctive(header),
                                header,
                            )

    def _previews(
        self, messages: Sequence[RemoteMessage], waiting: deque[RemoteMessage]
    ) -> Iterator[Ask]:
        for message in messages:
            if not self.facts.can_preview:
                return
            waiting.append(message)
            yield ("TOP", b"%d 0" % self._number(message), HEADER_ESTIMATE)

    # -- Bodies ------------------------------------------------------------------

    async def fetch(
        self, messages: Iterable[RemoteMessage]
    ) -> AsyncGenerator[Fetched | Unavailable, None]:
        """Bodies in the order given; large ones in files of `spill_dir`."""
        keep_all = self.facts.expire_days == 0
        arrivals = Arrivals(Sizes(self._spill_dir, self._max_size, keep_all=keep_all))
        asks = arrivals.asks(messages, self._number)
        try:
            async with aclosing(self._client.exchange(asks)) as answers:
                async for events in answers:
                    for event in events:
                        for arrival in arrivals.take(event):
                            yield arrival
            for skipped in arrivals.skipped():
                yield skipped
        finally:
            arrivals.discard()

    def _number(self, message: RemoteMessage) -> int:
        """Numbers hold for one session only (RFC 1939 §5): refuse those of another."""
        if self._listed.get(message.number) != message:
            raise LocalProtocolError(f"message {message.number} was not listed in this session")
        return message.number

    # -- The end -----------------------------------------------------------------

    def may_retire(self, mailbox: str) -> bool:
        """There is one, and it has no trash."""
        return True

    async def retire(self, messages: Sequence[RemoteMessage]) -> Removed:
        """DELE, pipelined; never where it is not certain which message goes."""
        certain = [m for m in messages if not m.ambiguous]
        replies = await self._client.ask_all(*(("DELE", b"%d" % self._number(m)) for m in certain))
        self._dropped += (m.uid for m, reply in zip(certain, replies, strict=True) if reply.ok)
        return Removed()

    async def keep_alive(self) -> None:
        """NOOP: RFC 1939 §3 lets a server hang up after ten idle minutes."""
        await self._client.ask("NOOP")

    async def close(self) -> frozenset[bytes]:
        """QUIT; without its +OK nothing is known to be gone, and the next listing tells."""
        try:
            reply = await self._client.ask("QUIT")
        except (ConnectionFailed, RemoteProtocolError, ServerUnavailable, AccountRefused):
            self._client.stream.abort()
            return frozenset()
        await self._client.stream.close()
        return frozenset(self._dropped) if reply.ok else frozenset()

    async def abort(self) -> None:
        """Hang up; RFC 1939 §6: the server then removes nothing."""
        self._client.stream.abort()


def _drop_listing(stat: str) -> bytes:
    """RFC 1939 §5: "nn mm", and perhaps prose behind it that changes with each session."""
    return b" ".join(stat.encode().split()[:2])


def _facts(entrance: Entrance) -> ServerFacts:
    said = entrance.capabilities
    return ServerFacts(
        capabilities=tuple(f"{name} {rest}".rstrip() for name, rest in said.items()),
        expire_days=announced(said.get("EXPIRE", "")),
        login_delay=announced(said.get("LOGIN-DELAY", "")),
        unique_ids="UIDL" in said or not said,
        can_preview="TOP" in said or not said,
        pipelining="PIPELINING" in said,
        implementation=said.get("IMPLEMENTATION", ""),
        tls=entrance.client.stream.tls,
        certificate_until=certified_until(entrance.client.stream),
        # Gmail lists the oldest few hundred and hides what was read, and says so nowhere.
        partial_listings="X-GOOGLE-RICO" in said or entrance.greeting.startswith("Gpop"),
    )


def _raise_if_passing(reply: Reply) -> None:
    """A listing refused for now is not a listing the server does not know."""
    if is_passing(reply.text):
        raise refusal(reply.text, f"{reply.command.verb} failed")
