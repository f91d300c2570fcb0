"""mbox files: what is in them, who else writes them, and what trouble leaves behind."""

import asyncio
import errno
import mailbox
import os
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fetchd.contracts import Body, Outcome, Outgoing, Settled
from fetchd.destinations import dot_lock, mbox_lock, mbox_trouble
from fetchd.destinations import mbox as mboxes
from fetchd.destinations.mbox import MboxSession
from fetchd.destinations.mbox_journal import EARLIER, journal_of, open_journal
from fetchd.destinations.mboxrd import entry, from_line, restored
from fetchd.settings import MboxDestination
from fetchd.values import replace
from tests.destinations.outgoing import outgoing
from tests.lacking import lacking

ARRIVED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def session(path: Path, patience: float = 5) -> MboxSession:
    made = MboxDestination(kind="mbox", path=path, lock_timeout=timedelta(seconds=patience))
    made._name = "mail"
    return MboxSession(made)


def deliver(path: Path, *items: Outgoing, patience: float = 5) -> list[Settled]:
    async def main() -> list[Settled]:
        one = session(path, patience)
        try:
            await one.put(items)
            return await one.settle()
        finally:
            await one.close()

    return asyncio.run(main())


def delivered(settled: Collection[Settled]) -> bool:
    return {one.outcome for one in settled} == {Outcome.DELIVERED}


def entries(path: Path) -> list[bytes]:
    """As Python's own module reads them, without the first lines."""
    box = mailbox.mbox(path, create=False)
    try:
        return [box.get_bytes(key) for key in box.iterkeys()]
    finally:
        box.close()


def beside(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir() if one != path)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "mail").mkdir()
    return tmp_path / "mail" / "me"


# -- The form -----------------------------------------------------------------------------


def test_an_entry_as_it_stands_in_the_file(box: Path) -> None:
    first = b"Return-Path: <a@example.org>\r\n\r\nFrom here\r\n>From there\r\n>> From\r\nend"
    assert delivered(
        deliver(box, outgoing(1, first, arrived=ARRIVED), outgoing(2, b"Subject: x\r\n"))
    )
    assert box.read_bytes() == (
        b"From a@example.org Fri Jan  2 03:04:05 2026\n"
        b"Return-Path: <a@example.org>\n\n>From here\n>>From there\n>> From\nend\n\n"
        b"From MAILER-DAEMON Mon Nov  2 12:00:00 2026\n"
        b"Subject: x\n\n"
    )
    assert box.stat().st_mode & 0o777 == 0o600
    assert beside(box) == [".me.fetchd"]
    assert journal_of(box).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "data",
    [
        b"A: b\r\n\r\nFrom x\r\n>From y\r\n\r\n\r\n",
        b"A: b\r\n\r\nno end",
        b"A: b\n\nbare\nFrom LF\n",
        b"A: b\r\n\r\nmixed\nFrom \r\nlines\r",
        b"From me Thu Nov  5 09:08:07 2026\r\nA: b\r\n\r\nx\r\n",
        b"\x00\xff\r\n",
        b"",
    ],
)
@pytest.mark.parametrize("in_file", [False, True])
def test_every_octet_can_be_had_back(box: Path, tmp_path: Path, data: bytes, in_file: bool) -> None:
    source = tmp_path / "body"
    source.write_bytes(data)
    item = outgoing(1, data, path=source if in_file else None)
    assert delivered(deliver(box, outgoing(2), item, outgoing(3)))
    _, text, _ = entries(box)
    assert restored(text + b"\n", outgoing(1, data).digest) == data


@pytest.mark.parametrize(
    ("there", "between"),
    [(b"", b""), (b"x", b"\n\n"), (b"x\n", b"\n"), (b"x\n\n", b""), (b"\n", b"\n")],
)
def test_a_blank_line_comes_before_ours_whatever_others_left(
    box: Path, there: bytes, between: bytes
) -> None:
    box.write_bytes(there)
    deliver(box, outgoing(1))
    assert box.read_bytes().startswith(there + between + b"From MAILER-DAEMON ")


