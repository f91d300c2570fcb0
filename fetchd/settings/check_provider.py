"""A `provider` is one of those that fetchd knows; without one it follows from the host.

A budget is a provider's, or that of a host which the settings name.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from fetchd.policy.providers import PROVIDERS
from fetchd.settings.check_logins import Found, Path


def of_provider(path: Path, provider: object) -> Found:
    """Say which name may have been meant, or all there are."""
    if not isinstance(provider, str) or not provider or provider in PROVIDERS:
        return
    near = get_close_matches(provider.lower(), PROVIDERS, 3)
    known = f"did you mean {', '.join(near)}?" if near else f"allowed: {', '.join(PROVIDERS)}"
    yield (*path, "provider"), f"found '{provider}', which is no provider known here, {known}"


def of_budgets(budgets: object, tables: Iterable[dict[str, Any]]) -> Found:
    """One that nobody draws on is misspelt."""
    hosts = {table["host"].lower() for table in tables if isinstance(table.get("host"), str)}
    for name in budgets if isinstance(budgets, dict) else ():
        if name.lower() not in {*PROVIDERS, *hosts}:
            near = get_close_matches(name.lower(), [*PROVIDERS, *hosts], 1)
            hint = f'did you mean "{near[0]}"?' if near else f"of these: {', '.join(PROVIDERS)}"
            yield ("budgets", name), f"neither a provider nor a host of the settings ({hint})"
