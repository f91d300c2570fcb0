"""Tidying up beside syncs, as a service does: two at the archive, and neither spoils the other."""

import threading
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fetchd.catalog import inventory, outbox, recording
from fetchd.catalog.database import Catalog
from fetchd.contracts import Commit, Outgoing, Recorded
from fetchd.pipeline import keep, letters
from fetchd.pipeline.at_work import utc_now
from fetchd.pipeline.committer import Committer
from fetchd.pipeline.located import faults
from fetchd.pipeline.storage import Storage, commit, open_storage
from fetchd.pipeline.verify import read_back
from fetchd.values import replace
from tests.pipeline.home import Home
from tests.servers.mail import digest

pytestmark = pytest.mark.live

LATER = timedelta(days=100)
NINETY = timedelta(days=90)
HELD_UP = 0.3  # seconds in which a thread that may go on does

Make = Callable[..., Home]
Mailbox = Callable[[Sequence[bytes]], str]


def mail(number: int, size: int = 2000) -> bytes:
    text = f"Subject: {number}\r\nMessage-ID: <{number}@x.example>\r\n\r\n"
    return text.encode() + f"{number} ".encode() * (size // 4) + b"\r\n"


def stored(storage: Storage, messages: Sequence[bytes]) -> list[Any]:
    found = inventory.locations(storage.catalog, [bytes.fromhex(digest(m)) for m in messages])
    return [(one, size, at) for one, (at, size) in found.items()]


def test_two_threads_never_append_before_the_catalog_knows_of_the_last_one(
    home: Make, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = home(mailbox([mail(n) for n in range(5)]))
    assert here.sync().ok
    appended, go_on, record = threading.Event(), threading.Event(), recording.record

    def slow(catalog: Catalog, history: Collection[Recorded], **more: Any) -> Any:
        monkeypatch.setattr(recording, "record", record)
        appended.set()
        assert go_on.wait(30)
        return record(catalog, history, **more)

    with open_storage(here.settings()) as storage:
        monkeypatch.setattr(recording, "record", slow)
        first = threading.Thread(target=commit, args=(storage, (), lambda _: Commit()))
        first.start()
        assert appended.wait(30)
        tidying = threading.Thread(
            target=keep.let_expire, args=(storage, NINETY, utc_now() + LATER)
        )
        tidying.start()
        tidying.join(HELD_UP)
        assert tidying.is_alive()
        go_on.set()
        first.join(30)
        tidying.join(30)
        (segment,) = storage.archive.sizes()
        known = inventory.segment_facts(storage.catalog)[segment].length
        assert known == storage.archive.sizes()[segment]


def test_what_is_let_go_while_it_is_fetched_again_is_stored_again(
    home: Make, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = mailbox([mail(1)]), mailbox([mail(1), mail(2)])
    here = home(one)
    assert here.sync().ok
    write = Committer._write_group

    def after_tidying(self: Committer, group: Any) -> Any:
        gone = Commit(expired=(bytes.fromhex(digest(mail(1))),))
        commit(self._storage, (), lambda _: gone)
        return write(self, group)

    monkeypatch.setattr(Committer, "_write_group", after_tidying)
    here.users = (one, two)
    assert here.round(two).ok
    monkeypatch.undo()
    with open_storage(here.settings()) as storage:
        wanted = stored(storage, [mail(1), mail(2)])
        assert len(wanted) == 2
        assert [*faults(storage, wanted).values()] == [None, None]


def test_what_was_moved_between_look_up_and_reading_is_read_where_it_is(
    home: Make, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = home(mailbox([mail(n, 60_000) for n in range(10)]))
    here.archive_settings = {"segment_size": "64KB", "keep": "90d"}
    assert here.sync().ok
    messages = [mail(n, 60_000) for n in range(10)]
    with open_storage(here.settings()) as storage:
        before = stored(storage, messages)
        monkeypatch.setattr(keep, "_worth_it", lambda *_: True)
        keep.let_expire(storage, timedelta(days=30_000), utc_now())
        after = stored(storage, messages)
        assert {at for *_, at in before} != {at for *_, at in after}
        assert set(dict(storage.archive.check(before)).values()) != {None}  # it is not there now
        assert set(faults(storage, before).values()) == {None}
        assert read_back(storage, [one for one, *_ in before], utc_now()) == frozenset()
        _reads_a_delivery(storage, before[0], messages)


def _reads_a_delivery(storage: Storage, stale: Any, messages: Sequence[bytes]) -> None:
    row = outbox.OutgoingRow(
        id=1, destination="home", key="k", account="a", mailbox="m", uid=b"u", digest=stale[0],
        size=stale[1], queued_at=utc_now(), attempts=0, doubtful=False, location=stale[2],
    )  # fmt: skip
    letter = letters.read(storage, row)
    assert isinstance(letter, Outgoing)
    assert b"".join(letter.body.chunks()) in messages
    missing = replace(row, digest=b"\0" * 32)
    assert letters.read(storage, missing) == "The archive does not hold this message now."
    assert storage.catalog.rows("SELECT count(*) FROM message WHERE damaged") == [(0,)]


def test_the_folder_is_whole_after_all_that(home: Make, mailbox: Mailbox, tmp_path: Path) -> None:
    """Commits and tidying up in earnest, at once, and then the archive by itself."""
    here = home(mailbox([mail(n) for n in range(200)]))
    here.archive_settings = {"segment_size": "64KB", "keep": "90d"}
    assert here.sync().ok
    ended = threading.Event()
    with open_storage(here.settings()) as storage:

        def commits() -> None:
            while not ended.is_set():
                commit(storage, (), lambda _: Commit())

        writer = threading.Thread(target=commits)
        writer.start()
        for _ in range(5):
            keep.let_expire(storage, timedelta(days=30_000), utc_now())
        ended.set()
        writer.join(30)
    report = here.rebuild()
    assert (report.messages, report.damage) == (200, ())
    assert here.verify().damaged == ()
