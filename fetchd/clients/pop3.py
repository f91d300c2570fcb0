"""A POP3 connection: commands go out through one window, events come back in order.

`exchange` is the only loop; everything else is one call of it. The window is
bounded by octets expected and by count, and is 1 unless PIPELINING was
announced (RFC 2449 §6.6). Whoever abandons an exchange need not care: the next
one first reads what is still owed.

To treat one more refusal, change `refusal`.
"""

import base64
import re
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import timedelta

from fetchd.clients.stream import Stream
from fetchd.errors import (
    AccountRefused,
    AuthenticationFailed,
    ConnectionFailed,
    FetchdError,
    RemoteProtocolError,
    ServerUnavailable,
)
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

WINDOW_OCTETS = 16 << 20  # expected in outstanding answers
WINDOW_COUNT = 2000  # 60 KB of commands: no socket buffer can block on them
MAX_COMMAND = 255  # RFC 2449 §4

Ask = tuple[str, bytes, int]  # verb, argument, octets expected in answer
Transcript = Callable[[str, str], None]  # direction "C" or "S", a line without secrets


class Pop3Client:
    """One session's conversation."""

    def __init__(
        self, stream: Stream, read_timeout: float, transcript: Transcript | None = None
    ) -> None:
        self.stream = stream
        self.protocol = Pop3Protocol()
        self.pipelining = False
        self._timeout = read_timeout
        self._transcript = transcript
        self._backlog: list[Event] = []

    async def greeting(self) -> str:
        """The server's first words."""
        for event in await self._receive("a greeting"):
            match event:
                case Greeting(text):
                    return text
                case Farewell(text):
                    raise refusal(text, "the server refuses us")
        return await self.greeting()

    async def exchange(self, asks: Iterable[Ask]) -> AsyncIterator[list[Event]]:
        """Send the commands as the window allows; events as they come."""
        await self._settle()
        queue = iter(asks)
        sizes: list[int] = []
        outstanding, answered, upcoming = 0, 0, next(queue, None)
        pending = self.protocol.pending
        limit = WINDOW_COUNT if self.pipelining else 1
        while upcoming is not None or pending:
            out: list[bytes] = []
            while upcoming is not None and len(pending) < limit:
                if pending and outstanding + upcoming[2] > WINDOW_OCTETS:
                    break
                out.append(self._send(upcoming[0], upcoming[1]))
                sizes.append(upcoming[2])
                outstanding += upcoming[2]
                upcoming = next(queue, None)
            if out:
                self.stream.write(b"".join(out))
            events = await self._receive("an answer")
            done = len(sizes) - len(pending)
            outstanding -= sum(sizes[answered:done])
            answered = done
            yield events

    async def ask(self, verb: str, argument: bytes = b"") -> Reply:
        """One command with a reply of one line or one listing."""
        reply: Reply | None = None
        async for events in self.exchange([(verb, argument, 0)]):
            reply = next((event for event in events if isinstance(event, Reply)), reply)
        if reply is None:
            raise RemoteProtocolError(f"no reply to {verb}")
        return reply

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
        while True:
            for event in await self._receive("an answer to AUTH"):
                match event:
                    case Continuation(challenge):
                        response = first if first is not None else _turn(mechanism, challenge)
                        first = None
                        self._note("C", "***")
                        self.stream.write(self.protocol.respond(base64.b64encode(response)))
                    case Reply(ok=ok):
                        if ok and not mechanism.finished:
                            raise RemoteProtocolError("the server did not prove its identity")
                        return event

    async def _settle(self) -> None:
        """Read the answers to an abandoned exchange away."""
        while self.protocol.pending:
            await self._receive("an answer")

    def _send(self, verb: str, argument: bytes) -> bytes:
        octets = self.protocol.send(verb, argument)
        if self._transcript is not None:
            self._note("C", repr(self.protocol.pending[-1]))
        return octets

    async def _receive(self, purpose: str) -> list[Event]:
        data = await self.stream.read(self._timeout, purpose)
        if not data:
            raise ConnectionFailed(
                f"{self.stream.host}:{self.stream.port} hung up while we waited for {purpose}"
            )
        events = self.protocol.receive(data)
        for event in events:
            if self._transcript is not None:
                self._note("S", _shown(event))
            if isinstance(event, Farewell) and self.protocol.state.name != "AUTHORIZATION":
                raise refusal(event.text, "the server ended the session")
        return events

    def _note(self, direction: str, line: str) -> None:
        if self._transcript is not None:
            self._transcript(direction, line)


def _turn(mechanism: Mechanism, challenge: bytes) -> bytes:
    try:
        return mechanism.respond(base64.b64decode(challenge))
    except ValueError as error:
        raise RemoteProtocolError("a challenge that is not base64", challenge) from error


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


_CODE = re.compile(r"^\[([A-Za-z/-]+)[^\]]*\]\s*")
_PASSING = re.compile(
    r"lock|busy|in use|too many|too often|try (?:it )?again|temporar|later|unavailable"
    r"|internal|timed? ?out|rate limit|maintenance|already",
    re.IGNORECASE,
)


def response_code(text: str) -> str:
    """The extended response code of a reply (RFC 2449 §8), "" without one."""
    found = _CODE.match(text)
    return found[1].upper() if found else ""


def refusal(
    text: str, what: str, *, login: bool = False, wait: timedelta | None = None
) -> FetchdError:
    """The error that an -ERR means (RFC 2449 §8.1, RFC 3206); `login`: it answered a login."""
    sentence = f"{what}: {text}" if text else what
    match response_code(text):
        case "IN-USE" | "SYS/TEMP":
            return ServerUnavailable(sentence)
        case "LOGIN-DELAY":
            return ServerUnavailable(sentence, wait=wait)
        case "SYS/PERM":
            return AccountRefused(sentence)
        case "AUTH":
            return AuthenticationFailed(sentence)
    if login and not _PASSING.search(text):
        return AuthenticationFailed(sentence)
    return ServerUnavailable(sentence)
