"""What single responses mean: codes, dates, odd items."""

import pytest

from fetchd.protocol.imap.events import Event, Unreadable
from fetchd.protocol.imap.sequence import UidSet
from fetchd.protocol.imap.status import read_status
from fetchd.protocol.imap.types import (
    AppendUid,
    CodeValue,
    CopyUid,
    Fetched,
    Other,
    Quirk,
)
from tests.protocol.imap.sessions import selected


@pytest.mark.parametrize(
    ("octets", "name", "value", "text"),
    [
        (b"[UIDNEXT 5] x", "UIDNEXT", 5, "x"),
        (b"[uidnext  5 ] x", "UIDNEXT", 5, "x"),
        (b"[UIDNEXT five] x", "UIDNEXT", None, "x"),
        (b"[UIDNEXT] x", "UIDNEXT", None, "x"),
        (b"[UIDVALIDITY 4294967296] x", "UIDVALIDITY", None, "x"),
        (b"[HIGHESTMODSEQ 9223372036854775808] x", "HIGHESTMODSEQ", None, "x"),
        (b"[PERMANENTFLAGS (a \\*)] x", "PERMANENTFLAGS", ("a", "\\*"), "x"),
        (b"[PERMANENTFLAGS a] x", "PERMANENTFLAGS", None, "x"),
        (b"[MAILBOXID (F1)] x", "MAILBOXID", "F1", "x"),
        (b"[MODIFIED 7,9] x", "MODIFIED", UidSet(((7, 7), (9, 9))), "x"),
        (b"[APPENDUID 3 9:7] x", "APPENDUID", AppendUid(3, UidSet(((7, 9),))), "x"),
        (b"[APPENDUID 3] x", "APPENDUID", None, "x"),
        (
            b"[COPYUID 3 304,319 5,4] x",  # paired in this order
            "COPYUID",
            CopyUid(3, UidSet(((304, 304), (319, 319))), UidSet(((5, 5), (4, 4)))),
            "x",
        ),
        (b"[COPYUID 3 1:3 1:2] x", "COPYUID", None, "x"),  # pairs nothing with nothing
        (b"[COPYUID 3 1:4294967295 1:*] x", "COPYUID", None, "x"),
        (b"[THROTTLED] Slow [down]", "THROTTLED", None, "Slow [down]"),
        (b'[X "a]b" c] x', "X", None, "x"),
        (b'[X "a] x', "X", None, "x"),
        (b"[half a code", None, None, "[half a code"),
        (b"\xff [x]", None, None, "\\xff [x]"),
    ],
)
def test_codes(octets: bytes, name: str | None, value: CodeValue, text: str) -> None:
    quirks: list[Quirk] = []
    code, said = read_status(b" " + octets + b"\r\n", quirks.append)
    assert (code.name if code else None, code.value if code else None, said) == (name, value, text)


def fetched(items: bytes) -> Fetched:
    (event,) = selected().receive(b"* 1 FETCH (" + items + b")\r\n")
    assert isinstance(event, Fetched)
    return event


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        (b'"17-Jul-1996 02:44:25 -0730"', "1996-07-17T02:44:25-07:30"),
        (b'" 1-Feb-2024 00:00:00 +0545"', "2024-02-01T00:00:00+05:45"),
        (b'"1-Feb-2024 00:00:00 +0000"', "2024-02-01T00:00:00+00:00"),
        (b'"31-Dec-2016 23:59:60 +0000"', "2016-12-31T23:59:59+00:00"),  # a leap second
        (b'"31-Feb-2024 00:00:00 +0000"', None),
        (b'"01-Feb-0000 00:00:00 +0000"', None),
        (b'"01-Feb-2024 29:00:00 +0000"', None),
        (b'"01-Feb-2024 00:00:00"', None),
        (b'"01-Foo-2024 00:00:00 +0000"', None),
        (b'"2024-02-01T00:00:00Z"', None),
        (b'""', None),
        (b"NIL", None),
    ],
)
def test_internal_dates(date: bytes, moment: str | None) -> None:
    found = fetched(b"INTERNALDATE " + date + b" UID 5")
    assert found.uid == 5
    when = found.internal_date
    assert (when.isoformat() if when else None) == moment


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (b'FLAGS ("\\\\Seen" a)', Fetched(1, flags=("\\Seen", "a"))),
        (b"UID 99999999999 FLAGS ()", Fetched(1, flags=())),
        (b"UID x7 FLAGS ()", Fetched(1, flags=())),
        (b"RFC822.SIZE 12.5 UID 3", Fetched(1, 3)),
        (b"RFC822.HEADER {4}\r\na: b UID 3", Fetched(1, 3, header=b"a: b")),
        (b'BODY[HEADER.FIELDS ("TO" CC)] "" UID 3', Fetched(1, 3, header=b"")),
        (b"BODY[1.2.MIME] {2}\r\n() UID 3", Fetched(1, 3)),
        (b"BODY[HEADER] NIL UID 3", Fetched(1, 3)),
        (b"UID 3 UID 4", Fetched(1, 4)),
    ],
)
def test_odd_items(items: bytes, expected: Fetched) -> None:
    assert fetched(items) == expected


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"* 99999999999 EXISTS", Unreadable),
        (b"* 5 EXISTS 6", Unreadable),
        (b"* 5 LIKES", Other),
        (b"* LIST (\\A) /", Unreadable),
        (b'* LIST "/" x', Unreadable),
        (b"* STATUS x MESSAGES 5", Unreadable),
        (b"* SEARCH 1 two 3", Unreadable),
        (b"* VANISHED 1:*", Unreadable),
        (b"* VANISHED (LATER) 1", Unreadable),
        (b"* FLAGS a b", Unreadable),
        (b"* ID (a)", Unreadable),
        (b"* NAMESPACE (x)", Unreadable),
        (b"*", Unreadable),
        (b"* ", Unreadable),
        (b"*5 EXISTS 5 ?", Unreadable),
    ],
)
def test_what_is_no_such_response(line: bytes, kind: type[Event]) -> None:
    (event,) = selected().receive(line + b"\r\n")
    assert type(event) is kind
