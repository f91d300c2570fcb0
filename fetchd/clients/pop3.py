"""A POP3 connection: commands go out through one window, events come back in order.

`exchange` is the only loop; everything else is one call of it. The window is
bounded by octets expected and by count, and is 1 unless PIPELINING was
announced (RFC 2449 §6.6). Neither side can block the other: our commands wait
in our own memory, and while one is unanswered we read. Whoever abandons an
exchange need not care: the next one first reads what is still owed.
"""

from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from fetchd.clients.conversation import Conversation, Turns
from fetchd.clients.refusals import refusal
from fetchd.clients.stream import Stream
from fetchd.protocol.pop3 import (
    BodyChunk,
    BodyEnd,
    Continuation,
    Event,
    Farewell,
    Greeting,
    Pop3Protocol,
    Reply,
)
from fetchd.protocol.sasl import Mechanism
from fetchd.telemetry import Transcript

WINDOW_OCTETS = 16 << 20  # expected in outstanding answers
WINDOW_COUNT = 2000  # 30 KB of commands
MAX_COMMAND = 255  # RFC 2449 §4

Ask = tuple[str, bytes, int]  # verb, argument, octets expected in answer


class Pop3Client(Conversation):
    """One session's conversation."""

    def __init__(
        self, stream: Stream, read_timeout: float, transcript: Transcript | None = None
    ) -> None:
        super().__init__(stream, read_timeout, transcript)
        self.protocol = Pop3Protocol()
        self.pipelining = False

    async def greeting(self) -> str:
        """The server's first words."""
        with self._greeting_expected():
            while True:
                for event in await self._receive("a greeting"):
                    if isinstance(event, Greeting):
                        return event.text

    async def exchange(self, asks: Iterable[Ask]) -> AsyncGenerator[list[Event], None]:
        """Send the commands as the window allows; events as they come."""
        await self._settle()
        queue = iter(asks)
        upcoming: Ask | None = None
        expected: deque[int] = deque()  # octets, for each unanswered command
        outstanding = 0  # their sum
        pending = self.protocol.pending
        limit = WINDOW_COUNT if self.pipelining else 1
        while True:
            out: list[bytes] = []
            # Topped up only when half empty: a command for each answer would cost both
            # sides a packet and a system call for each message.
            thirsty = len(pending) <= limit // 2 and outstanding <= WINDOW_OCTETS // 2
            while thirsty and len(pending) < limit:
                upcoming = upcoming or next(queue, None)
                if upcoming is None or (pending and outstanding + upcoming[2] > WINDOW_OCTETS):
                    break
                verb, argument, octets = upcoming
                out.append(self._send(verb, argument))
                expected.append(octets)
                outstanding += octets
                upcoming = None
            if out:
                self.stream.write(b"".join(out))
            if not pending:
                return
            events = await self._receive(f"an answer to {pending[0].verb}")
            while len(expected) > len(pending):
                outstanding -= expected.popleft()
            yield events

    async def ask(self, verb: str, argument: bytes = b"") -> Reply:
        """One command with a reply of one line or one listing."""
        (reply,) = await self.ask_all((verb, argument))
        return reply

    async def ask_all(self, *commands: tuple[str, bytes]) -> list[Reply]:
        """Several, in one flight where the server allows it."""
        replies: list[Reply] = []
        asks = ((verb, argument, 0) for verb, argument in commands)
        async with aclosing(self.exchange(asks)) as answers:
            async for events in answers:
                replies += (event for event in events if isinstance(event, Reply))
        return replies

    async def authenticate(self, name: str, mechanism: Mechanism) -> Reply:
        """AUTH with its turns (RFC 5034 §4)."""
        await self._settle()
        turns = Turns(name, mechanism)
        argument = name.encode()
        inline = turns.inline(MAX_COMMAND - len(argument) - 8)
        if inline is not None:
            argument += b" " + (inline or b"=")
        self.stream.write(self._send("AUTH", argument))
        while True:
            for event in await self._receive("an answer to AUTH"):
                match event:
                    case Continuation(challenge):
                        response = await turns.answer(challenge)
                        self._note("C", "***")
                        self.stream.write(self.protocol.respond(response))
                    case Reply(ok=ok):
                        turns.end(ok=ok)
                        return event

    async def _settle(self) -> None:
        """Read the answers to an abandoned exchange away."""
        while self.protocol.pending:
            await self._receive(f"an answer to {self.protocol.pending[0].verb}")

    def _send(self, verb: str, argument: bytes) -> bytes:
        if self._farewell is not None:
            raise self._farewell
        octets = self.protocol.send(verb, argument)
        if self._transcript is not None:
            self._note("C", repr(self.protocol.pending[-1]))
        return octets

    async def _receive(self, purpose: str) -> list[Event]:
        """One read's events; `purpose` is for the sentence if there is none."""
        if (error := self._farewell or self.protocol.fault) is not None:
            raise error
        events = self.protocol.receive(await self._read(purpose, self._timeout))
        for position, event in enumerate(events):
            if self._transcript is not None:
                self._note("S", _shown(event))
            if isinstance(event, Farewell):
                self._farewell = refusal(event.text, f"{self.stream.where} turns us away")
                if position == 0:
                    raise self._farewell
                return events[:position]
            if not isinstance(event, BodyChunk):
                self._pace.restart()
        self._check_pace(purpose)
        return events


def _shown(event: Event) -> str:
    match event:
        case Reply(ok=ok, text=text, block=block):
            return f"{'+OK' if ok else '-ERR'} {text}" + (
                f" [{len(block)} octets]" if block else ""
            )
        case BodyChunk(data):
            return f"[{len(data)} octets]"
        case BodyEnd():
            return "."
        case Greeting(text) | Farewell(text):
            return text
        case Continuation():
            return "+ ***"
