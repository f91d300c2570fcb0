"""SMTP and LMTP client protocol without I/O: RFC 5321, RFC 2033, pipelined as in RFC 2920.

`send()` turns a command into octets, `receive()` turns octets into events. Replies carry
no tag, so the n-th reply belongs to the n-th command: the whole of pipelining is one queue
of commands still unanswered. What answers a message takes its place in it: one reply, or
with LMTP one for each recipient that was accepted, in their order.

Addresses, which strangers may have chosen, are written here and nowhere else: what could
end a command or begin another is a LocalProtocolError, and nothing of it is sent.

Why this is not aiosmtplib (as of 5.1): it keeps one reply for each command and drops what
comes while none waits, so that pipelined replies and those of LMTP are lost; DATA takes
the message whole, copies it twice and rewrites its line ends; both halves of DATA share one
deadline, where RFC 5321 §4.5.3.2 wants ten minutes for the second; there is no BDAT, no
pinned certificate and no SCRAM.

To change what a command may do, change its row in RULES.
"""

import re
from collections import deque
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum, auto

from fetchd.errors import LocalProtocolError, RemoteProtocolError
from fetchd.protocol.smtp_replies import Features, Reply, ReplyReader
from fetchd.values import Struct

MAX_PATH = 254  # octets; RFC 5321 §4.5.3.1.3, less the brackets
CLOSING = 421  # RFC 5321 §3.8: the server ends the session, whatever was asked

_FORBIDDEN = re.compile(rb"[\x00\r\n]")
_ATOM = r"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+"
_QUOTED = r'"(?:[^\x00-\x1f\x7f"\\]|\\[ -~])*"'
_LITERAL = r"\[[A-Za-z0-9.:-]+\]"
_DOTTED = rf"{_ATOM}(?:\.{_ATOM})*"
_PATH = re.compile(rf"(?:{_DOTTED}|{_QUOTED})(?:@(?:{_DOTTED}|{_LITERAL}))?")


class State(Enum):
    """Where the session is; READY is within and between transactions."""

    GREETING = auto()
    HELLO = auto()  # EHLO, HELO or LHLO is due
    READY = auto()
    DATA = auto()  # the octets of a message, and nothing else, may be sent
    CLOSED = auto()


class Rule(Struct, frozen=True):
    """One command: where it is legal, what must not be unanswered around it, where it leads."""

    legal_in: AbstractSet[State]
    last: bool = False  # nothing goes behind it before its answer (RFC 2920 §3.1)
    alone: bool = False  # nor is anything outstanding before it
    then: State | None = None  # state after 2yz
    secret: bool = False  # its argument is not for logs


_READY = frozenset({State.READY})
_EARLY = frozenset({State.HELLO, State.READY})

RULES: dict[str, Rule] = {
    "EHLO": Rule(_EARLY, last=True, alone=True, then=State.READY),
    "HELO": Rule(_EARLY, last=True, alone=True, then=State.READY),
    "LHLO": Rule(_EARLY, last=True, alone=True, then=State.READY),
    "STARTTLS": Rule(_READY, last=True, alone=True, then=State.HELLO),  # RFC 3207
    "AUTH": Rule(_READY, last=True, alone=True, secret=True),  # RFC 4954
    "MAIL": Rule(_READY),
    "RCPT": Rule(_READY),
    "DATA": Rule(_READY, last=True),
    "BDAT": Rule(_READY),  # RFC 3030
    "RSET": Rule(_READY),
    "QUIT": Rule(_EARLY, last=True, then=State.CLOSED),
}


class Command(Struct, frozen=True):
    """A command on its way; its repr is what logs may show.

    `octets` follow the line at once (a chunk), `recipient` is whom it names.
    """

    verb: str
    argument: bytes = b""
    octets: bytes = b""
    recipient: str = ""

    @property
    def final(self) -> bool:
        """Whether its answer is about the whole message."""
        return self.verb == "." or (self.verb == "BDAT" and self.argument.endswith(b" LAST"))

    def __repr__(self) -> str:
        if not self.argument:
            return self.verb
        if RULES[self.verb].secret:
            return f"{self.verb} ***"
        return f"{self.verb} {self.argument.decode('utf-8', 'backslashreplace')}"


DATA = Command("DATA")
RSET = Command("RSET")
_END = Command(".")


