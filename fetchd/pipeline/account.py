"""One run of one account: its lease, its sessions, its deliveries, its record.

What a session does is in visit.py. Here is what surrounds it: whether this is the
time for a run, when a broken line is picked up again, and what is written down.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime

from fetchd.catalog import leases, runs
from fetchd.catalog.database import Catalog
from fetchd.errors import (
    AccountBusy,
    BudgetSpent,
    CatalogError,
    ConnectionFailed,
    FetchdError,
    RemoteProtocolError,
    Scope,
    ServerUnavailable,
    TlsFailed,
)
from fetchd.pipeline.alarms import note_troubles
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.halting import note_refusal
from fetchd.pipeline.lease import LEASE, Guard, under_lease
from fetchd.pipeline.report import Failure, RunReport
from fetchd.pipeline.tools import Tools
from fetchd.pipeline.visit import Place, Visit
from fetchd.policy.budget import What

RECONNECTS = 10  # in one run; the next run goes on from there
SESSIONS = 1000  # of a server that shows a part of the maildrop at a time

Turn = Callable[[], AbstractAsyncContextManager[None]]


async def sync_account(
    errand: Errand, tools: Tools, turn: Turn, guard: Guard | None = None
) -> RunReport:
    """Sync one account once; only what stops the whole process is raised.

    `turn` is held while there is a connection to the server; what `guard` raises ends that.
    """
    report = RunReport(errand.account)
    run: int | None = None
    try:
        async with tools.deliveries.more_to_come(), errand.allowance.connection(), turn():
            run = await _begin(errand, tools, report)
            if run is None:
                return report
            work = _visit_until_done(errand, tools, report)
            await under_lease(errand.account, tools.storage, tools.now, work, report, guard)
        with report.shelter(Scope.ACCOUNT, errand.account):
            tools.progress.phase(errand.account, "delivering")
            await tools.deliveries.settle_together(errand.destinations)
        report.count_deliveries(tools.deliveries.take_tally(errand.account))
    except FetchdError as error:
        report.failures.append(Failure(error.scope, errand.account, error))
        if run is not None:
            with suppress(CatalogError):
                await _finish(errand, run, report, tools)
        raise
    await _finish(errand, run, report, tools)
    tools.progress.phase(errand.account, "done" if report.ok else "failed")
    return report


async def _begin(errand: Errand, tools: Tools, report: RunReport) -> int | None:
    """The id of the run; None, with a notice, when this is not the time for one."""
    if tools.stop.is_set():
        report.skipped = True
        return None
    if not errand.asked and (refused := await errand.refused()):
        report.skipped = report.halted = True
        report.failures.append(Failure(Scope.ACCOUNT, errand.account, refused))
        return None
    try:
        await errand.allowance.check(What.LOGINS, What.DOWNLOAD)
    except BudgetSpent as spent:
        report.skipped = True
        report.pause(spent)
        return None
    now = tools.now()
    try:
        wait = await tools.storage.blocking(_take_lease, tools.storage.catalog, errand, now)
    except AccountBusy as busy:
        report.skipped = True
        report.notices.append(str(busy))
        return None
    if isinstance(wait, datetime):
        report.skipped, report.not_before = True, wait
        report.paused = await tools.storage.blocking(
            runs.is_held, tools.storage.catalog, errand.account
        )
        who = "A budget is spent" if report.paused else "The server wants a pause between logins"
        report.notices.append(f"{who}: not before {wait:%Y-%m-%d %H:%M:%S} UTC.")
        return None
    return wait


def _take_lease(catalog: Catalog, errand: Errand, now: datetime) -> int | datetime:
    """The id of the run that begins, or the instant before which the server wants no login."""
    if pause := runs.pause(catalog, errand.account, now, errand.allowance.terms):
        return pause
    with catalog.transaction(durable=False):
        leases.acquire(catalog, errand.account, now + LEASE, now)
        return runs.begin(catalog, errand.account, errand.protocol, now)


async def _finish(errand: Errand, run: int, report: RunReport, tools: Tools) -> None:
    """Write down what became of the run, and let go of the account."""
    await errand.allowance.settle()
    now = tools.now()

    def write(catalog: Catalog) -> None:
        with catalog.transaction(durable=False):
            if not report.ok:
                runs.fail(
                    catalog, run, now, report.counts(), report.sentence(), report.remedy(),
                    report.advice(), _not_before(report, now),
                )  # fmt: skip
            elif report.paused and report.not_before is not None:
                terms = errand.allowance.terms
                runs.hold(catalog, run, now, report.counts(), report.not_before, terms)
            elif report.stopped:
                runs.interrupt(catalog, run, now, report.counts())
            else:
                runs.succeed(catalog, run, now, report.counts())
            note_troubles(catalog, report, now)
            leases.release(catalog, errand.account)

    await tools.storage.blocking(write, tools.storage.catalog)
    report.halted = await note_refusal(errand.account, tools.storage, report)


def _not_before(report: RunReport, now: datetime) -> datetime | None:
    """The server's own wish, if it had one; or that of a budget."""
    waits = [report.not_before - now] if report.not_before is not None else []
    waits += [
        failure.error.wait
        for failure in report.failures
        if isinstance(failure.error, ServerUnavailable) and failure.error.wait is not None
    ]
    return now + max(waits) if waits else None


async def _visit_until_done(errand: Errand, tools: Tools, report: RunReport) -> None:
    """A line that breaks is picked up again as long as each session brings something home.

    A message at which it breaks twice in a row is set aside: it must not keep the
    others behind it. If it breaks at the message's header (`blind`), its body is tried.
    """
    breaks = 0
    suspect: Place | None = None
    blind: set[Place] = set()
    for _ in range(SESSIONS):
        before = report.progress
        visit = Visit(errand, tools, report, blind)
        try:
            await visit.run()
        except (ConnectionFailed, RemoteProtocolError) as error:
            breaks += 1
            culprit, progress = visit.culprit, report.progress > before
            if not _worth_another(error, visit, breaks, tools) or not (culprit or progress):
                raise
            if culprit and culprit.place == suspect and not progress:
                reason = f"the connection broke at it twice: {error}"
                await visit.set_aside(culprit.message, reason, blind)
            suspect = culprit.place if culprit else None
        else:
            ended = report.paused or tools.stop.is_set()
            if ended or not visit.shows_parts or report.progress == before:
                return


def _worth_another(error: FetchdError, visit: Visit, breaks: int, tools: Tools) -> bool:
    """Whether to connect again in this run; a server that counts logins is left alone."""
    return not (
        isinstance(error, TlsFailed)
        or breaks > RECONNECTS
        or tools.stop.is_set()
        or visit.counts_logins
    )
