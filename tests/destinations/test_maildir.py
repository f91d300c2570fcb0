import asyncio
import errno
import mailbox
import os
import stat
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fetchd.contracts import Outcome, Outgoing, Settled
from fetchd.destinations import durable, maildir
from fetchd.destinations.maildir import MaildirSession
from tests.destinations.outgoing import QUEUED, outgoing

STEM = f"{int(QUEUED.timestamp())}.key-1.fetchd"


def deliver(path: Path, *items: Outgoing, newline: str = "lf") -> list[Settled]:
    async def main() -> list[Settled]:
        session = MaildirSession(path, newline)
        try:
            await session.put(items)
            return await session.settle()
        finally:
            await session.close()

    return asyncio.run(main())


def held(path: Path, folder: str = "new") -> list[str]:
    return sorted(entry.name for entry in (path / folder).iterdir())


@pytest.fixture
def box(tmp_path: Path) -> Path:
    return tmp_path / "Maildir"


@pytest.mark.parametrize(
    ("data", "lf"),
    [
        (b"A: b\r\n\r\ntext\r\n", b"A: b\n\ntext\n"),
        (b"A: b\r\n\r\nno end", b"A: b\n\nno end"),
        (b"A: b\r\n\r\nbare\nLF\r\n", None),
        (b"A: b\n\nonly LF\n", None),
        (b"A: b\r\n\r\nbare\rCR\r\r\n\r", b"A: b\n\nbare\rCR\r\n\r"),
        (b"A: b\r\n\r\n\x00\xff\r\n", b"A: b\n\n\x00\xff\n"),
        (b"", b""),
    ],
)
@pytest.mark.parametrize("in_file", [False, True])
def test_conversion_is_made_only_where_it_can_be_undone(
    box: Path, tmp_path: Path, data: bytes, lf: bytes | None, in_file: bool
) -> None:
    source = tmp_path / "body"
    source.write_bytes(data)
    item = outgoing(1, data, path=source if in_file else None)
    expected = data if lf is None else lf
    assert deliver(box, item)[0].outcome is Outcome.DELIVERED
    [key] = mailbox.Maildir(box, create=False).keys()
    assert mailbox.Maildir(box, create=False).get_bytes(key) == expected
    assert held(box) == [f"{STEM},S={len(expected)}"]
    assert deliver(box, item, newline="crlf")[0].outcome is Outcome.DELIVERED
    assert (box / "new" / f"{STEM},S={len(data)}").read_bytes() == data


def test_crlf_across_every_chunk_border(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = b"a\r\n\r\nbc\r\r\n\rd\r\n" * 3
    source = tmp_path / "body"
    source.write_bytes(data)
    body = outgoing(1, path=source).body
    chunks = type(body).chunks
    for size in range(1, len(data) + 1):
        monkeypatch.setattr(type(body), "chunks", lambda self, s=size: chunks(self, s))
        deliver(tmp_path / f"box{size}", outgoing(1, path=source))
        [name] = held(tmp_path / f"box{size}")
        got = (tmp_path / f"box{size}" / "new" / name).read_bytes()
        assert got == data.replace(b"\r\n", b"\n")
        assert name.endswith(f",S={len(got)}")


def test_folder_and_files_are_private(box: Path) -> None:
    deliver(box, outgoing(1))
    assert [(box / f).stat().st_mode & 0o777 for f in ("", "tmp", "new", "cur")] == [0o700] * 4
    assert (box / "new" / held(box)[0]).stat().st_mode & 0o777 == 0o600
    assert held(box, "tmp") == []


def test_a_file_left_in_tmp_by_a_crash_is_overwritten(box: Path) -> None:
    deliver(box, outgoing(2))
    expected = b"Subject: number 1\n\nText.\n"
    name = f"{STEM},S={len(expected)}"
    (box / "tmp" / name).write_bytes(b"half of a longer message that was cut short by a crash")
    assert deliver(box, outgoing(1, doubtful=True))[0].outcome is Outcome.DELIVERED
    assert (box / "new" / name).read_bytes() == expected
    assert held(box, "tmp") == []


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("new", f"{STEM},S=25"),
        ("cur", f"{STEM},S=25:2,FRS"),
        ("cur", f"{STEM},S=27:2,"),  # delivered under the other newline setting
        ("cur", f"{STEM}:2,S"),
    ],
)
def test_a_doubtful_delivery_is_found_wherever_it_is(box: Path, folder: str, name: str) -> None:
    deliver(box, outgoing(2))
    (box / folder / name).write_bytes(b"here")
    before = held(box), held(box, "cur")
    assert deliver(box, outgoing(1, doubtful=True))[0].outcome is Outcome.DELIVERED
    assert (held(box), held(box, "cur")) == before


