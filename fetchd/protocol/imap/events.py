"""What ImapProtocol reports besides the server's untagged responses (types.py)."""

from dataclasses import dataclass, field

from fetchd.protocol.imap.rules import Command
from fetchd.protocol.imap.types import Code, Outcome, Untagged


@dataclass(frozen=True, slots=True)
class Greeting:
    """The server's first words; with `preauth` it knows us already (RFC 9051 §7.1.4)."""

    preauth: bool
    code: Code | None
    text: str


@dataclass(frozen=True, slots=True)
class Completed:
    """The tagged answer: the command has left `pending`."""

    tag: str
    command: Command
    outcome: Outcome
    code: Code | None
    text: str

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK


@dataclass(frozen=True, slots=True)
class Proceed:
    """The server waits for a literal: write `supply()`, and pieces while `wanted`."""

    tag: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server's turn within AUTHENTICATE: base64, undecoded; answer with `respond()`."""

    tag: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Idling:
    """The server has understood IDLE; `done()` ends it."""

    tag: str


@dataclass(frozen=True, slots=True)
class BodyStart:
    """A message's octets follow as BodyChunk; Fetched or Unreadable ends them.

    `uid` is None where the server says it only behind the body: Fetched has it.
    `size` is the literal's; `origin` is that of a partial fetch.
    """

    number: int
    uid: int | None
    size: int
    origin: int = 0


@dataclass(frozen=True, slots=True)
class BodyChunk:
    """Octets of the message as they came."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
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
