"""What signals mean to the service, from its first moment to its last.

    SIGTERM, SIGINT    stop in good order; once more: at once, by `os._exit`
    SIGHUP             read the settings again

Who stops a group of processes often tells one of them twice, a wrapper and the terminal say:
what comes within BURST is one wish. A SIGHUP would end a process that does not handle it yet
or any more: it is kept back from the start (`hold_hangups`), obeyed once there is somebody to
obey it, and means nothing at the end.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BURST = 0.3  # seconds


def hold_hangups() -> None:
    """Keep SIGHUP for later; to be called before anything is read or imported at length."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


@contextmanager
def obeyed(stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
    """Within the running loop; whoever comes afterwards is a process that ends."""
    loop = asyncio.get_running_loop()
    asked_at: float | None = None

    def asked() -> None:
        nonlocal asked_at
        if asked_at is None:
            asked_at = loop.time()
            stop()
        elif loop.time() > asked_at + BURST:
            os._exit(1)  # everything durable survives that

    handlers = {signal.SIGTERM: asked, signal.SIGINT: asked, signal.SIGHUP: reload}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        hold_hangups()
        for number in handlers:
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
