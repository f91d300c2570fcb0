"""`fetchd redeliver`: archived messages to a destination, watched and interruptible."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.deliver import outcomes
from fetchd.cli.stopping import stoppable
from fetchd.cli.watching import STOPPING, LoggedRound, Watcher, watch_round
from fetchd.cli.words import counted, octets, since
from fetchd.errors import UsageError
from fetchd.pipeline.redeliver import Redelivered, Wish, redeliver
from fetchd.pipeline.storage import data_paths, open_storage
from fetchd.settings import Settings
from fetchd.telemetry import log
from fetchd.values import Struct


class Asked(Struct, frozen=True):
    """What was asked for, in the person's words."""

    account: str
    to: str
    mailboxes: tuple[str, ...] = ()
    since: str = ""
    sender: str = ""
    subject: str = ""
    again: bool = False
    dry_run: bool = False


def send_again(settings: Settings, asked: Asked, *, json: bool) -> bool:
    """Queue and deliver; whether all of it was delivered."""
    catalog = data_paths(settings).catalog
    if not catalog.exists():
        raise UsageError(f"there is no catalog {catalog} yet", advice="Run 'fetchd sync' first.")
    wish = Wish(
        asked.account, asked.to, asked.mailboxes,
        since(asked.since, datetime.now(UTC)) if asked.since else None,
        asked.sender, asked.subject, asked.again, asked.dry_run,
    )  # fmt: skip
    with watch_round([asked.account], _Logged) as watcher:
        report = asyncio.run(_redeliver(settings, wish, watcher))
    if json:
        output.emit(_document(report, wish))
    else:
        _tell(report, wish)
    return report.ok


async def _redeliver(settings: Settings, wish: Wish, watcher: Watcher) -> Redelivered:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def asked_to_stop() -> None:
        stop.set()
        watcher.stopping()

    with (
        stoppable(lambda: loop.call_soon_threadsafe(asked_to_stop)),
        open_storage(settings, read_only=wish.dry_run) as storage,
    ):
        require(settings, storage.catalog, [wish.account])
        return await redeliver(settings, wish, storage, progress=watcher, stop=stop)


class _Logged(LoggedRound):
    """Says what begins."""

    def expect(self, account: str, messages: int, octets: int) -> None:
        """So many fit what was asked for."""
        log().info("redeliver.started", account=account, messages=messages, octets=octets)

    def fetched(self, account: str, messages: int, octets: int) -> None:
        """Some have an outcome."""
        log().debug("redeliver.settled", account=account, messages=messages, octets=octets)

    def stopping(self) -> None:
        """A signal came."""
        log().warning("redeliver.stopping", note=STOPPING)


def _document(report: Redelivered, wish: Wish) -> dict[str, Any]:
    tally = report.tally
    return {
        "ok": report.ok,
        "dry_run": wish.dry_run,
        "stopped": report.stopped,
        "account": wish.account,
        "to": wish.to,
        "found": report.found,
        "queued": report.queued,
        "octets": report.octets,
        "present": report.present,
        "owed": report.owed,
        "gone": report.gone,
        "delivered": tally.delivered,
        "deferred": tally.deferred,
        "failed": tally.failed,
        "trouble": tally.troubles.get(wish.to),
    }


def _tell(report: Redelivered, wish: Wish) -> None:
    if not report.found and not report.stopped:
        output.say("No archived message fits.")
        return
    what = f"{counted(report.queued, 'message')} ({octets(report.octets)})"
    if wish.dry_run:
        output.say(f"{wish.to}: {what} would be delivered")
    else:
        became = f": {', '.join(words)}" if (words := outcomes(report.tally)) else ""
        output.say(f"{wish.to}: {what} queued{became}")
    if report.present:
        output.say(f"  {report.present:,} delivered there already; --again sends them once more")
    if report.owed:
        output.say(f"  {report.owed:,} owed already: 'fetchd deliver {wish.to}' delivers them")
    if report.gone:
        output.say(f"  {report.gone:,} left out: their octets are not in the archive any more")
    if said := report.tally.troubles.get(wish.to):
        output.say(f"  {said}")
    if report.tally.deferred or report.tally.failed:
        output.say(f"  See 'fetchd deliveries --destination {wish.to}'.")
    if report.stopped:
        output.say("Stopped before the end, as asked; the same command goes on from here.")
