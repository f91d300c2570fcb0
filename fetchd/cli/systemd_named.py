"""What the settings name that a unit must know of: files, programs, credentials.

Found by their types, so that a setting added later is found too.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from fetchd.cli.systemd_units import Credential
from fetchd.settings import Settings

_PROGRAMS = ("password_command", "command", "tunnel")


def files(table: BaseModel, name: str = "") -> Iterator[tuple[str, Path]]:
    """Every file that the settings name to be read, by the key that names it."""
    written = ("data_dir", "path", "folder")
    for key, value in values(table, name):
        if isinstance(value, Path) and key.rpartition(".")[2] not in written:
            yield key, value


def runs_programs(table: BaseModel) -> Iterator[str]:
    """The keys by which programs are started."""
    for key, value in values(table, ""):
        if value and key.rpartition(".")[2] in _PROGRAMS:
            yield key


def credentials(settings: Settings) -> Iterator[Credential]:
    """A file beside the settings for each; encrypted where systemd-creds made it."""
    folder, told = settings.path.parent, set()
    for key, value in values(settings, ""):
        if isinstance(value, str) and key.endswith("_credential") and value not in told:
            told.add(value)
            sealed, plain = folder / f"{value}.cred", folder / f"{value}.password"
            if sealed.exists():
                yield Credential(value, sealed, encrypted=True)
            else:
                yield Credential(value, plain)


def values(table: BaseModel, name: str) -> Iterator[tuple[str, object]]:
    """Every setting that is no table, by its whole key."""
    for key in type(table).model_fields:
        value, path = getattr(table, key), f"{name}.{key}".lstrip(".")
        if isinstance(value, BaseModel):
            yield from values(value, path)
        elif isinstance(value, dict):
            for below, one in value.items():
                if isinstance(one, BaseModel):
                    yield from values(one, f"{path}.{below}")
        else:
            yield path, value
