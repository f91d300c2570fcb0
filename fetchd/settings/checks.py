"""What no single field can know: checks across the merged settings, before validation.

They look at plain data that may still be wrong in any way, so that all
problems are told at once; whatever has the wrong type is passed over, because
validation complains of it. Here are the accounts; `check_logins`, `check_destinations`,
`check_loops`, `check_routes` and `check_running` have the rest.
"""

from pathlib import Path as FilePath
from typing import Any

from fetchd.settings.check_destinations import of_destination, same_path
from fetchd.settings.check_logins import Found, Path, of_login
from fetchd.settings.check_loops import loops
from fetchd.settings.check_provider import of_budgets, of_provider
from fetchd.settings.check_routes import names, of_routes, unknown
from fetchd.settings.check_running import of_account, of_alerts, of_tokens


def contradictions(data: dict[str, Any], folder: FilePath) -> Found:
    """Each contradiction: at which key, and one sentence."""
    accounts, destinations = _tables(data, "accounts"), _tables(data, "destinations")
    if not accounts and not data.get("accounts"):
        yield ("accounts",), "no account; write at least one table [accounts.NAME]"
    for name, account in accounts.items():
        yield from _of_account(("accounts", name), account, destinations)
    for name, destination in destinations.items():
        yield from of_destination(("destinations", name), destination)
    yield from same_path(destinations, folder)
    yield from loops(accounts, destinations)
    yield from of_alerts(data.get("alerts"), destinations)
    yield from of_tokens(data.get("tokens"))
    yield from of_budgets(data.get("budgets"), (*accounts.values(), *destinations.values()))
    rows = data.get("routes")
    yield from of_routes(rows if isinstance(rows, list) else [], accounts, destinations)


def _of_account(path: Path, account: dict[str, Any], destinations: dict[str, Any]) -> Found:
    yield from of_login(path, account, needed=True)
    yield from of_account(path, account)
    yield from of_provider(path, account.get("provider"))
    for name in names(account.get("deliver_to")):
        if name not in destinations:
            yield (*path, "deliver_to"), unknown(name, destinations)


def _tables(data: dict[str, Any], key: str) -> dict[str, dict[str, Any]]:
    found = data.get(key)
    tables = found.items() if isinstance(found, dict) else ()
    return {name: table for name, table in tables if isinstance(table, dict)}
