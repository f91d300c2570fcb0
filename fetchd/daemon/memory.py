"""Memory that nobody uses any more goes back to the system, now and then.

A sync, and a connection that ends, leave objects that hold each other; Python
looks for such rings only when enough objects are new, which in a quiet service is hours away,
and the C library keeps what was freed in between. After each restart of a server that many
accounts watch, a service would be larger. So every half minute both are told: tens of
milliseconds of a core, and memory stays what is in use.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable

EVERY = 30.0  # seconds


async def return_memory(every: float = EVERY) -> None:
    """For as long as the service runs."""
    trim = _trim()
    while True:
        await asyncio.sleep(every)
        gc.collect()
        if trim is not None:
            await asyncio.to_thread(trim, 0)


def _trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim; other C libraries have none and keep less."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return found
