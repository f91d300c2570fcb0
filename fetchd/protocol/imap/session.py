"""IMAP client protocol without I/O: RFC 9051 and RFC 3501, any number of commands in flight.

`send()` turns a command into octets; `receive()` turns octets into events, each
as early as its octets allow. A command stays in `pending`, by tag and in order,
until its tagged answer. Which untagged response belongs to which command is for
the caller to know. Octets may be cut anywhere; the cost is linear in their number.

A command with literals goes out in parts: what `send()` and `supply()` return is
to be written; then, while the command is still `sending`, either `wanted` octets
of an Upload are due, or a Proceed event has to come first. Nothing else can be
sent meanwhile, nor within AUTHENTICATE (Challenge, `respond()`) and IDLE (Idling,
`done()`).

`receive()` returns events or raises RemoteProtocolError, after which the session
is over; what was whole before the fault is returned first, and `fault` is raised
later. Before the login a fault withholds all events. Behind the OK to STARTTLS
nothing may stand (quirk 65); what stands behind the OK to COMPRESS is compressed,
and `take_rest()` hands it out.

What a command may do is in RULES (rules.py), the sins tolerated are Quirks
(types.py), counted in `quirks`, or faults with strict=True.
"""

import re
from collections import Counter

from fetchd.errors import LocalProtocolError, RemoteProtocolError
from fetchd.protocol.imap.events import (
    BodyChunk,
    BodyStart,
    Challenge,
    Completed,
    Event,
    Greeting,
    Idling,
    Proceed,
    Unreadable,
)
from fetchd.protocol.imap.fast import read_fast
from fetchd.protocol.imap.fetch import Items
from fetchd.protocol.imap.flight import Flight
from fetchd.protocol.imap.fragments import MAX_LINE, Cutter, Head, Response
from fetchd.protocol.imap.parse import read_greeting, read_tagged, read_untagged
from fetchd.protocol.imap.rules import Command
from fetchd.protocol.imap.types import (
    Bye,
    Capability,
    Code,
    Enabled,
    Outcome,
    Quirk,
    Searched,
    State,
    Status,
    Untagged,
)
from fetchd.protocol.limits import MAX_BODY

MAX_UNREADABLE = 1_000  # responses of one session; more is another protocol

_BEFORE_LOGIN = frozenset({State.GREETING, State.NOT_AUTHENTICATED})
_GREETED = {"OK": State.NOT_AUTHENTICATED, "PREAUTH": State.AUTHENTICATED}
_LAST_WORDS = re.compile(rb" ?\)+\r?\n")  # behind a literal in a response that ends well
_UTF8 = frozenset({"UTF8=ACCEPT", "IMAP4REV2"})  # enabled, they make names UTF-8


