"""Archived mail to a destination: one page at a time, interruptible, under the names of a sync."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks import mail
from fetchd.demo import sample
from fetchd.pipeline import redeliver as module
from fetchd.pipeline.redeliver import Redelivered, Wish, redeliver
from fetchd.pipeline.storage import open_storage
from fetchd.pipeline.tools import Unwatched
from tests.pipeline.home import Home
from tests.servers.scripted_pop3 import ScriptedPop3

MESSAGES = [*sample.messages(8), sample.messages(8)[0]]  # the first stands there twice
DISTINCT = 8


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setattr(module, "PAGE", 3)
    with ScriptedPop3(MESSAGES) as server:
        home = Home(tmp_path, server.port)
        home.sync()
        path = home.folder / "second"
        home.more = f'[destinations.second]\nkind = "maildir"\npath = "{path}"\n'
        yield home


class StopsAfter(Unwatched):
    """Somebody presses Ctrl-C after so many pages."""

    def __init__(self, pages: int) -> None:
        self.stop = asyncio.Event()
        self._left = pages

    def fetched(self, account: str, messages: int, octets: int) -> None:
        self._left -= 1
        if not self._left:
            self.stop.set()


def carry(here: Home, wish: Wish, watcher: StopsAfter | None = None, days: int = 0) -> Redelivered:
    """So many days later."""
    watcher = watcher or StopsAfter(-1)

    async def run() -> Redelivered:
        settings = here.settings()
        with open_storage(settings, read_only=wish.dry_run) as storage:
            return await redeliver(
                settings, wish, storage, progress=watcher, stop=watcher.stop,
                now=lambda: datetime.now(UTC) + timedelta(days=days),
            )  # fmt: skip

    return asyncio.run(run())


def second(here: Home) -> int:
    return mail.in_maildir(here.folder / "second").total()


def keys(here: Home, destination: str) -> set[str]:
    with closing(sqlite3.connect(here.data / "catalog.sqlite")) as db:
        sql = "SELECT key FROM delivery WHERE destination = ?"
        return {row[0] for row in db.execute(sql, (destination,))}


def test_it_goes_on_where_it_was_interrupted(here: Home) -> None:
    first = carry(here, Wish("work", "second"), StopsAfter(1))
    assert (first.stopped, first.ok, first.tally.delivered, second(here)) == (True, False, 3, 3)
    rest = carry(here, Wish("work", "second"))
    assert (rest.stopped, rest.ok, rest.present, rest.tally.delivered) == (False, True, 3, 5)
    assert mail.in_maildir(here.folder / "second") == Counter({*here.delivered()})


def test_the_names_are_those_that_a_sync_would_give(here: Home) -> None:
    carry(here, Wish("work", "second"))
    assert keys(here, "second") < keys(here, "home")
    assert len(keys(here, "second")) == DISTINCT


def test_what_a_sync_delivered_is_there_already(here: Home) -> None:
    done = carry(here, Wish("work", "home"))
    assert (done.found, done.present, done.queued) == (DISTINCT, DISTINCT, 0)


def test_copies_share_a_delivery_where_duplicates_are_skipped(here: Home) -> None:
    here.more += 'duplicates = "skip"\n'
    with closing(sqlite3.connect(here.data / "catalog.sqlite")) as db, db:
        db.execute("UPDATE message SET copy_key = (SELECT min(copy_key) FROM message)")
    would = carry(here, Wish("work", "second", dry_run=True))
    assert (would.queued, would.present, second(here)) == (1, DISTINCT - 1, 0)
    done = carry(here, Wish("work", "second"))
    assert (done.queued, done.tally.delivered, second(here)) == (1, 1, 1)
    again = carry(here, Wish("work", "second", again=True))
    assert (again.queued, second(here)) == (1, 1)


def test_what_a_maildir_still_has_is_found_again_days_later(here: Home) -> None:
    carry(here, Wish("work", "second"))
    done = carry(here, Wish("work", "second", again=True), days=7)
    assert (done.queued, done.tally.delivered, second(here)) == (DISTINCT, DISTINCT, DISTINCT)


def test_a_rebuild_remembers_what_was_redelivered(here: Home) -> None:
    carry(here, Wish("work", "second"))
    here.rebuild()
    assert carry(here, Wish("work", "second")).present == DISTINCT
    assert second(here) == DISTINCT


def test_an_account_that_left_the_settings_still_has_mail(here: Home) -> None:
    here.users = ("other",)
    done = carry(here, Wish("work", "second"))
    assert (done.tally.delivered, second(here)) == (DISTINCT, DISTINCT)


def test_what_cannot_be_delivered_now_stays_owed(here: Home) -> None:
    here.more = here.more.replace("/second", "/absent/second")
    first = carry(here, Wish("work", "second"))
    assert (first.ok, first.queued, first.tally.deferred) == (False, DISTINCT, DISTINCT)
    again = carry(here, Wish("work", "second"))
    assert (again.queued, again.owed) == (0, DISTINCT)
