"""`fetchd login` and `logout` in a process of their own, at a real provider and a real Dovecot."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from fetchd.catalog import reach
from fetchd.catalog.database import Catalog
from fetchd.catalog.reach import Reach
from fetchd.cli.login import login_app
from fetchd.cli.main import options
from fetchd.cli.tokens import has_display
from tests.auth.at_provider import USER
from tests.lacking import lacking
from tests.servers.dovecot import Dovecot, dovecot_available
from tests.servers.oauth2 import MECHANISMS, SECRET, Provider, dovecot_settings

PATIENCE = 60

app = typer.Typer(pretty_exceptions_enable=False)
app.callback()(options)
app.add_typer(login_app)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture(scope="module")
def dovecot(provider: Provider) -> Iterator[Dovecot]:
    if reason := dovecot_available():
        lacking(reason)
    provider.folder.chmod(0o755)
    asking = dovecot_settings(provider, provider.folder / "dovecot-oauth2.conf.ext")
    with Dovecot(mechanisms=MECHANISMS, extra=asking) as server:
        server.add_user(USER, "a password that nobody here knows")
        yield server


def toml(value: Any) -> str:
    """JSON, but for tables within a line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


@pytest.fixture
def config(provider: Provider, dovecot: Dovecot, tmp_path: Path) -> Path:
    line = {"host": "127.0.0.1", "tls": "none", "allow_plaintext_auth": True}
    tables: dict[str, dict[str, Any]] = {
        "accounts.work": {
            "protocol": "imap", "port": dovecot.port.imap, "username": USER,
            "oauth2": provider.oauth2(), **line,
        },
        "accounts.phone": {
            "protocol": "pop3", "port": dovecot.port.pop3, "username": USER,
            "oauth2": provider.public(), **line,
        },
        "accounts.old": {
            "protocol": "pop3", "port": dovecot.port.pop3, "username": USER,
            "password": "x", **line,
        },
        "accounts.other": {
            "protocol": "imap", "port": dovecot.port.imap, "username": "nobody-here",
            "oauth2": provider.oauth2(), **line,
        },
        "destinations.work": {
            "kind": "imap", "port": dovecot.port.imap, "username": USER,
            "confirm_own_address": True, "oauth2": provider.oauth2(), **line,
        },
        "destinations.home": {"kind": "maildir", "path": str(tmp_path / "Maildir")},
    }  # fmt: skip
    lines = [f"data_dir = {json.dumps(str(tmp_path / 'data'))}"]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    file = tmp_path / "fetchd.toml"
    file.write_text("\n".join(lines))
    file.chmod(0o600)
    return file


