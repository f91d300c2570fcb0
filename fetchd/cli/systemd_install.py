"""`fetchd systemd`: units shown, written, enabled, and taken away again.

Nothing is written before it was shown, as a difference to what is there, and agreed to. What
is installed is either the service or the timer, with the weekly verification; installing one
takes the other away, since both would ask the servers. A unit that somebody wrote by hand is
replaced only by being shown too, and never removed.
"""

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fetchd.cli import output
from fetchd.cli.systemd_machine import Found, machine_of, notes_on_timer, our_user
from fetchd.cli.systemd_manager import is_running, make_user, put, systemctl
from fetchd.cli.systemd_units import MARK, SERVICE, TIMER, USER, VERIFY, units, users
from fetchd.errors import UsageError
from fetchd.settings import Settings
from fetchd.values import Struct, replace

SYSTEM = Path("/etc/systemd/system")
USERS = Path("/etc/sysusers.d/fetchd.conf")
ALL = (*SERVICE, *TIMER, *VERIFY)


class Asked(Struct, frozen=True):
    """What the command line says."""

    personal: bool = False
    timer: bool = False
    run_as: str = ""
    dry_run: bool = False
    yes: bool = False


class Change(Struct, frozen=True):
    """A unit's file: what it holds and what it shall hold; None: no file."""

    path: Path
    before: str | None
    after: str | None

    @property
    def kind(self) -> str:
        """In a word."""
        if self.before is None:
            return "new"
        if self.after is None:
            return "removed"
        return "same" if self.before == self.after else "changed"


def show(settings: Settings, asked: Asked, *, json: bool) -> bool:
    """Print the units that `install` would write."""
    found = _found(settings, asked)
    changes = _changes(found, asked)
    if json:
        output.emit(_document(changes, found, asked, installed=False))
        return True
    for change in changes:
        if change.after is not None:
            output.say(f"# {change.path}")
            for line in change.after.splitlines():
                output.say(line)
            output.say()
    return True


def install(settings: Settings, asked: Asked, *, json: bool) -> bool:
    """Show, ask, write, enable and start."""
    _require_right(asked)
    found = _found(settings, asked)
    changes = _changes(found, asked)
    if not json:
        _tell_changes(changes)
        _tell_notes(found)
    if asked.dry_run:
        _tell_obstacles(found, json=json)
    else:
        _require_no_obstacle(found)
        _agree(asked, "Write and enable these?")
        _carry_out(changes, asked)
    if json:
        output.emit(_document(changes, found, asked, installed=not asked.dry_run))
    elif not asked.dry_run:
        _tell_done(asked)
    return True


def uninstall(asked: Asked, *, json: bool) -> bool:
    """Stop, disable and remove what `install` wrote; what is stored and set stays."""
    _require_right(asked)
    folder = _folder(asked)
    places = [*([] if asked.personal else [USERS]), *(folder / name for name in ALL)]
    there = [path for path in places if path.exists()]
    changes = [_removal(path) for path in there]
    ours = [change for change in changes if MARK in (change.before or "")]
    foreign = [change.path for change in changes if change not in ours]
    if not json:
        for change in ours:
            output.say(f"removed: {change.path}")
        for path in foreign:
            output.say(f"not ours, and stays: {path}")
        if any(change.path == USERS for change in ours):
            output.say(f"The user {USER} stays, as does what belongs to it.")
        if not ours:
            output.say("Nothing of fetchd's is installed there.")
    if ours and not asked.dry_run:
        _agree(asked, "Stop and remove these?")
        _carry_out(ours, asked)
    if json:
        removed = [str(change.path) for change in ours]
        left = [str(path) for path in foreign]
        output.emit({"removed": removed, "left": left, "dry_run": asked.dry_run})
    return True


# -- What is to change ---------------------------------------------------------------


def _found(settings: Settings, asked: Asked) -> Found:
    found = machine_of(settings, personal=asked.personal, run_as=asked.run_as)
    return replace(found, notes=(*found.notes, *(notes_on_timer(settings) if asked.timer else ())))


def _changes(found: Found, asked: Asked) -> list[Change]:
    folder, texts = _folder(asked), units(found.machine)
    wanted = (*(TIMER if asked.timer else SERVICE), *VERIFY)
    changes = [Change(folder / name, _read(folder / name), texts[name]) for name in wanted]
    if not asked.personal and found.machine.user == USER and (our_user() is None or USERS.exists()):
        changes.insert(0, Change(USERS, _read(USERS), users()))
    others = [folder / name for name in (SERVICE if asked.timer else TIMER)]
    return changes + [_removal(path) for path in others if MARK in (_read(path) or "")]


def _removal(path: Path) -> Change:
    return Change(path, _read(path) or "", None)


def _folder(asked: Asked) -> Path:
    if not asked.personal:
        return SYSTEM
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "systemd" / "user"


