"""Archived mail put back on an IMAP server: what `fetchd restore` does.

One session with the target, mailbox after mailbox (restore_mailbox.py), under the
target's lease, so that no two restores fill one account at once. A line that breaks is
picked up again as long as something gets home; where it breaks twice at one message,
that one is set aside.

Nothing is written down at home: what is there, the target says. It may still be taking
what was on its way when a line broke or a process died, so it is given a moment (SETTLE)
before it is asked.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from fetchd.catalog import leases, restoring
from fetchd.errors import (
    BudgetSpent,
    ConnectionFailed,
    FetchdError,
    RemoteProtocolError,
    Scope,
    TlsFailed,
    UsageError,
)
from fetchd.pipeline.allowance import Allowances
from fetchd.pipeline.at_work import utc_now
from fetchd.pipeline.errand import Errand, errands
from fetchd.pipeline.lease import LEASE, under_lease
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.restore_mailbox import MailboxReport, Work, restore_mailbox
from fetchd.pipeline.storage import Storage
from fetchd.pipeline.tools import Progress
from fetchd.policy.budget import What
from fetchd.policy.patterns import pattern, wanted
from fetchd.policy.restoring import role_of
from fetchd.settings import Settings
from fetchd.sources.imap import ImapSession
from fetchd.sources.imap_upload import open_target
from fetchd.values import Struct

RECONNECTS = 10  # in one restore; the next one goes on from there
SETTLE = 2.0  # seconds


class Wish(Struct, frozen=True):
    """What is to be put back where; `into` is a mailbox below which it all goes."""

    source: str
    to: str
    mailboxes: tuple[str, ...] = ()
    since: datetime | None = None
    into: str = ""
    dry_run: bool = False


@dataclass(slots=True)
class RestoreReport:
    """What one restore did; `failure` ended it early, and so did a signal if `stopped`."""

    mailboxes: list[MailboxReport] = field(default_factory=list)
    failure: FetchdError | None = None
    stopped: bool = False

    @property
    def ok(self) -> bool:
        """All that the archive has stands there now (or, of a dry run, could)."""
        return self.failure is None and all(mailbox.ok for mailbox in self.mailboxes)


async def restore(
    settings: Settings,
    wish: Wish,
    storage: Storage,
    *,
    progress: Progress,
    stop: asyncio.Event,
    now: Callable[[], datetime] = utc_now,
) -> RestoreReport:
    """Put mail back; UsageError where the wish makes no sense, else all is in the report."""
    allowances = Allowances(settings, storage, now)
    (errand,) = errands(settings, [wish.to], storage, allowances)
    if errand.protocol != "imap":
        raise UsageError(
            f"account {wish.to} is no IMAP account, and mail can be put back on no other",
            advice='Name an account with protocol = "imap" in --to.',
        )
    chosen = await storage.blocking(chosen_mailboxes, storage, wish.source, wish.mailboxes)
    report = RestoreReport([MailboxReport(name) for name in chosen])
    if not chosen:
        return report
    with _spool(storage) as spool:
        work = Work(
            storage, spool, wish.source, wish.since, wish.into, wish.dry_run, stop,
            errand.allowance, lambda messages, octets: progress.expect(wish.to, messages, octets),
            lambda messages, octets: progress.fetched(wish.to, messages, octets),
        )  # fmt: skip
        if wish.dry_run:
            await _session(errand, work, report, progress)
        else:
            await _under_lease(errand, work, report, progress, now)
    report.stopped = stop.is_set() and not all(mailbox.done for mailbox in report.mailboxes)
    progress.phase(wish.to, "done" if report.ok else "failed")
    return report


def chosen_mailboxes(storage: Storage, account: str, wished: Sequence[str]) -> list[str]:
    """The account's archived mailboxes that the patterns ask for; all without any."""
    there = restoring.mailboxes(storage.catalog, account)
    if not wished:
        return there
    try:
        patterns = [pattern(text) for text in wished]
    except ValueError as error:
        raise UsageError("--mailbox is not understood", advice=f"It may be: {error}.") from None
    for one in patterns:
        if not any(one.fits(name, role_of(name)) for name in there):
            known = ", ".join(there) or "none"
            raise UsageError(
                f"no archived mailbox of account {account} fits '{one.text}'",
                advice=f"There is: {known}.",
            )
    return [name for name in there if wanted(name, role_of(name), patterns)]


