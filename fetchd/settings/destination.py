"""A destination: what each kind of place for mail needs, and which one it is.

`Destination` is one of the tables that `kind` tells apart. `DestinationTable` has every
key that any of them has: by it variables and mistaken keys are named, and a table whose
kind is missing has its other mistakes told all the same.

To add a kind: a class here and in `Destination`, a case in `destinations.open_destination`,
a table in the example, rows in the README.
"""

from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, create_model

from fetchd.policy.roles import ANY_ROLE, role_called
from fetchd.settings.account import FirstSync, ImapAuth
from fetchd.settings.server import Named, Port, Sasl, Server, Timeouts
from fetchd.settings.values import (
    NOT_EMPTY,
    Address,
    Duration,
    FilePath,
    Hostname,
    LocalAddress,
    Text,
    Whole,
    address,
    folder_template,
)

Folder = Annotated[Text, AfterValidator(folder_template)]


def _imap_mailbox(text: str) -> str:
    if text.startswith("\\") and role_called(text) is None:
        raise ValueError(f"a folder's name or {ANY_ROLE}")
    return folder_template(text)


ImapMailbox = Annotated[Text, AfterValidator(_imap_mailbox)]
Connections = Annotated[Whole, Field(ge=1, le=50)]
SmtpAuth = Literal["auto", Sasl]
# Replies by 5yz that pass all the same: some greylist with 550 or 554. Patterns of the
# reply's whole text, code first, "*" for anything, blind to case.
PASSING = (
    "5?? *greylist*",
    "5?? *graylist*",
    "5?? *grey list*",
    "5?? *try again*",
    "5?? *try later*",
    "5?? *temporar*",
    "5?? 4.*",
)


def _at_least_ten_minutes(wait: timedelta) -> timedelta:
    if wait < timedelta(minutes=10):
        raise ValueError('at least "10m": who hangs up earlier sends twice (RFC 5321)')
    return wait


def _sender(value: object) -> str:
    if value in ("original", "address", "null"):
        return str(value)
    try:
        return address(value)
    except ValueError as error:
        raise ValueError(f'"original", "address", "null" or {error}') from None


def _distinct(recipients: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(recipients)) < len(recipients):
        raise ValueError("a list that has each recipient once")
    return recipients


Sender = Annotated[str, BeforeValidator(_sender)]
ONCE = (NOT_EMPTY, AfterValidator(_distinct))


class Place(Named):
    """What all destinations have in common."""

    kind: Literal["maildir", "mbox", "command", "smtp", "lmtp", "imap"]
    duplicates: Literal["skip", "deliver"] = "deliver"
    first_sync: FirstSync = "deliver"

    @property
    def called(self) -> str:
        """How sentences speak of it."""
        return f"destination {self.name}"


class Remote(Place):
    """What takes mail a message at a time, and may say no."""

    give_up_after: Duration = timedelta(days=5)
    max_per_minute: Annotated[Whole, Field(ge=1)] | None = None
    max_connections: Connections = 1


class MaildirDestination(Place):
    """Deliver into a Maildir; created if absent."""

    kind: Literal["maildir"]
    path: FilePath
    layout: Literal["flat", "mirror"] = "flat"
    removed: Literal["keep", "trash", "remove"] = "keep"
    newline: Literal["lf", "crlf"] = "lf"
    folder: Folder | None = None
    flags: Literal["drop", "keep"] = "drop"
    mark_seen: bool = False


class MboxDestination(Place):
    """Append to an mbox file (mboxrd); created if absent."""

    kind: Literal["mbox"]
    path: FilePath
    lock_timeout: Duration = timedelta(seconds=30)


class CommandDestination(Remote):
    """Hand each message to a program, on its standard input."""

    kind: Literal["command"]
    command: Annotated[tuple[str, ...], NOT_EMPTY]
    timeout: Duration = timedelta(minutes=5)
    newline: Literal["lf", "crlf"] = "lf"


