"""An account: what every protocol needs, what each has of its own, and which one it is.

`Account` is one of the tables that `protocol` tells apart. `AccountTable` has
every key that any of them has: by it variables and mistaken keys are named, and
a table whose protocol is missing has its other mistakes told all the same.
Policy's own types (`Window`) are the settings' types, so there is no copying layer.

To add a protocol: a class beside `ImapAccount` and a case in `by_protocol`; a key of
one protocol alone stands in `AccountTable` too.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr, model_validator

from fetchd.policy.mailboxes import EVERYTHING
from fetchd.policy.patterns import pattern
from fetchd.policy.retention import Leave, Window
from fetchd.policy.roles import ANY_ROLE, is_inbox, role_called
from fetchd.settings.values import (
    CredentialName,
    Days,
    Duration,
    FilePath,
    Fingerprint,
    Size,
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
# SASL mechanisms go by their names; "user" is USER and PASS, "login-command" IMAP's LOGIN.
Sasl = Literal[
    "plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256", "xoauth2", "oauthbearer"
]
Pop3Auth = Literal["auto", "user", "apop", Sasl]
ImapAuth = Literal["auto", "login-command", Sasl]
AUTH = {"pop3": get_args(Pop3Auth), "imap": get_args(ImapAuth)}
Port = Annotated[Whole, Field(ge=1, le=65535)]


class Timeouts(Table):
    """How long a wait may last before the connection counts as dead."""

    connect: Duration = timedelta(seconds=30)
    read: Duration = timedelta(seconds=60)


class Pop3WindowTable(Table):
    """`leave_on_server` as a table; see policy.retention.Window."""

    days: Days | None = None
    since: Literal["first_seen", "arrival"] = "first_seen"
    newest: Annotated[Whole, Field(ge=0)] | None = None
    max_size: Size | None = None

    def window(self) -> Window:
        """What the pure rules make of it."""
        return Window(self.days, self.since, self.newest, self.max_size)


class WindowTable(Pop3WindowTable):
    """IMAP has flags, and they can protect a message."""

    unread: Literal["keep"] | None = None
    flagged: Literal["keep"] | None = None

    def window(self) -> Window:
        """What the pure rules make of it."""
        unread, flagged = self.unread == "keep", self.flagged == "keep"
        return replace(super().window(), keep_unread=unread, keep_flagged=flagged)


_LEAVE = '"forever", "none" or a table with days, newest or max_size'


def _leave_by(kind: type[Pop3WindowTable]) -> BeforeValidator:
    def leave(value: object) -> object:
        if isinstance(value, dict):
            table = kind.model_validate(value)  # its errors keep their place
            if (table.days, table.newest, table.max_size) == (None, None, None):
                raise ValueError(_LEAVE)
            return table.window()
        if isinstance(value, Window) or value in ("forever", "none"):
            return value
        raise ValueError(_LEAVE)

    return BeforeValidator(leave)


class Login(Table):
    """A login on a server: what all protocols have in common."""

    PLAIN_PORT: ClassVar[int] = 1  # where the line begins without TLS; each protocol has its own

    protocol: Literal["pop3", "imap"]
    host: Text
    port: Port = 1
    tls: Literal["implicit", "starttls", "none"] = "implicit"
    username: Text
    password: SecretStr | None = None
    password_file: FilePath | None = None
    password_command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    password_env: Text | None = None
    password_credential: CredentialName | None = None
    password_keyring: Text | None = None
    auth: Literal[Pop3Auth, ImapAuth] = "auto"
    deliver_to: tuple[str, ...] = ()
    leave_on_server: Annotated[Leave, _leave_by(WindowTable)] = "forever"
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
        plain = isinstance(data, dict) and data.get("tls") in ("starttls", "none")
        return {"port": cls.PLAIN_PORT} | data if plain else data


def _pattern(text: str) -> str:
    pattern(text)  # a ValueError says what is allowed
    return text


def _target(text: str) -> str:
    role = role_called(text)
    if is_inbox(text) or role == "\\Inbox":
        raise ValueError("another mailbox than INBOX")
    if text.startswith("\\") and role is None:
        raise ValueError(ANY_ROLE)
    return role or text


class AccountTable(Login):
    """Every key that [accounts.NAME] may have, whichever protocol knows it."""

    mailboxes: Annotated[
        tuple[Annotated[Text, AfterValidator(_pattern)], ...], Field(min_length=1)
    ] = EVERYTHING
    retire_to: Annotated[Text, AfterValidator(_target)] | None = None
    connections: Annotated[Whole, Field(ge=1, le=15)] = 2
    compress: bool = True
    full_pass: Duration = timedelta(days=1)


class Pop3Account(Login):
    """A maildrop on a POP3 server."""

    PLAIN_PORT: ClassVar[int] = 110

    protocol: Literal["pop3"]
    port: Port = 995
    auth: Pop3Auth = "auto"
    leave_on_server: Annotated[Leave, _leave_by(Pop3WindowTable)] = "forever"


class ImapAccount(AccountTable):
    """The mailboxes of a user on an IMAP server."""

    PLAIN_PORT: ClassVar[int] = 143

    protocol: Literal["imap"]
    port: Port = 993
    auth: ImapAuth = "auto"


Account = Pop3Account | ImapAccount


def by_protocol(value: object) -> Account:
    """The table as the account that its `protocol` says it is."""
    match value:
        case {"protocol": "pop3"}:
            return Pop3Account.model_validate(value)
        case {"protocol": "imap"}:
            return ImapAccount.model_validate(value)
        case dict():
            AccountTable.model_validate(value)  # refuses the protocol, and whatever else is wrong
        case Pop3Account() | ImapAccount():
            return value
    raise ValueError("a table")
