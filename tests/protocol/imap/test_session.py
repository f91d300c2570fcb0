"""The IMAP engine: order, limits, faults, and what a line in between must not do."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest

from fetchd.errors import LocalProtocolError, RemoteProtocolError
from fetchd.protocol.imap import commands as c
from fetchd.protocol.imap.events import (
    BodyChunk,
    BodyStart,
    Challenge,
    Completed,
    Event,
    Idling,
    Unreadable,
)
from fetchd.protocol.imap.session import MAX_UNREADABLE, ImapProtocol
from fetchd.protocol.imap.types import Bye, Exists, Fetched, Quirk, State
from tests.protocol.imap.playing import joined
from tests.protocol.imap.sessions import greeted, logged_in, selected


def kinds(events: Sequence[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


# -- Login and capabilities ------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"220 smtp\r\n",
        b"+OK pop3\r\n",
        b"\r\n",
        b"* NO\r\n",
        b"* OKAY\r\n",
        b"A1 OK\r\n",
        b"x" * 70_000,
        b"\x16\x03\x01\n",
        b"",
    ],
)
def test_what_does_not_greet_is_no_imap_server(garbage: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ImapProtocol().receive(garbage)


def test_plaintext_behind_starttls_is_an_attack() -> None:
    protocol = greeted("STARTTLS")
    protocol.send(c.starttls())
    with pytest.raises(RemoteProtocolError, match="plaintext after STARTTLS"):
        protocol.receive(b"A1 OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")
    with pytest.raises(RemoteProtocolError, match="plaintext after STARTTLS"):
        protocol.send(c.login("tim", "secret"))


def test_capabilities_from_before_tls_are_forgotten() -> None:
    protocol = greeted("AUTH=PLAIN")
    protocol.send(c.starttls())
    assert kinds(protocol.receive(b"A1 OK begin\r\n")) == ["Completed"]
    assert protocol.capabilities is None


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        (b"A1 OK in\r\n", None),
        (b"A1 OK [CAPABILITY IMAP4rev1 IDLE] in\r\n", {"IMAP4REV1", "IDLE"}),
        (b"* CAPABILITY IMAP4rev1 MOVE\r\nA1 OK in\r\n", {"IMAP4REV1", "MOVE"}),
        (b"A1 NO [AUTHENTICATIONFAILED] no\r\n", {"IMAP4REV1", "AUTH=PLAIN"}),
    ],
)
def test_capabilities_after_the_login_are_those_sent_with_it(
    answer: bytes, known: set[str] | None
) -> None:
    protocol = greeted("AUTH=PLAIN")
    protocol.send(c.login("tim", "secret"))
    protocol.receive(answer)
    assert protocol.capabilities == known
    assert (protocol.state is State.AUTHENTICATED) == (b"A1 OK" in answer)


def test_a_refused_login_may_be_tried_again() -> None:
    protocol = greeted()
    protocol.send(c.login("tim", "wrong"))
    protocol.receive(b"A1 NO [AUTHENTICATIONFAILED] no\r\n")
    assert protocol.send(c.login("tim", "right"))


def test_turns_are_taken_in_turn() -> None:
    protocol = greeted()
    protocol.send(c.authenticate("LOGIN"))
    with pytest.raises(LocalProtocolError):
        protocol.respond(b"dGlt")
    assert protocol.receive(b"+ VXNlcm5hbWU6\r\n") == [Challenge("A1", b"VXNlcm5hbWU6")]
    with pytest.raises(LocalProtocolError):
        protocol.done()
    assert protocol.respond(b"dGlt") == b"dGlt\r\n"
    with pytest.raises(LocalProtocolError):
        protocol.respond(b"dGlt")
    protocol.receive(b"+ UGFzc3dvcmQ6\r\n")
    with pytest.raises(LocalProtocolError, match="line break"):
        protocol.respond(b"c2Vj\r\nA2 LOGOUT")


def test_a_fault_before_the_login_withholds_every_event() -> None:
    protocol = greeted("AUTH=PLAIN")
    protocol.send(c.capability())
    with pytest.raises(RemoteProtocolError):
        protocol.receive(b"* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nA1 OK\r\ngarbage\r\n")


# -- Flights --------------------------------------------------------------------------------


def test_answers_find_their_commands_in_any_order() -> None:
    protocol = selected()
    for uid in (b"1", b"2", b"3"):
        protocol.send(c.fetch(uid, ["FLAGS"]))
    events = protocol.receive(b"A4 OK b\r\nA5 NO c\r\nA3 BAD a\r\n")
    assert [(event.tag, event.outcome) for event in events if isinstance(event, Completed)] == [
        ("A4", "OK"),
        ("A5", "NO"),
        ("A3", "BAD"),
    ]
    assert not protocol.pending


def test_a_mailbox_is_closed_by_a_select_that_fails_in_flight() -> None:
    protocol = selected()
    protocol.send(c.select(b"other"))
    protocol.send(c.fetch(b"1", ["FLAGS"]))
    protocol.send(c.examine(b"third"))
    protocol.send(c.fetch(b"1", ["FLAGS"]))
    protocol.receive(b"A3 NO none\r\nA4 BAD no mailbox\r\n")
    assert protocol.state is State.AUTHENTICATED
    assert protocol.send(c.fetch(b"2", ["FLAGS"])), "EXAMINE is still to come"
    protocol.receive(b"A5 OK [READ-ONLY] third\r\n")
    assert protocol.state is State.SELECTED


@pytest.mark.parametrize("answer", [b"A9 OK what\r\n", b"A3 WHAT\r\n", b"A3\r\n"])
def test_an_answer_that_answers_nothing_ends_the_session(answer: bytes) -> None:
    protocol = selected()
    protocol.send(c.noop())
    with pytest.raises(RemoteProtocolError):
        protocol.receive(answer)


def test_idle_is_ended_by_done_alone() -> None:
    protocol = selected()
    protocol.send(c.idle())
    with pytest.raises(LocalProtocolError):
        protocol.done()
    assert protocol.receive(b"+ idling\r\n* 5 EXISTS\r\n") == [Idling("A3"), Exists(5)]
    with pytest.raises(LocalProtocolError):
        protocol.send(c.noop())
    assert protocol.done() == b"DONE\r\n"
    protocol.receive(b"A3 OK\r\n")
    with pytest.raises(LocalProtocolError):
        protocol.done()
    assert protocol.send(c.noop())


def test_what_stands_behind_the_ok_to_compress_is_handed_out() -> None:
    protocol = selected()
    protocol.send(c.compress())
    assert kinds(protocol.receive(b"* 1 EXISTS\r\nA3 OK on\r\n* 9 EXISTS\r\nxyz")) == [
        "Exists",
        "Completed",
    ]
    for wrong in (lambda: protocol.receive(b"abc"), lambda: protocol.send(c.noop())):
        with pytest.raises(LocalProtocolError):
            wrong()
    assert protocol.take_rest() == b"* 9 EXISTS\r\nxyz"
    assert protocol.receive(b"* 9 EXISTS\r\n") == [Exists(9)]
    with pytest.raises(LocalProtocolError):
        protocol.take_rest()


def test_a_refused_compress_changes_nothing() -> None:
    protocol = selected()
    protocol.send(c.compress())
    assert kinds(protocol.receive(b"A3 NO no\r\n* 9 EXISTS\r\n")) == ["Completed", "Exists"]


# -- The end ---------------------------------------------------------------------------------


def test_after_bye_nothing_is_sent_and_the_end_is_no_fault() -> None:
    protocol = selected()
    protocol.send(c.select(b"other"))
    events = protocol.receive(b"* BYE [UNAVAILABLE] x\r\n* BYE x\r\nA3 OK\r\n* BYE x\r\n")
    assert kinds(events) == ["Bye", "Completed"]
    assert protocol.quirks[Quirk.BYE_REPEATED] == 2
    assert protocol.state is State.LOGOUT
    assert protocol.receive(b"") == []
    with pytest.raises(LocalProtocolError):
        protocol.send(c.logout())


def test_a_greeting_may_be_a_farewell() -> None:
    protocol = ImapProtocol()
    (event,) = protocol.receive(b"* BYE [UNAVAILABLE] too many\r\n")
    assert isinstance(event, Bye)
    assert protocol.state is State.LOGOUT


def test_after_logout_nothing_is_worth_hearing() -> None:
    protocol = selected()
    protocol.send(c.logout())
    assert kinds(protocol.receive(b"* BYE bye\r\nA3 OK bye\r\ngarbage")) == ["Bye", "Completed"]
    assert protocol.receive(b"garbage") == []
    assert protocol.receive(b"") == []


def test_hanging_up_without_a_word_is_a_fault() -> None:
    protocol = selected()
    protocol.send(c.noop())
    with pytest.raises(RemoteProtocolError, match="1 answers outstanding"):
        protocol.receive(b"")


# -- Bodies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_was_whole_before_a_fault_is_not_lost(step: int) -> None:
    protocol = selected()
    protocol.send(c.fetch(b"1:3", ["BODY.PEEK[]"]))
    wire = (
        b"* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n"
        b"* 2 FETCH (UID 2 BODY[] {3}\r\nabcdef)\r\n"
        b"* 3 FETCH (UID 3 BODY[] {3}\r\nabc)\r\n"
    )
    events: list[Event] = []
    for start in range(0, len(wire), step):
        with suppress(RemoteProtocolError):  # in small steps it comes alone and at once
            events += protocol.receive(wire[start : start + step])
    assert kinds(joined(events)) == ["BodyStart", "BodyChunk", "Fetched", "BodyStart", "BodyChunk"]
    with pytest.raises(RemoteProtocolError, match="another size than said"):
        protocol.send(c.noop())


def test_a_message_in_a_message_is_no_response() -> None:
    """Octets behind a literal of the wrong size are never taken for the server's words."""
    protocol = selected()
    wire = b"* 1 FETCH (BODY[] {2}\r\nab)\r\n* 2 FETCH (UID 9 BODY[] {1}\r\nx)\r\nrest)\r\n"
    assert kinds(protocol.receive(wire.replace(b"{2}\r\nab)", b"{2}\r\nab c)"))) == [
        "BodyStart",
        "BodyChunk",
    ]
    assert protocol.fault is not None