def test_formail_reads_it_back(box: Path, tmp_path: Path) -> None:
    formail = shutil.which("formail") or lacking(
        "formail is not installed: apt-get install procmail"
    )
    bodies = [b"From: a\r\n\r\nFrom %d\r\n\r\n>From\r\n" % n for n in range(9)]
    deliver(box, *(outgoing(n, body) for n, body in enumerate(bodies)))
    split = [formail, "-s", "sh", "-c", f"cat > {tmp_path}/$FILENO"]
    with box.open("rb") as file:
        subprocess.run(split, stdin=file, check=True, env={**os.environ, "FILENO": "000"})
    for number, body in enumerate(bodies):
        text = (tmp_path / f"{number:03}").read_bytes()
        assert restored(text.partition(b"\n")[2], outgoing(0, body).digest) == body


def test_readers_see_that_there_is_new_mail(box: Path) -> None:
    deliver(box, outgoing(1))
    first = box.stat()
    assert first.st_atime < first.st_mtime
    os.utime(box, (time.time() + 60, time.time() - 60))  # read since
    deliver(box, outgoing(2))
    assert box.stat().st_atime < box.stat().st_mtime
    os.utime(box, (1_000, 2_000))  # not read for long
    deliver(box, outgoing(3))
    assert box.stat().st_atime == 1_000
    assert box.stat().st_mtime > 2_000


# -- put and settle ------------------------------------------------------------------------


def test_nothing_is_seen_before_it_is_settled(box: Path) -> None:
    async def main() -> None:
        one = session(box)
        await one.put([outgoing(1), outgoing(2, b"x" * mboxes.SPOOL)])
        assert beside(box) == []
        await one.close()
        assert await one.settle() == []

    asyncio.run(main())
    assert not box.exists()