def test_found_is_believed_only_when_its_folder_is_durable(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(box, outgoing(1))
    monkeypatch.setattr(maildir.os, "fsync", failing(errno.EIO))
    assert deliver(box, outgoing(1, doubtful=True))[0].outcome is Outcome.DEFERRED


def test_folders_are_listed_once_a_session(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[object] = []
    real = os.listdir
    monkeypatch.setattr(maildir.os, "listdir", lambda at: (listed.append(at), real(at))[1])
    deliver(box, *(outgoing(n, doubtful=True) for n in range(5)))
    assert len(listed) == 2
    listed.clear()
    deliver(box, *(outgoing(n) for n in range(9)))
    assert listed == []


def failing(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", ["write", "open", "mkdir", "rename", "fsync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_trouble_defers_and_the_next_attempt_delivers_once(
    box: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    async def main() -> tuple[list[Settled], list[Settled]]:
        session = MaildirSession(box)
        with monkeypatch.context() as broken:
            broken.setattr(maildir.os, call, failing(number))
            await session.put([outgoing(1), outgoing(2)])
            first = await session.settle()
        await session.put([outgoing(1), outgoing(2)])
        second = await session.settle()
        await session.close()
        return first, second

    if call == "fsync":
        deliver(box, outgoing(3))  # the Maildir exists: it is the messages' sync that fails
        (box / "new" / held(box)[0]).unlink()
    first, second = asyncio.run(main())
    assert {(one.id, one.outcome) for one in first} == {
        (1, Outcome.DEFERRED),
        (2, Outcome.DEFERRED),
    }
    assert all(str(box) in one.reply and "again at the next sync" in one.reply for one in first)
    assert {one.id: one.outcome for one in second} == dict.fromkeys((1, 2), Outcome.DELIVERED)
    assert len(held(box)) == 2
    assert held(box, "tmp") == []


def test_a_full_disk_harms_only_the_message_that_did_not_fit(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def full(file: int, data: Sequence[int]) -> int:
        if len(data) > 100:
            raise OSError(errno.ENOSPC, "full")
        return real(file, data)

    monkeypatch.setattr(maildir.os, "write", full)
    settled = deliver(box, outgoing(1), outgoing(2, b"A: b\r\n\r\n" + b"x" * 200), outgoing(3))
    outcomes = {one.id: one.outcome for one in settled}
    assert outcomes == {1: Outcome.DELIVERED, 2: Outcome.DEFERRED, 3: Outcome.DELIVERED}
    assert held(box, "tmp") == []


def test_a_failing_sync_defers_everything_and_nothing_appears(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable.Flush, "flush_in", failing(errno.EIO))
    settled = deliver(box, *(outgoing(n) for n in range(20)))
    assert [one.outcome for one in settled] == [Outcome.DEFERRED] * 20
    assert held(box) == held(box, "tmp") == []


@pytest.mark.parametrize("count", [1, durable.SYNCFS_FROM - 1, durable.SYNCFS_FROM, 40])
def test_every_file_is_synced_before_any_is_renamed(
    box: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    deliver(box, outgoing(99))
    calls: list[str] = []

    def noting(name: str, real: Callable[..., object]) -> Callable[..., object]:
        return lambda *a, **k: (calls.append(name), real(*a, **k))[1]

    for module, name in ((durable, "syncfs"), (os, "fsync"), (os, "rename")):
        monkeypatch.setattr(module, name, noting(name, getattr(module, name)))
    deliver(box, *(outgoing(n) for n in range(count)))
    first = calls.index("rename")
    assert calls[first:] == ["rename"] * count + ["fsync"]
    assert calls[:first] in (["syncfs"], ["fsync"] * count)
    if count < durable.SYNCFS_FROM:
        assert "syncfs" not in calls


def test_an_untrusted_file_system_gets_a_sync_for_each_file(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_file_system", lambda _: 0x65735546)  # FUSE
    monkeypatch.setattr(durable, "syncfs", failing(errno.EIO))
    assert len(deliver(box, *(outgoing(n) for n in range(20)))) == 20
    assert len(held(box)) == 20


def test_files_on_another_file_system_are_synced_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    for folder in ("here", "elsewhere"):
        (tmp_path / folder).mkdir()
        for number in range(durable.SYNCFS_FROM):
            (tmp_path / folder / str(number)).touch()
        opened.append(os.open(tmp_path / folder, os.O_RDONLY))
    synced: list[int] = []
    real = os.fstat
    monkeypatch.setattr(
        os, "fstat", lambda at: real(at) if at != opened[1] else os.stat_result([0] * 10)
    )
    monkeypatch.setattr(os, "fsync", synced.append)
    flush = durable.Flush(opened[0])
    flush.flush_in([(at, str(n)) for at in opened for n in range(durable.SYNCFS_FROM)])
    for at in opened:
        os.close(at)
    assert len(synced) == durable.SYNCFS_FROM


def test_a_missing_parent_is_not_made(tmp_path: Path) -> None:
    [settled] = deliver(tmp_path / "mount" / "Maildir", outgoing(1))
    assert settled.outcome is Outcome.DEFERRED
    assert f"Create or mount {tmp_path / 'mount'}" in settled.reply
    assert not (tmp_path / "mount").exists()


def test_a_link_that_leads_nowhere(box: Path) -> None:
    box.symlink_to(box.parent / "unmounted")
    [settled] = deliver(box, outgoing(1))
    assert settled.outcome is Outcome.DEFERRED
    assert f"Create or mount {box}." in settled.reply


def test_a_file_where_the_folder_should_be(box: Path) -> None:
    box.write_bytes(b"mbox?")
    [settled] = deliver(box, outgoing(1))
    assert settled.outcome is Outcome.DEFERRED
    assert "not a Maildir" in settled.reply
    assert box.read_bytes() == b"mbox?"


@pytest.mark.parametrize("thing", ["symlink", "fifo", "folder"])
def test_what_is_not_a_file_in_tmp_is_never_written_through(box: Path, thing: str) -> None:
    deliver(box, outgoing(2))
    trap, victim = box / "tmp" / f"{STEM},S=25", box.parent / "victim"
    victim.write_bytes(b"precious")
    match thing:
        case "symlink":
            trap.symlink_to(victim)
        case "fifo":
            os.mkfifo(trap)
        case _:
            trap.mkdir()
    [settled] = deliver(box, outgoing(1))
    assert settled.outcome is Outcome.DEFERRED
    assert "Remove it" in settled.reply
    assert victim.read_bytes() == b"precious"


def test_two_sessions_on_one_maildir_lose_and_repeat_nothing(box: Path) -> None:
    async def main() -> list[Settled]:
        one, two = MaildirSession(box), MaildirSession(box)
        await asyncio.gather(
            one.put([outgoing(n) for n in range(30)]),
            two.put([outgoing(n) for n in range(20, 60)]),
        )
        settled = [*await one.settle(), *await two.settle()]
        await one.close()
        await two.close()
        return settled

    settled = asyncio.run(main())
    assert {one.outcome for one in settled} == {Outcome.DELIVERED}
    assert len(held(box)) == 60


def test_thirty_megabytes_pass_in_bounded_memory(box: Path, tmp_path: Path) -> None:
    source = tmp_path / "body"
    line = b"x" * 76 + b"\r\n"
    source.write_bytes(line * (30_000_000 // len(line)))
    item = outgoing(1, path=source)
    tracemalloc.start()
    try:
        [settled] = deliver(box, item)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert settled.outcome is Outcome.DELIVERED
    assert (box / "new" / held(box)[0]).stat().st_size == 30_000_000 // 78 * 77
    assert peak < 8_000_000


def test_renamed_but_not_durable_is_deferred_and_not_repeated(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def no_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "lost")
        real(descriptor)

    async def main() -> list[Settled]:
        session = MaildirSession(box)
        with monkeypatch.context() as broken:
            broken.setattr(maildir.os, "fsync", no_folders)
            await session.put([outgoing(1)])
            settled = await session.settle()
        [name] = held(box)
        (box / "new" / name).rename(box / "cur" / f"{name}:2,S")  # a reader was quick
        await session.put([outgoing(1)])
        settled += await session.settle()
        await session.close()
        return settled

    for folder in (box, box / "tmp", box / "new", box / "cur"):
        folder.mkdir()
    assert [one.outcome for one in asyncio.run(main())] == [Outcome.DEFERRED, Outcome.DELIVERED]
    assert (held(box), len(held(box, "cur"))) == ([], 1)
