"""What Ctrl-C and SIGTERM do: the first asks the work to end well, the second ends it.

Everything durable in fetchd survives a kill, so the second signal ends the
process where it stands, without waiting for threads or servers.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\r\x1b[?25h\n"  # a live display hides it


@contextmanager
def stoppable(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` at the first signal, from the main thread, between two instructions."""
    asked = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            _end_at_once(number)
        asked = True
        stop()

    before = [(number, signal.signal(number, handle)) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _end_at_once(number: int) -> None:
    with suppress(OSError, ValueError):
        if sys.stderr.isatty():
            os.write(2, _SHOW_CURSOR)
    os._exit(128 + number)
