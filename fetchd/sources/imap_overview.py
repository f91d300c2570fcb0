"""Which mailboxes there are and how they stand: one flight for all of them where possible.

With LIST-STATUS (RFC 5819) a poll of any number of unchanged mailboxes costs this one
flight. Without it their STATUS is asked for in a second one, and where even that is
refused, a mailbox is simply opened.
"""

from collections.abc import Iterable, Mapping, Sequence

from fetchd import __version__
from fetchd.clients.imap import ImapClient
from fetchd.clients.imap_refusals import is_nonexistent, server_refusal
from fetchd.policy.mailboxes import Mailbox, Offered, name_mailboxes
from fetchd.protocol.imap import commands, names
from fetchd.protocol.imap.events import Completed, Event
from fetchd.protocol.imap.rules import Command
from fetchd.protocol.imap.types import Enabled, Identity, Listed, MailboxStatus, Namespaces
from fetchd.sources.imap_login import is_rev2
from fetchd.values import Struct, field

_WORTH_ENABLING = ("QRESYNC", "CONDSTORE", "UTF8=ACCEPT")  # RFC 5161, RFC 7162, RFC 6855


class Overview(Struct, frozen=True):
    """All mailboxes of the account under fetchd's names, and their STATUS by wire name."""

    mailboxes: tuple[Mailbox, ...]
    status: Mapping[bytes, MailboxStatus] = field(default_factory=dict)
    server: str = ""  # what it says of itself (ID)
    utf8: bool = False  # names are UTF-8


async def look_around(client: ImapClient, capabilities: frozenset[str]) -> Overview:
    """ID, ENABLE, NAMESPACE and LIST in one flight.

    ID is always sent where it is understood: NetEase opens no mailbox without it.
    """
    listing = _list_command(capabilities)
    asked = [*introduction(capabilities), listing]
    flight = await client.flight(*asked)
    answers = dict(zip((command.verb for command in asked), flight.completed, strict=True))
    events = list(flight.events)
    answer = answers["LIST"]
    if not answer.ok and listing != commands.list_mailboxes():
        # ProtonMail's bridge says BAD to options that it offers (quirk 59).
        again = await client.ask(commands.list_mailboxes())
        (answer,), events = again.completed, [*events, *again.events]
    if not answer.ok:
        what = f"{client.stream.where} does not list its mailboxes"
        raise server_refusal(answer.code, answer.text, what)
    utf8 = is_rev2(capabilities) or _enabled_utf8(answers.get("ENABLE"), events)
    return Overview(
        name_mailboxes(_offered(events, utf8), _prefixes(events, utf8)),
        {event.name: event for event in events if isinstance(event, MailboxStatus)},
        _server(events),
        utf8,
    )


async def ask_status(
    client: ImapClient, capabilities: frozenset[str], mailboxes: Sequence[Mailbox]
) -> tuple[dict[bytes, MailboxStatus], frozenset[bytes]]:
    """STATUS of these, in one flight, and those that are not there though LIST names them.

    Dovecot lists what was removed from above another mailbox as if it could be selected.
    """
    items = status_items(capabilities)
    flight = await client.flight(*(commands.status(mailbox.wire, items) for mailbox in mailboxes))
    told = {event.name: event for event in flight.events if isinstance(event, MailboxStatus)}
    absent = frozenset(
        mailbox.wire
        for mailbox, answer in zip(mailboxes, flight.completed, strict=True)
        if not answer.ok and is_nonexistent(answer.code, answer.text)
    )
    return told, absent


def status_items(capabilities: frozenset[str]) -> list[str]:
    """What makes an unchanged mailbox known."""
    counted = {"CONDSTORE", "QRESYNC"} & capabilities
    return ["MESSAGES", "UIDNEXT", "UIDVALIDITY", *(["HIGHESTMODSEQ"] if counted else [])]


def introduction(capabilities: frozenset[str]) -> list[Command]:
    """What is said on each connection before any mailbox is spoken of."""
    asked = []
    if "ID" in capabilities:
        asked.append(commands.identify({"name": "fetchd", "version": __version__}))
    if "ENABLE" in capabilities and (
        worth := [name for name in _WORTH_ENABLING if name in capabilities]
    ):
        asked.append(commands.enable(worth))
    if "NAMESPACE" in capabilities:
        asked.append(commands.namespace())
    return asked


def _list_command(capabilities: frozenset[str]) -> Command:
    status = status_items(capabilities) if "LIST-STATUS" in capabilities else []
    special = ["SPECIAL-USE"] if {"SPECIAL-USE", "LIST-EXTENDED"} <= capabilities else []
    return commands.list_mailboxes(returning=special, status=status)


def _enabled_utf8(answer: Completed | None, events: Iterable[Event]) -> bool:
    """iCloud says OK to ENABLE and not what it enabled (quirk 50): then nothing is assumed."""
    named = {name for e in events if isinstance(e, Enabled) for name in e.names}
    return answer is not None and answer.ok and "UTF8=ACCEPT" in named


def _offered(events: Iterable[Event], utf8: bool) -> list[Offered]:
    return [
        Offered(event.name, names.decode(event.name, utf8=utf8), event.delimiter, event.attributes)
        for event in events
        if isinstance(event, Listed) and event.verb in ("LIST", "XLIST")
    ]


def _prefixes(events: Iterable[Event], utf8: bool) -> list[str]:
    """Of the personal namespaces; a server may be wrong about them (quirk 60), see policy."""
    return [
        prefix
        for event in events
        if isinstance(event, Namespaces)
        for namespace in event.personal
        if (prefix := names.decode(namespace.prefix, utf8=utf8))
    ]


def _server(events: Iterable[Event]) -> str:
    told = dict(pair for event in events if isinstance(event, Identity) for pair in event.fields)
    words = [told.get(field) for field in ("name", "vendor", "version")]
    return " ".join(word for word in words if word)
