"""Archived messages to one destination, because the owner asks: `fetchd redeliver`.

Page after page: what the destination does not have is queued (in the archive's journal,
as a sync does it), carried, and has an outcome before the next page is read, so that
memory holds one page. It may be interrupted and be run again: what is queued is owed, what
was delivered is known by the name of its delivery or by its octets.

Routes and `first_sync` have no say here, and a mirror is refused: it follows its server.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fetchd.catalog import redelivering
from fetchd.catalog.redelivering import Archived, Filter, Made
from fetchd.contracts import QueuedDelivery
from fetchd.errors import UsageError
from fetchd.message import Summary
from fetchd.pipeline.at_work import at_work, utc_now
from fetchd.pipeline.deliver import Tally
from fetchd.pipeline.deliver_round import require_destinations
from fetchd.pipeline.owing import Origin, Owed, Piece, delivery_key
from fetchd.pipeline.restore import chosen_mailboxes
from fetchd.pipeline.storage import Storage
from fetchd.pipeline.tools import Progress, Tools
from fetchd.policy.plan import RemoteMessage
from fetchd.settings import Destination, MaildirDestination, Settings
from fetchd.values import Struct

PAGE = 300  # messages of one commit
_OWED = ("pending", "deferred")
_ANY_TIME = datetime.min.replace(tzinfo=UTC)  # names do not depend on it


class Wish(Struct, frozen=True):
    """Whose mail, where to, and which of it; `again`: also what was delivered."""

    account: str
    to: str
    mailboxes: tuple[str, ...] = ()
    since: datetime | None = None
    sender: str = ""
    subject: str = ""
    again: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class Redelivered:
    """What it did, in messages; of a dry run, what it would do."""

    found: int = 0
    queued: int = 0
    octets: int = 0  # of what was queued
    present: int = 0  # delivered there before
    owed: int = 0  # queued by somebody before, and not delivered yet
    gone: int = 0  # whose octets the archive does not have now
    tally: Tally = field(default_factory=Tally)
    stopped: bool = False

    @property
    def ok(self) -> bool:
        """All that was queued was delivered."""
        return not (self.tally.deferred or self.tally.failed or self.stopped)


async def redeliver(
    settings: Settings,
    wish: Wish,
    storage: Storage,
    *,
    progress: Progress,
    stop: asyncio.Event,
    now: Callable[[], datetime] = utc_now,
) -> Redelivered:
    """Queue and deliver; UsageError where the wish makes no sense."""
    destination = _destination(settings, wish.to)
    chosen = await storage.blocking(chosen_mailboxes, storage, wish.account, wish.mailboxes)
    asked = Filter(wish.account, tuple(chosen), wish.since, wish.sender, wish.subject)
    report = Redelivered()
    messages, octets = await storage.blocking(redelivering.total, storage.catalog, asked)
    progress.expect(wish.account, messages, octets)
    plan = _Plan(wish, destination, _many_mailboxes(settings, wish.account))
    if wish.dry_run:
        await _pages(asked, plan, storage, None, report, progress, stop)
        return report
    async with at_work(settings, [wish.to], storage, stop, progress=progress, now=now) as (
        tools,
        _,
    ):
        await _pages(asked, plan, storage, tools, report, progress, stop)
        await tools.deliveries.settle(last=True)
        await tools.committer.flush()
        report.tally = tools.deliveries.take_tally(wish.account)
    return report


def _destination(settings: Settings, name: str) -> Destination:
    require_destinations(settings, [name])
    destination = settings.destinations[name]
    if isinstance(destination, MaildirDestination) and destination.layout == "mirror":
        raise UsageError(
            f"destination {name} is a mirror, which shows what is on the server",
            advice="A sync repairs it by itself; for a copy of the archive, 'fetchd export' or "
            'a destination with layout = "flat".',
        )
    return destination


def _many_mailboxes(settings: Settings, account: str) -> bool:
    """As Errand.origin has it; of an account that has left the settings, octets count alone."""
    known = settings.accounts.get(account)
    return known is None or known.protocol == "imap"


async def _pages(
    asked: Filter,
    plan: "_Plan",
    storage: Storage,
    tools: Tools | None,
    report: Redelivered,
    progress: Progress,
    stop: asyncio.Event,
) -> None:
    """Without tools nothing is done."""
    after = 0
    while True:
        last = after
        after, page = await storage.blocking(redelivering.page, storage.catalog, asked, last, PAGE)
        if not page:
            return
        if stop.is_set():
            report.stopped = True
            return
        part = await storage.blocking(plan.judge, storage, page, report)
        if tools is not None:
            await _deliver(part, plan, tools)
        progress.fetched(asked.account, len(page), sum(one.size for one in page))


class _Part(Struct, frozen=True):
    """What is to be done of one page: what is queued anew, and ids that are owed once more."""

    fresh: tuple[tuple[Archived, str], ...]  # with the names of their deliveries
    revived: tuple[int, ...]


class _Plan:
    """Decides for each message; remembers which names it has given."""

    def __init__(self, wish: Wish, destination: Destination, many_mailboxes: bool) -> None:
        self.wish, self.destination, self._many = wish, destination, many_mailboxes
        self._given = set[str]()  # where copies share a name, one of them goes
        self._owed = Owed(wish.to, destination.duplicates == "skip")

    def judge(self, storage: Storage, page: Sequence[Archived], report: Redelivered) -> _Part:
        """Blocking; counts into the report."""
        named = [(one, self._key(one)) for one in page]
        digests, keys = [one.digest for one in page], [key for _, key in named]
        made = redelivering.made(storage.catalog, self.wish.to, digests, keys)
        by_key = {one.key: one for one in made}
        by_digest: dict[bytes, list[Made]] = defaultdict(list)
        for one in made:
            if one.account == self.wish.account:
                by_digest[one.digest].append(one)
        fresh: list[tuple[Archived, str]] = []
        revived: list[int] = []
        for message, key in named:
            known = {*by_digest[message.digest], *filter(None, [by_key.get(key)])}
            self._judge(message, key, known, fresh, revived, report)
        return _Part(tuple(fresh), tuple(dict.fromkeys(revived)))

    def _judge(
        self,
        message: Archived,
        key: str,
        known: set[Made],
        fresh: list[tuple[Archived, str]],
        revived: list[int],
        report: Redelivered,
    ) -> None:
        report.found += 1
        states = {one.state for one in known}
        if states & {*_OWED}:
            report.owed += 1
        elif ("delivered" in states and not self.wish.again) or key in self._given:
            report.present += 1
        elif not message.whole:
            report.gone += 1
        else:
            report.queued += 1
            report.octets += message.size
            if self._owed.skip_duplicates:
                self._given.add(key)
            if known:
                revived += [one.id for one in known]
            else:
                fresh.append((message, key))

    def _key(self, message: Archived) -> str:
        """As a sync would name it."""
        origin = Origin(self.wish.account, message.mailbox, "", (), many_mailboxes=self._many)
        summary = Summary("", "", "", "", "", b"", message.copy_key)
        remote = RemoteMessage(message.uid, message.size)
        piece = Piece(remote, message.digest, summary, _ANY_TIME)
        return delivery_key(origin, self._owed, piece)


async def _deliver(part: _Part, plan: _Plan, tools: Tools) -> None:
    """On return each has an outcome, or its destination takes too long for now."""
    wish, now, storage = plan.wish, tools.now(), tools.storage
    queued = [
        QueuedDelivery(
            wish.to, message.digest, wish.account, message.mailbox, message.uid, now, key
        )
        for message, key in part.fresh
    ]
    ids = await tools.committer.owe(queued) if queued else []
    if part.revived:
        # A Maildir finds what it has by the time of the first delivery.
        at = None if isinstance(plan.destination, MaildirDestination) else now
        ids += await storage.blocking(redelivering.revive, storage.catalog, part.revived, at)
    if ids:
        await tools.deliveries.put_held(ids)
        await tools.deliveries.settle([wish.to])
