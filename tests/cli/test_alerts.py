"""`fetchd alerts`: shown, dismissed, tested."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fetchd.alerting import after_round
from fetchd.cli.alerts import alerts
from fetchd.pipeline.storage import open_storage
from tests.alerting.sites import Hook
from tests.cli.conftest import Ran, Run
from tests.pipeline.home import Home
from tests.servers.scripted_pop3 import ScriptedPop3


def run(here: Home, *words: str) -> Ran:
    """`fetchd alerts ...`, in this process."""
    here.settings()
    done = CliRunner().invoke(alerts, [*words, "--config", str(here.folder / "fetchd.toml")])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def run_main(run: Run) -> Run:
    """All of `fetchd`; `run` here is of alerts alone."""
    return run


@pytest.fixture
def refused(here: Home, server: ScriptedPop3) -> Home:
    """A home whose account's login is refused, and an owner who was told by one of two hooks."""
    server.answers["PASS"] = b"-ERR [AUTH] wrong password\r\n"
    with Hook() as hook:
        urls = [f"http://127.0.0.1:{hook.port}/k3y", "http://127.0.0.1:1/k3y"]
        here.more = f"[alerts]\nwebhooks = {json.dumps(urls)}\n"
        here.sync()
        settings = here.settings()
        with open_storage(settings) as storage:
            asyncio.run(after_round(settings, storage, datetime.now(UTC)))
    return here


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fetchd.alerting.webhook.PAUSES", ())


def test_what_lasts_is_shown_with_who_was_told(refused: Home) -> None:
    ran = run(refused, "list")
    assert ran.code == 0
    first, since, said, *_ = ran.out.splitlines()
    assert first == "1: account work: the login is refused"
    assert since.startswith("  since 20")
    assert "wrong password" in said
    assert "  Told: webhook 127.0.0.1 " in ran.out
    assert "  Not told yet: webhook 127.0.0.1 " in ran.out
    assert "k3y" not in ran.out


def test_the_document_has_all_of_it(refused: Home) -> None:
    (one,) = run(refused, "--json").document["alerts"]
    assert (one["id"], one["kind"], one["subject"]) == (1, "authentication", "work")
    assert (one["over"], one["dismissed"], one["times"]) == (None, False, 1)
    told = sorted((t["event"], bool(t["at"]), t["attempts"]) for t in one["told"])
    assert told == [("raised", False, 1), ("raised", True, 1)]


def test_a_dismissed_one_is_shown_with_all_only(refused: Home) -> None:
    assert run(refused, "dismiss", "1").out == "Dismissed: 1\n"
    refused.sync()
    assert run(refused, "list").out == "No alerts last.\n"
    assert "the login is refused (dismissed)" in run(refused, "list", "--all").out
    assert run(refused, "dismiss", "1", "--json").document == {"dismissed": [1]}


@pytest.mark.parametrize("words", [["dismiss", "7"], ["dismiss", "1", "7"], ["dismiss"]])
def test_only_what_lasts_can_be_dismissed(refused: Home, words: list[str]) -> None:
    ran = run(refused, *words)
    assert (ran.code, ran.out) == (2, "")
    assert "the login" in run(refused, "list").out


def test_nothing_is_made_where_there_is_nothing(here: Home) -> None:
    assert run(here, "list").out == "No alerts last.\n"
    assert run(here, "list", "--all").out == "No alerts.\n"
    assert run(here, "dismiss", "1").code == 2
    assert not here.data.exists()


def test_a_test_says_how_each_channel_did(here: Home, tmp_path: Path) -> None:
    with Hook() as hook:
        urls = [f"http://127.0.0.1:{hook.port}/k3y", "http://127.0.0.1:1/k3y"]
        here.more = f'[alerts]\ndestinations = ["home"]\nwebhooks = {json.dumps(urls)}\n'
        ran = run(here, "test")
        told = run(here, "test", "--json").document
        assert [one["event"] for one in hook.bodies] == ["test", "test"]
    assert ran.code == 1
    assert "destination home: took the message" in ran.out
    assert "k3y" not in ran.out
    assert told["ok"] is False
    assert [one["ok"] for one in told["channels"]] == [True, True, False]
    assert len(list((tmp_path / "Maildir/new").iterdir())) == 2


def test_a_test_without_channels_says_what_to_set(here: Home) -> None:
    ran = run(here, "test")
    assert ran.code == 2
    assert "docs/alerts.md" in ran.err


@pytest.mark.parametrize("words", [["deliver"], ["verify"]])
def test_commands_that_end_tell_what_they_found(
    here: Home, run_main: Run, words: list[str]
) -> None:
    here.sync()
    (segment,) = (here.data / "archive").rglob("*.tar.zst")
    octets = bytearray(segment.read_bytes())
    octets[len(octets) // 2] ^= 0xFF
    segment.write_bytes(octets)
    here.verify()
    with Hook() as hook:
        here.more = f'[alerts]\nwebhooks = ["http://127.0.0.1:{hook.port}/"]\n'
        for _ in range(2):
            ran = run_main(*words)
            assert "Traceback" not in ran.err
        assert [one["raised"][0]["kind"] for one in hook.bodies] == ["damage"]
