"""A TCP proxy that makes a fast network slow, or cuts it.

    with Proxy("127.0.0.1", port, delay=0.025) as proxy: ...   proxy.port
    python -m tests.servers.proxy 127.0.0.1 1110 --delay 25

Every chunk is handed on `delay` seconds after it came, in order, without waiting
for the chunk before it to leave: latency without a limit on bandwidth, so a
client that pipelines is as fast as it would be on a long fat line. A delay of
25 ms each way is a round trip of 50 ms.

`cut_after=k` ends each connection once exactly k octets of the server's have
reached the client; `cut_after` may be changed while the proxy runs and holds for
connections made from then on; `cut(share)` ends some of those that are open, at once and
as they are. `connections` and `octets` count what passed, and
`flights` how often a client spoke after the server had: what a round trip costs,
that of connecting left out.

The context manager runs the proxy in a thread with a loop of its own, so that
synchronous tests and other processes can use it; inside a loop use `serve()`.
"""

import argparse
import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Self

from tests.servers.closing import close_server

HOST = "127.0.0.1"
CHUNK = 1 << 18
IN_FLIGHT = 2048  # chunks under way in one direction; far more than any window in the tests


class Proxy:
    """One listening port that leads to one server."""

    def __init__(
        self, host: str, port: int, *, delay: float = 0.0, cut_after: int | None = None
    ) -> None:
        self._target = (host, port)
        self.delay = delay
        self.cut_after = cut_after
        self.host = HOST
        self.port = 0
        self.connections = 0
        self.octets = 0  # from server to client
        self.flights = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # -- in a thread -----------------------------------------------------------

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), daemon=True)
        self._thread.start()
        if not ready.wait(10) or not self.port:
            raise RuntimeError("the proxy did not start")
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self.serve():
                ready.set()
                await self._stop.wait()
        finally:
            ready.set()

    def cut(self, share: float, rng: random.Random) -> int:
        """End each open connection with this probability; how many were chosen."""
        assert self._loop is not None
        chosen = [task for task in tuple(self._tasks) if rng.random() < share]
        for task in chosen:
            self._loop.call_soon_threadsafe(task.cancel)
        return len(chosen)

    # -- in a loop --------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[Self]:
        """Listen while the context lasts."""
        server = await asyncio.start_server(self._accept, HOST, port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            await close_server(server, self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._join(reader, writer, self.cut_after)
        except asyncio.CancelledError:
            pass  # the proxy ends: a server callback must not end as cancelled
        finally:
            self._tasks.discard(task)

    async def _join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut_after: int | None
    ) -> None:
        """Connect the client to the server until either has had enough."""
        with contextlib.ExitStack() as closing:
            closing.callback(writer.close)
            try:
                far_reader, far_writer = await asyncio.open_connection(*self._target)
            except OSError:
                return  # the client sees what it would see of a server that is down
            closing.callback(far_writer.close)
            turn = Turn()
            up = asyncio.create_task(self._carry(reader, far_writer, from_client=turn))
            down = asyncio.create_task(self._carry(far_reader, writer, cut_after, from_server=turn))
            try:
                await down  # when the server has closed there is no more to say to it
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limit: int | None = None,
        *,
        from_client: "Turn | None" = None,
        from_server: "Turn | None" = None,
    ) -> None:
        """Hand on what is read, `delay` later; return at the end, at the limit, on an error."""
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)
        feeding = asyncio.create_task(self._feed(reader, queue, from_client))
        left = limit
        try:
            while left != 0:
                due, data = await queue.get()
                if (wait := due - asyncio.get_running_loop().time()) > 0:
                    await asyncio.sleep(wait)
                if not data:
                    writer.write_eof()
                    return
                part = data if left is None else data[:left]
                writer.write(part)
                await writer.drain()
                if from_server is not None:
                    self.octets += len(part)
                    from_server.of_client = True
                left = None if left is None else left - len(part)
        except OSError:
            writer.transport.abort()  # the other direction then sees an end too
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def _feed(
        self,
        reader: asyncio.StreamReader,
        queue: asyncio.Queue[tuple[float, bytes]],
        from_client: "Turn | None",
    ) -> None:
        """Read, and note when each chunk is due; an empty chunk is the end."""
        data = b"more"
        while data:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = b""
            if data and from_client is not None:
                self.flights += from_client.of_client
                from_client.of_client = False
            await queue.put((asyncio.get_running_loop().time() + self.delay, data))


@dataclass(slots=True)
class Turn:
    """Whose turn it is on one connection: the client's, once the server has spoken."""

    of_client: bool = True


async def serve_forever(host: str, port: int, listen: int, delay: float, cut: int | None) -> None:
    """Run until interrupted; say where."""
    async with Proxy(host, port, delay=delay, cut_after=cut).serve(listen) as proxy:
        print(f"{HOST}:{proxy.port} leads to {host}:{port}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """The command: prints the port it listens on, runs until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.proxy", description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--listen", type=int, default=0, help="port to listen on (any)")
    parser.add_argument("--delay", type=float, default=0.0, help="one way, in milliseconds")
    parser.add_argument("--cut-after", type=int, help="octets from the server until the cut")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            serve_forever(given.host, given.port, given.listen, given.delay / 1000, given.cut_after)
        )


if __name__ == "__main__":
    main()
