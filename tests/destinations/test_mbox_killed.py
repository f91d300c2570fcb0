"""Killed at every step, while others deliver: an mbox has every message once and whole.

A child delivers and is ended (SIGKILL, no clean-up of any kind) before its n-th call to
the operating system, for every n there is; octets are written a few at a time, so that
many of these calls are in the middle of a message. Somebody else may then append, as mail
programs do. At last it is delivered undisturbed, or once more by a child that is killed at
each of its steps: what repairs has to bear that too.
"""

import os
import re
import signal
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from fetchd.contracts import Outgoing
from fetchd.destinations.mbox_journal import journal_of, open_journal
from fetchd.destinations.mboxrd import entry, from_line
from tests.destinations.outgoing import QUEUED, outgoing
from tests.destinations.test_mbox import beside, deliver, delivered, entries

CALLS = ("open", "pwrite", "write", "fsync", "ftruncate", "rename", "unlink", "link", "utime")
FIRST = [1, 2]  # settled together
SECOND = [3, 4, 5]
LAST = 6


def letter(number: int, *, doubtful: bool = False) -> Outgoing:
    return outgoing(number, b"N: %d\r\n\r\nFrom\r\nFrom F\r\n" % number, doubtful=doubtful)


def octets(number: int) -> bytes:
    return from_line("", QUEUED) + b"".join(entry(letter(number).body))


LENGTH = len(octets(1))
OLD = b"From old@example.org Thu Nov  5 09:08:07 2026\nSubject: old\n\nText.\n\n"
# What others append: as different from ours as can be, and as like it as can be.
THEIRS = {
    "other": b"From other@example.org Thu Nov  5 09:08:07 2026\nSubject: x\n\nText.\n\n",
    "alike": from_line("", QUEUED) + b"N: 77\n\n>From\n",
    "newline": b"\nFrom other@example.org Thu Nov  5 09:08:07 2026\n\nText.\n\n",
}


