"""Delivers into a Maildir, exactly once.

A message is written to tmp/ under a name derived from its delivery; `settle`
makes everything that was put durable together, renames it to new/ and syncs
that folder once. A delivery whose earlier attempt is in doubt is looked for in
new/ and cur/ first, so a crash at any point repeats nothing. Trouble with the
folder or the disk defers the messages it touches, in a sentence with the
remedy; it is never raised. `durable` says how files are made durable and what
that costs, `newlines` when CRLF becomes LF.

The folder is created (0700) when absent, its parent never: a lost mount must
not be mistaken for an empty Maildir. Names carry S=<octets written>, as
Dovecot and Courier read it; a retry recognises its file by the part before it.
"""

import asyncio
import errno
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fetchd.contracts import Outcome, Outgoing, Settled
from fetchd.destinations.durable import Flush, syncfs
from fetchd.destinations.newlines import written

_KEY = re.compile(r"[0-9A-Za-z-]{1,128}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_T = TypeVar("_T")


@dataclass(slots=True)
class _Folders:
    """Open descriptors: what they name cannot be exchanged under us."""

    tmp: int
    new: int
    cur: int
    flush: Flush

    def close(self) -> None:
        for descriptor in (self.tmp, self.new, self.cur):
            os.close(descriptor)


class MaildirSession:
    """An open Maildir (contracts.DeliverySession)."""

    def __init__(self, path: Path, newline: str = "lf", executor: Executor | None = None) -> None:
        self._path = path
        self._newline = newline
        self._executor = executor
        self._lock = threading.Lock()  # a cancelled call's thread may still be running
        self._folders: _Folders | None = None
        self._present: set[str] | None = None
        self._uncertain: set[str] = set()  # renamed here, but the folder's sync failed
        self._written: dict[int, str] = {}
        self._settled: list[Settled] = []
        self._found: list[int] = []

    async def put(self, outgoing: Sequence[Outgoing]) -> None:
        await self._blocking(lambda: self._put(outgoing))

    async def settle(self) -> list[Settled]:
        return await self._blocking(self._settle)

    async def close(self) -> None:
        await self._blocking(self._close)

    async def _blocking(self, work: Callable[[], _T]) -> _T:
        def locked() -> _T:
            with self._lock:
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._executor, locked)

    # -- put ---------------------------------------------------------------------

    def _put(self, outgoing: Sequence[Outgoing]) -> None:
        for item in outgoing:
            if _KEY.fullmatch(item.key) is None:
                reply = f"{item.key!r} cannot be part of a file name; please report this bug."
                self._settled.append(Settled(item.id, Outcome.FAILED, reply))
                continue
            try:
                self._write(item)
            except OSError as error:
                self._defer([item.id], error)

    def _write(self, item: Outgoing) -> None:
        folders = self._open()
        stem = f"{int(item.queued_at.timestamp())}.{item.key}.fetchd"
        if (item.doubtful or stem in self._uncertain) and stem in self._listed(folders):
            self._found.append(item.id)
            return
        size, octets = written(item.body, self._newline)
        name = f"{stem},S={size}"
        file = _create_file(name, folders.tmp)
        try:
            _write_all(file, octets, size)
        except OSError:
            self._remove(name)
            raise
        finally:
            os.close(file)
        self._written[item.id] = name

    def _open(self) -> _Folders:
        if self._folders is None:
            _create(self._path)
            tmp, new, cur = _open_all(self._path)
            self._folders = _Folders(tmp, new, cur, Flush(tmp))
        return self._folders

    def _listed(self, folders: _Folders) -> set[str]:
        """The names in new/ and cur/ without size and flags, listed once.

        cur/ comes last: a reader moves files from new/ to cur/, so one that is
        moved while we look is seen in the second listing.
        """
        if self._present is None:
            names = os.listdir(folders.new) + os.listdir(folders.cur)  # noqa: PTH208
            self._present = {name.partition(":")[0].partition(",")[0] for name in names}
        return self._present

    # -- settle ------------------------------------------------------------------

    def _settle(self) -> list[Settled]:
        folders = self._folders
        if folders is not None:
            self._confirm_found(folders)
            self._publish(folders)
        settled, self._settled = self._settled, []
        if any(one.outcome is Outcome.DEFERRED for one in settled):
            self._let_go()  # the next put looks at the folder afresh
        return settled

    def _confirm_found(self, folders: _Folders) -> None:
        """An earlier attempt renamed them; that its folder sync happened is not known."""
        found, self._found = self._found, []
        if not found:
            return
        try:
            os.fsync(folders.new)
            os.fsync(folders.cur)
        except OSError as error:
            self._defer(found, error)
        else:
            self._settled += [Settled(id_, Outcome.DELIVERED, "found there") for id_ in found]

    def _publish(self, folders: _Folders) -> None:
        """tmp durable, tmp to new, new durable."""
        pending, self._written = self._written, {}
        if not pending:
            return
        try:
            folders.flush.flush(list(pending.values()))
        except OSError as error:
            for name in pending.values():
                self._remove(name)
            self._defer(list(pending), error)
            return
        renamed = [id_ for id_, name in pending.items() if self._rename(folders, id_, name)]
        try:
            os.fsync(folders.new)
        except OSError as error:
            self._uncertain |= {pending[id_].partition(",")[0] for id_ in renamed}
            self._defer(renamed, error)
            return
        self._settled += [Settled(id_, Outcome.DELIVERED) for id_ in renamed]

    def _rename(self, folders: _Folders, id_: int, name: str) -> bool:
        try:
            os.rename(name, name, src_dir_fd=folders.tmp, dst_dir_fd=folders.new)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and _exists(folders.new, name):
                return True  # another process made the same delivery
            self._remove(name)
            self._defer([id_], error)
            return False
        return True

    # -- close and trouble ---------------------------------------------------------

    def _close(self) -> None:
        for name in self._written.values():
            self._remove(name)
        self._written.clear()
        self._settled.clear()
        self._found.clear()
        self._let_go()

    def _let_go(self) -> None:
        if self._folders is not None:
            self._folders.close()
        self._folders = self._present = None

    def _remove(self, name: str) -> None:
        # What cannot be removed is overwritten by the next attempt, which has the same name.
        with suppress(OSError):
            if self._folders is not None:
                os.unlink(name, dir_fd=self._folders.tmp)

    def _defer(self, ids: Sequence[int], error: OSError) -> None:
        reply = _sentence(self._path, error)
        self._settled += [Settled(id_, Outcome.DEFERRED, reply) for id_ in ids]


