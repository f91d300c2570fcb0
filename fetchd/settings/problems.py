"""One readable line for each thing that is wrong: where, what was found, what is allowed.

No value of a key that holds or leads to a secret is ever shown, and no table.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from fetchd.settings.account import (
    AUTH,
    AccountTable,
    Pop3Account,
    Pop3WindowTable,
    WindowTable,
)
from fetchd.settings.environment import table_of
from fetchd.settings.model import Settings
from fetchd.telemetry import printable

Path = tuple[str, ...]

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
    for length in range(len(path), 0, -1):
        near = path[:length]
        if variable := origins.get(near):
            return f"{variable}: {key}"
        if line := lines.get(near):
            return f"{file}:{line}: {key}"
        # A table that only the environment knows, with a key that it lacks.
        for below, variable in origins.items():
            if below[:length] == near:
                return f"{variable}: {key}"
    return f"{file}: {key}"


def describe(error: ErrorDetails, data: Mapping[str, Any]) -> tuple[Path, str]:
    """Path and sentence for one of pydantic's complaints about `data`."""
    path = _own_path(tuple(str(part) for part in error["loc"]))
    match error["type"]:
        case "extra_forbidden":
            return path, _unknown_key(path, data)
        case "missing":
            return path, "missing, and needed"
        case "literal_error":
            return path, _not_a_choice(path, error["input"], error["ctx"]["expected"])
        case "value_error":
            allowed = str(error["ctx"]["error"])
        case "string_pattern_mismatch":
            credential = path[-1] == "password_credential"
            allowed = f"text without {'/' if credential else 'control characters'}"
        case kind:
            allowed = _IN_WORDS.get(kind) or error["msg"].removeprefix("Input should be ")
    return path, f"{_shown(path, error['input'])}, allowed: {allowed}"


def _own_path(loc: Path) -> Path:
    """Without the steps that pydantic adds for its own use (union branches, list places)."""
    path: list[str] = []
    annotation: Any = Settings
    for part in loc:
        model, values = table_of(annotation)
        if model is None and values is None:
            break
        path.append(part)
        field = model.model_fields.get(part) if model else None
        annotation = field.annotation if field else values
    return tuple(path)


_IMAP_ONLY = 'is for protocol = "imap"'
_AS_POP3: dict[type[BaseModel], type[BaseModel]] = {
    AccountTable: Pop3Account,
    WindowTable: Pop3WindowTable,
}


def _unknown_key(path: Path, data: Mapping[str, Any]) -> str:
    table, key = _model_at(path[:-1]), path[-1]
    if key in table.model_fields:
        return f"{key} {_IMAP_ONLY}"
    known = table.model_fields.keys()
    if path[0] == "accounts" and data["accounts"][path[1]].get("protocol") == "pop3":
        known = _AS_POP3.get(table, table).model_fields.keys()
    for near in get_close_matches(key, table.model_fields, 1, 0.5):
        only = "" if near in known else f", which {_IMAP_ONLY}"
        return f'unknown key (did you mean "{near}"{only}?)'
    return f"unknown key, allowed: {', '.join(known)}"


def _model_at(path: Path) -> type[BaseModel]:
    annotation: Any = Settings
    for part in path:
        model, values = table_of(annotation)
        annotation = model.model_fields[part].annotation if model else values
    model, _ = table_of(annotation)
    return model or Settings


def _not_a_choice(path: Path, found: object, expected: str) -> str:
    choices = re.findall(r"'([^']*)'", expected)
    near = get_close_matches(found, choices, 1, 0.5) if isinstance(found, str) else []
    hint = f' (did you mean "{near[0]}"?)' if near else ""
    allowed = ", ".join(f'"{choice}"' for choice in choices)
    shown = _shown(path, found)
    if path[-1] == "auth":
        for protocol in (name for name, known in AUTH.items() if found in known):
            shown += f', which is for protocol = "{protocol}"'
    return f"{shown}, allowed: {allowed}{hint}"


def _shown(path: Path, found: object) -> str:
    # A whole account given in one variable may hold its password.
    if len(path) <= 2 and path[0] == "accounts":
        return "found something that is no table"
    if any(part.startswith("password") for part in path[2:]):
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
