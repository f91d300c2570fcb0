"""Logs: cheap until used, human or JSON, and never a secret in any spelling."""

import base64
import errno
import io
import json
import re
import subprocess
import sys
from urllib.parse import quote, quote_plus

import pytest

from fetchd import telemetry
from fetchd.telemetry import (
    conceal,
    conceal_of,
    configure,
    forget,
    log,
    printable,
    redact,
    redacted,
)

SECRET = 'open +/sesame"ü\\'
OCTETS = SECRET.encode()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_literal", "_encoded"):
        monkeypatch.setattr(telemetry, name, ())
    monkeypatch.setattr(telemetry, "_current", {})
    monkeypatch.setattr(telemetry, "_structlog", None)
    monkeypatch.setattr(telemetry, "_threshold", 20)
    monkeypatch.setattr(telemetry, "_form", "auto")


def encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"PASS {SECRET}", "PASS ***"),
        (f"{SECRET}{SECRET}", "******"),
        (repr(SECRET), "'***'"),
        (repr(OCTETS), "b'***'"),
        (json.dumps({"p": SECRET}), '{"p": "***"}'),
        (f"https://me:{quote(SECRET, safe='')}@host/", "https://me:***@host/"),
        (f"?p={quote_plus(SECRET)}&x", "?p=***&x"),
        (re.sub("%..", lambda found: found[0].lower(), quote(SECRET)), "***"),
        (OCTETS.hex(), "***"),
        (OCTETS.hex().upper(), "***"),
        (f"AUTH LOGIN {encoded(OCTETS)} x", "AUTH LOGIN *** x"),
        (f"AUTH PLAIN {encoded(b'%b' % (b'x' + bytes(1) + OCTETS))}", "AUTH PLAIN ***"),
        *(
            (f"PLAIN {encoded(bytes(1) + b'u' * n + bytes(1) + OCTETS)} .", "PLAIN *** .")
            for n in range(1, 7)
        ),
        *(
            (
                f"XOAUTH2 {encoded(b'user=' + b'u' * n + b'=Bearer ' + OCTETS + b'11')}",
                "XOAUTH2 ***",
            )
            for n in range(3)
        ),
        (base64.urlsafe_b64encode(b"??" + OCTETS + b">>").decode(), "***"),
        ("open sesame", "open sesame"),
    ],
)
def test_no_spelling_of_a_secret_is_shown(text: str, shown: str) -> None:
    conceal(SECRET)
    assert redact(text) == shown


def test_what_is_too_short_is_no_secret() -> None:
    conceal("abc", "")
    assert redact("abc def") == "abc def"


def test_a_shorter_secret_does_not_uncover_a_longer_one() -> None:
    conceal("sesame", "sesame street")
    assert redact("to sesame street") == "to ***"


def test_values_are_redacted_wherever_they_are() -> None:
    conceal("sesame")
    value = {"a": ["sesame", b"sesame\xff", ("x", {"sesame"})], "n": 1, "t": True, "none": None}
    assert redacted(value) == {
        "a": ["***", "***\\xff", ["x", ["***"]]], "n": 1, "t": True, "none": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Grüße 会议", "Grüße 会议"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b2J", "\\x9b2J"),
        ("left\u202eright", "left\\u202eright"),
        ("\udcff", "\\udcff"),
    ],
)
def test_nothing_that_a_terminal_obeys_gets_through(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_json_lines_with_level_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    configure("info", "json")
    conceal("sesame")
    log().debug("not.shown")
    log().info("message.committed", uid=b"a\x1b", secret="my sesame")
    log().error("sync.failed", error=ValueError("sesame"))
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["event"], first["level"], first["uid"]) == ("message.committed", "info", "a\x1b")
    assert first["secret"] == "my ***"
    assert first["timestamp"].endswith("Z")
    assert (second["level"], second["error"]) == ("error", "***")


def test_human_lines_cannot_move_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure("debug", "human")
    log().warning("server.said", word="\x1b[2Jhello", words=["\x1b"], octets=b"\x07")
    shown = capsys.readouterr().err
    assert "server.said" in shown
    assert "hello" in shown
    assert not [c for c in shown if not c.isprintable() and c != "\n"]


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),  # no-color.org: only if not empty
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_colours_are_for_terminals_that_take_them(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], coloured: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure("debug", "human")
    log().info("sync.finished", account="work")
    assert ("\x1b[" in terminal.getvalue()) == coloured
    assert "work" in terminal.getvalue()


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
)
def test_levels(capsys: pytest.CaptureFixture[str], level: telemetry.Level, shown: int) -> None:
    configure(level, "json")
    for say in (log().debug, log().info, log().warning, log().error):
        say("event")
    assert len(capsys.readouterr().err.splitlines()) == shown


class Full:
    """A standard error on a full disk."""

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    configure("info", "json")
    monkeypatch.setattr(sys, "stderr", Full())
    log().info("event")


def test_structlog_is_imported_with_the_first_event_alone() -> None:
    code = (
        "import sys\n"
        "from fetchd.telemetry import configure, log, conceal, redact\n"
        "configure('info', 'json'); conceal('sesame'); redact('x'); log().debug('x')\n"
        "assert 'structlog' not in sys.modules and 'asyncio' not in sys.modules\n"
        "log().info('x')\n"
        "assert 'structlog' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_token_that_was_renewed_is_looked_for_no_more() -> None:
    conceal("old token", "new token")
    before = len(telemetry._literal), len(telemetry._encoded)
    forget("old token")
    assert redact("old token, new token") == "old token, ***"
    conceal("third token")
    assert (len(telemetry._literal), len(telemetry._encoded)) == before


def test_a_secret_that_was_replaced_is_looked_for_no_more_unless_another_has_it() -> None:
    conceal_of("work", "first secret")
    conceal_of("home", "first secret")
    conceal_of("work", "second secret")
    assert redact("first secret, second secret") == "***, ***"
    known = len(telemetry._literal)
    for number in range(50):
        conceal_of("home", f"token number {number}")
        conceal_of("home", f"token number {number}")
    assert redact("first secret, second secret, token number 49") == "first secret, ***, ***"
    assert len(telemetry._literal) <= known + 5
