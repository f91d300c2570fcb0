"""Any octets give events or RemoteProtocolError, nothing else, at linear cost; SMTP's part."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetchd.errors import RemoteProtocolError
from fetchd.protocol.smtp import (
    DATA,
    RSET,
    Command,
    Event,
    SmtpProtocol,
    bdat,
    mail,
    rcpt,
)
from fetchd.protocol.smtp_replies import Features, Reply
from tests.protocol.test_fuzz import steps

PIECES = st.sampled_from(
    [b"250 ", b"250-", b"354 go\r\n", b"334 ", b"421 ", b"550 5.1.1 ", b"220 x\r\n", b"\r\n",
     b"\n", b"\r", b" ", b"2.1.0", b"\0", b"\xff", b"250", b"x" * 300, b"250 ok\r\n"]
)  # fmt: skip
WIRE = st.lists(PIECES | st.binary(max_size=8), max_size=60).map(b"".join)
FLIGHTS = [
    [],
    [RSET],
    [mail(""), rcpt("a"), rcpt("b"), DATA],
    [mail(""), rcpt("a"), rcpt("b"), bdat(b"x", last=False), bdat(b"", last=True)],
    [Command("AUTH", b"LOGIN")],
    [Command("STARTTLS")],
    [Command("QUIT")],
]


@settings(max_examples=300, deadline=None)
@given(
    wire=WIRE, flight=st.sampled_from(FLIGHTS), lmtp=st.booleans(),
    cuts=st.lists(st.integers(1, 40), max_size=30),
)  # fmt: skip
def test_any_octets_in_any_cutting_give_the_same_events_or_the_same_fault(
    wire: bytes, flight: list[Command], lmtp: bool, cuts: list[int]
) -> None:
    whole, pieces = outcome(wire, flight, lmtp, [len(wire) or 1]), outcome(wire, flight, lmtp, cuts)
    if flight == [Command("STARTTLS")]:
        # What comes behind it alone is found by the stream, before its handshake.
        assert pieces[0][: len(whole[0])] == whole[0]
    else:
        assert whole == pieces


def outcome(
    wire: bytes, flight: list[Command], lmtp: bool, cuts: list[int]
) -> tuple[list[Event], str]:
    protocol = SmtpProtocol(lmtp=lmtp)
    protocol.receive(b"220 x\r\n")
    protocol.send(Command("LHLO" if lmtp else "EHLO", b"me"))
    protocol.receive(b"250 x\r\n")
    for command in flight:
        protocol.send(command)
    events: list[Event] = []
    position, turn = 0, 0
    try:
        while position < len(wire):
            piece = wire[position : position + (cuts or [1])[turn % len(cuts or [1])]]
            position, turn = position + len(piece), turn + 1
            events += protocol.receive(piece)
        if protocol.fault is not None:
            raise protocol.fault
    except RemoteProtocolError as fault:
        return events, str(fault).partition(":")[0]
    return events, ""


@settings(max_examples=200, deadline=None)
@given(lines=st.lists(st.text(max_size=40), max_size=10), code=st.integers(200, 599))
def test_any_lines_are_features_and_a_text(lines: list[str], code: int) -> None:
    reply = Reply(code, tuple(lines))
    features = Features.of(reply)
    assert features.size >= 0
    assert all(name == name.upper() for name in features.keywords)
    assert str(reply).startswith(str(code))
    assert not set(str(reply)) & {"\r", "\n", "\t"}


@pytest.mark.parametrize("unit", [b"250-x\r\n", b"250-" + b"x" * 500 + b"\r\n", b"250 ok\r\n"])
def test_twice_the_octets_take_twice_the_steps(unit: bytes) -> None:
    def feed(count: int) -> Callable[[], None]:
        def run() -> None:
            protocol = SmtpProtocol()
            protocol.receive(b"220 x\r\n")
            protocol.send(Command("EHLO", b"me"))
            protocol.receive(b"250 x\r\n")
            for _ in range(count):
                protocol.send(RSET)
            wire = unit * count
            for start in range(0, len(wire), 64):
                protocol.receive(wire[start : start + 64])

        return run

    small, large = steps(feed(60)), steps(feed(120))
    assert large < 2.3 * small
