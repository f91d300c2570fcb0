"""Signatures of the original hold behind our block, checked by dkimpy with a key made here."""

import subprocess
from pathlib import Path

import dkim
import pytest

from tests.destinations.letters import BLOCK, SEVEN_BIT, TRACE, lmtp, sent, smtp
from tests.destinations.test_letter_attach import inside

SHAPES = {
    "plain": b"Text.\r\n",
    "eight bits": "Grüße,  \r\n\tJürgen \r\n\r\n\r\n".encode(),
    "long lines": b"x" * 5_000 + b"\r\n" + b"y \t z" * 1_000 + b"\r\n",
    "no body": b"",
    "no line end": b"Text.",
    "dots": b".\r\n..\r\n.x\r\n",
}
HEAD = (
    b"Received: from a.example by b.example; Mon, 2 Nov 2026 11:00:00 +0100\r\n"
    b"From:  Alice\r\n\t<alice@example.net>\r\nTo: me@example.org\r\n"
    b"SUBJECT:   Greetings \r\nDate: Mon, 2 Nov 2026 11:00:00 +0100\r\n"
    b"Message-ID: <1@example.net>\r\n\r\n"
)
SIGNED = [b"from", b"to", b"subject", b"date", b"message-id"]


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("dkim") / "key"
    command = ["openssl", "genrsa", "-traditional", "-out", str(file), "2048"]
    subprocess.run(command, check=True, capture_output=True)
    return file


@pytest.fixture(scope="session")
def record(key: Path) -> bytes:
    done = subprocess.run(
        ["openssl", "rsa", "-in", str(key), "-pubout"], check=True, capture_output=True
    )
    return b"v=DKIM1; k=rsa; p=" + b"".join(done.stdout.split(b"\n")[1:-2])


def signed(message: bytes, key: Path, kind: bytes, fields: list[bytes] = SIGNED) -> bytes:
    canonicalize = (kind, kind)
    header = dkim.sign(
        message, b"s1", b"example.net", key.read_bytes(),
        canonicalize=canonicalize, include_headers=fields,
    )  # fmt: skip
    return header + message


def verified(message: bytes, record: bytes) -> bool:
    return bool(dkim.verify(message, dnsfunc=lambda _name, timeout=5: record))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [b"simple", b"relaxed"])
def test_a_signature_holds(shape: str, kind: bytes, key: Path, record: bytes) -> None:
    message = signed(HEAD + SHAPES[shape], key, kind)
    assert verified(message, record)
    assert not verified(message.replace(b"Greetings", b"greetings"), record)

    arrived = b"Return-Path: <a@example.net>\r\nDelivered-To: me@example.org\r\n" + message
    there = sent(arrived)
    assert there.startswith(BLOCK)
    assert verified(there, record)
    assert verified(there.removeprefix(BLOCK), record)
    assert verified(sent(arrived, lmtp()).removeprefix(TRACE), record)
    assert verified(inside(sent(arrived, smtp(mode="attach"))), record)


def test_a_signature_holds_over_what_came_with_other_line_ends(key: Path, record: bytes) -> None:
    message = signed(HEAD + SHAPES["plain"], key, b"simple")
    assert verified(sent(message.replace(b"\r\n", b"\n")), record)
    assert verified(sent(message.replace(b"\r\n", b"\r\r\n")), record)


def test_a_signature_holds_that_says_no_resent_field_is_there(key: Path, record: bytes) -> None:
    for name in (b"resent-from", b"Resent-To", b"resent-date", b"Resent-Message-ID"):
        message = signed(HEAD + SHAPES["plain"], key, b"relaxed", [*SIGNED, name])
        there = sent(message)
        assert verified(there, record)
        assert there == TRACE + message  # and so none was added
        assert not verified(BLOCK + message, record)


def test_resent_fields_that_were_signed_let_others_be_added(key: Path, record: bytes) -> None:
    resent = b"Resent-From: alice@example.net\r\nResent-To: x@example.org\r\n"
    fields = [*SIGNED, b"resent-from", b"resent-to"]
    there = sent(signed(resent + HEAD + SHAPES["plain"], key, b"relaxed", fields))
    assert there.startswith(BLOCK)
    assert verified(there, record)


def test_a_signature_holds_in_a_file(key: Path, record: bytes) -> None:
    from tests.destinations.test_letter_attach import in_file

    message = signed(HEAD + SHAPES["eight bits"], key, b"simple")
    assert verified(in_file(sent(message, receiver=SEVEN_BIT)), record)
