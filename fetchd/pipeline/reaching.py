"""Whether a destination is in reach, as its worker knows it and the catalog remembers it.

Each failure puts the next attempt off for longer (`policy.retry`), a success forgets
them all. What only the owner can end raises an alert, which is over with the success.
"""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

from fetchd.catalog import alerts, reach
from fetchd.catalog.alerts import Kind
from fetchd.catalog.reach import Reach
from fetchd.errors import FetchdError, Remedy, ServerUnavailable
from fetchd.pipeline.storage import Storage
from fetchd.policy.retry import Schedule, retry_at

NEWS = timedelta(minutes=1)  # a success is written down this often


class Reaching:
    """One destination's."""

    def __init__(
        self, name: str, schedule: Schedule, storage: Storage, now: Callable[[], datetime]
    ) -> None:
        self._name, self._schedule, self._storage, self._now = name, schedule, storage, now
        self._reach: Reach | None = None
        self._told: datetime | None = None

    async def refresh(self) -> None:
        """A person may have said, in another process, that it shall be tried at once."""
        mine = self._reach
        read = await self._storage.blocking(reach.of, self._storage.catalog, self._name)
        if mine is not None and mine is self._reach and read.failures == mine.failures:
            self._reach = read

    async def out(self) -> Reach | None:
        """Why nothing is to be tried now."""
        known = await self._known()
        until = known.not_before
        return known if known.failures and until is not None and until > self._now() else None

    async def lose(self, error: FetchdError) -> datetime:
        """It is out of reach; when to try again."""
        known, now = await self._known(), self._now()
        if known.not_before is None or known.not_before <= now:  # else another worker was first
            failures = known.failures + 1
            until = retry_at(failures, now, random.random(), self._schedule)  # noqa: S311
            if isinstance(error, ServerUnavailable) and error.wait is not None:
                until = max(until, now + error.wait)
            remedy = str(error.remedy)
            known = Reach(self._name, failures, until, str(error), remedy, error.advice)
            self._reach = known
            await self._storage.blocking(self._write_lost, known, now)
        assert known.not_before is not None
        return known.not_before

    async def confirm(self) -> None:
        """It took our call: what it refused before is forgotten."""
        known, now = await self._known(), self._now()
        if known.failures or self._told is None or now - self._told >= NEWS:
            self._told = now
            self._reach = Reach(self._name)
            await self._storage.blocking(self._write_reached, now)

    async def _known(self) -> Reach:
        if self._reach is None:
            read = await self._storage.blocking(reach.of, self._storage.catalog, self._name)
            self._reach = self._reach or read  # another may have found out more meanwhile
        return self._reach

    def _write_lost(self, known: Reach, now: datetime) -> None:
        catalog = self._storage.catalog
        reach.fail(catalog, known)
        if known.last_remedy == Remedy.OWNER:
            alerts.raise_alert(
                catalog, Kind.DESTINATION, self._name, known.last_error, known.last_advice, now
            )

    def _write_reached(self, now: datetime) -> None:
        reach.succeed(self._storage.catalog, self._name, now)
        alerts.end_alert(self._storage.catalog, Kind.DESTINATION, self._name, now)
