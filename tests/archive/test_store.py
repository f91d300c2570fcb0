import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from fetchd.archive import compression, reading
from fetchd.archive.packing import pack
from fetchd.archive.source import Source
from fetchd.archive.store import Archive
from fetchd.contracts import Body, Commit, Location
from fetchd.errors import ArchiveDamaged, ArchiveError
from tests.archive.samples import (
    extracted,
    faults,
    flip,
    known,
    letters,
    name_of,
    octets,
    odd_messages,
    packed_up,
    sha256,
    store,
    wanted,
)


def test_every_odd_message_comes_back_as_it_was(folder: Path, spool: Path, tmp_path: Path) -> None:
    messages = odd_messages()
    with closing(Archive(folder)) as archive:
        recorded = store(archive, spool, messages[:7], messages[7:])
        assert octets(archive, recorded, spool) == messages
        assert faults(archive, recorded) == {}
        assert archive.sizes() == {recorded.segment: recorded.end}
    files = extracted(folder / recorded.segment, tmp_path / "out")
    assert files == {name_of(data): data for data in messages}


def test_tar_extracts_open_and_sealed_segments_after_any_number_of_appends(
    folder: Path, spool: Path, tmp_path: Path
) -> None:
    with closing(Archive(folder, segment_size=2_500)) as archive:
        for number in range(9):
            store(archive, spool, letters(number), letters(100 + number))
            archive.append((), lambda _: Commit(delivered=(("maildir", "k"),)))
            found: dict[str, bytes] = {}
            for path in archive.sizes():
                found |= extracted(folder / path, tmp_path / f"{number}-{Path(path).name}")
            expected = letters(*range(number + 1), *range(100, 101 + number))
            assert found == {name_of(data): data for data in expected}
        assert len(archive.sizes()) > 2


def test_a_segment_of_facts_alone_is_a_tar_of_nothing(folder: Path, tmp_path: Path) -> None:
    facts = Commit(expired=(sha256(b"x"),))
    with closing(Archive(folder)) as archive:
        recorded = archive.append((), lambda _: facts)
        assert list(archive.replay()) == [recorded]
    assert recorded.commit == facts
    assert extracted(folder / recorded.segment, tmp_path / "out") == {}


def test_locations_come_in_the_order_of_the_messages(folder: Path, spool: Path) -> None:
    batches = [letters(3, 1), [], [odd_messages()[-1], *letters(2)]]
    seen: list[list[int]] = []

    def commit_of(places: list[list[Location]]) -> Commit:
        seen.append([len(batch) for batch in places])
        flat = [place for batch in places for place in batch]
        assert [(p.offset, p.inner) for p in flat] == sorted((p.offset, p.inner) for p in flat)
        return Commit()

    with closing(Archive(folder)) as archive:
        archive.append([packed_up(batch, spool) for batch in batches], commit_of)
    assert seen == [[2, 0, 2]]


def test_a_full_segment_is_sealed_and_the_next_append_begins_another(
    folder: Path, spool: Path
) -> None:
    with closing(Archive(folder, segment_size=100)) as archive:
        first = store(archive, spool, letters(1))
        second = store(archive, spool, letters(2))
        assert first.segment != second.segment
        assert archive.take_sealed() == (first.segment, second.segment)
        assert archive.take_sealed() == ()
    assert stat.S_IMODE((folder / first.segment).stat().st_mode) == 0o400


def test_nothing_is_readable_by_others(folder: Path, spool: Path) -> None:
    with closing(Archive(folder)) as archive:
        recorded = store(archive, spool, letters(1))
    for path in (folder, *folder.rglob("*")):
        allowed = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == allowed
    assert Path(recorded.segment).name.endswith(".tar.zst")


def test_seal_lets_the_owner_remove_what_is_dead(folder: Path, spool: Path) -> None:
    with closing(Archive(folder)) as archive:
        archive.seal()
        recorded = store(archive, spool, letters(1))
        archive.seal()
        assert archive.take_sealed() == (recorded.segment,)
        archive.remove(recorded.segment)
        archive.remove(recorded.segment)  # a crash may come between file and catalog
        assert archive.sizes() == {}
        with pytest.raises(ArchiveDamaged, match=r"The segment .* is missing"):
            octets(archive, recorded, spool)
        assert list(faults(archive, recorded).values()) == [
            f"The segment {recorded.segment} is missing."
        ]