def mail(
    sender: str, *, size: int | None = None, eight_bit: bool = False, utf8: bool = False
) -> Command:
    """A message from `sender`, "" being nobody; parameters only where the server offers them."""
    argument = b"FROM:<%b>" % (_path(sender, utf8=utf8) if sender else b"")
    if size is not None:
        argument += b" SIZE=%d" % size  # RFC 1870
    if eight_bit:
        argument += b" BODY=8BITMIME"  # RFC 6152
    if utf8:
        argument += b" SMTPUTF8"  # RFC 6531
    return Command("MAIL", argument)


def rcpt(recipient: str, *, utf8: bool = False) -> Command:
    """One more recipient of it."""
    return Command("RCPT", b"TO:<%b>" % _path(recipient, utf8=utf8), recipient=recipient)


def bdat(chunk: bytes, *, last: bool) -> Command:
    """The next octets of it, as they are."""
    return Command("BDAT", b"%d LAST" % len(chunk) if last else b"%d" % len(chunk), chunk)


def _path(address: str, *, utf8: bool) -> bytes:
    """What may stand between the brackets; a local part alone is for LMTP."""
    octets = address.encode("utf-8", "replace")  # a surrogate becomes "?", and is caught below
    if len(octets) > MAX_PATH or not _PATH.fullmatch(address) or octets.decode() != address:
        raise LocalProtocolError(f"{address[:MAX_PATH]!r} is no address to be sent")
    if not utf8 and not octets.isascii():
        raise LocalProtocolError(f"{address!r} was about to be sent without SMTPUTF8")
    return octets


class Greeting(Struct, frozen=True):
    """The server's first words, which may turn us away."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server's turn within AUTH: base64, undecoded."""

    data: bytes = field(repr=False)


class Answer(Struct, frozen=True):
    """The reply to a command. `recipient`: whom it is about, where it is about one."""

    command: Command
    reply: Reply
    recipient: str = ""


class Farewell(Struct, frozen=True):
    """A refusal that nobody asked for: the server is about to hang up."""

    reply: Reply


Event = Greeting | Challenge | Answer | Farewell


