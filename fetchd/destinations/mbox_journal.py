"""What is about to be appended to an mbox, and what was: a file beside it, `.<name>.fetchd`.

It is a line of JSON, the keys of earlier deliveries, the keys of this one, and the octets
that this one appends, from where on and behind what. It is written whole under another
name, made durable, and only then given its own: so it is never half there. How it went
is told by its length alone, which is changed at once or not at all:

    all of it       it was begun, and what of it is in the mbox has to be looked at
    without octets  it is in the mbox, durably
    earlier keys    none of it is

Keys are kept as digests, EARLIER of them at least: as many as a process can have handed
over without living to record it, and then some. That is how a delivery in doubt is found
without reading the mbox, where its reader may have changed or moved it by now.

Only a private file of our own user is believed: its octets go into somebody's mail.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import DecodeError, json

from fetchd.destinations.mbox_lock import sync_folder
from fetchd.values import Struct

EARLIER = 8_192  # keys

_KEY = 16  # hexadecimal digits of a key's digest
_LINE = _KEY + 1
_HEAD = 1_000  # octets that the first line may have
_PIECE = 1 << 20
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """The first line. Of the octets to append, `lead` make the blank line before the first entry.

    What the mbox held from `offset` on up to `covered` is part of the octets: mail of others
    that came behind a delivery which was cut short. `kept` of them need not be written.
    """

    version: int
    offset: int
    covered: int
    kept: int
    lead: int
    length: int  # octets to append
    earlier: int  # keys
    keys: int


class Journal:
    """One that is open; close it."""

    def __init__(self, path: Path, file: int) -> None:
        self._path, self._file = path, file
        self._length = os.fstat(file).st_size
        try:
            head, _, _ = os.pread(file, _HEAD, 0).partition(b"\n")
            self.plan = json.decode(head, type=Plan)
            self._octets, self.earlier, self.keys = self._read(len(head) + 1)
        except (DecodeError, ValueError):
            raise _not_ours(path) from None

    @property
    def begun(self) -> bool:
        """Whether it is not known how much of it is in the mbox."""
        return self._length > self._octets

    @property
    def done(self) -> tuple[str, ...]:
        """The digests of all keys whose messages are in the mbox."""
        return (*self.earlier, *self.keys) if self._length == self._octets else self.earlier

    def octets(self, begin: int = 0) -> Iterator[bytes]:
        """What is to be appended, from there on."""
        at, end = self._octets + begin, self._octets + self.plan.length
        while at < end:
            piece = os.pread(self._file, min(_PIECE, end - at), at)
            if not piece:
                raise _not_ours(self._path)
            yield piece
            at += len(piece)

    def conclude(self, *, done: bool) -> None:
        """All of it is in the mbox, or none; durable on return."""
        length = self._octets if done else self._octets - _LINE * len(self.keys)
        os.ftruncate(self._file, length)
        os.fsync(self._file)
        self._length = length

    def close(self) -> None:
        os.close(self._file)

    def _read(self, begin: int) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
        """Where the octets begin, and the digests of earlier and of these deliveries."""
        plan = self.plan
        keys = begin + _LINE * plan.earlier
        octets = keys + _LINE * plan.keys
        lengths = (keys, octets, octets + plan.length)
        if min(plan.length, plan.keys) < 1 or plan.earlier < 0 or self._length not in lengths:
            raise ValueError
        listed = os.pread(self._file, octets - begin, begin).decode("ascii").split("\n")
        earlier, these = listed[: plan.earlier], listed[plan.earlier : plan.earlier + plan.keys]
        return octets, tuple(earlier), tuple(these)


def journal_of(mbox: Path) -> Path:
    """Where that of this mbox is."""
    return mbox.with_name(f".{mbox.name}.fetchd")


def open_journal(path: Path) -> Journal | None:
    """None where there is none. OSError where it is not to be believed."""
    try:
        file = os.open(path, os.O_RDWR | _FLAGS)
    except FileNotFoundError:
        return None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise _not_ours(path)
        return Journal(path, file)
    except BaseException:
        os.close(file)
        raise


def write_journal(
    path: Path,
    plan: Plan,
    earlier: Sequence[str],
    keys: Sequence[str],
    octets: Iterable[bytes],
) -> Journal:
    """A durable one of this plan, in place of any other. It leaves no trace on OSError."""
    new = path.with_name(f"{path.name}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600)
    try:
        lines = [json.encode(plan).decode(), *earlier, *keys, ""]
        write_at(file, 0, ["\n".join(lines).encode("ascii")])
        write_at(file, os.fstat(file).st_size, octets)
        os.fsync(file)
        journal = Journal(path, file)
        new.rename(path)
        sync_folder(path.parent)
    except BaseException:
        os.close(file)
        with suppress(OSError):
            new.unlink()
        raise
    return journal


def write_at(file: int, at: int, pieces: Iterable[bytes]) -> int:
    """All of them from there on; where they end."""
    for piece in pieces:
        view = memoryview(piece)
        while view:
            written = os.pwrite(file, view, at)
            view, at = view[written:], at + written
    return at


def key_digest(destination: str, key: str) -> str:
    """By which a delivery is remembered."""
    name = f"{destination}\0{key}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(name).hexdigest()[:_KEY]


def remembered(journal: Journal | None) -> tuple[str, ...]:
    """The digests of what is in the mbox that the next journal has to know."""
    if journal is None:
        return ()
    return journal.done[-max(EARLIER, len(journal.keys)) :]


def _not_ours(path: Path) -> OSError:
    return OSError(errno.EBADMSG, os.strerror(errno.EBADMSG), str(path))
