import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fetchd.archive import segment
from fetchd.archive.store import Archive
from fetchd.contracts import Commit
from fetchd.errors import ArchiveError
from tests.archive.samples import (
    extracted,
    faults,
    known,
    letters,
    name_of,
    odd_messages,
    packed_up,
    store,
)

ROOT = Path(__file__).parents[2]
PROGRAM = "tests.archive.full_disk"


def failing(
    monkeypatch: pytest.MonkeyPatch, name: str, number: int, after: int = 0
) -> Callable[[], int]:
    """Let a function of os fail from its call `after` on; how often it was called."""
    calls = 0
    real = getattr(os, name)

    def fail(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(number, os.strerror(number))
        return real(*args)

    monkeypatch.setattr(segment.os, name, fail)
    return lambda: calls


def halfway(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A write that puts down a part, and fails at the next."""
    real = os.pwrite
    calls = 0

    def write(file: int, octets: bytes, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(number, os.strerror(number))
        return real(file, octets[: len(octets) // 2], offset)

    monkeypatch.setattr(segment.os, "pwrite", write)


@pytest.mark.parametrize(
    ("number", "sentence", "goes_on"),
    [
        (errno.ENOSPC, "is full. Free space there",       True),
        (errno.EDQUOT, "quota of the archive",            True),
        (errno.EIO,    "Input/output error. Look after",  False),
        (errno.EROFS,  "is read-only. Mount it",          False),
        (errno.EFBIG,  "may not hold files so large",     False),
    ],
)  # fmt: skip
def test_a_failed_write_leaves_the_segment_as_it_was(
    folder: Path,
    spool: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    sentence: str,
    goes_on: bool,
) -> None:
    with closing(Archive(folder)) as archive:
        first = store(archive, spool, letters(1))
        halfway(monkeypatch, number)
        with pytest.raises(ArchiveError) as raised:
            store(archive, spool, letters(2))
        assert sentence in f"{raised.value} {raised.value.advice}"
        assert str(folder) in str(raised.value)
        assert archive.sizes() == {first.segment: first.end}
        monkeypatch.undo()
        second = store(archive, spool, letters(2))
        assert (second.segment == first.segment) == goes_on
        assert archive.take_sealed() == (() if goes_on else (first.segment,))
        assert faults(archive, first, second) == {}
    files = extracted(folder / second.segment, tmp_path / "out")
    assert files == {name_of(one): one for one in letters(*((1, 2) if goes_on else (2,)))}


def test_a_failed_fsync_is_not_tried_again_on_that_file(
    folder: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Archive(folder)) as archive:
        first = store(archive, spool, letters(1))
        calls = failing(monkeypatch, "fdatasync", errno.ENOSPC)
        with pytest.raises(ArchiveError):
            store(archive, spool, letters(2))
        assert calls() == 1
        assert archive.sizes() == {first.segment: first.end}
        assert archive.take_sealed() == (first.segment,)
        monkeypatch.undo()
        second = store(archive, spool, letters(2))
        assert second.segment != first.segment
        assert list(archive.replay()) == [first, second]


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("pwrite", 0),
        ("pwrite", 1),     # the journal's
        ("fdatasync", 0),
        ("fsync", 0),      # of a folder
        ("fsync", 3),
    ],
)  # fmt: skip
def test_a_first_commit_that_fails_leaves_no_file(
    folder: Path, spool: Path, monkeypatch: pytest.MonkeyPatch, name: str, after: int
) -> None:
    with closing(Archive(folder)) as archive:
        failing(monkeypatch, name, errno.EIO, after)
        with pytest.raises(ArchiveError):
            store(archive, spool, letters(1))
        monkeypatch.undo()
        assert [path for path in folder.rglob("*") if path.is_file()] == []
        assert archive.take_sealed() == ()
        assert list(archive.replay()) == []
        store(archive, spool, letters(1))


def test_what_cannot_even_be_cut_back_is_cut_at_the_next_start(
    folder: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Archive(folder)) as archive:
        first = store(archive, spool, letters(1))
        halfway(monkeypatch, errno.EIO)
        failing(monkeypatch, "ftruncate", errno.EIO)
        with pytest.raises(ArchiveError):
            store(archive, spool, letters(2))
        monkeypatch.undo()
        assert (folder / first.segment).stat().st_size > first.end
        assert archive.take_sealed() == ()
        assert store(archive, spool, letters(2)).segment != first.segment
    with closing(Archive(folder)) as archive:
        list(archive.recover(known(first)))
        assert (folder / first.segment).stat().st_size == first.end


def test_files_are_given_back_whatever_happens(
    folder: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> Commit:
        raise RuntimeError("a mistake of the caller")

    with closing(Archive(folder)) as archive:
        first = store(archive, spool, letters(1))
        packed = packed_up([os.urandom(6_000_000)], spool)
        file = packed.frames[0].file
        assert file is not None
        with pytest.raises(RuntimeError):
            archive.append([packed], fail)
        assert file.closed
        assert archive.sizes() == {first.segment: first.end}
        packed = packed_up([os.urandom(6_000_000)], spool)
        failing(monkeypatch, "pwrite", errno.ENOSPC)
        with pytest.raises(ArchiveError):
            archive.append([packed], lambda _: Commit())
        assert packed.frames[0].file is not None
        assert packed.frames[0].file.closed


@pytest.mark.parametrize("what", ["nothing", "a file", "a file below", "a month that is a file"])
def test_a_folder_that_is_none(folder: Path, spool: Path, what: str) -> None:
    match what:
        case "nothing":
            folder = folder / "lost mount" / "archive"
        case "a file":
            folder.write_bytes(b"")
        case "a file below":
            folder.mkdir()
            folder = folder / "file" / "archive"
            folder.parent.write_bytes(b"")
        case "a month that is a file":
            folder.mkdir()
            with closing(Archive(folder)) as archive:
                month = (folder / store(archive, spool, letters(1)).segment).parent
            shutil.rmtree(month)
            month.write_bytes(b"")
    with closing(Archive(folder)) as archive:
        for work in (lambda: store(archive, spool, letters(1)), lambda: list(archive.recover({}))):
            with pytest.raises(ArchiveError, match=r"^(The|Something).*archive.*\.$") as raised:
                work()
            assert raised.value.advice.endswith(".")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_folder_that_may_not_be_written(
    folder: Path, spool: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Root may write everywhere, hence the pretence."""
    failing(monkeypatch, "open", number)
    with (
        closing(Archive(folder)) as archive,
        pytest.raises(ArchiveError, match="may not be read and written"),
    ):
        store(archive, spool, letters(1))


def test_files_may_not_grow(folder: Path, spool: Path) -> None:
    """RLIMIT_FSIZE refuses as a full disk does, in the middle of a write."""
    limit = 777_777
    script = f'ulimit -f {limit // 512}; exec "$@"'
    told = run_shell(script, sys.executable, "-m", PROGRAM, folder, spool, folder / "none")
    assert "may not hold files so large" in told
    assert all(path.stat().st_size <= limit for path in folder.rglob("*.zst"))


def test_a_full_disk(tmp_path: Path, spool: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    told = run_shell(
        'mount -t tmpfs -o size=2m none "$1"; head -c 1000000 /dev/zero > "$1"/ballast;'
        ' shift; exec "$@"',
        disk, sys.executable, "-m", PROGRAM, disk / "archive", spool, disk / "ballast",
        mounts=True,
    )  # fmt: skip
    assert f"The disk of the archive {disk}/archive is full. Free space there" in told


def test_a_read_only_disk(folder: Path, tmp_path: Path, spool: Path) -> None:
    with closing(Archive(folder)) as archive:
        store(archive, spool, odd_messages())
    disk = tmp_path / "disk"
    disk.mkdir()
    told = run_shell(
        'mount -t tmpfs none "$1"; cp -a "$2" "$1"; mount -o remount,ro "$1"; shift 2; exec "$@"',
        disk, folder, sys.executable, "-m", PROGRAM, disk / "archive", spool, disk / "read-only",
        mounts=True,
    )  # fmt: skip
    assert told.startswith(f"The file system of the archive {disk}/archive is read-only.")


def run_shell(script: str, *arguments: str | Path, mounts: bool = False) -> str:
    """What it prints; with `mounts` in a namespace where it may mount."""
    apart = ["unshare", "--map-root-user", "--mount"] if mounts else []
    if mounts and subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel lets nobody mount: unshare --map-root-user --mount")
    done = subprocess.run(
        [*apart, "sh", "-ec", script, "-", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
