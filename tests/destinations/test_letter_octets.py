"""Line ends: what is found of them, and what becomes of them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.contracts import Body
from fetchd.destinations.letter_octets import (
    PIECE,
    Content,
    beyond,
    canonical,
    exact,
    examined,
    first,
    inside,
    whole,
)

TEXT = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x", b"\0", b"\xe4"]), max_size=30).map(
    b"".join
)


def body(octets: bytes) -> Body:
    return Body(len(octets), octets)


@pytest.mark.parametrize(
    ("octets", "converted"),
    [
        (b"", b""),
        (b"x", b"x"),
        (b"x\n", b"x\r\n"),
        (b"x\r", b"x\r\n"),
        (b"x\r\n", b"x\r\n"),
        (b"\n\n", b"\r\n\r\n"),
        (b"\r\r", b"\r\n\r\n"),
        (b"\n\r", b"\r\n\r\n"),
        (b"x\r\r\ny", b"x\r\ny"),  # what ends lines twice ends them once
        (b"x\r\r\r\r\ny", b"x\r\ny"),
        (b"x\r\r\n\r\r\ny", b"x\r\n\r\ny"),
        (b"x\r\ry", b"x\r\n\r\ny"),
        (b"x\r\n\ry", b"x\r\n\r\ny"),
        (b"\r\n.\n.\r\n", b"\r\n.\r\n.\r\n"),
    ],
)
def test_bare_cr_and_lf_become_crlf(octets: bytes, converted: bytes) -> None:
    for size in range(1, len(octets) + 2):
        pieces = [octets[at : at + size] for at in range(0, len(octets), size)]
        assert b"".join(canonical(pieces)) == converted


@given(TEXT, st.integers(1, 8))
def test_what_is_converted_is_canonical_however_it_is_cut(octets: bytes, size: int) -> None:
    pieces = [octets[at : at + size] for at in range(0, len(octets), size)]
    converted = b"".join(canonical(pieces))
    runs = re.sub(rb"\r*\n|\r", b"\r\n", octets)
    assert converted == runs
    assert converted.count(b"\r") == converted.count(b"\n") == converted.count(b"\r\n")
    assert b"".join(canonical([converted])) == converted


@given(TEXT)
def test_each_form_has_the_size_it_says(octets: bytes) -> None:
    message = body(octets)
    content = examined(message)
    canonical_already = re.search(rb"\r(?!\n)|(?<!\r)\n", octets) is None
    assert content == Content(
        nul=b"\0" in octets,
        eight_bit=b"\xe4" in octets,
        bare=not canonical_already,
        ended=octets.endswith((b"\r", b"\n")),
    )
    for form in (exact(message), inside(message, content), whole(message, content)):
        assert sum(map(len, form.pieces())) == form.size
    assert b"".join(exact(message).pieces()) == octets
    ended = b"".join(whole(message, content).pieces())
    assert not octets or ended.endswith(b"\r\n")


@pytest.mark.parametrize("cut", [b"\r\n", b"\r\r\n", b"\rx", b"\nx", b"\xe4\0"])
def test_pieces_of_a_file_make_no_difference(tmp_path, cut: bytes) -> None:
    octets = b"y" * (PIECE - 1) + cut + b"z" * PIECE
    file = tmp_path / "body"
    file.write_bytes(octets)
    filed = Body(len(octets), path=file)
    assert examined(filed) == examined(body(octets))
    content = examined(filed)
    assert b"".join(whole(filed, content).pieces()) == b"".join(
        whole(body(octets), content).pieces()
    )


def test_a_hostile_run_of_crs_is_converted_in_time_and_memory() -> None:
    size = total = 0
    for piece in canonical([b"x", *[b"\r" * PIECE] * 8, b"y"]):
        size = max(size, len(piece))
        total += len(piece)
    assert total == 2 + 2 * 8 * PIECE
    assert size <= PIECE
    assert b"".join(canonical([b"\r" * PIECE] * 3 + [b"\nx"])) == b"\r\nx"
    assert b"".join(canonical([b"\rx" * 400_000])) == b"\r\nx" * 400_000


@given(st.lists(st.binary(max_size=5), max_size=6), st.integers(0, 30))
def test_pieces_are_parted_at_any_octet(pieces: list[bytes], count: int) -> None:
    octets = b"".join(pieces)
    assert first(pieces, count) == octets[:count]
    assert b"".join(beyond(pieces, count)) == octets[count:]
