"""What the figures were measured on: without it they mean little."""

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import programs
from tests.servers.dovecot import find_program

HARDWARE = ("processor", "memory", "system", "file system")


def describe(work: Path) -> dict[str, str]:
    """Processor, memory, kernel, file system of the work directory, versions."""
    hardware = {
        "processor": f"{os.cpu_count()} x {processor()}",
        "memory": f"{memory_gb():.0f} GB",
        "system": f"{release()}, Linux {platform.release()}",
        "file system": file_system(work),
    }
    own = {"Python": platform.python_version(), "fetchd": own_version()}
    return hardware | own | programs.versions()


def processor() -> str:
    """The model, as the kernel names it."""
    match = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def memory_gb() -> float:
    """All of it, in GB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def release() -> str:
    """The distribution."""
    release = Path("/etc/os-release")
    match = re.search(r'^PRETTY_NAME="(.+)"$', release.read_text(), re.MULTILINE)
    return match[1] if match else platform.system()


def file_system(path: Path) -> str:
    """The kind of the file system that the work directory lies on, and how it is mounted."""
    findmnt = find_program("findmnt")
    if findmnt is None:
        return "unknown"
    done = subprocess.run(
        [findmnt, "-n", "-o", "FSTYPE,OPTIONS", "--target", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return " ".join(done.stdout.split())


def own_version() -> str:
    """The installed fetchd."""
    try:
        return version("fetchd")
    except PackageNotFoundError:
        return "from the working tree"
