"""Appends to an mbox, and makes whole what a crash cut short: both under its locks.

What is appended is in the journal first, so it can be finished, whatever of it there is
(`recover`). It is finished, never taken back: nothing in an mbox can be removed at once,
but anything can be added. Where others delivered behind a part of ours, their mail is put
into the journal too, behind ours, and then both are written: at every moment all of it is
in the file or in the journal, and nothing of theirs is changed.

Readers rewrite an mbox as they like. If our part does not stand behind a blank line any
more, or what follows it is no mail, then somebody has moved things meanwhile, and nothing
is touched: the delivery in doubt is then made again.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import chain

from fetchd.destinations.mbox_journal import (
    Journal,
    Plan,
    journal_of,
    open_journal,
    remembered,
    write_at,
    write_journal,
)
from fetchd.destinations.mbox_lock import Locked
from fetchd.telemetry import log

OVERLAP = 1_000  # octets that the mail of others may have in common with ours

_PIECE = 1 << 20
_BEGINNINGS = (b"From ", b"\nFrom ", b"\n\nFrom ")


def append(
    mbox: Locked, earlier: Sequence[str], keys: Sequence[str], length: int, octets: Iterable[bytes]
) -> OSError | None:
    """All of it at the end of the mbox, durably.

    `earlier` and `keys` are digests of deliveries (mbox_journal). Raises where nothing of
    it is there; where not even that could be ensured, the error is returned.
    """
    before = os.fstat(mbox.file)
    lead = _separator(mbox.file, before.st_size)
    plan = Plan(
        version=1,
        offset=before.st_size,
        covered=before.st_size,
        kept=0,
        lead=len(lead),
        length=len(lead) + length,
        earlier=len(earlier),
        keys=len(keys),
    )
    journal = write_journal(journal_of(mbox.path), plan, earlier, keys, chain([lead], octets))
    with closing(journal):
        try:
            _write(mbox.file, journal, 0)
        except OSError as error:
            if _taken_back(mbox.file, journal):
                raise
            return error
        _conclude(mbox.file, journal, before)
    return None


def recover(mbox: Locked) -> tuple[str, ...]:
    """Nothing is half there on return; the digests of deliveries known to be in the mbox."""
    journal = open_journal(journal_of(mbox.path))
    if journal is None:
        return ()
    with closing(journal):
        if journal.begun:
            _finish(mbox, journal)
    journal = open_journal(journal_of(mbox.path))
    if journal is None:
        return ()
    with closing(journal):
        return remembered(journal)


def _finish(mbox: Locked, journal: Journal) -> None:
    plan, before = journal.plan, os.fstat(mbox.file)
    size = before.st_size
    if size < plan.covered or len(_separator(mbox.file, plan.offset)) != plan.lead:
        _give_up(mbox, journal)
        return
    same = _in_common(mbox.file, journal)
    reach = plan.offset + same
    if same == plan.length:
        os.fsync(mbox.file)
        _conclude(mbox.file, journal, before)
        return
    others = plan.covered if reach < plan.covered else _others(mbox.file, plan, reach, size)
    if others is None or same < plan.kept:
        _give_up(mbox, journal)
    elif others == plan.offset:
        journal.conclude(done=False)  # nothing of it was written
    else:
        log().warning("mbox.delivery_completed", mbox=str(mbox.path), octets=plan.length)
        _complete(mbox, journal, min(same, others - plan.offset), others, before)


def _complete(
    mbox: Locked, journal: Journal, same: int, others: int, before: os.stat_result
) -> None:
    """Write what is missing behind `same`, and then what others wrote from `others` on."""
    size = before.st_size
    if others == size:
        _write(mbox.file, journal, same)
        _conclude(mbox.file, journal, before)
        return
    plan = Plan(
        version=1,
        offset=journal.plan.offset,
        covered=size,
        kept=same,
        lead=journal.plan.lead,
        length=journal.plan.length + size - others,
        earlier=journal.plan.earlier,
        keys=journal.plan.keys,
    )
    octets = chain(journal.octets(), _read(mbox.file, others, size))
    path = journal_of(mbox.path)
    with closing(write_journal(path, plan, journal.earlier, journal.keys, octets)) as both:
        _write(mbox.file, both, same)
        _conclude(mbox.file, both, before)


def _give_up(mbox: Locked, journal: Journal) -> None:
    """The mbox was rewritten by others; what we had saved of their mail comes back, though."""
    log().warning("mbox.changed_by_others", mbox=str(mbox.path))
    if journal.plan.covered == journal.plan.offset:
        journal.conclude(done=False)
        return
    error = append(mbox, journal.earlier, journal.keys, journal.plan.length, journal.octets())
    if error is not None:
        raise error


def _write(file: int, journal: Journal, begin: int) -> None:
    """From there on, durably: first over what is there, and only then behind it."""
    at, edge = journal.plan.offset + begin, journal.plan.covered
    pieces = journal.octets(begin)
    if at < edge:
        piece = b""
        for piece in pieces:
            here = piece[: edge - at]
            at = write_at(file, at, [here])
            piece = piece[len(here) :]
            if at == edge:
                break
        os.fsync(file)
        pieces = chain([piece], pieces)
    write_at(file, at, pieces)
    os.fsync(file)


def _taken_back(file: int, journal: Journal) -> bool:
    """Whether the mbox is as it was. Not if somebody without a lock wrote behind us."""
    with suppress(OSError):
        if os.fstat(file).st_size > journal.plan.offset + journal.plan.length:
            return False
        os.ftruncate(file, journal.plan.offset)
        os.fsync(file)
        journal.conclude(done=False)
        return True
    return False


def _conclude(file: int, journal: Journal, before: os.stat_result) -> None:
    """It is durable; a journal that cannot say so will be compared with the mbox again."""
    with suppress(OSError):
        journal.conclude(done=True)
    # "You have new mail" is for who sees that it was written after it was last read.
    now = time.time_ns()
    with suppress(OSError):  # only its owner may set it
        os.utime(file, ns=(min(before.st_atime_ns, now - 1_000_000_000), now))


# -- What is there -----------------------------------------------------------------


def _separator(file: int, at: int) -> bytes:
    """What is lacking of the blank line before a message that begins there."""
    tail = os.pread(file, min(2, at), max(0, at - 2))
    if not tail or tail == b"\n\n":
        return b""
    return b"\n" if tail.endswith(b"\n") else b"\n\n"


def _in_common(file: int, journal: Journal) -> int:
    """How many of the octets are where they belong, up to the first that is not."""
    same = 0
    for piece in journal.octets():
        there = os.pread(file, len(piece), journal.plan.offset + same)
        if there != piece:
            return same + _first_difference(there, piece)
        same += len(piece)
    return same


def _first_difference(one: bytes, other: bytes) -> int:
    """How many octets they begin with in common, of which one of them may have too few."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _others(file: int, plan: Plan, reach: int, size: int) -> int | None:
    """Where the mail of others begins behind our part; `size`: nowhere; None: it is no mail.

    Ours is right up to `reach`; but theirs may begin as ours would have gone on. Behind
    that a loss of power may have left zeros.
    """
    begin = _behind_zeros(file, reach, min(size, plan.offset + plan.length))
    if begin == size:
        return size
    if begin > reach:
        return begin if os.pread(file, 7, begin).startswith(_BEGINNINGS) else None
    floor = max(plan.covered, reach - OVERLAP)
    window = os.pread(file, reach - floor + 7, floor)
    places = range(reach - floor, -1, -1)
    return next((floor + at for at in places if window.startswith(_BEGINNINGS, at)), None)


def _behind_zeros(file: int, begin: int, end: int) -> int:
    while begin < end:
        piece = os.pread(file, min(_PIECE, end - begin), begin)
        left = piece.lstrip(b"\0")
        if left or not piece:
            return begin + len(piece) - len(left)
        begin += len(piece)
    return begin


def _read(file: int, begin: int, end: int) -> Iterator[bytes]:
    while begin < end and (piece := os.pread(file, min(_PIECE, end - begin), begin)):
        yield piece
        begin += len(piece)
