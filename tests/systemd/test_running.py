"""The units under a real systemd: installed, started, walled in, and taken away again."""

import json
import pwd
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fetchd
from fetchd.cli.systemd_machine import command, machine_of
from fetchd.cli.systemd_units import units
from fetchd.demo import sample
from tests.lacking import lacking
from tests.pipeline.home import Home
from tests.servers.scripted_pop3 import ScriptedPop3
from tests.servers.systemd import PrivateSystemd, missing, private_systemd

pytestmark = pytest.mark.live
MESSAGES = sample.messages(5)
IMPOSSIBLE = ("User=", "ProtectKernelLogs=", "ProtectKernelTunables=")
_SEEN = (sys.prefix, str(Path(fetchd.__file__).parents[1]))  # what a command needs to see
COMMAND = (sys.executable, "-c", "from fetchd.cli.systemd import systemd; systemd()")


@pytest.fixture
def folder() -> Iterator[Path]:
    """In a home, since the units hide /tmp."""
    if reason := missing():
        lacking(reason)
    made = Path(tempfile.mkdtemp(prefix="fetchd it's 100% ", dir=Path.home()))
    (made / "beside").write_text("hidden")
    (made / "me").mkdir()
    yield made / "me"
    shutil.rmtree(made)


@pytest.fixture
def manager(folder: Path) -> Iterator[PrivateSystemd]:
    with private_systemd(folder) as running:
        yield running


@pytest.fixture
def here(folder: Path) -> Iterator[Home]:
    with ScriptedPop3(MESSAGES) as server:
        home = Home(folder, server.port)
        home.settings()
        yield home


def test_a_timer_is_installed_works_and_is_uninstalled(manager: PrivateSystemd, here: Home) -> None:
    config = ("--config", str(here.folder / "fetchd.toml"))
    said = manager.run(*COMMAND, "install", "--user", "--timer", "--yes", *config).stdout
    assert "Enabled and started: fetchd-sync.timer, fetchd-verify.timer." in said
    assert manager.shows("fetchd-sync.timer", "ActiveState") == "active"
    assert manager.shows("fetchd-sync.timer", "UnitFileState") == "enabled"

    manager.ctl("start", "fetchd-sync.service")
    assert manager.shows("fetchd-sync.service", "Result") == "success"
    assert len(list((here.maildir / "new").iterdir())) == len(MESSAGES)
    manager.ctl("start", "fetchd-verify.service")
    assert manager.shows("fetchd-verify.service", "Result") == "success"

    again = manager.run(*COMMAND, "install", "--user", "--timer", "--dry-run", "--json", *config)
    assert {unit["change"] for unit in json.loads(again.stdout)["units"]} == {"same"}

    manager.run(*COMMAND, "uninstall", "--user", "--yes")
    assert manager.shows("fetchd-sync.timer", "LoadState") == "not-found"
    assert not list((here.folder / ".config/systemd/user").glob("fetchd*"))
    assert here.maildir.exists()


