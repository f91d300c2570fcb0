"""Who sent a message, as far as it can be believed."""

from pathlib import Path

import pytest

from fetchd.contracts import Body
from fetchd.destinations.sender import sender_of


@pytest.mark.parametrize(
    ("header", "sender"),
    [
        (b"Return-Path: <a@example.org>\r\nFrom: b@example.org", "a@example.org"),
        (b"From: b@example.org\r\nreturn-path:\r\n <a@example.org>", "a@example.org"),
        (b"Return-Path: a@example.org", "a@example.org"),
        (b"Return-Path: <>\r\nFrom: b@example.org", ""),
        (b"Return-Path: <a@one.org>\nReturn-Path: <b@two.org>", "a@one.org"),
        (b"From: Bob <b@example.org>", "b@example.org"),
        (b'From: "evil@example.net" <b@example.org>', "b@example.org"),
        (b"From: =?utf-8?q?B=C3=B6b?= <b@example.org>, c@example.org", "b@example.org"),
        (b"From: b@example.org\r\n\r\nReturn-Path: <c@example.org>", "b@example.org"),
        (b"Return-Path: <a b@example.org>\r\nFrom: b@example.org", "b@example.org"),
        (b"Return-Path: <a@example.org\x00>", ""),
        (b"Return-Path: <-oQ/tmp@example.org>", ""),
        (b"Return-Path: <a@-example.org>", ""),
        (b"Return-Path: <a@example.org\r\n From x y>", ""),
        (b"From: <b\x1b[2J@example.org>", ""),
        (b"From: b", ""),
        (b"From: " + b"x" * 5_000 + b"@example.org", ""),
        (b"Subject: nobody", ""),
        (b"", ""),
    ],
)  # fmt: skip
def test_the_sender(tmp_path: Path, header: bytes, sender: str) -> None:
    data = header + b"\r\n\r\nFrom: body@example.org\r\n"
    assert sender_of(Body(len(data), data)) == sender
    (tmp_path / "body").write_bytes(data)
    assert sender_of(Body(len(data), path=tmp_path / "body")) == sender
