"""A POP3 server that misbehaves on purpose, for what a real one will not do on demand.

    with ScriptedPop3(messages, answers={"RETR 2": HANG_UP}) as server: ...   server.port

It serves RFC 1939 with any credentials, and departs from it where told to:
`answers` gives, for a command line ("RETR 2") or a verb ("RETR"), what is said
instead of the right answer: octets, verbatim; HANG_UP; SILENCE; `Endless` and
`Drip`, which never come to an end; `Turns`, one answer for each line of a
conversation; or a list of these, one after the other. The key "greeting" is
said on connection. `heard` has every line that came in.

`tls` (an ssl.SSLContext, see `server_context`) encrypts from the first octet,
`stls` after STLS. The server runs in a thread, so that synchronous tests and
other processes can use it. To add a fault, add a class with `say`.
"""

import asyncio
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fetchd.demo.server import stuffed
from tests.servers.certificates import Certificate

HOST = "127.0.0.1"
CAPABILITIES = ("TOP", "UIDL", "USER", "PIPELINING", "RESP-CODES")
LINE_LIMIT = 1 << 16


@dataclass(frozen=True)
class HangUp:
    """Close the connection."""

    async def say(self, talk: "Talk") -> None:
        await talk.writer.drain()
        talk.ended = True


@dataclass(frozen=True)
class Silence:
    """Say nothing, and keep the connection."""

    async def say(self, talk: "Talk") -> None:
        await talk.reader.read(-1)  # until the client has had enough
        talk.ended = True


@dataclass(frozen=True)
class Endless:
    """The same octets for ever, as fast as they are taken."""

    piece: bytes

    async def say(self, talk: "Talk") -> None:
        while not talk.writer.transport.is_closing():
            talk.writer.write(self.piece)
            await talk.writer.drain()


@dataclass(frozen=True)
class Drip:
    """The same octets for ever, with a pause before each."""

    piece: bytes
    pause: float

    async def say(self, talk: "Talk") -> None:
        while not talk.writer.transport.is_closing():
            await asyncio.sleep(self.pause)
            talk.writer.write(self.piece)


class Turns(tuple[bytes, ...]):
    """One answer, then one more for each line the client says."""

    __slots__ = ()

    async def say(self, talk: "Talk") -> None:
        talk.writer.write(self[0])
        for answer in self[1:]:
            talk.hear(await talk.reader.readline())
            talk.writer.write(answer)


HANG_UP = HangUp()
SILENCE = Silence()
Part = bytes | HangUp | Silence | Endless | Drip | Turns
Answer = Part | list[Part]


class ScriptedPop3:
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
        self.messages = list(messages)
        self.uidls = list(uidls or (b"uid-%d" % n for n in range(1, len(messages) + 1)))
        self.capabilities = capabilities
        self.inside = inside if inside is not None else capabilities
        self.answers = dict(answers or {})
        self.tls, self.stls = tls, stls
        self.heard: list[str] = []
        self.connections = 0
        self.host, self.port = HOST, 0
        self._loop = asyncio.new_event_loop()
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(
            target=lambda: self._loop.run_until_complete(self._run()), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the scripted server did not start")
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def verbs(self) -> list[str]:
        """The commands heard, without their arguments."""
        return [line.split(" ")[0] for line in self.heard]

    async def _run(self) -> None:
        server = await asyncio.start_server(self._accept, HOST, 0, limit=LINE_LIMIT, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        with suppress(OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            await Talk(self, reader, writer).run()
        writer.transport.abort() if self._stop.is_set() else writer.close()


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


def server_context(
    certificate: Certificate,
    *,
    client_ca: Path | None = None,
    maximum: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> ssl.SSLContext:
    """The server's side of TLS; with `client_ca` it wants a certificate of the client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    context.maximum_version = maximum
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context
