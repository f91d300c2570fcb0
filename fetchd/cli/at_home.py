"""The commands about what is stored here: names, options and help texts; see `main`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fetchd.cli.options import Config, Json, OfAccount, Sender, Since, Subject
from fetchd.cli.outcome import carry_out

at_home = typer.Typer(rich_markup_mode=None)


class Form(StrEnum):
    """What `export` writes."""

    EML = "eml"
    MBOX = "mbox"
    MAILDIR = "maildir"


@at_home.command()
def status(context: typer.Context, config: Config = None, json: Json = False) -> None:
    """How each account fares: last success, last error and what to do, what waits.

    Example: fetchd status
    """
    from fetchd.cli.status import status as work

    carry_out(context.obj, json, lambda s: work(s, json=json))


@at_home.command()
def history(
    context: typer.Context,
    account: Annotated[str, typer.Argument(metavar="[ACCOUNT]", help="All when left out.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many runs.")] = 20,
    config: Config = None,
    json: Json = False,
) -> None:
    """The runs, newest first, with durations and counts.

    Example: fetchd history work --limit 100
    """
    from fetchd.cli.status import history as work

    carry_out(context.obj, json, lambda s: work(s, account, limit, json=json))


@at_home.command()
def verify(
    context: typer.Context,
    restart: Annotated[
        bool, typer.Option("--restart", help="From the beginning, not where the last one stopped.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Read and hash every stored octet again; damage is named by message.

    Ctrl-C stops it, and the next one goes on from there.

    Example: fetchd verify
    """
    from fetchd.cli.upkeep import verify as work

    carry_out(context.obj, json, lambda s: work(s, restart=restart, json=json))


@at_home.command()
def rebuild(context: typer.Context, config: Config = None, json: Json = False) -> None:
    """Make a new catalog from the segments alone; the old one is kept beside it.

    Example: fetchd rebuild
    """
    from fetchd.cli.upkeep import rebuild as work

    carry_out(context.obj, json, lambda s: work(s, json=json))


@at_home.command("list")
def list_(
    context: typer.Context,
    account: OfAccount = "",
    since: Since = "",
    sender: Sender = "",
    subject: Subject = "",
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many; 0: all.")] = 50,
    config: Config = None,
    json: Json = False,
) -> None:
    """Stored messages, newest first.

    Example: fetchd list --from alice --since 7d
    """
    from fetchd.cli.messages import Filter, list_messages

    asked = Filter(account, since, sender, subject)
    carry_out(context.obj, json, lambda s: list_messages(s, asked, limit, json=json))


@at_home.command()
def show(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="A number of 'fetchd list', or a digest's beginning.")],  # noqa: A002
    raw: Annotated[
        bool, typer.Option("--raw", help="The exact octets, for a file or pipe.")
    ] = False,
    header: Annotated[bool, typer.Option("--header", help="The decoded header alone.")] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """One stored message: what it is, where it was seen, where it went, its header.

    Example: fetchd show 17 --raw > message.eml
    """
    from fetchd.cli.show import show as work

    carry_out(context.obj, json, lambda s: work(s, id, raw=raw, header=header, json=json))


@at_home.command()
def export(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A folder (eml, maildir) or file (mbox).")],
    form: Annotated[Form, typer.Option("--format", help="What to write.")],
    account: OfAccount = "",
    since: Since = "",
    sender: Sender = "",
    subject: Subject = "",
    config: Config = None,
    json: Json = False,
) -> None:
    """Copy stored messages out; what is there already is skipped, nothing is overwritten.

    eml: exact octets, a folder for each account and mailbox. mbox: mboxrd with LF.

    Example: fetchd export --format mbox --since 2026-01-01 mail.mbox
    """
    from fetchd.cli.export import export as work
    from fetchd.cli.messages import Filter

    asked = Filter(account, since, sender, subject)
    carry_out(context.obj, json, lambda s: work(s, asked, form.value, path, json=json))
