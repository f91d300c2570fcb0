"""What was delivered, read from the disk and set against what the server served.

Nothing of fetchd is used: an archive is unpacked by `tar --zstd -xf` as a stranger
would, and the tests and the kill loop rely on that.

`Expected` counts messages by the digest of their octets, `Found` likewise; a
Maildir holds LF for CRLF, so it is compared with the digests of that form. Other
programs may add header lines or lose a NUL: for them the count decides, and how
many came through octet for octet is reported.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 2 << 30


def digest(octets: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(octets).hexdigest()


def with_lf(octets: bytes) -> bytes:
    """The form that a Maildir holds; one bare LF, and it could not be undone."""
    reversible = octets.count(b"\n") == octets.count(b"\r\n")
    return octets.replace(b"\r\n", b"\n") if reversible else octets


@dataclass(slots=True)
class Expected:
    """What a server holds, by digest, in both forms."""

    crlf: Counter[str] = field(default_factory=Counter)
    lf: Counter[str] = field(default_factory=Counter)
    octets: int = 0

    @classmethod
    def of(cls, messages: Iterable[bytes]) -> "Expected":
        """Read each message once; none is kept."""
        made = cls()
        for message in messages:
            made.add(message)
        return made

    def add(self, message: bytes, place: str = "") -> None:
        """One more; with a place, `lf` has it as `in_mirror` does."""
        self.crlf[digest(message)] += 1
        self.lf[f"{place} {digest(with_lf(message))}".lstrip()] += 1
        self.octets += len(message)

    def __add__(self, other: "Expected") -> "Expected":
        return Expected(self.crlf + other.crlf, self.lf + other.lf, self.octets + other.octets)


@dataclass(frozen=True, slots=True)
class Difference:
    """How what was found differs from what was expected."""

    expected: int
    exact: int  # expected messages that were found
    missing: int
    twice: int  # copies of expected messages beyond the first
    foreign: int  # what nobody expected

    @property
    def found(self) -> int:
        return self.exact + self.twice + self.foreign


def compare(expected: Counter[str], found: Counter[str]) -> Difference:
    """Match by digest."""
    exact = (expected & found).total()
    surplus = found - expected
    twice = sum(count for key, count in surplus.items() if key in expected)
    return Difference(
        expected=expected.total(),
        exact=exact,
        missing=expected.total() - exact,
        twice=twice,
        foreign=surplus.total() - twice,
    )


def in_maildir(maildir: Path) -> Counter[str]:
    """The digests of all messages in a Maildir and those below it."""
    return Counter(digest(path.read_bytes()) for path in messages(maildir))


def in_mirror(maildir: Path) -> Counter[str]:
    """The same, each behind the folder that it is in and a blank."""
    return Counter(
        f"{path.parent.parent.relative_to(maildir)} {digest(path.read_bytes())}"
        for path in messages(maildir)
    )


def messages(maildir: Path) -> Iterator[Path]:
    """The files in new and cur of a Maildir and of those below it."""
    for folder, _folders, files in os.walk(maildir):
        if folder.endswith(("/new", "/cur")):
            yield from (Path(folder, name) for name in files)


def flagged(maildir: Path) -> int:
    """How many messages there are flagged, as their names say."""
    return sum("F" in path.name.partition(":2,")[2] for path in messages(maildir))


def segments(data_dir: Path) -> list[Path]:
    """The files of an archive."""
    return sorted((data_dir / "archive").glob("**/*.tar.zst"))


def in_archive(data_dir: Path) -> Counter[str]:
    """The digests of all messages in all segments, unpacked one segment at a time."""
    found: Counter[str] = Counter()
    for segment in segments(data_dir):
        with tempfile.TemporaryDirectory(dir=room(data_dir)) as target:
            tar("-xf", segment, "-C", target)
            files = [path for path in Path(target).rglob("*.eml") if path.is_file()]
            found.update(digest(path.read_bytes()) for path in files)
            if (listed := len(names(segment))) != len(files):
                # One name twice: unpacking shows only the last of them.
                raise RuntimeError(f"{segment.name} lists {listed} messages, holds {len(files)}")
    return found


def room(data_dir: Path) -> Path:
    """Where to unpack: in memory where there is enough of it, to leave the disk alone (run.py)."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED
    return MEMORY if roomy else data_dir.parent


def archived(data_dir: Path) -> int:
    """How many messages the segments list, without unpacking them."""
    return sum(len(names(segment)) for segment in segments(data_dir))


def names(segment: Path) -> list[str]:
    """The names of a segment's messages."""
    return [name for name in tar("-tf", segment).splitlines() if name.endswith(".eml")]


def tar(mode: str, segment: Path, *more: str) -> str:
    """Run tar; a word of complaint is a failure."""
    done = subprocess.run(
        ["tar", "--zstd", mode, str(segment), *more], capture_output=True, text=True, check=False
    )
    if done.returncode or done.stderr:
        raise RuntimeError(f"tar of {segment.name}: {done.stderr.strip() or done.returncode}")
    return done.stdout
