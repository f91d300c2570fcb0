"""Procmail files what it is given, and ends with the status that a message asks for."""

import subprocess
from pathlib import Path

import pytest

from tests.lacking import lacking
from tests.servers.procmail import Procmail, procmail_available


@pytest.fixture
def procmail(tmp_path: Path) -> Procmail:
    if reason := procmail_available():
        lacking(reason)
    return Procmail(tmp_path / "procmail")


def given(procmail: Procmail, octets: bytes) -> int:
    return subprocess.run(procmail.command, input=octets, check=False).returncode


@pytest.mark.parametrize(
    "octets",
    [
        b"Subject: one\n\nhello\n",
        b"Subject: one\n\nFrom me\n>From you\nno end",
        b"Subject: one\r\n\r\nhello\r\n",
        b"Subject: \xff\nContent-Length: 3\n\na\0b\rc\n\n\n",
        b"\nno header\n",
        b"",
        b"Subject: long\n\n" + b"z" * 1_000_000 + b"\n",
    ],
)
def test_octets_are_filed_as_they_came(procmail: Procmail, octets: bytes) -> None:
    assert given(procmail, octets) == 0
    assert procmail.arrived() == [octets]


def test_a_separator_at_the_head_is_dropped(procmail: Procmail) -> None:
    assert given(procmail, b"From me Thu Nov 25 01:02:03 2021\nSubject: one\n\n") == 0
    assert procmail.arrived() == [b"Subject: one\n\n"]


@pytest.mark.parametrize("status", [75, 67, 77, 1])
def test_a_message_may_ask_for_a_status(procmail: Procmail, status: int) -> None:
    assert given(procmail, b"Subject: one\nX-Exit: %d\n\nhello\n" % status) == status
    assert procmail.arrived() == []


def test_where_it_cannot_file_it_asks_for_a_later_try(procmail: Procmail) -> None:
    (procmail.folder / "Maildir").write_bytes(b"not a folder")
    assert given(procmail, b"Subject: one\n\nhello\n") == 75
