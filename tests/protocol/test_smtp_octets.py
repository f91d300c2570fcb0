"""What of a message goes out: dots, and not one line end that is none."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetchd.errors import LocalProtocolError
from fetchd.protocol.smtp_octets import blocks, canonical, stuffed

LINES = st.lists(st.text(". ax", max_size=4).map(str.encode), max_size=12)


def cut(octets: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(octets), *(one % (len(octets) + 1) for one in cuts)})
    return [octets[a:b] for a, b in pairwise(edges)]


def read_back(wire: bytes) -> tuple[bytes, bytes]:
    """As a receiver does it (RFC 5321 §4.5.2): the message, and what lies behind its end."""
    message = b""
    while not wire.startswith(b".\r\n"):
        line, end, wire = wire.partition(b"\r\n")
        assert end
        message += line.removeprefix(b".") + end
    return message, wire[3:]


@pytest.mark.parametrize(
    ("message", "wire"),
    [
        (b"", b".\r\n"),
        (b"a", b"a\r\n.\r\n"),  # lacks its last line end
        (b"a\r\n", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b".", b"..\r\n.\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
        (b"a\r\n..b\r\n\r\n", b"a\r\n...b\r\n\r\n.\r\n"),
        (b"a.b\r\n", b"a.b\r\n.\r\n"),
        (b"a\r\n.\r\nMAIL FROM:<x>\r\n", b"a\r\n..\r\nMAIL FROM:<x>\r\n.\r\n"),
    ],
)  # fmt: skip
def test_dots_are_stuffed_in_any_cutting(message: bytes, wire: bytes) -> None:
    for at in range(len(message) + 1):
        for then in range(at, len(message) + 1):
            pieces = [message[:at], b"", message[at:then], message[then:]]
            assert b"".join(stuffed(pieces)) == wire


@settings(max_examples=400, deadline=None)
@given(lines=LINES, cuts=st.lists(st.integers(0, 100), max_size=8), ended=st.booleans())
def test_a_receiver_gets_the_message_and_nothing_behind_it(
    lines: list[bytes], cuts: list[int], ended: bool
) -> None:
    message = b"\r\n".join(lines) + (b"\r\n" if ended else b"")
    whole = message if not message or message.endswith(b"\r\n") else message + b"\r\n"
    assert b"".join(canonical(cut(message, cuts))) == whole
    assert read_back(b"".join(stuffed(cut(message, cuts)))) == (whole, b"")


@pytest.mark.parametrize(
    "message",
    [
        b"a\nb\r\n", b"a\rb\r\n", b"a\r", b"a\n", b"a\r\r\n", b"\n", b"\r", b"a\n.\nMAIL\r\n",
        b"a\r\n.\rMAIL\r\n", b"a\r.\r\n", b"a\n.\r\n", b"a\r\n.\n", b"\r\n\n",
    ],
)  # fmt: skip
def test_nothing_is_smuggled(message: bytes) -> None:
    """The end is never written behind an odd line end, however it is cut."""
    for at in range(len(message) + 1):
        sent = []
        with pytest.raises(LocalProtocolError, match="alone"):  # noqa: PT012
            for piece in stuffed([message[:at], message[at:]]):
                sent.append(piece)  # noqa: PERF402
        wire = b"".join(sent)
        assert not wire.endswith(b".\r\n")
        assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n")


@settings(max_examples=300, deadline=None)
@given(message=st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"a"])).map(b"".join),
       cuts=st.lists(st.integers(0, 100), max_size=6))  # fmt: skip
def test_octets_are_canonical_or_refused(message: bytes, cuts: list[int]) -> None:
    odd = b"\r" in message.replace(b"\r\n", b"") or b"\n" in message.replace(b"\r\n", b"")
    try:
        sent = b"".join(canonical(cut(message, cuts)))
    except LocalProtocolError:
        assert odd
    else:
        assert not odd
        assert sent.removesuffix(b"\r\n") == message.removesuffix(b"\r\n")


def test_blocks_are_all_of_one_size_but_the_last() -> None:
    dice = random.Random(7)
    pieces = [dice.randbytes(dice.randrange(50)) for _ in range(100)]
    for size in (1, 7, 64, 10_000):
        found = list(blocks(pieces, size))
        assert b"".join(found) == b"".join(pieces)
        assert all(len(one) == size for one in found[:-1])
        assert 0 < len(found[-1]) <= size
    assert list(blocks([], 5)) == list(blocks([b""], 5)) == []


def test_a_large_piece_is_not_held_twice() -> None:
    import tracemalloc

    message = b"x" * 78 + b"\r\n"
    piece = message * 250_000  # 20 MB
    tracemalloc.start()
    try:
        for _ in blocks([piece], 1 << 18):
            pass
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
