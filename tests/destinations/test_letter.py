"""A message sent on: its octets below our block, and what stays behind."""

import hashlib
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetchd.destinations.letter import compose
from fetchd.errors import DeliveryDeferred, DeliveryRefused
from tests.corpus import realistic
from tests.destinations.letters import (
    BLOCK,
    EIGHT_BIT,
    EVERYTHING,
    NOW,
    SEVEN_BIT,
    TRACE,
    is_canonical,
    letter,
    lmtp,
    sent,
    smtp,
)
from tests.destinations.outgoing import outgoing

PLAIN = b"Received: x\r\nFrom: alice@example.net\r\nSubject: x\r\n\r\nText.\r\n"


def below(octets: bytes, block: bytes = BLOCK) -> bytes:
    assert octets.startswith(block)
    return octets[len(block) :]


def test_a_message_is_sent_on_octet_for_octet() -> None:
    fit = [
        message.split(b"\r\n", 1)[1]  # behind its Return-Path
        for message in realistic(200, total=2_000_000)
        if message.startswith(b"Return-Path:") and is_canonical(message) and b"\0" not in message
    ]
    assert len(fit) > 150
    for message in fit:
        digest = hashlib.sha256(message).digest()
        assert hashlib.sha256(below(sent(message))).digest() == digest
        assert below(sent(b"Return-Path: <a@b.example>\r\n" + message)) == message
        assert below(sent(message, lmtp()), TRACE) == message


def test_the_block_names_all_recipients_and_who_sends_it_on() -> None:
    both = smtp(recipients=["me@example.org", "team@example.org"], address="box@example.com")
    head = sent(PLAIN, both).removesuffix(PLAIN)
    assert head == TRACE + (
        b"Resent-Date: Mon, 02 Nov 2026 12:00:00 +0000\r\n"
        b"Resent-From: box@example.com\r\n"
        b"Resent-To: me@example.org,\r\n team@example.org\r\n"
        b"Resent-Message-ID: <key-1.ca8b22d0db83@example.com>\r\n"
    )


def test_each_attempt_is_the_same_and_each_delivery_its_own() -> None:
    later = compose(outgoing(1, PLAIN, doubtful=True), smtp(), "home", EVERYTHING, NOW)
    assert b"".join(later.pieces()) == sent(PLAIN)
    ids = {
        sent(PLAIN, destination, key=key).split(b"Resent-Message-ID: ")[1].split(b"\r\n")[0]
        for key in ("key-1", "key-2")
        for destination in (smtp(), _called("other"))
    }
    assert len(ids) == 4


def _called(name: str):
    other = smtp()
    other._name = name
    return other


