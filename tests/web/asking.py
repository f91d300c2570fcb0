"""A service's web side on a port of its own, and a client that says exactly what it is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from fetchd.pipeline.snapshot import Snapshot
from fetchd.web.serving import serve_web
from tests.servers.processes import HOST, free_ports
from tests.web.snapshots import CALM

DEADLINE = 10.0


class Answer(NamedTuple):
    """What came; field names are in small letters."""

    status: int
    fields: dict[str, str]
    body: str


class Site:
    """Where it listens."""

    def __init__(self, port: int, host: str) -> None:
        self.port, self.host = port, host

    async def get(self, path: str, *fields: str, method: str = "GET") -> Answer:
        """One request, with a Host unless one is given."""
        hosts = () if any(one.startswith("Host:") for one in fields) else (f"Host: {self.host}",)
        lines = [f"{method} {path} HTTP/1.1", *hosts, *fields, "", ""]
        return parsed(await self.say("\r\n".join(lines).encode("latin-1")))

    async def say(self, octets: bytes) -> bytes:
        """These octets, and all that comes until the end."""
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            writer.write(octets)
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()


def parsed(octets: bytes) -> Answer:
    """Status, fields and body; status 0 where nothing came."""
    if not octets:
        return Answer(0, {}, "")
    head, _, body = octets.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), fields, body)


@contextlib.asynccontextmanager
async def site(
    snapshot: Callable[[], Snapshot] = lambda: CALM, host: str = HOST, listen: str = ""
) -> AsyncIterator[Site]:
    """Serve while the context lasts; `listen` is what the settings say, {port} in it is filled."""
    port = free_ports(1)[0]
    stop = asyncio.Event()
    written = (listen or f"{f'[{host}]' if ':' in host else host}:{{port}}").format(port=port)
    serving = asyncio.create_task(serve_web(written, snapshot, stop))
    try:
        await _until_it_listens(serving, host, port)
        yield Site(port, host)
    finally:
        stop.set()
        async with asyncio.timeout(DEADLINE):
            await serving


async def _until_it_listens(serving: "asyncio.Task[None]", host: str, port: int) -> None:
    async with asyncio.timeout(DEADLINE):
        while not serving.done():
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return
        serving.result()
