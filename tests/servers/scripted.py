"""What servers scripted by tests have in common: a thread of their own, and faults to say.

A fault is anything with `say`: HANG_UP; SILENCE; `Endless` and `Drip`, which never
come to an end; `Turns`, one answer for each line of a conversation. To add one,
add a class with `say`. `Scripted` listens in a thread, so that synchronous tests
and other processes can use it; scripted_pop3.py and scripted_imap.py say what a
session is.
"""

import asyncio
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from tests.servers.certificates import Certificate
from tests.servers.closing import close_server

HOST = "127.0.0.1"


class Talk(Protocol):
    """One session, as a fault sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: bool

    def hear(self, line: bytes) -> str:
        """Note a line of the client's."""
        ...


class Saying(Protocol):
    """Anything that can be said in place of octets."""

    async def say(self, talk: Talk) -> None:
        """Say it, whatever it takes."""
        ...


@dataclass(frozen=True)
class HangUp:
    """Close the connection."""

    async def say(self, talk: Talk) -> None:
        await talk.writer.drain()
        talk.ended = True


@dataclass(frozen=True)
class Silence:
    """Say nothing, and keep the connection."""

    async def say(self, talk: Talk) -> None:
        await talk.reader.read(-1)  # until the client has had enough
        talk.ended = True


@dataclass(frozen=True)
class Endless:
    """The same octets for ever, as fast as they are taken."""

    piece: bytes

    async def say(self, talk: Talk) -> None:
        while not talk.writer.transport.is_closing():
            talk.writer.write(self.piece)
            await talk.writer.drain()


@dataclass(frozen=True)
class Drip:
    """The same octets for ever, with a pause before each."""

    piece: bytes
    pause: float

    async def say(self, talk: Talk) -> None:
        while not talk.writer.transport.is_closing():
            await asyncio.sleep(self.pause)
            talk.writer.write(self.piece)


class Turns(tuple[bytes, ...]):
    """One answer, then one more for each line the client says."""

    __slots__ = ()

    async def say(self, talk: Talk) -> None:
        talk.writer.write(self[0])
        for answer in self[1:]:
            talk.hear(await talk.reader.readline())
            talk.writer.write(answer)


HANG_UP = HangUp()
SILENCE = Silence()
Part = bytes | Saying
Answer = Part | list[Part]


class Scripted:
    """One listening port with a thread; `_converse` is one session."""

    def __init__(self, *, tls: ssl.SSLContext | None, line_limit: int) -> None:
        self.tls = tls
        self.connections = 0
        self.host, self.port = HOST, 0
        self._line_limit = line_limit
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

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _run(self) -> None:
        server = await asyncio.start_server(
            self._accept, HOST, 0, limit=self._line_limit, ssl=self.tls
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        await close_server(server, self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        with suppress(OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            await self._converse(reader, writer)
        writer.transport.abort() if self._stop.is_set() else writer.close()


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
