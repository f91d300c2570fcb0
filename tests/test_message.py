"""Header summaries, digests and addresses, for messages of every shape."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.message import (
    FIELDS_LIMIT,
    HEADER_LIMIT,
    addresses,
    envelope_fields,
    examine,
    header_digest,
    header_of,
    is_distinctive,
    summarize,
)

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
        (b"Subject: =?utf-8?q?a?= b =?utf-8?q?c\r\n", "a b =?utf-8?q?c"),
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


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        (b"", {}),
        (b"A: 1\r\nB: 2\r\na:3\r\n", {"a": ("1", "3"), "b": ("2",)}),
        (b"A: 1\nB: 2", {"a": ("1",), "b": ("2",)}),
        (b"SUBJECT :\r\n folded\r\n\tover  lines \r\n", {"subject": ("folded over lines",)}),
        (b"Subject: =?utf-8?q?W=C3=BCrfel?=\r\n", {"subject": ("Würfel",)}),
        (b"Subject: W\xc3\xbcrfel\r\n", {"subject": ("Würfel",)}),
        (b"Subject: a\x00\x1b[31m\r\n", {"subject": ("a  [31m",)}),
        (b"X-Empty:\r\n", {"x-empty": ("",)}),
        (b"A: b: c\r\n", {"a": ("b: c",)}),
        # what is no field
        (b"From me Mon Jan  1 00:00:00 2026\r\nA: 1\r\n", {"a": ("1",)}),
        (b"no colon\r\nA: 1\r\n", {"a": ("1",)}),
        (b" begins folded: x\r\nA: 1\r\n", {"a": ("1",)}),
        (b": no name\r\nA: 1\r\n", {"a": ("1",)}),
        (b"\xff: no name\r\nA: 1\r\n", {"a": ("1",)}),
    ],
)
def test_the_fields_of_a_header(header, fields):
    assert envelope_fields(header) == fields


def test_no_more_fields_than_anybody_needs():
    header = b"".join(b"X-%d: y\r\n" % n for n in range(FIELDS_LIMIT + 5))
    assert [*envelope_fields(header)] == [f"x-{n}" for n in range(FIELDS_LIMIT)]


def addressed(value: bytes) -> tuple[str, ...]:
    return addresses(envelope_fields(b"To: " + value)["to"])


@pytest.mark.parametrize(
    ("value", "found"),
    [
        # as everyone writes them
        (b"a@b.org", ["a@b.org"]),
        (b"A.b+c@B.ORG", ["A.b+c@b.org"]),  # the local part is the host's business
        (b"Ann <a@b.org>", ["a@b.org"]),
        (b"a@b.org, Bob <b@b.org>,c@d", ["a@b.org", "b@b.org", "c@d"]),
        (b"a@b.org,\r\n\tb@b.org", ["a@b.org", "b@b.org"]),
        (b"a@b.org, a@B.org", ["a@b.org"]),
        (b'"Ann, Dr." <a@b.org>', ["a@b.org"]),
        (b"a@b.org (Ann (Dr.), c@d)", ["a@b.org"]),
        (b"Team: a@b.org, Bob <b@b.org>;, c@d", ["a@b.org", "b@b.org", "c@d"]),
        (b"undisclosed-recipients:;", []),
        (b"<>", []),
        (b"", []),
        (b"<@hop.org,@hop2.org:a@b.org>", ["a@b.org"]),
        (b'"a b"@c.org, "x@y"@c.org', ['"a b"@c.org', '"x@y"@c.org']),
        (b'<"a>b"@c.org>', ['"a>b"@c.org']),
        (b"a@[192.0.2.1], b@[IPv6:2001:db8::1]", ["a@[192.0.2.1]", "b@[ipv6:2001:db8::1]"]),
        ("grüße@köln.example".encode(), ["grüße@köln.example"]),
        # a name that looks like an address is none
        (b"boss@corp.org <a@b.org>", ["a@b.org"]),
        (b'"boss@corp.org" <a@b.org>', ["a@b.org"]),
        (b'"boss@corp.org\\", <x@y>" <a@b.org>', ["a@b.org"]),
        (b"=?utf-8?q?boss=40corp.org=2C?= <a@b.org>", ["a@b.org"]),
        (b"=?utf-8?q?=3Cboss=40corp.org=3E?= <a@b.org>", ["a@b.org"]),
        (b"=?utf-8?q?boss=40corp.org?=", []),
        (b"(<boss@corp.org>) a@b.org", ["a@b.org"]),
        (b"a@b.org (\\) <boss@corp.org>)", ["a@b.org"]),
        (b"=?utf-8?q?(?= a@b.org <c@d>", ["c@d"]),
        # as few should
        (b"a @ b.org, c@d.", ["a@b.org", "c@d"]),
        (b"a@b.org; c@d", ["a@b.org", "c@d"]),
        (b"<a@b.org> <c@d>", ["a@b.org", "c@d"]),
        (b"mailto:a@b.org", ["a@b.org"]),
        (b'"Ann <a@b.org>', ["a@b.org"]),
        (b"(Ann <a@b.org>", ["a@b.org"]),
        (b"Ann a@b.org", []),
        (b"Ann <a@b.org", []),
        (b"ann, <root>, @b.org, a@, a@@b", []),
        (b"a\x00@b.org, <c\x1b@d>, \x85@e", []),
    ],
)
def test_addresses(value, found):
    assert addressed(value) == (*found,)


@given(st.binary(max_size=300) | st.text('a@b.<>()",;:\\[] =?q', max_size=60).map(str.encode))
def test_any_octets_have_printable_addresses_or_none(value):
    for found in addressed(value.replace(b"\n", b"")):
        assert found.isprintable()
        assert "@" in found
        assert addressed(found.encode()) == (found,)


HOSTILE = [
    b"=?a?q?x", b"=?a?q?", b"=?utf-8?b?eA==?=", "=?a?q?x\u2028".encode(), b'"', b"(", b"<", b"[",
    b'<\\"', b'"\\', b"(\\", b"()", b'[\\]"', b"a@", b"a@b,", b" ", b"\\",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_no_header_takes_more_time_than_its_length_explains(piece):
    value = piece * (HEADER_LIMIT // len(piece) - 10)
    started = time.process_time()
    addressed(value)
    summarize(b"Subject: " + value + b"\r\n\r\n")
    assert time.process_time() - started < 5  # the square of it takes half a minute
