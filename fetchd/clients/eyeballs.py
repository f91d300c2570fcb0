"""Connect to whichever of several addresses answers first (RFC 8305, happy eyeballs).

The families take turns, and an address that has not answered in a quarter of a second gets
company: a dead IPv6 costs 250 ms, not a timeout. One that refuses is followed at once.

A line whose other end vanished without a word is noticed by the system: KEEP_ALIVE after
a minute without a sign it begins to ask, and after two the line counts as broken, as it
does where octets of ours stay unacknowledged for so long (RFC 5482).
"""

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest

from fetchd.clients.names import Address

NEXT_ADDRESS_DELAY = 0.25  # seconds; RFC 8305 §5
HALF_OPEN = 120  # seconds until a line that is dead is known to be
# Option -> value, in seconds and counts; a system knows them, or does without.
_KEEP_ALIVE = {
    "TCP_KEEPIDLE": 60,
    "TCP_KEEPINTVL": 15,
    "TCP_KEEPCNT": 4,
    "TCP_USER_TIMEOUT": HALF_OPEN * 1000,
}
# Our own side of things: another address may fare better, and has more to say if it fails.
LOCAL = frozenset({
    errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL,
})  # fmt: skip


async def race(addresses: Sequence[Address], bind: str = "") -> socket.socket:
    """The first that connects; the OSError that says most, if none does."""
    waiting = deque(_in_turn(addresses))
    running: set[asyncio.Task[socket.socket]] = set()
    faults: list[OSError] = []
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(_connect(waiting.popleft(), bind)))
            done, _ = await asyncio.wait(
                running,
                timeout=NEXT_ADDRESS_DELAY if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                running.discard(task)
                fault = task.exception()
                if fault is None:
                    running |= done - {task}  # two at the same moment: one is enough
                    return task.result()
                if not isinstance(fault, OSError):
                    raise fault
                faults.append(fault)
    finally:
        await _let_go(running)
    raise _weightiest(faults)


def keep_alive(line: socket.socket) -> None:
    """Have the system notice when the other end is no longer there."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            line.setsockopt(socket.IPPROTO_TCP, option, value)


async def _connect(address: Address, bind: str) -> socket.socket:
    family, where = address
    line = socket.socket(family, socket.SOCK_STREAM)
    try:
        line.setblocking(False)
        keep_alive(line)
        if bind:
            line.bind((bind, 0))
        await asyncio.get_running_loop().sock_connect(line, where)
    except BaseException:
        line.close()
        raise
    return line


def _in_turn(addresses: Sequence[Address]) -> Iterable[Address]:
    """RFC 8305 §4: the families alternate, beginning with the resolver's choice."""
    first = [one for one in addresses if one[0] == addresses[0][0]]
    others = [one for one in addresses if one[0] != addresses[0][0]]
    return (one for one in chain(*zip_longest(first, others)) if one is not None)


async def _let_go(running: "set[asyncio.Task[socket.socket]]") -> None:
    """End those that lost; a line that came too late is closed."""
    for task in running:
        task.cancel()
    for late in await asyncio.gather(*running, return_exceptions=True):
        if isinstance(late, socket.socket):
            late.close()


def _weightiest(faults: Sequence[OSError]) -> OSError:
    """What a server did says more than what we could not even try."""
    if not faults:
        return OSError(errno.EADDRNOTAVAIL, "no address to connect to")
    return next((fault for fault in faults if fault.errno not in LOCAL), faults[0])
