"""What every private server needs of the machine: programs, ports, users, an end.

Used by dovecot.py and cyrus.py. `end_group` leaves no process behind; `mail_uid`
is the user that mail belongs to where we are root, since no mail server serves
mail as root.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

HOST = "127.0.0.1"
MAIL_UID = 65534  # "nobody"
STOP_GRACE = 1.0  # rarely, a master waits seconds for a child
STOP_DEADLINE = 10.0
POLL = 0.01


def find_program(name: str) -> str | None:
    """The path of a program, looking also where servers are installed."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; held together so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def greets(process: subprocess.Popen[bytes], port: int, word: bytes, deadline: float) -> bool:
    """Wait until the port says the word, the process ends or the time is over."""
    until = time.monotonic() + deadline
    while process.poll() is None and time.monotonic() < until:
        try:
            with socket.create_connection((HOST, port), timeout=1) as probe:
                return probe.recv(len(word)) == word
        except OSError:
            time.sleep(POLL)  # a starting process offers nothing else to wait for
    return False


def end_session(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group of its own, and all of the group."""
    try:
        # All at once: told alone, a master takes a second to see the others out.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(STOP_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    except ProcessLookupError:
        process.wait()
    end_group(process.pid)


def end_group(group: int) -> None:
    """Kill what is left of a process group that we started, and wait until it is gone."""
    deadline = time.monotonic() + STOP_DEADLINE
    while alive_in(group) and time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
        time.sleep(POLL)


def alive_in(group: int) -> bool:
    """Whether the group has a process that is more than a zombie waiting for init."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it may end while we look
            state, _parent, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def mail_uid() -> int | None:
    """The uid that mail files must belong to, or None where they are ours anyway."""
    return MAIL_UID if os.geteuid() == 0 else None


def own_by_mail_user(path: Path) -> None:
    """Hand a path to the mail user where we are root."""
    if (uid := mail_uid()) is not None:
        os.chown(path, uid, uid)


def check_reachable(directory: Path) -> None:
    """As root, the mail user must be able to walk to the directory."""
    if os.geteuid() == 0:
        for parent in directory.resolve().parents:
            if not parent.stat().st_mode & 0o001:
                raise RuntimeError(f"{parent} is closed to the mail user; give no directory")
