"""How a person writes a table, a duration, a size, a path: the value types of the settings.

Each type is an `Annotated` with a validator that raises ValueError saying what
is allowed. Relative paths count from the folder of the settings file, which
`load` names through `relative_to` while it validates.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints
from pydantic_core import CoreSchema, core_schema

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZES = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", 1):
    _SIZES |= {_letter + "b": 1000**_power, _letter + "ib": 1024**_power, _letter: 1000**_power}

LONGEST = timedelta(days=36_525)  # more would leave the calendar
LARGEST = 1 << 60  # octets; more would leave what the catalog can count

_FOLDER: ContextVar[Path | None] = ContextVar("settings_folder", default=None)


class Table(BaseModel):
    """A TOML table: a key it does not know is an error, and nothing changes it later."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        # Built when the first one is validated: nobody has destinations of every kind.
        defer_build=True,
    )


class Told:
    """Marks a union whose members `tell` knows apart: it makes one of them, or says why not.

    pydantic would try all of them, and complain once for each.
    """

    def __init__(self, tell: Callable[[object], object]) -> None:
        self._tell = tell

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._tell)


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


def in_time(value: object) -> timedelta:
    """A duration as a person writes it."""
    return _duration(value)


def days(value: object) -> timedelta:
    """A duration whose bare numbers are days."""
    return _duration(value, unit="d")


def in_octets(value: object) -> int:
    """A size as a person writes it."""
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


# RFC 5321 §4.1.2, and the 64 octets of its §4.5.3.1.1.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_ATOM = rf"(?=.{{1,64}}\Z){_ATOM}(?:\.{_ATOM})*"

TEMPLATE_FIELDS = ("account", "mailbox")  # what a folder's name may be made of


def folder_template(text: str) -> str:
    """A folder, levels joined by "/", in which {account} and {mailbox} may stand."""
    left = text
    for name in TEMPLATE_FIELDS:
        left = left.replace(f"{{{name}}}", "x")
    if "{" in left or "}" in left:
        raise ValueError("a folder's name in which {account} and {mailbox} may stand")
    if any(level.strip(" ") in ("", ".", "..") for level in left.split("/")):
        raise ValueError('a folder\'s name, levels joined by "/", none of them empty or dots')
    return text


def address(value: object, *, local: bool = False) -> str:
    """An address to send to or from, its domain in lower case; `local`: or a user's name alone."""
    text = value if isinstance(value, str) else ""
    if local and re.fullmatch(_DOT_ATOM, text):
        return text
    mailbox, _, domain = text.rpartition("@")
    plain = re.fullmatch(_DOT_ATOM, mailbox) and _is_hostname(domain)
    if plain and "--" not in domain and len(text) <= 254:  # no punycode to look into
        return f"{mailbox}@{domain.lower()}"
    return _unusual_address(text)


def _unusual_address(text: str) -> str:
    """Quoted, international or wrong: what only the library can tell."""
    from email_validator import EmailNotValidError, validate_email  # slow to import

    try:
        return validate_email(
            text,
            check_deliverability=False,
            globally_deliverable=False,
            allow_quoted_local=True,
            allow_domain_literal=True,
        ).normalized
    except EmailNotValidError as error:
        reason = str(error).rstrip(".")
        raise ValueError(f'an address such as "me@example.org" ({reason})') from None


def _local_address(value: object) -> str:
    return address(value, local=True)


def _hostname(value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not _is_hostname(text):
        raise ValueError('a host name such as "mail.example.org"')
    return text


def _is_hostname(text: str) -> bool:
    label = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    return len(text) <= 253 and re.fullmatch(rf"{label}(?:\.{label})*", text) is not None


def _not_empty(found: tuple[object, ...]) -> tuple[object, ...]:
    # pydantic's own min_length also complains where the only member is wrong.
    if not found:
        raise ValueError("a list that is not empty")
    return found


def _text(value: object) -> str:
    """Numbers and strings as text; anything else as something no pattern matches."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "?"
    return str(value)


Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")]
CredentialName = Annotated[str, StringConstraints(pattern=r"^[^/\x00]+$")]
NOT_EMPTY = AfterValidator(_not_empty)
Duration = Annotated[timedelta, BeforeValidator(_duration)]
Days = Annotated[timedelta, BeforeValidator(days)]
Size = Annotated[int, BeforeValidator(in_octets)]
Whole = Annotated[int, BeforeValidator(_not_bool)]
FilePath = Annotated[Path, BeforeValidator(_path)]
Fingerprint = Annotated[str, BeforeValidator(_fingerprint)]
Address = Annotated[str, BeforeValidator(address)]
LocalAddress = Annotated[str, BeforeValidator(_local_address)]  # or a user's name alone
Hostname = Annotated[str, BeforeValidator(_hostname)]
