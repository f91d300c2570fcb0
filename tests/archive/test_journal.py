import io
import struct

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from fetchd.archive import journal
from fetchd.archive.journal import JournalEntry
from fetchd.contracts import Commit, Location, QueuedDelivery, RemoteRecord, StoredMessage
from fetchd.message import Summary
from fetchd.values import replace
from tests.archive.samples import NOW, commit_of, letters

SEGMENT = "2026/11/01ARZ3NDEKTSV4RRFFQ69G5FAV.tar.zst"
OTHER = "2026/11/01ARZ3NDEKTSV4RRFFQ69G5FAW.tar.zst"

texts = st.text(st.characters(), max_size=20)  # lone surrogates too
digests = st.binary(min_size=32, max_size=32)
numbers = st.integers(0, 2**40)
summaries = st.builds(Summary, texts, texts, texts, texts, texts, digests, digests)
locations = st.builds(Location, st.just(SEGMENT), numbers, numbers, numbers)
dates = st.datetimes().map(lambda when: when.replace(tzinfo=NOW.tzinfo))
commits = st.builds(
    Commit,
    st.lists(
        st.builds(StoredMessage, digests, numbers, st.none() | locations, summaries, dates),
        max_size=3,
    ).map(tuple),
    st.lists(
        st.builds(RemoteRecord, texts, texts, st.binary(), numbers, digests, dates, texts),
        max_size=3,
    ).map(tuple),
    st.lists(
        st.builds(QueuedDelivery, texts, digests, texts, texts, st.binary(), dates, texts),
        max_size=3,
    ).map(tuple),
    st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
    st.lists(digests, max_size=3).map(tuple),
)


@given(st.builds(JournalEntry, numbers, numbers, commits))
def test_a_commit_comes_back_as_it_was(entry: JournalEntry) -> None:
    assert journal.unframe(journal.frame(entry, SEGMENT), SEGMENT) == entry


def test_a_journal_is_a_skippable_frame_that_zstd_passes_over() -> None:
    octets = journal.frame(JournalEntry(0, 0, commit_of([letters(1)])), SEGMENT)
    assert struct.unpack_from("<II", octets) == (0x184D2A50, len(octets) - 8)
    data = zstandard.ZstdCompressor().compress(b"data")
    reader = zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(octets + data + octets), read_across_frames=True
    )
    assert reader.read(100) == b"data"


def test_every_spoilt_octet_is_noticed() -> None:
    octets = journal.frame(JournalEntry(7, 0, commit_of([letters(1)])), SEGMENT)
    for at in range(8, len(octets)):
        spoilt = octets[:at] + bytes((octets[at] ^ 0x10,)) + octets[at + 1 :]
        assert journal.unframe(spoilt, SEGMENT) is None
    assert journal.unframe(octets[:-1], SEGMENT) is None
    assert journal.unframe(b"", SEGMENT) is None


@pytest.mark.parametrize(
    ("segment", "accepted"),
    [
        (SEGMENT,                            True),
        (OTHER,                              False),  # a journal counts in its own segment only
        (SEGMENT.replace("2026", "archive"), True),   # which may move
    ],
)  # fmt: skip
def test_a_journal_belongs_to_one_segment(segment: str, accepted: bool) -> None:
    place = Location(SEGMENT, 1, 2, 3)
    commit = commit_of([letters(1)], [[place]])
    entry = journal.unframe(journal.frame(JournalEntry(0, 0, commit), SEGMENT), segment)
    assert (entry is not None) == accepted
    if entry is not None:
        assert entry.commit.messages[0].location == replace(place, segment=segment)