@contextmanager
def running(
    config: Path, *words: str, stdin: int = subprocess.PIPE
) -> Iterator["subprocess.Popen[str]"]:
    code = "from tests.cli.test_login import app; app(prog_name='fetchd')"
    command = [sys.executable, "-c", code, "--config", str(config), *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def ran(config: Path, *words: str) -> tuple[int, str, str]:
    with running(config, *words) as process:
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err


def address(stream: Any, *, before: str = "Open this page") -> str:
    """The page that the person is sent to."""
    assert stream.readline().startswith(before)
    return str(stream.readline().strip())


def test_a_pasted_answer_logs_in_and_is_tried_at_once(provider: Provider, config: Path) -> None:
    with running(config, "login", "work", "--paste") as process:
        url = address(process.stdout)
        assert "Paste here" in process.stdout.readline()
        out, err = process.communicate(provider.consent(url) + "\n", timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    stored, tried = out.splitlines()
    assert stored.startswith("work: a token is stored, valid until ")
    assert tried.startswith("Logged in at 127.0.0.1:")
    assert tried.endswith(f" as {USER} (XOAUTH2).")
    (file,) = (config.parent / "data" / "tokens").glob("*.token")
    assert file.name == "account-work.token"


def test_the_loopback_hears_the_browser_and_json_is_one_document(
    provider: Provider, config: Path
) -> None:
    with running(config, "login", "work", "--no-browser", "--json") as process:
        landed = provider.consent(address(process.stderr))
        with urllib.request.urlopen(landed, timeout=PATIENCE) as page:
            assert b"can be closed" in page.read()
        out, err = process.communicate(timeout=PATIENCE)
    document = json.loads(out)
    assert process.returncode == 0
    assert document.pop("expires_at")
    assert document["login"].pop("sentence").endswith("(XOAUTH2).")
    assert document == {
        "ok": True, "name": "work", "kind": "account", "flow": "code", "renews": True,
        "missing_scopes": [], "login": {"ok": True, "advice": ""},
    }  # fmt: skip
    assert SECRET not in out + err


def test_whoever_waits_at_the_terminal_is_left_in_peace(provider: Provider, config: Path) -> None:
    """The browser's answer comes while a line is being waited for: nothing hangs, none is lost."""
    ours, theirs = os.openpty()
    try:
        with running(config, "login", "work", "--no-browser", stdin=theirs) as process:
            landed = provider.consent(address(process.stdout))
            assert "paste its address here" in process.stdout.readline()
            os.write(ours, b"\n")  # an impatient key
            with urllib.request.urlopen(landed, timeout=PATIENCE):
                pass
            out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (0, "")
        assert "Logged in" in out
        with running(config, "login", "work", "--no-browser", stdin=theirs) as process:
            landed = provider.consent(address(process.stdout))
            process.stdout.readline()
            os.write(ours, f"{landed}\n".encode())
            out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (0, "")
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_code_typed_on_another_machine(provider: Provider, config: Path) -> None:
    with running(config, "login", "phone", "--device") as process:
        line = process.stdout.readline()
        provider.approve_device(line.rpartition(": ")[2].strip())
        out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, out
    assert "Logged in at" in out


def test_a_token_that_the_server_does_not_take_is_told(provider: Provider, config: Path) -> None:
    with running(config, "login", "other", "--paste") as process:
        url = address(process.stdout).replace("login_hint=nobody-here", f"login_hint={USER}")
        out, _ = process.communicate(provider.consent(url), timeout=PATIENCE)
    assert process.returncode == 1
    assert "a token is stored" in out
    assert "refuses the login" in out
    assert "fetchd login" in out


def test_a_destination_of_the_same_name(provider: Provider, config: Path) -> None:
    refused = Reach("work", 9, datetime(2999, 1, 1, tzinfo=UTC), "no token yet")
    file = config.parent / "data" / "catalog.sqlite"
    with Catalog(file) as catalog:
        reach.fail(catalog, refused)
    with running(config, "login", "work", "--destination", "--paste", "--json") as process:
        landed = provider.consent(address(process.stderr))
        out, _ = process.communicate(landed, timeout=PATIENCE)
    assert json.loads(out)["kind"] == "destination"
    assert (config.parent / "data" / "tokens" / "destination-work.token").exists()
    with Catalog(file, read_only=True) as catalog:
        until = reach.of(catalog, "work").not_before
    assert until is not None
    assert until < datetime.now(UTC), "what waits for it is tried again at once"


def test_logout_forgets_and_says_so(provider: Provider, config: Path) -> None:
    with running(config, "login", "work", "--paste") as process:
        process.communicate(provider.consent(address(process.stdout)), timeout=PATIENCE)
    code, out, _ = ran(config, "logout", "work", "--json")
    assert json.loads(out) == {
        "name": "work", "kind": "account", "held": True, "revoked": True, "reason": "",
    }  # fmt: skip
    assert code == 0
    assert ran(config, "logout", "work") == (0, "work had no token.\n", "")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("login", "nobody"),                 2, "no account or destination is called nobody"),
        (("login", "old"),                    2, "old logs in by a password"),
        (("login", "home"),                   2, "destination home is no server"),
        (("login", "work", "--device"),       2, "no device_endpoint is set"),
        (("login", "work", "--device", "--paste"), 2, "exclude each other"),
        (("logout", "old"),                   2, "old logs in by a password"),
        (("login", "work", "--paste"),        1, "nothing was pasted"),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_is_told(
    config: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    with running(config, *words) as process:
        _, err = process.communicate("", timeout=PATIENCE)
    assert process.returncode == code
    assert told in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("environ", "there"),
    [({"DISPLAY": ":0"}, True), ({"WAYLAND_DISPLAY": "w"}, True), ({"DISPLAY": ""}, False)],
)
def test_a_browser_is_opened_where_it_can_be_seen(
    environ: dict[str, str], *, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert has_display(environ) is there
