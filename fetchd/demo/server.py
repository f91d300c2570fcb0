"""A small, correct POP3 server for one user, on loopback.

RFC 1939 with CAPA (RFC 2449) and pipelining; unique-ids are the SHA-256 of the
messages. `serve` runs it in a thread of its own and yields the `Maildrop`;
DELE takes effect at QUIT only (UPDATE state), and only in this process's
memory. For demonstrations and tests: no TLS, no lock between sessions.
"""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

USERNAME = "demo"
PASSWORD = "correct horse battery staple"  # noqa: S105  # of a server that lives for seconds
LINE_LIMIT = 512  # RFC 2449 §4: 255 octets; more is kindness

_CAPABILITIES = (b"TOP", b"USER", b"UIDL", b"PIPELINING", b"RESP-CODES", b"EXPIRE NEVER")


@dataclass(slots=True)
class Maildrop:
    """What the server holds; `port` is where it listens, `logins` how often it was entered."""

    messages: list[bytes]
    port: int = 0
    logins: int = 0


@contextmanager
def serve(messages: Sequence[bytes]) -> Iterator[Maildrop]:
    """A running server; `.port` of what it yields says where."""
    drop = Maildrop(list(messages))
    loop = asyncio.new_event_loop()
    ready, done = threading.Event(), asyncio.Event()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(_listen(drop, ready, done)), daemon=True
    )
    thread.start()
    try:
        ready.wait()
        yield drop
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()
        loop.close()


async def _listen(drop: Maildrop, ready: threading.Event, done: asyncio.Event) -> None:
    sessions: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            sessions.add(task)
            task.add_done_callback(sessions.discard)
        with suppress(ConnectionError, asyncio.CancelledError):
            await _converse(drop, reader, writer)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=LINE_LIMIT)
    drop.port = server.sockets[0].getsockname()[1]
    ready.set()
    await done.wait()
    server.close()
    for task in tuple(sessions):
        task.cancel()
    await asyncio.gather(*sessions)


async def _converse(
    drop: Maildrop, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    session = Pop3(drop)
    writer.write(b"+OK demo POP3 server ready\r\n")
    while not session.ended:
        await writer.drain()
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return  # hung up without QUIT: nothing is deleted (RFC 1939 §6)
        except asyncio.LimitOverrunError:
            writer.write(b"-ERR line too long\r\n")
            break
        writer.write(session.answer(line))
    await writer.drain()


@dataclass(slots=True)
class Pop3:
    """One session without its socket: a command line in, the whole answer out."""

    drop: Maildrop
    ended: bool = False
    _user: str = ""
    _entered: bool = False
    _messages: list[bytes] = field(default_factory=list)  # as they were at login
    _deleted: set[int] = field(default_factory=set)  # indices into it

    def answer(self, line: bytes) -> bytes:
        verb, _, argument = line.strip(b"\r\n").decode("latin-1").partition(" ")
        before = {"CAPA": self._capa, "QUIT": self._quit}
        states: tuple[dict[str, Callable[[str], bytes]], ...] = (
            before | {"USER": self._take_user, "PASS": self._pass},
            before
            | {
                "STAT": self._stat,
                "LIST": self._list,
                "UIDL": self._uidl,
                "TOP": self._top,
                "RETR": self._retr,
                "DELE": self._dele,
                "RSET": self._rset,
                "NOOP": lambda _: b"+OK\r\n",
            },
        )
        command = states[self._entered].get(verb.upper())
        return b"-ERR unknown command in this state\r\n" if command is None else command(argument)

    def _capa(self, _: str) -> bytes:
        return b"+OK\r\n" + b"".join(b"%b\r\n" % one for one in _CAPABILITIES) + b".\r\n"

    def _take_user(self, name: str) -> bytes:
        self._user = name
        return b"+OK\r\n"

    def _pass(self, password: str) -> bytes:
        if (self._user, password) != (USERNAME, PASSWORD):
            return b"-ERR [AUTH] wrong name or password\r\n"
        self._entered = True
        self._messages = list(self.drop.messages)
        self.drop.logins += 1
        return b"+OK logged in\r\n"

    def _stat(self, _: str) -> bytes:
        left = self._left()
        return b"+OK %d %d\r\n" % (len(left), sum(len(self._messages[at]) for at in left))

    def _list(self, argument: str) -> bytes:
        return self._listing(argument, lambda message: b"%d" % len(message))

    def _uidl(self, argument: str) -> bytes:
        return self._listing(argument, lambda message: hashlib.sha256(message).hexdigest().encode())

    def _listing(self, argument: str, fact: Callable[[bytes], bytes]) -> bytes:
        if not argument:
            rows = (b"%d %b\r\n" % (at + 1, fact(self._messages[at])) for at in self._left())
            return b"+OK\r\n" + b"".join(rows) + b".\r\n"
        at = self._index(argument)
        return _NO_SUCH if at is None else b"+OK %d %b\r\n" % (at + 1, fact(self._messages[at]))

    def _retr(self, argument: str) -> bytes:
        at = self._index(argument)
        if at is None:
            return _NO_SUCH
        return b"+OK %d octets\r\n" % len(self._messages[at]) + stuffed(self._messages[at])

    def _top(self, argument: str) -> bytes:
        number, _, count = argument.partition(" ")
        at = self._index(number)
        if at is None or not count.isdecimal():
            return _NO_SUCH
        head, gap, body = self._messages[at].partition(b"\r\n\r\n")
        lines = body.splitlines(keepends=True)[: int(count)]
        return b"+OK\r\n" + stuffed(head + gap + b"".join(lines))

    def _dele(self, argument: str) -> bytes:
        at = self._index(argument)
        if at is None:
            return _NO_SUCH
        self._deleted.add(at)
        return b"+OK marked\r\n"

    def _rset(self, _: str) -> bytes:
        self._deleted.clear()
        return b"+OK\r\n"

    def _quit(self, _: str) -> bytes:
        """The UPDATE state (RFC 1939 §6)."""
        self.ended = True
        for at in self._deleted:
            with suppress(ValueError):  # another session was first
                self.drop.messages.remove(self._messages[at])
        return b"+OK bye\r\n"

    def _left(self) -> list[int]:
        return [at for at in range(len(self._messages)) if at not in self._deleted]

    def _index(self, number: str) -> int | None:
        at = int(number) - 1 if number.isascii() and number.isdecimal() else -1
        return at if 0 <= at < len(self._messages) and at not in self._deleted else None


_NO_SUCH = b"-ERR no such message\r\n"


def stuffed(message: bytes) -> bytes:
    """A multi-line answer's text: dots stuffed, line end and final dot added (RFC 1939 §3)."""
    if not message.endswith(b"\r\n"):
        message += b"\r\n"
    if message.startswith(b"."):
        message = b"." + message
    return message.replace(b"\r\n.", b"\r\n..") + b".\r\n"