@pytest.mark.parametrize(
    ("message", "rest"),
    [
        # what stays behind
        (b"Return-Path: <a@b.example>\r\nA: 1\r\n\r\nx\r\n", b"A: 1\r\n\r\nx\r\n"),
        (b"A: 1\r\nBcc: x\r\nB: 2\r\n\r\nx\r\n", b"A: 1\r\nB: 2\r\n\r\nx\r\n"),
        (b"A: 1\r\nBCC:\r\n x,\r\n\ty\r\nB: 2\r\n\r\n", b"A: 1\r\nB: 2\r\n\r\n"),
        (b"Bcc : x\r\nResent-Bcc: y\r\nA: 1\r\n\r\n", b"A: 1\r\n\r\n"),
        (b"A: 1\r\nno field\r\nBcc: x\r\n\r\n", b"A: 1\r\nno field\r\n\r\n"),
        (b"A: 1\r\nBcc: x", b"A: 1\r\n"),  # a header alone, its last line without end
        (b"Delivered-To: me@example.org\r\nA: 1\r\n\r\n", b"A: 1\r\n\r\n"),
        (b"Delivered-To: <ME@Example.ORG>\r\nA: 1\r\n\r\n", b"A: 1\r\n\r\n"),
        (b"From a@b Mon Nov 23 10:00:00 2026\r\nA: 1\r\n\r\nx\r\n", b"A: 1\r\n\r\nx\r\n"),
        (b">From a@b Mon Nov 23 10:00 2026\nA: 1\n\nx\n", b"A: 1\r\n\r\nx\r\n"),
        # what does not
        (b"Delivered-To: a@b.example\r\nA: 1\r\n", b"Delivered-To: a@b.example\r\nA: 1\r\n"),
        (b"A: 1\r\n\r\nBcc: x\r\nReturn-Path: x\r\n", b"A: 1\r\n\r\nBcc: x\r\nReturn-Path: x\r\n"),
        (b"A: Bcc: x\r\n Bcc: y\r\n\r\n", b"A: Bcc: x\r\n Bcc: y\r\n\r\n"),
        (b"X-Bcc: x\r\nBccs: y\r\n\r\n", b"X-Bcc: x\r\nBccs: y\r\n\r\n"),
        # no header, or hardly one
        (b"\r\nbody\r\n", b"\r\nbody\r\n"),
        (b"", b""),
        (b"\r\n", b"\r\n"),
        (b"A: 1\r\n", b"A: 1\r\n"),
        (b"A: 1", b"A: 1\r\n"),
        (b"A: 1\r\n\r\nx", b"A: 1\r\n\r\nx\r\n"),
        (b"Return-Path: x\r\n\r\nx\r\n", b"\r\nx\r\n"),
        # all of it is body, and none of it continues our last field
        (b"just text\r\nFrom: x\r\n", b"\r\njust text\r\nFrom: x\r\n"),
        (b" blank: x\r\n", b"\r\n blank: x\r\n"),
        (b"\tx\r\n\r\n", b"\r\n\tx\r\n\r\n"),
        (b": x\r\n", b"\r\n: x\r\n"),
        (b"From me to you\r\n", b"\r\nFrom me to you\r\n"),
        (b"Bcc: x\r\njust text\r\n", b"\r\njust text\r\n"),
        # line ends
        (b"A: 1\n\nx\n", b"A: 1\r\n\r\nx\r\n"),
        (b"A: 1\r\rx\r", b"A: 1\r\n\r\nx\r\n"),
        (b"A: 1\r\r\nB: 2\r\r\n\r\r\nx", b"A: 1\r\nB: 2\r\n\r\nx\r\n"),  # one line end each
        (b"A: 1\rBcc: x\nB: 2\n\nx", b"A: 1\r\nB: 2\r\n\r\nx\r\n"),
        (b"A: 1\r\n\r\nx\n.\r\ny", b"A: 1\r\n\r\nx\r\n.\r\ny\r\n"),
    ],
)  # fmt: skip
def test_what_is_below_the_block(message: bytes, rest: bytes) -> None:
    assert below(sent(message)) == rest
    assert below(sent(message, lmtp()), TRACE) == rest


def test_a_user_of_a_local_agent_is_a_recipient_too() -> None:
    mine = lmtp(recipients=["alice", "Box@example.org"])
    message = b"Delivered-To: Alice\r\nDelivered-To: box@EXAMPLE.org\r\nDelivered-To: bob\r\n\r\n"
    assert sent(message, mine) == TRACE + b"Delivered-To: bob\r\n\r\n"


@pytest.mark.parametrize(
    "text",
    ["x\r\nBcc: y@example.org", "x\nX: y", "x\0", "x\x1b[31m", "x@example.org>\r\n<y@example.org"],
)
@pytest.mark.parametrize("key", ["recipients", "address", "sender"])
@pytest.mark.parametrize("kind", [smtp, lmtp])
def test_no_setting_breaks_out_of_a_field_or_a_command(text: str, key: str, kind) -> None:
    value = (text,) if key == "recipients" else text
    hostile = kind().model_copy(update={"sender": "address"} | {key: value})
    with pytest.raises(DeliveryRefused) as refused:
        sent(PLAIN, hostile)
    assert str(refused.value).isprintable()
    assert refused.value.advice.isprintable()


