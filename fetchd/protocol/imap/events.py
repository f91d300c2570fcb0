"""What ImapProtocol reports besides the server's untagged responses (types.py)."""

from dataclasses import dataclass, field

from fetchd.protocol.imap.rules import Command
from fetchd.protocol.imap.types import Code, Outcome, Untagged
from fetchd.values import Struct


class Greeting(Struct, frozen=True):
    """The server's first words; with `preauth` it knows us already (RFC 9051 §7.1.4)."""

    preauth: bool
    code: Code | None
    text: str


class Completed(Struct, frozen=True):
    """The tagged answer: the command has left `pending`."""

    tag: str
    command: Command
    outcome: Outcome
    code: Code | None
    text: str

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK


class Proceed(Struct, frozen=True):
    """The server waits for a literal: write `supply()`, and pieces while `wanted`."""

    tag: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server's turn within AUTHENTICATE: base64, undecoded; answer with `respond()`."""

    tag: str
    data: bytes = field(repr=False)


class Idling(Struct, frozen=True):
    """The server has understood IDLE; `done()` ends it."""

    tag: str


class BodyStart(Struct, frozen=True):
    """A message's octets follow as BodyChunk; Fetched or Unreadable ends them.

    `uid` is None where the server says it only behind the body: Fetched has it.
    `size` is the literal's; `origin` is that of a partial fetch.
    """

    number: int
    uid: int | None
    size: int
    origin: int = 0


class BodyChunk(Struct, frozen=True):
    """Octets of the message as they came."""

    data: bytes


class Unreadable(Struct, frozen=True):
    """A response that made no sense and was skipped whole; the session goes on."""

    octets: bytes
    complaint: str


Event = (
    Greeting
    | Completed
    | Proceed
    | Challenge
    | Idling
    | BodyStart
    | BodyChunk
    | Unreadable
    | Untagged
)
