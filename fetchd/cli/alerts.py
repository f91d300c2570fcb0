"""`fetchd alerts`: what needs the owner, who was told of it, and whether the channels work."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fetchd.cli.options import Config, Json
from fetchd.cli.outcome import carry_out
from fetchd.errors import UsageError

if TYPE_CHECKING:  # these take time to import
    from collections.abc import Sequence

    from fetchd.alerting.tell import Tried
    from fetchd.catalog.alerts import Alert
    from fetchd.catalog.telling import Telling
    from fetchd.settings import Settings

alerts = typer.Typer(rich_markup_mode=None)


@alerts.callback(invoke_without_command=True)
@alerts.command("list", help="The same as 'fetchd alerts'.\n\nExample: fetchd alerts list --all")
def show(
    context: typer.Context,
    every: Annotated[
        bool, typer.Option("--all", help="Also those that are over, or were dismissed.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """What needs you: since when, why, what to do, and which channels were told.

    Example: fetchd alerts
    """
    if context.invoked_subcommand is None:
        carry_out(context.obj, json, lambda s: _show(s, every=every, json=json))


@alerts.command("test")
def try_channels(context: typer.Context, config: Config = None, json: Json = False) -> None:
    """Send a test through every channel of [alerts], and say how each went.

    Example: fetchd alerts test
    """
    carry_out(context.obj, json, lambda s: _try(s, json=json))


@alerts.command()
def dismiss(
    context: typer.Context,
    ids: Annotated[list[int], typer.Argument(metavar="ID", help="As 'fetchd alerts' shows it.")],
    config: Config = None,
    json: Json = False,
) -> None:
    """Show and tell no more of these, until they are over and happen anew.

    Example: fetchd alerts dismiss 12
    """
    carry_out(context.obj, json, lambda s: _dismiss(s, ids, json=json))


def _show(settings: "Settings", *, every: bool, json: bool) -> bool:
    from fetchd.catalog import alerts, telling
    from fetchd.catalog.database import Catalog
    from fetchd.cli import output
    from fetchd.pipeline.storage import data_paths

    with Catalog(data_paths(settings).catalog, read_only=True) as catalog:
        found = alerts.alerts(catalog, over=every)
        told = telling.tellings(catalog)
    if json:
        output.emit({"alerts": [_document(one, told) for one in found]})
        return True
    for one in found:
        _print(one, told)
    if not found:
        output.say("No alerts." if every else "No alerts last.")
    return True


def _try(settings: "Settings", *, json: bool) -> bool:
    import asyncio
    from datetime import UTC, datetime

    from fetchd.alerting.tell import try_channels
    from fetchd.cli import output

    tried = asyncio.run(try_channels(settings, datetime.now(UTC)))
    if not tried:
        raise UsageError(
            "[alerts] has no channel",
            advice="Set destinations, apprise, webhooks or command there; see docs/alerts.md.",
        )
    well = not any(one.failure for one in tried)
    if json:
        output.emit({"ok": well, "channels": [_trial(one) for one in tried]})
    else:
        _print_trials(tried)
    return well


def _dismiss(settings: "Settings", ids: "Sequence[int]", *, json: bool) -> bool:
    from datetime import UTC, datetime

    from fetchd.catalog import alerts
    from fetchd.catalog.database import Catalog
    from fetchd.cli import output
    from fetchd.pipeline.storage import data_paths

    path = data_paths(settings).catalog
    wanted = list(dict.fromkeys(ids))
    with Catalog(path, read_only=True) as catalog:
        lasting = {one.id for one in alerts.lasting(catalog).values()}
    if unknown := [str(one) for one in wanted if one not in lasting]:
        raise UsageError(
            f"no alert that lasts has the id {', '.join(unknown)}",
            advice="'fetchd alerts' shows them.",
        )
    with Catalog(path) as catalog:
        for one in wanted:
            alerts.dismiss(catalog, one, datetime.now(UTC))
    if json:
        output.emit({"dismissed": wanted})
    else:
        output.say(f"Dismissed: {', '.join(map(str, wanted))}")
    return True


# -- For programs -----------------------------------------------------------------


def _document(one: "Alert", told: "Sequence[Telling]") -> dict[str, Any]:
    from fetchd.cli.words import iso

    return {
        "id": one.id,
        "kind": one.kind,
        "subject": one.subject,
        "since": iso(one.raised_at),
        "last": iso(one.last_at),
        "over": iso(one.over_at),
        "dismissed": one.dismissed,
        "times": one.times,
        "sentence": one.sentence,
        "advice": one.advice,
        "told": [
            {
                "channel": t.channel,
                "event": t.event,
                "at": iso(t.told_at),
                "attempts": t.attempts,
                "error": t.last_error,
            }
            for t in told
            if t.alert_id == one.id
        ],
    }


def _trial(one: "Tried") -> dict[str, Any]:
    return {
        "channel": one.channel,
        "ok": not one.failure,
        "error": one.failure,
        "advice": one.advice,
    }


# -- For people -------------------------------------------------------------------


def _print(one: "Alert", told: "Sequence[Telling]") -> None:
    from datetime import UTC, datetime

    from fetchd.alerting.words import titled
    from fetchd.cli import output
    from fetchd.cli.words import ago, counted, instant

    now = datetime.now(UTC)
    state = " (dismissed)" if one.dismissed else ""
    output.say(f"{one.id}: {titled(one)}{state}")
    since = f"since {instant(one.raised_at)} ({ago(one.raised_at, now)})"
    over = f", over since {instant(one.over_at)}" if one.over_at else ""
    output.say(f"  {since}, {counted(one.times, 'time')}{over}")
    output.say(f"  {one.sentence}")
    if one.advice and not one.over_at:
        output.say(f"  {one.advice}")
    mine = [t for t in told if t.alert_id == one.id]
    if heard := [t for t in mine if t.told_at]:
        names = [f"{t.channel}{' (over)' if t.event == 'over' else ''}" for t in heard]
        output.say(f"  Told: {', '.join(names)}")
    for t in mine:
        if not t.told_at:
            output.say(f"  Not told yet: {t.channel}, {counted(t.attempts, 'attempt')}")
            output.say(f"    {t.last_error}")


def _print_trials(tried: "Sequence[Tried]") -> None:
    from fetchd.cli import output

    for one in tried:
        output.say(f"{one.channel}: {one.failure or 'took the message'}")
        if one.advice:
            output.say(f"  {one.advice}")
