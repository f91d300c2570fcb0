"""The commands `fetchd systemd …`: names, options, help texts; see `systemd_install`."""

from typing import Annotated

import typer

from fetchd.cli.options import Config, Json
from fetchd.cli.outcome import carry_out, conclude

systemd = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="The units by which systemd runs fetchd. Example: fetchd systemd show",
)
Personal = Annotated[
    bool, typer.Option("--user", help="Units of your own service manager, without root.")
]
Timer = Annotated[
    bool, typer.Option("--timer", help="A round by the clock, in place of a service that stays.")
]
RunAs = Annotated[
    str,
    typer.Option(
        "--run-as", metavar="USER", help="As this user; else as the owner of where mail goes."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show it and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


@systemd.command()
def show(
    context: typer.Context,
    user: Personal = False,
    timer: Timer = False,
    run_as: RunAs = "",
    config: Config = None,
    json: Json = False,
) -> None:
    """Print the units that install would write.

    Example: fetchd systemd show --timer
    """
    from fetchd.cli.systemd_install import Asked
    from fetchd.cli.systemd_install import show as work

    asked = Asked(user, timer, run_as)
    carry_out(context.obj, json, lambda s: work(s, asked, json=json))


@systemd.command()
def install(
    context: typer.Context,
    user: Personal = False,
    timer: Timer = False,
    run_as: RunAs = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Write the units, enable and start them, after showing what changes and asking.

    Folders, user and credentials follow from the settings; what would keep the service
    from its work is told first, and then nothing is written.

    Example: fetchd systemd install --user --dry-run
    """
    from fetchd.cli.systemd_install import Asked
    from fetchd.cli.systemd_install import install as work

    asked = Asked(user, timer, run_as, dry_run, yes)
    carry_out(context.obj, json, lambda s: work(s, asked, json=json))


@systemd.command()
def uninstall(
    context: typer.Context,
    user: Personal = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Stop, disable and remove the units that install wrote; mail and settings stay.

    Example: fetchd systemd uninstall --user
    """
    from fetchd.cli.systemd_install import Asked
    from fetchd.cli.systemd_install import uninstall as work

    asked = Asked(personal=user, dry_run=dry_run, yes=yes)
    conclude(json, lambda: work(asked, json=json))