@contextmanager
def _spool(storage: Storage) -> Iterator[Path]:
    """A folder for large bodies: our own, or, where the data folder is only read, another."""
    if storage.catalog.owner:
        yield storage.spool
        return
    with tempfile.TemporaryDirectory(prefix="fetchd-") as folder:
        yield Path(folder)


async def _under_lease(
    errand: Errand,
    work: Work,
    report: RestoreReport,
    progress: Progress,
    now: Callable[[], datetime],
) -> None:
    """Work while this process holds the target's lease; what stops it goes into the report."""
    storage, account = work.storage, errand.account
    catalog = storage.catalog
    abandoned = await storage.blocking(restoring.was_abandoned, catalog, account)
    await storage.blocking(leases.acquire, catalog, account, now() + LEASE, now())
    try:
        if abandoned:
            await asyncio.sleep(SETTLE)
        run = RunReport(account)
        putting = _as_allowed(errand, work, report, progress)
        await under_lease(account, storage, now, putting, run)
        report.failure = report.failure or next((one.error for one in run.failures), None)
    finally:
        await errand.allowance.settle()
        await storage.blocking(leases.release, catalog, account)


async def _as_allowed(
    errand: Errand, work: Work, report: RestoreReport, progress: Progress
) -> None:
    """As far as the provider's budget goes; what it does not allow today, it does tomorrow."""
    try:
        async with errand.allowance.connection():
            await _until_done(errand, work, report, progress)
    except BudgetSpent as spent:
        spent.advice = "Run the same command again then: it goes on where this one stopped."
        report.failure = spent


async def _until_done(
    errand: Errand, work: Work, report: RestoreReport, progress: Progress
) -> None:
    """Session after session, until nothing is left or nothing gets home any more."""
    breaks = 0
    suspect: tuple[str, bytes] | None = None
    while True:
        before = _progress(report)
        try:
            return await _session(errand, work, report, progress)
        except (ConnectionFailed, RemoteProtocolError) as error:
            breaks += 1
            final = isinstance(error, TlsFailed) or breaks > RECONNECTS or work.stop.is_set()
            mailbox, copies = work.in_flight
            work.in_flight = "", ()
            if final or not (copies or _progress(report) > before):
                raise
            if len(copies) > 1:
                work.careful = len(copies)
            elif copies:
                culprit = (mailbox, copies[0].digest)
                if culprit == suspect:
                    work.aside[culprit] = f"the connection broke at it twice: {error}"
                suspect = culprit
            await asyncio.sleep(SETTLE)


def _progress(report: RestoreReport) -> int:
    """Grows with whatever need not be done again after a broken line."""
    return sum(mailbox.put + mailbox.done for mailbox in report.mailboxes)


async def _session(errand: Errand, work: Work, report: RestoreReport, progress: Progress) -> None:
    """One connection: every mailbox that is not done yet."""
    progress.phase(errand.account, "connecting")
    if not work.dry_run:
        await errand.allowance.check(What.UPLOAD)
    session = await errand.open(False)
    assert isinstance(session, ImapSession)
    try:
        target = await open_target(session)
        for mailbox in _undone(report.mailboxes):
            if work.stop.is_set():
                break
            progress.phase(errand.account, mailbox.mailbox)
            try:
                await restore_mailbox(work, target, mailbox)
            except FetchdError as error:
                if error.scope > Scope.MAILBOX:
                    raise
                mailbox.failure, mailbox.done = error, True
        await session.close()
    except BudgetSpent:
        await session.close()  # nothing is under way
        raise
    except BaseException:
        await session.abort()
        raise


def _undone(mailboxes: Sequence[MailboxReport]) -> list[MailboxReport]:
    return [mailbox for mailbox in mailboxes if not mailbox.done]
