"""The scripted IMAP server's right answers about mailboxes: LIST, STATUS, SELECT, APPEND, …

Each function answers one command: it says the untagged lines and returns what
follows "OK". A ValueError becomes BAD, a RefusedError NO. RFC 9051 §6.3.
"""

import itertools
import re
from collections.abc import Callable, Sequence
from datetime import datetime

from tests.servers.imap_boxes import Box
from tests.servers.imap_session import RefusedError, Session, flag_list
from tests.servers.imap_words import Literal, Word, as_set, listed, octets, ranges, within
from tests.servers.mail import Mail

FLAGS = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")


async def select(session: Session, arguments: Sequence[Word]) -> bytes:
    """SELECT."""
    return await _open(session, arguments, read_only=False)


async def examine(session: Session, arguments: Sequence[Word]) -> bytes:
    """EXAMINE."""
    return await _open(session, arguments, read_only=True)


async def _open(session: Session, arguments: Sequence[Word], *, read_only: bool) -> bytes:
    session.selected = None  # also when it fails, RFC 9051 §6.3.2
    if session.sins.id_first and not session.identified:
        raise RefusedError(b"SELECT Unsafe Login. Please contact kefu@188.com for help")
    box = session.found(octets(arguments[0]))
    parameters = listed(arguments[1]) if len(arguments) > 1 else []
    names = [p.upper() for p in parameters if isinstance(p, bytes)]
    session.condstore |= bool(names)
    session.select(box, read_only=read_only)
    await session.line(b"* FLAGS " + flag_list(FLAGS))
    await session.line(b"* %d EXISTS" % len(box.messages))
    await session.line(b"* 0 RECENT")
    await session.condition(b"PERMANENTFLAGS " + flag_list([*FLAGS, "\\*"]), b"Flags")
    if box.uidvalidity is not None:
        await session.condition(b"UIDVALIDITY %d" % box.uidvalidity, b"UIDs valid")
    if (uidnext := _uidnext(session, box)) is not None:
        await session.condition(b"UIDNEXT %d" % uidnext, b"Predicted next UID")
    if session.account.has("CONDSTORE"):
        code = b"HIGHESTMODSEQ " + session.modseq(box.modseq) if box.modseqs else b"NOMODSEQ"
        await session.condition(code, b"Highest")
    if session.account.has("OBJECTID"):
        await session.condition(b"MAILBOXID (F%d)" % id(box), b"Ok")
    if b"QRESYNC" in names:
        await _resynchronise(session, box, listed(parameters[names.index(b"QRESYNC") + 1]))
    return b"[READ-ONLY] done" if session.read_only else b"[READ-WRITE] done"


async def _resynchronise(session: Session, box: Box, known: Sequence[Word]) -> None:
    """VANISHED (EARLIER) and the changed flags, RFC 7162 §3.2.5."""
    if not session.qresync:
        raise ValueError("QRESYNC is not enabled")
    validity, since = int(octets(known[0])), int(octets(known[1]))
    if validity != box.uidvalidity:
        return
    pairs = ranges(octets(known[2]), box.uidnext) if len(known) > 2 else [(1, box.uidnext)]
    gone = [uid for uid, modseq in box.vanished if modseq > since and within(uid, pairs)]
    said = b",".join(filter(None, (as_set(gone), session.sins.vanished_besides)))
    if said:
        await session.line(b"* VANISHED (EARLIER) " + said)
    for number, message in list(session.rows()):
        if message.modseq > since and within(message.uid, pairs):
            await session.tell_flags(number, message)


async def unselect(session: Session, _arguments: Sequence[Word]) -> bytes:
    """UNSELECT."""
    session.selected = None
    return b"done"


async def close(session: Session, _arguments: Sequence[Word]) -> bytes:
    """CLOSE, which expunges without a word."""
    if not session.read_only:
        session.box.remove({m.uid for m in session.box.messages if "\\Deleted" in m.flags})
        session.account.stir()
    session.selected = None
    return b"done"


