"""Who the next server is told a message comes from."""

import pytest

from fetchd.destinations.letter_envelope import wire_address
from fetchd.errors import DeliveryDeferred, DeliveryRefused
from tests.destinations.letters import EIGHT_BIT, EVERYTHING, letter, lmtp, smtp

BOUNCE = b'Content-Type: multipart/report; report-type=delivery-status; boundary="x"\r\n'
LONG = "x" * 80  # as senders who number their mail have it, above RFC 5321's 64


def sender(head: bytes, settings, receiver=EVERYTHING, **kwargs: str) -> str:
    return letter(head + b"\r\nText.\r\n", settings, receiver, **kwargs).sender


@pytest.mark.parametrize("kind", [smtp, lmtp])
@pytest.mark.parametrize(
    ("head", "address", "original", "given"),
    [
        # what the message has, and who sends it with each setting
        (b"Return-Path: <b@net.example>\r\nFrom: a@net.example\r\n", "me", "b@net.example", "box"),
        (b"From: Alice <a@net.example>\r\n", "me", "a@net.example", "box"),
        (b"From: A <a@net.example>, B <b@net.example>\r\n", "me", "a@net.example", "box"),
        (b'From: "x@net.example" <a@net.example>\r\n', "me", "a@net.example", "box"),
        (b"Return-Path: b@net.example\r\n", "me", "b@net.example", "box"),
        (b"return-path:\r\n <b@NET.example>\r\n", "me", "b@net.example", "box"),
        (b"Return-Path: <@hop.example:b@net.example>\r\n", "me", "b@net.example", "box"),
        (b'Return-Path: <"a b"@net.example>\r\n', "me", '"a b"@net.example', "box"),
        (b"Return-Path: <%b@net.example>\r\n" % LONG.encode(), "me", f"{LONG}@net.example", "box"),
        (b"Return-Path: <b@1.example>\r\nReturn-Path: <c@d>\r\n", "me", "b@1.example", "box"),
        # nothing to be believed
        (b"", "me", "", "box"),
        (b"From: nobody\r\n", "me", "", "box"),
        (b"Return-Path: <nobody>\r\nFrom: a@net.example\r\n", "me", "a@net.example", "box"),
        (b"Return-Path: <a@-.example>\r\nFrom: a@net.example\r\n", "me", "a@net.example", "box"),
        (b"Return-Path: <a@b@c>\r\nFrom: a..b@net.example\r\n", "me", "", "box"),
        (b"Return-Path: <a b@net.example>\r\n", "me", "", "box"),
        (b"Return-Path: <a@net.example> SIZE=1\r\nFrom: x\r\n", "me", "a@net.example", "box"),
        (b"Return-Path: <a\x00@net.example\x07>\r\n", "me", "", "box"),
        (b"From: a@%b.example\r\n" % (b"x." * 200), "me", "", "box"),
        # a bounce or a receipt stays one, whatever was chosen
        (b"Return-Path: <>\r\nFrom: a@net.example\r\n", "", "", ""),
        (b"Return-Path:  < > \r\n", "", "", ""),
        (b"Return-Path: <MAILER-DAEMON>\r\nFrom: a@net.example\r\n", "", "", ""),
        (b"Return-Path: <#@[]>\r\nFrom: a@net.example\r\n", "", "", ""),
        (BOUNCE + b"From: a@net.example\r\n", "", "", ""),
        (BOUNCE + b"Return-Path: <b@net.example>\r\n", "me", "b@net.example", "box"),
        (b"Return-Path: <b@1.example>\r\nReturn-Path: <>\r\n", "me", "b@1.example", "box"),
    ],
)  # fmt: skip
def test_sender(kind, head: bytes, address: str, original: str, given: str) -> None:
    whole = {"me": "me@example.org", "box": "box@example.com", "": ""}
    assert sender(head, kind(sender="address")) == whole[address]
    assert sender(head, kind(sender="original")) == original
    assert sender(head, kind(sender="box@example.com")) == whole[given]
    assert sender(head, kind(sender="null")) == ""
    assert sender(head.replace(b"\r\n", b"\n"), kind(sender="original")) == original


def test_the_owners_address_goes_before_the_first_recipient() -> None:
    mine = smtp(recipients=["a@example.org", "b@example.org"], address="c@example.org")
    assert sender(b"", mine) == "c@example.org"
    assert sender(b"", smtp(recipients=["a@example.org", "b@example.org"])) == "a@example.org"


def test_a_users_name_is_no_sender() -> None:
    assert sender(b"", lmtp(recipients=["alice"], sender="address")) == ""


def test_an_address_that_means_something_at_its_own_host_only_is_not_sent_out() -> None:
    head = b"Return-Path: <root@localhost>\r\nFrom: root@box\r\n"
    assert sender(head, smtp(sender="original")) == ""
    assert sender(head, lmtp(sender="original")) == "root@localhost"
    literal = b"Return-Path: <a@[192.0.2.1]>\r\n"
    assert sender(literal, smtp(sender="original")) == "a@[192.0.2.1]"


def test_an_international_sender() -> None:
    head = "Return-Path: <jürgen@bücher.example>\r\nFrom: a@net.example\r\n".encode()
    original = smtp(sender="original")
    assert sender(head, original) == "jürgen@xn--bcher-kva.example"
    assert letter(head + b"\r\n", original).utf8
    assert sender(head, original, EIGHT_BIT) == "a@net.example"  # a stranger's is done without
    mine = smtp(sender="jürgen@example.org")
    assert sender(b"", mine) == "jürgen@example.org"
    with pytest.raises(DeliveryRefused, match="SMTPUTF8"):
        sender(b"", mine, EIGHT_BIT)


HOME = {"sender": "original", "srs_domain": "lists.example.org", "srs_secret": "correct horse"}


@pytest.mark.parametrize(
    ("head", "rewritten"),
    [
        (b"From: alice@example.net\r\n", "SRS0=M6HI=IX=example.net=alice@lists.example.org"),
        (b"From: me@lists.example.org\r\n", "me@lists.example.org"),
        (b"Return-Path: <>\r\n", ""),
        (b"", ""),
        (b"Return-Path: <%b@example.net>\r\n" % (b"x" * 230), ""),  # it would be too long
    ],
)  # fmt: skip
def test_a_stranger_is_rewritten(head: bytes, rewritten: str) -> None:
    assert sender(head, smtp(**HOME), srs_secret="correct horse") == rewritten


def test_nobody_is_rewritten_without_a_secret() -> None:
    with pytest.raises(DeliveryDeferred, match="no secret") as deferred:
        sender(b"From: a@example.net\r\n", smtp(**HOME))
    assert "srs_secret" in deferred.value.advice


@pytest.mark.parametrize(
    ("address", "wired"),
    [
        ("alice", "alice"),
        ("a@Example.ORG", "a@example.org"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("jürgen@bücher.example", "jürgen@xn--bcher-kva.example"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
    ],
)
def test_an_address_on_the_wire(address: str, wired: str) -> None:
    assert wire_address(address) == wired


@pytest.mark.parametrize(
    "text", ["", "a b", "a@", "@b", "a@b\r\nc", "a\n", "a@b> SIZE=1", "jürgen"]
)
def test_what_is_no_address_is_not_put_on_the_wire(text: str) -> None:
    with pytest.raises(ValueError, match="an address such as"):
        wire_address(text)