def test_thirty_megabytes_pass_in_bounded_memory(box: Path, tmp_path: Path) -> None:
    source = tmp_path / "body"
    line = b"From " + b"x" * 71 + b"\r\n"
    source.write_bytes(line * (30_000_000 // len(line)))
    items = [outgoing(n, path=source) for n in range(2)]
    tracemalloc.start()
    try:
        assert delivered(deliver(box, *items))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert box.stat().st_size > 59_000_000
    assert peak < mboxes.SPOOL + 8_000_000


def test_what_is_in_memory_already_is_there_twice_at_most(box: Path) -> None:
    data = b"From " + b"x" * 71 + b"\r\n"
    item = outgoing(1, data * (20_000_000 // len(data)))
    tracemalloc.start()
    try:
        assert delivered(deliver(box, item))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < item.size + 12_000_000


def test_many_small_ones_leave_memory_too(box: Path) -> None:
    async def main() -> list[Settled]:
        one = session(box)
        for number in range(30):
            await one.put([outgoing(number, b"x" * 999_000)])
        settled = await one.settle()
        await one.close()
        return settled

    tracemalloc.start()
    try:
        assert delivered(asyncio.run(main()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(entries(box)) == 30
    assert peak < 2 * mboxes.SPOOL + 8_000_000


def test_one_sync_for_all(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(box, outgoing(0))
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (synced.append(os.fstat(file).st_ino), real(file))
    )
    deliver(box, *(outgoing(n) for n in range(1, 100)))
    assert synced.count(box.stat().st_ino) == 1
    assert len(synced) == 4  # the journal, its folder, the mbox, the journal


# -- Deliveries in doubt ----------------------------------------------------------------------


def test_a_doubtful_delivery_is_found_though_its_reader_has_moved_it(box: Path) -> None:
    deliver(box, outgoing(1), outgoing(2))
    box.write_bytes(b"")
    again = [outgoing(1, doubtful=True), outgoing(2, doubtful=True), outgoing(3)]
    settled = deliver(box, *again)
    assert delivered(settled)
    assert [one.reply for one in settled] == ["found there", "found there", ""]
    assert len(entries(box)) == 1


def test_a_delivery_of_another_destination_is_not_ours(box: Path) -> None:
    deliver(box, outgoing(1))
    other = session(box)
    other._settings._name = "other"

    async def main() -> None:
        await other.put([outgoing(1, doubtful=True)])
        await other.settle()
        await other.close()

    asyncio.run(main())
    assert len(entries(box)) == 2


def test_what_is_remembered_is_bounded_and_outlasts_many_settlements(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetchd.destinations.mbox_journal.EARLIER", 20)
    assert EARLIER > 20
    for number in range(30):
        deliver(box, outgoing(number))
    deliver(box, *(outgoing(n, doubtful=True) for n in range(11, 30)))
    assert len(entries(box)) == 30
    deliver(box, outgoing(2, doubtful=True))
    assert len(entries(box)) == 31
    assert journal_of(box).stat().st_size < 1_000


# -- Locks --------------------------------------------------------------------------------------


@contextmanager
def another_process(code: str) -> Iterator[subprocess.Popen[bytes]]:
    """That has done what it should and waits."""
    program = f"import fcntl, os, sys\n{code}\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_on_the_file_is_respected_and_its_holder_named(box: Path) -> None:
    box.write_bytes(b"")
    code = f"f = open({str(box)!r}, 'r+'); fcntl.lockf(f, fcntl.LOCK_EX)"
    with another_process(code) as process:
        [settled] = deliver(box, outgoing(1), patience=0.2)
        assert settled.outcome is Outcome.DEFERRED
        assert f"{box} is in use: process {process.pid} (python" in settled.reply
        assert "again by itself" in settled.reply
        assert box.read_bytes() == b""
        assert beside(box) == []
    assert delivered(deliver(box, outgoing(1)))


def test_a_dot_lock_is_respected_and_its_holder_named(box: Path) -> None:
    dot = box.with_name("me.lock")
    dot.write_text(f"{os.getpid()}\n")
    os.utime(dot, (1, 1))  # however old: its process lives
    [settled] = deliver(box, outgoing(1), patience=0.2)
    assert settled.outcome is Outcome.DEFERRED
    assert f"process {os.getpid()} (" in settled.reply
    assert f"holds {dot}" in settled.reply
    assert not box.exists()


def test_whoever_lets_go_in_time_is_waited_for(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dot = box.with_name("me.lock")
    dot.touch()
    looked = threading.Event()
    real = mbox_lock.lock

    def look(path: Path) -> object:
        if looked.is_set():
            dot.unlink(missing_ok=True)
        looked.set()
        return real(path)

    monkeypatch.setattr(mboxes, "lock", look)
    assert delivered(deliver(box, outgoing(1)))
    assert beside(box) == [".me.fetchd"]


DEAD = 4_194_304 + 7  # no process has a number beyond this system's greatest, 4,194,304


@pytest.mark.parametrize(
    ("text", "age", "broken"),
    [
        ("{pid} {machine} {boot} {start}\n", 9_999, False),  # it lives
        ("{self} {machine} {boot} {own}\n", 0, True),  # we do, and hold no lock
        ("{dead} {machine} {boot} {start}\n", 0, True),
        ("{pid} {machine} other-boot {start}\n", 0, True),
        ("{pid} {machine} {boot} 1\n", 0, True),  # the number is another process's now
        ("{dead} elsewhere:1 {boot} {start}\n", 900, False),
        ("{dead} elsewhere:1 {boot} {start}\n", 1_200, True),
        ("{dead}", 200, False),
        ("{dead}\n", 400, True),
        ("{pid}\n", 9_999, False),
        ("0", 900, False),
        ("0", 1_200, True),
        ("", 900, False),
        ("", 1_200, True),
        ("who knows", 900, False),
        ("who knows", 1_200, True),
    ],
)  # fmt: skip
def test_which_dot_locks_are_taken_for_forgotten(
    box: Path, text: str, age: int, broken: bool
) -> None:
    dot, pid = box.with_name("me.lock"), os.getppid()
    dot.write_text(
        text.format(
            pid=pid, dead=DEAD, machine=dot_lock._machine(), boot=dot_lock._boot(),
            start=dot_lock._start(pid), self=os.getpid(), own=dot_lock._start(os.getpid()),
        )
    )  # fmt: skip
    os.utime(dot, (time.time() - age,) * 2)
    [settled] = deliver(box, outgoing(1), patience=0.01)
    assert (settled.outcome is Outcome.DELIVERED) == broken
    assert dot.exists() != broken


def test_a_lock_that_was_renewed_while_we_judged_stays(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dot = box.with_name("me.lock")
    dot.touch()
    os.utime(dot, (1, 1))
    real = dot_lock._names_nobody

    def slow(text: bytes, age: float, *, held: bool) -> bool:
        if dot.stat().st_mtime == 1:
            dot.unlink()
            dot.write_text("0")  # somebody else took it for forgotten, and has it
        return real(text, age, held=held)

    monkeypatch.setattr(dot_lock, "_names_nobody", slow)
    [settled] = deliver(box, outgoing(1), patience=0.01)
    assert settled.outcome is Outcome.DEFERRED
    assert (dot.read_text(), beside(box)) == ("0", ["me.lock"])


@pytest.mark.parametrize("thing", ["folder", "fifo", "symlink"])
def test_what_is_no_file_is_no_forgotten_lock(box: Path, thing: str) -> None:
    dot = box.with_name("me.lock")
    match thing:
        case "folder":
            dot.mkdir()
        case "fifo":
            os.mkfifo(dot)
        case _:
            dot.symlink_to("elsewhere")
    os.utime(dot, (1, 1), follow_symlinks=False)
    [settled] = deliver(box, outgoing(1), patience=0.01)
    assert f"another program holds {dot}" in settled.reply
    assert beside(box) == ["me.lock"]


def test_only_one_at_a_time_removes_a_forgotten_lock(box: Path) -> None:
    dot = box.with_name("me.lock")
    dot.touch()
    os.utime(dot, (1, 1))
    code = f"f = os.open({str(box.parent)!r}, os.O_RDONLY); fcntl.flock(f, fcntl.LOCK_EX)"
    with another_process(code):
        [settled] = deliver(box, outgoing(1), patience=0.01)
        assert settled.outcome is Outcome.DEFERRED
        assert dot.exists()
    assert delivered(deliver(box, outgoing(1)))


def test_two_sessions_of_one_process_take_turns(box: Path) -> None:
    async def main() -> list[Settled]:
        pair = [session(box), session(box)]
        settled: list[Settled] = []
        for number in range(0, 40, 2):
            await asyncio.gather(*(s.put([outgoing(number + i)]) for i, s in enumerate(pair)))
            for told in await asyncio.gather(*(s.settle() for s in pair)):
                settled += told
        for one in pair:
            await one.close()
        return settled

    settled = asyncio.run(main())
    assert delivered(settled)
    assert sorted(entries(box)) == sorted(
        b"Subject: number %d\n\nText.\n" % number for number in range(40)
    )


WRITER = """
import asyncio, sys
from pathlib import Path
from tests.destinations.test_mbox import deliver, delivered
from tests.destinations.outgoing import outgoing
path, first = Path(sys.argv[1]), int(sys.argv[2])
for number in range(first, first + 25):
    assert delivered(deliver(path, outgoing(number), patience=60))
"""


def test_several_processes_and_procmail_append_to_one_mbox(box: Path, tmp_path: Path) -> None:
    procmail = shutil.which("procmail") or lacking("procmail is not installed: apt-get install it")
    rules = tmp_path / "rc"
    rules.write_text(f"DEFAULT={box}\nLOCKSLEEP=1\nLOGFILE={tmp_path / 'log'}\n:0:\n{box}\n")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, box, str(100 * n)]) for n in (1, 2)]
    for number in range(8):
        subprocess.run(
            [procmail, "-f", "other@example.org", "-m", rules],
            input=b"From: other\nSubject: number %d\n\nText.\n" % number,
            check=True,
        )
    assert [writer.wait(60) for writer in writers] == [0, 0]
    found = entries(box)
    ours = [b"Subject: number %d\n\nText.\n" % (100 * n + i) for n in (1, 2) for i in range(25)]
    theirs = [b"From: other\nSubject: number %d\n\nText.\n" % n for n in range(8)]
    assert sorted(found) == sorted(ours + theirs)
    assert beside(box) == [".me.fetchd"]


# -- Trouble --------------------------------------------------------------------------------------


def failing(number: int, at: int = 0) -> Callable[..., int]:
    """Fails from the call of that number on."""
    calls = iter(range(1_000_000))

    def wrap(real: Callable[..., int]) -> Callable[..., int]:
        def call(*args: object, **options: object) -> int:
            if next(calls) >= at:
                raise OSError(number, os.strerror(number))
            return real(*args, **options)

        return call

    return wrap


def trouble_with(
    monkeypatch: pytest.MonkeyPatch, call: str, number: int, at: int, box: Path
) -> tuple[list[Settled], list[Settled]]:
    """What a settlement under this trouble says, and the same session's next one."""

    async def main() -> tuple[list[Settled], list[Settled]]:
        one = session(box)
        items = [outgoing(1), outgoing(2, b"A: b\r\n\r\n" + b"text\r\n" * 99)]
        await one.put(items)
        with monkeypatch.context() as broken:
            broken.setattr(os, call, failing(number, at)(getattr(os, call)))
            first = await one.settle()
        await one.put([replace(item, doubtful=True) for item in items])
        second = await one.settle()
        await one.close()
        return first, second

    return asyncio.run(main())


STRANGER = b"From other@example.org Thu Nov  5 09:08:07 2026\nSubject: theirs\n\nText.\n\n"


@pytest.mark.parametrize("call", ["open", "pwrite", "fsync", "rename", "ftruncate", "unlink"])
@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_trouble_defers_and_the_next_attempt_delivers_once(
    box: Path, monkeypatch: pytest.MonkeyPatch, call: str, at: int, number: int
) -> None:
    box.write_bytes(STRANGER)
    first, second = trouble_with(monkeypatch, call, number, at, box)
    outcomes = {one.outcome for one in first}
    assert {one.id for one in first} == {1, 2}
    assert len(outcomes) == 1
    if outcomes == {Outcome.DEFERRED}:
        assert all("again by itself" in one.reply for one in first)
    assert delivered(second)
    assert box.read_bytes().startswith(STRANGER)
    assert [len(text) for text in entries(box)] == [23, 25, 5 + 1 + 99 * 5]
    assert set(beside(box)) <= {".me.fetchd", "me.lock"}


@pytest.mark.parametrize(
    ("call", "at"), [("pwrite", 0), ("pwrite", 1), ("pwrite", 2), ("fsync", 0)]
)
def test_after_trouble_nothing_is_left_in_the_mbox(
    box: Path, monkeypatch: pytest.MonkeyPatch, call: str, at: int
) -> None:
    """The call of that number that is about the mbox fails."""
    box.write_bytes(STRANGER)
    monkeypatch.setattr(os, "pwrite", in_small_pieces(os.pwrite))
    real, calls, there = getattr(os, call), iter(range(1_000_000)), list[bytes]()

    def once(file: int, *args: object) -> object:
        if os.fstat(file).st_ino == box.stat().st_ino and next(calls) == at:
            there.append(box.read_bytes())
            raise OSError(errno.ENOSPC, "full")
        return real(file, *args)

    monkeypatch.setattr(os, call, once)
    settled = deliver(box, outgoing(1), outgoing(2))
    assert {(one.outcome, one.doubtful) for one in settled} == {(Outcome.DEFERRED, False)}
    assert "is full" in settled[0].reply
    assert (there[0] != STRANGER) == (at > 0 or call == "fsync")
    assert box.read_bytes() == STRANGER


def in_small_pieces(real: Callable[..., int], size: int = 40) -> Callable[..., int]:
    return lambda file, data, at: real(file, bytes(data[:size]), at)


def test_what_could_not_be_taken_back_is_doubtful_and_not_repeated(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.write_bytes(STRANGER)
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", failing(errno.EIO, 2)(os.fsync))
        settled = deliver(box, outgoing(1))
    assert [(one.outcome, one.doubtful) for one in settled] == [(Outcome.DEFERRED, True)]
    assert delivered(deliver(box, outgoing(1, doubtful=True)))
    assert len(entries(box)) == 2


def test_a_missing_folder_is_not_made(tmp_path: Path) -> None:
    [settled] = deliver(tmp_path / "mount" / "me", outgoing(1))
    assert settled.outcome is Outcome.DEFERRED
    assert f"Create or mount {tmp_path / 'mount'}." in settled.reply
    assert not (tmp_path / "mount").exists()


@pytest.mark.parametrize("thing", ["folder", "fifo", "parent"])
def test_what_is_no_file_is_told_and_left_alone(box: Path, thing: str) -> None:
    path = box
    match thing:
        case "folder":
            box.mkdir()
        case "fifo":
            os.mkfifo(box)
        case _:
            box.write_bytes(b"precious")
            path = box / "below"
    [settled] = deliver(path, outgoing(1))
    assert settled.outcome is Outcome.DEFERRED
    assert "not a f" in settled.reply
    assert beside(box) == []


def test_links_of_root_and_of_ours_are_followed(box: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "box"
    box.symlink_to(real)
    assert delivered(deliver(box, outgoing(1)))
    assert box.is_symlink()
    assert (len(entries(real)), beside(real), beside(box)) == (1, [".box.fetchd"], [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_links_and_journals_of_others_are_not_believed(box: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    box.symlink_to(victim)
    os.lchown(box, 12_345, 12_345)
    [settled] = deliver(box, outgoing(1))
    assert "symbolic link that belongs to somebody else" in settled.reply
    box.unlink()
    deliver(box, outgoing(1))
    os.chown(journal_of(box), 12_345, 12_345)
    [settled] = deliver(box, outgoing(2))
    assert f"remove {journal_of(box)}" in settled.reply
    assert (len(entries(box)), victim.read_bytes()) == (1, b"precious")


def test_a_file_with_two_names_is_refused(box: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    os.link(victim, box)
    [settled] = deliver(box, outgoing(1))
    assert "hard link" in settled.reply
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "text",
    [
        b"", b"mine\n", b"{}\n", b'{"version":1}\n', b"\xff" * 5_000,
        b'{"version":1,"offset":0,"covered":0,"kept":0,"lead":0,"length":9,"earlier":-1,"keys":1}\n',
    ],
)  # fmt: skip
def test_a_file_that_is_no_journal_is_told_and_left_alone(box: Path, text: bytes) -> None:
    deliver(box, outgoing(1))
    journal_of(box).write_bytes(text)
    [settled] = deliver(box, outgoing(2))
    assert settled.outcome is Outcome.DEFERRED
    assert f"remove {journal_of(box)}" in settled.reply
    assert (journal_of(box).read_bytes(), len(entries(box))) == (text, 1)


def test_a_journal_that_was_cut_is_not_believed(box: Path) -> None:
    deliver(box, outgoing(1))
    whole = journal_of(box).read_bytes()
    journal_of(box).write_bytes(whole[:-3])
    [settled] = deliver(box, outgoing(2))
    assert "not, or not any more, the journal" in settled.reply


@pytest.mark.parametrize("thing", ["symlink", "fifo", "writable"])
def test_a_journal_that_others_may_have_made_is_not_believed(
    box: Path, tmp_path: Path, thing: str
) -> None:
    deliver(box, outgoing(1))
    journal = journal_of(box)
    match thing:
        case "symlink":
            journal.rename(tmp_path / "elsewhere")
            journal.symlink_to(tmp_path / "elsewhere")
        case "fifo":
            journal.unlink()
            os.mkfifo(journal, 0o600)
        case _:
            journal.chmod(0o666)
    [settled] = deliver(box, outgoing(2))
    assert settled.outcome is Outcome.DEFERRED
    assert str(journal) in settled.reply
    assert len(entries(box)) == 1


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_is_a_sentence_with_a_remedy(box: Path, number: int) -> None:
    for name in (str(box), box.with_name("me.lock"), None):
        error = OSError(number, os.strerror(number), name)
        said = mbox_trouble.sentences(box, error)
        assert said.count(". ") >= 2
        assert "Maildir" not in said
        assert "tmp" not in said.replace(str(box.parent), "")


def test_a_folder_that_may_not_be_written_is_told_though_the_mbox_may(box: Path) -> None:
    for name in ("me.lock", ".me.fetchd", ".me.fetchd.new"):
        error = OSError(errno.EACCES, "Permission denied", box.with_name(name))
        said = mbox_trouble.sentences(box, error)
        assert f"permission to write in {box.parent}" in said
        assert name in said


def test_a_body_that_cannot_be_read_harms_no_other(box: Path, tmp_path: Path) -> None:
    source = tmp_path / "body"
    source.write_bytes(b"A: b\r\n" * 400_000)
    gone = outgoing(2, path=source)
    source.unlink()
    settled = deliver(box, outgoing(1), gone, outgoing(3))
    outcomes = {one.id: one.outcome for one in settled}
    assert outcomes == {1: Outcome.DELIVERED, 2: Outcome.DEFERRED, 3: Outcome.DELIVERED}
    assert len(entries(box)) == 2


def test_a_spool_that_fails_in_the_middle_of_a_message(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(body: Body) -> Iterator[bytes]:
        yield b"half of it\n"
        if body.size > 1_000:
            raise OSError(errno.ENOSPC, "full")
        yield b"\n"

    monkeypatch.setattr(mboxes, "entry", half)
    settled = deliver(box, outgoing(1), outgoing(2, b"x" * 2_000), outgoing(3))
    assert [one.id for one in settled if one.outcome is Outcome.DEFERRED] == [2]
    assert entries(box) == [b"half of it\n"] * 2


def test_the_journal_says_how_it_went(box: Path) -> None:
    deliver(box, outgoing(1))
    journal = open_journal(journal_of(box))
    assert journal is not None
    try:
        assert not journal.begun
        assert len(journal.done) == 1
        assert (
            journal.plan.length
            == box.stat().st_size
            == len(from_line("", outgoing(1).queued_at) + b"".join(entry(outgoing(1).body)))
        )
    finally:
        journal.close()
