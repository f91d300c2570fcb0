"""Mutt reads back what a Maildir and an mbox hold, octet by octet."""

from pathlib import Path

import pytest

from tests.lacking import lacking
from tests.servers.mutt import mutt_available, read_back, unquoted

MESSAGES = [
    b"Subject: one\n\nhello\n",
    b"Subject: two\nStatus: RO\nX-Status: A\nContent-Length: 3\nLines: 7\n\nhello\n\n\n",
    b"Subject: \xff\n\n\x80\0\xffa\rb\r\n.\n",
    b"Subject: four\n\nFrom me\n>From you\n>>From them\n",
    b"\nno header\n",
    b"Subject: long\n\n" + b"z" * 100_000 + b"\n",
]  # fmt: skip
SEPARATOR = b"From a@b.example Thu Nov 25 01:02:03 2021\n"
QUOTED = [
    *MESSAGES[:3],
    b"Subject: four\n\n>From me\n>>From you\n>>>From them\n",
    *MESSAGES[4:],
]


@pytest.fixture(autouse=True, scope="module")
def _there() -> None:
    if reason := mutt_available():
        lacking(reason)


def a_maildir(path: Path) -> Path:
    for part in ("new", "cur", "tmp"):
        (path / part).mkdir(parents=True)
    return path


def an_mbox(path: Path, messages: list[bytes]) -> Path:
    path.write_bytes(b"".join(SEPARATOR + octets + b"\n" for octets in messages))
    return path


@pytest.mark.parametrize("part", ["new", "cur"])
def test_a_maildir(tmp_path: Path, part: str) -> None:
    box = a_maildir(tmp_path / 'a "box"')
    names = [f"{number}.M1P1.test" + ":2,S" * (part == "cur") for number in range(len(MESSAGES))]
    for name, octets in zip(names, MESSAGES, strict=True):
        (box / part / name).write_bytes(octets)
    assert sorted(read_back(box)) == sorted(MESSAGES)
    assert sorted(path.name for path in (box / part).iterdir()) == sorted(names)


def test_an_mbox(tmp_path: Path) -> None:
    box = an_mbox(tmp_path / "mbox", QUOTED)
    before = box.read_bytes()
    assert read_back(box) == QUOTED
    assert [unquoted(octets) for octets in read_back(box)] == MESSAGES
    assert box.read_bytes() == before


def test_an_mbox_that_is_badly_quoted_is_read_as_more_messages(tmp_path: Path) -> None:
    box = an_mbox(tmp_path / "mbox", [MESSAGES[0] + b"\n" + SEPARATOR + b"\nsmuggled\n"])
    assert len(read_back(box)) == 2


def test_nothing(tmp_path: Path) -> None:
    assert read_back(a_maildir(tmp_path / "box")) == []
    assert read_back(an_mbox(tmp_path / "mbox", [])) == []


def test_what_is_no_mailbox(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"not a mailbox\n")
    with pytest.raises(RuntimeError, match="mutt found nothing in"):
        read_back(tmp_path / "text")
