"""An IMAP account into which mail is put back: what is there, and APPEND (RFC 9051 §6.3.12).

Mailboxes are read by EXAMINE, so nothing is marked as seen. SELECT, which alone tells
PERMANENTFLAGS, comes only where something is to be put. Octets go out as they are: what a
server makes of a bare LF is its own business, a NUL needs literal8 (BINARY, RFC 3516).

What is there is compared by header. First the Message-IDs alone are asked for, then the
headers of those that share one with us, or have none.
"""

from collections.abc import Collection, Sequence
from contextlib import aclosing
from datetime import datetime
from enum import StrEnum

from fetchd.clients.imap import ImapClient
from fetchd.clients.imap_refusals import server_refusal
from fetchd.contracts import Body
from fetchd.errors import FetchdError, MailboxUnavailable
from fetchd.message import header_of, summarize
from fetchd.policy.mailboxes import Mailbox, Path
from fetchd.policy.plan import RemoteMessage
from fetchd.policy.restoring import Present, wire_text
from fetchd.protocol.imap import commands, names
from fetchd.protocol.imap.commands import Message
from fetchd.protocol.imap.events import Completed
from fetchd.protocol.imap.rules import Command
from fetchd.protocol.imap.types import (
    Code,
    Exists,
    Fetched,
    Listed,
    MailboxStatus,
    Namespaces,
    Status,
)
from fetchd.sources.imap import ImapSession
from fetchd.sources.imap_listing import Lister
from fetchd.values import Struct

_MESSAGE_ID = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"
_ALL = b"1:*"
_FOR_ALL = {"UNAVAILABLE", "INUSE", "THROTTLED"}  # about the account, not what it was asked for
_FOR_MAILBOX = {"NOPERM", "READ-ONLY"}


class Terms(Struct, frozen=True):
    """On which a mailbox takes mail; None: it does not say."""

    permanent: tuple[str, ...] | None = None
    limit: int | None = None  # octets of one message (APPENDLIMIT, RFC 7889)


class Letter(Struct, frozen=True):
    """One message on its way; `nul`: it holds NUL octets."""

    body: Body
    flags: tuple[str, ...]
    date: datetime
    nul: bool = False


class Why(StrEnum):
    """What a refusal of APPEND is about."""

    NO_MAILBOX = "no mailbox"
    NO_ROOM = "no room"
    TOO_LARGE = "too large"
    OTHER = "other"


_WHY = {"TRYCREATE": Why.NO_MAILBOX, "OVERQUOTA": Why.NO_ROOM, "TOOBIG": Why.TOO_LARGE}


class Refusal(Struct, frozen=True):
    """A NO or BAD to APPEND that is about what was sent, in the server's words."""

    why: Why
    text: str


async def open_target(session: ImapSession) -> "ImapTarget":
    """How names are put together there, and which mailboxes there are."""
    asked = [commands.list_mailboxes((b"",))]
    if "NAMESPACE" in session.capabilities:
        asked.append(commands.namespace())
    events = (await session.client.flight(*asked)).events
    delimiters = [e.delimiter for e in events if isinstance(e, Listed) and e.delimiter]
    personal = [n for e in events if isinstance(e, Namespaces) for n in e.personal]
    delimiters += [n.delimiter for n in personal if n.delimiter]
    delimiters += [m.delimiter for m in session.overview.mailboxes if m.delimiter]
    prefix = personal[0].prefix if personal else b""
    # Some servers name a namespace in which nothing lies (quirk 60).
    others = [m.wire for m in session.overview.mailboxes if m.wire != b"INBOX"]
    if others and not any(wire.startswith(prefix) for wire in others):
        prefix = b""
    shown = names.decode(prefix, utf8=session.overview.utf8) or ""
    return ImapTarget(session, shown, next(iter(delimiters), None))


