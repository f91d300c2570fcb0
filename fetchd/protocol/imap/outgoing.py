"""A command on its way: its octets, cut where a literal has to wait for the server.

RFC 9051 §4.3: a synchronising literal is announced, and its octets go only after
the server's `+`. LITERAL+ (RFC 7888) needs no wait, LITERAL-, which is part of
IMAP4rev2, none up to 4,096 octets.
"""

from collections import deque
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from fetchd.errors import LocalProtocolError
from fetchd.protocol.imap.rules import Command, Literal, Upload

MAX_UNASKED = 4096  # octets (RFC 7888 §5)

_WAIT = object()


class Outgoing:
    """What of a command is still to be sent."""

    def __init__(self, tag: str, command: Command, capabilities: AbstractSet[str]) -> None:
        self.tag = tag
        self.wanted = 0  # octets of an Upload that are due
        self.waiting = False  # for the server's `+`
        self.granted = False  # it has come and was not made use of yet
        self._verb = command.verb
        self._steps: deque[object] = deque(_steps(tag, command, capabilities))

    @property
    def finished(self) -> bool:
        return not (self._steps or self.waiting or self.granted or self.wanted)

    def advance(self) -> bytes:
        """All that may be sent before the next wait or upload."""
        self.granted = False
        out: list[bytes] = []
        while self._steps and not (self.waiting or self.wanted):
            match self._steps.popleft():
                case bytes(octets):
                    out.append(octets)
                case int(size):
                    self.wanted = size
                case _:
                    self.waiting = True
        return b"".join(out)

    def grant(self) -> bool:
        """The server says `+`; False if nothing waits for that."""
        if not self.waiting:
            return False
        self.waiting, self.granted = False, True
        return True

    def supply(self, piece: bytes) -> bytes:
        """The piece, with what follows it if it is the last of its literal."""
        if self.granted and not piece:
            return self.advance()
        if not self.wanted or len(piece) > self.wanted:
            raise LocalProtocolError(
                f"{len(piece)} octets for {self._verb}, which wants {self.wanted}"
            )
        self.wanted -= len(piece)
        return piece if self.wanted else piece + self.advance()

    def answered(self) -> None:
        """The tagged answer came early: finish what the server has been promised, no more.

        It reads a literal to its end whatever it thinks of it; a line's end behind
        that ends the command, even where more literals should have followed.
        """
        self._steps.clear()
        if self.wanted:
            self._steps.append(b"\r\n")
        self.waiting = self.granted = False


def _steps(tag: str, command: Command, capabilities: AbstractSet[str]) -> Iterator[object]:
    """Octets to send, sizes of uploads, and waits."""
    line = f"{tag} {command.verb}".encode() + b" " * bool(command.parts)
    for part in command.parts:
        if isinstance(part, bytes):
            line += part
            continue
        size = part.size if isinstance(part, Upload) else len(part.data)
        unasked = "LITERAL+" in capabilities or (
            size <= MAX_UNASKED and not capabilities.isdisjoint({"LITERAL-", "IMAP4REV2"})
        )
        sign = b"~" if isinstance(part, Upload) and part.binary else b""
        yield line + b"%b{%d%b}\r\n" % (sign, size, b"+" * unasked)
        if not unasked:
            yield _WAIT
        if isinstance(part, Literal):
            line = part.data
        else:
            yield size
            line = b""
    yield line + b"\r\n"
