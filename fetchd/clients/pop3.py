"""A POP3 connection: commands go out through one window, events come back in order.

`exchange` is the only loop; everything else is one call of it. The window is
bounded by octets expected and by count, and is 1 unless PIPELINING was
announced (RFC 2449 §6.6). Neither side can block the other: our commands wait
in our own memory, and while one is unanswered we read. Whoever abandons an
exchange need not care: the next one first reads what is still owed.

Deadlines: one on each read, and one on each answer as a whole (`pace`).
"""

import asyncio
import base64
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from fetchd.clients.pace import MIN_RATE, Pace
from fetchd.clients.refusals import refusal
from fetchd.clients.stream import Stream
from fetchd.errors import ConnectionFailed, FetchdError, RemoteProtocolError
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
MAX_TURNS = 16  # of one AUTH; SCRAM takes three

Ask = tuple[str, bytes, int]  # verb, argument, octets expected in answer


class Pop3Client:
    """One session's conversation."""

    def __init__(
        self, stream: Stream, read_timeout: float, transcript: Transcript | None = None
    ) -> None:
        self.stream = stream
        self.protocol = Pop3Protocol()
        self.pipelining = False
        self._timeout = read_timeout
        self._pace = Pace(read_timeout)
        self._transcript = transcript
        self._farewell: FetchdError | None = None

    async def greeting(self) -> str:
        """The server's first words."""
        try:
            while True:
                for event in await self._receive("a greeting"):
                    if isinstance(event, Greeting):
                        return event.text
        except ConnectionFailed as error:
            if not self.stream.tls:
                error.advice = 'Check host and port; is it the port for tls = "implicit"?'
            raise

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
        first = mechanism.initial()
        argument = name.encode()
        if first is not None and mechanism.inline:
            encoded = base64.b64encode(first) or b"="
            if len(argument) + len(encoded) + 8 <= MAX_COMMAND:
                argument, first = argument + b" " + encoded, None
        self.stream.write(self._send("AUTH", argument))
        turns = 0
        while True:
            for event in await self._receive("an answer to AUTH"):
                match event:
                    case Continuation(challenge):
                        turns += 1
                        if turns > MAX_TURNS:
                            raise RemoteProtocolError(f"{name} does not come to an end")
                        if first is None:  # in a thread, since SCRAM computes for long
                            response = await asyncio.to_thread(_turn, mechanism, challenge)
                        else:
                            response, first = first, None
                        self._note("C", "***")
                        self.stream.write(self.protocol.respond(base64.b64encode(response)))
                    case Reply(ok=ok):
                        if ok and not mechanism.finished:
                            raise RemoteProtocolError("the server did not prove its identity")
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
        clock = asyncio.get_running_loop().time
        begun = clock()
        data = await self.stream.read(self._timeout, purpose)
        if not data:
            raise ConnectionFailed(f"{self.stream.where} hung up while we waited for {purpose}")
        self._pace.note(clock() - begun, len(data))
        events = self.protocol.receive(data)
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
        if self._pace.too_slow:
            raise ConnectionFailed(
                f"{self.stream.where} is too slow: less than {MIN_RATE} octets a second "
                f"while we waited for {purpose}"
            )
        return events

    def _note(self, direction: str, line: str) -> None:
        if self._transcript is not None:
            self._transcript(direction, line)


def _turn(mechanism: Mechanism, challenge: bytes) -> bytes:
    try:
        raw = base64.b64decode(challenge, validate=True)
    except ValueError:
        raw = challenge  # `+ Username:` in plain words, which LOGIN need not understand
    return mechanism.respond(raw)


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
