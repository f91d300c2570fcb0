"""A conversation with the scripted IMAP server: reading commands, answering them.

A command is read whole, literals included (RFC 9051 §2.2.1, RFC 7888); what the
test wants said is said, otherwise the right answer is made by the function of
its row in COMMANDS. To add a command, add a row.
"""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

from tests.servers import imap_mailbox_commands as mailboxes
from tests.servers import imap_message_commands as messages
from tests.servers.imap_login import authenticate, login
from tests.servers.imap_search import search
from tests.servers.imap_session import Account, RefusedError, Session
from tests.servers.imap_words import Word, octets, words
from tests.servers.scripted import Answer, Part, Turns

TAG = b"<tag>"  # in what the test wants said, stands for the command's own
SMALL_LITERAL = 4096  # RFC 7888 §5: what LITERAL- allows without asking

_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r?\n\Z")

Command = Callable[[Session, Sequence[Word]], Awaitable[bytes]]


class State(IntEnum):
    """RFC 9051 §3, in ascending order."""

    ANY = 0
    AUTHENTICATED = 1
    SELECTED = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One command: from which state on, what answers it, which capability it wants."""

    state: State
    answer: Command
    capability: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """One command as it came; `shown` has sizes in place of literals and no tag."""

    tag: bytes
    verb: str
    shown: str
    arguments: bytes


class Talk:
    """One connection."""

    def __init__(
        self,
        account: Account,
        chosen: Callable[[str, str], Answer | None],
        starttls: ssl.SSLContext | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """`chosen` says for a command and its verb what the test wants answered."""
        self.session = Session(account, reader, writer)
        self._chosen, self._starttls = chosen, starttls

    async def run(self, *, preauth: bool) -> None:
        """Greet, and answer until either side has had enough."""
        session = self.session
        session.inside = preauth
        kind = b"PREAUTH" if preauth else b"OK"
        greeting = b"* %b [CAPABILITY %b] ready\r\n" % (kind, session.capability())
        await self._say(self._chosen("greeting", "greeting") or greeting)
        while not session.ended:
            await session.writer.drain()
            heard = await self._command()
            if heard is not None:
                await self._answer(heard)
        await session.writer.drain()

    # -- reading -------------------------------------------------------------------

    async def _command(self) -> Heard | None:
        """The next command; None when it was refused while it was read."""
        session = self.session
        whole = line = await session.reader.readuntil(b"\n")
        session.tag = tag = whole.split(b" ")[0].rstrip()
        shown = line
        while literal := _LITERAL.search(line):
            size, unasked = int(literal[1]), bool(literal[2])
            refusal = self._literal_refusal(whole, size, unasked=unasked)
            if refusal and not unasked:
                session.hear(shown.partition(b" ")[2])
                await session.tagged(refusal)
                return None
            if not unasked:
                await session.say(b"+ go ahead\r\n")
                await session.writer.drain()
            whole += await session.reader.readexactly(size)
            line = await session.reader.readuntil(b"\n")
            whole, shown = whole + line, shown.rstrip(b"\r\n") + line
            if refusal:
                session.hear(shown.partition(b" ")[2])
                await session.tagged(refusal)
                return None
        text = session.hear(shown.partition(b" ")[2])
        verb = " ".join(text.split(" ")[: 2 if text[:4].upper() == "UID " else 1]).upper()
        arguments = whole.partition(b" ")[2][len(verb) :]
        if len(shown) > session.sins.line_limit:
            await session.tagged(b"BAD line too long")
            return None
        return Heard(tag, verb, text, arguments)

    def _literal_refusal(self, so_far: bytes, size: int, *, unasked: bool) -> bytes:
        """Why a literal is not wanted: RFC 7888 and RFC 7889; empty when it is."""
        account, offered = self.session.account, self.session.offered
        allowed = "LITERAL+" in offered or ("LITERAL-" in offered and size <= SMALL_LITERAL)
        if unasked and not allowed:
            return b"BAD that literal was not asked for"
        limit = account.limit()
        appending = so_far.partition(b" ")[2][:6].upper() == b"APPEND"
        if appending and limit is not None and size > limit:
            return b"NO [TOOBIG] too big"
        return b""

    # -- answering -----------------------------------------------------------------

    async def _answer(self, heard: Heard) -> None:
        session = self.session
        session.tag, session.verb = heard.tag, heard.verb
        chosen = self._chosen(heard.shown, heard.verb)
        if chosen is not None:
            await self._say(chosen)
            agreed = _consents(chosen)
            session.inside |= heard.verb in ("LOGIN", "AUTHENTICATE") and agreed
            session.ended |= heard.verb == "LOGOUT"
        else:
            reply = await self._right_answer(heard)
            agreed = reply.startswith(b"OK")
            if reply:
                await session.tagged(reply)
        if heard.verb == "STARTTLS" and agreed and self._starttls is not None:
            await session.writer.start_tls(self._starttls)
            session.encrypted = True

    async def _say(self, answer: Answer) -> None:
        parts = answer if isinstance(answer, list) else [answer]
        await self.session.say(*(self._tagged(part) for part in parts))

    def _tagged(self, part: Part) -> Part:
        tag = self.session.tag
        if isinstance(part, bytes):
            return part.replace(TAG, tag)
        if isinstance(part, Turns):
            return Turns(turn.replace(TAG, tag) for turn in part)
        return part

    async def _right_answer(self, heard: Heard) -> bytes:
        """Say the untagged lines; what follows the tag."""
        session = self.session
        try:
            command = self._allowed(heard.verb)
            said = await command(session, words(heard.arguments))
        except RefusedError as refused:
            return b"NO %b" % refused.args[0]
        except (ValueError, IndexError) as error:
            return b"BAD %b" % str(error).encode()
        if heard.verb not in ("FETCH", "STORE", "SEARCH"):  # RFC 9051 §7.5.1: no EXPUNGE there
            await session.updates()
        return b"OK " + said

    def _allowed(self, verb: str) -> Command:
        session = self.session
        may_start = self._starttls is not None and not session.inside and not session.encrypted
        if verb == "STARTTLS" and may_start:
            return _starttls
        row = COMMANDS.get(verb)
        if row is None or (row.capability and row.capability not in session.offered):
            raise ValueError("unknown command")
        has = State.AUTHENTICATED if session.inside else State.ANY
        if (State.SELECTED if session.selected is not None else has) < row.state:
            raise ValueError("not in this state")
        return row.answer


def _consents(answer: Answer) -> bool:
    """Whether what the test wants said lets the client in."""
    parts = answer if isinstance(answer, list) else [answer]
    said = [b"".join(p) if isinstance(p, Turns) else p for p in parts]
    return any(isinstance(p, bytes) and TAG + b" OK" in p for p in said)


# -- commands for any time ---------------------------------------------------------------


async def _starttls(_session: Session, _arguments: Sequence[Word]) -> bytes:
    return b"begin"


async def _capability(session: Session, _arguments: Sequence[Word]) -> bytes:
    await session.line(b"* CAPABILITY " + session.capability())
    return b"done"


async def _noop(_session: Session, _arguments: Sequence[Word]) -> bytes:
    return b"done"


async def _id(session: Session, _arguments: Sequence[Word]) -> bytes:
    session.identified = True
    await session.line(b'* ID ("name" "scripted")')
    return b"done"


async def _logout(session: Session, _arguments: Sequence[Word]) -> bytes:
    await session.line(b"* BYE until next time")
    session.selected = None
    await session.tagged(b"OK done")
    session.ended = True
    return b""


async def _enable(session: Session, arguments: Sequence[Word]) -> bytes:
    asked = {octets(word).decode().upper() for word in arguments}
    granted = [word for word in sorted(asked) if session.account.has(word)]
    session.qresync |= "QRESYNC" in granted
    session.condstore |= bool({"CONDSTORE", "QRESYNC"} & set(granted))
    session.utf8 |= "UTF8=ACCEPT" in granted
    if not session.sins.silent_enable:
        await session.line(b"* ENABLED " + " ".join(granted).encode())
    return b"done"


async def _idle(session: Session, _arguments: Sequence[Word]) -> bytes:
    """Tell what happens until DONE."""
    await session.say(b"+ idling\r\n")
    line = asyncio.ensure_future(session.reader.readuntil(b"\n"))
    try:
        while not line.done():
            stirred = asyncio.ensure_future(session.account.stirred.wait())
            try:
                await session.updates()
                await session.writer.drain()
                await asyncio.wait({line, stirred}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stirred.cancel()
        if session.hear(line.result()).upper() != "DONE":
            raise ValueError("only DONE ends IDLE")
        return b"done"
    finally:
        line.cancel()


def _numbered(state: State, answer: Callable[..., Awaitable[bytes]], verb: str) -> dict[str, Row]:
    """A command that exists with UID too; MOVE is an extension, RFC 6851."""
    wants = "MOVE" if verb == "MOVE" else ""
    return {
        verb: Row(state, partial(answer, by_uid=False), wants),
        f"UID {verb}": Row(state, partial(answer, by_uid=True), wants),
    }


_ANY, _AUTH, _SELECTED = State.ANY, State.AUTHENTICATED, State.SELECTED

COMMANDS: dict[str, Row] = {
    "CAPABILITY": Row(_ANY, _capability),
    "NOOP": Row(_ANY, _noop),
    "LOGOUT": Row(_ANY, _logout),
    "ID": Row(_ANY, _id, "ID"),
    "LOGIN": Row(_ANY, login),
    "AUTHENTICATE": Row(_ANY, authenticate),
    "ENABLE": Row(_AUTH, _enable, "ENABLE"),
    "NAMESPACE": Row(_AUTH, mailboxes.namespace, "NAMESPACE"),
    "LIST": Row(_AUTH, mailboxes.list_),
    "LSUB": Row(_AUTH, mailboxes.lsub),
    "STATUS": Row(_AUTH, mailboxes.status),
    "SELECT": Row(_AUTH, mailboxes.select),
    "EXAMINE": Row(_AUTH, mailboxes.examine),
    "CREATE": Row(_AUTH, mailboxes.create),
    "DELETE": Row(_AUTH, mailboxes.delete),
    "RENAME": Row(_AUTH, mailboxes.rename),
    "SUBSCRIBE": Row(_AUTH, mailboxes.subscribe),
    "UNSUBSCRIBE": Row(_AUTH, mailboxes.subscribe),
    "APPEND": Row(_AUTH, mailboxes.append),
    "IDLE": Row(_AUTH, _idle, "IDLE"),
    "CHECK": Row(_SELECTED, _noop),
    "CLOSE": Row(_SELECTED, mailboxes.close),
    "UNSELECT": Row(_SELECTED, mailboxes.unselect, "UNSELECT"),
    "EXPUNGE": Row(_SELECTED, messages.expunge),
    "UID EXPUNGE": Row(_SELECTED, messages.uid_expunge, "UIDPLUS"),
    **_numbered(_SELECTED, messages.fetch, "FETCH"),
    **_numbered(_SELECTED, messages.store, "STORE"),
    **_numbered(_SELECTED, messages.copy, "COPY"),
    **_numbered(_SELECTED, messages.move, "MOVE"),
    **_numbered(_SELECTED, search, "SEARCH"),
}
