"""An IMAP connection: commands go out in flights, events come back as they arrive.

`exchange` is the only loop; everything else is a call of it. The window is bounded
by octets expected and by count. Untagged responses are handed out in the order in
which they came, with the tagged answers between them; what belongs to what, the
caller knows. Whoever abandons an exchange need not care: the next one first reads
what is still owed.

A server that talks and talks without answering meets MAX_EVENTS. The first BYE ends the
session with its own words (quirk 71); after LOGOUT it is all that is waited for.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing

from fetchd.clients.conversation import Conversation, Turns
from fetchd.clients.deflate import Deflate
from fetchd.clients.imap_refusals import server_refusal
from fetchd.clients.stream import Stream, TlsSettings
from fetchd.errors import ConnectionFailed, FetchdError, RemoteProtocolError
from fetchd.protocol.imap import commands
from fetchd.protocol.imap.events import (
    BodyChunk,
    Challenge,
    Completed,
    Event,
    Greeting,
    Idling,
    Proceed,
)
from fetchd.protocol.imap.rules import RULES, Command, Order
from fetchd.protocol.imap.session import ImapProtocol
from fetchd.protocol.imap.types import Bye, Fetched
from fetchd.protocol.sasl import Mechanism
from fetchd.telemetry import Transcript
from fetchd.values import Struct

WINDOW_OCTETS = 16 << 20  # expected in outstanding answers
WINDOW_COUNT = 200  # commands; each may be for many messages
MAX_EVENTS = 5_000_000  # without a tagged answer; a listing has one for each message
MAX_KEPT = 250_000  # events of a flight: LIST with STATUS of 125,000 mailboxes

Ask = tuple[Command, int]  # and the octets expected in answer


class Flight(Struct, frozen=True):
    """What some commands brought: their tagged answers, in the order of the commands, and
    everything else."""

    completed: tuple[Completed, ...]
    events: tuple[Event, ...]

    @property
    def ok(self) -> bool:
        """Whether all of them succeeded."""
        return all(one.ok for one in self.completed)


class ImapClient(Conversation):
    """One connection's conversation."""

    def __init__(
        self, stream: Stream, read_timeout: float, transcript: Transcript | None = None
    ) -> None:
        super().__init__(stream, read_timeout, transcript)
        self.protocol = ImapProtocol()
        self._leaving = False
        self._events = 0  # since the last tagged answer
        self._deflate: Deflate | None = None

    async def greeting(self) -> Greeting:
        """The server's first words."""
        with self._greeting_expected():
            while True:
                for event in await self._receive("a greeting"):
                    if isinstance(event, Greeting):
                        return event

    async def exchange(self, asks: Iterable[Ask]) -> AsyncGenerator[list[Event], None]:
        """Send the commands as the window allows; events as they come."""
        await self._settle()
        queue = iter(asks)
        upcoming: Ask | None = None
        expected: deque[int] = deque()  # octets, for each unanswered command
        outstanding = 0  # their sum
        pending = self.protocol.pending
        while True:
            out: list[bytes] = []
            try:
                while len(pending) < WINDOW_COUNT and not self.protocol.sending:
                    upcoming = upcoming or next(queue, None)
                    if upcoming is None or (pending and outstanding + upcoming[1] > WINDOW_OCTETS):
                        break
                    command, octets = upcoming
                    if pending and _alone(command, pending.values()):
                        break
                    out.append(self._send(command))
                    expected.append(octets)
                    outstanding += octets
                    upcoming = None
            finally:  # also if the caller's iterator fails: what is pending must be answered
                if out:
                    self._write(b"".join(out))
            if not pending:
                return
            events = await self._receive(f"an answer to {next(iter(pending.values())).verb}")
            while len(expected) > len(pending):
                outstanding -= expected.popleft()
            yield events

    async def flight(self, *asked: Command) -> Flight:
        """Some commands with small answers, in one flight as far as RULES allow."""
        done: dict[str, Completed] = {}
        events: list[Event] = []
        async with aclosing(self.exchange((command, 0) for command in asked)) as answers:
            async for some in answers:
                for event in some:
                    if isinstance(event, Completed):
                        done[event.tag] = event
                    else:
                        events.append(event)
                _check_kept(events)
        in_order = sorted(done.values(), key=lambda one: int(one.tag[1:]))
        return Flight(tuple(in_order), tuple(events))

    async def ask(self, command: Command) -> Flight:
        """One command."""
        return await self.flight(command)

    async def start_tls(self, settings: TlsSettings, timeout: float) -> Completed:  # noqa: ASYNC109
        """STARTTLS, and the handshake if the server agrees."""
        (answer,) = (await self.flight(commands.starttls())).completed
        if answer.ok:
            await self.stream.start_tls(settings, timeout)
        return answer

    @property
    def compressed(self) -> bool:
        """Whether COMPRESS is in effect."""
        return self._deflate is not None

    async def compress(self) -> bool:
        """COMPRESS=DEFLATE from here on (RFC 4978); False where the server will not.

        It may also be one of the commands of an exchange.
        """
        return (await self.ask(commands.compress())).ok

    async def authenticate(self, name: str, mechanism: Mechanism, *, inline: bool) -> Completed:
        """AUTHENTICATE with its turns; `inline`: the server offers SASL-IR."""
        await self._settle()
        turns = Turns(name, mechanism)
        self._write(self._send(commands.authenticate(name, turns.inline() if inline else None)))
        while True:
            for event in await self._receive("an answer to AUTHENTICATE"):
                match event:
                    case Challenge(data=challenge):
                        response = await turns.answer(challenge)
                        self._note("C", "***")
                        self._write(self.protocol.respond(response))
                    case Completed():
                        turns.end(ok=event.ok)
                        return event

    async def upload(self, command: Command, bodies: Iterable[Iterator[bytes]]) -> Flight:
        """APPEND: the bodies go out as the server asks for them, in pieces."""
        await self._settle()
        waiting = iter(bodies)
        events: list[Event] = []
        self._write(self._send(command))
        while True:
            while self.protocol.wanted:
                for piece in next(waiting):
                    self._write(self.protocol.supply(piece))
                    await self.stream.drained(self._timeout)
            if not self.protocol.pending:
                break
            events += await self._receive("an answer to APPEND")
        done = tuple(event for event in events if isinstance(event, Completed))
        return Flight(done, tuple(event for event in events if not isinstance(event, Completed)))

    async def idle(self, patience: float) -> AsyncGenerator[list[Event], None]:
        """Events as the server tells them by IDLE (RFC 2177), for at most `patience` seconds.

        Yields an empty list when it has begun. Whoever leaves ends it, by DONE.
        """
        await self._settle()
        self._write(self._send(commands.idle()))
        clock = asyncio.get_running_loop().time
        begun = False
        end = clock() + patience
        try:
            while self.protocol.pending and (left := end - clock()) > 0:
                try:
                    events = await self._receive("news", left if begun else None)
                except ConnectionFailed:
                    if clock() < end:
                        raise
                    break
                self._pace.restart()
                begun = begun or any(isinstance(event, Idling) for event in events)
                yield [event for event in events if not isinstance(event, Idling | Completed)]
        finally:
            sound = self.protocol.fault is None and self._farewell is None
            if begun and sound and self.protocol.pending:
                self._write(self.protocol.done())

    async def settle(self) -> list[Event]:
        """What is still owed, read to its end: after IDLE, and before something is measured."""
        return await self._settle()

    async def logout(self) -> None:
        """Leave in good order; what the server thinks of it does not matter."""
        try:
            async with aclosing(self.exchange([(commands.logout(), 0)])) as answers:
                async for events in answers:
                    if any(isinstance(event, Bye | Completed) for event in events):
                        break  # quirk 71: some say BYE for ever
        except FetchdError:
            self.stream.abort()
            return
        await self.stream.close()

    async def _settle(self) -> list[Event]:
        """Read the answers to an abandoned exchange away."""
        events: list[Event] = []
        while self.protocol.pending:
            verb = next(iter(self.protocol.pending.values())).verb
            events += [
                event
                for event in await self._receive(f"an answer to {verb}")
                if not isinstance(event, BodyChunk)
            ]
            _check_kept(events)
        return events

    def _send(self, command: Command) -> bytes:
        if self._farewell is not None:
            raise self._farewell
        octets = self.protocol.send(command)
        self._leaving |= command.verb == "LOGOUT"
        self._note("C", repr(command))
        return octets

    def _write(self, octets: bytes) -> None:
        if self._deflate is not None and octets:
            octets = self._deflate.pack(octets)
        self.stream.write(octets)

    async def _receive(self, purpose: str, timeout: float | None = None) -> list[Event]:  # noqa: ASYNC109
        """One read's events; `purpose` is for the sentence if there is none.

        With a `timeout`, nothing is owed us: however long the silence, it is none of the pace.
        """
        if (error := self._farewell or self.protocol.fault) is not None:
            raise error
        deflate = self._deflate
        data = deflate.unpack() if deflate is not None and deflate.more else b""
        packed = 0
        while not data:  # a packet may hold too little to inflate
            data = await self._read(purpose, self._timeout if timeout is None else timeout)
            if timeout is not None and not packed:
                self._pace.restart()  # a server without news is silent, and not slow
            if self._deflate is not None:
                packed += len(data)
                data = self._deflate.unpack(data)
            if not data:
                self._check_pace(purpose)
        if self._deflate is not None:  # providers count what they send before it is packed
            self.stream.meter.received += len(data) - packed
        kept: list[Event] = []
        received = self.protocol.receive(data)
        match received[-1:]:
            case [Completed(command=Command("COMPRESS"), ok=True)]:
                self._deflate = Deflate(self.protocol.take_rest())
        for event in received:
            if self._transcript is not None:
                self._note("S", _shown(event))
            match event:
                case Bye() if not self._leaving:
                    what = f"{self.stream.where} turns us away"
                    self._farewell = server_refusal(event.code, event.text, what)
                    continue  # what it says besides, such as why a login failed, still counts
                case Proceed():
                    self._write(self.protocol.supply())
                    continue
                case Completed() | Greeting() | Challenge():
                    self._events = 0
                    self._pace.restart()
                case Fetched(body=int()):
                    self._pace.restart()
            kept.append(event)
        self._events += len(kept)
        if self._events > MAX_EVENTS:
            raise RemoteProtocolError(f"{self._events} responses while we waited for {purpose}")
        self._check_pace(purpose)
        if self._farewell is not None and not kept:
            raise self._farewell
        return kept


def _alone(command: Command, before: Iterable[Command]) -> bool:
    """Whether it may not be sent while these are unanswered; see commands.RULES."""
    rule = RULES[command.verb]
    return rule.order is Order.ALONE or any(
        RULES[one.verb].order is not Order.FREE
        or (rule.settled and one.verb in ("SELECT", "EXAMINE"))
        for one in before
    )


def _check_kept(events: list[Event]) -> None:
    if len(events) > MAX_KEPT:
        raise RemoteProtocolError(f"more than {MAX_KEPT} responses to one question")


def _shown(event: Event) -> str:
    match event:
        case BodyChunk(data):
            return f"[{len(data)} octets]"
        case Challenge():
            return "+ ***"
        case Completed():
            return f"{event.tag} {event.outcome} {event.text}"
        case _:
            return repr(event)
