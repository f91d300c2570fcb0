"""The answers as a commented settings file, or as the tables that join one. Pure."""

import json
from typing import Any

from fetchd.cli.init_answers import Answers

_HEAD = """\
# fetchd settings, begun by 'fetchd init'. settings.example.toml shows every setting there is;
# after a change, 'fetchd check' tells whether all is well.

# Archive and catalog live here.
"""
DATA_DIR = "~/.local/share/fetchd"


def new_file(answers: Answers) -> str:
    """A whole file."""
    folder = answers.data_dir
    line = f"data_dir = {toml(folder)}" if folder else f"# data_dir = {toml(DATA_DIR)}"
    return f"{_HEAD}{line}\n\n{tables(answers)}"


def tables(answers: Answers) -> str:
    """[accounts.NAME], and [destinations.NAME] if that is new."""
    text = "\n".join(_account(answers))
    if answers.maildir:
        text += "\n\n" + "\n".join(_destination(answers))
    return f"{text}\n"


def joined(before: str, answers: Answers) -> str:
    """An existing file, whose text stays as it is, and the tables behind it."""
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    return f"{before}{gap}{tables(answers)}"


def toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    # A basic string is JSON's, but for escapes by halves, and DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _account(answers: Answers) -> list[str]:
    server = answers.server
    lines = [f"[accounts.{answers.name}]"]
    if server.preset is not None:
        lines.append(f"# {server.preset.title}; fetchd knows its limits, see docs/providers.md.")
    lines += [f"{key} = {toml(value)}" for key, value in server.table().items()]
    if server.preset is not None and server.host.startswith("127."):
        lines.append(f"provider = {toml(server.preset.name)}")
    lines += ["", "# The secret itself is not in this file."]
    lines += [f"{key} = {toml(value)}" for key, value in answers.kept.table.items()]
    if server.protocol == "imap":
        lines += ["", '# "*" is everything; "!" excludes: ["*", "!\\\\Junk"]']
        lines.append(f"mailboxes = {toml(answers.mailboxes)}")
    lines += ["", '# "forever", "none", or a window: { days = 14 }']
    lines.append(f"leave_on_server = {_leave(answers.leave)}")
    lines += ["", *_schedule(answers), ""]
    lines.append("# Empty: mail is archived only.")
    lines.append(f"deliver_to = {toml([answers.destination] if answers.destination else [])}")
    return lines


def _leave(leave: str) -> str:
    return toml(leave) if leave in ("forever", "none") else toml({"days": leave})


def _schedule(answers: Answers) -> list[str]:
    push = ', "idle"' if answers.server.protocol == "imap" else ""
    return [
        f"# For 'fetchd serve': an interval, a crontab line{push} or \"manual\"",
        f"schedule = {toml(answers.schedule)}",
    ]


def _destination(answers: Answers) -> list[str]:
    return [
        f"[destinations.{answers.destination}]",
        'kind = "maildir"',
        f"path = {toml(answers.maildir)}",
    ]


def document(answers: Answers, file: str, findings: list[dict[str, Any]]) -> dict[str, Any]:
    """What --json prints."""
    server = answers.server
    return {
        "ok": not any(finding["level"] == "error" for finding in findings),
        "file": file,
        "account": answers.name,
        "protocol": server.protocol,
        "host": server.host,
        "port": server.port,
        "tls": server.tls,
        "username": server.username,
        "provider": server.preset.name if server.preset else None,
        "found": server.found,
        "secret": next(iter(answers.kept.table)),
        "mailboxes": list(answers.mailboxes),
        "leave_on_server": answers.leave,
        "schedule": answers.schedule,
        "destination": answers.destination or None,
        "findings": findings,
    }
