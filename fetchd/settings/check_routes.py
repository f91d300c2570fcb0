"""Routes speak of accounts and destinations that exist, and of what these can do."""

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from fetchd.settings.check_logins import Found, Path
from fetchd.settings.destination import KINDS
from fetchd.settings.values import in_octets

# Which kinds can do what a route asks.
_ABLE = {"folder": ("maildir", "imap"), "label": ("imap",)}
Tables = Mapping[str, dict[str, Any]]


def of_routes(rows: list[Any], accounts: Tables, destinations: Tables) -> Found:
    """What is wrong with each of [[routes]]; they count from 1."""
    named: dict[str, int] = {}
    for position, route in enumerate(rows, 1):
        if not isinstance(route, dict):
            continue
        path = ("routes", str(position))
        name = route.get("name")
        if isinstance(name, str) and (first := named.setdefault(name, position)) != position:
            yield (*path, "name"), f'found "{name}", as route {first} is called'
        yield from _of_conditions(path, route, accounts)
        yield from _of_action(path, route)
        for wanted in names(route.get("deliver_to")):
            if wanted not in destinations:
                yield (*path, "deliver_to"), unknown(wanted, destinations)
        yield from _of_abilities(path, route, accounts, destinations)


def names(value: object) -> Iterator[str]:
    """What a list of names holds, as far as it is one."""
    return (
        (each for each in value if isinstance(each, str)) if isinstance(value, list) else iter(())
    )


def unknown(name: str, destinations: Collection[str]) -> str:
    """That no destination is called so."""
    known = ", ".join(f'"{d}"' for d in sorted(destinations)) or "none is defined"
    return f'found "{name}", allowed: a destination ({known})'


def _of_conditions(path: Path, route: dict[str, Any], accounts: Tables) -> Found:
    for pattern in _patterns(route.get("account")):
        if "*" not in pattern and "?" not in pattern and not _fitting(pattern, accounts):
            near = get_close_matches(pattern, accounts, 1, 0.5)
            hint = f' (did you mean "{near[0]}"?)' if near else ""
            yield (*path, "account"), f'found "{pattern}", allowed: an account, or a pattern{hint}'
    larger, smaller = _size(route.get("larger")), _size(route.get("smaller"))
    if larger is not None and smaller is not None and smaller <= larger:
        yield (*path, "smaller"), "not above what larger says, so that no message fits"


def _of_action(path: Path, route: dict[str, Any]) -> Found:
    action = route.get("action")
    if action == "skip":
        for key in ("deliver_to", "folder", "label"):
            if key in route:
                yield (*path, key), f'{key} is for action = "deliver" or "copy"'
    if action == "copy" and not route.get("deliver_to") and "folder" not in route:
        yield (*path, "deliver_to"), 'missing, and needed with action = "copy" (or folder)'


def _of_abilities(
    path: Path, route: dict[str, Any], accounts: Tables, destinations: Tables
) -> Found:
    """Every destination that the route reaches knows folders, or labels, if it gives one."""
    for key in (key for key in _ABLE if key in route and route.get("action") != "skip"):
        for name in _reached(route, accounts):
            destination = destinations.get(name, {})
            kind = destination.get("kind")
            kinds = " or ".join(f'"{able}"' for able in _ABLE[key])
            text = f"{key} is for destinations of kind {kinds}"
            if isinstance(kind, str) and kind in KINDS and kind not in _ABLE[key]:
                yield (*path, key), f'{text}; "{name}" is of kind "{kind}"'
            elif key == "folder" and destination.get("layout") == "mirror":
                yield (*path, key), f'{text}; "{name}" is a mirror and has those of the server'


def _reached(route: dict[str, Any], accounts: Tables) -> list[str]:
    """Its own destinations, or else those of each account that it speaks of."""
    if own := list(names(route.get("deliver_to"))):
        return own
    patterns = list(_patterns(route.get("account"))) or ["*"]
    fitting = dict.fromkeys(name for each in patterns for name in _fitting(each, accounts))
    return list(
        dict.fromkeys(d for name in fitting for d in names(accounts[name].get("deliver_to")))
    )


def _patterns(value: object) -> Iterator[str]:
    return names([value] if isinstance(value, str) else value)


def _fitting(pattern: str, accounts: Collection[str]) -> list[str]:
    literal = pattern.casefold().replace("[", "[[]")  # only * and ? stand for something else
    return [name for name in accounts if fnmatchcase(name.casefold(), literal)]


def _size(value: object) -> int | None:
    try:
        return None if value is None else in_octets(value)
    except ValueError:
        return None  # told where it is validated
