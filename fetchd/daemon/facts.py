"""What a snapshot tells besides the accounts: looked up now and then, not for each who asks."""

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fetchd.catalog import alerts, inventory, outbox, reach
from fetchd.catalog.database import Catalog
from fetchd.catalog.reach import Reach
from fetchd.pipeline.snapshot import DestinationView
from fetchd.pipeline.tools import Tools
from fetchd.settings import Settings

EVERY = 15.0  # seconds


@dataclass(slots=True)
class Facts:
    """As of the last look."""

    waiting: dict[str, dict[str, int]] = field(default_factory=dict)
    reach: dict[str, Reach] = field(default_factory=dict)
    alerts: int = 0
    archive_octets: int = 0
    disk_free: int = 0

    def look(self, catalog: Catalog, folder: Path) -> None:
        """Look anew; blocking."""
        self.waiting = outbox.waiting(catalog)
        self.reach = reach.everything(catalog)
        self.alerts = len(alerts.alerts(catalog))
        self.archive_octets = inventory.archive_octets(catalog)
        with suppress(OSError):  # the folder is gone: whoever needs it says so
            self.disk_free = shutil.disk_usage(folder).free

    def destinations(self, settings: Settings, tools: Tools) -> tuple[DestinationView, ...]:
        """Each with what waits for it, and why."""
        made = tools.deliveries.by_destination
        return tuple(
            _view(name, settings, self.waiting.get(name, {}), self.reach.get(name, Reach(name)),
                  made[name].delivered if name in made else 0)
            for name in settings.destinations
        )  # fmt: skip


async def keep_facts(facts: Facts, tools: Tools, settings: Callable[[], Settings]) -> None:
    """Until cancelled."""
    while True:
        storage = tools.storage
        await storage.blocking(facts.look, storage.catalog, settings().data_dir)
        await asyncio.sleep(EVERY)


def _view(
    name: str, settings: Settings, waiting: dict[str, int], state: Reach, delivered: int
) -> DestinationView:
    out = state.failures > 0
    return DestinationView(
        name=name,
        kind=settings.destinations[name].kind,
        waiting=waiting.get("pending", 0) + waiting.get("deferred", 0),
        failed=waiting.get("failed", 0),
        delivered=delivered,
        failures=state.failures,
        not_before=state.not_before if out else None,
        why=state.last_error if out else "",
    )
