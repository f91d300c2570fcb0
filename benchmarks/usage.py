"""What processes use, as the kernel counts it: CPU, memory, octets written."""

import contextlib
import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of one process, its reaped children left out."""
    return sum(int(ticks) for ticks in _stat(pid)[11:13]) / TICKS


def session_cpu_seconds(leader: int) -> float:
    """User and system time of all processes of a session, those that were reaped included."""
    found = 0
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ProcessLookupError):  # it may end while we look
            fields = _stat(int(path.name))
            if int(fields[3]) == leader:
                found += sum(int(ticks) for ticks in fields[11:15])
    return found / TICKS


def resident_mb(pid: int) -> float:
    """What of the process is in memory now."""
    return _status(pid, "VmRSS") / 1000


def peak_mb(pid: int) -> float:
    """The most that was, since it began."""
    return _status(pid, "VmHWM") / 1000


def _stat(pid: int) -> list[str]:
    """The fields of proc(5)'s stat from the third on; the second may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _status(pid: int, name: str) -> float:
    """One of status' sizes, in units of 1,000 octets."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, rest = line.partition(":")
        if key == name:
            return int(rest.split()[0]) * 1.024
    raise ProcessLookupError(pid)  # a zombie has no memory
