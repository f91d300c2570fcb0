"""`fetchd deliveries`: what is owed to destinations, shown, made due again, or dropped."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from fetchd.cli.options import Config, Json, OfAccount
from fetchd.cli.outcome import carry_out
from fetchd.errors import UsageError

if TYPE_CHECKING:  # these take time to import
    from pathlib import Path

    from fetchd.catalog.database import Catalog
    from fetchd.catalog.outbox import DeliveryRow
    from fetchd.catalog.reach import Reach
    from fetchd.settings import Settings

deliveries = typer.Typer(rich_markup_mode=None)


class State(StrEnum):
    """What became of a delivery."""

    PENDING = "pending"
    DEFERRED = "deferred"
    FAILED = "failed"
    DELIVERED = "delivered"
    DROPPED = "dropped"


Ids = Annotated[
    list[int] | None, typer.Argument(metavar="[ID]...", help="As 'fetchd deliveries' shows them.")
]
To = Annotated[str, typer.Option("--destination", metavar="NAME", help="To this destination.")]


@deliveries.callback(invoke_without_command=True)
@deliveries.command(
    "list",
    help="The same as 'fetchd deliveries'.\n\nExample: fetchd deliveries list --state failed",
)
def show(
    context: typer.Context,
    state: Annotated[
        State | None, typer.Option("--state", help="Only these; without, all that is not settled.")
    ] = None,
    destination: To = "",
    account: OfAccount = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many; 0: all.")] = 100,
    config: Config = None,
    json: Json = False,
) -> None:
    """What is owed to destinations, newest first; 'retry' and 'drop' change it.

    Example: fetchd deliveries --state failed
    """
    if context.invoked_subcommand is None:
        asked = (state.value if state else "", destination, account)
        carry_out(context.obj, json, lambda s: _show(s, *asked, limit, json=json))


@deliveries.command()
def retry(
    context: typer.Context,
    ids: Ids = None,
    every: Annotated[bool, typer.Option("--all", help="All that failed or wait.")] = False,
    destination: To = "",
    account: OfAccount = "",
    config: Config = None,
    json: Json = False,
) -> None:
    """Make failed and deferred deliveries due now: for the next sync or `fetchd deliver`.

    Example: fetchd deliveries retry --destination home
    """
    named = bool(ids) + bool(every or destination or account)
    asked = (destination, account)
    carry_out(
        context.obj, json, lambda s: _retry(s, ids or (), *asked, clear=named == 1, json=json)
    )


@deliveries.command()
def drop(
    context: typer.Context, ids: Ids = None, config: Config = None, json: Json = False
) -> None:
    """Owe these deliveries no longer; the messages stay in the archive.

    Example: fetchd deliveries drop 12 13
    """
    carry_out(context.obj, json, lambda s: _drop(s, ids or (), json=json))


def _show(
    settings: "Settings", state: str, destination: str, account: str, limit: int, *, json: bool
) -> bool:
    from fetchd.catalog import outbox, reach
    from fetchd.catalog.database import Catalog
    from fetchd.cli import output
    from fetchd.cli.accounts import require
    from fetchd.pipeline.storage import data_paths

    with Catalog(data_paths(settings).catalog, read_only=True) as catalog:
        require(settings, catalog, [account] if account else [])
        _require_destination(settings, catalog, destination)
        found = outbox.listing(
            catalog, state=state, destination=destination, account=account, limit=limit or -1
        )
        known = reach.everything(catalog).values()
    lost = [one for one in known if one.failures and destination in ("", one.name)]
    if json:
        output.emit(
            {
                "deliveries": [_document(row) for row in found],
                "out_of_reach": [_reach_document(one) for one in lost],
            }
        )
    else:
        _print(found)
        if limit and len(found) == limit:
            output.say(f"The newest {limit}; 'fetchd deliveries --limit 0' shows all.")
        for one in lost:
            _tell_reach(one)
    return True


def _reach_document(one: "Reach") -> dict[str, object]:
    from fetchd.cli.words import iso

    return {
        "destination": one.name,
        "failures": one.failures,
        "sentence": one.last_error,
        "remedy": one.last_remedy,
        "advice": one.last_advice,
        "not_before": iso(one.not_before),
    }


def _tell_reach(one: "Reach") -> None:
    from datetime import UTC, datetime

    from fetchd.cli import output
    from fetchd.cli.words import counted, instant

    due = one.not_before is None or one.not_before <= datetime.now(UTC)
    again = "at the next sync" if due or one.not_before is None else instant(one.not_before)
    output.say(
        f"{one.name} is out of reach, {counted(one.failures, 'failure')} in a row: {one.last_error}"
    )
    if one.last_advice:
        output.say(f"  {one.last_advice}")
    output.say(f"  Tried again {'' if due else 'not before '}{again}.")


def _document(row: "DeliveryRow") -> dict[str, object]:
    from fetchd.cli.words import iso

    return {
        "id": row.id,
        "destination": row.destination,
        "account": row.account,
        "state": row.state,
        "doubtful": row.doubtful,
        "attempts": row.attempts,
        "not_before": iso(row.not_before) if row.state == State.DEFERRED else None,
        "last_reply": row.last_reply,
        "queued_at": iso(row.queued_at),
        "settled_at": iso(row.settled_at),
        "digest": row.digest.hex(),
        "from": row.sender,
        "subject": row.subject,
    }


def _print(found: "Sequence[DeliveryRow]") -> None:
    from fetchd.cli import output
    from fetchd.cli.words import instant

    if not found:
        output.say("No deliveries.")
        return
    head = ("ID", "QUEUED", "DESTINATION", "ACCOUNT", "STATE", "TRIES", "SUBJECT")
    rows = [
        (
            str(row.id),
            instant(row.queued_at),
            row.destination,
            row.account,
            _state(row),
            str(row.attempts),
            row.subject,
        )
        for row in found
    ]
    output.table(head, rows, right=("ID", "TRIES"))
    for reply, count in _replies(found).items():
        output.say(f"{count} x {reply}")


def _state(row: "DeliveryRow") -> str:
    open_still = row.state not in (State.DELIVERED, State.DROPPED)
    return f"{row.state}, may have arrived" if row.doubtful and open_still else row.state


def _replies(found: "Sequence[DeliveryRow]") -> dict[str, int]:
    """What destinations said of those that are not delivered, each once."""
    said: dict[str, int] = {}
    for row in found:
        if row.last_reply and row.state != State.DELIVERED:
            said[row.last_reply] = said.get(row.last_reply, 0) + 1
    return said


def _retry(
    settings: "Settings",
    ids: Sequence[int],
    destination: str,
    account: str,
    *,
    clear: bool,
    json: bool,
) -> bool:
    from datetime import UTC, datetime

    from fetchd.catalog import alerts, outbox
    from fetchd.cli import output
    from fetchd.cli.accounts import require
    from fetchd.cli.words import counted

    if not clear:
        raise UsageError(
            "say which deliveries: either IDs, or --all, --destination or --account",
            advice="'fetchd deliveries' shows them with their IDs.",
        )
    with _catalog(settings) as catalog:
        require(settings, catalog, [account] if account else [])
        _require_destination(settings, catalog, destination)
        _forgive(catalog, ids, destination, account)
        if ids:
            retried = outbox.retry(catalog, ids)
        else:
            retried = outbox.retry(catalog, destination=destination, account=account)
        alerts.end_failed(catalog, datetime.now(UTC))
    if ids:
        _require_change(retried, ids, "failed or deferred")
    if json:
        output.emit({"retried": retried})
    else:
        output.say(f"{counted(retried, 'delivery')} will be tried at the next sync.")
    return True


def _forgive(catalog: "Catalog", ids: Sequence[int], destination: str, account: str) -> None:
    """A destination that wanted time is asked at once, where it is what these go to."""
    from fetchd.catalog import outbox, reach

    if destination or not (ids or account):
        reach.forgive(catalog, destination)
        return
    for name in outbox.concerned(catalog, ids or None, account):
        reach.forgive(catalog, name)


def _drop(settings: "Settings", ids: Sequence[int], *, json: bool) -> bool:
    from datetime import UTC, datetime

    from fetchd.catalog import alerts, outbox
    from fetchd.cli import output
    from fetchd.cli.words import counted
    from fetchd.contracts import Commit
    from fetchd.pipeline.storage import commit, open_storage

    if not ids:
        raise UsageError(
            "say which deliveries to drop", advice="'fetchd deliveries' shows them with their IDs."
        )
    _require_catalog(settings)
    with open_storage(settings) as storage:
        dropped = outbox.drop(storage.catalog, ids)
        alerts.end_failed(storage.catalog, datetime.now(UTC))
        if dropped:  # into the journal too, lest a rebuild owes them again
            settled = tuple(outbox.dropped(storage.catalog, ids))
            commit(storage, (), lambda _: Commit(delivered=settled))
    _require_change(dropped, ids, "open")
    if json:
        output.emit({"dropped": dropped})
    else:
        output.say(f"{counted(dropped, 'delivery')} dropped.")
    return True


def _catalog(settings: "Settings") -> "Catalog":
    """The catalog to be changed; making one only to find nothing in it would be no help."""
    from fetchd.catalog.database import Catalog

    return Catalog(_require_catalog(settings))


def _require_catalog(settings: "Settings") -> "Path":
    from fetchd.pipeline.storage import data_paths

    path = data_paths(settings).catalog
    if not path.exists():
        raise UsageError(f"there is no catalog {path} yet", advice="Run 'fetchd sync' first.")
    return path


def _require_destination(settings: "Settings", catalog: "Catalog", name: str) -> None:
    """UsageError for a name that neither the settings nor the outbox have."""
    from fetchd.catalog import outbox

    known = {*settings.destinations, *outbox.counts(catalog)}
    if name and name not in known:
        advice = f"There are: {', '.join(sorted(known))}." if known else "There is none."
        raise UsageError(f"no destination is called {name}", advice=advice)


def _require_change(changed: int, ids: Sequence[int], needed: str) -> None:
    """Tell when not all of them could be changed; those that could are."""
    asked = len(set(ids))
    if changed < asked:
        left = asked - changed
        which = f"delivery {ids[0]} is" if asked == 1 else f"{left} of these {asked} deliveries are"
        raise UsageError(
            f"{which} not {needed}", advice="'fetchd deliveries' shows what is, with its state."
        )
