"""`fetchd serve` as systemd sees it, in a process of its own, with the commands beside it."""

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import MESSAGES, Run, spawn
from tests.pipeline.home import Home

COUNT = len(MESSAGES)
QUIET = '[web]\nlisten = "off"\n[service]\nschedule = "manual"\n'


class Served:
    """A service, and the service manager that started it."""

    def __init__(self, here: Home, manager: socket.socket) -> None:
        address = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "600000"}
        self._manager = manager
        self.process: subprocess.Popen[str] = spawn(here, "serve", text=True, environment=address)

    def tells(self, *wanted: str) -> list[str]:
        """The messages up to the one that has these lines."""
        until, told = time.monotonic() + 30, []
        while True:
            assert time.monotonic() < until, told
            told.append(self._manager.recv(4096).decode())
            if all(re.search(f"^{line}", told[-1], re.MULTILINE) for line in wanted):
                return told

    def ends(self) -> tuple[int, str]:
        """Its exit code and its log."""
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, err


def holds_each_once(here: Home) -> bool:
    held = (here.archived(), here.delivered())
    return all(len(digests) == digests.total() == COUNT for digests in held)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plug:
        plug.bind(str(tmp_path / "notify"))
        plug.settimeout(30)
        yield plug


@pytest.fixture
def served(here: Home, manager: socket.socket) -> Iterator[Served]:
    here.more = QUIET
    service = Served(here, manager)
    try:
        service.tells("READY=1", f"MAINPID={service.process.pid}")
        yield service
    finally:
        service.process.kill()
        service.process.communicate()


def test_a_service_fetches_when_it_is_asked_and_ends_well(
    served: Served, here: Home, run: Run
) -> None:
    first, again = run("sync"), run("sync")
    assert first.code == 0
    assert re.fullmatch(rf"work: {COUNT} new messages \(.* kB\), {COUNT} delivered\n", first.out)
    assert again.out == f"work: nothing new ({COUNT} on the server)\n"
    assert run("sync", "--here").out == again.out
    assert "work" in run("top", "--once").out
    served.tells("WATCHDOG=1")
    served.process.send_signal(signal.SIGTERM)
    served.tells("STOPPING=1")
    code, err = served.ends()
    assert code == 0
    assert "Traceback" not in err
    assert holds_each_once(here)
    assert not (here.data / "control.sock").exists()


def test_the_second_says_who_holds_the_folder_and_the_first_goes_on(
    served: Served, here: Home, run: Run
) -> None:
    second = run("serve")
    assert second.code == 1
    pid = served.process.pid
    assert f"A service runs for {here.data} already: process {pid}, since" in second.err
    assert run("sync").code == 0


def test_settings_are_read_again_and_wrong_ones_change_nothing(
    served: Served, here: Home, run: Run
) -> None:
    here.users = ("work", "private")
    assert run("reload").code == 0
    served.tells("RELOADING=1", "MONOTONIC_USEC=[0-9]+$")
    served.tells("READY=1")
    assert f"private: {COUNT} new messages" in run("sync", "private").out
    good, file = here.more, here.folder / "fetchd.toml"
    here.settings()
    file.write_text("nonsense = 1\n" + file.read_text())
    served.process.send_signal(signal.SIGHUP)
    served.tells("RELOADING=1")
    served.tells("READY=1")
    here.more = good
    assert "nonsense" in run("top", "--json").document["reload_refused"]
    assert run("sync", "private").out == f"private: nothing new ({COUNT} on the server)\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_who_comes_after_it_finds_the_folder_free(
    served: Served, here: Home, manager: socket.socket, run: Run, number: signal.Signals
) -> None:
    served.process.send_signal(number)
    served.process.wait(30)
    assert f"work: {COUNT} new messages" in run("sync").out  # in this process
    again: Any = Served(here, manager)
    try:
        again.tells("READY=1", f"MAINPID={again.process.pid}")
        assert run("sync").out == f"work: nothing new ({COUNT} on the server)\n"
        again.process.send_signal(signal.SIGTERM)
        assert again.ends()[0] == 0
    finally:
        again.process.kill()
        again.process.communicate()
    assert holds_each_once(here)
