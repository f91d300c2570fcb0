"""One session of the scripted IMAP server: what it knows, and what it says unasked.

`Account` is what all sessions share; `Session` is one connection: whether it is
logged in, which mailbox is selected, and what of it the client has been told.
`updates()` tells the rest (RFC 9051 §7.5), so that changes by other sessions or
by the test reach the client as from any server.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.servers.imap_boxes import Box, Message
from tests.servers.imap_sins import HONEST, Sins
from tests.servers.imap_words import as_set, ranges, within
from tests.servers.mail import decoded_name, quoted, wire_name
from tests.servers.scripted import Part


class RefusedError(Exception):
    """A tagged NO; the argument is what follows it."""


@dataclass
class Account:
    """What the server holds, and how it means to serve it."""

    boxes: dict[bytes, Box]
    capabilities: tuple[str, ...]
    inside: tuple[str, ...]
    secure: tuple[str, ...]
    delimiter: bytes | None
    sins: Sins = HONEST
    heard: list[str] = field(default_factory=list)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)

    def has(self, capability: str) -> bool:
        """Whether it is offered after the login."""
        return capability in self.inside

    def limit(self) -> int | None:
        """APPENDLIMIT, RFC 7889."""
        said = [word.partition("=")[2] for word in self.inside if word.startswith("APPENDLIMIT=")]
        return int(said[0]) if said else None

    def stir(self) -> None:
        """Something changed: sessions in IDLE look."""
        self.stirred.set()
        self.stirred = asyncio.Event()

    def labels(self, message: Message) -> list[bytes]:
        """The mailboxes with the same octets: Gmail calls them labels."""
        identity = message.identity
        return [
            name for name, box in self.boxes.items()
            if any(other.identity == identity for other in box.messages)
        ]  # fmt: skip


class Session:
    """One connection; `reader`, `writer` and `ended` are for the faults of scripted.py."""

    def __init__(
        self, account: Account, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.account, self.reader, self.writer = account, reader, writer
        self.ended = self.inside = self.identified = self.utf8 = False
        self.encrypted = False  # by STARTTLS
        self.condstore = self.qresync = False
        self.tag, self.verb = b"*", ""
        self.selected: Box | None = None
        self.read_only = False
        self.view: list[int] = []  # UIDs, by sequence number
        self.told: dict[int, frozenset[str]] = {}  # flags, by UID

    @property
    def sins(self) -> Sins:
        return self.account.sins

    @property
    def box(self) -> Box:
        assert self.selected is not None
        return self.selected

    def hear(self, line: bytes) -> str:
        """Note what the client said."""
        text = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
        self.account.heard.append(text)
        return text

    # -- saying --------------------------------------------------------------------

    async def say(self, *parts: Part) -> None:
        """Octets and faults, one after the other."""
        for part in parts:
            if self.ended:
                return
            if isinstance(part, bytes):
                self.writer.write(part)
            else:
                await part.say(self)

    async def line(self, *parts: Part) -> None:
        """One line of an answer, with what the server says besides."""
        besides = self.sins.unsolicited
        await self.say(besides.get(self.verb, besides.get("*", b"")), *parts, b"\r\n")

    async def tagged(self, said: bytes) -> None:
        """The last line of an answer."""
        await self.line(self.tag, b" ", said)

    async def condition(self, code: bytes, text: bytes) -> None:
        """An untagged OK with a response code."""
        await self.line(b"* OK [%b]" % code + (b"" if self.sins.bare_codes else b" " + text))

    @property
    def offered(self) -> tuple[str, ...]:
        """The capabilities that hold now."""
        if self.inside:
            return self.account.inside
        return self.account.secure if self.encrypted else self.account.capabilities

    def capability(self) -> bytes:
        """The same, as they are said."""
        return " ".join(self.offered).encode()

    # -- mailboxes -----------------------------------------------------------------

    def found(self, name: bytes) -> Box:
        """The mailbox of a name as the client writes it."""
        box = self.account.boxes.get(self.wire(name))
        if box is None or set(box.attributes) & {"\\Noselect", "\\NonExistent"}:
            raise RefusedError(b"[NONEXISTENT] no such mailbox")
        return box

    def wire(self, name: bytes) -> bytes:
        """The name by which the account knows it: INBOX in any case, RFC 9051 §5.1."""
        if name.upper() == b"INBOX":
            return b"INBOX"
        return wire_name(name.decode()) if self.utf8 else name

    def shown(self, name: bytes) -> bytes:
        """A name as this session writes it."""
        if self.sins.raw_names:
            return b'"%b"' % name
        if self.utf8:
            return quoted(decoded_name(name).encode())
        if name.isascii() and name.decode("ascii").isprintable():
            return quoted(name)
        return b"{%d}\r\n%b" % (len(name), name)

    def select(self, box: Box, *, read_only: bool) -> None:
        """From now on this mailbox, all of which the client is being told."""
        self.selected, self.read_only = box, read_only or box.read_only
        self.view = [m.uid for m in box.messages]
        self.told = {m.uid: frozenset(m.flags) for m in box.messages}

    # -- messages ------------------------------------------------------------------

    def chosen(self, numbers: bytes, *, by_uid: bool) -> list[tuple[int, Message]]:
        """The messages of a set, with their sequence numbers, in order."""
        last = (self.view[-1] if by_uid else len(self.view)) if self.view else 0
        self._judge(numbers, last)
        pairs = ranges(numbers, last)
        if not by_uid and any(not 1 <= n <= len(self.view) for pair in pairs for n in pair):
            raise ValueError("no such message")
        rows = [(n, m) for n, m in self.rows() if within(m.uid if by_uid else n, pairs)]
        return rows[::-1] if self.sins.backwards else rows

    def rows(self) -> Iterator[tuple[int, Message]]:
        """Sequence number and message of what the client knows and what is still there."""
        present = {m.uid: m for m in self.box.messages}
        for number, uid in enumerate(self.view, 1):
            if uid in present:
                yield number, present[uid]

    def _judge(self, numbers: bytes, last: int) -> None:
        if self.sins.no_star_on_empty and b"*" in numbers and not self.view:
            raise ValueError("* in an empty mailbox")
        for part in numbers.split(b",") if self.sins.no_range_of_one else ():
            low, colon, high = part.partition(b":")
            if colon and low == high:
                raise ValueError("a range of one")
        if self.sins.ascending_only:
            ends = [last if n == b"*" else int(n) for n in numbers.replace(b":", b",").split(b",")]
            if ends != sorted(set(ends)):
                raise ValueError("a set that does not ascend")

    def modseq(self, modseq: int) -> bytes:
        return b"-1" if self.sins.minus_one else b"%d" % modseq

    async def updates(self) -> None:
        """What has happened in the selected mailbox since the client last heard."""
        if self.selected is None:
            return
        await self._tell_gone({m.uid for m in self.box.messages})
        fresh = [m for m in self.box.messages if m.uid not in self.told]
        if fresh:
            self.view += [m.uid for m in fresh]
            self.told |= {m.uid: frozenset(m.flags) for m in fresh}
            await self.line(b"* %d EXISTS" % len(self.view))
        for number, message in list(self.rows()):
            if self.told[message.uid] != message.flags:
                await self.tell_flags(number, message)

    async def tell_flags(self, number: int, message: Message) -> None:
        """A FETCH response that nobody asked for."""
        self.told[message.uid] = frozenset(message.flags)
        modseq = b" MODSEQ (%b)" % self.modseq(message.modseq) if self.condstore else b""
        facts = (number, message.uid, flag_list(message.flags), modseq)
        await self.line(b"* %d FETCH (UID %d FLAGS %b%b)" % facts)

    async def _tell_gone(self, present: set[int]) -> None:
        gone = [uid for uid in self.view if uid not in present]
        if gone and self.qresync:  # RFC 7162 §3.2.10: never EXPUNGE any more
            await self.line(b"* VANISHED " + as_set(gone))
        for uid in gone:
            at = self.view.index(uid)
            del self.view[at], self.told[uid]
            if not self.qresync:
                await self.line(b"* %d EXPUNGE" % (at + 1))


def flag_list(flags: Sequence[str] | set[str]) -> bytes:
    """Flags as a parenthesised list."""
    return b"(%b)" % " ".join(sorted(flags)).encode()
