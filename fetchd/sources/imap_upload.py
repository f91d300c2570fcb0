"""An IMAP account into which mail is put: what is there, and APPEND (RFC 9051 §6.3.12).

Mailboxes are read by EXAMINE, so nothing is marked as seen. SELECT, which alone tells
PERMANENTFLAGS, comes only where something is to be put. Octets go out as they are: what a
server makes of a bare LF is its own business, a NUL needs literal8 (BINARY, RFC 3516).

What is there is compared by header. First the Message-IDs alone are asked for, then the
headers of those that share one with us, or have none.

A refusal is about the account, the mailbox or the message: by its response code, and
failing that by its words. To know one more, add it to a table below.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from enum import StrEnum

from fetchd.clients.imap import ImapClient
from fetchd.clients.imap_refusals import is_nonexistent, server_refusal
from fetchd.clients.refusals import is_passing
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
from fetchd.protocol.imap.sequence import UidSet, write_sets
from fetchd.protocol.imap.types import (
    AppendUid,
    Code,
    Fetched,
    Listed,
    MailboxStatus,
    Namespaces,
    Outcome,
    Searched,
    Status,
)
from fetchd.sources.imap import ImapSession
from fetchd.sources.imap_listing import Lister, Place
from fetchd.values import Struct

_MESSAGE_ID = "BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)]"
_ALL = b"1:*"
MAX_APPENDED = 1000  # UIDs of one answer to APPEND; nobody sends so many at once
_FOR_ALL = {"UNAVAILABLE", "INUSE", "THROTTLED"}  # about the account, not what it was asked for
_FOR_MAILBOX = {"NOPERM", "READ-ONLY"}
_EXISTS = re.compile(r"already exists|mailbox exists", re.IGNORECASE)


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
    NEVER = "never"
    OTHER = "other"


_WHY = {
    "TRYCREATE": Why.NO_MAILBOX,
    "NONEXISTENT": Why.NO_MAILBOX,
    "OVERQUOTA": Why.NO_ROOM,
    "TOOBIG": Why.TOO_LARGE,
    "CANNOT": Why.NEVER,
}
_WORDS = {
    Why.NO_ROOM: re.compile(r"quota|(?:mailbox|disk|storage) (?:is )?full", re.IGNORECASE),
    Why.TOO_LARGE: re.compile(r"too (?:large|big)|(?:size|length) (?:limit|exceed)", re.IGNORECASE),
}


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
        self.answer: Completed | None = None  # to the last APPEND

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
        if not answer.ok and not _is_there(answer):
            raise _refused(answer, f"the server does not create the mailbox '{mailbox.name}'")
        await self._ask(commands.subscribe(mailbox.wire))

    async def present(self, mailbox: Mailbox, message_ids: Collection[str]) -> list[Present]:
        """The messages there that have one of these Message-IDs, or none."""
        if not (await self.examine(mailbox)).messages:
            return []
        told = await self.message_ids(mailbox)
        near = [uid for uid, (_, known) in told.items() if not known or known in message_ids]
        return list((await self.shown(told, near)).values())

    async def examine(self, mailbox: Mailbox) -> Place:
        """Open it for reading; what it holds."""
        opening = await self._client.ask(commands.examine(mailbox.wire))
        if not opening.ok:
            raise _closed(mailbox, opening.completed[0])
        place = Place()
        for event in opening.events:
            place.hear(event)
        return place

    async def message_ids(self, mailbox: Mailbox, uids: bytes = _ALL) -> dict[int, tuple[int, str]]:
        """Size and Message-ID, by UID, of these messages in the open mailbox."""
        told: dict[int, tuple[int, str]] = {}
        asks = [(commands.fetch(uids, ["RFC822.SIZE", _MESSAGE_ID]), 0)]
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

    async def shown(
        self, told: Mapping[int, tuple[int, str]], uids: Iterable[int]
    ) -> dict[int, Present]:
        """These messages of the open mailbox by their headers; `told` by `message_ids`."""
        near = [RemoteMessage(b"", told[uid][0], uid) for uid in uids]
        lister = Lister(self._client, self.session.capabilities)
        found: dict[int, Present] = {}
        async with aclosing(lister.headers(near)) as headers:
            async for one in headers:
                size, known = told[one.remote.number]
                # The server may see no field where we do.
                known = known or summarize(one.header).message_id
                found[one.remote.number] = Present(size, known, one.digest)
        return found

    async def search(self, criteria: bytes, *strings: bytes) -> list[UidSet] | None:
        """What of the open mailbox fits; None where the server will not search."""
        flight = await self._client.ask(commands.search(criteria, *strings))
        if not flight.ok:
            return None
        return [event.found for event in flight.events if isinstance(event, Searched)]

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

    async def leave(self) -> None:
        """Have no mailbox open, where that is to be had (RFC 3691).

        In one that is open for writing, \\Recent would be ours to see and nobody else's.
        """
        if self.offers("UNSELECT"):
            await self._client.ask(commands.unselect())

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
        answer = self.answer = flight.completed[0]
        if answer.ok:
            return None
        if _name(answer) in _FOR_ALL | _FOR_MAILBOX:
            raise _refused(answer, f"the mailbox '{mailbox.name}' takes no mail")
        return Refusal(_why(answer), answer.text)

    @property
    def unanswered(self) -> bool:
        """A command was sent whole, and its answer is due: what it did is not known."""
        protocol = self._client.protocol
        return bool(protocol.pending) and not protocol.sending

    @property
    def appended(self) -> tuple[int, ...]:
        """The UIDs that the last APPEND gave, where the server tells (UIDPLUS)."""
        match self.answer:
            case Completed(code=Code(value=AppendUid(uids=uids))) if uids.count <= MAX_APPENDED:
                return tuple(uids)
        return ()

    async def copy(self, mailbox: Mailbox, uids: Iterable[int], to: Mailbox) -> Completed:
        """COPY from one mailbox to another; where a mailbox is a label, it is given."""
        await self.examine(mailbox)
        return await self._ask(commands.copy(write_sets(uids)[0], to.wire))

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


def _is_there(answer: Completed) -> bool:
    """Whether CREATE failed because the mailbox exists: LIST need not have named it."""
    return _name(answer) == "ALREADYEXISTS" or bool(_EXISTS.search(answer.text))


def _why(answer: Completed) -> Why:
    if (why := _WHY.get(_name(answer))) is not None:
        return why
    if is_nonexistent(None, answer.text):
        return Why.NO_MAILBOX
    found = next((why for why, words in _WORDS.items() if words.search(answer.text)), None)
    if found is None and answer.outcome is Outcome.BAD and not is_passing(answer.text):
        return Why.NEVER
    return found or Why.OTHER


def _name(answer: Completed) -> str:
    return answer.code.name if answer.code is not None else ""
