"""Any octets give events or RemoteProtocolError, in any cutting, by either way, at linear cost."""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetchd.errors import RemoteProtocolError
from fetchd.protocol.imap import commands as c
from fetchd.protocol.imap import session
from fetchd.protocol.imap.events import Event
from fetchd.protocol.imap.session import ImapProtocol
from tests.protocol.imap.playing import TRANSCRIPTS, joined, octets, turns
from tests.protocol.imap.sessions import selected

PIECES = st.sampled_from(
    [b"* ", b"1 ", b"FETCH (", b"UID 7", b"FLAGS (", b"\\Seen", b"BODY[]", b"BODY[HEADER]", b"abc",
     b" {3}\r\n", b")", b"(", b" ", b"\r\n", b"\n", b"NIL", b'"', b"\\", b"{0}\r\n", b"LIST",
     b"~{2+}\r\nxy", b"STATUS", b"SEARCH", b"ESEARCH", b"VANISHED", b"OK", b"[", b"]", b"BYE",
     b"COPYUID 1 2 3", b"A3 OK x\r\n", b"+ ", b"\0", b"\xff", b"EXISTS", b"MODSEQ (9)", b"<0>",
     b'INTERNALDATE "17-Jul-1996 02:44:25 -0700"', b"RFC822.SIZE 5", b"X-GM-LABELS (",
     b"EMAILID (x)", b"4294967296", b"-1", b"x" * 80]
)  # fmt: skip
ITEMS = st.sampled_from(
    [b"UID 7", b"UID 4294967295", b"UID 0", b"FLAGS ()", b"FLAGS (\\Seen $a)", b"FLAGS (a  b)",
     b'INTERNALDATE "17-Jul-1996 02:44:25 -0700"', b'INTERNALDATE "never"', b"RFC822.SIZE 5",
     b"RFC822.SIZE 99999999999999999999", b"MODSEQ (9)", b"MODSEQ (9223372036854775808)",
     b"X-GM-MSGID 18446744073709551615", b"X-GM-MSGID 5", b"X-GM-THRID 6", b"X-GM-LABELS ()",
     b'X-GM-LABELS (\\Inbox "\\\\Sent" "a b" "" NIL)', b"EMAILID (x)", b"THREADID NIL",
     b"THREADID (y)", b"BODY[] {3}\r\nabc", b"BODY[] {0}\r\n", b"BODY[HEADER] {3}\r\na:b", b"uid 8",
     b"BODY[HEADER.FIELDS (To X-Y)] {2}\r\n\r\n", b"BODY[] NIL", b'BODY[] ""', b"X-NEW (1 (2))"]
)  # fmt: skip
FETCH = st.lists(ITEMS, max_size=6).map(lambda items: b"* 1 FETCH (%b)\r\n" % b" ".join(items))
WIRE = st.lists(PIECES | st.binary(max_size=4), max_size=50).map(b"".join)
CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@settings(max_examples=400, deadline=None)
@given(wire=WIRE | st.lists(FETCH | WIRE, max_size=4).map(b"".join), cuts=CUTS)
def test_any_octets_in_any_cutting_by_either_way_end_alike(wire: bytes, cuts: list[int]) -> None:
    whole = outcome(wire, [len(wire) or 1])
    assert outcome(wire, cuts) == whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "read_fast", lambda _data, position, _max_body, _events: position)
        assert outcome(wire, [len(wire) or 1]) == whole


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_a_damaged_transcript_ends_alike_however_it_is_cut(path: Path) -> None:
    dice = random.Random(path.stem)
    said = [octets(line) + b"\r\n" * (who == "S") for who, line in turns(path) if who in "Ss"]
    untagged = [line for line in said if not line.startswith((b"A", b"+"))]
    for _ in range(150):
        start = dice.randrange(len(untagged))
        wire = bytearray(b"".join(untagged[start : start + 6]))
        for _ in range(dice.randrange(4)):
            at = dice.randrange(len(wire))
            wire[at : at + dice.choice((0, 1, 5))] = dice.choice(
                [b"", b"(", b")", b'"', b"\r\n", b"{9}\r\n", b"\0", b" ", b"NIL", b"\\", b"9"]
            )
        damaged = bytes(wire)
        assert outcome(damaged, [len(damaged)]) == outcome(damaged, [dice.randrange(1, 9)])


