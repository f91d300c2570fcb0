"""`fetchd init`: what proves who one is, where it is kept, and the login that shows it right.

A secret that is typed is used for the login at once and written only at the very end.
"""

import asyncio
import os
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fetchd.auth.preset import Secret
from fetchd.cli.init_answers import Given, Kept, Server
from fetchd.cli.init_keyring import is_usable
from fetchd.cli.init_person import Person
from fetchd.errors import AuthenticationFailed, SecretUnavailable, UsageError
from fetchd.pipeline.looking import existing_mailboxes
from fetchd.pipeline.untouched import untouched
from fetchd.policy.mailboxes import Mailbox
from fetchd.settings import Account
from fetchd.settings.account import by_protocol
from fetchd.sources import enter
from fetchd.telemetry import conceal
from fetchd.values import Struct

OPTIONS = "--password-file, --password-command, --password-env, --password-credential or "
OPTIONS += "--password-keyring (or --client-id, for OAuth2)"


class Looked(Struct, frozen=True):
    """What the account shows once one is in; None in place of it: nobody has been in."""

    mailboxes: tuple[Mailbox, ...]
    capabilities: tuple[str, ...]


def settle_secret(
    person: Person, given: Given, name: str, server: Server, folder: Path
) -> tuple[Kept, Looked | None]:
    """Where the secret is, or is to be, and what a login with it has shown."""
    if given.client_id:
        return _oauth2(person, given, server), None
    if given.password:
        return _given(person, given, name, server)
    if person.yes:
        raise UsageError("no password is at hand, and nobody may be asked", advice=OPTIONS)
    _advise(person, server)
    while True:
        kept = _asked(person, given, name, server, folder)
        if "oauth2" in kept.table:
            return kept, None
        try:
            return kept, _try(person, name, server, kept)
        except (AuthenticationFailed, SecretUnavailable) as error:
            person.tell(error.whole)


def _advise(person: Person, server: Server) -> None:
    preset = server.preset
    if preset is None:
        return
    if preset.secrets[0] is Secret.APP_PASSWORD:
        person.tell(f"{preset.title} wants an app password; make one: {preset.app_passwords}")
    for note in preset.notes:
        person.tell(note)


# -- Given on the command line -----------------------------------------------------


def _given(person: Person, given: Given, name: str, server: Server) -> tuple[Kept, Looked | None]:
    if len(given.password) > 1:
        names = " and ".join(setting for setting, _ in given.password)
        raise UsageError(f"{names} are given", advice="Give one of them.")
    ((setting, value),) = given.password
    kept = _written(setting, value)
    if setting == "password_credential" and not os.environ.get("CREDENTIALS_DIRECTORY"):
        person.tell("The login is not tried: systemd gives the password to the service alone.")
        return kept, None
    return kept, _try(person, name, server, kept)


def _written(setting: str, value: str) -> Kept:
    """A source that is there already."""
    shown: Any = value
    if setting == "password_file":
        shown = str(Path(value).expanduser().absolute())
    if setting == "password_command":
        shown = _words(value)
    return Kept({setting: shown}, f"{setting} = {value}")


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError:
        words = []
    if not words:
        raise UsageError(
            f"'{text}' is no command", advice='Write it as in a shell: "pass show work"'
        )
    return words


# -- Asked for ---------------------------------------------------------------------


def _asked(person: Person, given: Given, name: str, server: Server, folder: Path) -> Kept:
    ways: list[tuple[str, Callable[[], Kept]]] = [
        ("a file beside the settings, for your eyes only", lambda: _file(person, name, folder)),
        ("a command prints it, such as a password manager", lambda: _command(person)),
        ("a systemd credential (LoadCredential=)", lambda: _credential(person, name)),
    ]
    if is_usable():
        ways.insert(1, ("the keyring of this machine", lambda: _keyring(person, name)))
    default = 0
    if server.preset is not None and server.preset.issuer:
        ways.append(("OAuth2, no password", lambda: _oauth2(person, given, server)))
        default = len(ways) - 1 if server.preset.secrets[0] is Secret.OAUTH2 else 0
    if server.preset is not None and server.preset.secrets == (Secret.OAUTH2,):
        person.tell(f"{server.preset.title} takes OAuth2 only.")
        return ways[-1][1]()
    person.tell("Where the password is kept:")
    return ways[person.choose("Which", OPTIONS, [way for way, _ in ways], default)][1]()


def _file(person: Person, name: str, folder: Path) -> Kept:
    file = folder / f"{name}.password"
    if file.exists():
        person.tell(f"{file} is there; what is in it is used.")
        return Kept({"password_file": file.name}, f"in {file}")
    secret = _secret(person)
    return Kept({"password_file": file.name}, f"in {file}", file=file, secret=secret)


def _keyring(person: Person, name: str) -> Kept:
    service = f"fetchd-{name}"
    secret = _secret(person)
    return Kept({"password_keyring": service}, "in the keyring", service=service, secret=secret)


def _command(person: Person) -> Kept:
    def words(text: str) -> list[str]:
        try:
            return _words(text)
        except UsageError as error:
            raise ValueError(error.advice) from None

    return Kept(
        {"password_command": person.ask("Command (no shell)", "--password-command", words)},
        "by a command",
    )


def _credential(person: Person, name: str) -> Kept:
    person.tell(f"In the unit of the service: LoadCredential={name}:FILE")
    # The login is tried all the same, with what is typed and kept nowhere.
    return Kept({"password_credential": name}, "by systemd", secret=_secret(person))


def _secret(person: Person) -> str:
    secret = person.secret("Password (not shown)", OPTIONS)
    conceal(secret)
    return secret


def _oauth2(person: Person, given: Given, server: Server) -> Kept:
    issuer = server.preset.issuer if server.preset is not None else None
    if issuer is None:
        raise UsageError(
            f"fetchd knows no issuer of OAuth2 tokens for {server.host}",
            advice="Write its endpoints into oauth2 of the account by hand; see the README.",
        )
    person.tell(f"OAuth2 needs an application of yours at {issuer}; the README says how.")
    client = given.client_id or person.ask("Its client ID", "--client-id", _word)
    table: dict[str, Any] = {"provider": issuer, "client_id": client}
    secret = given.client_secret_file
    if not secret and not person.yes:
        question = 'File with its client secret ("-": it has none)'
        secret = person.ask(question, "--client-secret-file", _word, "-")
    if secret not in ("", "-"):
        table["client_secret_file"] = str(Path(secret).expanduser().absolute())
    return Kept({"oauth2": table}, "OAuth2")


def _word(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("something that can be read")
    return text


# -- The login -----------------------------------------------------------------------


def _try(person: Person, name: str, server: Server, kept: Kept) -> Looked:
    looked = asyncio.run(_look(account_of(name, server, kept)))
    person.tell(f"Logged in as {server.username}.")
    return looked


def account_of(name: str, server: Server, kept: Kept) -> Account:
    """As the settings will have it; with the password itself where that is not written yet."""
    proof = {"password": kept.secret} if kept.secret else kept.table
    if isinstance(proof.get("password_command"), list):
        proof = {"password_command": tuple(proof["password_command"])}
    try:
        account = by_protocol({**server.table(), **proof})
    except ValidationError as error:
        told = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        raise UsageError(f"that makes no account: {told}") from None
    account._name = name  # noqa: SLF001  # ours, set once at birth
    return account


async def _look(account: Account) -> Looked:
    session = await enter(account, Path(tempfile.gettempdir()))
    async with untouched(session):
        mailboxes = await existing_mailboxes(session)
        return Looked(tuple(mailboxes), session.facts.capabilities)
