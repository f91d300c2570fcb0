"""POP3 client protocol without I/O: RFC 1939, pipelined as in RFC 2449 §6.6.

`send()` turns a command into octets; `receive()` turns octets into events.
Replies carry no tag, so the n-th reply belongs to the n-th command sent: the
whole of pipelining is one queue of commands still unanswered. A command leaves
`pending` with the last octet of its answer, not with its status line.

`receive()` may be fed octets cut anywhere; its cost is linear in their number.
It returns events or raises RemoteProtocolError, after which the session is over;
what was whole before the fault is returned first, and `fault` is raised later.

To change what a command may do, change its row in RULES.
"""

import re
from collections import deque
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum, auto

from fetchd.errors import LocalProtocolError, RemoteProtocolError
from fetchd.protocol.limits import MAX_BODY
from fetchd.values import Struct

MAX_LINE = 8192  # RFC 2449 §4 allows 512, servers exceed it, poplib dies at 2,048
MAX_BLOCK = 64 << 20  # octets of one listing
MAX_BLOCK_LINES = 1_000_000  # as mpop
MAX_STRAY_LINES = 16  # lines of prose after the greeting that some servers send

_BODY_END = b"\r\n.\r\n"  # RFC 1939 §3; a dot between bare LFs ends nothing
_DOTTED = re.compile(rb"\r\n\.")  # twice as fast as bytes.find
_BLOCK_END = re.compile(rb"\n\.\r?\n")
_FORBIDDEN = re.compile(rb"[\x00\r\n]")
_LISTING_LINE = re.compile(
    rb"^[ \t]*([0-9]{1,10})[ \t]+([^ \t\r\n]+(?:[ \t]+[^ \t\r\n]+)*)", re.MULTILINE
)


class State(Enum):
    """RFC 1939 §3, plus the moments before the greeting and after QUIT."""

    GREETING = auto()
    AUTHORIZATION = auto()
    TRANSACTION = auto()
    CLOSED = auto()


class Shape(Enum):
    """What follows a +OK line."""

    LINE = auto()  # nothing
    BLOCK = auto()  # a listing, handed over whole
    BODY = auto()  # a message, handed over in pieces


class Rule(Struct, frozen=True):
    """One command: where it is legal, what answers it, where it leads."""

    legal_in: AbstractSet[State]
    shape: Shape = Shape.LINE
    then: State | None = None  # state after +OK
    alone: bool = False  # never pipelined: nothing outstanding before or behind it
    secret: bool = False  # its argument is not for logs


_AUTH = frozenset({State.AUTHORIZATION})
_TRANS = frozenset({State.TRANSACTION})
_BOTH = _AUTH | _TRANS

RULES: dict[str, Rule] = {
    "CAPA": Rule(_BOTH, Shape.BLOCK),  # RFC 2449 §5
    "STLS": Rule(_AUTH, alone=True),  # RFC 2595 §4
    "UTF8": Rule(_AUTH),  # RFC 6856 §2
    "USER": Rule(_AUTH),
    "PASS": Rule(_AUTH, then=State.TRANSACTION, alone=True, secret=True),
    "APOP": Rule(_AUTH, then=State.TRANSACTION, alone=True, secret=True),
    "AUTH": Rule(_AUTH, then=State.TRANSACTION, alone=True, secret=True),  # RFC 5034
    "STAT": Rule(_TRANS),
    "LIST": Rule(_TRANS, Shape.BLOCK),
    "UIDL": Rule(_TRANS, Shape.BLOCK),
    "TOP": Rule(_TRANS, Shape.BODY),
    "RETR": Rule(_TRANS, Shape.BODY),
    "DELE": Rule(_TRANS),
    "NOOP": Rule(_TRANS),
    "RSET": Rule(_TRANS),
    "QUIT": Rule(_BOTH, then=State.CLOSED, alone=True),
}


class Command(Struct, frozen=True):
    """A command on its way; its repr is what logs may show."""

    verb: str
    argument: bytes = b""

    def __repr__(self) -> str:
        if not self.argument:
            return self.verb
        if RULES[self.verb].secret:
            return f"{self.verb} ***"
        return f"{self.verb} {self.argument.decode('utf-8', 'backslashreplace')}"


class Greeting(Struct, frozen=True):
    """The server's first line, without +OK."""

    text: str


@dataclass(frozen=True, slots=True)
class Continuation:
    """The server's turn within AUTH: base64, undecoded."""

    challenge: bytes = field(repr=False)


