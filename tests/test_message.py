"""Header summaries and digests, for messages of every shape."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.message import examine, header_digest, header_of, is_distinctive, summarize

NOW = datetime(2030, 1, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("message", "header"),
    [
        (b"A: 1\r\nB: 2\r\n\r\nbody\r\n", b"A: 1\r\nB: 2\r\n"),  # as everyone has it
        (b"A: 1\nB: 2\n\nbody", b"A: 1\nB: 2\n"),  # bare LF
        (b"A: 1\r\n", b"A: 1\r\n"),  # header only, no empty line
        (b"\r\nbody", b""),  # body only
        (b"", b""),  # nothing at all
        (b"A: 1\r\n\r\n", b"A: 1\r\n"),  # empty body
    ],
)
def test_header_of(message, header):
    assert header_of(message) == header


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        (b"Subject: plain\r\n", "plain"),
        (b"SUBJECT:folded\r\n over lines\r\n", "folded over lines"),
        (b"Subject: =?gb18030?b?xOO6ww==?=\r\n", "你好"),
        (b"Subject: =?iso-2022-jp?b?GyRCRnxLXBsoQg==?=\r\n", "日本"),
        (b"Subject: \xc4\xe3\xba\xc3\r\n", "你好"),  # raw GB18030
        (b"Subject: =?no-such-charset?q?x?=\r\n", "=?no-such-charset?q?x?="),
        (b"Subject: =?utf-8?b?!!!?=\r\n", "=?utf-8?b?!!!?="),
        (b"Subject: a\x00b\x1b[31m\r\n", "a b [31m"),  # nothing reaches a terminal raw
        (b"X: y\r\n", ""),
    ],
)
def test_subject(raw, subject):
    assert summarize(raw + b"\r\nbody").subject == subject


def test_the_digest_ignores_line_ends_and_what_servers_add():
    plain = b"From: a\r\nSubject: b\r\n"
    assert header_digest(plain) == header_digest(b"From: a\nSubject: b\n")
    assert header_digest(plain) == header_digest(b"From: a\r\nStatus: RO\r\nSubject: b\r\n")
    assert header_digest(plain) != header_digest(b"From: a\r\nSubject: c\r\n")
    assert summarize(plain + b"\r\nx").header_digest == header_digest(plain)


def test_copies_that_took_different_ways_share_a_key():
    core = b"From: a\r\nMessage-ID: <1>\r\nSubject: b\r\n\r\nbody\r\n"
    one = b"Received: from x\r\n\tby y\r\nDelivered-To: me\r\n" + core
    two = b"Return-Path: <a>\r\nReceived: from z\r\n" + core
    assert summarize(one).copy_key == summarize(two).copy_key
    assert summarize(one).header_digest != summarize(two).header_digest


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        (b"Mon, 23 Nov 2026 10:00:00 +0100", datetime(2026, 11, 23, 9, tzinfo=UTC)),
        (b"Mon, 23 Nov 2026 10:00:00", datetime(2026, 11, 23, 10, tzinfo=UTC)),
        (b"not a date", None),
        (b"Mon, 23 Nov 9999 23:00:00 -2300", None),
        (b"", None),
    ],
)
def test_a_message_arrived_when_it_was_received_or_else_when_it_was_sent(date, expected):
    def arrived(head: bytes) -> datetime | None:
        return examine([head + b"\r\n\r\n"])[2]

    assert arrived(b"Date: " + date) == expected
    received = b"Received: from a; b\r\n\tby c; " + date
    earlier = b"\r\nReceived: by d; Sun, 22 Nov 2026 10:00:00 +0000"
    assert arrived(received + earlier) == expected
    sent = b"\r\nDate: Sat, 21 Nov 2026 10:00:00 +0000"
    assert arrived(received + sent) == (expected or datetime(2026, 11, 21, 10, tzinfo=UTC))


@pytest.mark.parametrize(
    ("header", "distinctive"),
    [
        (b"Message-ID: <1>\r\n", True),
        (b"Subject: x\r\nmessage-id:\r\n\t<1>\r\n", True),
        (b"Received: by x\r\n", True),
        (b"Message-ID: \r\nSubject: x\r\n", False),
        (b"Subject: Message-ID: x\r\n", False),
        (b"", False),
    ],
)
def test_a_header_is_distinctive_by_id_or_trace(header, distinctive):
    assert is_distinctive(header) == distinctive


@given(st.binary(max_size=9000), st.integers(1, 500))
def test_pieces_make_no_difference(data, size):
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert examine(pieces) == examine([data])


@given(st.binary(max_size=3000))
def test_any_octets_have_a_summary(data):
    summary = summarize(data)
    assert len(summary.header_digest) == 32
    assert summary.subject.isprintable()