class Killer:
    """Ends the process before its call of that number."""

    def __init__(self, number: int, piece: int) -> None:
        self.left, self.piece = number, piece

    def arm(self) -> None:
        for name in CALLS:
            setattr(os, name, self._deadly(name, getattr(os, name)))

    def _deadly(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if name == "pwrite":
                file, data, at = args
                # To the next border of a piece, so that borders of messages are among them.
                return real(file, bytes(data[: self.piece - (at - len(OLD)) % self.piece]), at)
            return real(*args, **options)

        return call


def child_is_killed(box: Path, batches: Iterable[Sequence[Outgoing]], killer: Killer) -> set[int]:
    """Which deliveries it had told to be made; all of them if it was not killed."""
    told, says = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(told)
            tell = os.write
            killer.arm()
            for batch in batches:
                for one in deliver(box, *batch):
                    assert delivered([one]), one
                    tell(says, bytes([one.id]))
            code = 0
        finally:
            os._exit(code)
    os.close(says)
    with os.fdopen(told, "rb") as pipe:
        made = set(pipe.read())
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return made | ({0} if not os.WIFSIGNALED(status) else set())


def finish(box: Path, made: set[int]) -> None:
    """Deliver what is not known to be made, as the outbox would, and something new."""
    left = [letter(n, doubtful=True) for n in (*FIRST, *SECOND) if n not in made]
    if LAST not in made:
        assert delivered(deliver(box, *left, letter(LAST)))
    elif left:
        assert delivered(deliver(box, *left))


def examine(box: Path, theirs: bytes) -> None:
    text = box.read_bytes()
    assert text.startswith(OLD)
    for message in [OLD, *(octets(n) for n in (*FIRST, *SECOND, LAST)), theirs.lstrip(b"\n")]:
        assert not message or text.count(message) == 1, message
        text = text.replace(message, b"")
    assert text.strip(b"\n") == b""
    starts = re.findall(rb"(?m)^From [^\n]*", box.read_bytes())
    assert len(starts) == len(entries(box)) == 7 + bool(theirs)
    assert beside(box) == [".me.fetchd"]


def add(box: Path, theirs: bytes) -> None:
    with box.open("ab") as file:
        file.write(theirs)


BATCHES = [[letter(n) for n in FIRST], [letter(n) for n in SECOND]]


@pytest.mark.parametrize(
    ("theirs", "piece"),
    [(b"", 29), *((theirs, LENGTH // 2) for theirs in THEIRS.values()), (THEIRS["alike"], 29)],
    ids=["nobody", *THEIRS, "alike-uneven"],
)
def test_a_kill_at_any_step_loses_and_repeats_nothing(
    tmp_path: Path, theirs: bytes, piece: int
) -> None:
    number, torn = 0, 0
    while True:
        box = tmp_path / str(number) / "me"
        box.parent.mkdir()
        box.write_bytes(OLD)
        made = child_is_killed(box, BATCHES, Killer(number, piece))
        if 0 in made:
            break
        torn += is_torn(box)
        add(box, theirs)
        finish(box, made)
        examine(box, theirs)
        number += 1
    assert number > 50
    assert torn > 5


def is_torn(box: Path) -> bool:
    journal = open_journal(journal_of(box))
    if journal is None:
        return False
    try:
        return journal.begun and box.stat().st_size > journal.plan.offset
    finally:
        journal.close()


@pytest.mark.parametrize("theirs", [b"", *THEIRS.values()], ids=["nobody", *THEIRS])
@pytest.mark.parametrize("written", [1, 2])
def test_a_kill_at_any_step_of_the_repair_loses_and_repeats_nothing(
    tmp_path: Path, theirs: bytes, written: int
) -> None:
    """The first child is killed when that many pieces of the second batch are written."""
    piece, steps = LENGTH // 2, 0
    number = step_when_written(written * piece)
    while True:
        box = tmp_path / str(steps) / "me"
        box.parent.mkdir()
        box.write_bytes(OLD)
        made = child_is_killed(box, BATCHES, Killer(number, piece))
        assert made == set(FIRST)
        add(box, theirs)
        again = [[letter(n, doubtful=True) for n in SECOND] + [letter(LAST)]]
        made |= (more := child_is_killed(box, again, Killer(steps, piece)))
        if 0 in more:
            break
        late = b"From late@example.org Thu Nov  5 09:08:07 2026\n\nLate.\n\n"
        add(box, late)
        if LAST not in made:
            assert delivered(deliver(box, letter(LAST, doubtful=True)))
            made.add(LAST)
        finish(box, made)
        text = box.read_bytes()
        assert text.count(late) == 1
        box.write_bytes(text.replace(late, b""))
        examine(box, theirs)
        steps += 1
    assert steps > 30


@cache
def step_when_written(size: int) -> int:
    """The step at which so much of the second batch is there."""
    for number in range(1_000):
        with TemporaryDirectory() as folder:
            box = torn_box(Path(folder), number)
            if box.stat().st_size == len(OLD) + len(FIRST) * LENGTH + size:
                return number
    raise AssertionError("it is never there")


def torn_box(folder: Path, number: int | None = None) -> Path:
    """Killed at that step, or when half of the second batch's first message is there."""
    box = folder / "mail" / "me"
    box.parent.mkdir()
    box.write_bytes(OLD)
    number = step_when_written(LENGTH // 2) if number is None else number
    child_is_killed(box, BATCHES, Killer(number, LENGTH // 2))
    return box


@pytest.mark.parametrize("zeros", [1, 5, LENGTH])
@pytest.mark.parametrize("theirs", [b"", THEIRS["other"]], ids=["nobody", "other"])
def test_zeros_that_a_loss_of_power_left_are_filled(
    tmp_path: Path, zeros: int, theirs: bytes
) -> None:
    box = torn_box(tmp_path)
    add(box, bytes(zeros) + theirs)
    finish(box, set(FIRST))
    examine(box, theirs)


@pytest.mark.parametrize("change", ["marked", "emptied", "shortened", "moved", "garbage"])
def test_a_reader_that_rewrote_the_mbox_after_a_crash_is_not_undone(
    tmp_path: Path, change: str
) -> None:
    box = torn_box(tmp_path)
    text = box.read_bytes()
    match change:
        case "marked":
            box.write_bytes(text.replace(b"Subject: old\n", b"Subject: old\nStatus: RO\n"))
        case "emptied":
            box.write_bytes(b"")
        case "moved":  # our beginning is where it was, and in somebody's text
            assert text.count(b">From F\n\n") == len(FIRST)
            box.write_bytes(text.replace(b">From F\n\n", b">From FFF"))
        case "shortened":
            box.write_bytes(text[: len(OLD)])
        case _:
            box.write_bytes(text + b"no mail at all")
    before = box.read_bytes()
    finish(box, set(FIRST))
    after = box.read_bytes()
    assert after.startswith(before)
    behind_blank_lines = b"\n\n" + after
    assert all(behind_blank_lines.count(b"\n\n" + octets(n)) == 1 for n in (*SECOND, LAST))


def test_a_reader_that_set_a_flag_in_its_place_does_not_keep_us(tmp_path: Path) -> None:
    box = torn_box(tmp_path)
    box.write_bytes(box.read_bytes().replace(b"Subject: old", b"Subject: OLD"))
    finish(box, set(FIRST))
    text = box.read_bytes()
    assert all(text.count(octets(n)) == 1 for n in (*FIRST, *SECOND, LAST))
    assert len(entries(box)) == 7


def test_mail_of_others_that_a_repair_held_comes_back_whatever_a_reader_did(
    tmp_path: Path,
) -> None:
    """Killed while their mail is overwritten, then the mbox is emptied."""
    box, theirs = torn_box(tmp_path), THEIRS["other"]
    add(box, theirs)
    folder = box.parent
    saved = {one.name: one.read_bytes() for one in folder.iterdir()}
    number, held = 0, 0
    while True:
        for one in folder.iterdir():
            one.unlink()
        for name, content in saved.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)
        if 0 in child_is_killed(box, [[letter(LAST)]], Killer(number, LENGTH // 2)):
            break
        if theirs not in box.read_bytes():
            held += 1
            box.write_bytes(b"")
            finish(box, set(FIRST))
            assert box.read_bytes().count(theirs) == 1
        number += 1
    assert held > 0
