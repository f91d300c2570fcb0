"""Bring bodies home: fetch, commit in batches, remember what would not come.

Receiving and committing overlap: while one batch is hashed, compressed and
fsynced in threads, the next is read from the socket. At most `IN_FLIGHT`
batches of a session are under way, and all sessions share one budget of memory;
a line that breaks loses only what was not whole yet.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from fetchd.catalog import inventory as inventories
from fetchd.contracts import Fetched, Session, Unavailable
from fetchd.errors import FetchdError
from fetchd.pipeline.allowance import Allowance, unlimited
from fetchd.pipeline.owing import Origin
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.tools import Tools
from fetchd.policy.budget import What
from fetchd.policy.plan import RemoteMessage
from fetchd.policy.retry import retry_at
from fetchd.telemetry import log

BATCH_MESSAGES = 250  # large enough to share an fsync, small enough to lose little
BATCH_OCTETS = 4 << 20
IN_FLIGHT = 3


@dataclass(slots=True)
class Fetcher:
    """The fetching of one mailbox."""

    origin: Origin
    attempts: Mapping[bytes, int]  # in vain before, by uid
    tools: Tools
    report: RunReport
    allowance: Allowance = field(default_factory=unlimited)
    stopped: bool = False
    under_way: list["asyncio.Task[None]"] = field(default_factory=list)
    _turn: asyncio.Event | None = None

    @property
    def done(self) -> set[bytes]:
        """The uids that this run has committed."""
        return self.report.home.setdefault(self.origin.mailbox, set())

    async def fetch(self, session: Session, messages: Sequence[RemoteMessage]) -> None:
        """Fetch, and begin to commit; `finish` waits for the last of it."""
        octets = sum(m.size for m in messages)
        self.tools.progress.expect(self.origin.account, len(messages), octets)
        under_way = self.under_way
        try:
            async with aclosing(session.fetch(self._until_stopped(messages))) as arrivals:
                async for batch in self._batches(arrivals):
                    if len(under_way) == IN_FLIGHT:
                        await under_way.pop(0)
                    turn, self._turn = self._turn, asyncio.Event()
                    before = under_way[-1] if under_way else None
                    commit = self._commit(batch, before, turn, self._turn)
                    under_way.append(asyncio.create_task(commit))
        except BaseException:
            # What had come whole before the line broke is committed all the same.
            await self.finish()
            raise

    async def finish(self) -> None:
        """Wait until all that was fetched is committed and handed to the destinations."""
        under_way, self.under_way = self.under_way, []
        results = await asyncio.gather(*under_way, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _until_stopped(self, messages: Iterable[RemoteMessage]) -> Iterable[RemoteMessage]:
        """Ask for no more once the owner wants to leave, or the provider's budget is spent.

        What was asked for still comes.
        """
        for message in messages:
            if self.tools.stop.is_set():
                self.stopped = True
                return
            if not self.allowance.admits(message.size):
                self.stopped = True
                self.report.pause(self.allowance.is_spent(What.DOWNLOAD, message.size))
                return
            yield message

    async def _batches(
        self, arrivals: AsyncGenerator[Fetched | Unavailable, None]
    ) -> AsyncGenerator[list[Fetched], None]:
        """Cut what arrives into batches; a broken line still gives its last whole messages."""
        batch: list[Fetched] = []
        octets = 0
        broken: FetchdError | None = None
        try:
            async for arrival in arrivals:
                match arrival:
                    case Fetched(body=body):
                        batch.append(arrival)
                        octets += body.size
                    case Unavailable(remote, reason, oversize):
                        await self.set_aside(remote, reason, oversize=oversize)
                if len(batch) >= BATCH_MESSAGES or octets >= BATCH_OCTETS:
                    yield batch
                    batch, octets = [], 0
        except FetchdError as error:
            broken = error
        if batch:
            yield batch
        if broken is not None:
            raise broken

    async def _commit(
        self,
        batch: Sequence[Fetched],
        before: "asyncio.Task[None] | None",
        turn: asyncio.Event | None,
        following: asyncio.Event,
    ) -> None:
        """Batches are committed and handed over in the order in which they came."""
        octets = sum(f.body.size for f in batch)
        held = sum(len(f.body.data or b"") for f in batch)  # the others are in files
        try:
            async with self.tools.memory.take(held):
                committed = await self.tools.committer.commit(self.origin, batch, turn, following)
                self.done.update(f.remote.uid for f in batch)
                self.report.fetched += len(batch)
                self.report.octets += octets
                self.tools.progress.fetched(self.origin.account, len(batch), octets)
                if before is not None:
                    await asyncio.wait([before])
                await self.tools.deliveries.put_fresh(committed)
            await self.allowance.checkpoint()
        finally:
            following.set()  # also where it never came so far
            for fetched in batch:
                fetched.body.discard()

    async def set_aside(
        self, remote: RemoteMessage, reason: str, *, oversize: bool = False
    ) -> None:
        """Quarantine one message; it is tried again later and shown meanwhile.

        One that turned out too large is no failure; its size is known from now on.
        """
        attempts = self.attempts.get(remote.uid, 0) + 1
        now = self.tools.now()
        await self.tools.storage.blocking(
            inventories.quarantine,
            self.tools.storage.catalog,
            self.origin.account,
            self.origin.mailbox,
            remote,
            reason,
            retry_at(attempts, now, random.random()),  # noqa: S311 - jitter
            now,
        )
        if oversize:
            self.report.notices.append(f"A message stays on the server: it is {reason}.")
            return
        self.report.aside.add((self.origin.mailbox, remote.uid))
        log().warning(
            "message.quarantined",
            account=self.origin.account,
            mailbox=self.origin.mailbox,
            uid=remote.uid,
            reason=reason,
        )
