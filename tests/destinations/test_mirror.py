"""What a mirror adds to a Maildir: many folders, flags, dates, and following the server."""

import asyncio
import errno
import os
import stat
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fetchd.contracts import Change, Outcome, Outgoing, Settled
from fetchd.destinations import durable
from fetchd.destinations.mirror import MirrorSession
from fetchd.errors import DeliveryDeferred
from tests.destinations.disk import STEPS, Crash, crashing, tree
from tests.destinations.outgoing import QUEUED, outgoing

STEM = f"{int(QUEUED.timestamp())}.key-1.fetchd"
NAME = f"{STEM},S=25"


def with_session(path: Path, work: Callable[[MirrorSession], Any], removed: str = "keep") -> Any:
    async def main() -> Any:
        session = MirrorSession(path, removed=removed)
        try:
            return await work(session)
        finally:
            await session.close()

    return asyncio.run(main())


def deliver(path: Path, *items: Outgoing) -> list[Settled]:
    async def work(session: MirrorSession) -> list[Settled]:
        await session.put(items)
        return await session.settle()

    settled: list[Settled] = with_session(path, work)
    return settled


def follow(
    path: Path, flags: str | None, *keys: str, mailbox: str = "INBOX", removed: str = "keep"
) -> None:
    changes = [Change(key, "work", mailbox, flags) for key in keys or ("key-1",)]
    with_session(path, lambda session: session.follow(changes), removed)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "Mirror"


@pytest.mark.parametrize(
    ("flags", "part", "info"),
    [
        ("", "new", ""),
        ("$Work \\Recent", "new", ""),  # no letter
        ("\\Seen", "cur", ":2,S"),
        ("\\seen \\FLAGGED", "cur", ":2,FS"),
        (
            "$Forwarded $Junk \\Answered \\Deleted \\Draft \\Flagged \\Seen",
            "cur",
            ":2,DFPRST",
        ),
    ],
)
def test_flags_are_letters_and_the_date_is_the_files(
    root: Path, flags: str, part: str, info: str
) -> None:
    arrived = datetime(1999, 12, 31, 23, 59, 58, tzinfo=UTC)
    deliver(root, outgoing(1, mailbox="A/B", flags=flags, arrived=arrived))
    assert tree(root) == {f"work/.A.B/{part}": [NAME + info]}
    file = root / "work/.A.B" / part / f"{NAME}{info}"
    assert file.stat().st_mtime == arrived.timestamp()
    assert file.read_bytes() == b"Subject: number 1\n\nText.\n"


def test_every_account_and_mailbox_has_a_private_folder_of_its_own(root: Path) -> None:
    deliver(
        root,
        *(
            outgoing(n, account=account, mailbox=mailbox)
            for n, (account, mailbox) in enumerate(
                (a, m) for a in ("work", "../x") for m in ("INBOX", "A", "a", "A/B", "..")
            )
        ),
    )
    folders = {".", ".A", ".a", ".A.B", r".\2e\2e"}
    for account in ("work", "%2E.%2Fx"):
        top = root / account
        assert {str(cur.parent.relative_to(top)) for cur in top.glob("**/cur")} == folders
        assert all((top / f / "maildirfolder").is_file() for f in folders - {"."})
    assert not (root / "work" / "maildirfolder").exists()
    made = [*root.glob("**"), root]
    assert {path.stat().st_mode & 0o777 for path in made} == {0o700}
    assert len(tree(root)) == 10


@pytest.mark.parametrize("part", ["new", "cur"])
def test_a_doubtful_delivery_is_looked_for_in_its_own_mailbox(root: Path, part: str) -> None:
    deliver(root, outgoing(2, mailbox="A"), outgoing(3, mailbox="B"))
    there = root / "work/.A" / part / f"{STEM},S=9{':2,S' * (part == 'cur')}"
    there.write_bytes(b"here")
    before = tree(root)
    [settled] = deliver(root, outgoing(1, mailbox="A", doubtful=True))
    assert (settled.outcome, settled.reply) == (Outcome.DELIVERED, "found there")
    assert tree(root) == before
    [settled] = deliver(root, outgoing(1, mailbox="B", doubtful=True))
    assert settled.reply == ""
    assert NAME in tree(root)["work/.B/new"]


