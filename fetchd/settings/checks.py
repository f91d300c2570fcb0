"""What no single field can know: checks across the merged settings, before validation.

They look at plain data that may still be wrong in any way, so that all
problems are told at once; whatever has the wrong type is passed over, because
validation complains of it.
"""

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from fetchd.settings.account import SECRETS

Path = tuple[str, ...]
Found = Iterator[tuple[Path, str]]
PLAINTEXT = (
    "allow_plaintext_auth = true is needed to send a password over an unencrypted line "
    "(loopback included)"
)
_TRUE = (True, "true", "1", "yes", "on")


def contradictions(data: dict[str, Any], folder: FilePath) -> Found:
    """Each contradiction: at which key, and one sentence."""
    accounts, destinations = _tables(data, "accounts"), _tables(data, "destinations")
    if not accounts and not data.get("accounts"):
        yield ("accounts",), "no account; write at least one table [accounts.NAME]"
    for name, account in accounts.items():
        yield from _of_account(("accounts", name), account, sorted(destinations))
    for name, destination in destinations.items():
        yield from _of_destination(("destinations", name), destination)
    yield from _same_path(destinations, folder)


def _of_account(path: Path, account: dict[str, Any], destinations: list[str]) -> Found:
    given = [key for key in SECRETS if key in account]
    if len(given) != 1:
        found = f"found {', '.join(given)}" if given else "found none"
        yield (*path, *given[1:2]), f"{found}, allowed: exactly one of {', '.join(SECRETS)}"
    wanted = account.get("deliver_to")
    for name in wanted if isinstance(wanted, list) else []:
        if isinstance(name, str) and name not in destinations:
            known = ", ".join(f'"{d}"' for d in destinations) or "none is defined"
            yield (*path, "deliver_to"), f'found "{name}", allowed: a destination ({known})'
    if account.get("tls") == "none" and account.get("allow_plaintext_auth") not in _TRUE:
        yield (*path, "tls"), PLAINTEXT


def _of_destination(path: Path, destination: dict[str, Any]) -> Found:
    if destination.get("layout") == "mirror":
        if destination.get("duplicates") == "skip":
            text = 'found "skip", allowed with layout = "mirror": "deliver"'
            yield (*path, "duplicates"), f"{text} (a mirror has every copy that the server has)"
    elif (removed := destination.get("removed")) in ("trash", "remove"):
        text = f'found "{removed}", allowed with layout = "flat": "keep"'
        yield (*path, "removed"), f'{text} (only layout = "mirror" follows the server)'


def _same_path(destinations: dict[str, dict[str, Any]], folder: FilePath) -> Found:
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


def _tables(data: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    found = data.get(key)
    tables = found.items() if isinstance(found, dict) else ()
    return {name: table for name, table in tables if isinstance(table, dict)}
