"""`fetchd login` and `fetchd logout`: names, options and help texts; see `main`."""

from typing import Annotated

import typer

from fetchd.cli.options import Config, Json
from fetchd.cli.outcome import carry_out

login_app = typer.Typer(rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="An account, or a destination.")]
OfDestination = Annotated[
    bool, typer.Option("--destination", help="NAME is a destination, where an account has it too.")
]


@login_app.command()
def login(
    context: typer.Context,
    name: Name,
    destination: OfDestination = False,
    device: Annotated[
        bool, typer.Option("--device", help="By a short code to be typed on another machine.")
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the page's address, open nothing.")
    ] = False,
    paste: Annotated[
        bool, typer.Option("--paste", help="Listen for nothing: the answer is pasted here.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Get a token by OAuth2, store it, and try it on the server at once.

    Without a display the page's address is printed. Consent there, in a browser anywhere; its
    last page may not load: paste that page's address here.

    Exit code 1 where no token was given, or the server does not take it.

    Example: fetchd login work --no-browser
    """
    from fetchd.cli.tokens import Wish
    from fetchd.cli.tokens import login as work

    wish = Wish(name, destination, device=device, browser=not (no_browser or paste), paste=paste)
    carry_out(context.obj, json, lambda s: work(s, wish, json=json))


@login_app.command()
def logout(
    context: typer.Context,
    name: Name,
    destination: OfDestination = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Revoke the token where the provider can be told, and forget it.

    Example: fetchd logout work
    """
    from fetchd.cli.tokens import logout as work

    carry_out(context.obj, json, lambda s: work(s, name, destination=destination, json=json))
