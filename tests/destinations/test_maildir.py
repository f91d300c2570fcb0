import asyncio
import errno
import mailbox
import os
import stat
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fetchd.contracts import Outcome, Outgoing, Settled
from fetchd.destinations import durable, maildir
from fetchd.destinations.maildir import MaildirSession
from fetchd.values import replace
from tests.destinations.disk import STEPS, Crash, crashing, tree
from tests.destinations.outgoing import QUEUED, outgoing

STEM = f"{int(QUEUED.timestamp())}.key-1.fetchd"
NAME = f"{STEM},S=25"


def deliver(path: Path, *items: Outgoing, newline: str = "lf", **how: Any) -> list[Settled]:
    async def main() -> list[Settled]:
        session = MaildirSession(path, newline, **how)
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
    assert len(listed) == 3  # the Maildir itself, new/ and cur/
    listed.clear()
    deliver(box, *(outgoing(n) for n in range(9)))
    assert listed == []


def test_the_flat_path_takes_no_more_calls_for_folders_and_flags_that_nobody_wants(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(box, outgoing(99))
    calls: list[str] = []

    def noting(name: str, real: Callable[..., object]) -> Callable[..., object]:
        return lambda *a, **k: (calls.append(name), real(*a, **k))[1]

    for name in ("open", "stat", "mkdir", "listdir", "utime", "rename", "unlink"):
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))
    monkeypatch.setattr(durable, "SYNCFS_FROM", 1)

    def cost(count: int) -> dict[str, int]:
        calls.clear()
        deliver(box, *(outgoing(n, flags="\\Seen", mailbox="A/B") for n in range(count)))
        return {name: calls.count(name) for name in calls}

    few, many = cost(2), cost(12)
    grown = {name: many[name] - few[name] for name in many if many[name] != few[name]}
    assert grown == {"open": 10, "rename": 10}


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
    assert all(str(box) in one.reply and "again by itself" in one.reply for one in first)
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


# -- Folders and flags --------------------------------------------------------------


def routed(item: Outgoing, folder: str) -> Outgoing:
    return replace(item, folder=folder)


@pytest.mark.parametrize(
    ("template", "route", "folder"),
    [
        ("", "", ""),
        ("Fetched", "", ".Fetched"),
        ("{account}/{mailbox}", "", ".work.A\\2eb.c"),  # a dot in a name is no level
        ("{mailbox}", "", ".A\\2eb.c"),
        ("INBOX", "", ""),
        ("inbox", "", ""),
        ("Fetched", "Lists/Dev", ".Lists.Dev"),  # a route knows better
        ("Fetched", "INBOX", ""),
        ("", "W\xfcrfel", ".W&APw-rfel"),
        ("", "../../x", r".\2e\2e.\2e\2e.x"),
        ("", "/etc", ".%!.etc"),
        ("", "a\0b", ".a&AAA-b"),
    ],
)
def test_a_message_goes_to_the_folder_that_settings_or_its_route_want(
    box: Path, template: str, route: str, folder: str
) -> None:
    item = routed(outgoing(1, mailbox="A.b/c"), route)
    assert deliver(box, item, folder=template)[0].outcome is Outcome.DELIVERED
    assert tree(box) == {os.path.join(folder, "new"): [NAME]}  # noqa: PTH118
    if folder:
        assert (box / folder / "maildirfolder").is_file()
        made = [box / folder / part for part in ("", "tmp", "new", "cur")]
        assert [path.stat().st_mode & 0o777 for path in made] == [0o700] * 4
    assert not (box / "maildirfolder").exists()


@pytest.mark.parametrize(
    ("how", "flags", "file"),
    [
        ({}, "\\Seen \\Flagged", f"new/{NAME}"),
        ({"keep_flags": True}, "\\Seen \\Flagged", f"cur/{NAME}:2,FS"),
        ({"keep_flags": True}, "$Work \\Recent", f"new/{NAME}"),  # no letter
        ({"keep_flags": True}, "", f"new/{NAME}"),
        ({"mark_seen": True}, "\\Flagged", f"cur/{NAME}:2,S"),
        ({"mark_seen": True, "keep_flags": True}, "\\Flagged", f"cur/{NAME}:2,FS"),
        ({"mark_seen": True, "keep_flags": True}, "\\Seen \\Deleted", f"cur/{NAME}:2,ST"),
    ],
)
@pytest.mark.parametrize("folder", ["", ".F/"])
def test_flags_are_dropped_kept_or_seen_is_added(
    box: Path, how: dict[str, bool], flags: str, file: str, folder: str
) -> None:
    item = routed(outgoing(1, flags=flags), folder[1:-1])
    assert deliver(box, item, **how)[0].outcome is Outcome.DELIVERED
    part, name = file.split("/")
    assert tree(box) == {f"{folder}{part}": [name]}


