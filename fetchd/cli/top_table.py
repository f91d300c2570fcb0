"""Columns that fit a terminal: the least important go first, and the last one takes the rest.

rich's own tables make every column narrower alike, until none can be read.
"""

from collections.abc import Sequence

from rich.text import Text

from fetchd.cli.output import GAP, shortened, width
from fetchd.values import Struct

READABLE = 20  # columns that the last one has at least, if it has so much to say


class Column(Struct, frozen=True):
    """`spare`: the higher, the sooner it goes; 0 stays."""

    name: str
    spare: int = 0
    right: bool = False
    style: str = ""


Row = Sequence[str]


def table(
    columns: Sequence[Column], rows: Sequence[Row], room: int, styles: Sequence[str] = ()
) -> list[Text]:
    """A heading and the rows, a line each; `styles` are of their second cells."""
    kept = _kept(columns, rows, room)
    widths = {i: _width(columns, rows, i) for i in kept}
    last = kept[-1]
    widths[last] = min(widths[last], max(room - _taken(widths, kept[:-1]), 0))
    drawn = [_line([(columns[i].name, "bold") for i in kept], kept, columns, widths)]
    for position, row in enumerate(rows):
        second = styles[position] if styles else ""
        cells = [(row[i], second if i == 1 else columns[i].style) for i in kept]
        drawn.append(_line(cells, kept, columns, widths))
    return drawn


def _kept(columns: Sequence[Column], rows: Sequence[Row], room: int) -> list[int]:
    """Those that say anything, as far as there is room."""
    kept = [i for i in range(len(columns)) if i < 2 or any(row[i] for row in rows)]
    widths = {i: _width(columns, rows, i) for i in kept}
    if kept[-1] == len(columns) - 1:
        widths[kept[-1]] = min(widths[kept[-1]], READABLE)
    spare = sorted((i for i in kept if columns[i].spare), key=lambda i: columns[i].spare)
    while spare and _taken(widths, kept) - len(GAP) > room:
        kept.remove(spare.pop())
    return kept


def _width(columns: Sequence[Column], rows: Sequence[Row], i: int) -> int:
    return max([width(columns[i].name), *(width(row[i]) for row in rows)])


def _taken(widths: dict[int, int], kept: Sequence[int]) -> int:
    """With a gap behind each."""
    return sum(widths[i] + len(GAP) for i in kept)


def _line(
    cells: Sequence[tuple[str, str]],
    kept: Sequence[int],
    columns: Sequence[Column],
    widths: dict[int, int],
) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for i, (text, style) in zip(kept, cells, strict=True):
        shown = shortened(text, widths[i])
        gap = " " * (widths[i] - width(shown))
        line.append(gap if columns[i].right else "")
        line.append(shown, style)
        if i != kept[-1]:
            line.append(GAP if columns[i].right else gap + GAP)
    line.rstrip()
    return line