def outcome(wire: bytes, cuts: list[int]) -> tuple[list[Event], str, object]:
    """Events, fault and quirks of a session in which these octets come."""
    protocol = selected()
    protocol.send(c.fetch(b"1:9", ["BODY.PEEK[]"]))
    events: list[Event] = []
    position, turn = 0, 0
    try:
        while position < len(wire):
            piece = wire[position : position + cuts[turn % len(cuts)]]
            position, turn = position + len(piece), turn + 1
            events += protocol.receive(piece)
        if protocol.fault is not None:
            raise protocol.fault
    except RemoteProtocolError as fault:
        return joined(events), str(fault), protocol.quirks
    return joined(events), "", protocol.quirks


@pytest.mark.parametrize(
    ("start", "unit", "step"),
    [
        (b"", b"* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n", 1),
        (b"", b"* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n", 1),
        (b"", b"* 1 FETCH (BODY[] {3}\r\nabc X-NEW (1 (2 3)) UID 1)\r\n", 64),
        (b"* 1 FETCH (BODY[] {9999999}\r\n", b"abc", 1),
        (b"* 1 FETCH (BODY[HEADER] {9999999}\r\n", b"abc", 1),
        (b"* 1 FETCH (X (", b" BODY[] {1}\r\na", 64),
        (b"* 1 FETCH (FLAGS (", b"\\Seen ", 64),
        (b"* SEARCH", b" 1", 1),
        (b"* LIST () ", b"(", 64),
        (b"* STATUS ", b" ", 64),
        (b"* OK [", b"a", 64),
        (b"", b"* OK [\r\n", 7),
        (b"", b"\n", 7),
    ],
)  # fmt: skip
def test_twice_the_octets_take_twice_the_steps(start: bytes, unit: bytes, step: int) -> None:
    """Counted in calls of Python and C functions, not in seconds."""

    def feed(size: int) -> Callable[[], None]:
        def run() -> None:
            protocol = selected()
            wire = start + unit * (size // len(unit))
            for at in range(0, len(wire), step):
                protocol.receive(wire[at : at + step])

        return run

    small, large = steps(feed(8_000)), steps(feed(16_000))
    assert large < 2.2 * small


@pytest.mark.parametrize(
    ("start", "unit", "end"),
    [
        (b"* OK ", b"[", b"\r\n"),
        (b"* OK [A ", b'"', b"\r\n"),
        (b"* OK [", b"A", b"\r\n"),
        (b"* STATUS x (", b"(", b"\r\n"),
        (b"* STATUS x", b" ", b"\r\n"),
        (b"* LIST () NIL ", b'"', b"\r\n"),
        (b"* LIST () NIL x", b" ", b"\r\n"),
        (b"* 1 FETCH (X ", b"(", b"\r\n"),
        (b"* 1 FETCH (FLAGS (", b"a ", b"\r\n"),
        (b"* 1 FETCH (FLAGS (", b"a ", b"))\r\n"),
        (b"* 1 FETCH (X-GM-LABELS (", b'"a" ', b"\r\n"),
        (b"* 1 FETCH (X-GM-LABELS (", b'"', b"\r\n"),
        (b"* 1 FETCH (", b"UID 1 ", b"\r\n"),
        (b"* 1 FETCH (BODY[", b'"', b"\r\n"),
        (b"* SEARCH", b" ", b"x\r\n"),
        (b"* CAPABILITY", b" LITERAL +", b"\r\n"),
        (b"* VANISHED ", b"1,", b"\r\n"),
        (b"* NAMESPACE ", b"((NIL NIL))", b"\r\n"),
        (b"", b" ", b"\r\n"),
    ],
)
def test_no_pattern_looks_twice_at_a_long_response(start: bytes, unit: bytes, end: bytes) -> None:
    """300,000 octets of what patterns stumble over: a quadratic one would never return."""
    protocol = selected()
    protocol.receive(start + unit * (300_000 // len(unit)) + end)
    assert protocol._cutter.idle


def steps(run: Callable[[], None]) -> int:
    """How many function calls `run` makes."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def test_memory_does_not_grow_with_a_body() -> None:
    protocol: ImapProtocol = selected()
    protocol.receive(b"* 1 FETCH (UID 1 BODY[] {50000000}\r\n")
    for _ in range(50):
        protocol.receive(b"x" * 1_000_000)
    assert len(protocol._cutter._held) < 100
