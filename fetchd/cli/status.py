"""`fetchd status` and `fetchd history`: what the catalog knows of accounts and their runs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fetchd.catalog import alerts, runs
from fetchd.catalog.database import Catalog
from fetchd.catalog.runs import AccountStatus, RunRow
from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.status_destinations import (
    alert_document,
    destination_document,
    destination_states,
    print_alerts,
    print_destinations,
)
from fetchd.cli.words import ago, counted, instant, iso, octets, span
from fetchd.contracts import RunCounts, ServerFacts
from fetchd.pipeline.storage import data_paths
from fetchd.settings import Settings
from fetchd.values import asdict

_REMEDIES = {
    "wait": "fetchd tries again at the next sync; 'fetchd check {name}' looks closer.",
    "owner": "It needs you: 'fetchd check {name}' says what to do.",
    "none": "The same attempt will always fail; 'fetchd check {name}' says more.",
}


def status(settings: Settings, *, json: bool) -> bool:
    """What the owner must hear of, accounts of settings and catalog, and destinations."""
    with Catalog(data_paths(settings).catalog, read_only=True) as catalog:
        known = {one.name: one for one in runs.status(catalog)}
        open_alerts = alerts.alerts(catalog)
        destinations = destination_states(settings, catalog)
    strangers = {name: one for name, one in known.items() if name not in settings.accounts}
    fresh = {n: _never_synced(n, a.protocol) for n, a in settings.accounts.items()}
    accounts = list((fresh | known).values())  # in the order of the settings, strangers behind
    if json:
        output.emit(
            {
                "alerts": [alert_document(one) for one in open_alerts],
                "accounts": [_document(one, one.name not in strangers) for one in accounts],
                "destinations": [destination_document(one) for one in destinations],
            }
        )
    else:
        print_alerts(open_alerts)
        _print_accounts(accounts, strangers)
        print_destinations(destinations, open_alerts)
    return True


def history(settings: Settings, account: str, limit: int, *, json: bool) -> bool:
    """The latest runs, of one account or of all."""
    with Catalog(data_paths(settings).catalog, read_only=True) as catalog:
        require(settings, catalog, [account] if account else [])
        found = runs.history(catalog, account, limit)
    if json:
        output.emit({"runs": [_run(row) for row in found]})
    else:
        _print_runs(found)
    return True


def _never_synced(name: str, protocol: str) -> AccountStatus:
    return AccountStatus(
        name, protocol, None, "", "", "", 0, None, False, ServerFacts(), 0, 0, 0, 0, 0, 0, 0
    )


def _document(one: AccountStatus, in_settings: bool) -> dict[str, Any]:
    return {
        "account": one.name,
        "in_settings": in_settings,
        "syncing": one.syncing,
        "last_success": iso(one.last_success),
        "last_error": one.last_error,
        "remedy": one.last_remedy,
        "advice": _advice(one),
        "failures": one.failures,
        "not_before": iso(one.not_before),
        "messages": one.messages,
        "octets": one.octets,
        "on_server": one.on_server,
        "on_server_octets": one.on_server_octets,
        "waiting": one.waiting,
        "failed": one.failed,
        "quarantined": one.quarantined,
        "server": asdict(one.facts),
    }


def _advice(one: AccountStatus) -> str:
    """What the failure itself advised, and otherwise what such failures ask for."""
    if not one.last_error:
        return ""
    return one.last_advice or _REMEDIES.get(one.last_remedy, "").format(name=one.name)


def _print_accounts(
    accounts: Sequence[AccountStatus], strangers: Mapping[str, AccountStatus]
) -> None:
    now = datetime.now(UTC)
    head = ("ACCOUNT", "LAST SUCCESS", "STORED", "SIZE", "ON SERVER", "WAITING", "FAILED", "STATE")
    rows = [
        (
            one.name,
            f"{instant(one.last_success)} ({ago(one.last_success, now)})"
            if one.last_success
            else "never",
            f"{one.messages:,}",
            octets(one.octets),
            f"{one.on_server:,}",
            f"{one.waiting:,}",
            f"{one.failed:,}",
            _state(one, one.name in strangers),
        )
        for one in accounts
    ]
    output.table(head, rows, right=("STORED", "SIZE", "ON SERVER", "WAITING", "FAILED"))
    for one in accounts:
        _print_trouble(one, now)


def _state(one: AccountStatus, stranger: bool) -> str:
    if one.syncing:
        return "syncing"
    if stranger:
        return "not in the settings"
    if one.failures:
        return f"failed {one.failures} x" if one.failures > 1 else "failed"
    return "ok" if one.last_success else "never synced"


def _print_trouble(one: AccountStatus, now: datetime) -> None:
    if one.last_error:
        times = f"{counted(one.failures, 'failure')} in a row. " if one.failures > 1 else ""
        output.say(f"{one.name}: {times}{one.last_error}")
        output.say(f"  {_advice(one)}")
    if one.not_before is not None and one.not_before > now:
        # A budget's pause is no failure, and leaves no error behind.
        why = "as the server asks" if one.last_error else "since a budget is spent"
        output.say(f"{one.name}: not before {instant(one.not_before)}, {why}")
    if one.quarantined:
        output.say(f"{one.name}: {counted(one.quarantined, 'message')} in quarantine")
        output.say(f"  'fetchd plan {one.name}' says which, and why.")
    if one.failed:
        output.say(f"{one.name}: {counted(one.failed, 'delivery')} refused for good")
        output.say(f"  'fetchd deliveries --state failed --account {one.name}' shows them.")


def _run(row: RunRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "account": row.account,
        "started_at": iso(row.started_at),
        "ended_at": iso(row.ended_at),
        "seconds": _seconds(row),
        "outcome": row.outcome,
        "error": row.error,
        **asdict(row.counts),
    }


def _seconds(row: RunRow) -> float | None:
    if row.ended_at is None:
        return None
    return round((row.ended_at - row.started_at).total_seconds(), 3)


def _print_runs(found: Sequence[RunRow]) -> None:
    if not found:
        output.say("No runs yet.")
        return
    figures = ("FETCHED", "SIZE", "DELIVERED", "RETIRED")
    head = ("STARTED", "ACCOUNT", "TOOK", "OUTCOME", *figures, "NOTES")
    rows = [
        (
            instant(row.started_at),
            row.account,
            span(row.ended_at - row.started_at) if row.ended_at else "-",
            row.outcome,
            f"{row.counts.fetched:,}",
            octets(row.counts.octets),
            f"{row.counts.delivered:,}",
            f"{row.counts.retired:,}",
            row.error or _notes(row.counts),
        )
        for row in found
    ]
    output.table(head, rows, right=("TOOK", *figures))


def _notes(counts: RunCounts) -> str:
    told = {
        "recognised": counts.adopted,
        "to be delivered later": counts.deferred,
        "refused": counts.failed,
        "quarantined": counts.quarantined,
    }
    return ", ".join(f"{count:,} {what}" for what, count in told.items() if count)
