"""On which line of a TOML text each key stands. For error messages only.

tomllib does not tell. The text is known to be valid TOML when this runs, so
the scanner only has to find keys and to step over values; a key it does not
find costs a line number and nothing else.
"""

import re
import tomllib

Path = tuple[str, ...]

_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'', re.DOTALL
)
_BLANK = re.compile(r"(?:\s|#[^\n]*)*")
_COMMENT = re.compile(r"#[^\n]*")


def key_lines(text: str) -> dict[Path, int]:
    """The 1-based line of every key and table header, by full path; rows count from 1."""
    lines: dict[Path, int] = {}
    rows: dict[Path, int] = {}  # how many [[...]] each name has had so far
    table: Path = ()
    at = _skip_blank(text, 0)
    while at < len(text):
        line = text.count("\n", 0, at) + 1
        if text[at] == "[":
            is_row = text.startswith("[[", at)
            start = at + (2 if is_row else 1)
            end = _find(text, start, "]")
            table = _header(_parts(text[start:end]), rows, is_row=is_row)
            _note(lines, table, line)
            at = text.find("\n", end)
            at = len(text) if at < 0 else at
        else:
            at = _entry(text, at, table, lines, ends="\n")
        at = _skip_blank(text, at)
    return lines


def _header(parts: Path, rows: dict[Path, int], *, is_row: bool) -> Path:
    """The path of a table; a row of an array has its number, from 1, as a part of its own."""
    path: Path = ()
    for place, part in enumerate(parts, 1):
        path = (*path, part)
        if is_row and place == len(parts):
            rows[path] = rows.get(path, 0) + 1
        if path in rows:
            path = (*path, str(rows[path]))
    return path


def _entry(text: str, at: int, table: Path, lines: dict[Path, int], ends: str) -> int:
    """Note one `key = value` and return where it ends."""
    equals = _find(text, at, "=")
    path = table + _parts(text[at:equals])
    _note(lines, path, text.count("\n", 0, at) + 1)
    at = equals + 1
    while at < len(text) and text[at] in " \t":
        at += 1
    if text.startswith("{", at):
        at = _skip_blank(text, at + 1)
        while at < len(text) and text[at] != "}":
            at = _entry(text, at, path, lines, ends=",}")
            at = _skip_blank(text, at + (text[at : at + 1] == ","))
        return at + 1
    return _skip_value(text, at, ends)


def _skip_value(text: str, at: int, ends: str) -> int:
    depth = 0
    while at < len(text):
        if match := _STRING.match(text, at) or _COMMENT.match(text, at):
            at = match.end()
            continue
        if depth == 0 and text[at] in ends:
            break
        depth += (text[at] in "[{") - (text[at] in "]}")
        at += 1
    return at


def _find(text: str, at: int, wanted: str) -> int:
    """Where `wanted` stands outside a quoted key."""
    while at < len(text) and text[at] != wanted:
        match = _STRING.match(text, at)
        at = match.end() if match else at + 1
    return at


def _parts(key: str) -> Path:
    """The parts of a dotted key, unquoted by tomllib itself."""
    try:
        found: object = tomllib.loads(f"{key.strip()} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    parts: list[str] = []
    while isinstance(found, dict):
        [(part, found)] = found.items()
        parts.append(part)
    return tuple(parts)


def _note(lines: dict[Path, int], path: Path, line: int) -> None:
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], line)


def _skip_blank(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at