@pytest.mark.parametrize(
    "there",
    [
        f"new/{NAME}", f"cur/{NAME}:2,S", f".F/new/{NAME}", f".F/cur/{NAME}:2,FS",
        f".Elsewhere/new/{NAME}", f".Elsewhere/cur/{STEM},S=7:2,", f".A.B.C/cur/{STEM}:2,T",
    ],
)  # fmt: skip
@pytest.mark.parametrize("folder", ["", "F", "G"])
def test_what_a_reader_moved_to_another_folder_is_found_there(
    box: Path, there: str, folder: str
) -> None:
    deliver(box, *(routed(outgoing(n, key=f"other-{n}"), f) for n, f in enumerate(("", "F", "X"))))
    (box / ".dovecot.lvinfo").write_bytes(b"no folder")
    (box / ".half-made").mkdir()
    (box / ".dangling").symlink_to(box / "nowhere")
    (box / there).parent.mkdir(parents=True, exist_ok=True)
    for part in ("tmp", "new", "cur"):
        ((box / there).parents[1] / part).mkdir(exist_ok=True)
    (box / there).write_bytes(b"here")
    before = tree(box), {*box.iterdir()}
    [settled] = deliver(box, outgoing(1, doubtful=True), folder=folder)
    assert (settled.outcome, settled.reply) == (Outcome.DELIVERED, "found there")
    assert (tree(box), {*box.iterdir()}) == before


def test_what_a_reader_moves_while_we_look_is_found(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(box, routed(outgoing(1), "B"), routed(outgoing(2), "A"))
    real, listed = os.listdir, list[object]()

    def moving(at: int) -> list[str]:
        listed.append(at)
        if len(listed) == 6:  # the Maildir; new/ and cur/ of itself and of .A; then .B
            (box / ".B/new" / NAME).rename(box / ".A/cur" / f"{NAME}:2,S")
        return real(at)

    monkeypatch.setattr(maildir.os, "listdir", moving)
    [settled] = deliver(box, outgoing(1, doubtful=True), folder="B")
    assert settled.reply == "found there"
    assert [name for names in tree(box).values() for name in names if "key-1" in name] == [
        f"{NAME}:2,S"
    ]


def test_another_folder_that_cannot_be_entered_holds_up_nothing(
    box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(box, routed(outgoing(2), "Private"), routed(outgoing(3), "Open"))
    real = os.open

    def closed(path: str, *args: Any, **keywords: Any) -> int:
        if str(path) == ".Private":
            raise PermissionError(errno.EACCES, "closed")
        return real(path, *args, **keywords)

    monkeypatch.setattr(os, "open", closed)
    one, two = (
        deliver(box, routed(outgoing(1, doubtful=True), folder))[0]
        for folder in ("Open", "Private")
    )
    assert (one.outcome, one.reply) == (Outcome.DELIVERED, "")
    # It is there already; but what is to go where we cannot look would come twice.
    assert two.outcome is Outcome.DEFERRED
    assert str(box / ".Private") in two.reply


def test_trouble_with_one_folder_harms_no_other(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.mkdir

    def full(path: str, *args: Any, **keywords: Any) -> None:
        if str(path) == ".B":
            raise OSError(errno.EDQUOT, "quota")
        real(path, *args, **keywords)

    monkeypatch.setattr(os, "mkdir", full)
    settled = deliver(box, *(routed(outgoing(n), "AB"[n % 2]) for n in range(4)))
    assert {one.id: one.outcome for one in settled} == {
        0: Outcome.DELIVERED, 2: Outcome.DELIVERED, 1: Outcome.DEFERRED, 3: Outcome.DEFERRED,
    }  # fmt: skip
    assert {one.reply.split(" is used up")[0] for one in settled if one.reply} == {
        f"The disk quota of {box}/.B"
    }
    assert held(box, "tmp") == []


@pytest.mark.parametrize("reader", [False, True])
def test_after_a_crash_at_any_step_everything_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: bool
) -> None:
    """`reader`: whatever came through was read and moved to another folder meanwhile."""

    def items(*, doubtful: bool) -> list[Outgoing]:
        return [
            routed(
                outgoing(n, mailbox="AB"[n % 2], flags="\\Seen" * (n % 3 == 0), doubtful=doubtful),
                "Lists" * (n % 4 == 0),
            )
            for n in range(9)
        ]

    how = {"folder": "{account}/{mailbox}", "keep_flags": True}

    async def cut_short(session: MaildirSession) -> None:
        try:
            await session.put(items(doubtful=False))
            await session.settle()
        finally:
            session._let_go()  # as the end of the process does, and nothing else

    at, crashed = 0, True
    while crashed:
        box = tmp_path / str(at)
        with monkeypatch.context() as broken:
            taken = crashing(broken, at)
            try:
                asyncio.run(cut_short(MaildirSession(box, **how)))
            except Crash:
                pass
            else:
                crashed = False
        if reader:
            move_all(box, box / ".Read")
        settled = deliver(box, *items(doubtful=True), **how)
        assert {s.id: s.outcome for s in settled} == dict.fromkeys(range(9), Outcome.DELIVERED), at
        there = [name for names in tree(box).values() for name in names]
        assert sorted(name.split(".")[1] for name in there) == [f"key-{n}" for n in range(9)], at
        at += 1
    assert {*STEPS, "syncfs"} - {"utime"} == set(taken)
    if not reader:
        folders = (".Lists", ".work.A", ".work.B")
        assert {*tree(box)} == {f"{folder}/{part}" for folder in folders for part in ("new", "cur")}


def move_all(box: Path, to: Path) -> None:
    for part in ("tmp", "new", "cur"):
        (to / part).mkdir(parents=True, exist_ok=True)
    for file in [*box.glob("**/new/*"), *box.glob("**/cur/*")]:
        file.rename(to / "cur" / f"{file.name.partition(':')[0]}:2,S")
