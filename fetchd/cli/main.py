"""The command `fetchd`: what all commands have in common; the work is in modules beside this one.

Nothing heavy is imported here: `--help` must answer at once, and every command
imports its module when it is called. What a command's work returns or raises
becomes an exit code in `outcome`.

To add a command: a function in `on_servers` or `at_home` with an example in its help, its
work in a module beside them, its keys in docs/json.md, its row in tests/cli.
"""

import contextlib
import gc
import io
import os
import sys
from typing import Annotated

import typer

from fetchd import __version__
from fetchd.cli.alerts import alerts
from fetchd.cli.at_home import at_home
from fetchd.cli.deliveries import deliveries
from fetchd.cli.init import init
from fetchd.cli.login import login_app
from fetchd.cli.on_servers import on_servers
from fetchd.cli.options import Config
from fetchd.cli.serving import serving
from fetchd.cli.systemd import systemd

app = typer.Typer(
    name="fetchd",
    help="Brings mail home: remote accounts into a verified archive, and on to where mail goes.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.add_typer(on_servers)
app.add_typer(at_home)
app.add_typer(deliveries, name="deliveries")
app.add_typer(serving)
app.add_typer(init)
app.add_typer(alerts, name="alerts")
app.add_typer(systemd, name="systemd")
app.add_typer(login_app)


def main() -> None:
    """Run the command line and exit with its code."""
    gc.disable()  # nothing that is imported is ever garbage; see outcome.carry_out
    # Looking for plugins reads the metadata of every installed package: 12 ms.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _prepare_streams()
    app()


def _prepare_streams() -> None:
    """Let no closed stream and no odd locale end a command halfway."""
    with contextlib.suppress(OSError):
        # A closed 0, 1 or 2 would be given to the next file that is opened.
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"fetchd {__version__}")
        raise typer.Exit


@app.callback()
def options(
    config: Config = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Brings mail home: remote accounts into a verified archive, and on to where mail goes.

    Example: fetchd --config ~/fetchd.toml sync
    """
