"""Tar entries as octets: ustar (POSIX.1-2017 pax §Interchange Format), pax where needed.

`header` makes what precedes a message in a frame; `entries` reads the content
of a frame piece by piece and lets each message be examined on its way. Only
`path` and `size` ever appear in a pax header. The mtime stays between 1970 and
now, because tar complains of any other.

What is read may be spoilt, or made by somebody else: every number has a limit.
"""

import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from fetchd.values import Struct

BLOCK = 512
_OCTAL_SIZE_LIMIT = 8**11
_PAX_LIMIT = 64 * 1024  # octets of one pax header: ours have a few hundred
_OCTAL = re.compile(rb"[0-7]+")
_DECIMAL = re.compile(rb"[0-9]{1,19}")

_OWNER = b"0000600\0" + b"0000000\0" * 2
_MAGIC = bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2
_SAME = sum(_OWNER) + sum(_MAGIC) + 8 * 32  # the checksum counts as blanks

_T = TypeVar("_T")


class TarEntry(Struct, frozen=True):
    """A message as read back: `inner` is where its octets begin in the content."""

    name: str
    mtime: int
    size: int
    inner: int


def header(name: str, mtime: int, size: int) -> bytes:
    """All blocks that precede the octets of one entry."""
    stamp = min(max(mtime, 0), int(time.time()))
    split = _split(name)
    records = b"" if split else _record("path", name)
    if size >= _OCTAL_SIZE_LIMIT:
        records += _record("size", str(size))
    prefix, short = split or ("", name[-100:].rpartition("/")[2])
    shown = size if size < _OCTAL_SIZE_LIMIT else 0
    own = _block(short, prefix, stamp, shown, b"0")
    if not records:
        return own
    return _block("pax", "", stamp, len(records), b"x") + records + padding(len(records)) + own


def padding(size: int) -> bytes:
    """The zeros that fill the last block."""
    return bytes(-size % BLOCK)


def entries(
    pieces: Iterator[bytes], examine: Callable[[Iterator[bytes]], _T]
) -> Iterator[tuple[TarEntry, _T]]:
    """Every entry of a frame's content, and what `examine` makes of its octets.

    ValueError where the content is not a tar.
    """
    content = Content(pieces)
    extended: dict[str, str] = {}
    while block := content.take(BLOCK):
        size, kind = _checked(block)
        if kind == b"x":
            extended = _records(content.take(_bounded(size)))
            content.take(-size % BLOCK)
            continue
        if "size" in extended:
            size = _number(extended["size"].encode(), _DECIMAL, 10)
        inner = content.position
        examined = examine(content.some(size))
        if content.position - inner != size:
            raise ValueError("the message is cut short")
        content.take(-size % BLOCK)
        name = extended.get("path") or _name(block)
        mtime = _number(block[136:147], _OCTAL, 8)
        yield TarEntry(name, mtime, size, inner), examined
        extended = {}


def announces(block: bytes, size: int) -> bool:
    """Whether this is the header block in front of a message of that size."""
    try:
        shown, kind = _checked(block)
    except ValueError:
        return False
    return kind == b"0" and shown == (size if size < _OCTAL_SIZE_LIMIT else 0)


class Content:
    """Reads exact amounts from pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._buffer = memoryview(b"")
        self.position = 0

    def take(self, size: int) -> bytes:
        """`size` octets, or nothing at the very end of the content."""
        taken = b"".join(self._views(size))
        if len(taken) != size and taken:
            raise ValueError("the tar entry is cut short")
        return taken

    def some(self, size: int) -> Iterator[bytes]:
        """The next `size` octets, or what is left, in pieces."""
        return map(bytes, self._views(size))

    def skip(self, size: int) -> None:
        """Pass over the next `size` octets, or what is left."""
        for _ in self._views(size):
            pass

    def _views(self, size: int) -> Iterator[memoryview]:
        while size > 0:
            if not self._buffer:
                self._buffer = memoryview(next(self._pieces, b""))
                if not self._buffer:
                    return
            piece = self._buffer[:size]
            self._buffer = self._buffer[size:]
            self.position += len(piece)
            size -= len(piece)
            yield piece


def _checked(block: bytes) -> tuple[int, bytes]:
    """Size and type of a header block whose checksum is right."""
    total = sum(block) - sum(block[148:156]) + 8 * 32
    if block[257:262] != b"ustar" or _number(block[148:154], _OCTAL, 8) != total:
        raise ValueError("not a tar header")
    return _number(block[124:135], _OCTAL, 8), block[156:157]


def _number(digits: bytes, allowed: re.Pattern[bytes], base: int) -> int:
    """int() would also take signs, blanks and underscores."""
    if allowed.fullmatch(digits) is None:
        raise ValueError("not a number of a tar header")
    return int(digits, base)


def _bounded(size: int) -> int:
    if size > _PAX_LIMIT:
        raise ValueError("not a pax header of ours")
    return size


def _name(block: bytes) -> str:
    name = block[:100].rstrip(b"\0").decode("ascii")
    prefix = block[345:500].rstrip(b"\0").decode("ascii")
    return f"{prefix}/{name}" if prefix else name


def _records(octets: bytes) -> dict[str, str]:
    """The records "length key=value\\n" of a pax header."""
    found: dict[str, str] = {}
    while octets:
        digits, _, _ = octets.partition(b" ")
        length = _number(digits, _DECIMAL, 10)
        if not len(digits) < length <= len(octets):
            raise ValueError("not a pax record")
        key, _, value = octets[len(digits) + 1 : length - 1].partition(b"=")
        found[key.decode("ascii")] = value.decode("utf-8")
        octets = octets[length:]
    return found


def _record(key: str, value: str) -> bytes:
    """One record; its length counts its own digits."""
    body = f" {key}={value}\n".encode()
    length = len(body)
    while length != len(body) + len(str(length)):
        length = len(body) + len(str(length))
    return str(length).encode() + body


def _split(name: str) -> tuple[str, str] | None:
    """(prefix, name) as ustar has room for them; None when it has not."""
    if len(name) <= 100:
        return "", name
    cut = name.find("/", len(name) - 101)
    return (name[:cut], name[cut + 1 :]) if 0 < cut <= 155 else None


def _block(name: str, prefix: str, mtime: int, size: int, kind: bytes) -> bytes:
    """One header block: mode 0600, owner 0, magic "ustar", version "00"."""
    first, last, numbers = (
        name.encode("ascii"),
        prefix.encode("ascii"),
        b"%011o%011o" % (size, mtime),
    )
    # Summed up without what is the same in all: a sum over the whole block costs six times more.
    total = _SAME + sum(first) + sum(last) + sum(numbers) + kind[0]
    return b"%b%b%b\0%b\0%06o\0 %b%b%b%b" % (
        first.ljust(100, b"\0"), _OWNER, numbers[:11], numbers[11:], total, kind, _MAGIC,
        last.ljust(155, b"\0"), bytes(12),
    )  # fmt: skip