@pytest.mark.parametrize(
    ("item", "body"),
    [
        (b"BODY[] {3}\r\nabc", b"abc"),
        (b"body[] {3+}\r\nabc", b"abc"),
        (b"BINARY[] ~{3}\r\n\0bc", b"\0bc"),
        (b"RFC822 {3}\r\nabc", b"abc"),
        (b'BODY[] "a\\"c"', b'a"c'),
        (b'BODY[] ""', b""),
        (b"BODY[] {0}\r\n", b""),
        (b"BODY[] NIL", None),
        (b"FLAGS ()", None),
        (b'X-NEW ("BODY[] {3}" (a (b))) BODY[] {3}\r\nabc', b"abc"),
        (b"BODY[HEADER] {5}\r\na: b\n BODY[] {3}\r\nabc", b"abc"),
        (b'ENVELOPE (") :-)" (NIL "(")) BODY[] {3}\r\nabc', b"abc"),
    ],
)
@pytest.mark.parametrize("late", [b"", b" UID 7"])
def test_a_body_comes_in_any_dress(item: bytes, body: bytes | None, late: bytes) -> None:
    early = b"" if late else b"UID 7 "
    for step in (1, 3, 1 << 16):
        protocol = selected()
        wire = b"* 1 FETCH (" + early + item + late + b")\r\n"
        events = joined(
            event
            for at in range(0, len(wire), step)
            for event in protocol.receive(wire[at : at + step])
        )
        (fetched,) = [event for event in events if isinstance(event, Fetched)]
        assert events[-1] == fetched
        assert (fetched.uid, fetched.body) == (7, None if body is None else len(body))
        chunks = [event.data for event in events if isinstance(event, BodyChunk)]
        assert b"".join(chunks) == (body or b"")
        starts = [event for event in events if isinstance(event, BodyStart)]
        assert [start.size for start in starts] == ([] if body is None else [len(body)])
        assert all(start.uid == 7 or (late and start.uid is None) for start in starts)