def test_a_segment_in_use_by_another_process_is_not_removed(folder: Path, spool: Path) -> None:
    with closing(Archive(folder)) as writing, closing(Archive(folder)) as removing:
        recorded = store(writing, spool, letters(1))
        with pytest.raises(ArchiveError, match="is being written by another process"):
            removing.remove(recorded.segment)
        assert octets(removing, recorded, spool) == letters(1)


def test_what_is_written_into_a_removed_segment_is_not_stored(folder: Path, spool: Path) -> None:
    with closing(Archive(folder)) as archive:
        recorded = store(archive, spool, letters(1))
        (folder / recorded.segment).unlink()
        with pytest.raises(ArchiveError, match="cannot be made, or went away"):
            store(archive, spool, letters(2))
        after = store(archive, spool, letters(3))
        assert after.segment != recorded.segment
        assert octets(archive, after, spool) == letters(3)


def test_two_archives_at_once_use_segments_of_their_own(folder: Path, spool: Path) -> None:
    with closing(Archive(folder)) as one, closing(Archive(folder)) as other:
        first, second = store(one, spool, letters(1)), store(other, spool, letters(2))
        third = store(one, spool, letters(3))
        assert first.segment == third.segment != second.segment
        assert octets(other, third, spool) == letters(3)


def test_goes_on_with_the_newest_segment_that_nobody_holds(folder: Path, spool: Path) -> None:
    with closing(Archive(folder)) as one, closing(Archive(folder)) as other:
        older, newer = store(one, spool, letters(1)), store(other, spool, letters(2))
        older, newer = sorted((older, newer), key=lambda recorded: recorded.segment)
    with closing(Archive(folder)) as first, closing(Archive(folder)) as second:
        with closing(Archive(folder)) as third:
            for archive in (first, second, third):
                assert list(archive.recover(known(older, newer))) == []
            places = [store(a, spool, letters(5)).segment for a in (first, second, third)]
        assert places[:2] == [newer.segment, older.segment]
        assert places[2] not in places[:2]


def test_a_large_message_comes_in_a_file_of_the_spool(folder: Path, spool: Path) -> None:
    data = os.urandom(3 << 20)
    with closing(Archive(folder)) as archive:
        recorded = store(archive, spool, [data])
        ((digest, size, place),) = wanted(recorded)
        body = archive.body(place, size, spool)
        assert body.path is not None
        assert body.path.parent == spool
        assert stat.S_IMODE(body.path.stat().st_mode) == 0o600
        assert sha256(body.path.read_bytes()) == digest
        body.discard()
        assert list(spool.iterdir()) == []


def test_a_body_from_a_file_is_stored_like_one_from_memory(folder: Path, spool: Path) -> None:
    paths = {size: spool / f"body-{size}" for size in (10, 300_000, 6_000_000)}
    for size, path in paths.items():
        path.write_bytes(os.urandom(size))
    messages = [(f"a/b/{s}.eml", 1, Body(s, path=path)) for s, path in paths.items()]
    places: list[Location] = []

    def commit_of(located: list[list[Location]]) -> Commit:
        places.extend(located[0])
        return Commit()

    with closing(Archive(folder)) as archive:
        archive.append([pack(messages, spool)], commit_of)
        for (size, path), place in zip(paths.items(), places, strict=True):
            body = archive.body(place, size, spool)
            assert b"".join(body.chunks()) == path.read_bytes()
            body.discard()
    assert set(spool.iterdir()) == set(paths.values())