class ImapDestination(Server, Remote):
    """APPEND to a mailbox on an IMAP server."""

    PLAIN_PORT: ClassVar[int] = 143

    kind: Literal["imap"]
    port: Port = 993
    username: Text
    auth: ImapAuth = "auto"
    mailbox: ImapMailbox = "INBOX"
    flags: Literal["drop", "keep"] = "keep"
    mark_seen: bool = False
    confirm_own_address: bool = False


class TransferTimeouts(Timeouts):
    """RFC 5321 §4.5.3.2: five minutes at nearly every step, ten for the last answer.

    `final` is the wait for what the server says after the message. It may have delivered
    already when it is slow to say so.
    """

    read: Duration = timedelta(minutes=5)
    final: Annotated[Duration, AfterValidator(_at_least_ten_minutes)] = timedelta(minutes=10)


class Transfer(Server, Remote):
    """What SMTP and LMTP have in common."""

    timeouts: TransferTimeouts = TransferTimeouts()
    auth: SmtpAuth = "auto"
    recipients: Annotated[tuple[Address, ...], *ONCE]
    sender: Sender = "address"
    address: Address | None = None
    eight_bit: Literal["attach", "defer"] = "attach"
    bare_newlines: Literal["convert", "attach", "defer"] = "convert"
    max_received: Annotated[Whole, Field(ge=1)] = 50
    passing: tuple[Text, ...] = PASSING
    helo: Hostname | None = None
    max_connections: Connections = 4
    confirm_own_address: bool = False


class SmtpDestination(Transfer):
    """Forward to a mail server (RFC 5321), by which it goes on to its recipients."""

    PLAIN_PORT: ClassVar[int] = 25
    STARTTLS_PORT: ClassVar[int | None] = 587

    kind: Literal["smtp"]
    port: Port = 465
    first_sync: FirstSync = "archive"
    mode: Literal["redirect", "attach"] = "redirect"
    srs_domain: Hostname | None = None
    srs_secret: SecretStr | None = None
    srs_secret_file: FilePath | None = None


class LmtpDestination(Transfer):
    """Hand to a local delivery agent (RFC 2033), which answers for each recipient."""

    PLAIN_PORT: ClassVar[int] = 24

    kind: Literal["lmtp"]
    host: Text = "localhost"
    port: Port = 24
    socket: FilePath | None = None
    tls: Literal["implicit", "starttls", "none"] = "none"
    recipients: Annotated[tuple[LocalAddress, ...], *ONCE]
    sender: Sender = "original"  # by which vacation and filters go; nobody checks SPF here
    fallback_recipient: LocalAddress | None = None


Destination = (
    MaildirDestination
    | MboxDestination
    | CommandDestination
    | SmtpDestination
    | LmtpDestination
    | ImapDestination
)
KINDS: dict[str, type[Destination]] = {
    get_args(kind.model_fields["kind"].annotation)[0]: kind for kind in get_args(Destination)
}


def _every_key() -> dict[str, Any]:
    """Each key with the widest type it has; none but `kind` is needed by all."""
    found: dict[str, Any] = {"auth": (ImapAuth, None)}
    for kind in (LmtpDestination, *KINDS.values()):  # LMTP takes more as a recipient
        for name, field in kind.model_fields.items():
            if name not in Place.model_fields:
                found.setdefault(name, (field.rebuild_annotation(), None))
    return found


DestinationTable: type[Place] = create_model("DestinationTable", __base__=Place, **_every_key())


def by_kind(value: object) -> Destination:
    """The table as the destination that its `kind` says it is."""
    match value:
        case {"kind": str(kind)} if kind in KINDS:
            return KINDS[kind].model_validate(value)
        case dict():
            DestinationTable.model_validate(value)  # refuses the kind, and whatever else is wrong
    if isinstance(value, Destination):
        return value
    raise ValueError("a table")
