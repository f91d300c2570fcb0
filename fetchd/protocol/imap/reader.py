"""One complete response, read from left to right: the words of the grammar (RFC 9051 §9).

Literals stand inside the octets, announcement and all, except the one whose
octets were streamed: of it only the announcement is there, at `hole`. Every
method reads one thing and moves on, or raises RemoteProtocolError, upon which the
response is skipped whole. Nothing recurses, so nesting costs no stack, and it
has a limit.
"""

import re
from collections.abc import Callable

from fetchd.errors import RemoteProtocolError
from fetchd.protocol.imap.types import Quirk

MAX_DEPTH = 1000  # Dovecot nests MIME parts 100 deep; BODYSTRUCTURE needs two for each
MAX_NUMBER = (1 << 64) - 1

Note = Callable[[Quirk], None]  # counts a sin, or raises in strict mode

_ATOM = re.compile(rb'[^\x00-\x20\x7f()"{]+')
_WORD = re.compile(rb"[A-Za-z0-9.\-]+")
_NUMBER = re.compile(rb"[0-9]{1,20}(?![^ )])")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n]|\\[^\r\n])*+)"')
_LITERAL = re.compile(rb"~?\{([0-9]{1,20})\+?\}\r?\n")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_SPACES = re.compile(rb"[ \t]*+")
_ONE = re.compile(
    rb'[()]|"(?:[^"\\\r\n]|\\[^\r\n])*+"|~?\{([0-9]{1,20})\+?\}\r?\n|[^\x00-\x20\x7f()"{]+'
)


class Reader:
    """A position in the octets of one response."""

    __slots__ = ("at", "end", "hole", "note", "octets")

    def __init__(self, octets: bytes, note: Note, *, at: int = 0, hole: int = -1) -> None:
        self.octets = octets
        self.note = note
        self.at = at
        self.hole = hole
        self.end = len(octets) - (2 if octets.endswith(b"\r\n") else octets.endswith(b"\n"))

    def fail(self, complaint: str) -> RemoteProtocolError:
        return RemoteProtocolError(complaint, self.octets[self.at : self.at + 80])

    @property
    def done(self) -> bool:
        return self.at >= self.end

    def sees(self, octets: bytes) -> bool:
        return self.octets.startswith(octets, self.at, self.end)

    def takes(self, octets: bytes) -> bool:
        """Move behind `octets` if they come now."""
        if not self.sees(octets):
            return False
        self.at += len(octets)
        return True

    def expect(self, octets: bytes) -> None:
        if not self.takes(octets):
            raise self.fail(f"{octets.decode()} expected")

    def space(self, sin: Quirk = Quirk.SPACING) -> None:
        """Exactly one; more or none is a sin."""
        found = _SPACES.match(self.octets, self.at, self.end)
        assert found is not None
        if found.end() != self.at + 1:
            self.note(sin)
        self.at = found.end()

    def finish(self, sin: Quirk = Quirk.SPACING) -> None:
        """Nothing is left but, perhaps, spaces."""
        if self.done:
            return
        if self.octets[self.at : self.end].strip(b" \t"):
            raise self.fail("more than expected")
        self.note(sin)
        self.at = self.end

    def word(self) -> str:
        """The name of a response or an item, in capitals."""
        return self._match(_WORD, "a name").group().decode().upper()

    def atom(self) -> bytes:
        return self._match(_ATOM, "an atom").group()

    def number(self, limit: int = MAX_NUMBER) -> int | None:
        """None for one that is out of range; the malformed are skipped, and None too."""
        found = _NUMBER.match(self.octets, self.at, self.end)
        if found is not None:
            self.at = found.end()
            if int(found[0]) <= limit:
                return int(found[0])
        else:
            self.skip()
        self.note(Quirk.NUMBER_MALFORMED)
        return None

    def string(self) -> bytes:
        """Quoted or literal."""
        found = _QUOTED.match(self.octets, self.at, self.end)
        if found is not None:
            self.at = found.end()
            text: bytes = found[1]
            return _ESCAPED.sub(rb"\1", text) if b"\\" in text else text
        size = int(self._match(_LITERAL, "a string")[1])
        self.at += size
        if self.at > self.end:  # a body that was streamed has no business here
            raise self.fail("a literal without its octets")
        return self.octets[self.at - size : self.at]

    def nstring(self) -> bytes | None:
        return None if self.nil() else self.string()

    def astring(self) -> bytes:
        quoted = self.sees(b'"') or self.sees(b"{") or self.sees(b"~{")
        return self.string() if quoted else self.atom()

    def nil(self) -> bool:
        if self.octets[self.at : self.at + 3].upper() != b"NIL":
            return False
        if self.octets[self.at + 3 : min(self.at + 4, self.end)] not in (b"", b" ", b")"):
            return False
        self.at += 3
        return True

    def more(self) -> bool:
        """Within parentheses: is there another element? Moves to it, or behind the `)`."""
        spaces = _SPACES.match(self.octets, self.at, self.end)
        assert spaces is not None
        self.at = spaces.end()
        if self.takes(b")"):
            return False
        if self.done:
            raise self.fail(") expected")
        return True

    def words(self) -> list[bytes]:
        """A parenthesised list of astrings."""
        self.expect(b"(")
        found = []
        while self.more():
            found.append(self.astring())
        return found

    def skip(self) -> bytes:
        """One value of whatever kind and depth; gives its octets."""
        start, depth = self.at, 0
        while True:
            found = self._match(_ONE, "a value")
            if found[1] is not None:
                self.at += int(found[1])
                if self.at > self.end:
                    raise self.fail("a literal without its octets")
            elif found[0] == b"(":
                depth += 1
                if depth > MAX_DEPTH:
                    raise self.fail(f"parentheses more than {MAX_DEPTH} deep")
            elif found[0] == b")":
                depth -= 1
            if depth < 0:
                raise self.fail("a value expected")
            if depth == 0:
                return self.octets[start : self.at]
            self.at = _SPACES.match(self.octets, self.at, self.end).end()  # type: ignore[union-attr]

    def _match(self, pattern: re.Pattern[bytes], what: str) -> re.Match[bytes]:
        found = pattern.match(self.octets, self.at, self.end)
        if found is None:
            raise self.fail(f"{what} expected")
        self.at = found.end()
        return found
