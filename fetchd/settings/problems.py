"""One readable line for each thing that is wrong: where, what was found, what is allowed.

No value of a key that holds or leads to a secret is ever shown, and no table.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from fetchd.settings.environment import rows_of, table_of
from fetchd.settings.families import FAMILIES, Family, family_at
from fetchd.settings.model import Settings
from fetchd.telemetry import printable

Path = tuple[str, ...]

# What begins so holds a secret, or may.
_UNSHOWN = (
    "password", "srs_secret", "client_secret", "proxy", "apprise", "webhooks", "command", "tunnel",
)  # fmt: skip
_SECRETIVE = ("alerts", "oauth2")  # tables that, in one variable, hold one
# What pydantic says in Python's words.
_IN_WORDS = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a table",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "model_type": "a table",
    "string_too_short": "text that is not empty",
    "string_type": "text",
    "too_short": "a list that is not empty",
    "tuple_type": "a list",
}


def place(path: Path, file: str, lines: Mapping[Path, int], origins: Mapping[Path, str]) -> str:
    """`VARIABLE: key` or `file:line: key`, as near as can be told."""
    key = ".".join(path)
    nearest_first = [path[:length] for length in range(len(path), 0, -1)]
    for near in nearest_first:
        if variable := origins.get(near):  # all that the file has there gave way to it
            return f"{variable}: {key}"
    for near in nearest_first:
        if line := lines.get(near):
            return f"{file}:{line}: {key}"
        # A table that only the environment knows, with a key that it lacks.
        for below, variable in origins.items():
            if below[: len(near)] == near:
                return f"{variable}: {key}"
    return f"{file}: {key}"


def describe(error: ErrorDetails, data: Mapping[str, Any]) -> tuple[Path, str]:
    """Path and sentence for one of pydantic's complaints about `data`."""
    path = _own_path(error["loc"])
    match error["type"]:
        case "extra_forbidden":
            return path, _unknown_key(path, data)
        case "missing":
            return path, "missing, and needed"
        case "literal_error" | "enum":
            return path, _not_a_choice(path, error["input"], error["ctx"]["expected"])
        case "value_error":
            allowed = str(error["ctx"]["error"])
        case "string_pattern_mismatch":
            credential = path[-1].endswith("_credential")
            allowed = f"text without {'/' if credential else 'control characters'}"
        case kind:
            allowed = _IN_WORDS.get(kind) or error["msg"].removeprefix("Input should be ")
    return path, f"{_shown(path, error['input'])}, allowed: {allowed}"


def _own_path(loc: tuple[str | int, ...]) -> Path:
    """Without the steps that pydantic adds for its own use (list places); rows count from 1."""
    path: list[str] = []
    annotation: Any = Settings
    for part in loc:
        annotation = _below(annotation, part)
        if annotation is None:
            break
        path.append(str(part + 1) if isinstance(part, int) else part)
    return tuple(path)


def _below(annotation: Any, part: str | int) -> Any:
    """The type of what `part` names there; None where nothing has names of its own."""
    if isinstance(part, int):
        return rows_of(annotation)
    model, values = table_of(annotation)
    if model is None:
        return values
    field = model.model_fields.get(part)
    return field.annotation if field else Any  # of a key that is unknown


def _table_at(path: Path) -> type[BaseModel]:
    annotation: Any = Settings
    for part in path:
        rows = rows_of(annotation)
        annotation = rows if rows is not None else _below(annotation, part)
    model, _ = table_of(annotation)
    return model or Settings


def _unknown_key(path: Path, data: Mapping[str, Any]) -> str:
    whole, key = _table_at(path[:-1]).model_fields, path[-1]
    family = family_at(path)
    if family is not None and key in whole:
        return f"{key} is for {_members(family, family.knowing(path[2:-1], key))}"
    own = family.keys(path[2:-1], data[path[0]][path[1]]) if family is not None else None
    known = whole.keys() if own is None else own
    for near in get_close_matches(key, whole, 1, 0.5):
        only = ""
        if family is not None and near not in known:
            only = f", which is for {_members(family, family.knowing(path[2:-1], near))}"
        return f'unknown key (did you mean "{near}"{only}?)'
    first = family.tag if family is not None else ""
    return f"unknown key, allowed: {', '.join(sorted(known, key=lambda name: name != first))}"


def _members(family: Family, names: list[str]) -> str:
    *others, last = (f'"{name}"' for name in names)
    listed = f"{', '.join(others)} or {last}" if others else last
    return f"{family.tag} = {listed}"


def _not_a_choice(path: Path, found: object, expected: str) -> str:
    choices = re.findall(r"'([^']*)'", expected)
    near = get_close_matches(found, choices, 1, 0.5) if isinstance(found, str) else []
    hint = f' (did you mean "{near[0]}"?)' if near else ""
    allowed = ", ".join(f'"{choice}"' for choice in choices)
    shown = _shown(path, found)
    family = family_at(path)
    if family is not None and (names := family.choosing(path[2:], found)):
        shown += f", which is for {_members(family, names)}"
    return f"{shown}, allowed: {allowed}{hint}"


def _shown(path: Path, found: object) -> str:
    # A whole account or destination given in one variable may hold its password.
    if (len(path) <= 2 and path[0] in FAMILIES) or path[-1] in _SECRETIVE:
        return "found something that is no table"
    keys = path[2:] if path[0] in FAMILIES else path  # and no NAME
    if any(part.startswith(_UNSHOWN) for part in keys):
        return "found something else (not shown)"
    match found:
        case bool():
            return f"found {str(found).lower()}"
        case str():
            return f'found "{printable(found[:80])}"'
        case int() | float():
            return f"found {found}"
        case list() | tuple():
            return "found a list"
        case dict():
            return "found a table"
    return f"found a {type(found).__name__}"
