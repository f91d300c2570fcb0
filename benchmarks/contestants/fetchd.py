"""fetchd itself, over either protocol."""

import json
import shutil
import sys
from pathlib import Path

from benchmarks.contestants.task import HOST, PASSWORD, Contestant, Keeps, Protocol, Task

# Logging in as the others are told to: SCRAM would cost two more round trips.
AUTH = {"pop3": "user", "imap": "login-command"}


def fetchd_both(task: Task) -> list[str]:
    """Archive and Maildir."""
    return fetchd_sync(fetchd_settings(task, deliver=True))


def fetchd_archive(task: Task) -> list[str]:
    """Archive only."""
    return fetchd_sync(fetchd_settings(task, deliver=False))


def fetchd_mirror(task: Task) -> list[str]:
    """Archive and a Maildir for each mailbox."""
    return fetchd_sync(fetchd_settings(task, deliver=True, protocol="imap"))


def fetchd_imap_archive(task: Task) -> list[str]:
    """Archive only."""
    return fetchd_sync(fetchd_settings(task, deliver=False, protocol="imap"))


def fetchd_help(_task: Task) -> list[str]:
    """The help text."""
    return [*fetchd_command(), "--help"]


def fetchd_sync(settings: Path) -> list[str]:
    """One round over all accounts."""
    return [*fetchd_command(), "--config", str(settings), "sync"]


def fetchd_command() -> list[str]:
    """The installed command of this environment."""
    beside = Path(sys.executable).with_name("fetchd")
    found = str(beside) if beside.exists() else shutil.which("fetchd")
    return [found] if found else [sys.executable, "-m", "fetchd"]


def fetchd_settings(
    task: Task,
    *,
    deliver: bool,
    protocol: Protocol = "pop3",
    accounts: dict[str, object] | None = None,
    more: str = "",
) -> Path:
    """A settings file; `accounts` are further keys of each account, `more` further tables.

    What comes over IMAP is delivered into a mirror. All accounts here lie on one
    host and stand for accounts on many: the limit to a host is raised to the limit in all.
    """
    account: dict[str, object] = {
        "protocol": protocol,
        "host": HOST,
        "port": task.port,
        "tls": "none",
        "allow_plaintext_auth": True,
        "password": PASSWORD,
        "auth": AUTH[protocol],
        "deliver_to": ["home"] if deliver else [],
        **(accounts or {}),
    }
    lines = [
        f"data_dir = {json.dumps(str(task.directory / 'data'))}",
        "[limits]",
        "connections = 16",
        "connections_per_host = 16",
        "[destinations.home]",
        'kind = "maildir"',
        f"path = {json.dumps(str(task.maildir))}",
        f"layout = {json.dumps('mirror' if protocol == 'imap' else 'flat')}",
    ]
    for user in task.users:
        keys = {"username": user, **account}
        lines += [f"[accounts.{json.dumps(user)}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return task.write("fetchd.toml", "\n".join([*lines, more, ""]))


FETCHD = Contestant("fetchd", fetchd_both, keeps=Keeps.BOTH)
FETCHD_ARCHIVE = Contestant("fetchd, archive only", fetchd_archive, keeps=Keeps.ARCHIVE)
FETCHD_START = Contestant(
    "fetchd, empty account (S)", fetchd_both, keeps=Keeps.NOTHING, start_up=True
)
FETCHD_HELP = Contestant("fetchd --help", fetchd_help, keeps=Keeps.NOTHING)
FETCHD_MIRROR = Contestant("fetchd, IMAP", fetchd_mirror, keeps=Keeps.BOTH, protocol="imap")
FETCHD_IMAP_ARCHIVE = Contestant(
    "fetchd, IMAP, archive only", fetchd_imap_archive, keeps=Keeps.ARCHIVE, protocol="imap"
)
FETCHD_IMAP_START = Contestant(
    "fetchd, IMAP, empty account (S)", fetchd_mirror, keeps=Keeps.NOTHING, protocol="imap",
    start_up=True,
)  # fmt: skip
