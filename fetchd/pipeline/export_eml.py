"""Export as files: ACCOUNT/MAILBOX/UID-DIGEST12.eml with the exact octets.

The names are those of the archive's tar entries (archive.names), safe on any
file system. A file is written beside its place under a name that begins with a
dot, made durable together with others, and renamed: what has its own name is
whole, so an export that comes again need not suspect it.
"""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from fetchd.archive.names import entry_name
from fetchd.contracts import Body
from fetchd.destinations.durable import Flush
from fetchd.pipeline.exported import BATCH_MESSAGES, BATCH_OCTETS, Exported

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class _Folder:
    """An open folder and the files in it that have no name of their own yet."""

    path: Path
    descriptor: int
    flush: Flush
    waiting: list[str] = field(default_factory=list)


class EmlWriter:
    """Files below `root` (exported.Writer)."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, _Folder] = {}
        self._waiting = 0
        self._waiting_octets = 0
        self.written = self.octets = self.present = 0
        self.conflicts: list[Path] = []

    def has(self, message: Exported) -> bool:
        return not self._missing(message, count=True)

    def put(self, message: Exported, body: Body) -> None:
        for path in self._missing(message, count=False):
            self._write(self._folder(path.parent), path.name, message, body)
            self._waiting_octets += message.size
        self.written += 1
        self.octets += message.size
        self._waiting += 1
        if self._waiting >= BATCH_MESSAGES or self._waiting_octets >= BATCH_OCTETS:
            self.finish()

    def finish(self) -> None:
        for folder in self._folders.values():
            folder.flush.flush([_hidden(name) for name in folder.waiting])
            while folder.waiting:
                name = folder.waiting.pop()
                _rename(folder, name)
            os.fsync(folder.descriptor)
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self._folders.values():
            for name in folder.waiting:
                (folder.path / _hidden(name)).unlink(missing_ok=True)
        self._let_go()

    def _missing(self, message: Exported, *, count: bool) -> list[Path]:
        """The places where it is to be written; the others, counted once, are taken."""
        missing = []
        taken = False
        for place in message.places:
            name = entry_name(place.account, place.mailbox, place.uid, message.digest)
            path = self._root / name
            if not os.path.lexists(path):
                missing.append(path)
            elif _holds(path, message):
                taken = True
            elif count:
                self.conflicts.append(path)
        if count and taken and not missing:
            self.present += 1
        return missing

    def _folder(self, path: Path) -> _Folder:
        if path not in self._folders:
            _make(path, self._root.parent)
            descriptor = os.open(path, _FOLDER)
            self._folders[path] = _Folder(path, descriptor, Flush(descriptor))
        return self._folders[path]

    def _write(self, folder: _Folder, name: str, message: Exported, body: Body) -> None:
        folder.waiting.append(name)
        hidden = folder.path / _hidden(name)
        with os.fdopen(os.open(hidden, _NEW_FILE, 0o600), "wb") as file:
            file.writelines(body.chunks())
        stamp = message.date.timestamp()
        os.utime(hidden, (stamp, stamp))

    def _let_go(self) -> None:
        for folder in self._folders.values():
            os.close(folder.descriptor)
        self._folders.clear()
        self._waiting = self._waiting_octets = 0


def _make(path: Path, top: Path) -> None:
    """Make the folder and what is absent above it, below `top`, durably."""
    if path.is_dir():
        return
    if path.parent != top:
        _make(path.parent, top)
    path.mkdir(mode=0o700, exist_ok=True)
    above = os.open(path.parent, _FOLDER)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def _rename(folder: _Folder, name: str) -> None:
    """Into its place, unless somebody has put something there meanwhile."""
    hidden = folder.path / _hidden(name)
    if os.path.lexists(folder.path / name):
        hidden.unlink()
        return
    hidden.rename(folder.path / name)


def _hidden(name: str) -> str:
    return f".{name}.part"


def _holds(path: Path, message: Exported) -> bool:
    if not path.is_file() or path.stat().st_size != message.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest() == message.digest
