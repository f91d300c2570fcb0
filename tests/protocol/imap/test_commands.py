"""Commands as octets, and what may be sent when."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from fetchd.errors import LocalProtocolError
from fetchd.protocol.imap import commands as c
from fetchd.protocol.imap.commands import Known, Message
from fetchd.protocol.imap.rules import RULES, Command, Order
from fetchd.protocol.imap.session import ImapProtocol
from fetchd.protocol.imap.types import State
from tests.protocol.imap.sessions import greeted, logged_in, selected

NOON = datetime(2024, 2, 1, 12, 0, 0, tzinfo=timezone(-timedelta(hours=3, minutes=30)))


@pytest.mark.parametrize(
    ("command", "octets"),
    [
        (c.noop(), b"NOOP"),
        (c.identify({}), b"ID NIL"),
        (c.identify({"name": "fetchd", "version": '1"'}), b'ID ("name" "fetchd" "version" "1\\"")'),
        (c.enable(["CONDSTORE", "UTF8=ACCEPT"]), b"ENABLE CONDSTORE UTF8=ACCEPT"),
        (c.compress(), b"COMPRESS DEFLATE"),
        (c.list_mailboxes(), b'LIST "" "*"'),
        (c.list_mailboxes([b"%", b"a*"]), b'LIST "" ("%" "a*")'),
        (
            c.list_mailboxes(
                selection=["SPECIAL-USE"], returning=["CHILDREN"], status=["MESSAGES", "UIDNEXT"]
            ),
            b'LIST (SPECIAL-USE) "" "*" RETURN (CHILDREN STATUS (MESSAGES UIDNEXT))',
        ),
        (c.status(b"a b", ["MESSAGES"]), b'STATUS "a b" (MESSAGES)'),
        (c.status(b"NIL", ["MESSAGES"]), b'STATUS "NIL" (MESSAGES)'),
        (c.status(b"", ["MESSAGES"]), b'STATUS "" (MESSAGES)'),
        (c.create(b"x", ["\\Trash"]), b"CREATE x (USE (\\Trash))"),
        (c.subscribe(b'"\\'), b'SUBSCRIBE "\\"\\\\"'),
        (c.select(b"INBOX"), b"SELECT INBOX"),
        (c.examine(b"&AOk-", condstore=True), b'EXAMINE "&AOk-" (CONDSTORE)'),
        (c.select(b"x", known=Known(5, 9)), b"SELECT x (QRESYNC (5 9))"),
        (c.select(b"x", known=Known(5, 9, b"1:7")), b"SELECT x (QRESYNC (5 9 1:7))"),
        (c.fetch(b"1:3,7", ["FLAGS", "UID"]), b"UID FETCH 1:3,7 (UID FLAGS)"),
        (
            c.fetch(b"1:*", ["FLAGS"], changed_since=9, vanished=True),
            b"UID FETCH 1:* (UID FLAGS) (CHANGEDSINCE 9 VANISHED)",
        ),
        (c.search(b"ALL", returning=()), b"UID SEARCH RETURN () ALL"),
        (c.search(b"HEADER Message-ID %s", b"<a b>"), b'UID SEARCH HEADER Message-ID "<a b>"'),
        (
            c.store(b"5", "+FLAGS", ["\\Deleted", "$x"], unchanged_since=3),
            b"UID STORE 5 (UNCHANGEDSINCE 3) +FLAGS.SILENT (\\Deleted $x)",
        ),
        (c.copy(b"1", b"a b"), b'UID COPY 1 "a b"'),
        (c.move(b"1", b"Trash"), b"UID MOVE 1 Trash"),
        (c.expunge(b"1,3"), b"UID EXPUNGE 1,3"),
        (c.notify([]), b"NOTIFY NONE"),
        (
            c.notify([("selected", ["FlagChange"]), ("personal", ["MessageNew"])], status=True),
            b"NOTIFY SET STATUS (selected (FlagChange)) (personal (MessageNew))",
        ),
    ],
)
def test_a_command_is_written_as_the_standard_has_it(command: Command, octets: bytes) -> None:
    protocol = selected()
    assert protocol.send(command) == b"A3 " + octets + b"\r\n"
    assert repr(command).encode() == octets
    assert not protocol.sending


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: c.fetch(b"*", ["FLAGS"]),
        lambda: c.fetch(b"", ["FLAGS"]),
        lambda: c.fetch(b"1 ALL", ["FLAGS"]),
        lambda: c.fetch(b"1", ["FLAGS)\r\nA9 LOGOUT"]),
        lambda: c.fetch(b"1", ["FLAGS"], vanished=True),
        lambda: c.store(b"1", "FLAG", []),
        lambda: c.store(b"1", "FLAGS", ["a b"]),
        lambda: c.store(b"1", "FLAGS", [""]),
        lambda: c.select(b"a\0b"),
        lambda: c.search(b"ALL\r\n"),
        lambda: c.search(b"TEXT %s"),
        lambda: c.append(b"x", []),
        lambda: c.notify([("x\n", ["y"])]),
    ],
)
def test_what_would_break_the_line_is_refused(wrong: object) -> None:
    with pytest.raises(LocalProtocolError):
        wrong()  # type: ignore[operator]


@pytest.mark.parametrize("command", [c.login("tim", "sword"), c.authenticate("PLAIN", b"sword")])
def test_secrets_do_not_show(command: Command) -> None:
    protocol = greeted()
    assert b"sword" in protocol.send(command)
    assert "sword" not in repr(command) + repr(protocol.pending) + repr(protocol)


@pytest.mark.parametrize("verb", sorted(RULES))
@pytest.mark.parametrize("state", list(State))
def test_a_command_is_legal_only_where_its_row_says(verb: str, state: State) -> None:
    protocol = in_state(state)
    if state in RULES[verb].legal_in:
        assert protocol.send(Command(verb)).endswith(b"\r\n")
    else:
        with pytest.raises(LocalProtocolError):
            protocol.send(Command(verb))


def in_state(state: State) -> ImapProtocol:
    match state:
        case State.GREETING:
            return ImapProtocol()
        case State.NOT_AUTHENTICATED:
            return greeted()
        case State.AUTHENTICATED:
            return logged_in()
        case State.SELECTED:
            return selected()
    protocol = selected()
    protocol.receive(b"* BYE now\r\n")
    return protocol


@pytest.mark.parametrize("first", sorted(RULES))
@pytest.mark.parametrize("second", sorted(RULES))
def test_a_flight_holds_what_may_fly_together(first: str, second: str) -> None:
    protocol = greeted() if first in ("LOGIN", "AUTHENTICATE", "STARTTLS") else selected()
    protocol.send(Command(first))
    then = RULES[first].then or protocol.state
    together = (
        then in RULES[second].legal_in
        and RULES[first].order is Order.FREE
        and RULES[second].order is not Order.ALONE
        and not (RULES[second].settled and first in ("SELECT", "EXAMINE"))
    )
    if together:
        assert protocol.send(Command(second))
        assert list(protocol.pending) == [f"A{int(protocol.tag[1:]) - 1}", protocol.tag]
    else:
        with pytest.raises(LocalProtocolError):
            protocol.send(Command(second))


def test_nothing_is_deleted_before_the_mailbox_is_known_to_be_open() -> None:
    protocol = selected()
    protocol.send(c.select(b"other"))
    protocol.send(c.noop())
    with pytest.raises(LocalProtocolError, match="known to be open"):
        protocol.send(c.expunge(b"1"))
    protocol.receive(b"A3 NO gone\r\n")
    assert protocol.state is State.AUTHENTICATED
    with pytest.raises(LocalProtocolError, match="not legal"):
        protocol.send(c.expunge(b"1"))


@pytest.mark.parametrize(
    ("capabilities", "parts"),
    [
        ("", [b"{4}\r\n", b"n\xc3\xa9w ({3}\r\n"]),
        ("LITERAL+", [b"{4+}\r\n" + b"n\xc3\xa9w ({3+}\r\n"]),
        ("LITERAL-", [b"{4+}\r\n" + b"n\xc3\xa9w ({3+}\r\n"]),
    ],
)
def test_a_literal_waits_unless_the_server_waives_it(capabilities: str, parts: list[bytes]) -> None:
    protocol = logged_in(capabilities)
    name = "néw".encode()
    out = [protocol.send(c.append(name, [Message(3, ("\\Seen",), NOON), Message(2)]))]
    head = b'(\\Seen) " 1-Feb-2024 12:00:00 -0330" '
    while protocol.sending:
        if protocol.wanted == 3:
            out.append(protocol.supply(b"ab"))
            assert protocol.wanted == 1
            out.append(protocol.supply(b"c"))
        elif protocol.wanted:
            out.append(protocol.supply(b"de"))
        else:
            assert [type(event).__name__ for event in protocol.receive(b"+ go\r\n")] == ["Proceed"]
            out.append(protocol.supply())
    sign = b"+" if capabilities else b""
    assert b"".join(out) == (
        b"A2 APPEND {4%b}\r\nn\xc3\xa9w %b{3%b}\r\nabc {2%b}\r\nde\r\n" % (sign, head, sign, sign)
    )
    assert len(out) == (7 if not capabilities else 4), parts
    assert list(protocol.pending) == ["A2"]


def test_literal_minus_ends_at_4096_octets() -> None:
    protocol = logged_in("LITERAL-")
    assert protocol.send(c.append(b"x", [Message(4097)])).endswith(b"{4097}\r\n")
    protocol = logged_in("LITERAL-")
    assert protocol.send(c.append(b"x", [Message(4096)])).endswith(b"{4096+}\r\n")


def test_a_command_on_its_way_suffers_no_other_and_no_octet_too_many() -> None:
    protocol = logged_in()
    protocol.send(c.append(b"x", [Message(3, utf8=True)]))
    for wrong in (lambda: protocol.send(c.noop()), protocol.supply, lambda: protocol.supply(b"a")):
        with pytest.raises(LocalProtocolError):
            wrong()
    protocol.receive(b"+ go\r\n")
    assert protocol.supply() == b""
    with pytest.raises(LocalProtocolError, match="4 octets for APPEND, which wants 3"):
        protocol.supply(b"abcd")
    assert protocol.supply(b"abc") == b"abc)\r\n"
    assert not protocol.sending
    with pytest.raises(LocalProtocolError):
        protocol.supply(b"d")


@pytest.mark.parametrize(
    ("granted", "supplied", "owed"),
    [
        (False, b"", []),  # refused before the literal: nothing more is sent
        (True, b"a", [b"bc\r\n"]),  # within it: it is finished, and the command with it
    ],
)
def test_a_refusal_may_come_before_the_literal_has_gone(
    granted: bool, supplied: bytes, owed: list[bytes]
) -> None:
    protocol = logged_in()
    protocol.send(c.append(b"x", [Message(3), Message(5)]))
    if granted:
        protocol.receive(b"+ go\r\n")
        protocol.supply()
        protocol.supply(supplied)
    (event,) = protocol.receive(b"A2 NO [OVERQUOTA] full\r\n")
    assert event.ok is False  # type: ignore[union-attr]
    assert [protocol.supply(b"bc") for _ in range(protocol.sending)] == owed
    assert protocol.send(c.noop()) == b"A3 NOOP\r\n"


def test_dates_are_written_with_their_zone() -> None:
    command = c.append(b"x", [Message(1, date=datetime(2030, 12, 31, 23, 59, 59, tzinfo=UTC))])
    assert b'"31-Dec-2030 23:59:59 +0000"' in command.parts[0]  # type: ignore[operator]
