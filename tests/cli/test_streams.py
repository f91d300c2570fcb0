"""What a command's streams may be: broken, closed, full, not of UTF-8, a terminal."""

import hashlib
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import MESSAGES, Run, command, spawn
from tests.pipeline.home import Home
from tests.servers.scripted_pop3 import ScriptedPop3


@pytest.fixture
def synced(run: Run) -> None:
    assert run("sync").code == 0


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["show", "1", "--raw"]])
def test_nobody_reads_our_output(here: Home, synced: None, words: list[str]) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    with spawn(here, *words, stdout=writable) as process:
        os.close(writable)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (141, b"")


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["show", "1", "--raw"]])
def test_the_disk_of_our_output_is_full(here: Home, synced: None, words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full, spawn(here, *words, stdout=full) as process:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.decode().splitlines() == [
        "fetchd: standard output cannot be written: No space left on device",
        "  Free space there.",
    ]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(here: Home, closed: str) -> None:
    line = " ".join(f"'{word}'" for word in command(here, "sync"))
    done = subprocess.run(["sh", "-c", f"{line} {closed}"], capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    assert len(list((here.maildir / "new").iterdir())) == len(MESSAGES)


def test_a_locale_that_cannot_say_it(here: Home, synced: None) -> None:
    line = command(here, "list")
    for encoding in ("ascii", "iso-8859-1", "gb18030"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run(line, env=environment, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert "Grüße".encode(encoding, "backslashreplace") in done.stdout
        json = subprocess.run([*line, "--json"], env=environment, capture_output=True, check=False)
        assert json.stdout.isascii()


def test_raw_is_exact(here: Home, server: ScriptedPop3, synced: None) -> None:
    for number in range(1, len(MESSAGES) + 1):
        done = subprocess.run(
            command(here, "show", str(number), "--raw"), capture_output=True, check=True
        )
        message = MESSAGES[number - 1]
        # POP3 is made of lines: the server ends the last one (quirk 9).
        sent = message if message.endswith(b"\r\n") else message + b"\r\n"
        assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(sent).digest()


def test_nothing_in_a_mail_moves_a_terminal(here: Home, server: ScriptedPop3, run: Run) -> None:
    header = (
        b"From: \x1b[31mred <a@example.org>\r\nSubject: =?utf-8?B?G10wO3B3bmVkBw==?= \x9b2J\r\n"
        b"X-Odd\x1b]0;title\x07: \xff\xfe\x9b\r\nno field \x1b[2J\r\n"
    )
    server.messages, server.uidls = [header + b"\r\nbody\x1b[5m\r\n"], [b"uid\x1b[1m"]
    assert run("sync").code == 0
    for words in (["list"], ["show", "1"], ["show", "1", "--header"], ["show", "1", "--json"]):
        ran = run(*words)
        shown = ran.out + ran.err
        assert ran.code == 0
        assert not [c for c in shown if not c.isprintable() and c != "\n"]


def test_raw_octets_are_not_for_a_terminal(here: Home, synced: None) -> None:
    parent, child = pty.openpty()
    with spawn(here, "show", "1", "--raw", stdout=child) as process:
        os.close(child)
        _, err = process.communicate(timeout=20)
    os.close(parent)
    assert process.returncode == 2
    assert b"--raw > message.eml" in err
