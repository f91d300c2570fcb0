"""Sets of UIDs."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.errors import LocalProtocolError
from fetchd.protocol.imap.sequence import MAX_UID, UidSet, read_set, uid_set, write_sets

UIDS = st.sets(st.integers(1, 60) | st.integers(1, MAX_UID), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("uids", "limit", "sets"),
    [
        ([], 80, []),
        ([7], 80, [b"7"]),  # never 7:7
        ([3, 1, 2], 80, [b"1:3"]),
        ([1, 2], 80, [b"1:2"]),
        ([7, 3, 2, 1, 2], 80, [b"1:3,7"]),
        ([1, 3, 5, 7], 5, [b"1,3,5", b"7"]),
        ([1, 3, 5, 7], 4, [b"1,3", b"5,7"]),
        ([MAX_UID], 1, [b"4294967295"]),  # one that does not fit goes alone
    ],
)
def test_sets_for_the_wire(uids: list[int], limit: int, sets: list[bytes]) -> None:
    assert write_sets(uids, limit) == sets


@pytest.mark.parametrize("uid", [0, -1, MAX_UID + 1])
def test_what_is_no_uid_is_not_sent(uid: int) -> None:
    with pytest.raises(LocalProtocolError):
        write_sets([5, uid])


@pytest.mark.parametrize(
    ("octets", "ranges"),
    [
        (b"5", ((5, 5),)),
        (b"4:2", ((2, 4),)),
        (b"304,319:320", ((304, 304), (319, 320))),
        (b"9,1", ((9, 9), (1, 1))),  # the order pairs COPYUID's sets
        (b"1:4294967295", ((1, MAX_UID),)),
        (b"1:4294967296", None),
        (b"0", None),
        (b"", None),
        (b"1,", None),
        (b"1:*", None),
        (b"1:2:3", None),
        (b"1 2", None),
    ],
)
def test_sets_from_a_server(octets: bytes, ranges: tuple[tuple[int, int], ...] | None) -> None:
    assert read_set(octets) == (None if ranges is None else UidSet(ranges))


@given(UIDS, st.integers(10, 60))
def test_no_uid_is_lost_or_added_or_out_of_order(uids: set[int], limit: int) -> None:
    sets = write_sets(uids, limit)
    read = [found for octets in sets if (found := read_set(octets))]
    assert [uid for found in read for uid in found] == sorted(uids)
    assert all(len(octets) <= max(limit, 21) for octets in sets)
    assert all(high + 1 < low for (_, high), (low, _) in pairwise(uid_set(uids).ranges))
    assert uid_set(uids).count == len(uids)


@given(UIDS, UIDS)
def test_among_is_membership(uids: set[int], known: set[int]) -> None:
    said = UidSet(uid_set(uids).ranges[::-1])
    assert said.among(sorted(known)) == sorted(uids & known)
    assert [uid for uid in sorted(known) if uid in said] == sorted(uids & known)


def test_a_hostile_range_costs_nothing() -> None:
    everything = read_set(b"1:4294967295,1:4294967295")
    assert everything is not None
    assert everything.among([1, 5, MAX_UID]) == [1, 5, MAX_UID]
    assert write_sets(everything) == [b"1:4294967295"]
