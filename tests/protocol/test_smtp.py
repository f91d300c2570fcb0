"""SMTP without I/O: replies, what the server offers, commands that nothing can be smuggled into."""

from collections.abc import Callable

import pytest

from fetchd.errors import LocalProtocolError, RemoteProtocolError
from fetchd.protocol.smtp import (
    DATA,
    RSET,
    RULES,
    Answer,
    Command,
    SmtpProtocol,
    State,
    bdat,
    mail,
    rcpt,
)
from fetchd.protocol.smtp_replies import (
    MAX_LINE,
    MAX_LINES,
    MAX_REPLY,
    Features,
    Reply,
    ReplyReader,
)


def ready(*, lmtp: bool = False) -> SmtpProtocol:
    protocol = SmtpProtocol(lmtp=lmtp)
    protocol.receive(b"220 hello\r\n")
    protocol.send(Command("LHLO" if lmtp else "EHLO", b"me"))
    protocol.receive(b"250 hello\r\n")
    return protocol


def in_data(*recipients: str, lmtp: bool = False) -> SmtpProtocol:
    protocol = ready(lmtp=lmtp)
    for command in (mail(""), *map(rcpt, recipients), DATA):
        protocol.send(command)
    protocol.receive(b"250 ok\r\n" * (1 + len(recipients)) + b"354 go on\r\n")
    return protocol


# -- Replies ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "shown", "enhanced"),
    [
        (b"250 2.1.0 Ok\r\n", "250 2.1.0 Ok", "2.1.0"),
        (b"250\r\n", "250", ""),                                             # no text
        (b"250 \r\n", "250", ""),
        (b"250-\n250 x\n", "250 x", ""),                                     # bare LF
        (b"550-5.1.1 no\r\n550-5.1.1 such\r\n550 5.1.1 x\r\n", "550 5.1.1 no such x", "5.1.1"),
        (b"550-5.1.1 no\r\n550 such user\r\n", "550 5.1.1 no such user", "5.1.1"),
        (b"550 4.7.1 greylisted\r\n", "550 4.7.1 greylisted", ""),           # of another class
        (b"250 2.0.0.1 x\r\n", "250 2.0.0.1 x", ""),
        (b"250 5 apples\r\n", "250 5 apples", ""),
        (b"451 4.7.0\r\n", "451 4.7.0", "4.7.0"),
        ("250 größe".encode() + b" \xff\r\n", "250 größe \\xff", ""),
        (b"250 a\t b  c\r\n", "250 a b c", ""),
    ],
)  # fmt: skip
def test_a_reply_is_read_with_lenience(wire: bytes, shown: str, enhanced: str) -> None:
    (reply,) = ReplyReader().feed(wire)
    assert (str(reply), reply.enhanced) == (shown, enhanced)