def _create_file(name: str, folder: int) -> int:
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


def _exists(folder: int, name: str) -> bool:
    with suppress(OSError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    return False


def _create(path: Path) -> None:
    """Make what is absent of the Maildir, durably."""
    made = False
    for folder in (path, path / "tmp", path / "new", path / "cur"):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            made = True
    if not made:
        return
    here = os.open(path, _FOLDER)
    try:
        os.fsync(here)
        parent = os.open(path.parent, _FOLDER)
    except PermissionError:
        syncfs(here)  # a parent that may be entered but not read
    else:
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    finally:
        os.close(here)


def _open_all(path: Path) -> list[int]:
    opened: list[int] = []
    try:
        for name in ("tmp", "new", "cur"):
            opened.append(os.open(path / name, _FOLDER))  # noqa: PERF401  # closed on failure
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    return opened


def _sentence(path: Path, error: OSError) -> str:
    """What is wrong with the Maildir and what to do about it."""
    match error.errno:
        case errno.ENOSPC:
            trouble = f"The disk of {path} is full. Free space there."
        case errno.EDQUOT:
            trouble = f"The disk quota of {path} is used up. Free space there or raise it."
        case errno.EACCES | errno.EPERM:
            trouble = f"{path} may not be written. Give fetchd's user permission to write there."
        case errno.EROFS:
            trouble = f"The file system of {path} is read-only. Mount it for writing."
        case errno.ENOENT:
            absent = path if path.is_symlink() else path.parent
            trouble = f"{path} cannot be made or is gone. Create or mount {absent}."
        case errno.ENOTDIR:
            trouble = f"{path} is not a Maildir: a folder was expected. Name another path."
        case errno.ELOOP | errno.EEXIST | errno.ENXIO | errno.EISDIR:
            trouble = f"Something that is not mail stands in {path / 'tmp'}. Remove it."
        case _:
            trouble = f"{path} cannot be written: {error.strerror}. Repair it."
    return f"{trouble} fetchd tries again at the next sync."
