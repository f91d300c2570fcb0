"""One Maildir on the disk and the Maildir++ folders in it: made, opened, written to.

Contract: everything is blocking and raises OSError alone. What was opened is
reached by descriptors, so that nobody can exchange it under us; unless `links`
are allowed none of its folders may be a symbolic link. All messages are written in
the Maildir's own tmp/ and renamed from there to new/ or cur/ of their folder.

A folder is made durably: its file `maildirfolder`, which Maildir++ wants, is written
when all else has reached the disk, and where it is missing the folder is made anew.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from fetchd.values import Struct

PARTS = ("tmp", "new", "cur")
MARKER = "maildirfolder"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Maildir:
    """An open Maildir; the folders in it are opened for as long as they are used."""

    def __init__(self, name: str, above: int, *, links: bool = False, make: bool = False) -> None:
        """`make` what is absent of it in the folder `above`, itself included."""
        self._mode = _FOLDER if links else _FOLDER | os.O_NOFOLLOW
        if make:
            self._make(name, above)
        self._root = os.open(name, self._mode, dir_fd=above)
        try:
            self.tmp = os.open("tmp", self._mode, dir_fd=self._root)
        except OSError:
            os.close(self._root)
            raise

    def close(self) -> None:
        """Let go of the descriptors."""
        os.close(self.tmp)
        os.close(self._root)

    def write(
        self, name: str, octets: Iterable[bytes], size: int, date: datetime | None = None
    ) -> None:
        """A file in tmp/ with these octets and, where given, this mtime; not durable yet."""
        file = _create(name, self.tmp)
        try:
            _write_all(file, octets, size)
            if date is not None:
                os.utime(file, (date.timestamp(),) * 2)
        except OSError:
            self.discard(name)
            raise
        finally:
            os.close(file)

    def discard(self, name: str) -> None:
        """Remove a file from tmp/."""
        # What cannot be removed is overwritten by the next attempt, which has the same name.
        with suppress(OSError):
            os.unlink(name, dir_fd=self.tmp)

    def folders(self) -> list[str]:
        """Itself, and what may be a folder in it: whatever begins with a dot."""
        inside = os.listdir(self._root)  # noqa: PTH208
        return ["", *sorted(name for name in inside if name.startswith("."))]

    def has(self, name: str) -> bool:
        """Whether there is such a folder."""
        return not name or exists(name, self._root)

    @contextmanager
    def folder(self, name: str = "", *, make: bool = False) -> Iterator["Folder"]:
        """A Maildir++ folder by its name with the dot; "" is the Maildir itself."""
        whole = (f"{name}/{part}" for part in (*PARTS, MARKER))
        if make and name and not all(exists(part, self._root) for part in whole):
            self._make(name, self._root, MARKER)
        with (
            self._opened(name or ".", self._root) as here,
            self._opened("new", here) as new,
            self._opened("cur", here) as cur,
        ):
            yield Folder(new, cur)

    def _make(self, name: str, above: int, marker: str = "") -> None:
        made = [make_folder(name, above)]
        with self._opened(name, above) as here:
            made += [make_folder(part, here) for part in PARTS]
            if any(made) or marker:
                os.fsync(here)
                os.fsync(above)
            if marker:
                os.close(os.open(marker, _NEW_FILE, 0o600, dir_fd=here))

    @contextmanager
    def _opened(self, name: str, above: int) -> Iterator[int]:
        descriptor = os.open(name, self._mode, dir_fd=above)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class Folder(Struct, frozen=True):
    """The descriptors of new/ and cur/."""

    new: int
    cur: int

    def files(self) -> Iterator[tuple[int, str]]:
        """Every name, and where it is.

        cur/ comes last: a reader moves files from new/ to cur/, so one that is
        moved while we look is seen in the second listing.
        """
        for part in (self.new, self.cur):
            for name in os.listdir(part):  # noqa: PTH208
                yield part, name

    def sync(self, *, new: bool = True, cur: bool = True) -> None:
        """Return when what was renamed in them is durable."""
        for touched, part in ((new, self.new), (cur, self.cur)):
            if touched:
                os.fsync(part)


def open_folder(path: str | os.PathLike[str]) -> int:
    """A descriptor of the folder, links followed."""
    return os.open(path, _FOLDER)


def make_folder(name: str, above: int) -> bool:
    """Whether it had to be made."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=above)
        return True
    return False


def exists(name: str, above: int) -> bool:
    """Whether something of that name is there."""
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=above, follow_symlinks=False)
        return True
    return False


def _create(name: str, folder: int) -> int:
    """An empty file open for writing; an earlier attempt may have left one."""
    try:
        return os.open(name, _NEW_FILE | os.O_EXCL, 0o600, dir_fd=folder)
    except FileExistsError:
        file = os.open(name, _NEW_FILE | os.O_TRUNC, 0o600, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EEXIST, "something that is not a file stands in tmp/")
    return file


def _write_all(file: int, octets: Iterable[bytes], size: int) -> None:
    left = size
    for chunk in octets:
        view = memoryview(chunk)
        while view:
            view = view[os.write(file, view) :]
        left -= len(chunk)
    if left != 0:
        raise OSError(errno.EIO, "the message changed while it was written")
