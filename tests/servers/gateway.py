"""A proxy of every kind that fetchd knows: SOCKS5, SOCKS4 and 4a, HTTP CONNECT; in a thread.

    with Gateway(login=("user", "password")) as gateway: ...   gateway.port
    gateway.asked      what was asked for, as it was written: [("socks5", "localhost", 1110)]

Names are looked up here. `refuse` refuses every line, in the words of the protocol. From
`swallow()` on, nothing is handed on any more by the lines that there are, in either direction,
and nobody is told; as a NAT that forgot them, or a peer that lost its power. New lines work.
"""

import asyncio
import base64
import ipaddress
import struct
import threading
from typing import Self

from tests.servers.closing import close_server

HOST = "127.0.0.1"


class Gateway:
    """Listens on one port; tells the kinds apart by the first octet."""

    def __init__(
        self, *, login: tuple[str, str] | None = None, refuse: bool = False, target: int = 0
    ) -> None:
        """`target`: no proxy at all, but a straight line to that port."""
        self.asked: list[tuple[str, str, int]] = []
        self.port = 0
        self.lines = 0
        self._swallowed = 0  # lines that have gone dead
        self._login, self._refuse, self._target = login, refuse, target
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def swallow(self) -> None:
        """Every line there is goes dead."""
        self._swallowed = self.lines

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await self._stop.wait()
            await close_server(server, self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._target:
            await self._join(reader, writer, HOST, self._target, b"")
            return
        first = await reader.readexactly(1)
        kinds = {b"\x05": self._socks5, b"\x04": self._socks4}
        await kinds.get(first, self._http)(reader, writer)

    async def _socks5(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        wanted = 2 if self._login else 0
        if wanted not in methods:
            writer.write(b"\x05\xff")
            return
        writer.write(bytes((5, wanted)))
        if self._login:
            await reader.readexactly(1)
            user = await reader.readexactly((await reader.readexactly(1))[0])
            password = await reader.readexactly((await reader.readexactly(1))[0])
            good = (user.decode(), password.decode()) == self._login
            writer.write(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                return
        kind = (await reader.readexactly(4))[3]
        sizes = {1: 4, 4: 16}
        size = sizes.get(kind) or (await reader.readexactly(1))[0]
        raw = await reader.readexactly(size)
        host = raw.decode() if kind == 3 else str(ipaddress.ip_address(raw))
        (port,) = struct.unpack("!H", await reader.readexactly(2))
        self.asked.append(("socks5", host, port))
        if self._refuse:
            writer.write(b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00")
            return
        answer = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
        await self._join(reader, writer, host, port, answer)

    async def _socks4(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, port, raw = struct.unpack("!BH4s", await reader.readexactly(7))
        await reader.readuntil(b"\0")
        named = raw[:3] == b"\0\0\0"
        host = (await reader.readuntil(b"\0"))[:-1].decode() if named else ""
        host = host or str(ipaddress.ip_address(raw))
        self.asked.append(("socks4", host, port))
        if self._refuse:
            writer.write(b"\x00\x5b\x00\x00\x00\x00\x00\x00")
            return
        await self._join(reader, writer, host, port, b"\x00\x5a\x00\x00\x00\x00\x00\x00")

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        name, _, port = head.split(" ")[1].rpartition(":")
        self.asked.append(("http", name, int(port)))
        if self._login:
            token = base64.b64encode(":".join(self._login).encode()).decode()
            if f"Proxy-Authorization: Basic {token}\r\n" not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
        if self._refuse:
            writer.write(b"HTTP/1.1 403 Forbidden by \x1b[31mpolicy\r\n\r\n")
            return
        answer = b"HTTP/1.1 200 Connection established\r\nVia: a gateway\r\n\r\n"
        await self._join(reader, writer, name.strip("[]"), int(port), answer)

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        host: str,
        port: int,
        answer: bytes,
    ) -> None:
        """The server's first words leave in one piece with our answer, if it has any at once."""
        self.lines += 1
        number = self.lines
        far_reader, far_writer = await asyncio.open_connection(host, port)
        try:
            try:
                async with asyncio.timeout(0.2):
                    answer += await far_reader.read(4096)
            except TimeoutError:
                pass
            writer.write(answer)
            up = asyncio.create_task(self._carry(number, reader, far_writer))
            down = asyncio.create_task(self._carry(number, far_reader, writer))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        finally:
            far_writer.close()

    async def _carry(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(1 << 16):
            if number <= self._swallowed:
                continue
            writer.write(data)
            await writer.drain()
        if number <= self._swallowed:  # nor that it has ended
            await asyncio.Event().wait()
