"""An event loop in which nobody waits: where it would, its clocks are put forward instead.

Days of a schedule pass in a fraction of a second, to the microsecond the same each time.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest


class Clocks:
    """What the monotonic clock and the one on the wall show."""

    def __init__(self, wall: datetime) -> None:
        self.monotonic = 1000.0
        self._ahead = wall.timestamp() - self.monotonic

    def seconds(self) -> float:
        return self.monotonic

    def now(self) -> datetime:
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=self.monotonic + self._ahead)

    def jump(self, by: timedelta) -> None:
        """Somebody sets the wall clock; or the machine sleeps, which looks the same from here."""
        self._ahead += by.total_seconds()


class _Impatient(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    clocks: Clocks

    def select(self, timeout: float | None = None) -> Any:
        if timeout:
            self.clocks.monotonic += timeout
        return super().select(0 if timeout is not None else None)


def run(clocks: Clocks, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """The work, in such a loop."""

    def loop() -> asyncio.AbstractEventLoop:
        selector = _Impatient()
        selector.clocks = clocks
        made = asyncio.SelectorEventLoop(selector)
        made.time = clocks.seconds  # type: ignore[method-assign]
        return made

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())


def set_library_clock(monkeypatch: pytest.MonkeyPatch, clocks: Clocks) -> None:
    """Let APScheduler read these clocks too."""

    class Datetime(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return clocks.now().astimezone(tz)

    monkeypatch.setattr("apscheduler.schedulers.base.datetime", Datetime)
