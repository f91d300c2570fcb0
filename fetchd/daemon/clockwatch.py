"""Notices that the machine slept or that somebody set the wall clock.

Three clocks tell it apart: the monotonic one stands still while the machine sleeps, the one
since boot runs on, and only the wall clock can be set. What NTP does bit by bit moves all
three alike and is nothing. A zone's change of summer time moves none.

Where there is no clock since boot (other systems than Linux), sleep shows as a wall clock put
forward; whoever is told does the same in both cases.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum

from fetchd.values import Struct

PERIOD = 5.0  # seconds between two readings
LEAST = 2.0  # seconds; less harms no schedule
_AT_ONCE = 0.05  # seconds that three readings may take and still be of the same moment
_ATTEMPTS = 5

_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", None)


class Kind(StrEnum):
    """What happened to the clocks."""

    SLEPT = "slept"
    FORWARD = "forward"
    BACK = "back"


class Jump(Struct, frozen=True):
    """An event, and how long it was: always a positive number of seconds."""

    kind: Kind
    seconds: float


class Reading(Struct, frozen=True):
    """Three clocks at one moment, in seconds."""

    monotonic: float
    since_boot: float
    wall: float


Jumped = Callable[[Kind, float], None]


async def watch_clocks(
    jumped: Jumped,
    *,
    read: "Callable[[], Reading] | None" = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Tell of each event once, until cancelled."""
    read = read or read_clocks
    before = read()
    while True:
        await sleep(PERIOD)
        after = read()
        for jump in jumps(before, after):
            jumped(jump.kind, jump.seconds)
        before = after


def jumps(before: Reading, after: Reading) -> tuple[Jump, ...]:
    """What happened between two readings: sleep first, then what the wall clock did besides."""
    monotonic = after.monotonic - before.monotonic
    since_boot = after.since_boot - before.since_boot
    slept = since_boot - monotonic
    stepped = after.wall - before.wall - since_boot
    found = []
    if slept >= LEAST:
        found.append(Jump(Kind.SLEPT, slept))
    if abs(stepped) >= LEAST:
        found.append(Jump(Kind.FORWARD if stepped > 0 else Kind.BACK, abs(stepped)))
    return tuple(found)


def read_clocks() -> Reading:
    """All three, again if the process was held up between them."""
    for _ in range(_ATTEMPTS):
        began = time.monotonic()
        since_boot = began if _SINCE_BOOT is None else time.clock_gettime(_SINCE_BOOT)
        reading = Reading(began, since_boot, time.time())
        if time.monotonic() - began < _AT_ONCE:
            break
    return reading
