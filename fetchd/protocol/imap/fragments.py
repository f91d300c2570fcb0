"""Boundaries before meaning: cuts octets into complete responses, bodies apart.

A response is a line, joined with its literals and the lines behind them. The
literal that is the value of BODY[] or BINARY[] in a FETCH response is not gathered
but handed over as it comes: first Head (everything before it), then its octets,
then the Response, in which the body is a hole. So memory is bounded whatever a
server announces, and whatever the parser cannot read can be skipped whole.

Status lines and continuations hold words for people, which may look like the
announcement of a literal and are none. The cost is linear in the octets however
they are cut: each is looked at once and copied once.
"""

import re

from fetchd.errors import RemoteProtocolError
from fetchd.protocol.limits import MAX_BODY
from fetchd.values import Struct

MAX_EARLY_LINE = 64 << 10  # octets of a response before the login
MAX_LINE = 16 << 20  # octets of a response beside its literals: SEARCH with two million UIDs
MAX_GATHERED = 16 << 20  # octets of all literals of a response but the body
MAX_LITERALS = 10_000  # in one response: an ENVELOPE may have some hundred

_ANNOUNCED = re.compile(rb"~?\{([0-9]+)\+?\}\r?\n\Z")
_LONGEST_ANNOUNCEMENT = 64  # octets; more digits are no number of octets
_WITHOUT_LITERALS = re.compile(rb"(?!\* )|\* (?:OK|NO|BAD|BYE|PREAUTH)[ \r\n]", re.IGNORECASE)
_FETCH = re.compile(rb"\*[ ]+[0-9]+[ ]+FETCH[ ]+\(", re.IGNORECASE)
_BODY = re.compile(
    rb"[ (](?:BODY\[\]|BINARY\[\]|RFC822)(?:<[0-9]+>)?[ ]+~?\{[0-9]+\+?\}\r?\n\Z", re.IGNORECASE
)
_LONGEST_BODY = 64  # octets of such an item
_NESTING = re.compile(rb'"(?:[^"\\\r\n]|\\[^\r\n])*+"|~?\{([0-9]{1,20})\+?\}\r?\n|[()]')


class Head(Struct, frozen=True):
    """A body of `size` octets follows; `octets` end with its announcement, at `hole`."""

    octets: bytes
    hole: int
    size: int


class Response(Struct, frozen=True):
    """Complete, with its literals inside; of a streamed body only the announcement, at `hole`.

    `after` is where the text behind the last literal begins; 0: there was none.
    """

    octets: bytes
    hole: int = -1
    after: int = 0


class Cutter:
    """Octets in, fragments out; `idle` between two responses."""

    def __init__(self, max_body: int = MAX_BODY) -> None:
        self.max_line = MAX_EARLY_LINE
        self._max_body = max_body
        self._held = bytearray()  # the response as far as it has come, without its body
        self._body_left = 0  # octets of the body still to come
        self._literal_left = 0  # octets of a gathered literal still to come
        self._hole = -1
        self._streamable = True  # a body may come; looked for once, since looking costs
        self._after = 0  # where the text behind the last literal begins
        self._literals = 0
        self._gathered = 0  # octets of literals in `_held`

    @property
    def idle(self) -> bool:
        return not self._held

    def cut(self, data: bytes, position: int) -> tuple[Head | Response | bytes | None, int]:
        """The next fragment, and where the one behind it begins; None asks for more octets.

        bytes are octets of the body that a Head announced.
        """
        size = len(data)
        while position < size:
            if self._body_left:
                return self._take_body(data, position)
            if self._literal_left:
                position = self._take_literal(data, position)
                continue
            end = data.find(b"\n", position) + 1
            line = data[position : end or size]
            position = end or size
            self._check(len(line))
            if end and not self._held and not line.endswith((b"}\r\n", b"}\n")):
                return Response(line), position
            self._held += line
            if end and (fragment := self._line_ends()) is not None:
                return fragment, position
        return None, position

    def _check(self, more: int) -> None:
        if len(self._held) + more - self._gathered > self.max_line:
            raise RemoteProtocolError("endless response", bytes(self._held[:80]))

    def _take_body(self, data: bytes, position: int) -> tuple[bytes, int]:
        whole = position == 0 and len(data) <= self._body_left
        chunk = data if whole else data[position : position + self._body_left]
        self._body_left -= len(chunk)
        return chunk, position + len(chunk)

    def _take_literal(self, data: bytes, position: int) -> int:
        end = min(position + self._literal_left, len(data))
        self._held += data[position:end]
        self._literal_left -= end - position
        self._gathered += end - position
        self._after = len(self._held)
        return end

    def _line_ends(self) -> Head | Response | None:
        """A line is whole: it ends the response, or announces a literal."""
        held = self._held
        announced = _ANNOUNCED.search(bytes(held[-_LONGEST_ANNOUNCEMENT:]))
        if announced is None or _WITHOUT_LITERALS.match(held):
            response = Response(bytes(held), self._hole, self._after)
            self._held = bytearray()
            self._hole, self._after, self._literals, self._gathered = -1, 0, 0, 0
            self._streamable = True
            return response
        size = int(announced[1])
        if self._streamable and _FETCH.match(held) and _BODY.search(bytes(held[-_LONGEST_BODY:])):
            octets = bytes(held)
            if _depth(octets) == 1:
                return self._open_body(octets, len(octets) - len(announced[0]), size)
            self._streamable = False
        self._literals += 1
        if self._gathered + size > MAX_GATHERED or self._literals > MAX_LITERALS:
            raise RemoteProtocolError("literals without end", bytes(held[:40] + held[-40:]))
        self._literal_left = size
        return None

    def _open_body(self, octets: bytes, hole: int, size: int) -> Head:
        if size > self._max_body:
            raise RemoteProtocolError(f"a message of more than {self._max_body} octets", octets)
        self._hole, self._body_left, self._after = hole, size, len(octets)
        self._streamable = False
        return Head(octets, hole, size)


def _depth(octets: bytes) -> int:
    """How many parentheses are open at the end."""
    depth = position = 0
    while (found := _NESTING.search(octets, position)) is not None:
        position = found.end()
        if found[1] is not None:
            position = min(position + int(found[1]), len(octets))
        elif found[0] == b"(":
            depth += 1
        elif found[0] == b")":
            depth -= 1
    return depth
