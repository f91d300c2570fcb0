"""What there is to ask for, read off a snapshot that is made when somebody asks.

    /metrics    for Prometheus
    /healthz    200 while the service advances, else 503: then restart it
    /readyz     200 while it does its work: not before its first plan, nor once it is stopping
    /           what there is

None of them says what an account is called on its server, nor anything secret: accounts go
by the names that the settings give them. Accounts in trouble make nobody unhealthy: a restart
would not help them. A metrics page is written in a thread, one at a time: with thousands of
accounts it takes longer than a schedule should wait.
"""

import asyncio
from collections.abc import Callable

from fetchd.pipeline.snapshot import Snapshot
from fetchd.telemetry import redact
from fetchd.web.exposition import Exposition
from fetchd.web.guard import Application

RENDER = 20.0  # seconds that a page of metrics may take, those before it included
INDEX = """fetchd {version}

/metrics   Prometheus metrics
/healthz   whether the service advances
/readyz    whether it is at work
"""


def pages(snapshot: Callable[[], Snapshot]) -> Application:
    """The application; anything else than these pages is 404, anything but a look 405."""
    from starlette.requests import Request
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Route, Router

    exposition = Exposition()
    turn = asyncio.Lock()

    async def metrics(request: Request) -> Response:
        accept = ",".join(request.headers.getlist("accept"))
        try:
            async with asyncio.timeout(RENDER), turn:
                page, kind = await asyncio.to_thread(exposition.page, snapshot(), accept)
        except TimeoutError:
            return PlainTextResponse("Too many ask at once.\n", 503, {"retry-after": "15"})
        return Response(page, headers={"content-type": kind})

    async def healthz(_request: Request) -> Response:
        now = snapshot()
        body = {"healthy": now.healthy, "reasons": [*map(redact, now.unhealthy)]}
        return JSONResponse(body, 200 if now.healthy else 503)

    async def readyz(_request: Request) -> Response:
        now = snapshot()
        body = {"ready": now.ready, "reasons": [*map(redact, now.unready)]}
        return JSONResponse(body, 200 if now.ready else 503)

    async def index(_request: Request) -> Response:
        return PlainTextResponse(INDEX.format(version=snapshot().version))

    routes = [
        Route("/", index),
        Route("/metrics", metrics),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
    ]
    return Router(routes, redirect_slashes=False)
