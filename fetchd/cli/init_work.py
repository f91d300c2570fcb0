"""`fetchd init`: from an address to an account that works.

The order is the safety argument: the settings that are there are read first, the server is
tried before anybody is asked for a password, the login before anything is written, and what
is written is shown before. Until then Ctrl-C leaves no trace.
"""

import asyncio
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fetchd.cli import output
from fetchd.cli.check import check as tell_check
from fetchd.cli.init_answers import Answers, Given, Kept
from fetchd.cli.init_file import kept_secret, put_settings
from fetchd.cli.init_person import Person
from fetchd.cli.init_rest import (
    settle_destination,
    settle_leave,
    settle_mailboxes,
    settle_name,
    settle_schedule,
)
from fetchd.cli.init_secret import settle_secret
from fetchd.cli.init_server import find_server
from fetchd.cli.init_text import document, joined, new_file, tables
from fetchd.discovery.discover import Means
from fetchd.errors import SettingsError, UsageError
from fetchd.pipeline.check import check
from fetchd.settings import Settings, find, load
from fetchd.values import Struct, asdict


class Before(Struct, frozen=True):
    """What was there: the file's text, None if there is none, and its tables."""

    text: str | None
    data: dict[str, Any]

    def names(self, section: str) -> dict[str, Any]:
        """The tables of accounts or destinations."""
        found = self.data.get(section)
        return found if isinstance(found, dict) else {}


def set_up(
    config: Path | None,
    given: Given,
    *,
    yes: bool,
    json: bool,
    environ: Mapping[str, str] = os.environ,
    means: Means | None = None,
) -> bool:
    """Ask, try, write, check; whether the check found no error."""
    _agree(given)
    person = Person(yes, json)
    file = settings_file(config, environ).absolute()
    before = _before(file, environ)
    if before.text is not None and given.data_dir:
        raise UsageError("--data-dir is for a new file", advice=f"Change data_dir in {file}.")
    answers = _answers(person, given, file, before, means)
    person.tell()
    text = joined(before.text, answers) if before.text is not None else new_file(answers)
    for line in (tables(answers) if before.text is not None else text).splitlines():
        person.tell(f"  {line}")
    person.tell()
    question = f"Append this to {file}?" if before.text is not None else f"Write {file}?"
    if not person.agrees(question, "--yes"):
        person.tell("Nothing was written.")
        return False
    with kept_secret(answers.kept, answers.server.username):
        put_settings(file, text, before.text, environ)
    person.tell(f"Written: {file}")
    return _end(person, answers, load(file, environ), json=json)


def _agree(given: Given) -> None:
    """No option is given that another one makes void."""
    needed = (
        ("--port", given.port, "--host", given.host),
        ("--tls", given.tls, "--host", given.host),
        ("--client-secret-file", given.client_secret_file, "--client-id", given.client_id),
    )
    for option, value, other, there in needed:
        if value and not there:
            raise UsageError(f"{option} is for {other}", advice=f"Give {other}, or leave it out.")
    opposed = (
        ("--archive-only", given.archive_only, "--maildir", bool(given.maildir)),
        ("--client-id", bool(given.client_id), "a source of a password", bool(given.password)),
        ("--mailbox", bool(given.mailboxes), "--protocol pop3", given.protocol == "pop3"),
    )
    for one, is_given, another, is_too in opposed:
        if is_given and is_too:
            raise UsageError(f"{one} and {another} exclude each other", advice="Give one of them.")


def settings_file(config: Path | None, environ: Mapping[str, str]) -> Path:
    """The file that is named, or that fetchd would read, or the first it would look for."""
    try:
        return find(config, environ)
    except SettingsError:
        if os.geteuid() == 0:
            return Path("/etc/fetchd/fetchd.toml")
        home = environ.get("XDG_CONFIG_HOME") or "~/.config"
        return Path(home).expanduser() / "fetchd" / "fetchd.toml"


def _before(file: Path, environ: Mapping[str, str]) -> Before:
    """What is there; it must be right before anything joins it."""
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return Before(None, {})
    except (OSError, UnicodeDecodeError):
        load(file, environ)  # says why it cannot be read
        raise
    try:
        data = tomllib.loads(text)
    except ValueError:
        load(file, environ)  # says where it is wrong
        raise
    if data.get("accounts"):  # without any, it is not yet whole, and will be
        load(file, environ)
    return Before(text, data)


def _answers(
    person: Person, given: Given, file: Path, before: Before, means: Means | None
) -> Answers:
    server = find_server(person, given, means)
    name = settle_name(person, given, server, before.names("accounts"))
    kept, looked = settle_secret(person, given, name, server, file.parent)
    mailboxes = settle_mailboxes(person, given, server, looked)
    leave = settle_leave(person, given)
    destination, maildir = settle_destination(
        person, given, before.names("destinations"), file.parent
    )
    schedule = settle_schedule(person, given, server, looked)
    return Answers(
        name, server, kept, mailboxes, leave, schedule, destination, maildir, given.data_dir
    )


def _end(person: Person, answers: Answers, settings: Settings, *, json: bool) -> bool:
    """Check what was written, as far as that can be done now, and say what comes next."""
    well, findings = True, []
    first = _first(answers.kept, answers.name)
    if first:
        person.tell(first)
    elif json:
        findings = [asdict(one) for one in asyncio.run(check(settings, [answers.name]))]
        well = not any(finding["level"] == "error" for finding in findings)
    else:
        person.tell()
        well = tell_check(settings, [answers.name], json=False)
    if json:
        output.emit(document(answers, str(settings.path), findings))
    elif well and not first:
        person.tell(f"Next: 'fetchd sync {answers.name}' once, or 'fetchd serve' for good.")
    return well


def _first(kept: Kept, name: str) -> str:
    """What must be done before a check can tell anything."""
    if "oauth2" in kept.table:
        return f"Next: 'fetchd login {name}', then 'fetchd check {name}'."
    if "password_credential" in kept.table and not os.environ.get("CREDENTIALS_DIRECTORY"):
        credential = kept.table["password_credential"]
        return f"Next: LoadCredential={credential}:FILE in the unit of the service."
    return ""
