"""`fetchd top`: what the service is doing, looked at again and again.

The service sends snapshots by itself; what is drawn of them is in top_screen. When it goes
away, that is said, and it is waited for.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from fetchd.cli import output
from fetchd.cli.asking import reach
from fetchd.daemon.messages import State, Status
from fetchd.errors import ServiceError
from fetchd.pipeline.snapshot import Snapshot
from fetchd.settings import Settings

if TYPE_CHECKING:  # imports rich
    from fetchd.cli.top_screen import Screen

AGAIN = 1.0  # seconds between two attempts to find the service


def top(settings: Settings, interval: float, *, once: bool, json: bool) -> bool:
    """Until Ctrl-C, which is how it ends well; once where nobody sees it move."""
    if json:
        output.emit(document(_one(settings)))
    elif once or not sys.stdout.isatty():
        from fetchd.cli.top_screen import Screen, print_whole

        screen = Screen()
        screen.add(_one(settings))
        print_whole(screen)
    else:
        _stay(settings, interval)
    return True


def document(now: Snapshot) -> dict[str, Any]:
    """With stable keys (docs/json.md): those of the value itself."""
    found: dict[str, Any] = to_builtins(now)
    return found


def _one(settings: Settings) -> Snapshot:
    with reach(settings.data_dir) as asking:
        asking.ask(Status())
        answer = asking.answer()
        assert isinstance(answer, State)
        return answer.snapshot


def _stay(settings: Settings, interval: float) -> None:
    """On a terminal; that none is there to begin with is an error."""
    from fetchd.cli.top_screen import Screen, shown

    screen = Screen()
    screen.add(_one(settings))
    with _ended_by_signals(), shown(screen) as refresh:
        while True:
            with suppress(ServiceError):
                _follow(settings, interval, screen, refresh)
            refresh()
            time.sleep(AGAIN)


def _follow(
    settings: Settings, interval: float, screen: "Screen", refresh: Callable[[], None]
) -> None:
    """As long as the service is there."""
    try:
        with reach(settings.data_dir) as asking:
            asking.ask(Status(every=interval))
            for answer in asking.answers():
                if isinstance(answer, State):
                    screen.add(answer.snapshot)
                    refresh()
    finally:
        screen.away = True


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Both signals end it, and both give the terminal back."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
