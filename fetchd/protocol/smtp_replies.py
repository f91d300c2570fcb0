"""What a mail server says: replies (RFC 5321 §4.2), and the extensions it offers (§4.1.1.1).

A reply may have many lines; every one carries the code, and one that carries another is
no reply: whoever guessed which of them counts might take a refusal for an acceptance.
All else is read with lenience: bare LF, a code without text, text that is not ASCII.

Enhanced codes (RFC 2034, RFC 3463) stay part of the text, since that is what people
search for; where each line of a reply repeats one, it is said once.
"""

import re
from collections.abc import Iterator, Mapping

from fetchd.errors import RemoteProtocolError
from fetchd.values import Struct

MAX_LINE = 8192  # octets; RFC 5321 §4.5.3.1.5 has 512, and texts with links exceed it
MAX_REPLY = 64 << 10  # octets: the longest EHLO in the field has less than 2 KB
MAX_LINES = 200

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)")
_KEYWORD = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:[ =](.*))?")


class Reply(Struct, frozen=True):
    """One answer; `lines` are its texts without the code. Its str is what people read."""

    code: int
    lines: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """2yz: done."""
        return 200 <= self.code < 300

    @property
    def passing(self) -> bool:
        """4yz: the same may succeed another time."""
        return 400 <= self.code < 500

    @property
    def enhanced(self) -> str:
        """The enhanced code, such as "5.1.1"; "" if there is none, or one of another class."""
        found = _ENHANCED.match(self.lines[0]) if self.lines else None
        return found[0] if found and found[1] == str(self.code)[0] else ""

    @property
    def text(self) -> str:
        """All lines as one, an enhanced code only once."""
        told = self.enhanced
        rest = (line.removeprefix(told).lstrip() if told else line for line in self.lines[1:])
        return " ".join(word for line in (*self.lines[:1], *rest) for word in line.split())

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()


class ReplyReader:
    """Cuts octets, however they come, into replies."""

    def __init__(self) -> None:
        self._rest = b""  # of a line whose end is still to come
        self._code = 0
        self._lines: list[str] = []
        self._size = 0

    @property
    def halfway(self) -> bool:
        """Whether a reply has begun and not ended."""
        return bool(self._rest or self._lines)

    def feed(self, data: bytes) -> Iterator[Reply]:
        """The replies completed by these octets; to be taken to the last one."""
        data = self._rest + data if self._rest else data
        position = 0
        while (end := data.find(b"\n", position, position + MAX_LINE)) >= 0:
            reply = self._line(data[position:end].removesuffix(b"\r"))
            position = end + 1
            if reply is not None:
                yield reply
        self._rest = data[position:]
        if len(self._rest) >= MAX_LINE:
            raise RemoteProtocolError("endless line", self._rest[:80])

    def _line(self, line: bytes) -> Reply | None:
        found = _LINE.fullmatch(line)
        if found is None:
            raise RemoteProtocolError("not an SMTP reply", line or b"(empty line)")
        code = int(found[1])
        if self._lines and code != self._code:
            raise RemoteProtocolError(f"a reply that says {self._code} and {code}", line)
        self._code = code
        self._size += len(line)
        self._lines.append((found[3] or b"").decode("utf-8", "backslashreplace").strip())
        if self._size > MAX_REPLY or len(self._lines) > MAX_LINES:
            raise RemoteProtocolError("endless reply", line)
        if found[2] == b"-":
            return None
        reply = Reply(code, tuple(self._lines))
        self._lines, self._size = [], 0
        return reply


class Features(Struct, frozen=True):
    """What the server offers: keywords in capitals, and what stands behind them."""

    keywords: Mapping[str, str] = {}

    @classmethod
    def of(cls, reply: Reply) -> "Features":
        """Those of an answer to EHLO or LHLO, whose first line greets; unreadable ones are left."""
        keywords: dict[str, str] = {}
        for line in reply.lines[1:]:
            if (found := _KEYWORD.fullmatch(line)) is None:
                continue
            name, values = found[1].upper(), (found[2] or "").strip()
            # Several lines of AUTH, among them "AUTH=LOGIN" for clients of the last century.
            keywords[name] = f"{keywords.get(name, '')} {values}".strip()
        return cls(keywords)

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.keywords

    @property
    def size(self) -> int:
        """The largest message it takes, in octets (RFC 1870); 0: it sets no limit."""
        found = re.match(r"[0-9]{1,18}", self.keywords.get("SIZE", ""))
        return int(found[0]) if found else 0

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """Of SASL, in the server's order."""
        return tuple(dict.fromkeys(self.keywords.get("AUTH", "").upper().split()))

    @property
    def eight_bit(self) -> bool:
        """RFC 6152."""
        return "8BITMIME" in self

    @property
    def utf8(self) -> bool:
        """RFC 6531."""
        return "SMTPUTF8" in self

    @property
    def pipelining(self) -> bool:
        """RFC 2920."""
        return "PIPELINING" in self

    @property
    def chunking(self) -> bool:
        """RFC 3030."""
        return "CHUNKING" in self