def test_a_batch_over_many_folders_is_durable_by_one_syncfs_and_a_sync_for_each(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def batch(first: int) -> list[Outgoing]:
        return [
            outgoing(first + n, mailbox=f"Box {n % 30}", flags="\\Seen" * (n % 2))
            for n in range(300)
        ]

    deliver(root, *batch(0))
    calls: list[str] = []

    def noting(name: str, real: Callable[..., object]) -> Callable[..., object]:
        return lambda *a, **k: (calls.append(name), real(*a, **k))[1]

    for module, name in ((durable, "syncfs"), (os, "fsync"), (os, "rename")):
        monkeypatch.setattr(module, name, noting(name, getattr(module, name)))
    deliver(root, *batch(300))
    assert calls == ["syncfs", *(["rename"] * 10 + ["fsync"]) * 30]


def test_after_a_crash_at_any_step_everything_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def items(*, doubtful: bool) -> list[Outgoing]:
        return [
            outgoing(
                n,
                mailbox=("INBOX", "A", "A/B")[n % 3],
                flags="\\Seen" * (n % 2),
                arrived=QUEUED,
                doubtful=doubtful,
            )
            for n in range(9)
        ]

    async def cut_short(session: MirrorSession) -> None:
        try:
            await session.put(items(doubtful=False))
            await session.settle()
        finally:
            session._let_go()  # as the end of the process does, and nothing else

    at, crashed = 0, True
    while crashed:
        root = tmp_path / str(at)
        with monkeypatch.context() as broken:
            taken = crashing(broken, at)
            try:
                asyncio.run(cut_short(MirrorSession(root)))
            except Crash:
                pass
            else:
                crashed = False
        settled = deliver(root, *items(doubtful=True))
        assert {s.id: s.outcome for s in settled} == dict.fromkeys(range(9), Outcome.DELIVERED), at
        there = [name for names in tree(root).values() for name in names]
        assert sorted(name.split(".")[1] for name in there) == [f"key-{n}" for n in range(9)], at
        at += 1
    assert {*STEPS, "syncfs"} == set(taken)


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("call", ["write", "open", "mkdir", "rename", "fsync", "utime"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_trouble_defers_and_the_next_attempt_delivers_once(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    batch = [outgoing(n, mailbox=f"Box {n % 2}", arrived=QUEUED, flags="\\Seen") for n in range(12)]

    async def work(session: MirrorSession) -> tuple[list[Settled], list[Settled]]:
        with monkeypatch.context() as broken:
            broken.setattr(os, call, failing(number))
            await session.put(batch)
            first = await session.settle()
        await session.put(batch)
        return first, await session.settle()

    first, second = with_session(root, work)
    assert {s.id: s.outcome for s in first} == dict.fromkeys(range(12), Outcome.DEFERRED)
    assert all(str(root) in s.reply and "again by itself" in s.reply for s in first)
    assert {s.id: s.outcome for s in second} == dict.fromkeys(range(12), Outcome.DELIVERED)
    assert sorted(tree(root)) == ["work/.Box 0/cur", "work/.Box 1/cur"]
    assert sum(map(len, tree(root).values())) == 12


def test_a_folder_that_cannot_be_written_harms_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir

    def closed(path: str, *args: Any, **keywords: Any) -> None:
        if str(path) == ".B":
            raise OSError(errno.EACCES, "closed")
        real(path, *args, **keywords)

    monkeypatch.setattr(os, "mkdir", closed)
    settled = deliver(root, *(outgoing(n, mailbox="AB"[n % 2]) for n in range(4)))
    outcomes = {s.id: s.outcome for s in settled}
    assert outcomes == {
        0: Outcome.DELIVERED, 2: Outcome.DELIVERED, 1: Outcome.DEFERRED, 3: Outcome.DEFERRED,
    }  # fmt: skip
    [told] = {s.reply for s in settled if s.outcome is Outcome.DEFERRED}
    assert told.startswith(f"{root}/work/.B may not be written. Give fetchd's user permission")
    assert "work/tmp" not in tree(root)


def test_renamed_but_not_durable_is_deferred_and_not_repeated(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def no_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "lost")
        real(descriptor)

    deliver(root, outgoing(2, mailbox="A"))

    async def work(session: MirrorSession) -> list[Settled]:
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", no_folders)
            await session.put([outgoing(1, mailbox="A")])
            settled = await session.settle()
        new = root / "work/.A/new"
        (new / NAME).rename(new.parent / "cur" / f"{NAME}:2,S")  # a reader was quick
        await session.put([outgoing(1, mailbox="A")])
        return settled + await session.settle()

    assert [s.outcome for s in with_session(root, work)] == [Outcome.DEFERRED, Outcome.DELIVERED]
    assert sum(map(len, tree(root).values())) == 2


@pytest.mark.parametrize("where", ["work", "work/tmp", "work/.A", "work/.A/new"])
def test_nothing_leaves_the_tree_through_a_link(root: Path, tmp_path: Path, where: str) -> None:
    outside = tmp_path / "outside"
    for part in ("tmp", "new", "cur", ".A/tmp", ".A/new", ".A/cur"):
        (outside / part).mkdir(parents=True)
    victim = outside / "cur" / f"{NAME}:2,"
    victim.write_bytes(b"precious")
    link = root / where
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    before = tree(outside)
    [settled] = deliver(root, outgoing(1, mailbox="A"))
    assert settled.outcome is Outcome.DEFERRED
    assert "not a link" in settled.reply
    for flags in ("\\Seen", None):
        with pytest.raises(DeliveryDeferred, match="not a link"):
            follow(root, flags, mailbox="A", removed="remove")
    assert tree(outside) == before


# -- Following the server ---------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "flags", "after"),
    [
        (f"new/{NAME}", "\\Seen", f"cur/{NAME}:2,S"),
        (f"new/{NAME}", "", f"new/{NAME}"),
        (f"new/{NAME}", "$Work", f"new/{NAME}"),
        (f"cur/{NAME}:2,", "\\Flagged \\Seen", f"cur/{NAME}:2,FS"),
        (f"cur/{NAME}:2,FS", "", f"cur/{NAME}:2,"),
        (f"cur/{NAME}", "", f"cur/{NAME}"),
        (f"cur/{NAME}", "\\Seen", f"cur/{NAME}:2,S"),
        (f"cur/{NAME}:2,Sac", "\\Deleted", f"cur/{NAME}:2,Tac"),  # a reader's keywords
        (f"cur/{NAME}:2,XS", "\\Flagged", f"cur/{NAME}:2,FX"),
        (f"new/{NAME}:2,a", "\\Flagged", f"cur/{NAME}:2,Fa"),
        (f"cur/{STEM},S=25,W=27,U=4:2,S", "", f"cur/{STEM},S=25,W=27,U=4:2,"),
        ("cur/1793620800.key-10.fetchd,S=25:2,", "\\Seen", None),  # another's
        (f"cur/{NAME.replace('fetchd', 'host')}:2,", "\\Seen", None),
        ("cur/key-1", "\\Seen", None),
    ],
)
def test_flags_are_followed(root: Path, before: str, flags: str, after: str | None) -> None:
    deliver(root, outgoing(2, mailbox="A"))
    (root / "work/.A/new").joinpath(tree(root)["work/.A/new"][0]).unlink()
    (root / "work/.A" / before).write_bytes(b"here")
    for _ in range(2):
        follow(root, flags, mailbox="A")
        part, _, name = (after or before).partition("/")
        assert tree(root) == {f"work/.A/{part}": [name]}


@pytest.mark.parametrize("mailbox", ["INBOX", "A/B"])
@pytest.mark.parametrize("flags", ["", "\\Seen"])
@pytest.mark.parametrize("removed", ["keep", "trash", "remove"])
def test_what_vanished_is_kept_put_aside_or_removed(
    root: Path, mailbox: str, flags: str, removed: str
) -> None:
    folder = "work" if mailbox == "INBOX" else "work/.A.B"
    trash = f"work/.Removed.{'INBOX' if mailbox == 'INBOX' else 'A.B'}"
    part, name = ("cur", f"{NAME}:2,S") if flags else ("new", NAME)
    deliver(root, *(outgoing(n, mailbox=mailbox, flags=flags) for n in (1, 2)))
    stays = name.replace("key-1", "key-2")
    expected = {
        "keep": {f"{folder}/{part}": [name, stays]},
        "trash": {f"{folder}/{part}": [stays], f"{trash}/{part}": [name]},
        "remove": {f"{folder}/{part}": [stays]},
    }[removed]
    for _ in range(2):
        follow(root, None, "key-1", "key-404", mailbox=mailbox, removed=removed)
        assert tree(root) == expected
    assert (root / trash / "maildirfolder").exists() is (removed == "trash")


def test_nothing_is_made_for_what_is_not_there(root: Path) -> None:
    deliver(root, outgoing(1))
    before = sorted(root.glob("**/*"))
    for flags in ("\\Seen", None):
        follow(root, flags, "key-7", removed="trash")
        follow(root, flags, mailbox="B", removed="trash")
    with_session(root, lambda s: s.follow([Change("key-1", "home", "INBOX", None)]), "trash")
    assert sorted(root.glob("**/*")) == before


def test_many_changes_cost_a_listing_and_a_sync_for_each_folder(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(root, *(outgoing(n, mailbox="AB"[n % 2]) for n in range(40)))
    calls: list[str] = []

    def noting(name: str, real: Callable[..., object]) -> Callable[..., object]:
        return lambda *a, **k: (calls.append(name), real(*a, **k))[1]

    for name in ("listdir", "fsync"):
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))
    changes = [Change(f"key-{n}", "work", "AB"[n % 2], "\\Seen") for n in range(40)]
    with_session(root, lambda session: session.follow(changes))
    assert calls == ["listdir", "listdir", "fsync", "fsync"] * 2
    assert {folder: len(names) for folder, names in tree(root).items()} == {
        "work/.A/cur": 20,
        "work/.B/cur": 20,
    }


def test_what_is_put_aside_is_durable_there_before_it_is_gone_here(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(root, *(outgoing(n) for n in range(3)))
    follow(root, None, "key-0", removed="trash")  # which makes the folder
    synced: list[Path] = []
    real = os.fsync

    def noting(descriptor: int) -> None:
        real(descriptor)
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().relative_to(root / "work"))

    monkeypatch.setattr(os, "fsync", noting)
    follow(root, None, "key-1", "key-2", removed="trash")
    aside = Path(".Removed.INBOX")
    assert synced == [aside / "new", aside / "cur", Path("new"), Path("cur")]


@pytest.mark.parametrize("missing", ["maildirfolder", "tmp", "new", "cur"])
def test_a_folder_that_was_left_half_made_is_made_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    deliver(root, outgoing(1, mailbox="A", flags="\\Seen"))
    half = root / "work/.A" / missing
    for file in (root / "work/.A/cur").iterdir():
        file.unlink()
    half.rmdir() if half.is_dir() else half.unlink()
    synced: list[Path] = []
    real = os.fsync

    def noting(descriptor: int) -> None:
        real(descriptor)
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve())

    monkeypatch.setattr(os, "fsync", noting)
    [settled] = deliver(root, outgoing(1, mailbox="A"))
    assert settled.outcome is Outcome.DELIVERED
    assert half.exists()
    assert {root / "work", root / "work/.A"} < set(synced)


@pytest.mark.parametrize("flags", ["\\Flagged", None])
def test_a_reader_that_renames_meanwhile_is_no_match(
    root: Path, monkeypatch: pytest.MonkeyPatch, flags: str | None
) -> None:
    deliver(root, outgoing(1))
    new, cur = root / "work/new", root / "work/cur"
    real = os.listdir

    def listed(where: int) -> Sequence[str]:
        names = real(where)
        if (new / NAME).exists() and os.path.samestat(os.fstat(where), cur.stat()):
            (new / NAME).rename(cur / f"{NAME}:2,Sa")
        return names

    monkeypatch.setattr(os, "listdir", listed)
    follow(root, flags, removed="trash")
    if flags is None:
        assert tree(root) == {"work/.Removed.INBOX/cur": [f"{NAME}:2,Sa"]}
    else:
        assert tree(root) == {"work/cur": [f"{NAME}:2,Fa"]}


@pytest.mark.parametrize("call", ["open", "rename", "fsync", "listdir", "mkdir"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_trouble_is_told_and_the_next_attempt_follows(
    root: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    deliver(root, outgoing(1))
    with monkeypatch.context() as broken:
        broken.setattr(os, call, failing(number))
        with pytest.raises(DeliveryDeferred) as caught:
            follow(root, None, removed="trash")
    assert str(root) in str(caught.value)
    assert caught.value.advice.endswith("fetchd tries again by itself.")
    follow(root, None, removed="trash")
    assert tree(root) == {"work/.Removed.INBOX/new": [NAME]}


def test_trouble_with_one_mailbox_does_not_keep_the_others_from_following(root: Path) -> None:
    deliver(root, *(outgoing(n, mailbox="ABC"[n]) for n in range(3)))
    (root / "work/.B").rename(root / "aside")
    (root / "work/.B").write_bytes(b"in the way")
    changes = [Change(f"key-{n}", "work", "ABC"[n], "\\Seen") for n in range(3)]
    with pytest.raises(DeliveryDeferred, match=r"\.B is not a Maildir"):
        with_session(root, lambda session: session.follow(changes))
    assert {"work/.A/cur", "work/.C/cur"} < tree(root).keys()


def test_a_lost_mount_is_no_empty_mirror(root: Path) -> None:
    with pytest.raises(DeliveryDeferred, match="is gone") as caught:
        follow(root, "\\Seen")
    assert f"Create or mount {root}." in caught.value.advice
    assert not root.exists()