def _read(path: Path) -> str | None:
    """What is there, whatever it is, or None."""
    try:
        return path.read_text("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


# -- Who may, and who agrees ---------------------------------------------------------------


def _require_right(asked: Asked) -> None:
    if asked.dry_run:
        return
    if not asked.personal and os.geteuid() != 0:
        raise UsageError(
            "only root writes units of the system",
            advice="Run it with sudo, or with --user for a service of your own.",
        )
    if asked.personal and os.geteuid() == 0 and os.environ.get("SUDO_USER"):
        raise UsageError(
            "with sudo, --user would mean root's own units", advice="Run it without sudo."
        )


def _require_no_obstacle(found: Found) -> None:
    if found.obstacles:
        raise UsageError(
            "the service could not do its work:\n" + "\n".join(found.obstacles),
            advice="Nothing was written. 'fetchd systemd install --dry-run' shows it all again.",
        )


def _agree(asked: Asked, question: str) -> None:
    if asked.yes:
        return
    if not _answers():
        raise UsageError("nobody is there to be asked", advice="Give --yes, or first --dry-run.")
    print(f"{question} [y/N] ", end="", flush=True, file=sys.stderr)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("not agreed to", advice="Nothing was changed.")


def _answers() -> bool:
    return sys.stdin.isatty()


# -- Writing, enabling -------------------------------------------------------------------


def _carry_out(changes: Sequence[Change], asked: Asked) -> None:
    """Stop what goes, write what comes, start it. Without systemd: only the files."""
    running = is_running(personal=asked.personal)
    gone = [c.path.name for c in changes if c.after is None and c.path != USERS]
    if gone and running:
        systemctl("disable", "--now", *gone, personal=asked.personal)
    for change in changes:
        put(change.path, change.after)
        if change.path == USERS and change.after is not None:
            make_user(USERS)
    if running:
        for words in _commands(changes, asked):
            systemctl(*words, personal=asked.personal)


def _commands(changes: Sequence[Change], asked: Asked) -> list[tuple[str, ...]]:
    """What systemctl is to be asked once the files are there."""
    commands: list[tuple[str, ...]] = [("daemon-reload",)]
    if all(change.after is None for change in changes):
        return commands
    commands.append(("enable", "--now", *_enabled(asked)))
    changed = {change.path.name for change in changes if change.kind == "changed"}
    if anew := [name for name in _enabled(asked) if name in changed]:
        commands.append(("try-restart", *anew))
    return commands


def _enabled(asked: Asked) -> tuple[str, ...]:
    return ("fetchd-sync.timer" if asked.timer else "fetchd.service", "fetchd-verify.timer")


# -- Telling -----------------------------------------------------------------------------


def _tell_changes(changes: Sequence[Change]) -> None:
    for change in changes:
        output.say(f"{change.kind}: {change.path}")
        if change.kind == "same":
            continue
        before, after = (change.before or "").splitlines(), (change.after or "").splitlines()
        lines = difflib.unified_diff(before, after, lineterm="", n=2)
        for line in list(lines)[2:]:  # without names, which were said
            if not line.startswith("@@"):
                output.say(f"    {line}")


def _tell_notes(found: Found) -> None:
    for note in found.notes:
        output.say(f"Note: {note}.")


def _tell_obstacles(found: Found, *, json: bool) -> None:
    for obstacle in () if json else found.obstacles:
        output.say(f"In the way: {obstacle}.")


def _tell_done(asked: Asked) -> None:
    manager = "systemctl --user" if asked.personal else "systemctl"
    if not asked.personal and USERS.exists() and our_user() is None:
        output.say(f"There is no user {USER} yet; run:")
        output.say(f"  useradd --system --home-dir /var/lib/fetchd {USER}")
    if not is_running(personal=asked.personal):
        output.say("The units are written. systemd does not run here; where it does, run:")
        output.say(f"  {manager} daemon-reload")
        output.say(f"  {manager} enable --now {' '.join(_enabled(asked))}")
        return
    output.say(f"Enabled and started: {', '.join(_enabled(asked))}.")
    output.say(f"  {manager} status {_enabled(asked)[0]}")
    output.say(f"  {_journal(asked)}")


def _journal(asked: Asked) -> str:
    unit = "fetchd-sync.service" if asked.timer else "fetchd.service"
    return f"journalctl {'--user ' if asked.personal else ''}-u {unit} -n 50"


def _document(
    changes: Sequence[Change], found: Found, asked: Asked, *, installed: bool
) -> dict[str, Any]:
    return {
        "scope": "user" if asked.personal else "system",
        "installed": installed,
        "started": installed and is_running(personal=asked.personal),
        "units": [
            {
                "name": change.path.name,
                "path": str(change.path),
                "change": change.kind,
                "text": change.after,
            }
            for change in changes
        ],
        "enable": list(_enabled(asked)),
        "obstacles": list(found.obstacles),
        "notes": list(found.notes),
    }
