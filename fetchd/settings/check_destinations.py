"""What keys of one destination exclude or need, and that no two write to the same place."""

from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from fetchd.settings.check_logins import Found, Path, exactly_one, of_login
from fetchd.settings.server import SRS_SECRETS

_FLAT_ONLY = ("folder", "flags", "mark_seen")


def of_destination(path: Path, destination: dict[str, Any]) -> Found:
    """What is wrong with one table, whose kind may be missing or unknown."""
    match destination.get("kind"):
        case "maildir":
            yield from _of_maildir(path, destination)
        case "imap":
            yield from of_login(path, destination, needed=True)
        case "smtp":
            yield from of_login(path, destination, needed=False)
            yield from _of_srs(path, destination)
        case "lmtp":
            yield from of_login(path, destination, needed=False, tls="none")
            yield from _of_socket(path, destination)
            yield from _of_sender(path, destination)


def same_path(destinations: Mapping[str, dict[str, Any]], folder: FilePath) -> Found:
    """Two that would write to one Maildir, one mbox, or a Maildir where an mbox is."""
    owners: dict[FilePath, str] = {}
    for name, destination in destinations.items():
        path = destination.get("path")
        if not isinstance(path, str) or "\0" in path:
            continue
        try:
            real = (folder / FilePath(path).expanduser()).resolve()
        except (OSError, RuntimeError):
            continue
        if owners.setdefault(real, name) != name:
            text = f'found "{path}", which destination "{owners[real]}" has already'
            yield ("destinations", name, "path"), text


def _of_maildir(path: Path, destination: dict[str, Any]) -> Found:
    if destination.get("layout") == "mirror":
        if destination.get("duplicates") == "skip":
            text = 'found "skip", allowed with layout = "mirror": "deliver"'
            yield (*path, "duplicates"), f"{text} (a mirror has every copy that the server has)"
        for key in _FLAT_ONLY:
            if key in destination:
                text = f'{key} is for layout = "flat"'
                yield (*path, key), f"{text} (a mirror has folders and flags of the server)"
    elif (removed := destination.get("removed")) in ("trash", "remove"):
        text = f'found "{removed}", allowed with layout = "flat": "keep"'
        yield (*path, "removed"), f'{text} (only layout = "mirror" follows the server)'


def _of_srs(path: Path, destination: dict[str, Any]) -> Found:
    given = [key for key in SRS_SECRETS if key in destination]
    if "srs_domain" in destination:
        yield from exactly_one(path, given, SRS_SECRETS, " with srs_domain")
        if destination.get("sender") != "original":
            text = 'srs_domain is for sender = "original"'
            yield (*path, "srs_domain"), f"{text} (only a sender of others is rewritten)"
    elif given:
        yield (*path, "srs_domain"), f"missing, and needed with {given[0]}"


def _of_socket(path: Path, destination: dict[str, Any]) -> Found:
    if "socket" not in destination:
        return
    for key in ("host", "port"):
        if key in destination:
            yield (*path, key), f"found {key} and socket, allowed: one way to the server"
    if (tls := destination.get("tls")) in ("implicit", "starttls"):
        yield (*path, "tls"), f'found "{tls}", allowed with socket: "none"'


def _of_sender(path: Path, destination: dict[str, Any]) -> Found:
    """Where the owner's address is the sender, it must be one: a user's name alone is none."""
    if destination.get("sender") != "address" or "address" in destination:
        return
    match destination.get("recipients"):
        case [str(first), *_] if "@" not in first:
            text = 'missing, and needed with sender = "address"'
            yield (*path, "address"), f'{text} ("{first}" is a name without a domain)'
