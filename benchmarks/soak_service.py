"""`fetchd serve` as a process: started, watched from outside, and stopped."""

import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError

from benchmarks import usage
from benchmarks.contestants import HOST, fetchd_command
from benchmarks.kill_home import end

ASKING = 30.0
POLL = 0.05
SAMPLE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


class Service:
    """A context manager: the process runs while it lasts; `stop` ends it in good order."""

    def __init__(self, settings: Path, port: int, variables: Mapping[str, str]) -> None:
        self._settings, self._port = settings, port
        self._environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **variables}
        self._log = settings.with_name("serve.log")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [*fetchd_command(), "--config", str(self._settings), "serve"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self._environment, start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            end(self._process)

    @property
    def pid(self) -> int:
        """Of the service."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the service ended by itself:\n{self.log()[-2000:]}")
        return self._process.pid

    def cpu_seconds(self) -> float:
        """Since it began."""
        return usage.cpu_seconds(self.pid)

    def resident_mb(self) -> float:
        """Now."""
        return usage.resident_mb(self.pid)

    def metrics(self) -> dict[tuple[str, str], float]:
        """What it exposes, by name and labels as they are written."""
        with urllib.request.urlopen(f"http://{HOST}:{self._port}/metrics", timeout=ASKING) as page:
            text = page.read().decode()
        return {(name, labels): float(value) for name, labels, value in SAMPLE.findall(text)}

    def wait_until_all_synced(self, accounts: int, deadline: float) -> None:
        """Each account has succeeded once; RuntimeError if not in time."""
        until = time.monotonic() + deadline
        synced = 0
        while time.monotonic() < until:
            assert self.pid
            try:
                synced = self._synced()
            except (URLError, ConnectionError, TimeoutError):
                synced = 0  # it is still starting
            if synced == accounts:
                return
            time.sleep(POLL * 4)
        raise RuntimeError(f"{synced} of {accounts} accounts synced:\n{self.log()[-2000:]}")

    def _synced(self) -> int:
        wanted = "fetchd_account_last_success_timestamp_seconds"
        return sum(name == wanted and value > 0 for (name, _), value in self.metrics().items())

    def stop(self, deadline: float) -> tuple[int | None, float]:
        """SIGTERM: the exit code, None if it had to be killed, and the seconds it took."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            code: int | None = self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            code = None
        return code, time.monotonic() - began

    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text(errors="replace")
