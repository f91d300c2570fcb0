"""Mailbox names: exact round trips, and nothing decoded that would not come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.protocol.imap.names import decode, encode


@pytest.mark.parametrize(
    ("wire", "name"),
    [
        (b"INBOX", "INBOX"),
        (b"", ""),
        (b"a&-b", "a&b"),
        (b"&AOk-t&AOk-", "été"),
        (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),  # RFC 3501 §5.1.3
        (b"&2D3eAA-", "\U0001f600"),
        (b'a "b" \\c', 'a "b" \\c'),
        (b"a&b", None),  # an open shift
        (b"&AGE-", None),  # plain a, shifted
        (b"&U,BTFw-&ZeVnLIqe-", None),  # two shifts where one does (RFC 3501 forbids)
        (b"&2D0-", None),  # half a pair
        (b"&!-", None),
        (b"&AOm-", None),  # bits left over
        (b"&A-", None),
        (b"Gel\xc3\xb6scht", None),
        (b"\xff", None),
        (b"a\x01b", None),
    ],
)
def test_names(wire: bytes, name: str | None) -> None:
    assert decode(wire) == name
    if name is not None:
        assert encode(name) == wire


@given(st.text())
def test_every_name_comes_back(name: str) -> None:
    assert decode(encode(name)) == name
    assert decode(encode(name, utf8=True), utf8=True) == name


@given(st.binary(max_size=30) | st.text("&-AOk+/,=", max_size=12).map(str.encode))
def test_what_decodes_comes_back(wire: bytes) -> None:
    name = decode(wire)
    assert name is None or encode(name) == wire
