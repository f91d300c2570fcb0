"""`fetchd init`: its name, options and help text; the work is in `init_work`.

Every question has an option, so that a script can answer all of them.
"""

from enum import StrEnum
from typing import Annotated

import typer

from fetchd.cli.options import Config, Json
from fetchd.cli.outcome import conclude

init = typer.Typer(rich_markup_mode=None)


class Protocol(StrEnum):
    """How mail is fetched."""

    IMAP = "imap"
    POP3 = "pop3"


class Tls(StrEnum):
    """How the line is secured."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


@init.command("init")
def begin(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="[ADDRESS]", help="Yours, there.")] = "",
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="What the account is called here.")
    ] = "",
    protocol: Annotated[
        Protocol | None, typer.Option("--protocol", help="Only servers of this protocol.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="This server; none is looked for.")
    ] = "",
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="With --host.")
    ] = None,
    tls: Annotated[Tls | None, typer.Option("--tls", help="With --host.")] = None,
    username: Annotated[str, typer.Option("--username", metavar="NAME", help="To log in.")] = "",
    password_file: Annotated[
        str, typer.Option("--password-file", metavar="FILE", help="The password is in it.")
    ] = "",
    password_command: Annotated[
        str, typer.Option("--password-command", metavar="COMMAND", help="It prints the password.")
    ] = "",
    password_env: Annotated[
        str, typer.Option("--password-env", metavar="NAME", help="An environment variable has it.")
    ] = "",
    password_credential: Annotated[
        str, typer.Option("--password-credential", metavar="NAME", help="systemd gives it.")
    ] = "",
    password_keyring: Annotated[
        str, typer.Option("--password-keyring", metavar="SERVICE", help="The keyring has it.")
    ] = "",
    client_id: Annotated[
        str, typer.Option("--client-id", metavar="ID", help="OAuth2 in place of a password.")
    ] = "",
    client_secret_file: Annotated[
        str, typer.Option("--client-secret-file", metavar="FILE", help="With --client-id.")
    ] = "",
    ca_file: Annotated[
        str, typer.Option("--ca-file", metavar="FILE", help="Authorities to trust.")
    ] = "",
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", metavar="SHA256", help="The certificate's, pinned.")
    ] = "",
    mailbox: Annotated[
        list[str] | None,
        typer.Option("--mailbox", metavar="PATTERN", help="As in the settings; may be repeated."),
    ] = None,
    leave: Annotated[
        str,
        typer.Option("--leave-on-server", metavar="HOW", help="forever, none, or days: 30d."),
    ] = "",
    maildir: Annotated[
        str, typer.Option("--maildir", metavar="PATH", help="Mail is delivered there.")
    ] = "",
    archive_only: Annotated[
        bool, typer.Option("--archive-only", help="Mail is delivered nowhere.")
    ] = False,
    schedule: Annotated[
        str, typer.Option("--schedule", metavar="WHEN", help="idle, manual, 5m, a crontab line.")
    ] = "",
    data_dir: Annotated[
        str, typer.Option("--data-dir", metavar="PATH", help="Of a new settings file.")
    ] = "",
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: options and defaults decide.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Set an account up: find its servers, try them and the login, write the settings, check.

    A settings file that is there keeps its text; the account is appended. No password is ever
    written into it.

    Example: fetchd init me@example.org
    """
    from fetchd.cli.init_answers import Given
    from fetchd.cli.init_work import set_up

    sources = {
        "password_file": password_file,
        "password_command": password_command,
        "password_env": password_env,
        "password_credential": password_credential,
        "password_keyring": password_keyring,
    }
    given = Given(
        address, name, str(protocol or ""), host, port or 0, str(tls or ""), username,
        tuple((setting, value) for setting, value in sources.items() if value),
        client_id, client_secret_file, ca_file, fingerprint, tuple(mailbox or ()), leave, maildir,
        archive_only, schedule, data_dir,
    )  # fmt: skip
    conclude(json, lambda: set_up(context.obj, given, yes=yes, json=json))
