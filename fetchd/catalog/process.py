"""Who is alive: each process with an open catalog holds a lock on a file of its own.

The kernel lets the lock go when the process ends, however it ends, so what a
killed process held can be taken over at once. The file appears under its name
only after it was locked; hence an unlocked one is always a dead one.
"""

import fcntl
import os
from pathlib import Path

from fetchd.ulid import new_ulid


class ProcessLock:
    """The mark of this process, from construction to `close`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sweep(folder)
        self.owner = new_ulid()
        self.path = folder / f"{self.owner}.lock"
        fresh = folder / f"{self.owner}.new"
        self._file = os.open(fresh, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.write(self._file, f"{os.getpid()}\n".encode())
        fresh.rename(self.path)

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        os.close(self._file)


def is_alive(folder: Path, owner: str) -> bool:
    """Whether the process of that name still runs; removes the mark of a dead one."""
    path = folder / f"{owner}.lock"
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(file)


def pid_of(folder: Path, owner: str) -> str:
    """The process id that the mark names, or "unknown"."""
    try:
        return (folder / f"{owner}.lock").read_text().strip()
    except FileNotFoundError:
        return "unknown"


def living(folder: Path) -> list[str]:
    """The process ids of all that live."""
    return [
        pid_of(folder, path.stem)
        for path in sorted(folder.glob("*.lock"))
        if is_alive(folder, path.stem)
    ]


def sweep(folder: Path) -> None:
    """Remove the marks of dead processes."""
    for path in folder.glob("*.lock"):
        is_alive(folder, path.stem)
