"""`fetchd sync`: one round, watched, interruptible, and told afterwards."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.stopping import stoppable
from fetchd.cli.summary import document, tell
from fetchd.cli.watching import LoggedRound, Watcher, watch_round
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.round import Round, sync_round
from fetchd.pipeline.storage import open_storage
from fetchd.settings import Settings
from fetchd.telemetry import log


def sync(settings: Settings, names: Sequence[str], confirm_retire: bool, *, json: bool) -> bool:
    """Sync these accounts, or all, once; whether all is well."""
    require(settings, None, names)
    began = time.monotonic()
    stop = asyncio.Event()
    with watch_round(list(dict.fromkeys(names)) or list(settings.accounts)) as watcher:
        done = asyncio.run(_round(settings, names, watcher, stop, confirm_retire))
        if isinstance(watcher, LoggedRound):
            _log(done)
    seconds = time.monotonic() - began
    if json:
        output.emit(document(done, seconds, stopped=stop.is_set()))
    else:
        tell(done, seconds, stopped=stop.is_set())
    return done.ok


async def _round(
    settings: Settings,
    names: Sequence[str],
    watcher: Watcher,
    stop: asyncio.Event,
    confirm_retire: bool,
) -> Round:
    loop = asyncio.get_running_loop()

    def asked_to_stop() -> None:
        stop.set()
        watcher.stopping()

    # Not within the signal handler itself, which may interrupt anything.
    with (
        stoppable(lambda: loop.call_soon_threadsafe(asked_to_stop)),
        open_storage(settings) as storage,
    ):
        return await sync_round(
            settings, names, storage, progress=watcher, stop=stop, confirm_retire=confirm_retire
        )


def _log(done: Round) -> None:
    """A round's outcome for the postmaster; no news is told at level debug only."""
    for report in done.reports:
        for notice in report.notices:
            log().warning("sync.notice", account=report.account, note=notice)
        for failure in report.failures:
            log().error(
                "sync.failed",
                account=report.account,
                stopped=failure.name,
                error=str(failure.error),
                advice=failure.error.advice,
            )
        _log_troubles(report.account, report.troubles, failed=report.failed)
        _log_counts(report)
    for account, tally in done.others.items():
        _log_troubles(account, tally.troubles, failed=tally.failed)
    for destination, why in done.unreached.items():
        log().warning("destination.unreached", destination=destination, reason=why)


def _log_troubles(account: str, troubles: Mapping[str, str], *, failed: int) -> None:
    event = "delivery.failed" if failed else "delivery.deferred"
    for destination, said in troubles.items():
        log().warning(event, account=account, destination=destination, reply=said)


def _log_counts(report: RunReport) -> None:
    counts = report.counts()
    news = report.failures or any(
        (counts.fetched, counts.adopted, counts.delivered, counts.deferred, counts.failed,
         counts.retired, counts.quarantined)
    )  # fmt: skip
    say = log().info if news else log().debug
    say(
        "sync.finished",
        account=report.account,
        ok=report.ok,
        skipped=report.skipped,
        fetched=counts.fetched,
        octets=counts.octets,
        adopted=counts.adopted,
        delivered=counts.delivered,
        deferred=counts.deferred,
        failed=counts.failed,
        retired=counts.retired,
        quarantined=counts.quarantined,
        on_server=counts.on_server,
    )