class ImapProtocol:
    """The client side of one IMAP session."""

    def __init__(self, max_body: int = MAX_BODY, *, strict: bool = False) -> None:
        self.fault: RemoteProtocolError | None = None
        self.quirks: Counter[Quirk] = Counter()
        self.capabilities: frozenset[str] | None = None  # None: not known now
        self.enabled: frozenset[str] = frozenset()
        self._max_body = max_body
        self._strict = strict
        self._cutter = Cutter(max_body)
        self._flight = Flight()
        self._told: set[type] = set()  # what came since the last tagged answer
        self._dropping = False  # a body in a response that cannot be read
        self._unreadable = 0
        self._finished = False  # LOGOUT is answered: nothing more is worth hearing
        self._rest: bytes | None = None  # compressed octets for take_rest()

    @property
    def state(self) -> State:
        """As the answers so far have made it."""
        return self._flight.state

    @property
    def pending(self) -> dict[str, Command]:
        """Unanswered commands by tag, in the order in which they were sent."""
        return self._flight.pending

    @property
    def tag(self) -> str:
        """Of the command sent last."""
        return self._flight.tag

    def __repr__(self) -> str:
        return f"<ImapProtocol {self.state.name} pending={len(self.pending)}>"

    # -- Sending ---------------------------------------------------------------

    def send(self, command: Command) -> bytes:
        """Octets of a command, or of its first part; LocalProtocolError if it is not legal now."""
        self._check_fault()
        if self._rest is not None:
            raise LocalProtocolError("the octets behind COMPRESS were not taken")
        self._flight.check(command)
        if not self.pending:
            self._told.clear()
        return self._flight.launch(command, self.capabilities or frozenset())

    @property
    def sending(self) -> bool:
        """Is a command still on its way?"""
        return self._flight.outgoing is not None

    @property
    def wanted(self) -> int:
        """Octets of an Upload that are due now."""
        return self._flight.outgoing.wanted if self._flight.outgoing is not None else 0

    def supply(self, piece: bytes = b"") -> bytes:
        """Go on with a command: after Proceed, and with octets while some are `wanted`."""
        self._check_fault()
        return self._flight.supply(piece)

    def respond(self, response: bytes) -> bytes:
        """Octets of our turn within AUTHENTICATE; `response` is base64, or `*` to give up."""
        self._check_fault()
        if not response.isascii() or not response.decode().isprintable():
            raise LocalProtocolError("line break or NUL in a response")
        self._flight.take_turn("AUTHENTICATE")
        return response + b"\r\n"

    def done(self) -> bytes:
        """Octets that end IDLE; its tagged answer is still to come."""
        self._check_fault()
        self._flight.take_turn("IDLE")
        return b"DONE\r\n"

    def _check_fault(self) -> None:
        if self.fault is not None:
            raise self.fault

    # -- Receiving ---------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Events completed by these octets; `b""` means that the peer hung up."""
        self._check_fault()
        if self._rest is not None:
            raise LocalProtocolError("the octets behind COMPRESS were not taken")
        events: list[Event] = []
        if self._finished:
            return events
        try:
            if data:
                self._read(data, events)
            elif self.state is not State.LOGOUT:
                raise RemoteProtocolError(
                    f"connection closed with {len(self.pending)} answers outstanding"
                )
        except RemoteProtocolError as error:
            self.fault = error
            # Before the login every event is a step that must not be taken now.
            early = self.state in _BEFORE_LOGIN
            self._flight.enter(State.LOGOUT)
            if early or not events:
                raise
        return events

    def take_rest(self) -> bytes:
        """What stood behind the OK to COMPRESS, for the shell to inflate; call it once then."""
        if self._rest is None:
            raise LocalProtocolError("there was no OK to COMPRESS")
        rest, self._rest = self._rest, None
        return rest

    def _read(self, data: bytes, events: list[Event]) -> None:
        cutter, position, size = self._cutter, 0, len(data)
        while position < size and not self._finished:
            if cutter.idle and self.state not in _BEFORE_LOGIN:
                position = read_fast(data, position, self._max_body, events)
            fragment, position = cutter.cut(data, position)
            match fragment:
                case Response():
                    self._respond(fragment, events)
                    if self._switched(events, data, position):
                        return
                case bytes():
                    if not self._dropping:
                        events.append(BodyChunk(fragment))
                case Head():
                    self._begin_body(fragment, events)

    def _switched(self, events: list[Event], data: bytes, position: int) -> bool:
        """Is what follows to be read in another way?"""
        match events[-1:]:
            case [Completed(command=Command("STARTTLS"), outcome=Outcome.OK)]:
                if position < len(data):
                    # Plaintext behind the answer was put there by somebody in between.
                    raise RemoteProtocolError("plaintext after STARTTLS", data[position:])
            case [Completed(command=Command("COMPRESS"), outcome=Outcome.OK)]:
                self._rest = data[position:]
        return self._rest is not None

    def _respond(self, response: Response, events: list[Event]) -> None:
        octets = response.octets.lstrip(b"\0")
        if (nuls := len(response.octets) - len(octets)) > 0:
            self._note(Quirk.LEADING_NUL)
            response = Response(octets, response.hole, max(0, response.after - nuls))
        if not octets.endswith(b"\r\n"):
            self._note(Quirk.BARE_LF)
        if self.state is State.GREETING:
            self._greeted(octets, events)
        elif octets.startswith(b"*"):
            self._untagged(octets, response, events)
        elif octets.startswith(b"+"):
            self._continued(octets, events)
        elif not octets.strip():
            self._note(Quirk.EMPTY_LINE)
        else:
            self._answered(octets, events)

    def _greeted(self, octets: bytes, events: list[Event]) -> None:
        word, code, text = read_greeting(octets, self._note)
        self._learn(code)
        if word == "BYE":
            self._flight.enter(State.LOGOUT)
            events.append(Bye(code, text))
        else:
            self._flight.enter(_GREETED[word])
            if word == "PREAUTH":
                self._cutter.max_line = MAX_LINE
            events.append(Greeting(word == "PREAUTH", code, text))

    # -- Untagged ----------------------------------------------------------------

    def _untagged(self, octets: bytes, response: Response, events: list[Event]) -> None:
        self._dropping = False
        try:
            value = read_untagged(octets, self._note, response.hole)
        except RemoteProtocolError as error:
            tail = octets[response.after :]
            if response.after and not _LAST_WORDS.fullmatch(tail):
                # Where the next response begins is a guess now (quirk 40), and what seems
                # to be one may be part of somebody's message.
                raise RemoteProtocolError("a literal of another size than said", tail) from error
            self._skip(octets, error, events)
            return
        if isinstance(value, Items):
            self._fetched(value, events)
        elif self._heed(value):
            events.append(value)

    def _skip(self, octets: bytes, error: RemoteProtocolError, events: list[Event]) -> None:
        self._unreadable += 1
        if self._strict or self._unreadable > MAX_UNREADABLE:
            raise error
        events.append(Unreadable(octets, str(error)))

    def _fetched(self, items: Items, events: list[Event]) -> None:
        fetched = items.fetched()
        if items.inline is not None:
            if len(items.inline) > self._max_body:
                raise RemoteProtocolError(f"a message of more than {self._max_body} octets")
            events.append(BodyStart(items.number, fetched.uid, len(items.inline), items.origin))
            if items.inline:
                events.append(BodyChunk(items.inline))
        events.append(fetched)

    def _begin_body(self, head: Head, events: list[Event]) -> None:
        try:
            items = read_untagged(head.octets, _overlook, head.hole)
        except RemoteProtocolError:
            items = None
        self._dropping = not isinstance(items, Items)
        if isinstance(items, Items):
            uid = items.values.get("uid")
            events.append(BodyStart(items.number, uid, head.size, items.origin))

    def _heed(self, value: Untagged) -> bool:
        """Learn from a response; False if it is not worth an event."""
        self._told.add(type(value))
        match value:
            case Capability(names):
                self.capabilities = names
            case Enabled(names):
                self.enabled |= names
            case Status(code=code):
                self._learn(code)
                copied = code is not None and code.name == "COPYUID"
                if copied and not self._flight.awaits("UID MOVE"):
                    self._note(Quirk.COPYUID_UNTAGGED)
            case Bye() if self.state is State.LOGOUT:
                self._note(Quirk.BYE_REPEATED)
                return False
            case Bye():
                self._flight.enter(State.LOGOUT)
        return True

    def _learn(self, code: Code | None) -> None:
        """Capabilities come in a code, too."""
        if code is not None and code.name == "CAPABILITY" and isinstance(code.value, tuple):
            self.capabilities = frozenset(code.value)
            self._told.add(Capability)

    # -- Continuations and tagged answers ------------------------------------------------

    def _continued(self, octets: bytes, events: list[Event]) -> None:
        if octets[1:2] != b" ":
            self._note(Quirk.BARE_CONTINUATION)
        flight = self._flight
        if flight.outgoing is not None and flight.outgoing.grant():
            events.append(Proceed(flight.tag))
        elif flight.last_verb in ("AUTHENTICATE", "IDLE") and not flight.turn:
            flight.turn = True
            idling = flight.last_verb == "IDLE"
            text = octets[1:].strip()
            events.append(Idling(flight.tag) if idling else Challenge(flight.tag, text))
        else:
            self._note(Quirk.STRAY_CONTINUATION)

    def _answered(self, octets: bytes, events: list[Event]) -> None:
        try:
            tag, outcome, code, text = read_tagged(octets, self._note)
        except RemoteProtocolError as error:
            ours = octets.split(None, 1)[0].decode("latin-1") in self.pending
            if ours or self.state in _BEFORE_LOGIN:
                raise
            self._skip(octets, error, events)
            return
        command = self._flight.land(tag)
        if command is None:
            raise RemoteProtocolError("an answer to no command", octets)
        self._learn(code)
        self._flight.settle(command, ok=outcome is Outcome.OK)
        if outcome is Outcome.OK:
            self._conclude(command.verb)
        self._told.clear()
        events.append(Completed(tag, command, outcome, code, text))

    def _conclude(self, verb: str) -> None:
        """What an OK changes in what we know."""
        match verb:
            case "LOGOUT":
                self._finished = True
            case "STARTTLS":
                self.capabilities = None  # quirk 65
            case "LOGIN" | "AUTHENTICATE":
                if Capability not in self._told:
                    self.capabilities = None  # quirk 66
                self._cutter.max_line = MAX_LINE
            case "ENABLE" if Enabled not in self._told:
                self._note(Quirk.ENABLED_MISSING)
            case "UID SEARCH" if Searched not in self._told:
                self._note(Quirk.SEARCH_SILENT)

    def _note(self, quirk: Quirk) -> None:
        if quirk is Quirk.NAME_8BIT and not self.enabled.isdisjoint(_UTF8):
            return
        if self._strict:
            raise RemoteProtocolError(f"not tolerated: {quirk}")
        self.quirks[quirk] += 1


def _overlook(_quirk: Quirk) -> None:
    """It is counted when the response is complete."""
