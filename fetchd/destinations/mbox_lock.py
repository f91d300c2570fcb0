"""The two locks of an mbox file, as mail programs have always taken them.

`<path>.lock`, made with O_EXCL, and fcntl's lock on the file itself: some programs honour
only one of the two. Neither is waited for: whoever cannot have both has none, so that nobody
is kept waiting by us and the order of locks cannot matter. The dot-lock comes first, since
fcntl's lock does not exclude others in our own process, and would be lost with the first
descriptor of that file that one of them closes.

A link is followed if it is root's or ours, as /var/mail's are; the locks are then those
of the file that it leads to. A file with several names is refused: in a folder where
everybody may make names, it could be anything.
"""

import errno
import fcntl
import os
import stat
import struct
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

from fetchd.destinations import dot_lock
from fetchd.values import Struct

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # lest a FIFO should block


class Held(Struct, frozen=True):
    """Somebody else has it; `holder` is a clause that says who, as far as can be seen."""

    holder: str


class Locked(Struct, frozen=True):
    """Both locks are ours. `file` is the open mbox, `path` where it really is."""

    path: Path
    file: int
    dot: Path
    identity: dot_lock.Identity  # of the dot-lock

    def release(self) -> None:
        """The file's lock first: behind the dot-lock we may not be alone in this process."""
        os.close(self.file)
        dot_lock.let_go(self.dot, self.identity)


def lock(path: Path) -> Locked | Held:
    """Both locks, or none; the file is made (0600) when it is absent. OSError on trouble."""
    path = _real(path)
    dot = path.with_name(path.name + ".lock")
    identity = dot_lock.make(dot)
    if identity is None and dot_lock.is_forgotten(dot):
        identity = dot_lock.make(dot)
    if identity is None:
        return Held(dot_lock.holder_of(dot))
    with ExitStack() as undo:
        undo.callback(dot_lock.let_go, dot, identity)
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
        return f"{dot_lock.named(_owner(file))} has locked it"
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
