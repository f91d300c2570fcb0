import os
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fetchd.archive import recovery
from fetchd.archive.store import Archive
from fetchd.contracts import Recorded, SegmentFacts
from tests.archive.samples import (
    extracted,
    faults,
    flip,
    known,
    letters,
    name_of,
    octets,
    sha256,
    store,
)


def recovered(folder: Path, facts: dict[str, SegmentFacts]) -> list[Recorded]:
    with closing(Archive(folder)) as archive:
        return list(archive.recover(facts))


@pytest.fixture
def two(folder: Path, spool: Path) -> tuple[Recorded, Recorded]:
    """Two commits in one segment."""
    with closing(Archive(folder)) as archive:
        return store(archive, spool, letters(1, 2)), store(archive, spool, letters(3))


def test_a_tail_cut_at_every_octet_is_all_or_nothing(
    folder: Path, tmp_path: Path, two: tuple[Recorded, Recorded]
) -> None:
    first, second = two
    path = folder / first.segment
    whole = path.read_bytes()
    assert len(whole) == second.end
    for end in range(first.end, second.end + 1):
        path.write_bytes(whole[:end])
        expected = [second] if end == second.end else []
        assert recovered(folder, known(first)) == expected
        assert path.read_bytes() == whole[: second.end if expected else first.end]
    path.write_bytes(whole[: second.end - 5])
    recovered(folder, known(first))
    assert extracted(path, tmp_path / "out") == {name_of(data): data for data in letters(1, 2)}


@pytest.mark.parametrize("garbage", [b"\0" * 5000, os.urandom(3000), b"\x28\xb5\x2f\xfd", b"x"])
def test_garbage_behind_the_last_commit_is_cut(
    folder: Path, spool: Path, two: tuple[Recorded, Recorded], garbage: bytes
) -> None:
    first, second = two
    path = folder / first.segment
    with path.open("ab") as file:
        file.write(garbage)
    with closing(Archive(folder)) as archive:
        assert list(archive.recover(known(first))) == [second]
        assert path.stat().st_size == second.end
        third = store(archive, spool, letters(4))
        assert third.segment == first.segment
        assert faults(archive, first, second, third) == {}


@pytest.mark.parametrize("where", ["data", "journal"])
def test_octets_that_never_reached_the_disk(
    folder: Path, two: tuple[Recorded, Recorded], where: str
) -> None:
    """After a power cut the length may be there while a block of zeros is not yet written."""
    first, second = two
    path = folder / first.segment
    data = bytearray(path.read_bytes())
    at = first.end + 20 if where == "data" else second.end - 20
    data[at : at + 20] = bytes(20)
    path.write_bytes(data)
    assert recovered(folder, known(first)) == []
    assert path.stat().st_size == first.end


def test_a_segment_unknown_to_the_catalog_is_replayed_from_its_beginning(
    folder: Path, two: tuple[Recorded, Recorded]
) -> None:
    assert recovered(folder, {}) == list(two)