@pytest.mark.parametrize("name", ["x\r\nBcc: y", "a\nb", "\udcff", "x" * 500])
def test_no_name_breaks_out_of_a_field(name: str) -> None:
    destination = smtp()
    destination._name = name
    composed = compose(outgoing(1, PLAIN, key=name), destination, name, EVERYTHING, NOW)
    head = b"".join(composed.pieces()).removesuffix(PLAIN)
    assert head.count(b"\r\n") == head.count(b"\n") == 5
    assert max(map(len, head.split(b"\r\n"))) < 250


@pytest.mark.parametrize("kind", [smtp, lmtp])
def test_what_was_sent_there_before_is_a_loop(kind) -> None:
    once = sent(PLAIN, kind())
    came_back = b"Return-Path: <a@b.example>\r\nReceived: y\r\n" + once
    with pytest.raises(DeliveryRefused, match="it went to this destination before: a loop"):
        letter(came_back, kind())
    with pytest.raises(DeliveryRefused, match="it went to this destination before: a loop"):
        letter(came_back.replace(b"\r\n", b"\n"), kind())
    with pytest.raises(DeliveryRefused, match="it went to this destination before: a loop"):
        letter(came_back.replace(b"\r\n", b"\r"), kind())
    with pytest.raises(DeliveryRefused, match="it went to this destination before: a loop"):
        letter(came_back.replace(b"\r\n", b"\r"), kind(bare_newlines="attach"))
    assert sent(came_back, _called("other"))
    compose(outgoing(1, came_back), kind(), "office", EVERYTHING, NOW)


def test_what_came_too_far_is_refused() -> None:
    assert sent(b"Received: x\r\n" * 50 + PLAIN.partition(b"\r\n")[2])
    with pytest.raises(DeliveryRefused, match="51 servers passed it on, more than 50") as refused:
        letter(b"Received: x\r\n" * 50 + PLAIN)
    assert "max_received" in refused.value.advice
    assert letter(b"Received: x\r\n" * 50 + PLAIN, smtp(max_received=51))


@pytest.mark.parametrize("kind", [smtp, lmtp])
@pytest.mark.parametrize(
    ("changes", "body", "sentence"),
    [
        ({"eight_bit": "defer"}, b"\xe4\r\n", "does not offer 8BITMIME"),
        ({"bare_newlines": "defer"}, b"a\nb\r\n", "bare CR or LF"),
        ({"bare_newlines": "defer"}, b"a\rb\r\n", "bare CR or LF"),
        ({"bare_newlines": "defer"}, b"a\r", "bare CR or LF"),
    ],
)
def test_what_shall_wait_waits(kind, changes, body: bytes, sentence: str) -> None:
    with pytest.raises(DeliveryDeferred, match=sentence) as deferred:
        letter(b"A: 1\r\n\r\n" + body, kind(**changes), SEVEN_BIT)
    assert next(iter(changes)) in deferred.value.advice


def test_eight_bit_mail_goes_to_who_takes_it() -> None:
    message = b"Subject: \xc3\xbc\r\n\r\n\xe4\r\n"
    for receiver in (EVERYTHING, EIGHT_BIT):
        composed = letter(message, smtp(eight_bit="defer"), receiver)
        assert b"".join(composed.pieces()) == BLOCK + message
        assert (composed.eight_bit, composed.utf8) == (True, False)  # addresses are ASCII


def test_long_lines_are_not_folded() -> None:
    message = b"Subject: " + b"x" * 5_000 + b"\r\n\r\n" + b"y" * 5_000 + b"\r\n"
    assert below(sent(message, receiver=SEVEN_BIT)) == message


