"""`fetchd sync`: one round, watched, interruptible, and told afterwards.

Where a service runs for the data folder, it does the round (sync_by_service).
"""

import asyncio
import time
from collections.abc import Sequence

from fetchd.alerting import after_round
from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.stopping import stoppable
from fetchd.cli.summary import document, tell
from fetchd.cli.watching import LoggedRound, Watcher, on_terminal, watch_round
from fetchd.daemon.holder import holder_of
from fetchd.daemon.reporting import log_report, log_troubles
from fetchd.pipeline.at_work import utc_now
from fetchd.pipeline.round import Round, sync_round
from fetchd.pipeline.storage import open_storage
from fetchd.settings import Settings
from fetchd.telemetry import log


def sync(
    settings: Settings, names: Sequence[str], confirm_retire: bool, *, here: bool, json: bool
) -> bool:
    """Sync these accounts, or all, once; whether all is well. `here`: not by the service."""
    require(settings, None, names)
    began = time.monotonic()
    asked = None if here else _by_service(settings, names, confirm_retire, json=json)
    done, stopped = asked or _here(settings, names, confirm_retire)
    seconds = time.monotonic() - began
    if json:
        output.emit(document(done, seconds, stopped=stopped))
    else:
        tell(done, seconds, stopped=stopped)
    return done.ok


def _by_service(
    settings: Settings, names: Sequence[str], confirm_retire: bool, *, json: bool
) -> tuple[Round, bool] | None:
    """None where no service is, or none that answers."""
    if holder_of(settings.data_dir) is None:
        return None
    from fetchd.cli.sync_by_service import sync_by_service

    done = sync_by_service(settings, names, confirm_retire, json=json)
    if done is None:
        return None
    if not on_terminal():
        _log(done)
    return done, any(report.stopped for report in done.reports)


def _here(settings: Settings, names: Sequence[str], confirm_retire: bool) -> tuple[Round, bool]:
    stop = asyncio.Event()
    with watch_round(list(dict.fromkeys(names)) or list(settings.accounts)) as watcher:
        done = asyncio.run(_round(settings, names, watcher, stop, confirm_retire))
        if isinstance(watcher, LoggedRound):
            _log(done)
    return done, stop.is_set()


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
        done = await sync_round(
            settings, names, storage, progress=watcher, stop=stop, confirm_retire=confirm_retire
        )
        if not stop.is_set():
            await after_round(settings, storage, utc_now())
        return done


def _log(done: Round) -> None:
    """A round's outcome for the postmaster."""
    for report in done.reports:
        log_report(report)
    for account, tally in done.others.items():
        log_troubles(account, tally.troubles, failed=tally.failed)
    for destination, why in done.unreached.items():
        log().warning("destination.unreached", destination=destination, reason=why)