async def status(session: Session, arguments: Sequence[Word]) -> bytes:
    """STATUS."""
    name = octets(arguments[0])
    await _say_status(session, session.wire(name), session.found(name), listed(arguments[1]))
    return b"done"


async def _say_status(session: Session, name: bytes, box: Box, items: Sequence[Word]) -> None:
    said = []
    for item in map(octets, items):
        session.condstore |= item.upper() == b"HIGHESTMODSEQ"
        value = _fact(session, box, item.upper())
        if value is not None:
            said.append(b"%b %b" % (item.upper(), value))
    await session.line(b"* STATUS %b (%b)" % (session.shown(name), b" ".join(said)))


def _fact(session: Session, box: Box, item: bytes) -> bytes | None:
    messages = box.messages
    if session.sins.stale_status and box is session.selected:
        messages = [m for m in messages if m.uid in session.told]
    match item:
        case b"MESSAGES":
            number: int | None = len(messages)
        case b"UIDNEXT":
            number = _uidnext(session, box)
        case b"UIDVALIDITY":
            number = box.uidvalidity
        case b"UNSEEN":
            number = sum("\\Seen" not in m.flags for m in messages)
        case b"DELETED":
            number = sum("\\Deleted" in m.flags for m in messages)
        case b"RECENT":
            number = 0
        case b"SIZE":
            number = sum(len(m.octets) for m in messages)
        case b"APPENDLIMIT":
            number = session.account.limit()
        case b"HIGHESTMODSEQ":
            return session.modseq(box.modseq if box.modseqs else 0)
        case b"MAILBOXID":
            return b"(F%d)" % id(box)
        case _:
            raise ValueError("no such status")
    return None if number is None else b"%d" % number


def _uidnext(session: Session, box: Box) -> int | None:
    return box.uidnext if session.sins.uidnext == 0 else session.sins.uidnext


async def list_(session: Session, arguments: Sequence[Word]) -> bytes:
    """LIST, RFC 5258 and 5819 where offered."""
    options, patterns, returns = _list_arguments(arguments)
    asked = {octets(word).upper() for word in [*options, *returns] if isinstance(word, bytes)}
    if session.sins.special_use_refused and b"SPECIAL-USE" in asked:
        raise ValueError("SPECIAL-USE?")
    if (options or returns) and not session.account.has("LIST-EXTENDED"):
        raise ValueError("no LIST-EXTENDED here")
    if patterns == [b""]:
        await _say_name(session, b"LIST", "\\Noselect", b"")
        return b"done"
    wanted = _matcher(session, patterns)
    for name, box in list(session.account.boxes.items()):
        special = b"SPECIAL-USE" not in {octets(o).upper() for o in options}
        if wanted(name) and (special or set(box.attributes) & ROLES):
            await _say_name(session, b"LIST", " ".join(box.attributes), name)
            if (items := _status_asked(returns)) and "\\Noselect" not in box.attributes:
                await _say_status(session, name, box, items)
    return b"done"


async def lsub(session: Session, arguments: Sequence[Word]) -> bytes:
    """LSUB: everything is subscribed."""
    wanted = _matcher(session, [octets(arguments[1])])
    for name in filter(wanted, session.account.boxes):
        await _say_name(session, b"LSUB", "", name)
    return b"done"


ROLES = {f"\\{role}" for role in ("All", "Archive", "Drafts", "Flagged", "Junk", "Sent", "Trash")}


async def _say_name(session: Session, kind: bytes, attributes: str, name: bytes) -> None:
    delimiter = session.account.delimiter
    shown = b"NIL" if delimiter is None else b'"%b"' % delimiter.replace(b"\\", b"\\\\")
    what = (kind, attributes.encode(), shown, session.shown(name))
    await session.line(b"* %b (%b) %b %b" % what)


def _list_arguments(words: Sequence[Word]) -> tuple[list[Word], list[bytes], list[Word]]:
    """Selection options, patterns with the reference before them, return options."""
    rest = list(words)
    options = listed(rest.pop(0)) if isinstance(rest[0], list) else []
    reference, pattern = octets(rest[0]), rest[1]
    patterns = [octets(p) for p in pattern] if isinstance(pattern, list) else [octets(pattern)]
    returns = listed(rest[3]) if len(rest) > 3 and octets(rest[2]).upper() == b"RETURN" else []
    return options, [reference + p for p in patterns], returns


def _status_asked(returns: Sequence[Word]) -> list[Word]:
    for word, following in itertools.pairwise(returns):
        if isinstance(word, bytes) and word.upper() == b"STATUS":
            return listed(following)
    return []


def _matcher(session: Session, patterns: Sequence[bytes]) -> Callable[[bytes], bool]:
    delimiter = re.escape(session.account.delimiter or b"")
    level = b"[^%b]*" % delimiter if delimiter else b".*"
    tried = []
    for pattern in map(session.wire, patterns):
        parts = (b".*" if p == b"*" else level if p == b"%" else re.escape(p)
                 for p in re.split(rb"([*%])", pattern))  # fmt: skip
        tried.append(re.compile(b"".join(parts), re.DOTALL))
    return lambda name: any(one.fullmatch(name) for one in tried)


async def namespace(session: Session, _arguments: Sequence[Word]) -> bytes:
    """NAMESPACE: one, personal, without a prefix."""
    delimiter = session.account.delimiter
    shown = b"NIL" if delimiter is None else b'"%b"' % delimiter
    await session.line(b'* NAMESPACE (("" %b)) NIL NIL' % shown)
    return b"done"


async def create(session: Session, arguments: Sequence[Word]) -> bytes:
    """CREATE."""
    name = session.wire(octets(arguments[0]))
    if name in session.account.boxes:
        raise RefusedError(b"[ALREADYEXISTS] it exists")
    session.account.boxes[name] = Box()
    return b"done"


async def delete(session: Session, arguments: Sequence[Word]) -> bytes:
    """DELETE."""
    session.found(octets(arguments[0]))
    del session.account.boxes[session.wire(octets(arguments[0]))]
    return b"done"


async def rename(session: Session, arguments: Sequence[Word]) -> bytes:
    """RENAME, without what RFC 9051 §6.3.6 wants of INBOX and of names below."""
    box, to = session.found(octets(arguments[0])), session.wire(octets(arguments[1]))
    if to in session.account.boxes:
        raise RefusedError(b"[ALREADYEXISTS] it exists")
    del session.account.boxes[session.wire(octets(arguments[0]))]
    session.account.boxes[to] = box
    return b"done"


async def subscribe(_session: Session, _arguments: Sequence[Word]) -> bytes:
    """SUBSCRIBE and UNSUBSCRIBE."""
    return b"done"


async def append(session: Session, arguments: Sequence[Word]) -> bytes:
    """APPEND, and MULTIAPPEND (RFC 3502) where offered."""
    name = session.wire(octets(arguments[0]))
    box = session.account.boxes.get(name)
    if box is None:
        raise RefusedError(b"[TRYCREATE] no such mailbox")
    mails = _mails(arguments[1:])
    if not mails or (len(mails) > 1 and not session.account.has("MULTIAPPEND")):
        raise ValueError("one message a time")
    limit = session.account.limit()
    if limit is not None and any(len(mail.octets) > limit for mail in mails):
        raise RefusedError(b"[TOOBIG] too big")
    uids = [box.add(mail).uid for mail in mails]
    session.account.stir()
    if session.account.has("UIDPLUS"):
        return b"[APPENDUID %d %b] done" % (box.uidvalidity or 0, as_set(uids))
    return b"done"


def _mails(words: Sequence[Word]) -> list[Mail]:
    """Each literal with the flags and the date before it."""
    mails: list[Mail] = []
    flags: tuple[str, ...] = ()
    date: datetime | None = None
    for word in words:
        if isinstance(word, list):
            flags = tuple(octets(flag).decode() for flag in word)
        elif isinstance(word, Literal):
            mails.append(Mail(bytes(word), flags, date))
            flags, date = (), None
        else:
            date = datetime.strptime(word.decode().strip(), "%d-%b-%Y %H:%M:%S %z")
    return mails
