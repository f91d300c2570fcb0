"""A message sent inside another one: what is in it, and what strangers cannot put there."""

import email
import email.policy
import hashlib
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetchd.destinations.letter_octets import canonical
from fetchd.errors import DeliveryRefused
from tests.corpus import realistic
from tests.destinations.letters import (
    EIGHT_BIT,
    EVERYTHING,
    SEVEN_BIT,
    TRACE,
    is_canonical,
    letter,
    lmtp,
    sent,
    smtp,
)

ATTACH = smtp(mode="attach")
BY_ALICE = (
    b"Return-Path: <bounce@example.net>\r\nFrom: Alice <alice@example.net>\r\n"
    b"To: me@example.org\r\nSubject: Greetings\r\nDate: Mon, 2 Nov 2026 11:00:00 +0100\r\n"
    b"\r\nText.\r\n"
)


def parsed(octets: bytes) -> EmailMessage:
    return email.message_from_bytes(octets, policy=email.policy.default)


def inside(octets: bytes) -> bytes:
    """The attached original, by a reader that knows nothing of MIME but boundaries."""
    boundary = parsed(octets).get_boundary()
    assert boundary is not None
    delimiter = b"\r\n--" + boundary.encode()
    assert octets.count(b"--" + boundary.encode()) == 3
    part = octets.split(delimiter)[2]
    return part.partition(b"\r\n\r\n")[2]


def in_file(octets: bytes) -> bytes:
    part = next(iter(parsed(octets).iter_attachments()))
    assert part.get_content_type() == "application/octet-stream"
    assert part["Content-Transfer-Encoding"] == "base64"
    assert part.get_filename() == "original.eml"
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    return part.get_content()


def test_the_new_message_says_whose_it_is() -> None:
    octets = sent(BY_ALICE, ATTACH)
    message = parsed(octets)
    assert octets.startswith(TRACE + b'From: "Alice via fetchd" <me@example.org>\r\n')
    assert {name: str(message[name]) for name in message} == {
        "X-Fetchd-Trace": "home; to=ca8b22d0db83; id=key-1",
        "From": "Alice via fetchd <me@example.org>",
        "To": "me@example.org",
        "Reply-To": "alice@example.net",
        "Subject": "Fwd: Greetings",
        "Date": "Mon, 02 Nov 2026 12:00:00 +0000",
        "Message-ID": "<key-1.ca8b22d0db83@example.org>",
        "Auto-Submitted": "auto-generated",
        "MIME-Version": "1.0",
        "Content-Type": str(message["Content-Type"]),
        "Content-Transfer-Encoding": "7bit",
    }
    note, original = message.iter_parts()
    assert note.get_content().splitlines()[2:] == [
        "From: Alice <alice@example.net>",
        "To: me@example.org",
        "Date: Mon, 2 Nov 2026 11:00:00 +0100",
        "Subject: Greetings",
    ]
    assert original.get_content_type() == "message/rfc822"
    assert original.get_content()["Subject"] == "Greetings"
    assert not any(part.defects for part in message.walk())


def test_the_original_is_inside_octet_for_octet() -> None:
    messages = [m for m in realistic(200, total=2_000_000) if b"\0" not in m]
    assert len(messages) > 150
    for message in messages:
        octets = sent(message, ATTACH)
        original = message if is_canonical(message) else b"".join(canonical([message]))
        assert hashlib.sha256(inside(octets)).digest() == hashlib.sha256(original).digest()
        encoding = parsed(octets)["Content-Transfer-Encoding"]
        assert encoding == ("7bit" if message.isascii() else "8bit")


@given(st.binary(max_size=400))
@example(b"Bcc: x\r\n")
@example(b"")
def test_any_octets_come_out_of_the_file_as_they_went_in(message: bytes) -> None:
    octets = sent(b"\0" + message, ATTACH)
    assert octets.isascii()
    assert in_file(octets) == b"\0" + message


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 113, 114, (1 << 20) + 5, 3 * (1 << 20)])
def test_the_size_of_a_file_is_exact(size: int) -> None:
    message = b"\r\n" + b"\xe4" * size
    assert in_file(sent(message + b"\0", ATTACH)) == message + b"\0"


