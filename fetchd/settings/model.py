"""The settings file as a whole; `settings.example.toml` says the same.

A misspelt key is an error. What one field cannot know (that a destination
exists, that a password is given once) is checked in `checks.py`. To add a
setting: a field with a default here, in `account.py`, in `destination.py` or in the module
of its table, a line in the example, a row in the README.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, PrivateAttr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from fetchd.policy.routing import Route
from fetchd.settings.account import Account, by_protocol
from fetchd.settings.alerts import Alerts
from fetchd.settings.budgets import Budget
from fetchd.settings.destination import Destination, by_kind
from fetchd.settings.oauth2 import Tokens
from fetchd.settings.routes import RouteTable
from fetchd.settings.running import Service, Web
from fetchd.settings.server import WRITTEN_SECRETS
from fetchd.settings.values import FilePath, Size, Table, Text, Told, Whole, days


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


def _password_in(text: str) -> str:
    """That of a URL (of a proxy, say), which libraries may show without the rest."""
    try:
        return unquote(urlsplit(text).password or "")
    except ValueError:
        return ""


class Settings(BaseSettings):
    """The whole settings file. Build it by `fetchd.settings.load`, which also checks it."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    data_dir: FilePath = Field(
        default="~/.local/share/fetchd",  # expanded when validated
        validate_default=True,
    )
    accounts: dict[Text, Annotated[Account, Told(by_protocol)]] = {}
    destinations: dict[Text, Annotated[Destination, Told(by_kind)]] = {}
    routes: tuple[RouteTable, ...] = ()
    limits: Limits = Limits()
    budgets: dict[Text, Budget] = {}
    archive: Archive = Archive()
    service: Service = Service()
    alerts: Alerts = Alerts()
    tokens: Tokens = Tokens()
    web: Web = Web()
    log: Log = Log()

    _path: Path = PrivateAttr(default=Path())

    @property
    def path(self) -> Path:
        """The file these settings were read from."""
        return self._path

    @property
    def routing(self) -> tuple[Route, ...]:
        """The routes as `policy.routing` takes them, each with a name."""
        return tuple(table.route(position) for position, table in enumerate(self.routes, 1))

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret that stands in the settings themselves, for the redactor."""
        tables = (*self.accounts.values(), *self.destinations.values())
        held = [getattr(table, key, None) for table in tables for key in WRITTEN_SECRETS]
        issued = [getattr(table, "oauth2", None) for table in tables]
        held += [oauth2.client_secret for oauth2 in issued if oauth2 is not None]
        held += [*self.alerts.apprise, *self.alerts.webhooks]
        texts = [secret.get_secret_value() for secret in held if secret is not None]
        return (*texts, *filter(None, map(_password_in, texts)))

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
        """Let accounts and destinations know their names, and where their tokens are."""
        folder = self.tokens.folder or self.data_dir / "tokens"
        tokens = self.tokens.model_copy(update={"folder": folder})
        for named in (self.accounts, self.destinations):
            for name, table in named.items():
                table._name, table._tokens = name, tokens  # noqa: SLF001  # ours, set once at birth
