"""The commands that speak with servers: names, options and help texts; see `main`."""

from typing import Annotated

import typer

from fetchd.cli.options import Accounts, Config, Json, Sender, Since, Subject
from fetchd.cli.outcome import carry_out

on_servers = typer.Typer(rich_markup_mode=None)


@on_servers.command()
def sync(
    context: typer.Context,
    accounts: Accounts = None,
    confirm_retire: Annotated[
        bool, typer.Option("--confirm-retire", help="Let the brake go for this round.")
    ] = False,
    here: Annotated[
        bool, typer.Option("--here", help="In this process, though a service runs.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """One round: fetch what is new, store it, deliver it, thin the server.

    Ctrl-C and SIGTERM finish the batch in flight; a second one stops at once.

    Where 'fetchd serve' runs for the data folder, it does the round; Ctrl-C then only stops
    watching it.

    Example: fetchd sync work private
    """
    from fetchd.cli.sync import sync as work

    names = accounts or ()
    carry_out(context.obj, json, lambda s: work(s, names, confirm_retire, here=here, json=json))


@on_servers.command()
def plan(
    context: typer.Context,
    accounts: Accounts = None,
    message: Annotated[
        str | None,
        typer.Option(
            "--message", metavar="ID", help="Not a sync: where this archived message goes, and why."
        ),
    ] = None,
    account: Annotated[
        str, typer.Option("--account", metavar="ACCOUNT", help="The same as [ACCOUNT].")
    ] = "",
    details: Annotated[
        bool, typer.Option("--all", help="Every message, not the first of each kind.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """What a sync would do now, message by message and why; nothing is done.

    With --message, no server is asked: routes, destinations, and what was delivered already.

    Example: fetchd plan work --all
    """
    from fetchd.cli.plan import plan as work
    from fetchd.cli.plan_message import plan_message

    names = [*(accounts or ()), *([account] if account else ())]
    carry_out(
        context.obj,
        json,
        lambda s: (
            plan_message(s, message, names, details=details, json=json)
            if message is not None
            else work(s, names, details=details, json=json)
        ),
    )


@on_servers.command()
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


@on_servers.command()
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


@on_servers.command()
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


@on_servers.command()
def check(
    context: typer.Context, accounts: Accounts = None, config: Config = None, json: Json = False
) -> None:
    """Settings, permissions, and every server up to the login; changes nothing.

    Exit code 1 with errors, 0 with warnings only.

    Example: fetchd check work
    """
    from fetchd.cli.check import check as work

    carry_out(context.obj, json, lambda s: work(s, accounts or (), json=json))


@on_servers.command()
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


@on_servers.command()
def deliver(
    context: typer.Context,
    destinations: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DESTINATION]...", help="All destinations when left out."),
    ] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Deliver what is owed and due, without fetching: for a timer of its own.

    Exit code 1 when something is left because of a failure.

    Example: fetchd deliver home
    """
    from fetchd.cli.deliver import deliver as work

    carry_out(context.obj, json, lambda s: work(s, destinations or (), json=json))


@on_servers.command()
def redeliver(
    context: typer.Context,
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="Whose archived mail.")],
    to: Annotated[str, typer.Option("--to", metavar="DESTINATION", help="Where to.")],
    since: Since = "",
    sender: Sender = "",
    subject: Subject = "",
    mailbox: Annotated[
        list[str] | None,
        typer.Option(
            "--mailbox", metavar="PATTERN", help="Of these mailboxes, as in the settings."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also what was delivered there before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Archived messages to a destination, at once; what was delivered there is left out.

    It may be interrupted, and be run again. Old mail goes too, whatever first_sync says.

    With --again, a Maildir or an IMAP server gets what it does not have any more.

    Example: fetchd redeliver work --to home --since 30d --dry-run
    """
    from fetchd.cli.redeliver import Asked, send_again

    asked = Asked(account, to, tuple(mailbox or ()), since, sender, subject, again, dry_run)
    carry_out(context.obj, json, lambda s: send_again(s, asked, json=json))


@on_servers.command("test-delivery")
def try_delivery(
    context: typer.Context,
    destination: Annotated[str, typer.Argument(metavar="DESTINATION")],
    config: Config = None,
    json: Json = False,
) -> None:
    """Send one labelled message there now, and say how far it came.

    Neither archive nor outbox know of it.

    Example: fetchd test-delivery home
    """
    from fetchd.cli.trial import send_one as work

    carry_out(context.obj, json, lambda s: work(s, destination, json=json))