def test_international_addresses() -> None:
    domain = smtp(recipients=["me@bücher.example"])
    assert b"Resent-To: me@xn--bcher-kva.example\r\n" in sent(PLAIN, domain, SEVEN_BIT)
    assert letter(PLAIN, domain, SEVEN_BIT).sender == "me@xn--bcher-kva.example"
    assert not letter(PLAIN, domain).utf8

    local = smtp(recipients=["jürgen@bücher.example"])
    assert "Resent-To: jürgen@xn--bcher-kva.example\r\n".encode() in sent(PLAIN, local)
    assert letter(PLAIN, local).utf8
    for receiver in (EIGHT_BIT, SEVEN_BIT):
        with pytest.raises(DeliveryRefused, match=r"SMTPUTF8, without which jürgen@"):
            letter(PLAIN, local, receiver)


def test_a_header_without_end_is_refused() -> None:
    with pytest.raises(DeliveryRefused, match="longer than 1 MiB"):
        letter(b"A: " + b"x" * 1_100_000 + b"\r\nBcc: y\r\n\r\n")
    long = b"A: " + b"x" * 1_000_000 + b"\r\n"
    assert below(sent(long + b"Bcc: y\r\n\r\n" + b"z" * 2_000_000)) == (
        long + b"\r\n" + b"z" * 2_000_000 + b"\r\n"
    )


def test_a_message_that_cannot_be_read_waits(tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(PLAIN)
    item = outgoing(1, path=file, data=b"")
    file.unlink()
    with pytest.raises(DeliveryDeferred, match="No such file") as deferred:
        compose(item, smtp(), "home", EVERYTHING, NOW)
    assert deferred.value.advice


@pytest.mark.parametrize("mode", ["redirect", "attach"])
@pytest.mark.parametrize("last", [b"x\r\n", b"x\n", b"\0\r\n"])
def test_a_large_file_takes_no_memory(tmp_path: Path, mode: str, last: bytes) -> None:
    file = tmp_path / "body"
    line = b"0123456789abcdef" * 4 + b"\r\n"
    with file.open("wb") as body:
        body.write(PLAIN)
        for _ in range(60):
            body.write(line * (1_000_000 // len(line)))
        body.write(last)
    tracemalloc.start()
    try:
        composed = letter(file, smtp(mode=mode))
        size = sum(map(len, composed.pieces()))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == composed.size > 59_000_000
    assert peak < 12_000_000


@pytest.mark.parametrize("mode", ["redirect", "attach"])
def test_a_body_in_a_file_is_sent_as_one_in_memory(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "body"
    for tail in (b"x", b"x\r", b"x\r\n", b"x\n", b"\r\r\n", b"\0"):
        body = PLAIN + b"y" * ((1 << 20) - len(PLAIN) - 1) + tail  # the file is cut in the tail
        file.write_bytes(body)
        assert sent(file, smtp(mode=mode)) == sent(body, smtp(mode=mode))


FRAGMENTS = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"A: x", b"Bcc: b", b"From a 10:00", b":", b"\xe4"]
)
STAYS_BEHIND = re.compile(
    rb"bcc\s*:|return-path\s*:|delivered-to\s*:|From .*\d\d:\d\d", re.IGNORECASE
)
MESSAGES = st.one_of(st.binary(max_size=300), st.lists(FRAGMENTS, max_size=20).map(b"".join))


@given(MESSAGES.filter(lambda message: b"\0" not in message))
@example(b"Bcc")
@example(b"return-path\r\n\r\n")
def test_any_octets_can_be_sent_on(message: bytes) -> None:
    octets = sent(message)  # canonical, of the size that was said, and repeatable
    rest = below(octets)
    lines = _lines(message)
    assert set(_lines(rest)) <= {*lines, b""}, "nothing is added"
    if not STAYS_BEHIND.search(message):
        assert lines in (_lines(rest), _lines(rest.removeprefix(b"\r\n")))
        if b"".join(line + b"\r\n" for line in lines) == message:
            assert message in (rest, rest.removeprefix(b"\r\n"))


def _lines(octets: bytes) -> list[bytes]:
    """As Postfix reads them, and CR alone as a line end as well."""
    text = octets
    while b"\r\r\n" in text:
        text = text.replace(b"\r\r\n", b"\r\n")
    lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines
