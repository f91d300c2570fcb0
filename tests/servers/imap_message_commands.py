"""The scripted IMAP server's right answers about messages: FETCH, STORE, COPY, EXPUNGE, …

Each function answers one command: it says the untagged lines and returns what
follows "OK". A ValueError becomes BAD, a RefusedError NO. RFC 9051 §6.4; ENVELOPE,
BODYSTRUCTURE and BINARY are not served.
"""

import re
from collections.abc import Sequence

from tests.servers.imap_boxes import Box, Message
from tests.servers.imap_session import RefusedError, Session, flag_list
from tests.servers.imap_words import Word, as_set, listed, octets, ranges, within
from tests.servers.mail import Mail, imap_date, quoted
from tests.servers.scripted import Part

_BODY = re.compile(rb"BODY(\.PEEK)?\[([^\]]*)\](?:<(\d+)\.(\d+)>)?", re.IGNORECASE)
_FAST = (b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE")


# -- FETCH ---------------------------------------------------------------------------


async def fetch(session: Session, arguments: Sequence[Word], *, by_uid: bool) -> bytes:
    """FETCH and UID FETCH, with RFC 7162's modifiers."""
    rows = session.chosen(octets(arguments[0]), by_uid=by_uid)
    items = _items(arguments[1], by_uid=by_uid)
    if len(arguments) > 2:
        rows = await _changed(session, rows, listed(arguments[2]), octets(arguments[0]))
        items += [b"MODSEQ"] if b"MODSEQ" not in items else []
    session.condstore |= b"MODSEQ" in items
    refused = [m.uid for _n, m in rows if m.uid in session.sins.refused and _wants_body(items)]
    for number, message in rows:
        if message.uid not in refused:
            await _say_message(session, number, message, items)
    if refused:
        raise RefusedError(b"[SERVERBUG] some messages could not be fetched")
    return b"done"


def _items(word: Word, *, by_uid: bool) -> list[bytes]:
    """The items in the client's order, macros written out; UID first where it must come."""
    given = [octets(one) for one in (word if isinstance(word, list) else [word])]
    items = [one if one[:4].upper() == b"BODY" else one.upper() for one in given]
    items = list(_FAST) if items == [b"FAST"] else items
    return [b"UID", *items] if by_uid and b"UID" not in items else items


def _wants_body(items: Sequence[bytes]) -> bool:
    return any(_whole(item) for item in items)


def _whole(item: bytes) -> bool:
    found = _BODY.fullmatch(item)
    return item == b"RFC822" or (found is not None and not found[2])


async def _changed(
    session: Session, rows: list[tuple[int, Message]], modifiers: Sequence[Word], numbers: bytes
) -> list[tuple[int, Message]]:
    """CHANGEDSINCE and VANISHED."""
    words = [octets(word).upper() for word in modifiers]
    since = int(words[words.index(b"CHANGEDSINCE") + 1])
    session.condstore = True
    if b"VANISHED" in words:
        pairs = ranges(numbers, session.box.uidnext)
        known = session.box.vanished
        gone = [uid for uid, modseq in known if modseq > since and within(uid, pairs)]
        said = b",".join(filter(None, (as_set(gone), session.sins.vanished_besides)))
        if said:
            await session.line(b"* VANISHED (EARLIER) " + said)
    return [(number, message) for number, message in rows if message.modseq > since]


async def _say_message(
    session: Session, number: int, message: Message, items: Sequence[bytes]
) -> None:
    lacking = session.sins.lacking.get(message.uid, ())
    parts: list[Part] = [b"* %d FETCH (" % number]
    for item in items:
        if re.split(rb"[.\[]", item)[0].decode().upper() not in lacking:
            between = b" " if len(parts) > 1 else b""
            parts += [between, *_value(session, message, item)]
    await session.line(*parts, b")")
    if b"FLAGS" in items:
        session.told[message.uid] = frozenset(message.flags)


def _value(session: Session, message: Message, item: bytes) -> list[Part]:
    match item:
        case b"UID":
            return [b"UID %d" % message.uid]
        case b"FLAGS":
            return [b"FLAGS " + flag_list(message.flags)]
        case b"INTERNALDATE":
            return [b"INTERNALDATE " + imap_date(message.date)]
        case b"RFC822.SIZE":
            size = session.sins.sizes.get(message.uid, len(message.octets))
            return [b"RFC822.SIZE %d" % size]
        case b"MODSEQ":
            return [b"MODSEQ (%b)" % session.modseq(message.modseq)]
        case b"EMAILID" if session.account.has("OBJECTID"):
            return [b"EMAILID (M%d)" % message.identity]
        case b"THREADID" if session.account.has("OBJECTID"):
            return [b"THREADID NIL"]
        case b"X-GM-MSGID" | b"X-GM-THRID" if session.account.has("X-GM-EXT-1"):
            return [b"%b %d" % (item, message.identity)]
        case b"X-GM-LABELS" if session.account.has("X-GM-EXT-1"):
            labels = map(quoted, session.account.labels(message))
            return [b"X-GM-LABELS (%b)" % b" ".join(labels)]
    return _body(session, message, item)


def _body(session: Session, message: Message, item: bytes) -> list[Part]:
    old = {b"RFC822": b"BODY[]", b"RFC822.HEADER": b"BODY.PEEK[HEADER]"}.get(item, item)
    found = _BODY.fullmatch(old)
    if found is None:
        raise ValueError("no such item")
    if not found[1] and not session.read_only:
        session.box.flag(message, message.flags | {"\\Seen"})  # as it must be: BODY is not PEEK
    name = item if old != item else b"BODY[%b]" % found[2]
    if found[3]:
        name += b"<%b>" % found[3]
    if _whole(item) and (sin := session.sins.bodies.get(message.uid)) is not None:
        return [name, b" ", *(sin if isinstance(sin, list) else [sin])]
    octets_ = _section(message.octets, found[2].upper())
    if found[3]:
        octets_ = octets_[int(found[3]) :][: int(found[4])]
    return [b"%b {%d}\r\n" % (name, len(octets_)), octets_]


def _section(message: bytes, section: bytes) -> bytes:
    head, gap, body = message.partition(b"\r\n\r\n")
    if section in (b"", b"TEXT"):
        return body if section else message
    if section == b"HEADER":
        return head + gap
    found = re.fullmatch(rb"HEADER\.FIELDS(\.NOT)? \(([^)]*)\)", section)
    if found is None:
        raise ValueError("no such section")
    names = found[2].split()
    fields = re.findall(rb"[^\r\n]+(?:\r\n[ \t][^\r\n]*)*", head)
    chosen = [f for f in fields if (f.partition(b":")[0].upper() in names) != bool(found[1])]
    return b"".join(field + b"\r\n" for field in chosen) + b"\r\n"


# -- STORE, COPY, MOVE, EXPUNGE ------------------------------------------------------


async def store(session: Session, arguments: Sequence[Word], *, by_uid: bool) -> bytes:
    """STORE and UID STORE, with UNCHANGEDSINCE."""
    numbers, rest = octets(arguments[0]), list(arguments[1:])
    unchanged = int(octets(listed(rest.pop(0))[1])) if isinstance(rest[0], list) else None
    session.condstore |= unchanged is not None
    _writable(session)
    verb = octets(rest[0]).upper()
    given = rest[1] if isinstance(rest[1], list) else rest[1:]
    flags = {octets(flag).decode() for flag in given}
    modified = []
    for number, message in session.chosen(numbers, by_uid=by_uid):
        if unchanged is not None and message.modseq > unchanged:
            modified.append(message.uid if by_uid else number)
            continue
        session.box.flag(message, _combined(verb, message.flags, flags))
        if b".SILENT" not in verb:
            await session.tell_flags(number, message)
        session.told[message.uid] = frozenset(message.flags)
    session.account.stir()
    return b"[MODIFIED %b] done" % as_set(modified) if modified else b"done"


def _combined(verb: bytes, before: set[str], given: set[str]) -> set[str]:
    if verb.startswith(b"+"):
        return before | given
    return before - given if verb.startswith(b"-") else given


async def copy(session: Session, arguments: Sequence[Word], *, by_uid: bool) -> bytes:
    """COPY and UID COPY."""
    rows = session.chosen(octets(arguments[0]), by_uid=by_uid)
    code = _copied(session, rows, _target(session, arguments[1]))
    if session.sins.untagged_copyuid and code:
        await session.line(b"* OK %bcopied" % code)
        return b"done"
    return code + b"done"


async def move(session: Session, arguments: Sequence[Word], *, by_uid: bool) -> bytes:
    """MOVE and UID MOVE: COPYUID comes untagged, RFC 6851 §4.3."""
    _writable(session)
    rows = session.chosen(octets(arguments[0]), by_uid=by_uid)
    code = _copied(session, rows, _target(session, arguments[1]))
    if code:
        await session.line(b"* OK %bmoved" % code)
    session.box.remove({message.uid for _number, message in rows})
    session.account.stir()
    return b"done"


def _target(session: Session, name: Word) -> Box:
    box = session.account.boxes.get(session.wire(octets(name)))
    if box is None:
        raise RefusedError(b"[TRYCREATE] no such mailbox")
    return box


def _copied(session: Session, rows: Sequence[tuple[int, Message]], box: Box) -> bytes:
    """Put copies there; the response code where UIDPLUS is offered."""
    mails = [(m.uid, Mail(m.octets, tuple(m.flags), m.date)) for _n, m in rows]
    pairs = [(uid, box.add(mail).uid) for uid, mail in mails]
    session.account.stir()
    if not pairs or not session.account.has("UIDPLUS"):
        return b""
    old, new = (as_set(uids) for uids in zip(*pairs, strict=True))
    return b"[COPYUID %d %b %b] " % (box.uidvalidity or 0, old, new)


async def expunge(session: Session, _arguments: Sequence[Word]) -> bytes:
    """EXPUNGE: everybody's \\Deleted."""
    return _expunged(session, [m for m in session.box.messages if "\\Deleted" in m.flags])


async def uid_expunge(session: Session, arguments: Sequence[Word]) -> bytes:
    """UID EXPUNGE, RFC 4315."""
    rows = session.chosen(octets(arguments[0]), by_uid=True)
    return _expunged(session, [m for _n, m in rows if "\\Deleted" in m.flags])


def _expunged(session: Session, messages: Sequence[Message]) -> bytes:
    _writable(session)
    session.box.remove({m.uid for m in messages})
    session.account.stir()
    return b"done"


def _writable(session: Session) -> None:
    if session.read_only:
        raise RefusedError(b"[READ-ONLY] the mailbox is open for reading only")
