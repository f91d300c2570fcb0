"""The display of work in progress: rich, on a terminal, on standard error.

With few accounts each has its line from beginning to end; with many, those at
work have one, and a line for all is below. A display is always a context
manager, so that every way out gives the terminal back.
"""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from fetchd.cli.watching import STOPPING
from fetchd.cli.words import octets

FEW = 8  # accounts that all keep their line
AT_ONCE = 20  # lines of accounts at work; the others are in the line for all
PER_SECOND = 8.0
OVER = ("done", "failed")


class _Shown:
    """Whatever is drawn while a `with` lasts; the terminal is as before behind it."""

    _progress: Progress

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()


class LiveRound(_Shown):
    """One round over some accounts (watching.Watcher)."""

    def __init__(self, accounts: Sequence[str]) -> None:
        self._many = len(accounts) > FEW
        self._progress = _progress(
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.fields[phase]}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", markup=False),
            _Octets(),
            TimeRemainingColumn(compact=True),
        )
        self._lines = {name: self._line(name, visible=not self._many) for name in accounts}
        self._all = self._line("all", visible=len(accounts) > 1)
        self._messages = {name: [0, 0] for name in accounts}  # fetched, expected
        self._at_work: set[str] = set()
        self._over: set[str] = set()

    def _line(self, name: str, *, visible: bool) -> TaskID:
        return self._progress.add_task(name, total=None, visible=visible, phase="", count="")

    def phase(self, account: str, phase: str) -> None:
        """The account is at this now."""
        if phase in OVER:
            self._over.add(account)
            self._at_work.discard(account)
        elif account in self._at_work or len(self._at_work) < AT_ONCE:
            self._at_work.add(account)
        visible = not self._many or account in self._at_work
        self._progress.update(self._lines[account], phase=phase, visible=visible)
        self._progress.update(self._all, phase=f"{len(self._over)}/{len(self._lines)} accounts")

    def expect(self, account: str, messages: int, octets: int) -> None:
        """So much more is to be fetched."""
        self._messages[account][1] += messages
        for line in (self._lines[account], self._all):
            before = self._progress.tasks[line].total or 0
            if octets:
                self._progress.update(line, total=before + octets)
        self._recount(account)

    def fetched(self, account: str, messages: int, octets: int) -> None:
        """So much more is committed."""
        self._messages[account][0] += messages
        for line in (self._lines[account], self._all):
            self._progress.advance(line, octets)
        self._recount(account)

    def _recount(self, account: str) -> None:
        fetched, expected = self._messages[account]
        self._progress.update(self._lines[account], count=f"{fetched:,}/{expected:,}")
        sums = [sum(pair) for pair in zip(*self._messages.values(), strict=True)]
        self._progress.update(self._all, count=f"{sums[0]:,}/{sums[1]:,}")

    def stopping(self) -> None:
        """A signal came; the line for all says what follows."""
        self._progress.update(self._all, description=STOPPING, visible=True)


class LiveBar(_Shown):
    """One bar for work that is counted in octets."""

    def __init__(self, title: str) -> None:
        self._progress = _progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _Octets(),
            TimeRemainingColumn(compact=True),
        )
        self._task = self._progress.add_task(title, total=None)

    def at(self, done: int, whole: int) -> None:
        """So far."""
        self._progress.update(self._task, completed=done, total=whole)


class _Octets(ProgressColumn):
    """3.4/12 MB, 1.2 MB/s."""

    def render(self, task: Task) -> Text:
        if not task.total:
            return Text("")
        parts = [f"{octets(int(task.completed))} of {octets(int(task.total))}"]
        speed = task.finished_speed or task.speed
        if speed:
            parts.append(f"{octets(int(speed))}/s")
        return Text(", ".join(parts), style="progress.download")


def _progress(*columns: ProgressColumn) -> Progress:
    return Progress(
        *columns,
        console=Console(file=sys.stderr),
        refresh_per_second=PER_SECOND,
        transient=True,
        redirect_stdout=False,
    )
