"""A private systemd: a user's service manager in namespaces of its own.

It has its own processes, /run and control group, so nothing of the machine's own systemd, if
there is one, is seen or touched. It obeys the same unit files, system calls filters and
namespaces included; what it cannot have is a user other than ours.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

DEADLINE = 20.0
_PROGRAM = "/lib/systemd/systemd"
# The shell is the first process of the namespace, as which a user's manager will not run.
_BEGIN = f"""
mount --make-rprivate / &&
mount -t tmpfs none /run &&
mkdir -p /run/systemd/system /run/user/0 && chmod 700 /run/user/0 &&
mkdir -p "$XDG_CONFIG_HOME/systemd/user" &&
printf '[Unit]\\nDefaultDependencies=no\\n' >"$XDG_CONFIG_HOME/systemd/user/begin.target" &&
{_PROGRAM} --user --unit=begin.target --log-target=console
"""


def missing() -> str:
    """What keeps it from running here; "" if nothing does."""
    if not Path(_PROGRAM).exists() or shutil.which("systemctl") is None:
        return "systemd is not installed"
    if os.geteuid() != 0:
        return "a private systemd needs root, for its namespaces"
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "unshare and nsenter are not installed (util-linux)"
    return ""


class PrivateSystemd:
    """Runs commands where it runs."""

    def __init__(self, first: int, environ: dict[str, str], log: Path) -> None:
        self._first, self._environ, self.log = first, environ, log

    def run(self, *argv: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """The command, to its end."""
        enter = ["nsenter", "-t", str(self._first), "-m", "-p", "-i", "-C", "--"]
        done = subprocess.run(
            [*enter, *argv], env=self._environ, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, (argv, done.stdout, done.stderr, self.log.read_text())
        return done

    def ctl(self, *words: str, check: bool = True) -> str:
        """systemctl, and what it said."""
        done = self.run("systemctl", "--user", *words, check=check)
        return done.stdout + done.stderr

    def shows(self, unit: str, key: str) -> str:
        """A property of a unit."""
        return self.ctl("show", unit, "--value", "-p", key).strip()

    def becomes(self, unit: str, key: str, *wanted: str) -> str:
        """Wait until the property is one of these."""
        until = time.monotonic() + DEADLINE
        while (found := self.shows(unit, key)) not in wanted:
            assert time.monotonic() < until, (unit, key, found, wanted, self.log.read_text())
            time.sleep(0.05)
        return found


@contextmanager
def private_systemd(home: Path, **environ: str) -> Iterator[PrivateSystemd]:
    """It runs within; `home` is where its units and settings are."""
    given = {
        "PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_RUNTIME_DIR": "/run/user/0", "container": "test", **environ,
    }  # fmt: skip
    log = home / "systemd.log"
    spaces = ["unshare", "-m", "-p", "-f", "-i", "-C", "--mount-proc", "--kill-child"]
    with log.open("wb") as written:
        process = subprocess.Popen(
            [*spaces, "sh", "-c", _BEGIN], env=given, stdin=subprocess.DEVNULL,
            stdout=written, stderr=written,
        )  # fmt: skip
    try:
        manager = PrivateSystemd(_child(process), given, log)
        _wait(manager, process)
        yield manager
    finally:
        process.kill()  # and with it, by --kill-child, all in the namespace
        process.wait()


def _child(process: "subprocess.Popen[bytes]") -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + DEADLINE
    while not (found := children.read_text().split()):
        assert process.poll() is None, "no namespaces"
        assert time.monotonic() < until
        time.sleep(0.01)
    return int(found[0])


def _wait(manager: PrivateSystemd, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + DEADLINE
    words: Sequence[str] = ("systemctl", "--user", "is-active", "begin.target")
    while manager.run(*words, check=False).returncode:
        assert process.poll() is None, manager.log.read_text()
        assert time.monotonic() < until, manager.log.read_text()
        time.sleep(0.05)