class ImapTarget:
    """An open account that mail is put into."""

    def __init__(self, session: ImapSession, prefix: str, delimiter: str | None) -> None:
        self.session = session
        self._client: ImapClient = session.client
        self._prefix, self._delimiter = prefix, delimiter
        self._utf8 = session.overview.utf8
        self._by_path = {m.path: m for m in session.overview.mailboxes}
        self._by_wire = {m.wire: m for m in session.overview.mailboxes}
        self._roles = {m.role for m in session.overview.mailboxes}

    @property
    def where(self) -> str:
        """Host and port."""
        return self._client.stream.where

    def offers(self, capability: str) -> bool:
        """Whether the server announced it."""
        return capability in self.session.capabilities

    def place(self, path: Path) -> tuple[Mailbox, bool]:
        """The mailbox for these levels, and whether it is there."""
        text = wire_text(path, self._prefix, self._delimiter)
        wire = names.encode(text, utf8=self._utf8)
        found = self._by_path.get(path) or self._by_wire.get(wire)
        if found is not None:
            return found, True
        return Mailbox(text, wire, self._delimiter, path=path), False

    async def create(self, mailbox: Mailbox, role: str | None) -> None:
        """CREATE with its special use where that is to be had, and SUBSCRIBE."""
        use = [role] if role is not None and self._may_become(role) else []
        answer = await self._ask(commands.create(mailbox.wire, use))
        if not answer.ok and use:
            answer = await self._ask(commands.create(mailbox.wire))
        if not answer.ok and _name(answer) != "ALREADYEXISTS":
            raise _refused(answer, f"the server does not create the mailbox '{mailbox.name}'")
        await self._ask(commands.subscribe(mailbox.wire))

    async def present(self, mailbox: Mailbox, message_ids: Collection[str]) -> list[Present]:
        """The messages there that have one of these Message-IDs, or none."""
        opening = await self._client.ask(commands.examine(mailbox.wire))
        if not opening.ok:
            raise _closed(mailbox, opening.completed[0])
        if not any(isinstance(event, Exists) and event.count for event in opening.events):
            return []
        told = await self._message_ids(mailbox)
        near = [
            RemoteMessage(b"", size, uid)
            for uid, (size, known) in told.items()
            if not known or known in message_ids
        ]
        lister = Lister(self._client, self.session.capabilities)
        found: list[Present] = []
        async with aclosing(lister.headers(near)) as headers:
            async for one in headers:
                size, known = told[one.remote.number]
                # The server may see no field where we do.
                known = known or summarize(one.header).message_id
                found.append(Present(size, known, one.digest))
        return found

    async def _message_ids(self, mailbox: Mailbox) -> dict[int, tuple[int, str]]:
        """Size and Message-ID of every message in the open mailbox, by UID."""
        told: dict[int, tuple[int, str]] = {}
        asks = [(commands.fetch(_ALL, ["RFC822.SIZE", _MESSAGE_ID]), 0)]
        async with aclosing(self._client.exchange(asks)) as answers:
            async for events in answers:
                for event in events:
                    match event:
                        case Fetched(uid=int(uid), size=size, header=bytes(octets)):
                            told[uid] = size or 0, summarize(octets).message_id
                        case Fetched(uid=int(uid)):  # quirk 37: its whole header may tell
                            told.setdefault(uid, (0, ""))
                        case Completed() if not event.ok:
                            raise _closed(mailbox, event)
        return told

    async def terms(self, mailbox: Mailbox) -> Terms:
        """Open it for writing, and hear what it takes."""
        opening = await self._client.ask(commands.select(mailbox.wire))
        (answer,) = opening.completed
        if not answer.ok:
            raise _closed(mailbox, answer)
        if _name(answer) == "READ-ONLY":
            raise MailboxUnavailable(f"the server lets the mailbox '{mailbox.name}' be read only")
        permanent = None
        for event in opening.events:
            match event:
                case Status(code=Code(name="PERMANENTFLAGS", value=tuple(told))):
                    permanent = tuple(str(flag) for flag in told)
        return Terms(permanent, await self.limit(mailbox))

    async def limit(self, mailbox: Mailbox | None) -> int | None:
        """APPENDLIMIT of the server, or where that differs by mailbox, of this one."""
        for capability in self.session.capabilities:
            word, _, number = capability.partition("=")
            if word == "APPENDLIMIT" and number.isdigit():
                return int(number)
        if mailbox is None or not self.offers("APPENDLIMIT"):
            return None
        flight = await self._client.ask(commands.status(mailbox.wire, ["APPENDLIMIT"]))
        limits = [e.appendlimit for e in flight.events if isinstance(e, MailboxStatus)]
        return next(iter(limits), None)

    async def append(self, mailbox: Mailbox, letters: Sequence[Letter]) -> Refusal | None:
        """APPEND of all or none of them; more than one needs MULTIAPPEND (RFC 3502).

        MailboxUnavailable or ServerUnavailable where others would fare no better.
        """
        messages = [
            Message(one.body.size, one.flags, one.date, self._is_utf8(one.body), one.nul)
            for one in letters
        ]
        command = commands.append(mailbox.wire, messages)
        flight = await self._client.upload(command, (one.body.chunks() for one in letters))
        answer = flight.completed[0]
        if answer.ok:
            return None
        code = _name(answer)
        if code in _FOR_ALL | _FOR_MAILBOX:
            raise _refused(answer, f"the mailbox '{mailbox.name}' takes no mail")
        return Refusal(_WHY.get(code, Why.OTHER), answer.text)

    def _may_become(self, role: str) -> bool:
        return self.offers("CREATE-SPECIAL-USE") and role not in self._roles

    def _is_utf8(self, body: Body) -> bool:
        """RFC 6855 §4: a header that is not ASCII, where we have enabled UTF-8."""
        return self._utf8 and not header_of(next(iter(body.chunks()), b"")).isascii()

    async def _ask(self, command: Command) -> Completed:
        return (await self._client.ask(command)).completed[0]


def _closed(mailbox: Mailbox, answer: Completed) -> FetchdError:
    return _refused(answer, f"the mailbox '{mailbox.name}' cannot be opened")


def _refused(answer: Completed, what: str) -> FetchdError:
    if _name(answer) in _FOR_ALL:
        return server_refusal(answer.code, answer.text, what)
    return MailboxUnavailable(f"{what}: {answer.text}" if answer.text else what)


def _name(answer: Completed) -> str:
    return answer.code.name if answer.code is not None else ""
