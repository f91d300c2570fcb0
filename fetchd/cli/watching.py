"""Who watches a sync: a live display on a terminal, the log elsewhere.

Both are a pipeline.tools.Progress and a context manager. rich is imported for
a terminal only. The display shows itself on standard error and is gone at the
end; the summary that follows says what was done.
"""

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from fetchd.telemetry import log

if TYPE_CHECKING:  # takes a tenth of a second to import
    from fetchd.cli.live import LiveBar, LiveRound

STOPPING = "finishing the batch in flight; once more to stop at once"


class Watcher(Protocol):
    """pipeline.tools.Progress, and what else a round is told."""

    def phase(self, account: str, phase: str) -> None: ...

    def expect(self, account: str, messages: int, octets: int) -> None: ...

    def fetched(self, account: str, messages: int, octets: int) -> None: ...

    def stopping(self) -> None: ...


def on_terminal() -> bool:
    """Whether somebody sees a display that moves."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def watch_round(
    accounts: Sequence[str], logged: "type[LoggedRound] | None" = None
) -> "AbstractContextManager[LiveRound | LoggedRound]":
    """The display or the log of a round over these accounts; `logged` has words of its own."""
    if on_terminal():
        from fetchd.cli.live import LiveRound

        return LiveRound(accounts)
    return (logged or LoggedRound)()


def watch_octets(title: str) -> "AbstractContextManager[LiveBar | Unseen]":
    """A bar for work that is counted in octets; nothing where nobody sees it."""
    if on_terminal():
        from fetchd.cli.live import LiveBar

        return LiveBar(title)
    return Unseen()


class LoggedRound:
    """Says what begins; what came of it is logged from the reports (see sync.py)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to let go of."""

    def phase(self, account: str, phase: str) -> None:
        """For whoever looks for a fault; `connecting` is a session's begin."""
        event = "sync.started" if phase == "connecting" else "sync.phase"
        log().debug(event, account=account, phase=phase)

    def expect(self, account: str, messages: int, octets: int) -> None:
        """There is something to fetch."""
        if messages:
            log().info("sync.fetching", account=account, messages=messages, octets=octets)

    def fetched(self, account: str, messages: int, octets: int) -> None:
        """A batch is safe."""
        log().debug("batch.committed", account=account, messages=messages, octets=octets)

    def stopping(self) -> None:
        """A signal came."""
        log().warning("sync.stopping", note=STOPPING)


class Unseen:
    """A bar that nobody sees."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to let go of."""

    def at(self, done: int, whole: int) -> None:
        """Nobody looks."""
