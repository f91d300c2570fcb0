"""The service and the commands that speak with it: names, options and help texts; see `main`."""

from typing import Annotated

import typer

from fetchd.cli.options import Accounts, Config, Json
from fetchd.cli.outcome import carry_out

serving = typer.Typer(rich_markup_mode=None)


@serving.command()
def serve(context: typer.Context, config: Config = None, json: Json = False) -> None:
    """Stay, and sync every account by its schedule; deliver, tidy up, and tell of trouble.

    SIGTERM and Ctrl-C finish what is under way, SIGHUP reads the settings again. One service
    for a data folder; other commands work beside it.

    Example: fetchd serve --config /etc/fetchd/fetchd.toml
    """
    from fetchd.daemon.signals import hold_hangups

    hold_hangups()
    from fetchd.cli.serve import serve as work

    carry_out(context.obj, json, work)


@serving.command()
def reload(context: typer.Context, config: Config = None, json: Json = False) -> None:
    """Let the service read its settings again; what is under way goes on.

    Exit code 2 where the file is wrong, 1 where the service refuses it or none is running;
    the old settings then stay.

    Example: fetchd reload
    """
    from fetchd.cli.reload import reload as work

    carry_out(context.obj, json, lambda s: work(s, json=json))


@serving.command()
def resume(
    context: typer.Context, accounts: Accounts = None, config: Config = None, json: Json = False
) -> None:
    """Let the service try accounts again that it has given up, a refused login say.

    Example: fetchd resume work
    """
    from fetchd.cli.reload import resume as work

    carry_out(context.obj, json, lambda s: work(s, accounts or (), json=json))


@serving.command()
def top(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Show it once, and whole.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.5, max=60.0, help="Seconds between two looks.")
    ] = 1.0,
    config: Config = None,
    json: Json = False,
) -> None:
    """What the service is doing now: accounts, syncs, destinations, rates; Ctrl-C ends it.

    Off a terminal, and with --json, once.

    Example: fetchd top --once
    """
    from fetchd.cli.top import top as work

    carry_out(context.obj, json, lambda s: work(s, interval, once=once, json=json))