def test_nothing_is_read_or_done_where_catalog_and_archive_agree(
    folder: Path, two: tuple[Recorded, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pread", None)
    monkeypatch.setattr(os, "ftruncate", None)
    monkeypatch.setattr(os, "fsync", None)
    assert recovered(folder, known(*two)) == []


def test_sealed_segments_are_not_even_opened(
    folder: Path, two: tuple[Recorded, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", None)
    assert recovered(folder, known(*two, sealed=True)) == []


def test_what_an_abandoned_segment_holds_is_replayed_at_the_next_start(
    folder: Path, spool: Path
) -> None:
    with closing(Archive(folder)) as archive:
        first, lost = store(archive, spool, letters(1)), store(archive, spool, letters(2))
        archive.abandon()
        after = store(archive, spool, letters(3))
        assert after.segment != first.segment
        assert archive.take_sealed() == ()
    assert recovered(folder, known(first, after)) == [lost]


def test_a_segment_of_a_living_process_is_left_alone(folder: Path, spool: Path) -> None:
    with closing(Archive(folder)) as living:
        first = store(living, spool, letters(1))
        path = folder / first.segment
        with path.open("ab") as file:
            file.write(b"half a frame")
        assert recovered(folder, {}) == []
        assert path.stat().st_size == first.end + 12


def test_segments_come_oldest_first(folder: Path, spool: Path) -> None:
    with closing(Archive(folder, segment_size=1)) as archive:
        made = [store(archive, spool, letters(n)) for n in range(5)]
    order = sorted(made, key=lambda one: one.segment)
    assert recovered(folder, {}) == order


def test_a_seal_that_the_catalog_missed_is_told_again(folder: Path, spool: Path) -> None:
    with closing(Archive(folder, segment_size=1)) as archive:
        first = store(archive, spool, letters(1))
    with closing(Archive(folder)) as archive:
        assert list(archive.recover(known(first))) == []
        assert archive.take_sealed() == (first.segment,)
        assert store(archive, spool, letters(2)).segment != first.segment


def test_a_segment_that_grew_full_is_sealed_at_the_start(
    folder: Path, two: tuple[Recorded, ...]
) -> None:
    first, second = two
    with closing(Archive(folder, segment_size=second.end)) as archive:
        assert list(archive.recover(known(first))) == [second]
        assert archive.take_sealed() == (first.segment,)
    assert stat.S_IMODE((folder / first.segment).stat().st_mode) == 0o400


def test_a_file_shorter_than_the_catalog_knows_is_not_gone_on_with(
    folder: Path, spool: Path, two: tuple[Recorded, Recorded]
) -> None:
    first, second = two
    os.truncate(folder / first.segment, first.end)
    with closing(Archive(folder)) as archive:
        assert list(archive.recover(known(first, second))) == []
        assert store(archive, spool, letters(9)).segment != first.segment
        assert faults(archive, first, second).keys() == {sha256(letters(3)[0])}


def test_a_process_killed_before_its_first_commit_leaves_nothing(folder: Path, spool: Path) -> None:
    with closing(Archive(folder)) as archive:
        first = store(archive, spool, letters(1))
    month = (folder / first.segment).parent
    (month / "01ARZ3NDEKTSV4RRFFQ69G5FAV.new").write_bytes(b"half a frame")
    (month / "01ARZ3NDEKTSV4RRFFQ69G5FAW.tar.zst").write_bytes(b"")
    (month / "notes.txt").write_bytes(b"not ours")
    assert recovered(folder, known(first)) == []
    names = {path.name for path in month.iterdir()}
    assert names == {Path(first.segment).name, "notes.txt"}


def test_where_the_catalog_was_lost_too_a_spoilt_end_with_messages_is_kept(
    folder: Path, spool: Path, two: tuple[Recorded, Recorded]
) -> None:
    first, second = two
    path = folder / first.segment
    flip(path, second.end - 1)
    before = path.read_bytes()
    with closing(Archive(folder)) as archive:
        assert list(archive.recover({})) == [first]
        assert store(archive, spool, letters(9)).segment != first.segment
    assert path.read_bytes() == before


def test_where_the_catalog_was_lost_too_a_torn_frame_is_cut(
    folder: Path, two: tuple[Recorded, Recorded]
) -> None:
    first, _ = two
    os.truncate(folder / first.segment, first.end + 50)
    assert recovered(folder, {}) == [first]
    assert (folder / first.segment).stat().st_size == first.end


def test_damage_before_the_last_commit_hides_nothing_behind_it(folder: Path, spool: Path) -> None:
    with closing(Archive(folder)) as archive:
        made = [store(archive, spool, letters(n)) for n in range(4)]
    flip(folder / made[0].segment, made[1].end - 1)
    assert recovered(folder, known(made[0]))[-2:] == made[2:]
    assert (folder / made[0].segment).stat().st_size == made[3].end


def test_what_is_adopted_is_durable_before_it_is_told(
    folder: Path, two: tuple[Recorded, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    synced: list[int] = []
    monkeypatch.setattr(recovery.os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    path = folder / first.segment
    with closing(Archive(folder)) as archive:
        assert next(archive.recover(known(first))) == second
    folders = (path.parent, path.parent.parent, folder, folder.parent)
    assert synced == [one.stat().st_ino for one in (path, *folders)]


def test_what_cannot_be_made_durable_is_not_adopted(
    folder: Path, spool: Path, two: tuple[Recorded, Recorded], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = two

    def fail(_file: int) -> None:
        raise OSError(5, "Input/output error")

    with closing(Archive(folder)) as archive:
        monkeypatch.setattr(recovery.os, "fsync", fail)
        assert list(archive.recover(known(first))) == []
        monkeypatch.undo()
        assert archive.take_sealed() == (first.segment,)
        assert (folder / first.segment).stat().st_size == first.end
        assert octets(archive, first, spool) == letters(1, 2)


def test_killed_at_every_call_to_the_operating_system(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.archive.killed", tmp_path],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 25
