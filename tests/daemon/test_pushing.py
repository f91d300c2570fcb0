"""Watches: kept while the account is well, one at a time, and never in a hurry to be refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fetchd.daemon import pushing as pushing_module
from fetchd.daemon.line import Why
from fetchd.daemon.pushing import Pushing
from fetchd.daemon.supervisor import Supervisor
from fetchd.errors import (
    CatalogError,
    ConnectionFailed,
    FetchdError,
    ServerUnavailable,
    UsageError,
)
from fetchd.pipeline.errand import Errand
from fetchd.policy.retry import Schedule
from tests.daemon.in_loop import in_loop
from tests.daemon.supervised import settings_of, supervised


class Watches:
    """In place of pipeline.watch.watch_account."""

    def __init__(self, *errors: FetchdError) -> None:
        self.errors = list(errors)
        self.begun = self.standing = self.most = 0
        self.changed = asyncio.Event()
        self.times: list[float] = []
        self.parting = 0.0  # seconds that hanging up takes

    async def watch(self, _errand: Errand, *_: Any, **__: Any) -> None:
        self.begun += 1
        self.times.append(asyncio.get_running_loop().time())
        self.changed.set()
        if self.errors:
            raise self.errors.pop(0)
        self.standing += 1
        self.most = max(self.most, self.standing)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(self.parting)
            self.standing -= 1
            self.changed.set()

    async def until(self, begun: int, standing: int) -> None:
        while (self.begun, self.standing) != (begun, standing):
            self.changed.clear()
            await self.changed.wait()


@asynccontextmanager
async def pushed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, watches: Watches
) -> AsyncIterator[tuple[Pushing, Supervisor]]:
    """One account that is pushed, synced once, and watched so."""
    monkeypatch.setattr(pushing_module, "watch_account", watches.watch)
    settings = settings_of(folder, 1, schedule='"idle"')
    async with supervised(settings, monkeypatch) as (supervisor, _, tools):
        pushing = Pushing(supervisor, tools)
        supervisor.reported = lambda _: pushing.apply()
        await supervisor.request("a0", Why.SCHEDULE)
        try:
            yield pushing, supervisor
        finally:
            await pushing.close()
            assert not watches.standing


@in_loop
async def test_a_watch_whose_settings_change_hangs_up_before_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watches = Watches()
    watches.parting = 0.05
    async with pushed(tmp_path, monkeypatch, watches) as (pushing, supervisor):
        await watches.until(1, 1)
        pushing.renew("a0")
        for _ in range(3):
            await asyncio.sleep(0)
            pushing.apply()  # as after each sync of whatever account
        await watches.until(2, 1)
        assert watches.most == 1
        await supervisor.apply(settings_of(tmp_path, 1, schedule='"1h"'))
        pushing.apply()
        await watches.until(2, 0)


@in_loop
async def test_a_watch_that_is_refused_where_syncs_are_not_is_tried_ever_more_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = Schedule(timedelta(milliseconds=20), timedelta(hours=1))
    monkeypatch.setattr(pushing_module, "AGAIN", quick)
    watches = Watches(*(UsageError("the settings choose none of the mailboxes"),) * 4)
    async with pushed(tmp_path, monkeypatch, watches) as (_, supervisor):
        await watches.until(5, 1)
        assert not supervisor._fault.done()
    waits = [after - before for before, after in pairwise(watches.times)]
    assert waits[3] >= 8 * 0.02


@in_loop
async def test_what_a_watch_finds_out_of_the_whole_process_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watches = Watches(CatalogError("The disk is full."))
    async with pushed(tmp_path, monkeypatch, watches) as (_, supervisor):
        with pytest.raises(CatalogError, match="The disk is full"):
            await supervisor.run()


def test_a_line_that_breaks_again_and_again_is_taken_up_each_minute_or_so() -> None:
    """Two hundred lines that were cut at random once were deaf for five minutes each."""
    now = datetime.now(UTC)
    broke = ConnectionFailed("cut")
    delays = [pushing_module.TIMING.delay(broke, n, now, at_login=False) for n in range(1, 40)]
    assert delays[0] < timedelta(seconds=3)
    assert max(delays) < timedelta(minutes=1, seconds=15)
    wish = ServerUnavailable("later", wait=timedelta(minutes=9))
    assert pushing_module.TIMING.delay(wish, 1, now, at_login=True) >= timedelta(minutes=9)
