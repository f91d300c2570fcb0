"""Export into one mbox file, by the rules of `mboxrd`, so that every octet can be had back.

A message begins with `From DIGEST@fetchd.invalid DATE`: of the few texts that its entry
can stand for, the exact one is that which hashes to this digest.

An existing file is continued only if it is one of ours. Its last entry, which
an interrupted export may have left unfinished, is hashed, and cut off if need be.
"""

import fcntl
import mmap
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

from fetchd.contracts import Body
from fetchd.destinations.mboxrd import entry, from_line, restored
from fetchd.errors import UsageError
from fetchd.pipeline.exported import BATCH_OCTETS, Exported

_ENTRY = re.compile(rb"^From ([0-9a-f]{64})@fetchd\.invalid [^\n]*\n", re.MULTILINE)


class MboxWriter:
    """One mbox file (exported.Writer)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._present: set[bytes] = set()
        self._unsynced = 0
        self.written = self.octets = self.present = 0
        self.conflicts: list[Path] = []

    def __enter__(self) -> Self:
        fresh = not self._path.exists()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # lest a FIFO should block
        self._file = os.fdopen(os.open(self._path, flags, 0o600), "r+b")
        try:
            self._take_over()
            if fresh:
                _sync_folder(self._path.parent)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # what could not be written was told by `put` or `finish`
                self._file.close()

    def has(self, message: Exported) -> bool:
        found = message.digest in self._present
        self.present += found
        return found

    def put(self, message: Exported, body: Body) -> None:
        assert self._file is not None
        start = self._file.tell()
        try:
            sender = f"{message.digest.hex()}@fetchd.invalid"
            self._file.write(from_line(sender, message.date))
            self._file.writelines(entry(body))
            self._file.flush()
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file.fileno(), start)
            raise
        self._present.add(message.digest)
        self.written += 1
        self.octets += message.size
        self._unsynced += message.size
        if self._unsynced >= BATCH_OCTETS:
            self.finish()

    def finish(self) -> None:
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._unsynced = 0

    def _take_over(self) -> None:
        """Lock the file, learn what is in it, and stand at its end."""
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another process is writing {self._path}", advice="Wait until it has ended."
            ) from None
        size = os.fstat(self._file.fileno()).st_size
        if size:
            end = self._learn(size)
            self._file.truncate(end)
        self._file.seek(0, os.SEEK_END)

    def _learn(self, size: int) -> int:
        """The digests in the file, and where its last whole entry ends."""
        assert self._file is not None
        with mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_READ) as octets:
            starts = [(found.start(), found.end(), found[1]) for found in _ENTRY.finditer(octets)]
            if not starts or starts[0][0] != 0:
                raise UsageError(
                    f"{self._path} is there, and is not an mbox that fetchd began",
                    advice="Name another file; fetchd adds nothing to files of others.",
                )
            self._present = {bytes.fromhex(digest.decode()) for _, _, digest in starts}
            begin, text, digest = starts[-1]
            last = bytes.fromhex(digest.decode())
            if restored(octets[text:], last) is not None:
                return size
            self._present.discard(last)
            return begin


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