@pytest.mark.parametrize("size", [200, 2_000_000])
def test_a_spoilt_frame_gives_no_octets_and_is_named(folder: Path, spool: Path, size: int) -> None:
    with closing(Archive(folder)) as archive:
        good = store(archive, spool, letters(1))
        bad = store(archive, spool, [os.urandom(size)])
        ((digest, _, place),) = wanted(bad)
        for offset in (0, 10, place.length // 2, place.length - 1):
            flip(folder / bad.segment, place.offset + offset)
            with pytest.raises(ArchiveDamaged, match="is damaged"):
                octets(archive, bad, spool)
            assert faults(archive, good, bad).keys() == {digest}
            flip(folder / bad.segment, place.offset + offset)
        assert faults(archive, good, bad) == {}
        assert list(spool.iterdir()) == []


def test_the_checksum_is_waited_for(
    folder: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large frame is decoded piece by piece: all octets are there before the checksum is."""
    monkeypatch.setattr(reading, "KEPT", -1)
    monkeypatch.setattr(compression, "PIECE", 1)
    with closing(Archive(folder)) as archive:
        recorded = store(archive, spool, letters(1))
        ((_, _, place),) = wanted(recorded)
        flip(folder / recorded.segment, place.offset + place.length - 1)
        with pytest.raises(ArchiveDamaged, match="checksum"):
            octets(archive, recorded, spool)


def test_a_check_reads_the_disk_and_not_what_the_kernel_remembers(
    folder: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _file, *how: asked.append(how))
    with closing(Archive(folder)) as archive:
        assert faults(archive, store(archive, spool, letters(1, 2))) == {}
    assert asked == [(0, 0, os.POSIX_FADV_DONTNEED)]


@pytest.mark.parametrize(
    ("offset", "length", "inner", "size"),
    [
        (0, 0, 0, 1),     # the size is another
        (0, 0, 0, -1),
        (0, 0, 1, 0),     # the place in the frame is another
        (0, 0, -512, 0),
        (0, 0, 9999, 0),
        (1, 0, 0, 0),     # no frame begins there
        (0, -1, 0, 0),    # the frame is longer
        (0, -40, 0, 0),
        (9999, 0, 0, 0),  # the file is shorter
    ],
)  # fmt: skip
def test_a_wrong_location_gives_no_octets(
    folder: Path, spool: Path, offset: int, length: int, inner: int, size: int
) -> None:
    with closing(Archive(folder)) as archive:
        ((digest, right, at),) = wanted(store(archive, spool, letters(1)))
        place = Location(at.segment, at.offset + offset, at.length + length, at.inner + inner)
        with pytest.raises(ArchiveDamaged):
            archive.body(place, right + size, spool)
        ((_, fault),) = archive.check([(digest, right + size, place)])
        assert fault is not None


def test_check_wants_the_digest_that_was_stored(folder: Path, spool: Path) -> None:
    with closing(Archive(folder)) as archive:
        ((_, size, place),) = wanted(store(archive, spool, letters(1)))
        ((digest, fault),) = archive.check([(sha256(b"another"), size, place)])
    assert digest == sha256(b"another")
    assert fault is not None
    assert fault.endswith("other octets than were stored")


def test_check_goes_by_segment_and_offset_and_reads_a_frame_once(
    folder: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames: list[tuple[str, int]] = []
    content = Source.content

    def counted(self: Source, offset: int, length: int):
        frames.append((self.segment, offset))
        return content(self, offset, length)

    monkeypatch.setattr(Source, "content", counted)
    with closing(Archive(folder, segment_size=3_000)) as archive:
        made = [store(archive, spool, letters(n, n + 100, n + 200)) for n in range(8)]
        asked = wanted(*reversed(made))
        given = [digest for digest, _ in archive.check(asked)]
    places = {digest: at for digest, _, at in asked}
    order = [(places[d].segment, places[d].offset, places[d].inner) for d in given]
    assert order == sorted(order)
    assert len(frames) == len(set(frames)) == len(made)


def test_messages_of_one_frame_are_decoded_once(
    folder: Path, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    content = Source.content

    def counted(self: Source, offset: int, length: int):
        decoded.append(offset)
        return content(self, offset, length)

    monkeypatch.setattr(Source, "content", counted)
    with closing(Archive(folder)) as archive:
        recorded = store(archive, spool, letters(*range(50)))
        assert octets(archive, recorded, spool) == letters(*range(50))
    assert len(decoded) == 1
