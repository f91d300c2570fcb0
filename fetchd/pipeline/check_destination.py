"""What `fetchd check` finds at a destination: whether mail would be taken, without sending any.

To check one more kind on our disk, add a case to `_on_disk`; what is reached over
connections is asked by its own `probe`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from fetchd.contracts import Carrier
from fetchd.destinations import open_destination
from fetchd.errors import FetchdError
from fetchd.pipeline.errand import owed_to
from fetchd.pipeline.findings import Finding, Level
from fetchd.settings import Account, Destination, MaildirDestination, MboxDestination, Settings


async def check_destination(destination: Destination) -> list[Finding]:
    """Everything up to the moment when a message would be handed over."""
    subject = f"destination {destination.name}"
    if isinstance(destination, MaildirDestination):
        return [maildir(destination)]
    if isinstance(destination, MboxDestination):
        return [mbox(destination)]
    carrier = open_destination(destination, "check")
    assert isinstance(carrier, Carrier)
    heard: dict[str, str] = {}
    try:
        await carrier.probe(heard.__setitem__)
    except FetchdError as error:
        found = [*_heard(subject, heard)]
        return [*found, Finding(Level.ERROR, subject, str(error), error.advice)]
    return [*_heard(subject, heard), Finding(Level.OK, subject, "would take mail")]


def _heard(subject: str, heard: dict[str, str]) -> Iterator[Finding]:
    for step, found in heard.items():
        yield Finding(Level.OK, subject, f"{step}: {found}" if found else step)


def first_sync(settings: Settings, account: Account) -> Iterator[Finding]:
    """What becomes of mail that is on the server already."""
    spared = [one.destination for one in owed_to(settings, account) if one.spares_old]
    if spared:
        yield Finding(
            Level.OK,
            f"account {account.name}",
            "mail that is there before the first sync is archived and not sent to "
            f'{", ".join(spared)}; first_sync = "deliver" would send it',
        )


# -- On our disk -------------------------------------------------------------------


def maildir(destination: MaildirDestination) -> Finding:
    """Whether mail can be put there; fetchd makes the Maildir but never its parent."""
    subject, path = f"destination {destination.name}", destination.path
    if not exists(path):
        if not exists(path.parent):
            return Finding(
                Level.ERROR,
                subject,
                f"{path.parent} is absent, and fetchd never makes the parent of a Maildir",
                f"Create or mount {path.parent}.",
            )
        if not writable(path.parent):
            return not_writable(subject, path.parent, f"{path} cannot be made")
        if not path.parent.is_dir() or path.is_symlink():
            sentence = f"{path} leads nowhere"
            return Finding(Level.ERROR, subject, sentence, "Name another path, or repair it.")
        return Finding(Level.OK, subject, f"{path} is absent; the first delivery makes it")
    for folder in (path, path / "tmp", path / "new", path / "cur"):
        if exists(folder) and not folder.is_dir():
            return Finding(
                Level.ERROR, subject, f"{folder} is not a folder", "Name another path, or move it."
            )
        if exists(folder) and not writable(folder):
            return not_writable(subject, folder, f"{folder} may not be written")
    return Finding(Level.OK, subject, f"{path} can be written")


def mbox(destination: MboxDestination) -> Finding:
    """Whether mail can be appended; fetchd makes the file but never its folder."""
    subject, path = f"destination {destination.name}", destination.path
    if not exists(path.parent):
        return Finding(
            Level.ERROR, subject, f"{path.parent} is absent", f"Create or mount {path.parent}."
        )
    if exists(path) and not path.is_file():
        return Finding(Level.ERROR, subject, f"{path} is not a file", "Name another path.")
    for needed in (path.parent, path):
        if exists(needed) and not writable(needed):
            return not_writable(subject, needed, f"{needed} may not be written")
    absent = "" if exists(path) else " is absent; the first delivery makes it"
    return Finding(Level.OK, subject, f"{path}{absent or ' can be written'}")


def exists(path: Path) -> bool:
    """False too where we may not look; Path.exists would raise."""
    return os.access(path, os.F_OK)


def writable(path: Path) -> bool:
    need = os.W_OK | os.X_OK if path.is_dir() else os.W_OK
    return os.access(path, need)


def not_writable(subject: str, path: Path, sentence: str) -> Finding:
    advice = f"Give fetchd's user permission to write to {path}, or mount it for writing."
    return Finding(Level.ERROR, subject, sentence, advice)
