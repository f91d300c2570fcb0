"""How a person writes a table, a duration, a size, a path: the value types of the settings.

Each type is an `Annotated` with a validator that raises ValueError saying what
is allowed. Relative paths count from the folder of the settings file, which
`load` names through `relative_to` while it validates.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZES = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", 1):
    _SIZES |= {_letter + "b": 1000**_power, _letter + "ib": 1024**_power, _letter: 1000**_power}

LONGEST = timedelta(days=36_525)  # more would leave the calendar
LARGEST = 1 << 60  # octets; more would leave what the catalog can count

_FOLDER: ContextVar[Path | None] = ContextVar("settings_folder", default=None)


class Table(BaseModel):
    """A TOML table: a key it does not know is an error, and nothing changes it later."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


@contextmanager
def relative_to(folder: Path) -> Iterator[None]:
    """Relative paths validated inside count from `folder`."""
    token = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(token)


def _duration(value: object, unit: str = "s") -> timedelta:
    if isinstance(value, timedelta):
        span = value
    else:
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", _text(value))
        if not match or (match[2] or unit) not in _UNITS:
            raise ValueError('a duration such as "30s", "5m", "12h" or "14d"')
        try:
            span = timedelta(seconds=float(match[1]) * _UNITS[match[2] or unit])
        except OverflowError:
            raise ValueError("a shorter duration") from None
    if span <= timedelta():
        raise ValueError("a duration longer than nothing")
    if span > LONGEST:
        raise ValueError("a duration of at most 100 years")
    return span


def days(value: object) -> timedelta:
    """A duration whose bare numbers are days."""
    return _duration(value, unit="d")


def _size(value: object) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", _text(value).lower())
    if not match or match[2] not in _SIZES:
        raise ValueError('a size such as "500MB", "128MiB" or a number of octets')
    octets = float(match[1]) * _SIZES[match[2]]
    if octets > LARGEST:
        raise ValueError("a size of at most 1 EiB")
    size = round(octets)
    if size <= 0:
        raise ValueError("a size greater than nothing")
    return size


def _not_bool(value: object) -> object:
    if isinstance(value, bool):  # Python counts them among the numbers
        raise ValueError("a whole number")
    return value


def _path(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("a path")
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        raise ValueError("a path whose ~ names a known user") from None
    return (_FOLDER.get() or Path.cwd()) / path


def _fingerprint(value: object) -> str:
    digits = str(value).replace(":", "").replace(" ", "").lower().removeprefix("sha256")
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError("a SHA-256 fingerprint: 64 hexadecimal digits, colons allowed")
    return digits


def _text(value: object) -> str:
    """Numbers and strings as text; anything else as something no pattern matches."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "?"
    return str(value)


Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")]
CredentialName = Annotated[str, StringConstraints(pattern=r"^[^/\x00]+$")]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
Days = Annotated[timedelta, BeforeValidator(days)]
Size = Annotated[int, BeforeValidator(_size)]
Whole = Annotated[int, BeforeValidator(_not_bool)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Fingerprint = Annotated[str, BeforeValidator(_fingerprint)]
