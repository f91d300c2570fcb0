"""What a command is, and RULES: where each is legal and what may stand beside it.

A Command is a verb and its parts: octets, and literals of two kinds. `Literal`
holds its octets (a name or password that cannot be quoted); `Upload` only says
how many will be supplied later (a message for APPEND).

What may be pipelined (RFC 9051 §5.5). All our commands use UIDs and answers are
told apart by tag, so anything may stand behind anything, except:
- ALONE: nothing before it is unanswered and nothing is sent behind it;
- LAST: it may stand behind others, but nothing is sent behind it;
- `settled`: not while SELECT or EXAMINE is unanswered. Should that fail, a server
  may still have the mailbox before open: to read there is a mistake that the
  tagged NO reveals, to delete there is a loss.
Legal is what is legal once all that is unanswered has succeeded: UID FETCH may
follow SELECT in one flight.

To change what a command may do, change its row.
"""

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum, auto

from fetchd.errors import LocalProtocolError
from fetchd.protocol.imap.types import State
from fetchd.values import Struct

_FORBIDDEN = re.compile(rb"[\x00\r\n]")


class Order(Enum):
    """What may be unanswered before a command, and what may be sent behind it."""

    FREE = auto()
    LAST = auto()
    ALONE = auto()


class Rule(Struct, frozen=True):
    """One command: where it is legal, where it leads, how it stands in a flight."""

    legal_in: AbstractSet[State]
    then: State | None = None  # state after OK
    order: Order = Order.FREE
    settled: bool = False  # not behind an unanswered SELECT or EXAMINE
    secret: bool = False  # its arguments are not for logs


_NOT = frozenset({State.NOT_AUTHENTICATED})
_AUTH = frozenset({State.AUTHENTICATED, State.SELECTED})
_SELECTED = frozenset({State.SELECTED})
_ANY = _NOT | _AUTH

RULES: dict[str, Rule] = {
    "CAPABILITY": Rule(_ANY),
    "NOOP": Rule(_ANY),
    "ID": Rule(_ANY),  # RFC 2971
    "LOGOUT": Rule(_ANY, State.LOGOUT, Order.LAST),
    "STARTTLS": Rule(_NOT, order=Order.ALONE),
    "AUTHENTICATE": Rule(_NOT, State.AUTHENTICATED, Order.ALONE, secret=True),
    "LOGIN": Rule(_NOT, State.AUTHENTICATED, Order.ALONE, secret=True),
    "ENABLE": Rule(_AUTH),  # RFC 5161; RFC 7162 §3.2.3 wants it sent before SELECT
    "COMPRESS": Rule(_AUTH, order=Order.ALONE),  # RFC 4978
    "NAMESPACE": Rule(_AUTH),
    "LIST": Rule(_AUTH),
    "STATUS": Rule(_AUTH),
    "CREATE": Rule(_AUTH),
    "SUBSCRIBE": Rule(_AUTH),
    "APPEND": Rule(_AUTH),
    "NOTIFY": Rule(_AUTH),  # RFC 5465
    "IDLE": Rule(_AUTH, order=Order.LAST),  # RFC 2177
    "SELECT": Rule(_AUTH, State.SELECTED),
    "EXAMINE": Rule(_AUTH, State.SELECTED),
    "CLOSE": Rule(_SELECTED, State.AUTHENTICATED, settled=True),
    "UNSELECT": Rule(_SELECTED, State.AUTHENTICATED),  # RFC 3691
    "UID FETCH": Rule(_SELECTED),
    "UID SEARCH": Rule(_SELECTED),
    "UID STORE": Rule(_SELECTED, settled=True),
    "UID COPY": Rule(_SELECTED, settled=True),
    "UID MOVE": Rule(_SELECTED, settled=True),  # RFC 6851
    "UID EXPUNGE": Rule(_SELECTED, settled=True),  # RFC 4315
}


@dataclass(frozen=True, slots=True)
class Literal:
    """An argument that no quoted string can hold."""

    data: bytes = field(repr=False)


class Upload(Struct, frozen=True):
    """So many octets, supplied when the time has come; `binary` is literal8 (RFC 3516)."""

    size: int
    binary: bool = False


Part = bytes | Literal | Upload


class Command(Struct, frozen=True):
    """A command on its way; its repr is what logs may show."""

    verb: str
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        for part in self.parts:
            if isinstance(part, bytes) and _FORBIDDEN.search(part):
                raise LocalProtocolError(f"line break or NUL in an argument of {self.verb}")
            if isinstance(part, Literal) and b"\0" in part.data:
                raise LocalProtocolError(f"NUL in an argument of {self.verb}")

    def __repr__(self) -> str:
        if not self.parts:
            return self.verb
        if RULES[self.verb].secret:
            return f"{self.verb} ***"
        return f"{self.verb} {''.join(map(_shown, self.parts))}"


def _shown(part: Part) -> str:
    match part:
        case Literal(data):
            return f"{{{len(data)} octets}}"
        case Upload(size):
            return f"{{{size} octets}}"
    return part.decode("utf-8", "backslashreplace")
