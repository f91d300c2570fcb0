"""What `fetchd check` finds: settings, permissions, and every server up to its listing.

Nothing is changed: no folder is made, the catalog is not opened, and a session
ends by QUIT without DELE, or by hanging up where even QUIT would remove mail.
What is found at an account's server is in `check_account`.
"""

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from fetchd.pipeline.check_account import check_account
from fetchd.pipeline.findings import Finding, Level
from fetchd.pipeline.round import Turns
from fetchd.settings import Account, Destination, Settings


async def check(settings: Settings, names: Sequence[str]) -> list[Finding]:
    """Look at everything that these accounts, or all, need."""
    chosen = [settings.accounts[name] for name in dict.fromkeys(names) or settings.accounts]
    wanted = {name for account in chosen for name in account.deliver_to}
    findings = [_settings(settings), data_folder(settings.data_dir)]
    findings += [
        maildir(destination)
        for name, destination in settings.destinations.items()
        if name in wanted
    ]
    turns = Turns(settings.limits.connections, settings.limits.connections_per_host)

    async def in_turn(account: Account) -> list[Finding]:
        async with turns.turn(account.host.lower()):
            return await check_account(account)

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
    if not _exists(folder):
        above = next(parent for parent in folder.parents if _exists(parent))
        if not _writable(above):
            sentence = f"{folder} is absent or out of reach, and cannot be made in {above}"
            return _not_writable("data", above, sentence)
        return Finding(Level.OK, "data", f"{folder} is absent; the first sync makes it")
    if not folder.is_dir():
        return Finding(Level.ERROR, "data", f"{folder} is not a folder", "Name another data_dir.")
    for path in (folder, folder / "archive", folder / "catalog.sqlite"):
        if _exists(path) and not _writable(path):
            return _not_writable("data", path, f"{path} may not be written")
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return Finding(
            Level.WARNING,
            "data",
            f"{folder} is open to other users of this machine",
            f"Run: chmod 700 {folder}",
        )
    return Finding(Level.OK, "data", f"{folder} can be written")


def maildir(destination: Destination) -> Finding:
    """Whether mail can be put there; fetchd makes the Maildir but never its parent."""
    subject, path = f"destination {destination.name}", destination.path
    if not _exists(path):
        if not _exists(path.parent):
            return Finding(
                Level.ERROR,
                subject,
                f"{path.parent} is absent, and fetchd never makes the parent of a Maildir",
                f"Create or mount {path.parent}.",
            )
        if not _writable(path.parent):
            return _not_writable(subject, path.parent, f"{path} cannot be made")
        if not path.parent.is_dir() or path.is_symlink():
            sentence = f"{path} leads nowhere"
            return Finding(Level.ERROR, subject, sentence, "Name another path, or repair it.")
        return Finding(Level.OK, subject, f"{path} is absent; the first delivery makes it")
    for folder in (path, path / "tmp", path / "new", path / "cur"):
        if _exists(folder) and not folder.is_dir():
            return Finding(
                Level.ERROR, subject, f"{folder} is not a folder", "Name another path, or move it."
            )
        if _exists(folder) and not _writable(folder):
            return _not_writable(subject, folder, f"{folder} may not be written")
    return Finding(Level.OK, subject, f"{path} can be written")


def _exists(path: Path) -> bool:
    """False too where we may not look; Path.exists would raise."""
    return os.access(path, os.F_OK)


def _writable(path: Path) -> bool:
    need = os.W_OK | os.X_OK if path.is_dir() else os.W_OK
    return os.access(path, need)


def _not_writable(subject: str, path: Path, sentence: str) -> Finding:
    advice = f"Give fetchd's user permission to write to {path}, or mount it for writing."
    return Finding(Level.ERROR, subject, sentence, advice)
