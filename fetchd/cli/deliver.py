"""`fetchd deliver`: one round of the outbox, without fetching."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fetchd.alerting import after_round
from fetchd.cli import output
from fetchd.cli.stopping import stoppable
from fetchd.errors import UsageError
from fetchd.pipeline.at_work import utc_now
from fetchd.pipeline.deliver import Tally
from fetchd.pipeline.deliver_round import Delivered, deliver_round, require_destinations
from fetchd.pipeline.storage import data_paths, open_storage
from fetchd.settings import Settings


def deliver(settings: Settings, names: Sequence[str], *, json: bool) -> bool:
    """Deliver what is due; whether nothing is left because of a failure."""
    require_destinations(settings, names)
    catalog = data_paths(settings).catalog
    if not catalog.exists():
        raise UsageError(f"there is no catalog {catalog} yet", advice="Run 'fetchd sync' first.")
    done = asyncio.run(_round(settings, names))
    if json:
        output.emit(_document(done))
    else:
        _tell(done)
    return done.ok


async def _round(settings: Settings, names: Sequence[str]) -> Delivered:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    with stoppable(lambda: loop.call_soon_threadsafe(stop.set)), open_storage(settings) as storage:
        done = await deliver_round(settings, names, storage, stop=stop)
        if not stop.is_set():
            await after_round(settings, storage, utc_now())
        return done


def _document(done: Delivered) -> dict[str, Any]:
    return {
        "ok": done.ok,
        "stopped": done.stopped,
        "destinations": [
            {
                "destination": name,
                "delivered": tally.delivered,
                "deferred": tally.deferred,
                "failed": tally.failed,
                "trouble": tally.troubles.get(name),
                "unreached": done.unreached.get(name),
            }
            for name, tally in done.tallies.items()
        ],
    }


def _tell(done: Delivered) -> None:
    for name, tally in done.tallies.items():
        output.say(f"{name}: {', '.join(outcomes(tally)) or 'nothing is due'}")
        if said := done.unreached.get(name) or tally.troubles.get(name):
            output.say(f"  {said}")
    if done.stopped:
        output.say("Stopped before the end, as asked; what is left stays owed.")


def outcomes(tally: Tally) -> list[str]:
    """What became of deliveries, in words; empty when there were none."""
    counts = (
        (tally.delivered, "delivered"),
        (tally.deferred, "to be delivered later"),
        (tally.failed, "failed for good"),
    )
    return [f"{count:,} {what}" for count, what in counts if count]
