from contextlib import closing
from pathlib import Path

import pytest

from fetchd.archive.names import entry_name
from fetchd.archive.packing import pack
from fetchd.archive.store import Archive, Damage
from fetchd.contracts import Body, Commit, Location, Recorded
from fetchd.errors import ArchiveError
from fetchd.message import summarize
from tests.archive.samples import (
    faults,
    flip,
    letters,
    octets,
    sha256,
    store,
    wanted,
)


def replayed(folder: Path) -> tuple[list[Recorded], list[Damage]]:
    found = list(Archive(folder, read_only=True).replay())
    commits = [one for one in found if isinstance(one, Recorded)]
    return commits, [one for one in found if isinstance(one, Damage)]


def digests(commits: list[Recorded]) -> set[bytes]:
    return {m.digest for one in commits for m in one.commit.messages if m.location}


def uids(commits: list[Recorded]) -> set[bytes]:
    return {r.uid for one in commits for r in one.commit.remotes}


@pytest.fixture
def three(folder: Path, spool: Path) -> list[Recorded]:
    """Three commits in one segment; the middle one has a frame for each of its messages."""
    with closing(Archive(folder)) as archive:
        return [
            store(archive, spool, letters(1, 2)),
            store(archive, spool, letters(3), letters(4)),
            store(archive, spool, letters(5)),
        ]


def test_every_commit_of_every_segment_oldest_first(folder: Path, spool: Path) -> None:
    with closing(Archive(folder, segment_size=1_500)) as archive:
        made = [store(archive, spool, letters(n)) for n in range(7)]
    order = sorted(made, key=lambda one: (one.segment, one.end))
    assert replayed(folder) == (order, [])
    assert len({one.segment for one in made}) > 2


def test_replaying_changes_nothing(folder: Path, spool: Path, three: list[Recorded]) -> None:
    path = folder / three[0].segment
    with path.open("ab") as file:
        file.write(b"torn")
    before = path.read_bytes()
    commits, damage = replayed(folder)
    assert commits == three
    assert [one.offset for one in damage] == [three[-1].end]
    assert path.read_bytes() == before


def test_a_missing_folder_is_not_an_empty_archive(folder: Path) -> None:
    with pytest.raises(ArchiveError, match="went away"):
        replayed(folder)
    assert Archive(folder).sizes() == {}


def regions(three: list[Recorded]) -> dict[str, int]:
    """One octet of everything that the middle commit consists of."""
    (_, _, one), (_, _, two) = wanted(three[1])
    journal_at = two.offset + two.length
    return {
        "magic of a data frame": one.offset,
        "unused bit of a data frame's header": one.offset + 4,
        "content size of a data frame": one.offset + 5,
        "size of a block": one.offset + 8,
        "data": one.offset + one.length // 2,
        "checksum": one.offset + one.length - 1,
        "magic of the second data frame": two.offset,
        "magic of the journal": journal_at,
        "size of the journal": journal_at + 4,
        "size of the journal, far too large": journal_at + 6,
        "tag of the journal": journal_at + 8,
        "digest of the journal": journal_at + 20,
        "commit": journal_at + 100,
        "end of the journal": three[1].end - 1,
    }


def test_damage_costs_what_it_hit_and_no_more(
    folder: Path, spool: Path, three: list[Recorded]
) -> None:
    path = folder / three[0].segment
    for region, offset in regions(three).items():
        flip(path, offset)
        commits, damage = replayed(folder)
        assert len(damage) == 1, region
        assert damage[0].segment == three[0].segment
        assert three[1].end > damage[0].offset >= three[0].end, region
        assert commits[0] == three[0], region
        assert commits[-1] == three[2], region
        lost = digests(three) - digests(commits)
        if "unused" in region:
            assert commits == three
            assert "every message of this commit can be read" in damage[0].reason
        elif "journal" in region or region == "commit":
            assert lost == set(), region
            salvaged = [one for one in commits if one not in three]
            assert uids(salvaged) == uids([three[1]]), region
            assert all(one.commit.deliveries == () for one in salvaged)
            assert "2 messages in them were salvaged" in damage[0].reason
        else:
            assert len(lost) == 1, region
            assert commits[1].commit.deliveries == tuple(
                one for one in three[1].commit.deliveries if one.digest not in lost
            )
            assert len(uids(commits)) == 4
            assert "cannot be read" in damage[0].reason
            assert "letter" in damage[0].reason
        flip(path, offset)
    assert replayed(folder) == (three, [])