@pytest.mark.parametrize(
    ("message", "changes", "receiver", "reason"),
    [
        (b"A: 1\r\n\r\n\0\r\n", {}, EVERYTHING, "NUL"),
        (b"A: 1\r\n\r\n\0\r\n", {"bare_newlines": "defer", "eight_bit": "defer"}, SEVEN_BIT, "NUL"),
        (b"A: 1\r\n\r\n\xe4\r\n", {}, SEVEN_BIT, "7-bit"),
        (b"A: \xc3\xa4\r\n\r\nx\r\n", {}, SEVEN_BIT, "7-bit"),
        (b"A: 1\r\n\r\nx\ny\r\n", {"bare_newlines": "attach"}, EVERYTHING, "line ends"),
        (b"A: 1\r\n\r\nx\ry", {"bare_newlines": "attach"}, EVERYTHING, "line ends"),
    ],
)
@pytest.mark.parametrize("kind", [smtp, lmtp])
@pytest.mark.parametrize("mode", ["redirect", "attach"])
def test_what_smtp_cannot_carry_is_a_file(
    message: bytes, changes, receiver, reason: str, kind, mode: str
) -> None:
    octets = sent(
        message, kind(**changes) if kind is lmtp else smtp(mode=mode, **changes), receiver
    )
    assert octets.startswith(TRACE)
    assert octets.isascii()
    assert in_file(octets) == message
    assert reason in next(parsed(octets).iter_parts()).get_content()


def test_eight_bits_stay_where_the_server_takes_them() -> None:
    message = "Subject: ü\r\n\r\nä\r\n".encode()
    for receiver in (EVERYTHING, EIGHT_BIT):
        assert inside(sent(message, ATTACH, receiver)) == message
    assert not letter(message, ATTACH, EIGHT_BIT).utf8


def test_nobody_sees_a_bcc() -> None:
    for gap in (b"\r\n", b"\n", b"\r"):
        message = b"A: 1%sBcc: hidden@example.net,%s\tanother@example.net%sB: 2" % ((gap,) * 3)
        for tail in (b"", b"\0"):
            for settings in (ATTACH, smtp(mode="attach", bare_newlines="attach")):
                octets = sent(message + tail, settings)
                text = (
                    in_file(octets)
                    if b'original.eml"\r\nContent-Transfer-Encoding: base64' in octets
                    else octets
                )
                assert b"hidden" not in text
                assert b"another" not in text
                assert b"B: 2" in text


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\r", b"\n\r", b"\r\r\n\r\r\n"])
def test_a_body_may_speak_of_a_bcc(end: bytes) -> None:
    message = b"A: 1" + end + b"Bcc: x\r\0"
    assert in_file(sent(message, ATTACH)) == message


def test_a_user_of_a_local_agent_gets_a_file_as_well() -> None:
    octets = sent(b"A: \0\r\n", lmtp(recipients=["alice"]))
    message = parsed(octets)
    assert str(message["From"]) == "fetchd <alice@localhost>"
    assert str(message["To"]) == "alice"
    assert str(message["Message-ID"]) == "<key-1.ca8b22d0db83@localhost>"


