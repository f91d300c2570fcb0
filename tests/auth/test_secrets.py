"""Every source of a password, and what its failure says."""

import asyncio
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fetchd.auth.secrets import read_secret, read_srs_secret
from fetchd.errors import SecretUnavailable
from fetchd.settings import ImapDestination, Pop3Account, SmtpDestination


def secret(environ: dict[str, str] | None = None, patience: float = 60, **source: Any) -> str:
    account = Pop3Account(protocol="pop3", host="h", username="u", **source)
    return asyncio.run(read_secret(account, environ or dict(os.environ), patience=patience))


def file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_bytes(text.encode())
    path.chmod(mode)
    return path


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_each_source_gives_the_password_without_its_final_newline(tmp_path: Path) -> None:
    path = file(tmp_path, "pä ss\r\n")
    assert secret(password="pä ss") == "pä ss"
    assert secret(password_file=path) == "pä ss"
    assert secret(password_command=python("print('p; $x')")) == "p; $x"
    assert secret({"X": "pw"}, password_env="X") == "pw"
    assert secret({"CREDENTIALS_DIRECTORY": str(tmp_path)}, password_credential="secret") == "pä ss"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"password_command": python("print('hush'); raise SystemExit(3)")}, "ended with 3"),
        ({"password_command": ["/nonexistent/x", "hush"]}, "cannot be started"),
        ({"password_command": python("print('hush\\nhush')")}, "more than one line"),
        ({"password_command": python("")}, "gave nothing"),
        ({"password_env": "NOT_SET_HERE"}, "not in the environment"),
        ({"password_file": "/nonexistent/hush"}, "cannot be read"),
        ({"password_file": "/"}, "/ is a folder"),
        ({"password_credential": "c"}, "CREDENTIALS_DIRECTORY"),
    ],
)
def test_a_failure_says_what_to_do(source: dict[str, Any], told: str) -> None:
    environ = {k: v for k, v in os.environ.items() if k != "CREDENTIALS_DIRECTORY"}
    with pytest.raises(SecretUnavailable, match=told) as caught:
        secret(environ, **source)
    assert caught.value.advice
    if "password_command" in source:
        assert "hush" not in str(caught.value) + caught.value.advice


def test_a_file_readable_by_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretUnavailable, match="readable by others"):
        secret(password_file=file(tmp_path, "x", 0o644))


def test_a_command_that_hangs_is_ended() -> None:
    with pytest.raises(SecretUnavailable, match="took over"):
        secret(patience=0.05, password_command=python("import time; time.sleep(60)"))


def test_what_a_command_that_hangs_has_started_is_ended_with_it(tmp_path: Path) -> None:
    """It would hold the command's output open, and be waited for."""
    child = tmp_path / "child"
    code = (
        "import subprocess, sys, time, pathlib;"
        "one = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"pathlib.Path({str(child)!r}).write_text(str(one.pid));"
        "time.sleep(60)"
    )
    began = time.monotonic()
    with pytest.raises(SecretUnavailable, match="took over"):
        secret(patience=2.0, password_command=python(code))
    assert time.monotonic() - began < 20
    process = Path("/proc") / child.read_text()
    while process.exists() and ") Z" not in (process / "stat").read_text():
        assert time.monotonic() - began < 30
        time.sleep(0.01)


def test_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SecretUnavailable) as caught:
        secret(password_keyring="s")
    assert "fetchd[keyring]" in caught.value.advice
    held = {("s", "u"): "pw"}
    errors = SimpleNamespace(KeyringError=KeyError)
    ring = SimpleNamespace(get_password=lambda s, u: held.get((s, u)), errors=errors)
    monkeypatch.setitem(sys.modules, "keyring", ring)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    assert secret(password_keyring="s") == "pw"
    with pytest.raises(SecretUnavailable, match="holds nothing"):
        secret(password_keyring="t")


def smtp(**keys: Any) -> SmtpDestination:
    found = SmtpDestination(kind="smtp", host="h", recipients=("a@b",), **keys)
    found._name = "team"
    return found


def test_a_destination_s_password_comes_from_the_same_places(tmp_path: Path) -> None:
    given = {"password_file": file(tmp_path, "pw\n")}
    imap = ImapDestination(kind="imap", host="h", username="u", **given)
    for owner in (imap, smtp(username="u", **given)):
        assert asyncio.run(read_secret(owner, {})) == "pw"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"password_env": "NOT_SET"}, "destination team: no password: NOT_SET is not in the envir"),
        ({"password": ""}, "destination team: no password: password gave nothing"),
        ({}, "destination team: no password: none is set"),
    ],
)
def test_it_is_told_whose_password_it_is(keys: dict[str, str], told: str) -> None:
    with pytest.raises(SecretUnavailable) as caught:
        asyncio.run(read_secret(smtp(username="u", **keys), {}))
    assert str(caught.value).startswith(told)


def test_the_secret_of_rewritten_senders(tmp_path: Path) -> None:
    assert asyncio.run(read_srs_secret(smtp(srs_secret="key"))) == "key"
    assert asyncio.run(read_srs_secret(smtp(srs_secret_file=file(tmp_path, "key\n")))) == "key"
    assert asyncio.run(read_srs_secret(smtp())) == ""


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        ("key", 0o644, "readable by others"),
        ("", 0o600, "srs_secret_file gave nothing"),
        ("key\nkey\n", 0o600, "srs_secret_file gave more than one line"),
        ("x" * 65 * 1024, 0o600, "gave no readable text"),
    ],
)
def test_a_file_of_it_is_looked_at_like_one_of_a_password(
    tmp_path: Path, text: str, mode: int, told: str
) -> None:
    with pytest.raises(SecretUnavailable, match=told) as caught:
        asyncio.run(read_srs_secret(smtp(srs_secret_file=file(tmp_path, text, mode))))
    assert str(caught.value).startswith("destination team: no secret for SRS: ")
    assert caught.value.advice
