"""Signals that come too early, too often, or too late; no server is needed for them."""

import json
import signal
import time
from pathlib import Path

import pytest

from tests.daemon.serving import Serving, serving, until
from tests.servers.processes import free_ports


@pytest.fixture
def file(tmp_path: Path) -> Path:
    [web] = free_ports(1)
    found = tmp_path / "fetchd.toml"
    found.write_text(f"""
data_dir = {json.dumps(str(tmp_path / "data"))}
[log]
format = "json"
[web]
listen = "127.0.0.1:{web}"
[accounts.one]
protocol = "imap"
host = "127.0.0.1"
username = "one"
password = "secret"
schedule = "manual"
""")
    found.chmod(0o600)
    return found


def held_back(process: int) -> bool:
    """Whether SIGHUP is blocked, by the kernel's word; what is gone blocks nothing."""
    status = Path(f"/proc/{process}/status").read_text()
    [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")]
    return bool(int(mask, 16) & 1 << signal.SIGHUP - 1)


def test_a_hangup_during_the_start_is_obeyed_after_it(file: Path) -> None:
    service = Serving(file)
    try:
        until(lambda: held_back(service.process.pid), "it is starting")
        service.process.send_signal(signal.SIGHUP)
        service.until_ready()
        until(lambda: bool(service.events("settings.applied")), "the settings are read again")
        assert service.stop() == 0
    finally:
        service.close()


def test_hangups_at_the_end_change_nothing(file: Path) -> None:
    with serving(file) as service:
        service.process.send_signal(signal.SIGTERM)
        while service.process.poll() is None:
            service.process.send_signal(signal.SIGHUP)
            time.sleep(0.001)
        assert service.process.returncode == 0
        told = service.told()
        assert "READY=1" not in told[told.index("STOPPING=1") :]


def test_a_burst_of_signals_is_one_wish(file: Path) -> None:
    with serving(file) as service:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            service.process.send_signal(number)
        assert service.process.wait(30) == 0
        assert len(service.events("service.stopped")) == 1


def test_hangups_before_the_last_one_is_obeyed_are_one(file: Path) -> None:
    text = file.read_text()
    one = text[text.index("[accounts.one]") :]
    others = "".join(one.replace("one]", f"n{number}]") for number in range(200))
    file.write_text(text + others)  # takes a tenth of a second to read
    with serving(file) as service:
        for _ in range(100):
            service.process.send_signal(signal.SIGHUP)
            time.sleep(0.001)
        file.write_text(text.replace("[accounts.one]", "[accounts.two]"))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: service.snapshot()["accounts"][0]["name"] == "two", "the last one counts")
        time.sleep(0.2)
        assert len(service.events("settings.applied")) < 20
