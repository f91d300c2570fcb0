"""A POP3 server that misbehaves on purpose, for what a real one will not do on demand.

    with ScriptedPop3(messages, answers={"RETR 2": HANG_UP}) as server: ...   server.port

It serves RFC 1939 with any credentials, and departs from it where told to:
`answers` gives, for a command line ("RETR 2") or a verb ("RETR"), what is said
instead of the right answer: octets, verbatim; a fault of scripted.py; or a list
of these, one after the other. The key "greeting" is said on connection. `heard`
has every line that came in.

`tls` (an ssl.SSLContext, see `server_context`) encrypts from the first octet,
`stls` after STLS.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence

from fetchd.demo.server import stuffed
from tests.servers.scripted import (
    HANG_UP,
    SILENCE,
    Answer,
    Drip,
    Endless,
    HangUp,
    Part,
    Scripted,
    Silence,
    Turns,
    server_context,
)

__all__ = [
    "CAPABILITIES",
    "HANG_UP",
    "SILENCE",
    "Answer",
    "Drip",
    "Endless",
    "HangUp",
    "Part",
    "ScriptedPop3",
    "Silence",
    "Talk",
    "Turns",
    "server_context",
]

CAPABILITIES = ("TOP", "UIDL", "USER", "PIPELINING", "RESP-CODES")
LINE_LIMIT = 1 << 16


class ScriptedPop3(Scripted):
    """One listening port and what it serves; see the module."""

    def __init__(
        self,
        messages: Sequence[bytes] = (),
        *,
        uidls: Sequence[bytes] | None = None,
        capabilities: Sequence[str] | None = CAPABILITIES,
        inside: Sequence[str] | None = None,
        answers: Mapping[str, Answer] | None = None,
        tls: ssl.SSLContext | None = None,
        stls: ssl.SSLContext | None = None,
    ) -> None:
        """`capabilities` None: no CAPA; `inside`: what CAPA says after the login, if different."""
        super().__init__(tls=tls, line_limit=LINE_LIMIT)
        self.messages = list(messages)
        self.uidls = list(uidls or (b"uid-%d" % n for n in range(1, len(messages) + 1)))
        self.capabilities = capabilities
        self.inside = inside if inside is not None else capabilities
        self.answers = dict(answers or {})
        self.stls = stls
        self.heard: list[str] = []

    def verbs(self) -> list[str]:
        """The commands heard, without their arguments."""
        return [line.split(" ")[0] for line in self.heard]

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Talk(self, reader, writer).run()


class Talk:
    """One session."""

    def __init__(
        self, server: ScriptedPop3, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.ended = False
        self._inside = False
        self._deleted: set[int] = set()

    async def run(self) -> None:
        await self._say(self.server.answers.get("greeting", b"+OK ready\r\n"))
        while not self.ended:
            await self.writer.drain()
            line = self.hear(await self.reader.readuntil(b"\n"))
            verb = line.split(" ")[0].upper()
            answers = self.server.answers
            answer = answers.get(line, answers.get(verb))
            if answer is None:
                answer = getattr(self, f"_{verb.lower()}", _unknown)(line)
            self._inside |= verb in ("PASS", "APOP", "AUTH")
            await self._say(answer)
            self.ended |= verb == "QUIT"
            if verb == "STLS" and self.server.stls is not None and not self.ended:
                await self.writer.start_tls(self.server.stls)
        await self.writer.drain()

    def hear(self, line: bytes) -> str:
        text = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
        self.server.heard.append(text)
        return text

    async def _say(self, answer: Answer) -> None:
        for part in answer if isinstance(answer, list) else [answer]:
            if isinstance(part, bytes):
                self.writer.write(part)
            else:
                await part.say(self)

    # -- The right answers ---------------------------------------------------------

    def _capa(self, _line: str) -> bytes:
        said = self.server.inside if self._inside else self.server.capabilities
        if said is None:
            return _unknown("")
        return b"+OK\r\n" + b"".join(b"%b\r\n" % c.encode() for c in said) + b".\r\n"

    def _stls(self, _line: str) -> bytes:
        return b"+OK begin\r\n" if self.server.stls is not None else _unknown("")

    def _user(self, _line: str) -> bytes:
        return b"+OK\r\n"

    def _pass(self, _line: str) -> bytes:
        return b"+OK\r\n"

    _apop = _auth = _pass

    def _stat(self, _line: str) -> bytes:
        return b"+OK %d %d\r\n" % (
            len(self.server.messages), sum(map(len, self.server.messages)),
        )  # fmt: skip

    def _list(self, _line: str) -> bytes:
        return self._listing([b"%d" % len(m) for m in self.server.messages])

    def _uidl(self, _line: str) -> bytes:
        return self._listing(self.server.uidls)

    def _listing(self, facts: Sequence[bytes]) -> bytes:
        rows = (b"%d %b\r\n" % (n, fact) for n, fact in enumerate(facts, 1))
        return b"+OK\r\n" + b"".join(rows) + b".\r\n"

    def _retr(self, line: str) -> bytes:
        return b"+OK\r\n" + stuffed(self._message(line))

    def _top(self, line: str) -> bytes:
        head, gap, _body = self._message(line).partition(b"\r\n\r\n")
        return b"+OK\r\n" + stuffed(head + gap)

    def _message(self, line: str) -> bytes:
        return self.server.messages[int(line.split()[1]) - 1]

    def _dele(self, line: str) -> bytes:
        self._deleted.add(int(line.split()[1]) - 1)
        return b"+OK\r\n"

    def _noop(self, _line: str) -> bytes:
        return b"+OK\r\n"

    def _quit(self, _line: str) -> bytes:
        for at in sorted(self._deleted, reverse=True):
            del self.server.messages[at], self.server.uidls[at]
        return b"+OK bye\r\n"


def _unknown(_line: str) -> bytes:
    return b"-ERR unknown command\r\n"
