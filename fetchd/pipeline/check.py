"""What `fetchd check` finds: settings, permissions, and every server up to its listing.

Nothing is changed: no folder is made, the catalog is not opened, and a session
ends by QUIT without DELE, or by hanging up where even QUIT would remove mail.
What is found at an account's server is in `check_account`.
"""

import asyncio
import stat
from collections.abc import Sequence
from pathlib import Path

from fetchd.pipeline.check_account import check_account
from fetchd.pipeline.check_destination import (
    check_destination,
    exists,
    first_sync,
    not_writable,
    writable,
)
from fetchd.pipeline.findings import Finding, Level
from fetchd.pipeline.round import Turns
from fetchd.settings import Account, Settings


async def check(settings: Settings, names: Sequence[str]) -> list[Finding]:
    """Look at everything that these accounts, or all, need."""
    chosen = [settings.accounts[name] for name in dict.fromkeys(names) or settings.accounts]
    wanted = {name for account in chosen for name in account.deliver_to}
    findings = [_settings(settings), data_folder(settings.data_dir)]
    wanted |= {name for route in settings.routes for name in route.deliver_to}
    asked = [one for name, one in settings.destinations.items() if name in wanted]
    for found in await asyncio.gather(*(check_destination(one) for one in asked)):
        findings += found
    turns = Turns(settings.limits.connections, settings.limits.connections_per_host)

    async def in_turn(account: Account) -> list[Finding]:
        async with turns.turn(account.host.lower()):
            return [*await check_account(account), *first_sync(settings, account)]

    for found in await asyncio.gather(*(in_turn(account) for account in chosen)):
        findings += found
    return findings


# -- At home ---------------------------------------------------------------------


def _settings(settings: Settings) -> Finding:
    accounts, destinations = len(settings.accounts), len(settings.destinations)
    return Finding(
        Level.OK,
        "settings",
        f"{settings.path}: {accounts} account{'s' * (accounts != 1)}, "
        f"{destinations} destination{'s' * (destinations != 1)}",
    )


def data_folder(folder: Path) -> Finding:
    """Whether archive and catalog can be written; an absent folder will be made."""
    if not exists(folder):
        above = next(parent for parent in folder.parents if exists(parent))
        if not writable(above):
            sentence = f"{folder} is absent or out of reach, and cannot be made in {above}"
            return not_writable("data", above, sentence)
        return Finding(Level.OK, "data", f"{folder} is absent; the first sync makes it")
    if not folder.is_dir():
        return Finding(Level.ERROR, "data", f"{folder} is not a folder", "Name another data_dir.")
    for path in (folder, folder / "archive", folder / "catalog.sqlite"):
        if exists(path) and not writable(path):
            return not_writable("data", path, f"{path} may not be written")
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return Finding(
            Level.WARNING,
            "data",
            f"{folder} is open to other users of this machine",
            f"Run: chmod 700 {folder}",
        )
    return Finding(Level.OK, "data", f"{folder} can be written")
