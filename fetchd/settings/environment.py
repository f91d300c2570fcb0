"""Settings from the environment: FETCHD_ACCOUNTS__WORK__PASSWORD and its kin.

`__` separates the parts of a key. Account and destination names are matched
without regard to case, any character but a letter or digit written `_`; a name
the file does not know makes a new one. Lists and tables are written as JSON
or as TOML, a list of names also with commas (a command's arguments may hold any).
A variable that looks like a setting and is none is an error.
"""

import json
import re
import tomllib
import types
import typing
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from fetchd.policy.retention import Window
from fetchd.settings.account import AccountTable, Pop3Account, WindowTable
from fetchd.settings.destination import DestinationTable, MaildirDestination
from fetchd.settings.model import Settings
from fetchd.settings.server import CLIENT_SECRETS, KEYS, SECRETS, SRS_SECRETS

PREFIX = "FETCHD_"
NO_SETTING = {"FETCHD_CONFIG"}
# Which table says all that may stand there, where validation decides what it becomes.
WHOLE: dict[type, type[BaseModel]] = {
    Window: WindowTable,
    Pop3Account: AccountTable,  # the first of the protocols stands for all
    MaildirDestination: DestinationTable,  # and so does the first of the kinds
}
_NAMED = ("accounts", "destinations")
_ARGUMENTS = ("password_command", "command", "tunnel")  # lists whose members may hold commas
_SOURCES = ((*SECRETS, "oauth2"), SRS_SECRETS, CLIENT_SECRETS, KEYS)  # of one secret each
Path = tuple[str, ...]
Merged = dict[str, Any]


def override(data: Merged, environ: Mapping[str, str]) -> tuple[dict[Path, str], list[str]]:
    """Write what `environ` sets into `data`; which variable set which key, and problems."""
    origins: dict[Path, str] = {}
    problems: list[str] = []
    exempt = NO_SETTING | _names_of_secrets(data, environ)
    # Shorter names first: a variable for a whole table, then those for its keys.
    for variable in sorted(environ, key=lambda name: (name.count("__"), name)):
        if not variable.startswith(PREFIX) or variable in exempt:
            continue
        path, annotation = _resolve(variable.removeprefix(PREFIX), data)
        if path:
            _displace(data, path, origins)
            commas = path[-1] not in _ARGUMENTS
            _put(data, path, _value(environ[variable], annotation, commas=commas))
            origins[path] = variable
        elif problem := _unknown(variable, data):
            problems.append(problem)
    return origins, problems


def _displace(data: Merged, path: Path, origins: Mapping[Path, str]) -> None:
    """A secret's source given by the environment takes the place of the file's."""
    if path[0] in _NAMED and len(path) > 3:
        _displace(data, path[:3], origins)  # a key of its oauth2 stands for all of that
    sources = next((group for group in _SOURCES if path[-1] in group), ())
    table: object = data
    for part in path[:-1]:
        table = table.get(part) if isinstance(table, dict) else None
    if isinstance(table, dict):
        for key in sources:
            if key != path[-1] and (*path[:-1], key) not in origins:
                table.pop(key, None)


def _names_of_secrets(data: Merged, environ: Mapping[str, str]) -> set[str]:
    """Variables that hold a secret by the user's own choice (password_env, key_env)."""
    by_environment = {
        text
        for name, text in environ.items()
        if name.startswith(PREFIX) and name.endswith(("__PASSWORD_ENV", "__KEY_ENV"))
    }
    found = [data.get(section) for section in _NAMED]
    tables = [t for named in found if isinstance(named, dict) for t in named.values()]
    tables.append(data.get("tokens"))
    return by_environment | {
        str(table[key])
        for table in tables
        if isinstance(table, dict)
        for key in ("password_env", "key_env")
        if key in table
    }