def test_octets_of_a_body_do_not_wait_for_its_end() -> None:
    protocol = selected()
    assert protocol.receive(b"* 1 FETCH (UID 7 BODY[] {1000000000}\r\nab") == [
        BodyStart(1, 7, 1_000_000_000),
        BodyChunk(b"ab"),
    ]
    for _ in range(100):
        assert protocol.receive(b"c") == [BodyChunk(b"c")]


def test_a_literal_that_is_no_message_is_no_body() -> None:
    protocol = selected()
    wire = b"* 1 FETCH (X (BODY[] {3}\r\nabc) UID 4)\r\n* OK BODY[] {3}\r\n* 1 EXISTS\r\n"
    assert kinds(protocol.receive(wire)) == ["Fetched", "Status", "Exists"]


# -- Limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wire",
    [
        lambda: b"* 1 FETCH (BODY[] {4294967296}\r\n",
        lambda: b"* 1 FETCH (BODY[] {%d}\r\n" % (10**19),
        lambda: b"* 1 FETCH (BODY[HEADER] {4294967296}\r\n",
        lambda: b'* LIST () "/" {99999999999}\r\n',
        lambda: b"* SEARCH" + b" 1" * 25_000_000,
        lambda: b"* 1 FETCH (X (" + b"{1}\r\na " * 10_001,
        lambda: b"* 1 FETCH (X (" + b"{8000000}\r\n" + b"a" * 8_000_000 + b" {9000000}\r\n",
        lambda: b"garbage\r\n" * (MAX_UNREADABLE + 1),
        lambda: b"{1}\r\n" * (MAX_UNREADABLE + 1),
    ],
    ids=["4G", "20 digits", "header", "name", "50 MB line", "literals", "gathered", "lines", "{1}"],
)
def test_what_has_no_end_is_refused(wire: Callable[[], bytes]) -> None:
    protocol = selected(max_body=1 << 30)
    data = wire()
    with suppress(RemoteProtocolError):
        for at in range(0, len(data), 1 << 18):
            protocol.receive(data[at : at + (1 << 18)])
    assert protocol.fault is not None
    assert len(protocol._cutter._held) <= 17 << 20


@pytest.mark.parametrize("inside", [b"", b'"a" '])
def test_parentheses_have_a_depth(inside: bytes) -> None:
    protocol = selected()
    wire = b"* 1 FETCH (X " + b"(" * 10_000 + inside + b")" * 10_000 + b" UID 1)\r\n* 1 EXISTS\r\n"
    events = protocol.receive(wire)
    assert kinds(events) == ["Unreadable", "Exists"]
    assert "more than 1000 deep" in events[0].complaint  # type: ignore[union-attr]


def test_what_makes_no_sense_is_skipped_whole_and_refused_by_the_strict() -> None:
    wire = b"* 1 FETCH ((* 1 EXISTS)\r\n* 2 EXISTS\r\n"
    assert kinds(selected().receive(wire)) == ["Unreadable", "Exists"]
    with pytest.raises(RemoteProtocolError):
        selected(strict=True).receive(wire)


def test_a_list_of_a_million_is_no_endless_line() -> None:
    protocol = logged_in()
    (event,) = protocol.receive(b"* VANISHED (EARLIER) " + b"1,3," * 999_999 + b"5\r\n")
    assert not isinstance(event, Unreadable)
