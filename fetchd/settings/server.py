"""A server and the way in: what accounts and destinations have in common."""

import re
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    model_validator,
)

from fetchd.settings.oauth2 import OAuth2, Tokens
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
CLIENT_SECRETS = ("client_secret", "client_secret_file")
KEYS = ("key_file", "key_env", "key_credential")  # of [tokens]
# Those that stand in the settings themselves; a proxy's URL may hold a password.
WRITTEN_SECRETS = frozenset({"password", "srs_secret", "proxy"})
# SASL mechanisms go by their names; "user" is USER and PASS, "login-command" IMAP's LOGIN.
Sasl = Literal[
    "plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256", "xoauth2", "oauthbearer"
]
Port = Annotated[Whole, Field(ge=1, le=65535)]
PROXIES = ("socks5", "socks5h", "socks4", "http")


class Timeouts(Table):
    """How long a wait may last before the connection counts as dead."""

    connect: Duration = timedelta(seconds=30)
    read: Duration = timedelta(seconds=60)


class Named(Table):
    """A table that knows its own NAME."""

    _name: str = PrivateAttr(default="")
    _tokens: Tokens = PrivateAttr(default=Tokens())

    @property
    def name(self) -> str:
        """The NAME of [accounts.NAME] or [destinations.NAME]."""
        return self._name

    @property
    def called(self) -> str:
        """How sentences speak of it."""
        return self._name


def _proxy(url: SecretStr) -> SecretStr:
    scheme, there, rest = url.get_secret_value().partition("://")
    found = re.fullmatch(r"[^\s/]+:(\d{1,5})/?", rest)
    if scheme not in PROXIES or not there or not found or not 0 < int(found[1]) <= 65535:
        raise ValueError('a URL such as "socks5://user:password@127.0.0.1:1080" or "http://…:3128"')
    return url


def _ip(value: object) -> str:
    try:
        return str(ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        raise ValueError("an IP address of this machine") from None


class Server(Named):
    """Where it is, how the line is secured, who logs in and with what.

    `oauth2` stands in place of a password. A line goes through `proxy`, or is what `tunnel`
    reads and writes; else it begins at `bind_address` and uses `ip` alone.
    """

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
    oauth2: OAuth2 | None = None
    proxy: Annotated[SecretStr, AfterValidator(_proxy)] | None = None
    tunnel: Annotated[tuple[str, ...], NOT_EMPTY] | None = None
    bind_address: Annotated[str, BeforeValidator(_ip)] | None = None
    ip: Literal["any", "4", "6"] = "any"

    @property
    def tokens(self) -> Tokens:
        """Where its OAuth2 tokens are kept; `folder` is set."""
        return self._tokens

    @model_validator(mode="before")
    @classmethod
    def _port_follows_from_tls(cls, data: Any) -> Any:
        tls = data.get("tls") if isinstance(data, dict) else None
        if tls == "starttls" and cls.STARTTLS_PORT is not None:
            return {"port": cls.STARTTLS_PORT} | data
        return {"port": cls.PLAIN_PORT} | data if tls in ("starttls", "none") else data
