"""The command `fetchd`: names, options and help texts; the work is in modules beside this one.

Nothing heavy is imported here: `--help` must answer at once, and every command
imports its module when it is called. What a command's work returns or raises
becomes an exit code in `outcome`.

To add a command: a function below with an example in its help, its work in a
module beside this one, its keys in docs/json.md, its row in tests/cli.
"""

import contextlib
import gc
import io
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fetchd import __version__
from fetchd.cli.deliveries import deliveries
from fetchd.cli.options import Accounts, Config, Json, OfAccount, Sender, Since, Subject
from fetchd.cli.outcome import carry_out

app = typer.Typer(
    name="fetchd",
    help="Brings mail home: remote accounts into a verified archive, and on to where mail goes.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.add_typer(deliveries, name="deliveries")


class Form(StrEnum):
    """What `export` writes."""

    EML = "eml"
    MBOX = "mbox"
    MAILDIR = "maildir"


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


@app.command()
def sync(
    context: typer.Context,
    accounts: Accounts = None,
    confirm_retire: Annotated[
        bool, typer.Option("--confirm-retire", help="Let the brake go for this round.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """One round: fetch what is new, store it, deliver it, thin the server.

    Ctrl-C and SIGTERM finish the batch in flight; a second one stops at once.

    Example: fetchd sync work private
    """
    from fetchd.cli.sync import sync as work

    carry_out(context.obj, json, lambda s: work(s, accounts or (), confirm_retire, json=json))


@app.command()
def plan(
    context: typer.Context,
    accounts: Accounts = None,
    details: Annotated[
        bool, typer.Option("--all", help="Every message, not the first of each kind.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """What a sync would do now, message by message and why; nothing is done.

    Example: fetchd plan work --all
    """
    from fetchd.cli.plan import plan as work

    carry_out(context.obj, json, lambda s: work(s, accounts or (), details=details, json=json))


@app.command()
def browse(
    context: typer.Context,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT")],
    mailbox: Annotated[
        str, typer.Argument(metavar="[MAILBOX]", help="Its messages. POP3 needs none.")
    ] = "",
    page: Annotated[int, typer.Option("--page", min=1, help="Which one; 1 is the newest.")] = 1,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Messages on a page.")] = 50,
    search: Annotated[
        str, typer.Option("--search", metavar="TEXT", help="Text in the From field or Subject.")
    ] = "",
    fetch: Annotated[
        list[str] | None,
        typer.Option("--fetch", metavar="UID", help="Fetch this one now; may be repeated."),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """What is on the server now, newest first, without downloading it; changes nothing there.

    Flags: D draft, F flagged, R answered, S seen, T deleted.

    --fetch brings single messages home, also those that a sync leaves out for their size.

    Example: fetchd browse work INBOX --search invoice
    """
    from fetchd.cli.browse import bring
    from fetchd.cli.browse import browse as work
    from fetchd.pipeline.browsing import Asked

    asked = Asked(page, limit, search)
    carry_out(
        context.obj,
        json,
        lambda s: (
            bring(s, account, mailbox, fetch, json=json)
            if fetch
            else work(s, account, mailbox, asked, json=json)
        ),
    )


@app.command()
def audit(
    context: typer.Context,
    accounts: Accounts = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Compare the header of each message too.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Server against archive, mailbox by mailbox; nothing is changed.

    Exit code 1 when something that should be here is not.

    Example: fetchd audit work --deep
    """
    from fetchd.cli.audit import audit as work

    carry_out(context.obj, json, lambda s: work(s, accounts or (), deep=deep, json=json))


@app.command()
def watch(
    context: typer.Context,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT")],
    mailbox: Annotated[
        str,
        typer.Option(
            "--mailbox", metavar="NAME", help="Hear of this one at once, if not of all; or INBOX."
        ),
    ] = "",
    sweep: Annotated[
        int, typer.Option("--sweep", min=1, help="Seconds after which to look at the others.")
    ] = 60,
    config: Config = None,
    json: Json = False,
) -> None:
    """Stay connected: print changes as they come, and sync the account at each; IMAP only.

    With --json each line is a document. Ctrl-C ends it.

    Example: fetchd watch work
    """
    from fetchd.cli.watch import watch as work

    carry_out(context.obj, json, lambda s: work(s, account, mailbox, sweep, json=json))


@app.command()
def status(context: typer.Context, config: Config = None, json: Json = False) -> None:
    """How each account fares: last success, last error and what to do, what waits.

    Example: fetchd status
    """
    from fetchd.cli.status import status as work

    carry_out(context.obj, json, lambda s: work(s, json=json))


@app.command()
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


@app.command()
def check(
    context: typer.Context, accounts: Accounts = None, config: Config = None, json: Json = False
) -> None:
    """Settings, permissions, and every server up to the login; changes nothing.

    Exit code 1 with errors, 0 with warnings only.

    Example: fetchd check work
    """
    from fetchd.cli.check import check as work

    carry_out(context.obj, json, lambda s: work(s, accounts or (), json=json))


@app.command()
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


@app.command()
def rebuild(context: typer.Context, config: Config = None, json: Json = False) -> None:
    """Make a new catalog from the segments alone; the old one is kept beside it.

    Example: fetchd rebuild
    """
    from fetchd.cli.upkeep import rebuild as work

    carry_out(context.obj, json, lambda s: work(s, json=json))


@app.command("list")
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


@app.command()
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


@app.command()
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


@app.command()
def restore(
    context: typer.Context,
    to: Annotated[str, typer.Option("--to", metavar="ACCOUNT", help="Where to: an IMAP account.")],
    account: Annotated[
        str, typer.Argument(metavar="[ACCOUNT]", help="Whose archived mail; see --from-account.")
    ] = "",
    from_account: Annotated[
        str,
        typer.Option(
            "--from-account",
            metavar="ACCOUNT",
            help="The same, also one that has left the settings.",
        ),
    ] = "",
    mailbox: Annotated[
        list[str] | None,
        typer.Option(
            "--mailbox", metavar="PATTERN", help="Of these mailboxes, as in the settings."
        ),
    ] = None,
    since: Since = "",
    into: Annotated[
        str, typer.Option("--into", metavar="MAILBOX", help="Below this mailbox.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Put archived mail back on an IMAP server; what is there already is skipped.

    Mailboxes, flags and dates as they were. It may be interrupted, and be run again.

    Example: fetchd restore work --to new --dry-run
    """
    from fetchd.cli.restore import Asked, put_back

    asked = Asked(account, from_account, to, tuple(mailbox or ()), since, into, dry_run)
    carry_out(context.obj, json, lambda s: put_back(s, asked, json=json))
