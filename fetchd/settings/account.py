"""An account: what every protocol needs, what each has of its own, and which one it is.

`Account` is one of the tables that `protocol` tells apart. `AccountTable` has
every key that any of them has: by it variables and mistaken keys are named, and
a table whose protocol is missing has its other mistakes told all the same.
Policy's own types (`Window`) are the settings' types, so there is no copying layer.

To add a protocol: a class beside `ImapAccount`, in `Account`; a key of one protocol
alone stands in `AccountTable` too.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from fetchd.policy.mailboxes import EVERYTHING
from fetchd.policy.patterns import pattern
from fetchd.policy.retention import Leave, Window
from fetchd.policy.roles import ANY_ROLE, is_inbox, role_called
from fetchd.settings.running import MailboxSchedule, QuietHours, ScheduleValue
from fetchd.settings.server import Port, Sasl, Server
from fetchd.settings.values import NOT_EMPTY, Days, Duration, Size, Table, Text, Whole

Pop3Auth = Literal["auto", "user", "apop", Sasl]
ImapAuth = Literal["auto", "login-command", Sasl]
# What becomes of the mail that an account's first sync finds.
FirstSync = Literal["archive", "deliver"]


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


class Login(Server):
    """A login on a server that mail is fetched from: what all protocols have in common."""

    protocol: Literal["pop3", "imap"]
    username: Text
    auth: Literal[Pop3Auth, ImapAuth] = "auto"
    deliver_to: tuple[str, ...] = ()
    first_sync: FirstSync | None = None
    leave_on_server: Annotated[Leave, _leave_by(WindowTable)] = "forever"
    retire_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_message_size: Size | None = None
    schedule: ScheduleValue | None = None
    quiet_hours: QuietHours | None = None
    provider: Text | None = None


def _pattern(text: str) -> str:
    pattern(text)  # a ValueError says what is allowed
    return text


def _included(text: str) -> str:
    if pattern(text).excludes:
        raise ValueError('a pattern without "!"; the last one that fits a mailbox decides')
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

    mailboxes: Annotated[tuple[Annotated[Text, AfterValidator(_pattern)], ...], NOT_EMPTY] = (
        EVERYTHING
    )
    retire_to: Annotated[Text, AfterValidator(_target)] | None = None
    connections: Annotated[Whole, Field(ge=1, le=15)] = 2
    compress: bool = True
    full_pass: Duration = timedelta(days=1)
    mailbox_schedules: dict[Annotated[Text, AfterValidator(_included)], MailboxSchedule] = Field(
        default={}
    )


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
PROTOCOLS: dict[str, type[Account]] = {"pop3": Pop3Account, "imap": ImapAccount}


def by_protocol(value: object) -> Account:
    """The table as the account that its `protocol` says it is."""
    match value:
        case {"protocol": str(protocol)} if protocol in PROTOCOLS:
            return PROTOCOLS[protocol].model_validate(value)
        case dict():
            AccountTable.model_validate(value)  # refuses the protocol, and whatever else is wrong
        case Pop3Account() | ImapAccount():
            return value
    raise ValueError("a table")
