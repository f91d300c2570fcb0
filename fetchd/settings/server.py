"""A server and the way in: what accounts and destinations have in common."""

from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, SecretStr, model_validator

from fetchd.settings.values import (
    NOT_EMPTY,
    CredentialName,
    Duration,
    FilePath,
    Fingerprint,
    Table,
    Text,
    Whole,
)

SECRETS = (
    "password",
    "password_file",
    "password_command",
    "password_env",
    "password_credential",
    "password_keyring",
)
SRS_SECRETS = ("srs_secret", "srs_secret_file")
WRITTEN_SECRETS = ("password", "srs_secret")  # those that stand in the settings themselves
# SASL mechanisms go by their names; "user" is USER and PASS, "login-command" IMAP's LOGIN.
Sasl = Literal[
    "plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256", "xoauth2", "oauthbearer"
]
Port = Annotated[Whole, Field(ge=1, le=65535)]


class Timeouts(Table):
    """How long a wait may last before the connection counts as dead."""

    connect: Duration = timedelta(seconds=30)
    read: Duration = timedelta(seconds=60)


class Named(Table):
    """A table that knows its own NAME."""

    _name: str = PrivateAttr(default="")

    @property
    def name(self) -> str:
        """The NAME of [accounts.NAME] or [destinations.NAME]."""
        return self._name

    @property
    def called(self) -> str:
        """How sentences speak of it."""
        return self._name


class Server(Named):
    """Where it is, how the line is secured, who logs in and with what."""

    # Where the line begins without TLS, or with STARTTLS; each protocol has its own.
    PLAIN_PORT: ClassVar[int] = 1
    STARTTLS_PORT: ClassVar[int | None] = None  # where that is another one

    host: Text
    port: Port = 1
    tls: Literal["implicit", "starttls", "none"] = "implicit"
    username: Text | None = None
    password: SecretStr | None = None
    password_file: FilePath | None = None
    password_command: Annotated[tuple[str, ...], NOT_EMPTY] | None = None
    password_env: Text | None = None
    password_credential: CredentialName | None = None
    password_keyring: Text | None = None
    timeouts: Timeouts = Timeouts()
    ca_file: FilePath | None = None
    fingerprint: Fingerprint | None = None
    client_certificate: FilePath | None = None
    min_tls: Literal["1.2", "1.3"] = "1.2"
    allow_plaintext_auth: bool = False

    @model_validator(mode="before")
    @classmethod
    def _port_follows_from_tls(cls, data: Any) -> Any:
        tls = data.get("tls") if isinstance(data, dict) else None
        if tls == "starttls" and cls.STARTTLS_PORT is not None:
            return {"port": cls.STARTTLS_PORT} | data
        return {"port": cls.PLAIN_PORT} | data if tls in ("starttls", "none") else data
