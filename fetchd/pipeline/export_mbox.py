"""Export into one mbox file, by the rules of mboxrd, so that every octet can be had back.

A message begins with `From DIGEST@fetchd.invalid DATE`; its lines that look
like that get one more `>`; a blank line ends it. CRLF becomes LF where that can
be undone, and a last line without end gets one. What a message was exactly,
`restored` tells: of the few texts that an entry can stand for, the one that
hashes to the digest in its first line.

An existing file is continued only if it is one of ours. Its last entry, which
an interrupted export may have left unfinished, is hashed, and cut off if need be.
"""

import fcntl
import hashlib
import mmap
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

from fetchd.contracts import Body
from fetchd.destinations.newlines import written
from fetchd.errors import UsageError
from fetchd.pipeline.exported import BATCH_OCTETS, Exported

_ENTRY = re.compile(rb"^From ([0-9a-f]{64})@fetchd\.invalid [^\n]*\n", re.MULTILINE)
_QUOTABLE = re.compile(rb"(\n>*)From ")
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
# What may become quotable with the octets that follow: all but the `>`s is held back.
_UNDECIDED = re.compile(rb"\n>*(F?|Fr|Fro|From)\Z")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


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
            self._file.write(_from_line(message))
            self._file.writelines(_entry(body))
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


def restored(entry: bytes, digest: bytes) -> bytes | None:
    """The exact octets of an entry (without its first line), or None if they are not there."""
    if not entry.endswith(b"\n\n"):
        return None
    lf = _QUOTED.sub(rb"\1", entry[:-1])
    crlf = lf.replace(b"\n", b"\r\n")
    for octets in (crlf, lf, crlf[:-2], lf[:-1]):
        if hashlib.sha256(octets).digest() == digest:
            return octets
    return None


def _from_line(message: Exported) -> bytes:
    """As every reader expects it: asctime in UTC, in English whatever the locale."""
    at = message.date
    day = f"{_DAYS[at.weekday()]} {_MONTHS[at.month - 1]} {at.day:2} {at:%H:%M:%S %Y}"
    return f"From {message.digest.hex()}@fetchd.invalid {day}\n".encode()


def _entry(body: Body) -> Iterator[bytes]:
    """The message with its lines quoted, ended, and a blank line behind it."""
    last = b""
    for piece in _quoted(written(body, "lf")[1]):
        yield piece
        last = piece or last
    yield b"\n" if last.endswith(b"\n") else b"\n\n"


def _quoted(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One more `>` before every line that is `>`s and `From `, wherever the chunks are cut.

    It goes behind the others, where it makes no difference: so only `From` ever
    has to wait for the next chunk, however many `>`s there are.
    """
    held, in_run = b"", True  # whether a line end and `>`s alone precede what comes
    for chunk in chunks:
        text = (b"\n" if in_run else b"") + held + chunk
        undecided = _UNDECIDED.match(text, max(text.rfind(b"\n"), 0))
        cut = undecided.start(1) if undecided else len(text)
        piece = _QUOTABLE.sub(rb"\1>From ", text[:cut])
        yield piece[1:] if in_run else piece
        held, in_run = text[cut:], undecided is not None
    yield held


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
