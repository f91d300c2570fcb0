"""The POP3 engine: any cutting of the octets gives the same session."""

import random
from contextlib import suppress

import pytest

from fetchd.errors import LocalProtocolError, RemoteProtocolError
from fetchd.protocol.pop3 import (
    RULES,
    BodyChunk,
    BodyEnd,
    Event,
    Pop3Protocol,
    Reply,
    State,
    parse_listing,
)


def opened(max_body: int = 1 << 20) -> Pop3Protocol:
    protocol = Pop3Protocol(max_body)
    protocol.receive(b"+OK hello\r\n")
    protocol.send("PASS", b"x")
    protocol.receive(b"+OK\r\n")
    return protocol


def fed(protocol: Pop3Protocol, data: bytes, step: int) -> list[Event]:
    """Events, with the chunks of one body joined."""
    events: list[Event] = []
    for start in range(0, len(data), step):
        for event in protocol.receive(data[start : start + step]):
            match event, events[-1:]:
                case BodyChunk(more), [BodyChunk(before)]:
                    events[-1] = BodyChunk(before + more)
                case _:
                    events.append(event)
    return events


def stuffed(body: bytes) -> bytes:
    text = (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]
    return text + b".\r\n"


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1 << 20])
def test_bodies_of_dots_and_line_ends_survive_any_cutting(step: int) -> None:
    dice = random.Random(step)
    bodies = [
        bytes(dice.choice(b".\r\n.a") for _ in range(dice.randrange(40))) + b"\r\n"
        for _ in range(300)
    ]
    bodies.append(b"")
    protocol = opened()
    wire = b""
    for body in bodies:
        protocol.send("RETR", b"1")
        wire += b"+OK\r\n" + stuffed(body)
    protocol.send("UIDL")
    protocol.send("LIST")
    wire += b"+OK\r\n1 a\r\n2 b\n.\r\n+OK\r\n.\r\n"
    whole = fed(protocol, wire, step)
    chunks = [event.data for event in whole if isinstance(event, BodyChunk)]
    assert chunks == [body for body in bodies if body]
    assert [getattr(e, "block", None) for e in whole[-2:]] == [b"1 a\r\n2 b\n", b""]
    assert not protocol.pending


@pytest.mark.parametrize("verb", sorted(RULES))
@pytest.mark.parametrize("state", list(State))
def test_a_command_is_legal_only_where_its_row_says(verb: str, state: State) -> None:
    protocol = Pop3Protocol()
    protocol.state = state
    if state in RULES[verb].legal_in:
        assert protocol.send(verb).endswith(b"\r\n")
    else:
        with pytest.raises(LocalProtocolError):
            protocol.send(verb)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", {}),
        (b"1 a\r\n2 b\r\n", {1: b"a", 2: b"b"}),
        (b"2  b \n 1\ta\n", {2: b"b", 1: b"a"}),  # out of order, odd spaces, bare LF
        (b"1 a b\r\n", {1: b"a b"}),  # a token with a space
        (b"1 \r\n2\r\nx y\r\n3 c\r\n", {3: b"c"}),  # empty, missing, no number
        (b"1 " + b"z" * 900 + b"\r\n", {1: b"z" * 900}),
        (b"9" * 5000 + b" a\r\n", {}),
    ],
)
def test_listings_are_read_tolerantly(raw: bytes, expected: dict[int, bytes]) -> None:
    assert parse_listing(raw) == expected


def test_plaintext_behind_stls_is_an_attack() -> None:
    protocol = Pop3Protocol()
    protocol.receive(b"+OK\r\n")
    protocol.send("STLS")
    with pytest.raises(RemoteProtocolError, match="plaintext after STLS"):
        protocol.receive(b"+OK\r\n-ERR injected\r\n")


@pytest.mark.parametrize("garbage", [b"220 smtp\r\n", b"x" * 9000, b"\x16\x03\x01\n"])
def test_garbage_for_a_greeting_is_refused(garbage: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        fed(Pop3Protocol(), garbage, 100)


def test_a_body_has_a_limit_whatever_was_announced() -> None:
    protocol = opened(max_body=1000)
    protocol.send("RETR", b"1")
    with pytest.raises(RemoteProtocolError, match="1000 octets"):
        fed(protocol, b"+OK 12 octets\r\n" + b"x" * 2000, 100)


def test_secrets_do_not_show() -> None:
    protocol = Pop3Protocol()
    protocol.receive(b"+OK\r\n")
    protocol.send("PASS", b"swordfish")
    assert "swordfish" not in repr(protocol.pending) + repr(protocol)


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_was_whole_before_a_fault_is_not_lost(step: int) -> None:
    protocol = opened()
    for number in b"123":
        protocol.send("RETR", b"%c" % number)
    wire = b"+OK\r\na\r\n.\r\n-ERR no\r\ngarbage\r\n"
    events: list[Event] = []
    for start in range(0, len(wire), step):
        with suppress(RemoteProtocolError):  # in small steps it comes alone and at once
            events += protocol.receive(wire[start : start + step])
    with pytest.raises(RemoteProtocolError, match="garbage"):
        protocol.receive(b"more")
    assert sum(isinstance(event, BodyEnd) for event in events) == 1
    assert isinstance(events[-1], Reply)
    assert [command.argument for command in protocol.pending] == [b"3"]
    with pytest.raises(RemoteProtocolError, match="garbage"):
        protocol.send("QUIT")
