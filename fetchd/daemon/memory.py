"""Memory that nobody uses any more goes back to the system.

A sync, and a connection that ends, leave objects that hold each other; Python looks for such
rings only when enough objects are new, which in a quiet service is hours away, and the C
library keeps what was freed in between. So every half minute both are told: tens of
milliseconds of a core, and memory stays what is in use.

glibc learns from each large block that is freed to take such blocks from the heap, where a
small one behind it then keeps it from shrinking: asyncio reads into 256 KiB each time and keeps
the few octets that came, and each TLS line has such a buffer for as long as it stands. What is
large is therefore always mapped by itself (mallopt(3)), and goes back when it is freed.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable
from typing import Any

EVERY = 30.0  # seconds
LARGE = 64 << 10  # octets
HEAPS = 2  # that threads share: each new thread would make one of its own, and keep it
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h


async def return_memory(every: float = EVERY) -> None:
    """For as long as the service runs."""
    trim = _trim()
    while True:
        await asyncio.sleep(every)
        gc.collect()
        if trim is not None:
            await asyncio.to_thread(trim, 0)


def map_what_is_large() -> None:
    """At the start, before there are threads; other C libraries keep less by themselves."""
    if (mallopt := _of_the_library("mallopt")) is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE)
        mallopt(_M_TRIM_THRESHOLD, 2 * LARGE)
        mallopt(_M_ARENA_MAX, HEAPS)


def _trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim."""
    found: Callable[[int], int] | None = _of_the_library("malloc_trim")
    return found


def _of_the_library(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