def test_every_octet_of_a_commit_spoilt_in_turn(folder: Path, three: list[Recorded]) -> None:
    """Whatever is hit, the neighbours are whole, and nothing is claimed that cannot be read."""
    path = folder / three[0].segment
    everything = digests(three)
    for offset in range(three[0].end, three[1].end):
        flip(path, offset)
        commits, damage = replayed(folder)
        assert commits[0] == three[0]
        assert commits[-1] == three[2]
        assert damage
        assert faults(Archive(folder), *commits) == {}
        assert len(everything - digests(commits)) <= 1
        flip(path, offset)


def test_salvaged_messages_are_as_they_were(
    folder: Path, spool: Path, three: list[Recorded]
) -> None:
    flip(folder / three[0].segment, three[1].end - 1)
    commits, _ = replayed(folder)
    salvaged = [one for one in commits if one not in three]
    with closing(Archive(folder)) as archive:
        bodies = [body for one in salvaged for body in octets(archive, one, spool)]
    assert bodies == letters(3, 4)
    for one, data in zip(
        (m for c in salvaged for m in c.commit.messages), letters(3, 4), strict=True
    ):
        assert (one.digest, one.summary) == (sha256(data), summarize(data))
        assert int(one.internal_date.timestamp()) == 1_700_000_000
    for remote in (r for c in salvaged for r in c.commit.remotes):
        assert (remote.account, remote.mailbox, remote.rules) == ("work", "INBOX", "")
        assert remote.seen_at >= three[0].commit.remotes[0].seen_at


def test_a_later_copy_makes_good_for_a_lost_one(folder: Path, spool: Path) -> None:
    with closing(Archive(folder)) as archive:
        first = store(archive, spool, letters(1))
        relying = Commit(messages=first.commit.messages, remotes=first.commit.remotes)
        unlocated = Commit(remotes=relying.remotes, deliveries=first.commit.deliveries)
        archive.append((), lambda _: unlocated)
        again = store(archive, spool, letters(1))
        archive.append((), lambda _: unlocated)
    ((_, _, place),) = wanted(first)
    flip(folder / first.segment, place.offset + place.length // 2)
    commits, damage = replayed(folder)
    assert [len(one.commit.messages) for one in commits] == [0, 0, 1, 0]
    assert [len(one.commit.remotes) for one in commits] == [0, 0, 1, 1]
    assert [len(one.commit.deliveries) for one in commits] == [0, 0, 1, 1]
    assert commits[2] == again
    assert len(damage) == 1


def test_a_journal_inside_of_a_message_does_not_count(folder: Path, spool: Path) -> None:
    """Somebody mails a whole segment; the frame that holds it is damaged."""
    with closing(Archive(folder)) as archive:
        inside = store(archive, spool, letters(*range(30)))
        stolen = (folder / inside.segment).read_bytes()
        archive.abandon()
        outside = store(archive, spool, [b"Subject: stolen\r\n\r\n" + stolen * 40])
        last = store(archive, spool, letters(2))
    assert stolen in (folder / outside.segment).read_bytes()  # zstd stored it as it is
    flip(folder / outside.segment, wanted(outside)[0][2].offset)
    (folder / inside.segment).unlink()
    commits, damage = replayed(folder)
    assert [one.commit.delivered for one in commits] == [(("maildir", "earlier"),)] * 2
    assert commits[-1] == last
    assert digests(commits) == {sha256(letters(2)[0])}
    assert len(damage) == 1


def test_names_that_were_shortened_or_are_not_of_a_server_make_no_remote(
    folder: Path, spool: Path
) -> None:
    data = letters(1, 2, 3)
    names = [
        entry_name("work", "x" * 300, b"1", sha256(data[0])),
        entry_name("work", "INBOX", b"", sha256(data[1])),
        entry_name("work", "INBOX", b"3", sha256(data[2])),
    ]

    def commit_of(_: list[list[Location]]) -> Commit:
        return Commit()

    with closing(Archive(folder)) as archive:
        bodies = [Body(len(one), one) for one in data]
        packed = pack([(n, 0, b) for n, b in zip(names, bodies, strict=True)], spool)
        recorded = archive.append([packed], commit_of)
    flip(folder / recorded.segment, recorded.end - 1)
    commits, _ = replayed(folder)
    assert digests(commits) == {sha256(one) for one in data}
    assert uids(commits) == {b"3"}
