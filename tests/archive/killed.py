"""Run by a test in a process of its own: killed at every call to the operating system in turn.

A child appends and is ended, without any clean-up, before its n-th call; its
parent then recovers with what the child was told to be committed. Nothing of
that may be missing, and of the rest there is all of a commit or nothing.
Prints how many calls there were.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from fetchd.archive.store import Archive
from fetchd.contracts import Recorded, SegmentFacts
from tests.archive.samples import extracted, faults, letters, name_of, store

CALLS = ("open", "mkdir", "pwrite", "fdatasync", "rename", "fsync", "fchmod", "close")
SEGMENT_SIZE = 1_500  # two commits
COMMITS = 3


def main(root: Path) -> None:
    number = 0
    while work_until_killed(root / str(number), number):
        number += 1
    print(number)


def work_until_killed(place: Path, number: int) -> bool:
    """Whether the child was killed."""
    (place / "spool").mkdir(parents=True)
    told, says = os.pipe()
    child = os.fork()
    if child == 0:
        die_before(number)
        work(place, says)
        os.kill(os.getpid(), signal.SIGTERM)
    os.close(says)
    with os.fdopen(told) as lines:
        committed = [line.split() for line in lines]
    _, status = os.waitpid(child, 0)
    examine(place, {path: SegmentFacts(int(end), False) for path, end in committed}, len(committed))
    return os.WTERMSIG(status) == signal.SIGKILL


def die_before(number: int) -> None:
    left = number

    def deadly(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)

        return call

    for name in CALLS:
        setattr(os, name, deadly(getattr(os, name)))


def work(place: Path, says: int) -> None:
    archive = Archive(place / "archive", segment_size=SEGMENT_SIZE)
    list(archive.recover({}))
    for one in range(COMMITS):
        recorded = store(archive, place / "spool", letters(one), letters(one + 100))
        os.write(says, f"{recorded.segment} {recorded.end}\n".encode())


def examine(place: Path, known: dict[str, SegmentFacts], commits: int) -> None:
    with closing(Archive(place / "archive")) as archive:
        recovered = list(archive.recover(known))
        assert len(recovered) <= 1
        made = [one for one in archive.replay() if isinstance(one, Recorded)]
        assert len(made) == len(list(archive.replay())) == commits + len(recovered)
        assert faults(archive, *made) == {}
        numbers = range(len(made))
        expected = {name_of(data): data for data in letters(*numbers, *(n + 100 for n in numbers))}
        found: dict[str, bytes] = {}
        for path in archive.sizes():
            found |= extracted(place / "archive" / path, Path(tempfile.mkdtemp(dir=place)) / "out")
        assert found == expected
        assert not list(place.rglob("*.new"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
