"""The part of `fetchd status` about where mail goes: what the owner must hear of, and reach."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fetchd.alerting.words import titled
from fetchd.catalog import delivered, outbox, reach
from fetchd.catalog.alerts import Alert, Kind
from fetchd.catalog.database import Catalog
from fetchd.catalog.reach import Reach
from fetchd.cli import output
from fetchd.cli.words import ago, counted, instant, iso
from fetchd.instants import micros
from fetchd.settings import Settings
from fetchd.values import Struct

STATES = ("pending", "deferred", "failed", "delivered", "dropped")


class DestinationState(Struct, frozen=True):
    """How one destination fares; `counts` are its deliveries by state."""

    name: str
    in_settings: bool
    counts: Mapping[str, int]
    reach: Reach
    last_success: datetime | None


def destination_states(settings: Settings, catalog: Catalog) -> list[DestinationState]:
    """Those of the settings, and behind them those that something is recorded of."""
    counts, reached = outbox.counts(catalog), reach.everything(catalog)
    latest = delivered.latest(catalog)
    strangers = sorted((counts.keys() | reached.keys()) - settings.destinations.keys())
    return [
        DestinationState(
            name,
            name in settings.destinations,
            counts.get(name, {}),
            (known := reached.get(name, Reach(name))),
            # A process notes its reach once; deliveries say how long it lasted.
            max(filter(None, (known.last_success, latest.get(name))), default=None),
        )
        for name in (*settings.destinations, *strangers)
    ]


# -- For programs -----------------------------------------------------------------


def alert_document(one: Alert) -> dict[str, Any]:
    """One trouble with stable keys."""
    return {
        "kind": one.kind,
        "subject": one.subject,
        "since": iso(one.raised_at),
        "last": iso(one.last_at),
        "times": one.times,
        "sentence": one.sentence,
        "advice": one.advice,
    }


def destination_document(one: DestinationState) -> dict[str, Any]:
    """One destination with stable keys."""
    return {
        "destination": one.name,
        "in_settings": one.in_settings,
        **{state: one.counts.get(state, 0) for state in STATES},
        "last_success": iso(one.last_success),
        "in_reach": not one.reach.failures,
        "failures": one.reach.failures,
        "not_before": iso(_not_before(one.reach)),
        "last_error": one.reach.last_error,
        "remedy": one.reach.last_remedy,
        "advice": one.reach.last_advice,
    }


def _not_before(known: Reach) -> datetime | None:
    """None as well after `deliveries retry`, which makes it due for ever."""
    at = known.not_before
    return at if at is not None and micros(at) else None


# -- For people -------------------------------------------------------------------


def print_alerts(found: Sequence[Alert]) -> None:
    """Before everything else, with an empty line behind."""
    now = datetime.now(UTC)
    for one in found:
        since = f"since {instant(one.raised_at)} ({ago(one.raised_at, now)})"
        output.say(f"ALERT: {titled(one)}, {since}, {counted(one.times, 'time')}")
        output.say(f"  {one.sentence}")
        if one.advice:
            output.say(f"  {one.advice}")
    if found:
        output.say()


def print_destinations(found: Sequence[DestinationState], told: Sequence[Alert]) -> None:
    """Their deliveries by state, and why one is out of reach unless an alert of `told` says it."""
    if not found:
        return
    now = datetime.now(UTC)
    output.say()
    head = ("DESTINATION", "LAST SUCCESS", *(state.upper() for state in STATES), "STATE")
    rows = [
        (
            one.name,
            f"{instant(one.last_success)} ({ago(one.last_success, now)})"
            if one.last_success
            else "never",
            *(f"{one.counts.get(state, 0):,}" for state in STATES),
            _state(one),
        )
        for one in found
    ]
    output.table(head, rows, right=head[2:-1])
    alerted = {one.subject: one.sentence for one in told if one.kind == Kind.DESTINATION}
    for one in found:
        if one.reach.failures:
            _print_trouble(one.reach, now, alerted=alerted.get(one.name) == one.reach.last_error)


def _state(one: DestinationState) -> str:
    if not one.in_settings:
        return "not in the settings"
    return "out of reach" if one.reach.failures else "ok"


def _print_trouble(known: Reach, now: datetime, *, alerted: bool) -> None:
    times = f"{counted(known.failures, 'failure')} in a row"
    again = "at the next sync"
    if known.not_before is not None and known.not_before > now:
        again = f"not before {instant(known.not_before)} ({ago(known.not_before, now)})"
    why = "" if alerted else f" {known.last_error}"
    output.say(f"{known.name}: out of reach, {times}.{why}")
    if known.last_advice and not alerted:
        output.say(f"  {known.last_advice}")
    output.say(f"  Tried again {again}.")
