"""Sets of UIDs: as the wire writes them (RFC 9051 §9, sequence-set), never expanded unasked.

To the server go ascending, merged sets of single numbers and true ranges, never
`1:1` and never `*` (quirks 45, 47). From the server comes anything: `UidSet`
keeps the ranges in the order in which they were said, since COPYUID pairs by
order, and a hostile `1:4294967295` costs two numbers.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from fetchd.errors import LocalProtocolError
from fetchd.values import Struct

MAX_UID = (1 << 32) - 1  # unsigned (quirk 32)
MAX_SET = 8_000  # octets, of a whole command (RFC 2683 §3.2.1.5, quirk 46)

_SET = re.compile(rb"[0-9]{1,10}(?::[0-9]{1,10})?(?:,[0-9]{1,10}(?::[0-9]{1,10})?)*+")


class UidSet(Struct, frozen=True):
    """Ranges (low, high), in the order in which they were said."""

    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def count(self) -> int:
        """How many; `__len__` would tempt list() to make room for them."""
        return sum(high - low + 1 for low, high in self.ranges)

    def __iter__(self) -> Iterator[int]:
        """One by one: look at `count` first where a server wrote the set."""
        for low, high in self.ranges:
            yield from range(low, high + 1)

    def __contains__(self, uid: object) -> bool:
        return isinstance(uid, int) and any(low <= uid <= high for low, high in self.ranges)

    def among(self, known: Iterable[int]) -> list[int]:
        """Which of `known` are in the set; cost does not depend on how wide the ranges are."""
        merged = _merged(self.ranges)
        lows = [low for low, _ in merged]
        found = []
        for uid in known:
            at = bisect_right(lows, uid) - 1
            if at >= 0 and uid <= merged[at][1]:
                found.append(uid)
        return found


def uid_set(uids: Iterable[int]) -> UidSet:
    """Ascending and merged, whatever order the numbers come in."""
    return UidSet(tuple(_merged((uid, uid) for uid in sorted(uids))))


def read_set(octets: bytes) -> UidSet | None:
    """A server's set; None if it is no set, or holds `*`, which only a client may say."""
    if not _SET.fullmatch(octets):
        return None
    ranges = []
    for part in octets.split(b","):
        first, _, last = part.partition(b":")
        low, high = int(first), int(last or first)
        if low > high:
            low, high = high, low  # RFC 9051 §9: 4:2 is 2:4
        if not 1 <= low <= high <= MAX_UID:
            return None
        ranges.append((low, high))
    return UidSet(tuple(ranges))


def write_sets(uids: Iterable[int] | UidSet, limit: int = MAX_SET) -> list[bytes]:
    """Wire sets that hold all `uids` in ascending order, each of at most `limit` octets."""
    ranges = _merged(uids.ranges) if isinstance(uids, UidSet) else uid_set(uids).ranges
    if ranges and not 1 <= ranges[0][0] <= ranges[-1][1] <= MAX_UID:
        raise LocalProtocolError(f"no UID: {ranges[0][0]} or {ranges[-1][1]}")
    sets: list[bytes] = []
    parts: list[bytes] = []
    length = -1
    for low, high in ranges:
        part = b"%d" % low if low == high else b"%d:%d" % (low, high)
        if parts and length + 1 + len(part) > limit:
            sets.append(b",".join(parts))
            parts, length = [], -1
        parts.append(part)
        length += 1 + len(part)
    if parts:
        sets.append(b",".join(parts))
    return sets


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    begin = end = None
    for low, high in sorted(ranges):
        if begin is None or end is None:
            begin, end = low, high
        elif low <= end + 1:
            end = max(end, high)
        else:
            merged.append((begin, end))
            begin, end = low, high
    if begin is not None and end is not None:
        merged.append((begin, end))
    return merged
