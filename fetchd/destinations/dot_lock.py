"""Dot-locks: files that say "mine" by being there, and how long that is believed.

A dot-lock of a process that was killed stands for ever. One of ours says who made it, at
which start of which machine, and is removed at once when that process is no more; a number
alone is what liblockfile writes, and believed after FOREIGN; a lock that says nothing is
taken for forgotten after SILENT, which is procmail's measure (1,024 s). Whoever of us
removes one does so alone, and looks again whether it is the one that was judged.
"""

import fcntl
import os
import re
import socket
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

from fetchd.telemetry import log, printable

FOREIGN = 5 * 60  # seconds: a lock whose process is gone, by its number alone
SILENT = 1024  # seconds: a lock that names nobody

Identity = tuple[int, int, int]

_OURS = re.compile(rb"(\d{1,10}) ([!-~]+) ([!-~]+) (\d+)\n")
_NUMBER = re.compile(rb"\s*(\d{1,10})\s*")
_LONGEST = 400  # octets of a lock that are read
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # lest a FIFO should block
_NAMELESS = getattr(os, "O_TMPFILE", os.O_DIRECTORY)  # without it, opening for writing fails

_held: set[tuple[int, int]] = set()  # the dot-locks of this process, by device and number


def make(dot: Path) -> Identity | None:
    """None if there is one.

    Where that is possible it gets its name when it says whose it is already, so that a
    kill at any moment leaves no riddle.
    """
    with suppress(FileExistsError):
        try:
            return _made_nameless(dot)
        except FileExistsError:
            raise
        except OSError:  # the file system cannot do that
            file = os.open(dot, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, 0o644)
            try:
                return _signed(file)
            finally:
                os.close(file)
    return None


def _made_nameless(dot: Path) -> Identity:
    with ExitStack() as opened:
        folder = os.open(dot.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, folder)
        file = os.open(".", os.O_WRONLY | _NAMELESS | os.O_CLOEXEC, 0o644, dir_fd=folder)
        opened.callback(os.close, file)
        return _signed(file, lambda: os.link(f"/proc/self/fd/{file}", dot.name, dst_dir_fd=folder))


def _signed(file: int, appear: Callable[[], None] = lambda: None) -> Identity:
    known = identity_of(file)[:2]
    _held.add(known)  # before it says whose it is
    try:
        with suppress(OSError):  # on a full disk it says nothing, and is a lock all the same
            os.write(file, _signature())
        appear()
    except BaseException:
        _held.discard(known)
        raise
    return identity_of(file)


def _signature() -> bytes:
    pid = os.getpid()
    return f"{pid} {_machine()} {_boot()} {_start(pid)}\n".encode()


def is_forgotten(dot: Path) -> bool:
    """Whether it was, and is removed."""
    try:
        file = os.open(dot, os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return True  # let go of at this moment
    except OSError:
        return False
    try:
        identity, age = identity_of(file), time.time() - os.fstat(file).st_mtime
        is_file = stat.S_ISREG(os.fstat(file).st_mode)
        text = os.read(file, _LONGEST) if is_file else b""
    finally:
        os.close(file)
    if not is_file or not _names_nobody(text, age, held=identity[:2] in _held):
        return False
    log().warning("mbox.forgotten_lock_removed", lock=str(dot), age=round(age))
    return _remove(dot, identity)


def _names_nobody(text: bytes, age: float, *, held: bool) -> bool:
    """`held`: by ourselves, which else has one of ours that could not be removed."""
    if ours := _OURS.fullmatch(text):
        pid, (machine, boot, start) = int(ours[1]), (part.decode() for part in ours.groups()[1:])
        if machine != _machine():
            return age > SILENT
        lives = boot == _boot() and _start(pid) == start and _lives(pid)
        return not (held if lives and pid == os.getpid() else lives)
    number = _NUMBER.fullmatch(text)
    if number and int(number[1]):  # procmail writes 0
        return age > FOREIGN and not _lives(int(number[1]))
    return age > SILENT


def _remove(dot: Path, identity: Identity) -> bool:
    """Whether this lock is gone; another one in its place stays."""
    folder = os.open(dot.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _alone(folder)
        if identity_of(dot) != identity:
            return False
        dot.unlink()
    except FileNotFoundError:
        return True
    except OSError:  # another does so now, or one may remove only one's own there
        return False
    finally:
        os.close(folder)
    return True


def _alone(folder: int) -> None:
    """Nobody else of us removes a lock there until it is closed. BlockingIOError: another does."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return  # a file system without such locks


def let_go(dot: Path, identity: Identity) -> None:
    """Remove ours, unless somebody took it for forgotten and made another."""
    _held.discard(identity[:2])
    with suppress(OSError):
        if identity_of(dot) == identity:
            dot.unlink()


def holder_of(dot: Path) -> str:
    """A clause that says who holds it, as far as it says so."""
    text = b""
    with suppress(OSError):
        file = os.open(dot, os.O_RDONLY | _FLAGS)
        try:
            text = os.read(file, _LONGEST)
        finally:
            os.close(file)
    number = _NUMBER.match(text)
    if (ours := _OURS.fullmatch(text)) and ours[2].decode() != _machine():
        return f"a fetchd on {ours[2].decode().partition(':')[0]} holds {dot}"
    return f"{named(int(number[1]) if number else 0)} holds {dot}"


def named(pid: int) -> str:
    """The process as people know it."""
    if not pid:
        return "another program"
    with suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
        return f"process {pid} ({printable(name)})"
    return f"process {pid}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _start(pid: int) -> str:
    """When it was started, in ticks since the machine was; 0 where that is not told."""
    with suppress(OSError, IndexError):
        # The name, second of the fields, may hold anything but ends at the last bracket.
        return Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[19]
    return "0"


@cache
def _machine() -> str:
    """Its name, and the number of the space in which processes have theirs (containers)."""
    name = re.sub(r"[^!-~]", "?", socket.gethostname()) or "-"
    with suppress(OSError):
        return f"{name}:{Path('/proc/self/ns/pid').stat().st_ino}"
    return f"{name}:0"


@cache
def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return "-"


def identity_of(file: Path | int) -> Identity:
    """With the time of its making, because the number of a removed file is soon another's."""
    found = file.lstat() if isinstance(file, Path) else os.fstat(file)
    return found.st_dev, found.st_ino, found.st_mtime_ns
