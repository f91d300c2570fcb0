"""The two locks of an mbox file, as mail programs have always taken them.

`<path>.lock`, made with O_EXCL, and fcntl's lock on the file itself: some programs honour
only one of the two. Neither is waited for: whoever cannot have both has none, so that nobody
is kept waiting by us and the order of locks cannot matter. The dot-lock comes first, since
fcntl's lock does not exclude others in our own process, and would be lost with the first
descriptor of that file that one of them closes.

A dot-lock of a process that was killed stands for ever. One of ours says who made it, at
which start of which machine, and is removed at once when that process is no more; a number
alone is what liblockfile writes, and believed after FOREIGN; a lock that says nothing is
taken for forgotten after SILENT, which is procmail's measure (1,024 s). Whoever of us
removes one does so alone, and looks again whether it is the one that was judged.

A link is followed if it is root's or ours, as /var/mail's are; the locks are then those
of the file that it leads to. A file with several names is refused: in a folder where
everybody may make names, it could be anything.
"""

import errno
import fcntl
import os
import re
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

from fetchd.telemetry import log, printable
from fetchd.values import Struct

FOREIGN = 5 * 60  # seconds: a lock whose process is gone, by its number alone
SILENT = 1024  # seconds: a lock that names nobody

_OURS = re.compile(rb"(\d{1,10}) ([!-~]+) ([!-~]+) (\d+)\n")
_NUMBER = re.compile(rb"\s*(\d{1,10})\s*")
_LONGEST = 400  # octets of a lock that are read
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # lest a FIFO should block
_NAMELESS = getattr(os, "O_TMPFILE", os.O_DIRECTORY)  # without it, opening for writing fails

_Identity = tuple[int, int, int]

_held: set[tuple[int, int]] = set()  # the dot-locks of this process, by device and number


class Held(Struct, frozen=True):
    """Somebody else has it; `holder` is a clause that says who, as far as can be seen."""

    holder: str


class Locked(Struct, frozen=True):
    """Both locks are ours. `file` is the open mbox, `path` where it really is."""

    path: Path
    file: int
    dot: Path
    identity: "_Identity"  # of the dot-lock

    def release(self) -> None:
        """The file's lock first: behind the dot-lock we may not be alone in this process."""
        os.close(self.file)
        _let_go(self.dot, self.identity)


def lock(path: Path) -> Locked | Held:
    """Both locks, or none; the file is made (0600) when it is absent. OSError on trouble."""
    path = _real(path)
    dot = path.with_name(path.name + ".lock")
    identity = _make_dot_lock(dot)
    if identity is None and _is_forgotten(dot):
        identity = _make_dot_lock(dot)
    if identity is None:
        return Held(_holder_of(dot))
    with ExitStack() as undo:
        undo.callback(_let_go, dot, identity)
        file = _open(path)
        undo.callback(os.close, file)
        holder = _lock_file(file)
        if holder is None and not _is_open(path, file):
            holder = "it is being replaced"
        if holder is not None:
            return Held(holder)
        undo.pop_all()
        return Locked(path, file, dot, identity)


def _real(path: Path) -> Path:
    with suppress(FileNotFoundError):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            if found.st_uid not in (0, os.geteuid()):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            return Path(os.path.realpath(path))
    return path


def _open(path: Path) -> int:
    """The mbox, made durably if it is absent."""
    try:
        file = os.open(path, os.O_RDWR | _FLAGS)
    except FileNotFoundError:
        file = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        sync_folder(path.parent)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(file)
        number = errno.EMLINK if stat.S_ISREG(found.st_mode) else errno.ENODEV
        raise OSError(number, os.strerror(number), str(path))
    return file


def sync_folder(path: Path) -> None:
    """Names that were made or changed in it are durable on return."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_open(path: Path, file: int) -> bool:
    """Whether it is still this file that has the name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.lstat(), os.fstat(file))
    return False


def _lock_file(file: int) -> str | None:
    """Who has it; None if we have."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return f"{_named(_owner(file))} has locked it"
    return None


def _owner(file: int) -> int:
    """The process that holds fcntl's lock; 0 where that cannot be had."""
    form = "hhqqi4x"  # struct flock of 64-bit Linux
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        return 0
    with suppress(OSError, struct.error):
        asked = struct.pack(form, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        pid: int = struct.unpack(form, fcntl.fcntl(file, fcntl.F_GETLK, asked))[4]
        return max(0, pid)
    return 0


# -- The dot-lock --------------------------------------------------------------------


def _make_dot_lock(dot: Path) -> _Identity | None:
    """None if there is one. It gets its name when it says whose it is, where that is possible:
    so a kill at any moment leaves no riddle."""
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


def _made_nameless(dot: Path) -> _Identity:
    with ExitStack() as opened:
        folder = os.open(dot.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, folder)
        file = os.open(".", os.O_WRONLY | _NAMELESS | os.O_CLOEXEC, 0o644, dir_fd=folder)
        opened.callback(os.close, file)
        return _signed(file, lambda: os.link(f"/proc/self/fd/{file}", dot.name, dst_dir_fd=folder))


def _signed(file: int, appear: Callable[[], None] = lambda: None) -> _Identity:
    known = _identity(file)[:2]
    _held.add(known)  # before it says whose it is
    try:
        with suppress(OSError):  # on a full disk it says nothing, and is a lock all the same
            os.write(file, _signature())
        appear()
    except BaseException:
        _held.discard(known)
        raise
    return _identity(file)


def _signature() -> bytes:
    pid = os.getpid()
    return f"{pid} {_machine()} {_boot()} {_start(pid)}\n".encode()


def _is_forgotten(dot: Path) -> bool:
    """Whether it was, and is removed."""
    try:
        file = os.open(dot, os.O_RDONLY | _FLAGS)
    except FileNotFoundError:
        return True  # let go of at this moment
    except OSError:
        return False
    try:
        identity, age = _identity(file), time.time() - os.fstat(file).st_mtime
        text = os.read(file, _LONGEST) if stat.S_ISREG(os.fstat(file).st_mode) else b""
    finally:
        os.close(file)
    if not _names_nobody(text, age, held=identity[:2] in _held):
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


def _remove(dot: Path, identity: _Identity) -> bool:
    """Whether this lock is gone; another one in its place stays."""
    folder = os.open(dot.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system without such locks
            fcntl.flock(folder, fcntl.LOCK_EX)  # one after the other, for this moment
        if _identity(dot) != identity:
            return False
        dot.unlink()
    except FileNotFoundError:
        return True
    except OSError:  # it is somebody else's, in a folder where one removes one's own alone
        return False
    finally:
        os.close(folder)
    return True


def _let_go(dot: Path, identity: _Identity) -> None:
    """Remove ours, unless somebody took it for forgotten and made another."""
    _held.discard(identity[:2])
    with suppress(OSError):
        if _identity(dot) == identity:
            dot.unlink()


def _holder_of(dot: Path) -> str:
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
    return f"{_named(int(number[1]) if number else 0)} holds {dot}"


def _named(pid: int) -> str:
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


def _identity(file: Path | int) -> _Identity:
    """With the time of its making, because the number of a removed file is soon another's."""
    found = file.lstat() if isinstance(file, Path) else os.fstat(file)
    return found.st_dev, found.st_ino, found.st_mtime_ns
