"""One segment file: locked by whoever appends to it, cut back to what is committed.

A file that holds no commit yet is called `<ulid>.new`. It gets its name when the
first commit is durable in it, so a segment is never empty and never begins with
half a commit; `.new` files without a lock are a dead process's, see `sweep`.
The lock (flock, let go by the kernel when the process ends) is taken before the
name appears. A sealed file loses its write permission: nobody appends to it
again, even before the catalog has heard of it.
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from fetchd.ulid import new_ulid

SUFFIX = ".tar.zst"
NAME = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\.tar\.zst")

_FRESH = ".new"
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Segment:
    """A locked segment. `length` is what is committed; `write` goes on behind it.

    Every method may raise OSError. After a failed `sync` the file is `unreliable`:
    the kernel tells of a failed write once, so it must not be synced again.
    """

    def __init__(self, root: Path, path: str, file: int, *, fresh: bool = False) -> None:
        self.root, self.path, self.file = root, path, file
        self._fresh = fresh
        self.length = self._end = os.fstat(file).st_size
        self.unreliable = False

    @classmethod
    def create(cls, root: Path) -> "Segment":
        """A new one, locked, without a name to be found by."""
        while True:
            ulid, now = new_ulid(), datetime.now(UTC)
            path = f"{now:%Y/%m}/{ulid}{SUFFIX}"
            make_folders(root, f"{now:%Y}", f"{now:%Y/%m}")
            file = os.open(_fresh_path(root, path), _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
            # `sweep` may have come between opening and locking.
            if _lock(file) and os.fstat(file).st_nlink:
                return cls(root, path, file, fresh=True)
            os.close(file)

    @classmethod
    def take(cls, root: Path, path: str) -> "Segment | None":
        """An existing one; None when another process appends to it or has removed it."""
        target = root / path
        try:
            writable = stat.S_IMODE(target.stat().st_mode) & stat.S_IWUSR
            file = os.open(target, _FLAGS if writable else _READ)
        except FileNotFoundError:
            return None
        if _lock(file) and os.fstat(file).st_nlink:
            return cls(root, path, file)
        os.close(file)
        return None

    @property
    def sealed(self) -> bool:
        """Whether it lost its write permission."""
        return not stat.S_IMODE(os.fstat(self.file).st_mode) & stat.S_IWUSR

    def write(self, octets: bytes) -> None:
        """Put these octets behind what was written before."""
        view = memoryview(octets)
        while view:
            count = os.pwrite(self.file, view, self._end)
            self._end += count
            view = view[count:]

    def sync(self) -> None:
        """Make durable what was written: it is committed, all of it."""
        try:
            os.fdatasync(self.file)
            if self._fresh:
                self._publish()
            if not os.fstat(self.file).st_nlink:  # it would be gone with the last who has it open
                raise FileNotFoundError(errno.ENOENT, "it was removed", self.path)
        except OSError:
            self.unreliable = True
            raise
        self.length = self._end

    def cut(self, length: int) -> None:
        """Drop what lies behind `length`."""
        os.ftruncate(self.file, length)
        self.length = self._end = length

    def mark_sealed(self) -> None:
        """Nobody shall append to it again."""
        os.fchmod(self.file, 0o400)

    def discard(self) -> None:
        """Remove a file without a commit, under whichever name it has; `close` it then."""
        with suppress(FileNotFoundError):
            _fresh_path(self.root, self.path).unlink()
        with suppress(FileNotFoundError):
            (self.root / self.path).unlink()

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self.file)

    def _publish(self) -> None:
        _fresh_path(self.root, self.path).rename(self.root / self.path)
        sync_folders(self.root, self.path)
        self._fresh = False


def make_folders(root: Path, *below: str) -> None:
    """The archive's folder and some below; its parent never: it may be a lost mount."""
    for folder in (root, *(root / path for path in below)):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)


def sync_folders(root: Path, path: str) -> None:
    """Make a file's name durable, and the names of all folders down to it.

    All of them, because whoever made one may not have synced its name yet.
    """
    month = (root / path).parent
    _sync_each((month, month.parent, root))
    with suppress(PermissionError):  # a parent that may be entered but not read
        _sync_each((root.parent,))


def remove_segment(root: Path, path: str) -> bool:
    """Remove a segment for good; False when some process appends to it."""
    try:
        file = os.open(root / path, _READ)
    except FileNotFoundError:
        return True
    try:
        if not _lock(file):
            return False
        with suppress(FileNotFoundError):
            (root / path).unlink()
    finally:
        os.close(file)
    _sync_each(((root / path).parent,))
    return True


def sweep(folder: Path) -> None:
    """Remove the unnamed files of dead processes."""
    for fresh in folder.glob(f"*{_FRESH}"):
        with suppress(FileNotFoundError):
            file = os.open(fresh, _READ)
            try:
                if _lock(file):
                    fresh.unlink()
            finally:
                os.close(file)


def _fresh_path(root: Path, path: str) -> Path:
    return root / (path.removesuffix(SUFFIX) + _FRESH)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_each(folders: Iterable[Path]) -> None:
    for folder in folders:
        here = os.open(folder, _FOLDER)
        try:
            os.fsync(here)
        finally:
            os.close(here)
