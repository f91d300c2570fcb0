"""The settings file as a whole; `settings.example.toml` says the same.

A misspelt key is an error. What one field cannot know (that a destination
exists, that a password is given once) is checked in `checks.py`. To add a
setting: a field with a default here or in `account.py`, a line in the example,
a row in the README.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, PrivateAttr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from fetchd.settings.account import Account, by_protocol
from fetchd.settings.values import FilePath, Size, Table, Text, Whole, days


class MaildirDestination(Table):
    """Deliver into a Maildir; created if absent."""

    kind: Literal["maildir"]
    path: FilePath
    layout: Literal["flat", "mirror"] = "flat"
    removed: Literal["keep", "trash", "remove"] = "keep"
    duplicates: Literal["skip", "deliver"] = "deliver"
    newline: Literal["lf", "crlf"] = "lf"

    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        """The NAME of [destinations.NAME]."""
        return self._name


Destination = MaildirDestination  # becomes a union discriminated by `kind` with the second one


class Limits(Table):
    """How much at once, over all accounts of one process."""

    connections: Annotated[Whole, Field(ge=1)] = 16
    connections_per_host: Annotated[Whole, Field(ge=1)] = 4


def _keep(value: object) -> object:
    if value in ("forever", "delivered"):
        return value
    try:
        return days(value)
    except ValueError:
        raise ValueError('"forever", "delivered" or a duration such as "90d"') from None


class Archive(Table):
    """How long fetchd keeps what it fetched, and in files of which size."""

    keep: Annotated[Literal["forever", "delivered"] | timedelta, BeforeValidator(_keep)] = "forever"
    segment_size: Size = 128 * 1024 * 1024


class Log(Table):
    """What fetchd says while it works."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "human", "json"] = "auto"
    transcript: bool = False


class Settings(BaseSettings):
    """The whole settings file. Build it by `fetchd.settings.load`, which also checks it."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    data_dir: FilePath = Field(
        default="~/.local/share/fetchd",  # expanded when validated
        validate_default=True,
    )
    accounts: dict[Text, Annotated[Account, PlainValidator(by_protocol)]] = {}
    destinations: dict[Text, Destination] = {}
    limits: Limits = Limits()
    archive: Archive = Archive()
    log: Log = Log()

    _path: Path = PrivateAttr(default=Path())

    @property
    def path(self) -> Path:
        """The file these settings were read from."""
        return self._path

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` merged: account names of the environment need the file's own."""
        return (init_settings,)

    def model_post_init(self, context: Any, /) -> None:
        """Let accounts and destinations know their names."""
        for name, account in self.accounts.items():
            account._name = name  # noqa: SLF001  # ours, set once at birth
        for name, destination in self.destinations.items():
            destination._name = name  # noqa: SLF001
