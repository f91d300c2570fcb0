"""Any octets give events or RemoteProtocolError, nothing else, and at linear cost."""

import sys
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetchd.errors import RemoteProtocolError
from fetchd.protocol.pop3 import RULES, BodyChunk, Event, Pop3Protocol, State, parse_listing

PIECES = st.sampled_from(
    [b"+OK", b"-ERR", b"+ ", b" ", b"\r\n", b"\n", b"\r", b".", b"..", b".\r\n", b"\r\n.\r\n",
     b"\n.\n", b"1 a", b"\0", b"\xff", b"[IN-USE]", b"x" * 300]
)  # fmt: skip
WIRE = st.lists(PIECES | st.binary(max_size=8), max_size=60).map(b"".join)
FLIGHT = st.lists(st.sampled_from(["STAT", "LIST", "UIDL", "RETR", "TOP", "DELE"]), max_size=8)


@settings(max_examples=300, deadline=None)
@given(wire=WIRE, flight=FLIGHT, cuts=st.lists(st.integers(1, 40), max_size=30))
def test_any_octets_in_any_cutting_give_the_same_events_or_the_same_fault(
    wire: bytes, flight: list[str], cuts: list[int]
) -> None:
    assert outcome(wire, flight, [len(wire) or 1]) == outcome(wire, flight, cuts or [1])


def outcome(wire: bytes, flight: list[str], cuts: list[int]) -> tuple[list[Event], str]:
    protocol = Pop3Protocol()
    protocol.state = State.TRANSACTION
    for verb in flight:
        protocol.send(verb, b"1" if RULES[verb].shape.name == "BODY" else b"")
    events: list[Event] = []
    position, turn = 0, 0
    try:
        while position < len(wire):
            piece = wire[position : position + cuts[turn % len(cuts)]]
            position, turn = position + len(piece), turn + 1
            for event in protocol.receive(piece):
                match event, events[-1:]:
                    case BodyChunk(more), [BodyChunk(before)]:
                        events[-1] = BodyChunk(before + more)
                    case _:
                        events.append(event)
        if protocol.fault is not None:
            raise protocol.fault
    except RemoteProtocolError as fault:
        return events, str(fault).partition(":")[0]
    return events, ""


@settings(max_examples=200, deadline=None)
@given(wire=WIRE)
def test_any_octets_are_a_listing(wire: bytes) -> None:
    assert all(number >= 0 and value for number, value in parse_listing(wire).items())


@pytest.mark.parametrize(
    ("verb", "unit"),
    [
        ("RETR", b"\r\n"), ("RETR", b"."), ("RETR", b"\r\n.x"), ("RETR", b"\r"),
        ("UIDL", b"\n"), ("UIDL", b"1 a\r\n"), ("UIDL", b"\n.x"), ("UIDL", b" "),
    ],
)  # fmt: skip
def test_twice_the_octets_take_twice_the_steps(verb: str, unit: bytes) -> None:
    """Counted in calls of Python and C functions and in octets copied, not in seconds."""

    def feed(size: int) -> Callable[[], None]:
        def run() -> None:
            protocol = Pop3Protocol()
            protocol.state = State.TRANSACTION
            protocol.send(verb, b"1" if verb == "RETR" else b"")
            protocol.receive(b"+OK\r\n")
            wire = unit * (size // len(unit))
            for start in range(0, len(wire), 64):
                protocol.receive(wire[start : start + 64])
                longest.append(len(protocol._rest))

        return run

    longest: list[int] = []
    small, large = steps(feed(20_000)), steps(feed(40_000))
    assert large < 2.2 * small
    assert max(longest) <= 8, "nothing but a possible end waits to be looked at again"


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
