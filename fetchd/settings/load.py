"""Find, read, merge, check: from a path or none to Settings, or every problem at once.

Nothing is touched: no folder is made and no secret is read here, except that a
settings file which holds a password must not be readable by others.
"""

import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fetchd.errors import SettingsError
from fetchd.settings.check_running import written_secrets
from fetchd.settings.checks import contradictions
from fetchd.settings.environment import override
from fetchd.settings.families import FAMILIES
from fetchd.settings.lines import key_lines
from fetchd.settings.model import Settings
from fetchd.settings.problems import describe, place
from fetchd.settings.server import WRITTEN_SECRETS
from fetchd.settings.values import relative_to


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of `path`, or of the first file in the usual places, under `environ`."""
    file = find(path, environ)
    text, mode = _read(file)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(_syntax(file, str(error), text)) from None
    except ValueError:  # of a number with thousands of digits
        raise SettingsError(f"{file}: a number is too long to be read") from None
    except RecursionError:
        raise SettingsError(f"{file}: tables or lists are nested too deeply") from None
    problems = _permissions(file, data, mode)
    origins, unknown = override(data, environ)
    problems += unknown
    folder = file.absolute().parent
    settings, found = _validated(data, folder)
    found += contradictions(data, folder)
    if found:
        lines = key_lines(text)
        found.sort(key=lambda pair: _line_of(pair[0], lines))
        problems += [f"{place(key, str(file), lines, origins)}: {what}" for key, what in found]
    if settings is None or problems:
        raise SettingsError(*dict.fromkeys(problems))
    settings._path = file.absolute()  # noqa: SLF001  # ours, set once at birth
    return settings


def find(path: Path | None, environ: Mapping[str, str]) -> Path:
    """The settings file: the one named, else the first that exists of the usual places."""
    if path is not None:
        return path
    if named := environ.get("FETCHD_CONFIG"):
        return Path(named).expanduser()
    home = environ.get("XDG_CONFIG_HOME") or "~/.config"
    places = [
        Path("fetchd.toml"),
        Path(home).expanduser() / "fetchd" / "fetchd.toml",
        Path("/etc/fetchd/fetchd.toml"),
    ]
    for file in places:
        if file.exists():
            return file
    looked = ", ".join(["--config", "FETCHD_CONFIG", "./fetchd.toml", *map(str, places[1:])])
    raise SettingsError(
        f"no settings file; looked at: {looked}",
        advice="Copy settings.example.toml to one of these places, or name a file by --config.",
    )


def _read(file: Path) -> tuple[str, int]:
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(Path(file).stat().st_mode)
            return opened.read().decode("utf-8").removeprefix("\ufeff"), mode
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: not UTF-8 at octet {error.start}") from None


def _syntax(file: Path, complaint: str, text: str) -> str:
    """tomllib's '… (at line 3, column 5)' as file:line:column; at the end it gives no numbers."""
    if complaint.endswith(" (at end of document)"):
        last = text.rstrip("\n").count("\n") + 1
        return f"{file}:{last}: {complaint.removesuffix(' (at end of document)')}"
    what, _, where = complaint.rpartition(" (at line ")
    line, _, column = where.rstrip(")").partition(", column ")
    if what and line.isdigit() and column.isdigit():
        return f"{file}:{line}:{column}: {what}"
    return f"{file}: {complaint}"


def _permissions(file: Path, data: dict[str, Any], mode: int) -> list[str]:
    sections = [data.get(key) for key in FAMILIES]
    tables = [t for section in sections if isinstance(section, dict) for t in section.values()]
    keys = WRITTEN_SECRETS - {"proxy"}  # whose password, if any, `written_secrets` finds
    held = {key for t in tables if isinstance(t, dict) for key in keys if key in t}
    held |= {*written_secrets(data)}
    if not mode & 0o044 or not held:
        return []
    what = "password" if "password" in held else "secret"
    return [f"{file}: holds a {what} and is readable by others; run: chmod 600 {file}"]


def _validated(
    data: dict[str, Any], folder: Path
) -> tuple[Settings | None, list[tuple[tuple[str, ...], str]]]:
    # pydantic-settings takes arguments of its own that begin with an underscore.
    strange: list[tuple[tuple[str, ...], str]] = [
        ((key,), "unknown key") for key in data if key.startswith("_")
    ]
    try:
        with relative_to(folder):
            return Settings(**{k: v for k, v in data.items() if not k.startswith("_")}), strange
    except ValidationError as error:
        details = error.errors(include_url=False)
        return None, strange + [describe(detail, data) for detail in details]


def _line_of(path: tuple[str, ...], lines: Mapping[tuple[str, ...], int]) -> int:
    return next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), 0)
