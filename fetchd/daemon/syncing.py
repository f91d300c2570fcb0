"""One sync within the service: the ordinary one, watched, and ended when it hangs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from fetchd.daemon.line import Line, Pulse, Request
from fetchd.errors import SyncStalled
from fetchd.pipeline.account import sync_account
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.tools import Tools

GLANCE = 5.0  # seconds between two looks at a sync's progress, at most


async def sync_line(
    line: Line, request: Request, tools: Tools, let_go: Callable[[], None], stalled: float
) -> RunReport:
    """Do what was asked for; `let_go` when no connection to the server is needed any more.

    `stalled`: seconds without progress, octets or messages, after which it is ended.
    """
    clock = asyncio.get_running_loop().time
    line.since = tools.now()
    pulse = line.pulse = Pulse(clock, request.watchers)
    own = replace(tools, stop=line.stop, progress=pulse, confirm_retire=request.confirm_retire)

    @asynccontextmanager
    async def turn() -> AsyncIterator[None]:
        try:
            yield
        finally:
            let_go()  # deliveries need no connection to the server

    if tools.stop.is_set():
        line.stop.set()
    return await sync_account(
        line.its_errand(request), own, turn, lambda: _until_stalled(line, pulse, stalled)
    )


async def _until_stalled(line: Line, pulse: Pulse, patience: float) -> None:
    """Raise when nothing has come of the sync for too long."""
    clock, meter = asyncio.get_running_loop().time, line.errand.allowance.meter
    octets = meter.received + meter.sent
    while (left := pulse.last + patience - clock()) > 0:
        await asyncio.sleep(min(left, max(GLANCE, patience / 20)))
        if meter.received + meter.sent != octets:
            octets, pulse.last = meter.received + meter.sent, clock()
    line.totals.stalled += 1
    raise SyncStalled(
        f"no progress for {patience:g} s while {pulse.current or 'connecting'}: it was ended"
    )
