"""HTTP on the service's own event loop, by uvicorn, within limits.

uvicorn's own loop would wake ten times a second to see whether it should end: here its server
is started, and closed when the service stops; in between nothing runs. It takes no signals,
writes no log and knows no WebSocket.

A peer is limited in all it can take: connections at once, octets of a request's head, and the
time in which a whole connection must be over, however slowly it asks or reads.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from fetchd.pipeline.snapshot import Snapshot
from fetchd.telemetry import log
from fetchd.web.guard import Application, Guard
from fetchd.web.listening import Listeners, listen_at

if TYPE_CHECKING:
    import uvicorn

REQUESTS = 16  # at once; more are answered 503
CONNECTIONS = 32  # at once; more are closed unheard
HEAD = 16 << 10  # octets of a request line and its fields
LIFETIME = 30.0  # seconds that a connection may last
FAREWELL = 2  # seconds that answers under way are given when the service stops


async def serve_web(listen: str, snapshot: Callable[[], Snapshot], stop: asyncio.Event) -> None:
    """Serve metrics and health at "host:port" until `stop`; "off" serves nothing.

    Raises CannotListen, at once, where the port is taken: the service says so and goes on.
    """
    if listen == "off":
        return
    from fetchd.web.pages import pages

    listeners = await listen_at(listen)
    try:
        guard = Guard(pages(snapshot), listeners.place.host, loopback=listeners.loopback)
        log().info("web.listening", at=listen, loopback=listeners.loopback)
        await _serve(guard, listeners, stop)
    finally:
        listeners.close()


async def _serve(application: Application, listeners: Listeners, stop: asyncio.Event) -> None:
    server = _server(application)
    await server.startup(sockets=list(listeners.sockets))
    try:
        await stop.wait()
    finally:
        await server.shutdown()
        for connection in list(server.server_state.connections):
            connection.transport.abort()


def _server(application: Application) -> "uvicorn.Server":
    """A server that is ready to be started without its main loop."""
    import uvicorn

    config = uvicorn.Config(
        application,
        http=_bounded_protocol(),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",  # a peer that speaks garbage is no news, and tracebacks are ours
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,  # kept by the main loop; `guard` writes one
        limit_concurrency=REQUESTS,
        timeout_graceful_shutdown=FAREWELL,
        h11_max_incomplete_event_size=HEAD,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server


def _bounded_protocol() -> type[asyncio.Protocol]:
    """uvicorn's protocol, whose timeouts begin only after an answer, with one for all of it."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Bounded(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._end = self.loop.call_later(LIFETIME, transport.abort)
            if len(self.connections) > CONNECTIONS:
                transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end.cancel()
            super().connection_lost(exc)

    return Bounded