class SmtpProtocol:
    """The client side of one session, of LMTP if `lmtp`."""

    def __init__(self, *, lmtp: bool = False) -> None:
        self.lmtp = lmtp
        self.state = State.GREETING
        self.pending: deque[Command] = deque()
        self.features = Features()
        self.fault: RemoteProtocolError | None = None
        self.transaction = False  # one that was begun and neither ended nor reset
        self._reader = ReplyReader()
        self._accepted: deque[str] = deque()  # recipients, of the transaction
        self._encrypting = False

    def __repr__(self) -> str:
        return f"<SmtpProtocol {self.state.name} pending={len(self.pending)}>"

    @property
    def closed(self) -> bool:
        """Whether nothing more will be said."""
        return self.state is State.CLOSED

    # -- Sending ---------------------------------------------------------------

    def send(self, command: Command) -> bytes:
        """Octets of one command, or LocalProtocolError if it is not legal now."""
        verb, rule = command.verb, RULES[command.verb]
        if self.fault is not None:
            raise self.fault
        if self.state not in rule.legal_in:
            raise LocalProtocolError(f"{verb} is not legal in {self.state.name}")
        if self.pending and (rule.alone or _is_last(self.pending[-1])):
            raise LocalProtocolError(f"{verb} behind an unanswered {self.pending[-1].verb}")
        if (verb == "LHLO") != self.lmtp and verb in ("EHLO", "HELO", "LHLO"):
            raise LocalProtocolError(f"{verb} is of the other protocol")
        if self.transaction is (verb == "MAIL") and verb in ("MAIL", "RCPT", "DATA", "BDAT"):
            raise LocalProtocolError(f"{verb} is out of its order")
        if _FORBIDDEN.search(command.argument):
            raise LocalProtocolError(f"line break or NUL in the argument of {verb}")
        self.transaction = not command.final and verb != "RSET" and (
            self.transaction or verb == "MAIL"
        )  # fmt: skip
        self.pending.append(command)
        line = b"%b %b\r\n" if command.argument else b"%b%b\r\n"
        return line % (verb.encode(), command.argument) + command.octets

    def respond(self, response: bytes) -> bytes:
        """Octets of our turn within AUTH; `response` is base64, or `*` to give up."""
        if not self.pending or self.pending[0].verb != "AUTH":
            raise LocalProtocolError("a response to no challenge")
        if _FORBIDDEN.search(response):
            raise LocalProtocolError("line break or NUL in a response")
        return response + b"\r\n"

    def end_data(self) -> None:
        """With the next octets the message is complete: its answer is due."""
        if self.state is not State.DATA:
            raise LocalProtocolError(f"the end of a message in {self.state.name}")
        if self.lmtp and not self._accepted:  # RFC 2033 §4.2: nobody would answer
            raise LocalProtocolError("a message for nobody")
        self.state = State.READY
        self.transaction = False
        self.pending.append(_END)

    # -- Receiving ---------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Events completed by these octets; `b""` means that the peer hung up.

        What was whole before a fault is returned first, and `fault` is raised later.
        """
        if self.fault is not None:
            raise self.fault
        if self.closed:
            return []  # nothing more is worth hearing
        events: list[Event] = []
        try:
            if not data:
                raise RemoteProtocolError(
                    f"connection closed with {len(self.pending)} replies outstanding"
                )
            for reply in self._reader.feed(data):
                events.append(self._take(reply))
                if self.closed:
                    return events
            if self._encrypting and self._reader.halfway:
                raise RemoteProtocolError("plaintext after STARTTLS")
        except RemoteProtocolError as error:
            self.fault = error
            self.state = State.CLOSED
            if self._encrypting or not events:
                raise
        self._encrypting = False
        return events

    def _take(self, reply: Reply) -> Event:
        if self._encrypting:  # put there by somebody in between
            raise RemoteProtocolError("plaintext after STARTTLS", str(reply).encode())
        if self.state is State.GREETING and not 300 <= reply.code < 400:
            self.state = State.HELLO if reply.ok else State.CLOSED
            return Greeting(reply)
        if reply.code < 400 and not self.pending:
            raise RemoteProtocolError("reply without a command", str(reply).encode())
        if not self.pending:  # in DATA as well: it will not hear our message out
            self.state = State.CLOSED
            return Farewell(reply)
        command = self.pending[0]
        if reply.code == CLOSING:
            self.state = State.CLOSED
            self.pending.clear()
            return Answer(command, reply, self._concerned(command))
        if not reply.ok and reply.code < 400:
            return self._proceed(command, reply)
        if command.final:
            return self._verdict(command, reply)
        self.pending.popleft()
        self._note(command, reply)
        return Answer(command, reply, command.recipient)

    def _proceed(self, command: Command, reply: Reply) -> Event:
        """3yz: our turn, in AUTH and DATA."""
        if command.verb == "AUTH" and reply.code == 334:
            return Challenge(reply.text.encode("ascii", "replace"))
        if command.verb == "DATA" and reply.code == 354:
            self.pending.popleft()
            self.state = State.DATA
            return Answer(command, reply)
        raise RemoteProtocolError(f"no answer to {command.verb}", str(reply).encode())

    def _verdict(self, command: Command, reply: Reply) -> Answer:
        """On the message; LMTP has one for each recipient that was accepted."""
        recipient = self._concerned(command)
        if self._accepted:
            self._accepted.popleft()
        if not self.lmtp or not self._accepted:
            self.pending.popleft()
            self._accepted.clear()
        # A refused chunk has to be followed by RSET (RFC 3030 §2), a refused dot does not.
        self.transaction |= command.verb == "BDAT" and not reply.ok
        return Answer(command, reply, recipient)

    def _concerned(self, command: Command) -> str:
        of_message = command.final and self.lmtp and self._accepted
        return self._accepted[0] if of_message else command.recipient

    def _note(self, command: Command, reply: Reply) -> None:
        """What an answer changes."""
        verb, then = command.verb, RULES[command.verb].then
        if reply.ok and then is not None:
            self.state = then
        match verb:
            case "DATA" if reply.ok:
                raise RemoteProtocolError("no answer to DATA", str(reply).encode())
            case "EHLO" | "LHLO" | "HELO" if reply.ok:
                self.features = Features.of(reply) if verb != "HELO" else Features()
            case "STARTTLS" if reply.ok:  # RFC 3207 §4.2: what was said before counts for nothing
                self.features = Features()
                self._encrypting = True
            case "MAIL" | "RSET":
                self._accepted.clear()
            case "RCPT" if reply.ok:
                self._accepted.append(command.recipient)


def _is_last(command: Command) -> bool:
    return command.verb == "." or RULES[command.verb].last
