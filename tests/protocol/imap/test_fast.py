"""The fast path takes what is regular, and nothing that is not whole."""

import pytest

from fetchd.protocol.imap.events import BodyChunk, BodyStart, Event
from fetchd.protocol.imap.fast import read_fast
from fetchd.protocol.imap.types import Extra, Fetched

DATE = b'INTERNALDATE "17-Jul-1996 02:44:25 -0700"'


def fast(wire: bytes, max_body: int = 1 << 20) -> tuple[int, list[Event]]:
    events: list[Event] = []
    return read_fast(wire, 0, max_body, events), events


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (b"UID 7", [Fetched(1, 7)]),
        (b"", [Fetched(1)]),
        (b"UID 4294967295 FLAGS (\\Seen $x)", None),
        (b"UID 3999999999 FLAGS ()", [Fetched(1, 3_999_999_999, ())]),
        (b"FLAGS (\\Seen $x) UID 7", [Fetched(1, 7, ("\\Seen", "$x"))]),  # Cyrus
        (
            b"UID 7 " + DATE + b" RFC822.SIZE 12 MODSEQ (5)",  # Dovecot
            [Fetched(1, 7, None, 12, "17-Jul-1996 02:44:25 -0700", 5)],
        ),
        (
            b'X-GM-THRID 2 X-GM-MSGID 3 X-GM-LABELS (a "b c") UID 7',  # Gmail
            [Fetched(1, 7, extra=Extra(None, None, 3, 2, (b"a", b"b c")))],
        ),
        (
            b"EMAILID (Mx) THREADID (Ty) UID 7 BODY[] {3}\r\nabc",
            [BodyStart(1, 7, 3), BodyChunk(b"abc"), Fetched(1, 7, body=3, extra=Extra("Mx", "Ty"))],
        ),
        (
            b"BODY[] {3}\r\na)\r FLAGS (a) UID 7",  # Exchange
            [BodyStart(1, None, 3), BodyChunk(b"a)\r"), Fetched(1, 7, ("a",), body=3)],
        ),
        (b"UID 7 BODY[] {0}\r\n", [BodyStart(1, 7, 0), Fetched(1, 7, body=0)]),
        (b"UID 7 BODY[HEADER] {3}\r\na:b", [Fetched(1, 7, header=b"a:b")]),
        (b"BODY[HEADER.FIELDS (To)] {2}\r\n\r\n UID 7", [Fetched(1, 7, header=b"\r\n")]),
        (b"UID 7  FLAGS ()", None),  # a Quirk
        (b"UID 7 FLAGS (a", None),
        (b"UID 0", None),
        (b"UID 7 BODY[] NIL", None),
        (b"UID 7 ENVELOPE (NIL)", None),
        (b"UID 7 BODY[] {3}\r\nabcd", None),  # a literal of the wrong size
        (b"UID 7 BODY[] {2000000}\r\n" + b"x" * 2_000_000, None),  # above the limit
    ],
)
def test_what_is_regular(items: bytes, expected: list[Event] | None) -> None:
    wire = b"* 1 FETCH (" + items + b")\r\n"
    position, events = fast(wire + b"* 2 EXISTS\r\n")
    assert (position, events) == ((0, []) if expected is None else (len(wire), expected))


def test_what_is_not_whole_is_left() -> None:
    whole = b"* 1 FETCH (UID 7 BODY[] {3}\r\nabc)\r\n"
    for end in range(len(whole)):
        position, events = fast(whole + whole[:end])
        assert position == len(whole)
        assert len(events) == 3
