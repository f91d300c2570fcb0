"""One round of the outbox without any server of an account: what `fetchd deliver` does.

For a timer of its own: mail that was fetched goes on while its server is down, or is asked
seldom. What a running sync has in its hands is left to it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fetchd.errors import UsageError
from fetchd.pipeline.at_work import at_work, utc_now
from fetchd.pipeline.deliver import Tally
from fetchd.pipeline.round import unreached
from fetchd.pipeline.storage import Storage
from fetchd.settings import Settings


@dataclass(slots=True)
class Delivered:
    """What became of what was due, by destination; `unreached`: why mail waits there."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    unreached: dict[str, str] = field(default_factory=dict)
    stopped: bool = False

    @property
    def ok(self) -> bool:
        """Nothing waits because of a failure."""
        waiting = any(tally.deferred or tally.failed for tally in self.tallies.values())
        return not waiting and not self.unreached


async def deliver_round(
    settings: Settings,
    names: Sequence[str],
    storage: Storage,
    *,
    stop: asyncio.Event,
    now: Callable[[], datetime] = utc_now,
) -> Delivered:
    """Deliver what is due to these destinations, or to all."""
    chosen = require_destinations(settings, names)
    async with at_work(settings, chosen, storage, stop, now=now) as (tools, _):
        await tools.deliveries.put_overdue()
        await tools.deliveries.settle(last=True)
        await tools.committer.flush()
        tallies = {name: tools.deliveries.by_destination.get(name, Tally()) for name in chosen}
        why = await storage.blocking(unreached, storage.catalog, chosen)
    return Delivered(tallies, why, stop.is_set())


def require_destinations(settings: Settings, names: Sequence[str]) -> list[str]:
    """Each name once, or all; UsageError for one that the settings do not have."""
    unknown = [name for name in names if name not in settings.destinations]
    if unknown:
        known = ", ".join(sorted(settings.destinations)) or "none"
        raise UsageError(
            f"no destination is called {', '.join(unknown)}", advice=f"The settings have: {known}."
        )
    return list(dict.fromkeys(names)) if names else list(settings.destinations)
