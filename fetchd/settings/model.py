"""Every setting with its default, unit and meaning; `settings.example.toml` says the same.

A misspelt key is an error. Policy's own types (`Window`) are the settings'
types, so there is no copying layer. What one field cannot know (that a
destination exists, that a password is given once) is checked in `checks.py`.
To add a setting: a field here with a default, a line in the example.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from fetchd.policy.retention import Leave, Window
from fetchd.settings.values import Days, Duration, FilePath, Fingerprint, Size, Whole, days

PORTS = {"implicit": 995, "starttls": 110, "none": 110}
SECRETS = (
    "password",
    "password_file",
    "password_command",
    "password_env",
    "password_credential",
    "password_keyring",
)
Text = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f\x7f]*$")]
CredentialName = Annotated[str, StringConstraints(pattern=r"^[^/\x00]+$")]


class Table(BaseModel):
    """A TOML table: a key it does not know is an error, and nothing changes it later."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Timeouts(Table):
    """How long a wait may last before the connection counts as dead."""

    connect: Duration = timedelta(seconds=30)
    read: Duration = timedelta(seconds=60)


class WindowTable(Table):
    """`leave_on_server` as a table; see policy.retention.Window."""

    days: Days | None = None
    since: Literal["first_seen", "arrival"] = "first_seen"
    newest: Annotated[Whole, Field(ge=0)] | None = None
    max_size: Size | None = None


def _leave(value: object) -> object:
    if isinstance(value, dict):
        table = WindowTable.model_validate(value)  # its errors keep their place
        if (table.days, table.newest, table.max_size) == (None, None, None):
            raise ValueError('"forever", "none" or a table with days, newest or max_size')
        return Window(table.days, table.since, table.newest, table.max_size)
    if isinstance(value, Window) or value in ("forever", "none"):
        return value
    raise ValueError('"forever", "none" or a table with days, newest or max_size')


class Account(Table):
    """A login on a POP3 server."""

    protocol: Literal["pop3"]
    host: Text
    port: Annotated[Whole, Field(ge=1, le=65535)] = PORTS["implicit"]
    tls: Literal["implicit", "starttls", "none"] = "implicit"
    username: Text
    password: SecretStr | None = None
    password_file: FilePath | None = None
    password_command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    password_env: Text | None = None
    password_credential: CredentialName | None = None
    password_keyring: Text | None = None
    auth: Literal[
        "auto", "user", "plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256", "apop",
        "xoauth2", "oauthbearer",
    ] = "auto"  # fmt: skip
    deliver_to: tuple[str, ...] = ()
    leave_on_server: Annotated[Leave, BeforeValidator(_leave)] = "forever"
    retire_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_message_size: Size | None = None
    timeouts: Timeouts = Timeouts()
    ca_file: FilePath | None = None
    fingerprint: Fingerprint | None = None
    client_certificate: FilePath | None = None
    min_tls: Literal["1.2", "1.3"] = "1.2"
    allow_plaintext_auth: bool = False

    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        """The NAME of [accounts.NAME]."""
        return self._name

    @model_validator(mode="before")
    @classmethod
    def _port_follows_from_tls(cls, data: Any) -> Any:
        if isinstance(data, dict) and "port" not in data:
            tls = data.get("tls", "implicit")
            return data | {"port": PORTS.get(tls, 995) if isinstance(tls, str) else 995}
        return data


class MaildirDestination(Table):
    """Deliver into a Maildir; created if absent."""

    kind: Literal["maildir"]
    path: FilePath
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
    accounts: dict[Text, Account] = {}
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
