"""Run by a test in a process of its own, where a disk is full or read-only, or files are small.

Appends until it is refused, makes room, and appends again; what was refused must
have left no trace. On a read-only disk, reads what is there. Prints the refusal.
"""

import os
import sys
from contextlib import closing
from pathlib import Path

from fetchd.archive.store import Archive
from fetchd.contracts import Recorded
from fetchd.errors import ArchiveError
from tests.archive.samples import faults, known, octets, odd_messages, store


def main(folder: Path, spool: Path, ballast: Path) -> None:
    if ballast.name == "read-only":
        only_read(folder, spool)
    else:
        fill(folder, spool, ballast)


def only_read(folder: Path, spool: Path) -> None:
    for refused in (lambda a: store(a, spool, [b"x"]), lambda a: list(a.recover({}))):
        with closing(Archive(folder)) as archive:
            try:
                refused(archive)
            except ArchiveError as error:
                print(error, error.advice)
            else:
                raise AssertionError("it was not refused")
    archive = Archive(folder, read_only=True)
    (recorded,) = archive.replay()
    assert isinstance(recorded, Recorded)
    assert octets(archive, recorded, spool) == odd_messages()
    assert faults(archive, recorded) == {}


def fill(folder: Path, spool: Path, ballast: Path) -> None:
    made: list[Recorded] = []
    with closing(Archive(folder)) as archive:
        try:
            while len(made) < 100:
                made.append(store(archive, spool, [os.urandom(50_000)], [os.urandom(50_000)]))
        except ArchiveError as error:
            print(error, error.advice)
        assert len(made) > 2
        assert archive.sizes() == {one.segment: one.end for one in made}
        ballast.unlink(missing_ok=True)
        made.append(store(archive, spool, [os.urandom(50_000)]))
        assert faults(archive, *made) == {}
        assert len(octets(archive, made[-1], spool)) == 1
        assert [one for one in archive.replay() if one not in made] == []
    with closing(Archive(folder)) as archive:
        assert list(archive.recover(known(*made))) == []


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
