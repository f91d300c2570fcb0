"""`fetchd init`: which mailboxes, for how long, how often, and where to."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fetchd.auth.preset import UNLIMITED
from fetchd.cli.init_answers import Given, Server
from fetchd.cli.init_person import Person, Reading
from fetchd.cli.init_secret import Looked
from fetchd.errors import UsageError
from fetchd.policy.mailboxes import EVERYTHING, unmatched
from fetchd.policy.patterns import pattern
from fetchd.policy.schedule import Push
from fetchd.settings.running import schedule as read_schedule
from fetchd.settings.values import days

USUAL_INTERVAL = 300  # seconds, as service.schedule has it
SHOWN = 20  # mailboxes
USUAL_MAILDIR = "~/Maildir"


def settle_name(person: Person, given: Given, server: Server, taken: Collection[str]) -> str:
    """The NAME of [accounts.NAME], which nobody has yet."""

    def free(text: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
            raise ValueError("letters, digits, - and _")
        if text in taken:
            raise ValueError(f"another name: there is an account {text} already")
        return text

    if given.name:
        return read("--name", given.name, free)
    return person.ask("Name of the account here", "--name", free, _proposed(server, taken))


def _proposed(server: Server, taken: Collection[str]) -> str:
    local, _, domain = server.username.rpartition("@")
    label = domain.split(".")[0] if local else server.host.split(".")[-2:][0]
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", server.preset.name if server.preset else label)
    names = [plain or "mail", *(f"{plain or 'mail'}{number}" for number in range(2, 1000))]
    return next(name for name in names if name not in taken)


def settle_mailboxes(
    person: Person, given: Given, server: Server, looked: Looked | None
) -> tuple[str, ...]:
    """Patterns for `mailboxes`; a provider's own proposal where its mailboxes are there."""
    if server.protocol != "imap" and given.mailboxes:
        raise UsageError(
            "--mailbox is for IMAP; the server speaks POP3",
            advice="Leave it out, or name an IMAP server.",
        )
    if server.protocol != "imap":
        return EVERYTHING
    there = looked.mailboxes if looked is not None else ()
    if given.mailboxes:
        chosen = tuple(read("--mailbox", one, _pattern) for one in given.mailboxes)
    else:
        _show(person, looked)
        proposed = server.preset.mailboxes if server.preset is not None else EVERYTHING
        if there and unmatched(there, proposed):
            proposed = EVERYTHING
        question = 'Which of them (patterns with commas between; "*" is all)'
        chosen = person.ask(question, "--mailbox", _patterns, ", ".join(proposed))
    for one in unmatched(there, chosen) if there else ():
        person.tell(f"No mailbox fits '{one}' now.")
    return chosen


def _show(person: Person, looked: Looked | None) -> None:
    if looked is None:
        return
    person.tell("Mailboxes there:")
    for mailbox in looked.mailboxes[:SHOWN]:
        person.tell(f"  {mailbox.name}" + (f"  ({mailbox.role})" if mailbox.role else ""))
    if len(looked.mailboxes) > SHOWN:
        person.tell(f"  and {len(looked.mailboxes) - SHOWN} more")


def _patterns(text: str) -> tuple[str, ...]:
    found = tuple(_pattern(one.strip()) for one in text.split(",") if one.strip())
    if not found:
        raise ValueError('at least one pattern, such as "*"')
    return found


def _pattern(text: str) -> str:
    pattern(text)  # a ValueError says what is allowed
    return text


def settle_leave(person: Person, given: Given) -> str:
    """What stays on the server."""
    if given.leave:
        return read("--leave-on-server", given.leave, _leave)
    question = 'How long mail stays on the server ("forever", "none", or days such as "30d")'
    return person.ask(question, "--leave-on-server", _leave, "forever")


def _leave(text: str) -> str:
    if text in ("forever", "none"):
        return text
    try:
        days(text)
    except ValueError:
        raise ValueError('"forever", "none" or a number of days such as "30d"') from None
    return text


def settle_schedule(person: Person, given: Given, server: Server, looked: Looked | None) -> str:
    """When to look for mail: pushed where the server can, else no oftener than it likes."""

    def fitting(text: str) -> str:
        if isinstance(read_schedule(text), Push) and server.protocol != "imap":
            raise ValueError("an interval or a crontab line: POP3 has no IDLE")
        return text

    if given.schedule:
        return read("--schedule", given.schedule, fitting)
    offered = looked.capabilities if looked is not None else server.capabilities
    caps = server.preset.caps(server.protocol) if server.preset is not None else UNLIMITED
    floor = caps.poll_floor.total_seconds() if caps.poll_floor else 0
    minutes = -(-max(USUAL_INTERVAL, floor) // 60)
    usual = "idle" if server.protocol == "imap" and "IDLE" in offered else f"{minutes:.0f}m"
    question = (
        "When to look for mail ("
        + ('"idle": at once, ' if server.protocol == "imap" else "")
        + 'an interval such as "5m", a crontab line, "manual")'
    )
    return person.ask(question, "--schedule", fitting, usual)


def settle_destination(
    person: Person, given: Given, destinations: Mapping[str, Any], folder: Path
) -> tuple[str, str]:
    """The destination's name, and its path if it is a new one; ("", ""): the archive alone."""
    if given.archive_only:
        return "", ""
    maildirs = [
        name
        for name, table in destinations.items()
        if isinstance(table, dict) and table.get("kind") == "maildir"
    ]
    if given.maildir:
        wanted = read("--maildir", given.maildir, _path)
    else:
        known = f" or one of {', '.join(destinations)}" if destinations else ""
        question = f'Where mail is delivered: a Maildir{known} ("-": nowhere, archive only)'
        usual = next(iter(maildirs), USUAL_MAILDIR)
        wanted = person.ask(question, "--maildir", _path, usual)
    if wanted == "-":
        return "", ""
    if wanted in destinations:
        return wanted, ""
    for name in maildirs:
        if _same(str(destinations[name].get("path", "")), wanted, folder):
            return name, ""
    names = ["home", *(f"home{number}" for number in range(2, 1000))]
    return next(name for name in names if name not in destinations), _whole(wanted)


def _path(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("a path")
    return text


def _whole(path: str) -> str:
    """Relative to where the person is, who does not know where the settings will be."""
    return path if path.startswith(("~", "/")) else str(Path.cwd() / path)


def _same(known: str, wanted: str, folder: Path) -> bool:
    return bool(known) and (folder / Path(known).expanduser()) == Path(_whole(wanted)).expanduser()


def read(option: str, text: str, reading: "Reading[str]") -> str:
    """An option's value, or what is wrong with it."""
    try:
        return reading(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: expected {error}") from None