class Reply(Struct, frozen=True):
    """The +OK or -ERR line with, for a listing, its raw lines; a body comes after it."""

    command: Command
    ok: bool
    text: str
    block: bytes = b""


class BodyChunk(Struct, frozen=True):
    """Octets of the message, dots already unstuffed."""

    data: bytes


class BodyEnd(Struct, frozen=True):
    """The message is complete."""

    command: Command


class Farewell(Struct, frozen=True):
    """An -ERR that nobody asked for: the server is about to hang up."""

    text: str


Event = Greeting | Continuation | Reply | BodyChunk | BodyEnd | Farewell


def parse_listing(raw: bytes) -> dict[int, bytes]:
    """Message number -> value of an answer to LIST or UIDL; unreadable lines are left out."""
    return {int(number): value for number, value in _LISTING_LINE.findall(raw)}


class Pop3Protocol:
    """The client side of one POP3 session."""

    def __init__(self, max_body: int = MAX_BODY) -> None:
        self.state = State.GREETING
        self.pending: deque[Command] = deque()
        self.fault: RemoteProtocolError | None = None
        self._max_body = max_body
        self._rest = b""  # octets not understood yet: part of a line, or of a body's end
        self._shape = Shape.LINE  # what the next octets are
        self._block = bytearray()
        self._block_lines = 0
        self._body_size = 0
        self._status = ""
        self._stray_lines = 0
        self._answered = False

    def __repr__(self) -> str:
        return f"<Pop3Protocol {self.state.name} pending={len(self.pending)}>"

    # -- Sending ---------------------------------------------------------------

    def send(self, verb: str, argument: bytes = b"") -> bytes:
        """Octets of one command, or LocalProtocolError if it is not legal now."""
        rule = RULES[verb]
        if self.fault is not None:
            raise self.fault
        if self.state not in rule.legal_in:
            raise LocalProtocolError(f"{verb} is not legal in {self.state.name}")
        if self.pending and (rule.alone or RULES[self.pending[-1].verb].alone):
            raise LocalProtocolError(f"{verb} behind an unanswered {self.pending[-1].verb}")
        if rule.shape is Shape.BLOCK and argument:
            raise LocalProtocolError(f"{verb} is only used for whole listings")
        if _FORBIDDEN.search(argument):
            raise LocalProtocolError(f"line break or NUL in the argument of {verb}")
        self.pending.append(Command(verb, argument))
        return b"%b %b\r\n" % (verb.encode(), argument) if argument else verb.encode() + b"\r\n"

    def respond(self, response: bytes) -> bytes:
        """Octets of our turn within AUTH; `response` is base64, or `*` to give up."""
        if not self.pending or self.pending[0].verb != "AUTH":
            raise LocalProtocolError("a response to no challenge")
        if _FORBIDDEN.search(response):
            raise LocalProtocolError("line break or NUL in a response")
        return response + b"\r\n"

    # -- Receiving ---------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Events completed by these octets; `b""` means that the peer hung up."""
        if self.fault is not None:
            raise self.fault
        if self.state is State.CLOSED:
            return []  # after QUIT nothing more is worth hearing
        events: list[Event] = []
        try:
            if not data:
                raise RemoteProtocolError(
                    f"connection closed with {len(self.pending)} replies outstanding"
                )
            self._read(self._rest + data if self._rest else data, events)
        except RemoteProtocolError as error:
            self.fault = error
            # Before the login every event is a step that must not be taken now.
            early = self.state is not State.TRANSACTION
            self.state = State.CLOSED
            if early or not events:
                raise
        return events

    def _read(self, data: bytes, events: list[Event]) -> None:
        """Take `data` apart; what is left over, at most a line, goes to `_rest`."""
        position, size = 0, len(data)
        while position < size and self.state is not State.CLOSED:
            match self._shape:
                case Shape.LINE:
                    following = self._read_status(data, position, events)
                case Shape.BODY:
                    following = self._read_body(data, position, events)
                case Shape.BLOCK:
                    data, following = self._read_block(data, position, events)
                    size = len(data)
            if following < 0:
                break
            position = following
        self._rest = data[position:]

    def _read_status(self, data: bytes, position: int, events: list[Event]) -> int:
        end = data.find(b"\n", position, position + MAX_LINE)
        if end < 0:
            if len(data) - position >= MAX_LINE:
                raise RemoteProtocolError("endless line", data[position : position + 80])
            return -1
        line = data[position:end]
        if line.endswith(b"\r"):
            line = line[:-1]
        end += 1
        if line.startswith(b"+OK"):
            self._status_line(True, line[3:], events)
        elif line.startswith(b"-ERR"):
            self._status_line(False, line[4:], events)
        else:
            self._odd_line(line, events)
        self._refuse_injection(data, end, events)
        return end

    def _status_line(self, ok: bool, raw: bytes, events: list[Event]) -> None:
        text = raw.decode("utf-8", "backslashreplace").strip()
        if self.state is State.GREETING:
            self.state = State.AUTHORIZATION
            events.append(Greeting(text) if ok else Farewell(text))
            return
        if not self.pending:
            if ok:
                raise RemoteProtocolError("reply without a command", raw)
            events.append(Farewell(text))
            return
        self._answered = True
        command = self.pending[0]
        rule = RULES[command.verb]
        if not ok or rule.shape is Shape.LINE:
            self.pending.popleft()
            if ok and rule.then is not None:
                self.state = rule.then
            events.append(Reply(command, ok, text))
            return
        self._shape = rule.shape
        if rule.shape is Shape.BODY:
            self._body_size = 0
            events.append(Reply(command, ok, text))
        else:
            self._status, self._block_lines = text, 0
            self._block = bytearray(b"\n")  # so that an empty listing ends like any other

    def _odd_line(self, line: bytes, events: list[Event]) -> None:
        """Neither +OK nor -ERR: a turn within AUTH, prose after the greeting, or garbage."""
        if self.pending and self.pending[0].verb == "AUTH" and line.startswith(b"+"):
            events.append(Continuation(line[1:].strip()))
        elif self.state is State.AUTHORIZATION and not self._answered:
            self._stray_lines += 1
            if self._stray_lines > MAX_STRAY_LINES:
                raise RemoteProtocolError("endless greeting", line)
        else:
            raise RemoteProtocolError("not a POP3 reply", line or b"(empty line)")

    def _refuse_injection(self, data: bytes, position: int, events: list[Event]) -> None:
        """Plaintext behind the reply to STLS was put there by somebody in between."""
        match events[-1:]:
            case [Reply(command=Command(verb="STLS"), ok=True)] if position < len(data):
                raise RemoteProtocolError("plaintext after STLS", data[position:])

    def _read_body(self, data: bytes, position: int, events: list[Event]) -> int:
        if self._body_size == 0 and data.startswith(b".", position):
            if len(data) - position < 3:
                return -1
            if data.startswith(b".\r\n", position):
                self._end_body(events)
                return position + 3
            position += data.startswith(b"..", position)
        found = _DOTTED.search(data, position)  # the end, or a line that may be stuffed
        dot = found.start() if found else -1
        end = data.find(_BODY_END, dot) if found else -1
        if end >= 0:
            self._chunk(data[position : end + 2], events, dotted=dot < end)
            self._end_body(events)
            return end + 5
        safe = len(data) - _open_end(data)
        if safe > position:
            self._chunk(data[position:safe], events, dotted=dot >= 0)
            return safe
        return -1

    def _end_body(self, events: list[Event]) -> None:
        self._shape = Shape.LINE
        events.append(BodyEnd(self.pending.popleft()))

    def _chunk(self, data: bytes, events: list[Event], *, dotted: bool) -> None:
        self._body_size += len(data)
        if self._body_size > self._max_body:
            raise RemoteProtocolError(f"a message of more than {self._max_body} octets")
        # Only a doubled dot is a stuffed one: some servers stuff no dots, or not the first.
        events.append(BodyChunk(data.replace(b"\r\n..", b"\r\n.") if dotted else data))

    def _read_block(self, data: bytes, position: int, events: list[Event]) -> tuple[bytes, int]:
        """Gather a listing; gives what lies behind its end, and where to go on in it."""
        block, seen = self._block, len(self._block)
        block += data[position:]
        end = _BLOCK_END.search(block, max(0, seen - 3))
        self._block_lines += block.count(b"\n", seen, end.start() if end else len(block))
        if len(block) > MAX_BLOCK or self._block_lines > MAX_BLOCK_LINES:
            raise RemoteProtocolError("endless listing", bytes(block[1:81]))
        if end is None:
            return b"", 0
        following = bytes(block[end.end() :])
        raw = bytes(block[1 : end.start() + 1])
        self._block = bytearray()
        self._shape = Shape.LINE
        events.append(Reply(self.pending.popleft(), True, self._status, raw))
        return following, 0


def _open_end(data: bytes) -> int:
    """How many octets at the end of `data` may be the beginning of a body's end."""
    return next((n for n in (4, 3, 2, 1) if data.endswith(_BODY_END[:n])), 0)
