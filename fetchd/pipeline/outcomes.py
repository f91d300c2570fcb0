"""What became of deliveries, written down: the one way from a destination into the catalog.

Whoever has outcomes waits until they are facts, and everybody who waits at that moment
shares one transaction. A deferred delivery gets the time of its next attempt, or, where
`policy.retry` gives up, fails: it is then the owner's, and an alert says so.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from fetchd.catalog import alerts, outbox
from fetchd.catalog.alerts import Kind
from fetchd.catalog.database import Catalog
from fetchd.contracts import Outcome, Settled
from fetchd.errors import FetchdError
from fetchd.pipeline.committer import Committer
from fetchd.pipeline.storage import Storage
from fetchd.policy.retry import Schedule, after_deferral
from fetchd.values import Struct, replace

FAILED_ADVICE = "See 'fetchd deliveries --state failed'; then 'retry' or 'drop' them there."

Count = Callable[[str, str, Settled], None]  # destination, account, and what became of one


class Attempt(Struct, frozen=True):
    """A delivery that was tried, as far as its outcome needs to know."""

    account: str
    key: str
    attempts: int  # before this one
    queued_at: datetime


class Outcomes:
    """Those of one destination."""

    def __init__(
        self,
        destination: str,
        schedule: Schedule,
        storage: Storage,
        committer: Committer,
        count: Count,
        now: Callable[[], datetime],
    ) -> None:
        self._destination, self._schedule = destination, schedule
        self._storage, self._committer = storage, committer
        self._count, self._now = count, now
        self._waiting: list[tuple[Settled, Attempt]] = []
        self._turn = asyncio.Lock()

    async def record(self, settled: Iterable[Settled], attempts: Mapping[int, Attempt]) -> None:
        """On return these are in the catalog, and counted."""
        mine = [(one, attempts[one.id]) for one in settled if one.id in attempts]
        self._waiting += mine
        async with self._turn:
            pairs, self._waiting = self._waiting, []
            if not pairs:
                return  # whoever had the turn before wrote ours too
            try:
                await self._write(pairs)
            except FetchdError:
                self._waiting = pairs + self._waiting  # whose they are shall hear of it too
                raise

    async def postpone(
        self, attempts: Mapping[int, Attempt], reply: str, not_before: datetime
    ) -> None:
        """What cannot even be tried until then; what has waited too long is given up."""
        later: list[int] = []
        lost: list[Settled] = []
        for id_, attempt in attempts.items():
            deferred = Settled(id_, Outcome.DEFERRED, reply)
            judged = self._judge(deferred, attempt, self._now(), {})
            if judged.outcome is Outcome.FAILED:
                lost.append(judged)
            else:
                later.append(id_)
                self._count(self._destination, attempt.account, deferred)
        catalog = self._storage.catalog
        if later:
            await self._storage.blocking(outbox.postpone, catalog, later, reply, not_before)
        await self.record(lost, attempts)

    async def _write(self, pairs: Sequence[tuple[Settled, Attempt]]) -> None:
        now = self._now()
        later: dict[int, datetime] = {}
        judged = [(self._judge(one, attempt, now, later), attempt) for one, attempt in pairs]
        settled = [one for one, _ in judged]
        await self._storage.blocking(_record, self._storage.catalog, self._destination, settled,
                                     now, later)  # fmt: skip
        for one, attempt in judged:
            self._count(self._destination, attempt.account, one)
        self._committer.note_delivered(
            (self._destination, attempt.key)
            for one, attempt in judged
            if one.outcome is Outcome.DELIVERED
        )

    def _judge(
        self, one: Settled, attempt: Attempt, now: datetime, later: dict[int, datetime]
    ) -> Settled:
        """A deferred one is due again at some time, or given up."""
        if one.outcome is not Outcome.DEFERRED:
            return one
        again = after_deferral(
            attempt.attempts + 1, attempt.queued_at, now, random.random(), self._schedule  # noqa: S311
        )  # fmt: skip
        if again is None:
            return replace(one, outcome=Outcome.FAILED, reply=given_up(self._schedule, one.reply))
        later[one.id] = again
        return one


def given_up(schedule: Schedule, reply: str) -> str:
    """Why it is not tried any longer."""
    span = schedule.give_up_after
    assert span is not None
    return f"No success in {span.total_seconds() / 86400:g} days: {reply}"


def _record(
    catalog: Catalog,
    destination: str,
    settled: Sequence[Settled],
    now: datetime,
    later: Mapping[int, datetime],
) -> None:
    failed = [one.reply for one in settled if one.outcome is Outcome.FAILED]
    with catalog.transaction():
        outbox.settle(catalog, settled, now, later)
        if failed:
            alerts.raise_alert(
                catalog, Kind.DELIVERY_FAILED, destination, failed[-1], FAILED_ADVICE, now,
                len(failed),
            )  # fmt: skip