def _resolve(name: str, data: object) -> tuple[Path, Any]:
    """The key a variable names and its type; an empty path when there is none."""
    path: list[str] = []
    annotation: Any = Settings
    rest = name.lower()
    while rest:
        model, values = table_of(annotation)
        if model is None and values is None:
            return (), None
        known = model.model_fields if model else (data if isinstance(data, dict) else {})
        part, rest = _split(rest, known, invent=model is None)
        if not part:
            return (), None
        path.append(part)
        annotation = model.model_fields[part].annotation if model else values
        data = data.get(part) if isinstance(data, dict) else None
    return tuple(path), annotation


def _split(rest: str, known: Collection[str], *, invent: bool) -> tuple[str, str]:
    """The part that `rest` begins with, and what follows it."""
    for part in sorted(known, key=len, reverse=True):
        plain = _plain(part)
        if rest == plain:
            return part, ""
        if rest.startswith(plain + "__"):
            return part, rest[len(plain) + 2 :]
    head, _, tail = rest.partition("__")
    return (head, tail) if invent else ("", "")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "_", name.lower())


def table_of(annotation: Any) -> tuple[type[BaseModel] | None, Any]:
    """(model, None) for a table with known keys, (None, type) for a table of named things."""
    if typing.get_origin(annotation) is dict:
        return None, typing.get_args(annotation)[1]
    for choice in (annotation, *_choices(annotation)):
        if isinstance(choice, type) and choice in WHOLE:
            return WHOLE[choice], None
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice, None
    return None, None


def rows_of(annotation: Any) -> type[BaseModel] | None:
    """The table that an array of tables ([[NAME]]) is made of."""
    if typing.get_origin(annotation) is not tuple:
        return None
    row = typing.get_args(annotation)[0]
    return row if isinstance(row, type) and issubclass(row, BaseModel) else None


def _choices(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) is typing.Annotated:
        bare = typing.get_args(annotation)[0]
        return (bare, *_choices(bare))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(c for part in typing.get_args(annotation) for c in (part, *_choices(part)))
    return ()


def _value(text: str, annotation: Any, *, commas: bool) -> object:
    """`text` as JSON, TOML or with `commas` where a list or table is wanted, else as it is."""
    wants_list = any(typing.get_origin(c) is tuple for c in (annotation, *_choices(annotation)))
    if not wants_list and table_of(annotation) == (None, None):
        return text
    if text.lstrip()[:1] not in ("[", "{"):
        return [part.strip() for part in text.split(",")] if wants_list and commas else text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        try:
            return tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            return text  # whose type is then complained of


def _put(data: Merged, path: Path, value: object) -> None:
    """Set the value, making tables on the way."""
    for part in path[:-1]:
        below = data.get(part)
        # A word (leave_on_server = "none") gives way to the table a variable asks for.
        if not isinstance(below, dict):
            below = data[part] = {}
        data = below
    data[path[-1]] = value


def _unknown(variable: str, data: Merged) -> str | None:
    """A complaint, unless the variable does not look like a setting at all."""
    known = _all_names(data)
    near = get_close_matches(variable, known, 1, 0.75)
    if not near and "__" not in variable:
        return None
    hint = f" (did you mean {near[0]}?)" if near else ""
    return f"{variable}: no such setting{hint}"


def _all_names(data: Merged) -> list[str]:
    """Every variable that would be understood, given the names in the file."""

    def below(prefix: str, annotation: Any, values: object) -> list[str]:
        model, named = table_of(annotation)
        held = values if isinstance(values, dict) else {}
        if model is None and named is None:
            return [prefix]
        if model is None:
            pairs = [(name, named) for name in held]
        else:
            pairs = [(name, f.annotation) for name, f in model.model_fields.items()]
        return [
            variable
            for name, kind in pairs
            for variable in below(f"{prefix}__{_plain(name).upper()}", kind, held.get(name))
        ]

    return [name.replace("FETCHD__", PREFIX) for name in below("FETCHD", Settings, data)]
