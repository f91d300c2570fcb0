"""What commands print: lines and tables for people, one JSON document for programs.

Everything goes through the redactor, and nothing that a terminal would obey
gets through to one. JSON is pure ASCII, so it survives any locale.
"""

import json
import shutil
import sys
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fetchd.telemetry import printable, redact, redacted

GAP = "  "
NARROWEST = 12  # columns that a shortened cell keeps


def say(line: str = "") -> None:
    """One line for people."""
    print(printable(redact(line)))


def complain(line: str) -> None:
    """One line for people, on standard error."""
    print(printable(redact(line)), file=sys.stderr)


def emit(document: Mapping[str, Any]) -> None:
    """The one JSON document of a command; keys are documented in docs/json.md."""
    print(json.dumps(redacted(document), indent=2))


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[str] = ()
) -> None:
    """Aligned columns; those whose headings are in `right` are flushed right.

    On a terminal the last column is shortened where a line would not fit.
    """
    flushed = [name in right for name in head]
    shown = [[printable(redact(cell)) for cell in row] for row in rows]
    columns = [max(width(row[i]) for row in (head, *shown)) for i in range(len(head))]
    if sys.stdout.isatty():
        taken = sum(columns[:-1]) + len(GAP) * (len(columns) - 1)
        room = shutil.get_terminal_size().columns - taken
        columns[-1] = min(columns[-1], max(room, NARROWEST))
    for row in (head, *shown):
        cells = [
            _padded(cell, columns[i], right=flushed[i], last=i == len(head) - 1)
            for i, cell in enumerate(row)
        ]
        print(GAP.join(cells).rstrip())


def width(text: str) -> int:
    """Columns that a terminal takes for it."""
    if text.isascii():
        return len(text)
    return sum(_columns(c) for c in text)


def shortened(text: str, columns: int) -> str:
    """The text, or as much of its beginning as fits before three dots."""
    if width(text) <= columns:
        return text
    taken = 0
    for index, character in enumerate(text):
        taken += _columns(character)
        if taken > columns - 3:
            return text[:index] + "..."
    return text


def _padded(cell: str, columns: int, *, right: bool, last: bool) -> str:
    cell = shortened(cell, columns)
    gap = " " * (columns - width(cell))
    if right:
        return gap + cell
    return cell if last else cell + gap


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
