"""A scripted Carrier, and a worker that hands it mail: storage and catalog are real.

    post = Post(tmp_path)
    carrier = ScriptedCarrier({"open": [ConnectionFailed("no")], "a": [Hang(), Settle(...)]})
    async with post.at(carrier) as desk:
        await desk.put("a", "b")        # messages by name, of account "work"
        await desk.settle()
    carrier.carried                      # names, in the order in which they were carried
    post.rows()                          # state, attempts, reply ... by name

A fault is used up by the one it happens to; where there is none left, all goes well.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from fetchd.catalog import alerts
from fetchd.contracts import (
    Body,
    Courier,
    Fetched,
    Outcome,
    Outgoing,
    Settled,
    Terms,
    Watch,
    unwatched,
)
from fetchd.pipeline.committer import Committer
from fetchd.pipeline.deliver import Deliveries
from fetchd.pipeline.owing import Origin, Owed
from fetchd.pipeline.storage import Storage, open_storage
from fetchd.policy.plan import RemoteMessage
from tests.pipeline.home import Home

START = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)


class Settle(NamedTuple):
    """This outcome for the message."""

    outcome: Outcome
    reply: str = "said"
    doubtful: bool = False
    done: tuple[str, ...] = ()


class Hang(NamedTuple):
    """No answer until `carrier.answer` is set."""


Fault = Exception | Settle | Hang


class ScriptedCarrier:
    """`faults`: what happens to a message, by name, or to `open`, one after the other."""

    def __init__(self, faults: Mapping[str, Sequence[Fault]] | None = None, **terms: Any) -> None:
        self.terms = Terms(**terms)
        self.faults = {name: list(todo) for name, todo in (faults or {}).items()}
        self.answer = asyncio.Event()
        self.hanging = asyncio.Event()
        self.carried: list[str] = []
        self.letters: list[Outgoing] = []
        self.groups: list[list[str]] = []
        self.opened = self.closed = self.attempts = 0
        self.at_once = self.most_at_once = 0
        self.step = asyncio.Event()

    async def open(self, watch: Watch = unwatched) -> Courier:
        self.attempts += 1
        await asyncio.sleep(0)
        await self.meet("open")
        self.opened += 1
        return ScriptedCourier(self)

    async def probe(self, watch: Watch = unwatched) -> None:
        """Nobody asks here."""

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what is asked for again at each step that is taken here."""
        while not holds():
            self.step.clear()
            await self.step.wait()

    async def meet(self, name: str) -> Settle | None:
        """What the script says happens to this one."""
        self.step.set()
        todo = self.faults.get(name)
        match todo.pop(0) if todo else None:
            case Exception() as error:
                raise error
            case Hang():
                self.hanging.set()
                await self.answer.wait()
            case Settle() as outcome:
                return outcome
        return None


class ScriptedCourier:
    def __init__(self, carrier: ScriptedCarrier) -> None:
        self._carrier = carrier
        self._closed = False
        self.in_doubt = False

    async def carry(self, letters: Sequence[Outgoing]) -> Sequence[Settled]:
        carrier = self._carrier
        assert not self._closed
        carrier.at_once += 1
        carrier.most_at_once = max(carrier.most_at_once, carrier.at_once)
        try:
            carrier.groups.append([name_of(one) for one in letters])
            carrier.step.set()
            outcomes = [await carrier.meet(name_of(one)) for one in letters]
            await asyncio.sleep(0)
        finally:
            carrier.at_once -= 1
        settled = []
        for one, said in zip(letters, outcomes, strict=True):
            carrier.letters.append(one)
            carrier.carried.append(name_of(one))
            said = said or Settle(Outcome.DELIVERED)
            carrier.step.set()
            settled.append(Settled(one.id, said.outcome, said.reply, said.doubtful, said.done))
        return settled

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._carrier.closed += 1


class Row(NamedTuple):
    state: str
    attempts: int
    not_before: datetime
    reply: str
    owner: str
    doubtful: bool


class Post:
    """A data folder with an outbox; each `at` is a process of its own, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder, 1)
        self.now = START
        self.storage: Storage | None = None

    @asynccontextmanager
    async def at(self, carrier: Any, **others: Any) -> AsyncIterator["Bench"]:
        stop = asyncio.Event()
        with open_storage(self.home.settings()) as storage:
            committer = Committer(storage, lambda: self.now)
            destinations = {"relay": carrier, **others}
            deliveries = Deliveries(storage, committer, destinations, lambda: self.now, stop)
            committing = asyncio.create_task(committer.run())
            try:
                async with asyncio.timeout(30):
                    yield Bench(storage, committer, deliveries, stop, tuple(destinations))
            finally:
                committing.cancel()
                await asyncio.wait({committing})
                await committer.close()
                await deliveries.close()

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)

    def rows(self, destination: str = "relay") -> dict[str, Row]:
        """What the outbox says, by name."""
        sql = (
            "SELECT CAST(uid AS TEXT), state, attempts, not_before, last_reply, owner, doubtful"
            " FROM delivery WHERE destination = ? ORDER BY id"
        )
        with closing(sqlite3.connect(self.home.data / "catalog.sqlite")) as db:
            return {
                name: Row(
                    state, attempts, START.fromtimestamp(at / 1e6, UTC), reply, owner, bool(d)
                )
                for name, state, attempts, at, reply, owner, d in db.execute(sql, (destination,))
            }

    def states(self, destination: str = "relay") -> dict[str, str]:
        return {name: row.state for name, row in self.rows(destination).items()}

    def alerts(self) -> list[alerts.Alert]:
        with open_storage(self.home.settings(), read_only=True) as storage:
            return alerts.alerts(storage.catalog)


class Bench(NamedTuple):
    storage: Storage
    committer: Committer
    deliveries: Deliveries
    stop: asyncio.Event
    destinations: tuple[str, ...]

    async def put(self, *names: str, account: str = "work") -> None:
        """Commit fresh messages that are called so, and hand them in."""
        owed = tuple(Owed(name, skip_duplicates=False) for name in self.destinations)
        origin = Origin(account, "INBOX", "", owed)
        batch = [fetched(name) for name in names]
        await self.deliveries.put_fresh(await self.committer.commit(origin, batch))

    async def settle(self, *, last: bool = False) -> None:
        await self.deliveries.settle(last=last)

    async def overdue(self) -> None:
        await self.deliveries.put_overdue()
        await self.deliveries.settle()


def fetched(name: str) -> Fetched:
    octets = f"Subject: {name}\r\n\r\nText of {name}.\r\n".encode()
    return Fetched(RemoteMessage(name.encode(), len(octets)), Body(len(octets), octets))


def name_of(letter: Outgoing) -> str:
    return b"".join(letter.body.chunks()).partition(b"\r\n")[0].removeprefix(b"Subject: ").decode()
