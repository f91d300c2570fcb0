"""What of an archived mailbox is to be put back on a server, and under which name. Pure.

* A message stands in the target as often as it stood at once in the mailbox, as far as that
  is known: rows of other epochs are the same messages under other uids, and what went while
  its like stayed (`gone` beside `stored`) was moved, and came back.
* What is there already is known by Message-ID and header digest, without a Message-ID by
  header digest and size. It is counted, so that of two alike messages one that is there
  leaves one to be put back. Sizes decide between messages with equal headers, as far as
  the server tells the truth about them (quirk 41).
* A name is put together from its levels. Where a level holds the target's own delimiter,
  that character becomes another one (`SUBSTITUTE`): two mailboxes may meet there, and are
  then one.

To recognise more of what servers do to a message, extend `sizes_as_served`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from fetchd.policy.mailboxes import RAW, Path, path_of
from fetchd.policy.roles import INBOX, rank_by_name
from fetchd.values import Struct

SUBSTITUTE = "_"
_INSTEAD = "-"  # where the delimiter is SUBSTITUTE itself
_PRESENT = ("stored", "retiring", "retired")  # the last left by our doing, not its owner's
_SYSTEM = {"\\answered", "\\deleted", "\\draft", "\\flagged", "\\seen"}
_KEYWORD = re.compile(r"[!#-'+-\[^-z|}~]+")


class Copy(Struct, frozen=True):
    """One archived message as it is to stand in a mailbox."""

    digest: bytes
    size: int
    message_id: str
    header_digest: bytes
    flags: str
    date: datetime


class Sighting(Struct, frozen=True):
    """That a message was seen under this uid; `uid` begins with the epoch, for IMAP."""

    uid: bytes
    state: str
    copy: Copy


class Present(Struct, frozen=True):
    """One message of the target, as far as it may be one of ours."""

    size: int
    message_id: str
    header_digest: bytes


# -- Which messages ----------------------------------------------------------------


def stood_at_once(sightings: Iterable[Sighting]) -> list[Copy]:
    """Each message as often as it was in the mailbox at one time, in the order given."""
    by_digest: dict[bytes, list[Sighting]] = {}
    for sighting in sightings:
        by_digest.setdefault(sighting.copy.digest, []).append(sighting)
    return [
        one.copy
        for seen in by_digest.values()
        for one in (seen if len(seen) == 1 else _at_once(seen))
    ]


def _at_once(seen: Sequence[Sighting]) -> list[Sighting]:
    present = [one for one in seen if one.state in _PRESENT]
    latest = (present or list(seen))[::-1]
    return latest[: max(Counter(_epoch(one.uid) for one in latest).values())]


def _epoch(uid: bytes) -> bytes:
    epoch, dot, number = uid.partition(b".")
    return epoch if dot and epoch.isdigit() and number.isdigit() else b""


def missing(
    copies: Iterable[Copy], present: Iterable[Present], sizes: Mapping[bytes, Collection[int]]
) -> list[Copy]:
    """What is not there yet, in the order given.

    `sizes`: by digest, others than its own under which a server may show a message.
    """
    there: dict[tuple[str, bytes], Counter[int]] = defaultdict(Counter)
    for one in present:
        there[one.message_id, one.header_digest][one.size] += 1
    if not there:
        return list(copies)
    exact = [(copy, _take(there[_key(copy)], (copy.size,))) for copy in copies]
    return [
        copy
        for copy, found in exact
        if not found and not _take(there[_key(copy)], _alike(copy, there, sizes))
    ]


def doubtful(copies: Iterable[Copy], present: Iterable[Present]) -> list[Copy]:
    """Those without Message-ID that may be there under another size: see `sizes_as_served`."""
    there: dict[bytes, set[int]] = defaultdict(set)
    for one in present:
        if not one.message_id:
            there[one.header_digest].add(one.size)
    return [
        copy
        for copy in copies
        if not copy.message_id
        and copy.header_digest in there
        and copy.size not in there[copy.header_digest]
    ]


def sizes_as_served(pieces: Iterable[bytes]) -> set[int]:
    """What a message may measure at a server that makes every line end, or the last, a CRLF."""
    size, tail = 0, b""
    ends = dict.fromkeys((b"\n", b"\r\n", b"\r\r\n"), 0)
    for piece in pieces:
        size += len(piece)
        text = tail + piece
        for end in ends:
            ends[end] += text.count(end) - tail.count(end)
        tail = text[-2:]
    bare, doubled = ends[b"\n"] - ends[b"\r\n"], ends[b"\r\r\n"]
    whole = {size, size + bare, size - doubled, size + bare - doubled}
    return whole if tail.endswith(b"\n") else whole | {one + 2 for one in whole}


def _key(copy: Copy) -> tuple[str, bytes]:
    return copy.message_id, copy.header_digest


def _alike(
    copy: Copy,
    there: Mapping[tuple[str, bytes], Counter[int]],
    sizes: Mapping[bytes, Collection[int]],
) -> Collection[int]:
    return tuple(there[_key(copy)]) if copy.message_id else sizes.get(copy.digest, ())


def _take(left: Counter[int], sizes: Collection[int]) -> bool:
    """Take one message of such a size, if one is left."""
    for size in sizes:
        if left[size] > 0:
            left[size] -= 1
            return True
    return False


# -- Which flags ---------------------------------------------------------------------


def kept_flags(flags: str, permanent: Collection[str] | None) -> tuple[str, ...]:
    """Those that the target keeps; `permanent` is its PERMANENTFLAGS, None if it did not say."""
    allowed = None if permanent is None else {flag.lower() for flag in permanent}
    return tuple(flag for flag in flags.split() if _is_kept(flag, allowed))


def _is_kept(flag: str, allowed: Collection[str] | None) -> bool:
    low = flag.lower()
    if low == "\\recent":
        return False
    if low.startswith("\\"):
        return low in (_SYSTEM if allowed is None else allowed)
    well_formed = _KEYWORD.fullmatch(flag) is not None
    return well_formed and (allowed is None or "\\*" in allowed or low in allowed)


# -- Which name ------------------------------------------------------------------------


def target_path(name: str, into: str = "") -> Path:
    """The levels under which a mailbox is put back, below those of `into`."""
    levels = path_of(name.removesuffix(RAW))
    above = path_of(into) if into else ()
    return (*above, *(_decodable(level) for level in levels))


def wire_text(path: Path, prefix: str, delimiter: str | None) -> str:
    """The name at the target; `prefix` is that of its personal namespace."""
    if path == (INBOX,):
        return INBOX
    instead = _INSTEAD if delimiter == SUBSTITUTE else SUBSTITUTE
    levels = [level.replace(delimiter, instead) if delimiter else level for level in path]
    joined = (delimiter or instead).join(levels)
    return joined if path[0] == INBOX else prefix + joined


def role_of(name: str) -> str | None:
    """What an archived mailbox is for, as far as its name says it."""
    if name == INBOX:
        return "\\Inbox"
    ranked = rank_by_name(path_of(name))
    return ranked[0] if ranked else None


def _decodable(level: str) -> str:
    """Octets of a name that could not be decoded, as characters that others can read."""
    return level.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
