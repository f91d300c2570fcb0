"""A home with an account on a small server, and the command, in this process or in another."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fetchd import telemetry
from fetchd.cli.main import app
from fetchd.demo import sample
from tests.pipeline.home import Home
from tests.servers.scripted_pop3 import ScriptedPop3

MESSAGES = sample.messages(12)


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_literal", "_encoded"):
        monkeypatch.setattr(telemetry, name, ())


@pytest.fixture
def server() -> Iterator[ScriptedPop3]:
    with ScriptedPop3(MESSAGES) as scripted:
        yield scripted


@pytest.fixture
def here(tmp_path: Path, server: ScriptedPop3) -> Home:
    patient = {"connect": "30s", "read": "30s"}  # no test here waits for a timeout
    return Home(tmp_path, server.port, timeouts=patient)


@pytest.fixture
def run(here: Home) -> Run:
    """`run("status", "--json")`: in this process, with the settings of `here`."""

    def invoke(*words: str) -> Ran:
        here.settings()
        config = ("--config", str(here.folder / "fetchd.toml"))
        done = CliRunner().invoke(app, [*config, *words])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Ran(done.exit_code, done.stdout, done.stderr)

    return invoke


def command(here: Home, *words: str) -> list[str]:
    """The command line for a process of its own."""
    here.settings()
    return [sys.executable, "-m", "fetchd", *words, "--config", str(here.folder / "fetchd.toml")]


def spawn(here: Home, *words: str, **more: Any) -> "subprocess.Popen[bytes]":
    """The command in a process of its own, with pipes unless told otherwise."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, **more.pop("environment", {})}
    return subprocess.Popen(command(here, *words), env=environment, **{**pipes, **more})