@pytest.mark.parametrize(
    ("wire", "complaint"),
    [
        (b"250-a\r\n550 b\r\n", "a reply that says 250 and 550"),
        (b"550-a\r\n250 b\r\n", "a reply that says 550 and 250"),
        (b"hello\r\n", "not an SMTP reply"),
        (b"\r\n", "empty line"),
        (b"25\r\n", "not an SMTP reply"),
        (b"2500 x\r\n", "not an SMTP reply"),
        (b"199 x\r\n", "not an SMTP reply"),
        (b"600 x\r\n", "not an SMTP reply"),
        (b"250_x\r\n", "not an SMTP reply"),
        (b"+OK pop\r\n", "not an SMTP reply"),
        (b"250 " + b"x" * MAX_LINE, "endless line"),
        (b"250-x\r\n" * (MAX_LINES + 1), "endless reply"),
        ((b"250-" + b"x" * 8000 + b"\r\n") * (MAX_REPLY // 8000 + 1), "endless reply"),
    ],
)
def test_what_is_no_reply_is_refused(wire: bytes, complaint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        list(ReplyReader().feed(wire))


def test_the_longest_line_and_the_longest_reply_are_read() -> None:
    reader = ReplyReader()
    (reply,) = reader.feed(b"250-x\r\n" * (MAX_LINES - 1) + b"250 " + b"y" * 8000 + b"\r\n")
    assert len(reply.lines) == MAX_LINES
    assert not reader.halfway


def test_features_are_what_follows_the_greeting() -> None:
    said = ("mx greets AUTH FAKE", "size 1000", "AUTH=LOGIN", "AUTH PLAIN LOGIN", "8BITMIME",
            "SMTPUTF8", "PIPELINING", "CHUNKING", "-odd", "", "XFOO a b")  # fmt: skip
    found = Features.of(Reply(250, said))
    assert found.size == 1000
    assert found.mechanisms == ("LOGIN", "PLAIN")
    assert found.eight_bit and found.utf8 and found.pipelining and found.chunking  # noqa: PT018
    assert found.keywords["XFOO"] == "a b"
    assert "STARTTLS" not in found
    assert Features().keywords == {}


@pytest.mark.parametrize(
    ("said", "size"), [("SIZE", 0), ("SIZE 0", 0), ("SIZE x", 0), ("SIZE 35882577", 35882577)]
)
def test_a_size_without_a_number_is_no_limit(said: str, size: int) -> None:
    assert Features.of(Reply(250, ("mx", said))).size == size


# -- Commands ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "utf8"),
    [
        ("bob@example.org", False), ("bob", False), ("bob+tag=a@example.org", False),
        ('"a b"@example.org', False), ('"a\\"b<>"@example.org', False), ("a@[192.0.2.1]", False),
        ("a@[IPv6:2001:db8::1]", False), ("SRS0=HHH=TT=x.org=me@fwd.org", False),
        ("jürgen@bücher.example", True), ("a@" + "b" * 248 + ".org", False),
    ],
)  # fmt: skip
def test_an_address_goes_out_as_it_is(address: str, utf8: bool) -> None:
    octets = address.encode()
    assert mail(address, utf8=utf8).argument.startswith(b"FROM:<" + octets + b">")
    assert rcpt(address, utf8=utf8).argument == b"TO:<" + octets + b">"


@pytest.mark.parametrize(
    "address",
    [
        "", "a@x>\r\nRCPT TO:<b@y", "a@x\r\n", "a@x\n", "a@x\0", "a@x> SIZE=1", "a b@x", "<a@x>",
        "a@x>", '"a\r\n"@x', '"a"b"@x', "@x", "a@", "a@x@y", "a..b@x", ".a@x", "a@x,b@y",
        "@relay:a@x", "a@[1.2.3.4", "a@[1 2]", "a\x7f@x", "a\ud800@x", "a@" + "b" * 253, "a;b@x",
        "a\tb@x", '"a\\\r"@x',
    ],
)  # fmt: skip
@pytest.mark.parametrize("utf8", [False, True])
def test_what_could_end_a_command_is_no_address(address: str, utf8: bool) -> None:
    with pytest.raises(LocalProtocolError, match="is no address"):
        rcpt(address, utf8=utf8)
    if address:  # nobody is a sender
        with pytest.raises(LocalProtocolError, match="is no address"):
            mail(address, utf8=utf8)


def test_letters_beyond_ascii_need_smtputf8() -> None:
    with pytest.raises(LocalProtocolError, match="without SMTPUTF8"):
        rcpt("jürgen@example.org")


def test_mail_says_what_the_message_is_like() -> None:
    command = mail("ä@x", size=12, eight_bit=True, utf8=True)
    assert command.argument == "FROM:<ä@x> SIZE=12 BODY=8BITMIME SMTPUTF8".encode()
    assert mail("").argument == b"FROM:<>"


@pytest.mark.parametrize("verb", sorted(RULES))
@pytest.mark.parametrize("state", list(State))
def test_a_command_is_legal_only_where_its_row_says(verb: str, state: State) -> None:
    protocol = SmtpProtocol(lmtp=verb == "LHLO")
    protocol.state = state
    protocol.transaction = verb in ("RCPT", "DATA", "BDAT")
    if state in RULES[verb].legal_in:
        assert protocol.send(Command(verb)) == verb.encode() + b"\r\n"
    else:
        with pytest.raises(LocalProtocolError, match=f"{verb} is not legal in {state.name}"):
            protocol.send(Command(verb))


@pytest.mark.parametrize(
    ("before", "then"),
    [
        ([], rcpt("a@x")), ([], DATA), ([], bdat(b"", last=True)), ([mail("")], mail("")),
        ([mail(""), bdat(b"", last=True)], bdat(b"", last=True)), ([mail(""), RSET], DATA),
        ([mail(""), DATA], RSET), ([RSET], Command("STARTTLS")), ([RSET], Command("AUTH", b"X")),
        ([Command("QUIT")], RSET), ([], Command("LHLO", b"me")), ([RSET], Command("EHLO", b"me")),
    ],
)  # fmt: skip
def test_commands_have_their_order(before: list[Command], then: Command) -> None:
    protocol = ready()
    for command in before:
        protocol.send(command)
    with pytest.raises(LocalProtocolError):
        protocol.send(then)


@pytest.mark.parametrize("argument", [b"a\r\nMAIL FROM:<x>", b"a\nb", b"a\rb", b"a\0b"])
def test_no_argument_ends_its_command(argument: bytes) -> None:
    for verb in ("AUTH", "RSET", "EHLO"):
        with pytest.raises(LocalProtocolError, match="line break or NUL"):
            ready().send(Command(verb, argument))
    protocol = ready()
    protocol.send(Command("AUTH", b"LOGIN"))
    with pytest.raises(LocalProtocolError, match="line break or NUL"):
        protocol.respond(argument)


def test_secrets_do_not_show() -> None:
    protocol = ready()
    protocol.send(Command("AUTH", b"PLAIN c3dvcmRmaXNo"))
    assert "c3dvcmRmaXNo" not in repr(protocol.pending) + repr(protocol)
    assert repr(protocol.pending[0]) == "AUTH ***"


# -- Answers -------------------------------------------------------------------------


def test_plaintext_behind_starttls_is_an_attack() -> None:
    for injected in (b"250 injected\r\n", b"25", b"\n"):
        protocol = ready()
        protocol.send(Command("STARTTLS"))
        with pytest.raises(RemoteProtocolError, match=r"plaintext after STARTTLS|not an SMTP"):
            protocol.receive(b"220 go\r\n" + injected)


def test_nothing_that_was_offered_before_starttls_is_believed_behind_it() -> None:
    protocol = SmtpProtocol()
    protocol.receive(b"220 x\r\n")
    protocol.send(Command("EHLO", b"me"))
    protocol.receive(b"250-x\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n")
    protocol.send(Command("STARTTLS"))
    protocol.receive(b"220 go\r\n")
    assert not protocol.features.keywords
    with pytest.raises(LocalProtocolError, match="not legal in HELLO"):
        protocol.send(Command("AUTH", b"PLAIN"))


@pytest.mark.parametrize(
    ("begun", "wire", "complaint"),
    [
        (ready, b"250 ok\r\n", "reply without a command"),
        (ready, b"354 go on\r\n", "reply without a command"),
        (lambda: in_data("a@x"), b"250 ok\r\n", "reply without a command"),  # before our end
        (SmtpProtocol, b"354 go on\r\n", "reply without a command"),
    ],
)  # fmt: skip
def test_a_reply_to_nothing_is_a_fault(
    begun: Callable[[], SmtpProtocol], wire: bytes, complaint: str
) -> None:
    with pytest.raises(RemoteProtocolError, match=complaint):
        begun().receive(wire)


@pytest.mark.parametrize(
    ("command", "wire"),
    [
        (DATA, b"250 taken\r\n"), (DATA, b"334 x\r\n"), (bdat(b"", last=True), b"354 go on\r\n"),
        (rcpt("a@x"), b"354 go on\r\n"), (RSET, b"334 x\r\n"),
    ],
)  # fmt: skip
def test_an_answer_of_another_kind_is_a_fault(command: Command, wire: bytes) -> None:
    protocol = ready()
    protocol.send(mail(""))
    protocol.receive(b"250 ok\r\n")
    protocol.send(command)
    with pytest.raises(RemoteProtocolError, match=f"no answer to {command.verb}"):
        protocol.receive(wire)


def test_lmtp_answers_for_each_recipient_that_was_accepted() -> None:
    protocol = ready(lmtp=True)
    for command in (mail(""), rcpt("a"), rcpt("b"), rcpt("c"), bdat(b"x", last=True)):
        protocol.send(command)
    events = protocol.receive(b"250 1\r\n250 a\r\n550 b\r\n250 c\r\n250 A\r\n")
    assert len(protocol.pending) == 1, "C is owed"
    events += protocol.receive(b"452 C\r\n")
    answers = [(one.recipient, str(one.reply)) for one in events if isinstance(one, Answer)]
    assert answers[-2:] == [("a", "250 A"), ("c", "452 C")]
    assert not protocol.pending


def test_who_was_accepted_before_rset_is_owed_nothing() -> None:
    protocol = ready(lmtp=True)
    for command in (mail(""), rcpt("a"), DATA):
        protocol.send(command)
    protocol.receive(b"250 ok\r\n250 a\r\n452 no\r\n")
    for command in (RSET, mail(""), rcpt("b"), bdat(b"", last=True)):
        protocol.send(command)
    events = protocol.receive(b"250 ok\r\n250 ok\r\n250 b\r\n250 B\r\n")
    assert [one.recipient for one in events if isinstance(one, Answer)][-1] == "b"
    assert not protocol.pending


def test_a_message_for_nobody_is_not_ended_over_lmtp() -> None:
    with pytest.raises(LocalProtocolError, match="for nobody"):
        in_data(lmtp=True).end_data()
    in_data().end_data()


def test_421_ends_all_and_names_whom_it_is_about() -> None:
    protocol = in_data("a", "b", lmtp=True)
    protocol.end_data()
    (event,) = protocol.receive(b"421 bye\r\n250 a\r\n")
    assert event == Answer(Command("."), Reply(421, ("bye",)), "a")
    assert protocol.closed
    assert not protocol.pending
    assert protocol.receive(b"250 more\r\n") == []


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_was_whole_before_a_fault_is_not_lost(step: int) -> None:
    protocol = in_data("a", "b", lmtp=True)
    protocol.end_data()
    events = []
    wire = b"250 a\r\ngarbage\r\n"
    with pytest.raises(RemoteProtocolError, match="garbage"):  # noqa: PT012
        for start in range(0, len(wire), step):
            events += protocol.receive(wire[start : start + step])
        protocol.receive(b"more")
    assert [event.recipient for event in events] == ["a"]
    with pytest.raises(RemoteProtocolError, match="garbage"):
        protocol.send(RSET)


def test_a_refused_chunk_wants_rset_and_a_refused_dot_does_not() -> None:
    protocol = in_data("a")
    protocol.end_data()
    protocol.receive(b"550 no\r\n")
    assert not protocol.transaction
    protocol.send(mail(""))
    protocol.send(bdat(b"", last=True))
    protocol.receive(b"250 ok\r\n503 no\r\n")
    assert protocol.transaction


def test_a_hang_up_says_what_is_owed() -> None:
    protocol = ready()
    protocol.send(RSET)
    with pytest.raises(RemoteProtocolError, match="with 1 replies outstanding"):
        protocol.receive(b"")