def test_what_systemd_refuses_is_told_in_a_sentence(manager: PrivateSystemd, here: Home) -> None:
    unit = here.folder / ".config/systemd/user/fetchd-sync.timer.d"
    unit.mkdir(parents=True)
    (unit / "broken.conf").write_text("[Unit]\nRequires=nothing-such.target\n")
    config = ("--config", str(here.folder / "fetchd.toml"))
    done = manager.run(*COMMAND, "install", "--user", "--timer", "--yes", *config, check=False)
    assert done.returncode == 1
    assert "enable --now fetchd-sync.timer fetchd-verify.timer' failed: " in done.stderr
    assert "nothing-such.target" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sync_does_its_work_within_the_walls_of_a_service_of_the_system(
    manager: PrivateSystemd, here: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (here.data, here.maildir):
        path.mkdir(mode=0o700)
    _put(manager, here, monkeypatch, "")
    manager.ctl("start", "fetchd-sync.service")
    assert manager.shows("fetchd-sync.service", "Result") == "success"
    assert len(list((here.maildir / "new").iterdir())) == len(MESSAGES)
    manager.ctl("start", "fetchd-verify.service")
    assert manager.shows("fetchd-verify.service", "Result") == "success"


@pytest.mark.parametrize("walled", [True, False])
@pytest.mark.parametrize(
    "forbidden",
    [
        "import mmap; mmap.mmap(-1, 4096, prot=7)",
        "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "import os; os.chown({data!r}, 1, 1)",
        "import os; os.chmod({data!r}, 0o4700)",
        "import os; os.nice(-1)",
        "import os; os.open({folder!r}, os.O_TMPFILE | os.O_RDWR)",
        "import os; os.open('/etc', os.O_TMPFILE | os.O_RDWR)",
        "open({folder!r} + '/../beside')",
    ],
)
def test_the_walls_hold(
    manager: PrivateSystemd,
    here: Home,
    monkeypatch: pytest.MonkeyPatch,
    forbidden: str,
    walled: bool,
) -> None:
    for path in (here.data, here.maildir):
        path.mkdir(mode=0o700)
    code = forbidden.format(data=str(here.data), folder=str(here.folder))
    _put(manager, here, monkeypatch, _exit_7_if_refused(code), walled=walled)
    expected = "7" if walled else "0"
    for _ in range(3):
        manager.ctl("start", "fetchd-sync.service", check=False)
        # EXIT_CGROUP: the manager was still clearing away the last one, and began nothing.
        if (status := manager.shows("fetchd-sync.service", "ExecMainStatus")) != "219":
            break
    assert status == expected


def _exit_7_if_refused(code: str) -> str:
    return f"try:\n    {code}\nexcept OSError:\n    raise SystemExit(7)\n"


def _put(
    manager: PrivateSystemd,
    here: Home,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    *,
    walled: bool = True,
) -> None:
    """The system's units, but for what this manager has no power to give."""
    monkeypatch.setattr("fetchd.cli.systemd_machine._user", lambda *_: pwd.getpwuid(0))
    machine = machine_of(here.settings(), personal=False, run_as="").machine
    assert machine.homes == "tmpfs"
    script = here.data / "script.py"
    script.write_text(code)
    for name, text in units(machine).items():
        lines = [line for line in text.splitlines() if not line.startswith(IMPOSSIBLE)]
        if not walled:
            lines = [line for line in lines if line.startswith(("[", "Type=", "ExecStart="))]
        # A checkout below /tmp, which the walls hide.
        if walled and "[Service]" in lines:
            hidden = [path for path in {*_SEEN} if Path("/tmp") in Path(path).parents]
            at = lines.index("[Service]") + 1
            lines[at:at] = [f"BindReadOnlyPaths={path}" for path in hidden]
        if code:
            start = f'ExecStart={sys.executable} "{str(script).replace("%", "%%")}"'
            lines = [start if line.startswith("ExecStart=") else line for line in lines]
        (here.folder / ".config/systemd/user" / name).write_text("\n".join(lines))
    manager.ctl("daemon-reload")


def test_the_command_that_runs_now_is_the_one_in_the_units(manager: PrivateSystemd) -> None:
    assert manager.run(*command(), "--version").stdout.startswith("fetchd ")


def _install(manager: PrivateSystemd, here: Home, more: str = "") -> None:
    here.more = f'[service]\nschedule = "10s"\n[web]\nlisten = "off"\n{more}'
    here.settings()
    config = ("--config", str(here.folder / "fetchd.toml"))
    manager.run(*COMMAND, "install", "--user", "--yes", *config)


def test_the_service_says_when_it_is_ready_is_reloaded_and_stopped(
    manager: PrivateSystemd, here: Home
) -> None:
    _install(manager, here)  # which waits for READY=1
    assert manager.shows("fetchd.service", "ActiveState") == "active"
    first = manager.shows("fetchd.service", "MainPID")
    until = time.monotonic() + 30
    while len(list((here.maildir / "new").glob("*"))) < len(MESSAGES):
        assert time.monotonic() < until, manager.ctl("status", "fetchd.service", check=False)
        time.sleep(0.1)

    manager.ctl("reload", "fetchd.service")
    file = here.folder / "fetchd.toml"
    file.write_text(file.read_text().replace('"10s"', '"often"'))
    assert "failed" in manager.ctl("reload", "fetchd.service", check=False)
    assert manager.shows("fetchd.service", "ActiveState") == "active"
    assert manager.shows("fetchd.service", "MainPID") == first

    manager.ctl("stop", "fetchd.service")
    assert manager.shows("fetchd.service", "Result") == "success"
    assert manager.shows("fetchd.service", "ExecMainStatus") == "0"


def test_a_service_that_hangs_is_ended_and_started_again(
    manager: PrivateSystemd, here: Home
) -> None:
    impatient = here.folder / ".config/systemd/user/fetchd.service.d/impatient.conf"
    impatient.parent.mkdir(parents=True)
    impatient.write_text("[Service]\nWatchdogSec=3s\nRestartSec=100ms\nTimeoutAbortSec=1s\n")
    _install(manager, here)
    first = manager.shows("fetchd.service", "MainPID")
    time.sleep(4)  # more than WatchdogSec: it is fed
    assert manager.shows("fetchd.service", "MainPID") == first
    manager.ctl("kill", "--kill-whom=main", "--signal=STOP", "fetchd.service")
    manager.becomes("fetchd.service", "NRestarts", "1")
    manager.becomes("fetchd.service", "ActiveState", "active")
    assert manager.shows("fetchd.service", "MainPID") != first


def test_wrong_settings_are_not_tried_again_and_again(manager: PrivateSystemd, here: Home) -> None:
    _install(manager, here)
    manager.ctl("stop", "fetchd.service")
    (here.folder / "fetchd.toml").write_text("[accounts.work]\nprotocol = 'pop4'\n")
    manager.ctl("start", "fetchd.service", check=False)
    assert manager.becomes("fetchd.service", "ActiveState", "failed", "activating") == "failed"
    assert manager.shows("fetchd.service", "ExecMainStatus") == "2"
    assert manager.shows("fetchd.service", "NRestarts") == "0"
