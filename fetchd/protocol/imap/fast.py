"""FETCH responses of regular shape, read by one pattern over the buffer: the hot path.

Regular is what Dovecot, Cyrus, Courier, Gmail and Exchange say when nothing is
odd: known items in any order, one space between them, at most one literal, which
is the message or its header and wholly there. `read_fast` takes as many of these
as come in a row and leaves the first other thing to fragments.py and fetch.py,
which must make the same events of everything that is taken here (a test plays
the transcripts both ways). Whatever is a Quirk must not match.
"""

import re

from fetchd.protocol.imap.dates import DATE
from fetchd.protocol.imap.events import BodyChunk, BodyStart, Event
from fetchd.protocol.imap.fetch import known_flags, known_labels
from fetchd.protocol.imap.types import NO_EXTRA, Extra, Fetched

_ATOM = rb'[^\x00-\x20\x7f-\xff(){}"]'
_FLAGS = rb"(?:%b++(?: %b++)*+)?+" % (_ATOM, _ATOM)
_LABEL = rb'(?:"(?:[^"\\\r\n\x00\x80-\xff]|\\[\\"])*+"|%b++)' % _ATOM
_OBJECT = rb"\(([A-Za-z0-9_-]{1,255})\)"

# Numbers so short that no limit need be looked at.
_ITEM = (
    rb"(?>UID ([1-3][0-9]{9}|[1-9][0-9]{0,8})(?![0-9])"
    rb"|FLAGS \((%b)\)"
    rb'|INTERNALDATE "(%b)"'
    rb"|RFC822\.SIZE ([0-9]{1,19})(?![0-9])"
    rb"|MODSEQ \(([0-9]{1,18})\)"
    rb"|X-GM-MSGID ([0-9]{1,19})(?![0-9])"
    rb"|X-GM-THRID ([0-9]{1,19})(?![0-9])"
    rb"|X-GM-LABELS \(((?:%b(?: %b)*+)?+)\)"
    rb"|EMAILID %b"
    rb"|THREADID %b)"
) % (_FLAGS, DATE, _LABEL, _LABEL, _OBJECT, _OBJECT)

_HEAD = re.compile(
    rb"\* ([1-9][0-9]{0,8}) FETCH \((?:%b(?: (?=[A-Z])|(?=\))))*+"
    rb"(?:\)\r\n|(BODY\[(?:HEADER(?:\.FIELDS \([A-Za-z0-9 -]*+\))?+)?+\]) \{([0-9]{1,9})\}\r\n)"
    % _ITEM
)
_TAIL = re.compile(rb"(?: %b)*+\)\r\n" % _ITEM)


def read_fast(data: bytes, position: int, max_body: int, events: list[Event]) -> int:
    """Events of the regular responses from `position` on; gives where the next other thing is."""
    head, size, add = _HEAD.match, len(data), events.append
    while (found := head(data, position)) is not None:
        number, uid, flags, date, octets, modseq, *rare, section, length = found.groups()
        end = found.end()
        if section is None:
            add(_fetched(number, uid, flags, date, octets, modseq, rare, None, None))
            position = end
            continue
        begin, end = end, end + int(length)
        if end + 3 > size:
            break
        early = uid
        if data.startswith(b")\r\n", end):
            behind = end + 3
        elif (tail := _TAIL.match(data, end)) is not None:
            late = tail.groups()
            uid, flags, date, octets, modseq = (
                value if value is not None else earlier
                for value, earlier in zip(late[:5], (uid, flags, date, octets, modseq), strict=True)
            )
            rare = [
                new if new is not None else old for new, old in zip(late[5:], rare, strict=True)
            ]
            behind = tail.end()
        else:
            break
        if section != b"BODY[]":
            header = data[begin:end]
            add(_fetched(number, uid, flags, date, octets, modseq, rare, header, None))
        elif end - begin > max_body:
            break
        else:
            add(BodyStart(int(number), None if early is None else int(early), end - begin))
            if end > begin:
                add(BodyChunk(data[begin:end]))
            add(_fetched(number, uid, flags, date, octets, modseq, rare, None, end - begin))
        position = behind
    return position


def _fetched(
    number: bytes,
    uid: bytes | None,
    flags: bytes | None,
    date: bytes | None,
    size: bytes | None,
    modseq: bytes | None,
    rare: list[bytes | None],
    header: bytes | None,
    body: int | None,
) -> Fetched:
    return Fetched(
        int(number),
        None if uid is None else int(uid),
        None if flags is None else known_flags(flags),
        None if size is None else int(size),
        None if date is None else date.decode(),
        None if modseq is None else int(modseq),
        header,
        body,
        NO_EXTRA if rare.count(None) == len(rare) else _extra(*rare),
    )


def _extra(
    message: bytes | None,
    thread: bytes | None,
    labels: bytes | None,
    email_id: bytes | None,
    thread_id: bytes | None,
) -> Extra:
    return Extra(
        None if email_id is None else email_id.decode(),
        None if thread_id is None else thread_id.decode(),
        None if message is None else int(message),
        None if thread is None else int(thread),
        None if labels is None else known_labels(labels),
    )