HOSTILE = [
    b"x\r\n\tBcc: victim@example.net",
    b"=?utf-8?q?x=0D=0ABcc:_victim@example.net=0D=0A=0D=0Abody?=",
    b"=?utf-8?b?%b?=" % b"eA0KQmNjOiB2aWN0aW1AZXhhbXBsZS5uZXQ=",
    b"=?utf-8?q?=22_=3Cvictim=40example.net=3E=2C?=",
    b"x\x00\x0b\x0c\x1b[31m\x85\xe2\x80\xa8Bcc: victim@example.net",
    b'"x\\" <victim@example.net>, y',
    b"a" * 100_000,
    b"=?utf-8?b?" * 10_000,
    b"\xff" * 3_000,
    "ü€𝄞".encode() * 500,
    b"=?utf-7?q?+2AA-?=",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "field",
    [b"Subject: %b", b"From: %b <alice@example.net>", b"From: %b", b"Reply-To: %b", b"To: %b",
     b"Date: %b", b"X-Fetchd-Trace: %b", b"Return-Path: <%b>"],
)  # fmt: skip
def test_no_stranger_writes_a_field_of_ours(text: bytes, field: bytes) -> None:
    known = {
        "x-fetchd-trace", "from", "to", "reply-to", "subject", "date", "message-id",
        "auto-submitted", "mime-version", "content-type", "content-transfer-encoding",
    }  # fmt: skip
    octets = sent(field % text + b"\r\n\r\nText.\r\n", ATTACH)
    head = octets.partition(b"\r\n\r\n")[0]
    message = parsed(octets)
    names = [name.lower() for name in message]
    assert set(names) <= known
    assert len(set(names)) == len(names)
    assert str(message["To"]) == "me@example.org"
    assert [one.addr_spec for one in message["From"].addresses] == ["me@example.org"]
    assert head.isascii()
    assert max(map(len, head.split(b"\r\n"))) <= 200
    assert len(list(message.iter_parts())) == 2
    assert not message["From"].defects


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        (b"Greetings", "Fwd: Greetings"),
        (b"=?utf-8?b?w7w=?= and =?iso-8859-1?q?=E4?=", "Fwd: ü and ä"),
        ("grüß Gott".encode(), "Fwd: grüß Gott"),
        (b"=?x-unknown?q?x?=", "Fwd: =?x-unknown?q?x?="),  # shown as it is, decoded by nobody
        (b"", "Fwd:"),
        (b"a" * 66, "Fwd: " + "a" * 66),
        ("𝄞".encode() * 200, "Fwd: " + "𝄞" * 200),
        (b"b" * 500, "Fwd: " + "b" * 299 + "…"),
    ],
)
def test_the_subject_is_told(subject: bytes, shown: str) -> None:
    octets = sent(b"Subject: " + subject + b"\r\n\r\n", ATTACH)
    assert str(parsed(octets)["Subject"]).strip() == shown
    assert max(map(len, octets.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    ("author", "shown"),
    [
        (b"Alice <alice@example.net>", "Alice via fetchd"),
        (b'"Dr. \\"A\\", B" <alice@example.net>', 'Dr. "A", B via fetchd'),
        (b"=?utf-8?q?=C3=A4=2C_b?= <alice@example.net>", "ä, b via fetchd"),
        (b"alice@example.net", "fetchd"),
        (b'"ceo@bank.example" <alice@example.net>', "fetchd"),  # filters take it for a forgery
        (b"", "fetchd"),
    ],
)
def test_who_wrote_it_stands_in_front(author: bytes, shown: str) -> None:
    message = parsed(sent(b"From: " + author + b"\r\n\r\n", ATTACH))
    assert [one.display_name for one in message["From"].addresses] == [shown]


@pytest.mark.parametrize(
    ("head", "answers"),
    [
        (b"From: a@x.example, B <b@x.example>\r\n", "a@x.example, b@x.example"),
        (b"Reply-To: list@x.example\r\nFrom: a@x.example\r\n", "list@x.example"),
        (b"Reply-To: nobody\r\nFrom: a@x.example\r\n", "a@x.example"),
        ("From: a@bücher.example\r\n".encode(), "a@xn--bcher-kva.example"),
        ("From: jürgen@x.example, b@x.example\r\n".encode(), "b@x.example"),  # for every server
        (b"From: nobody\r\n", None),
        (b"", None),
        (b"From: " + b", ".join(b"a%d@x.example" % n for n in range(99)) + b"\r\n",
         ", ".join(f"a{n}@x.example" for n in range(10))),
    ],
)  # fmt: skip
def test_an_answer_goes_to_who_wrote_it(head: bytes, answers: str | None) -> None:
    told = parsed(sent(head + b"\r\n", ATTACH))["Reply-To"]
    assert (told and str(told)) == answers


def test_a_boundary_that_stands_in_the_original_is_not_taken() -> None:
    taken = parsed(sent(b"\r\n", ATTACH)).get_boundary().encode()
    for message in (
        b"\r\n--" + taken + b"--\r\n",
        b"Subject: " + taken + b"\r\n\r\n",
        b"\r\n" + b"x" * ((1 << 20) - 20) + taken + b"\r\n" + b"y" * 100,  # where pieces meet
    ):
        octets = sent(message, ATTACH)
        assert parsed(octets).get_boundary().encode() != taken
        assert inside(octets) == message


def test_two_who_attach_see_that_they_go_in_circles() -> None:
    other = smtp(mode="attach")
    other._name = "other"
    there = sent(BY_ALICE, ATTACH)
    back = sent(b"Received: x\r\n" + there, other)
    assert back.split(b"\r\n")[1] + b"\r\n" == TRACE  # below its own
    with pytest.raises(DeliveryRefused, match="a loop"):
        letter(b"Received: y\r\n" + back, ATTACH)


def test_who_is_international_needs_a_server_that_is() -> None:
    local = smtp(mode="attach", recipients=["jürgen@example.org"])
    composed = letter(BY_ALICE, local)
    assert (composed.utf8, composed.eight_bit) == (True, True)
    assert "To: jürgen@example.org\r\n".encode() in b"".join(composed.pieces())
    with pytest.raises(DeliveryRefused, match="SMTPUTF8"):
        letter(BY_ALICE, local, EIGHT_BIT)
