"""`fetchd serve` as a process of its own, told as systemd would tell it, and asked as people do."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

PATIENCE = 60.0  # seconds for whatever is waited for
POLL = 0.02


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        time.sleep(POLL)


class Serving:
    """A service that runs, and what it said."""

    def __init__(self, settings: Path, **environ: str) -> None:
        self.settings = settings
        self.log = settings.with_suffix(f".{time.monotonic_ns()}.log")
        self._address = settings.with_name(f"notify.{os.getpid()}.{time.monotonic_ns() % 10**9}")
        self._told: list[str] = []
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self._address))
        self._notify.setblocking(False)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self._command("serve"),
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(self._address), **environ},
            )

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "fetchd", "--config", str(self.settings), *words]

    # -- What it tells the service manager --------------------------------------------

    def told(self) -> list[str]:
        """Every line so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._told += self._notify.recv(65536).decode().splitlines()
        return self._told

    def until_ready(self) -> "Serving":
        """Wait for READY=1."""

        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return "READY=1" in self.told()

        until(ready, "the service is ready")
        return self

    # -- What it is asked --------------------------------------------------------------

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Another command beside it."""
        return subprocess.run(
            self._command(*words), capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def snapshot(self) -> dict[str, Any]:
        """As the control socket tells it."""
        with self._asked("status") as lines:
            while (said := json.loads(lines.readline()))["is"] != "state":
                assert said["is"] == "beat", said
        found: dict[str, Any] = said["snapshot"]
        return found

    def begin_sync(self) -> None:
        """Of all accounts, which nobody waits for."""
        with self._asked("sync") as lines:
            lines.readline()

    @contextmanager
    def _asked(self, what: str) -> "Iterator[BinaryIO]":
        data_dir = tomllib.loads(self.settings.read_text())["data_dir"]
        with socket.socket(socket.AF_UNIX) as plug:
            plug.settimeout(PATIENCE)
            plug.connect(str(Path(data_dir) / "control.sock"))
            with plug.makefile("rwb") as lines:
                assert json.loads(lines.readline())["is"] == "hello"
                lines.write(json.dumps({"is": what}).encode() + b"\n")
                lines.flush()
                yield lines

    def account(self, name: str) -> dict[str, Any]:
        """One account of the snapshot."""
        [found] = [one for one in self.snapshot()["accounts"] if one["name"] == name]
        return dict(found)

    def events(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """What it has logged under that name, as far as these fields fit."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        found = [line for line in lines if line["event"] == event]
        return [line for line in found if all(line.get(k) == v for k, v in fields.items())]

    # -- Its end --------------------------------------------------------------------------

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """SIGKILL, and nothing of it is left."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """Whatever state it is in."""
        if self.process.poll() is None:
            self.kill()
        self._notify.close()
        self._address.unlink(missing_ok=True)


@contextmanager
def serving(settings: Path, **environ: str) -> Iterator[Serving]:
    """A service that is ready; ended at the end."""
    service = Serving(settings, **environ)
    try:
        yield service.until_ready()
    finally:
        service.close()
