"""One table of what was measured beside what it must be."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One figure and its limit: it must stay below; where that is 0, be 0; where `least`, reach it.

    A figure that was not measured holds nothing. Without a limit it is only told.
    """

    what: str
    measured: float | None
    limit: float | None
    unit: str
    least: bool = False

    @property
    def holds(self) -> bool:
        if self.limit is None:
            return True
        if self.measured is None:
            return False
        if self.least:
            return self.measured >= self.limit
        if self.limit == 0:
            return self.measured == 0
        return self.measured < self.limit


def table(lines: Sequence[Line]) -> str:
    """For people, and as Markdown."""
    rows = ["| what | measured | limit | holds |", "|---|---|---|---|"]
    for line in lines:
        limit = "" if line.limit is None else f"{_bound(line)} {_number(line.limit)} {line.unit}"
        holds = "" if line.limit is None else ("yes" if line.holds else "NO")
        measured = "nothing" if line.measured is None else f"{_number(line.measured)} {line.unit}"
        rows.append(f"| {line.what} | {measured.rstrip()} | {limit.rstrip()} | {holds} |")
    return "\n".join(rows)


def all_hold(lines: Sequence[Line]) -> bool:
    """Whether no limit is passed."""
    return all(line.holds for line in lines)


def _bound(line: Line) -> str:
    if line.least:
        return "at least"
    return "exactly" if line.limit == 0 else "under"


def _number(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"
