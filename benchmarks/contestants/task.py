"""A piece of work, and a program that does it in one of its ways of working.

A contestant gets a `Task` (a fresh directory, a server, users) and returns the
command that fetches all new mail of all users and leaves it on the server. All
run with the durability that they have by default, which for each but the plain
drain and mbsync told otherwise means fsync before a message counts as delivered.

A poll of mail that is known already begins from the state that a contestant would
have after fetching it. `remember` writes that state for the given unique-ids, so that
100,000 need not first be fetched at the slow ones' speed; the run that follows proves
it by delivering nothing. Without it the contestant fetches once unmeasured, or
`hurried` does it in its place.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Literal

HOST = "127.0.0.1"
PASSWORD = "secret"
UNPRIVILEGED = 65534  # fdm and getmail refuse to deliver as root

Protocol = Literal["pop3", "imap"]


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work: fetch the mail of these users into this directory."""

    directory: Path
    tools: Path  # where the compiled drain lies
    port: int
    users: tuple[str, ...]
    mailboxes: tuple[str, ...] = ("INBOX",)  # of each user

    @property
    def maildir(self) -> Path:
        return self.directory / "Maildir"

    def write(self, name: str, text: str) -> Path:
        """A settings file: private, since it holds a password."""
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)
        return path


class Keeps(Enum):
    """Where a contestant's result is to be looked for."""

    MAILDIR = auto()  # or a tree of them
    ARCHIVE = auto()
    BOTH = auto()
    COUNT = auto()  # it prints what it saw
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program in one of its ways of working."""

    name: str
    prepare: Callable[[Task], list[str]]
    needs: tuple[str, ...] = ()  # programs; see programs.PACKAGES
    keeps: Keeps = Keeps.MAILDIR
    protocol: Protocol = "pop3"
    remember: Callable[[Task, str, Sequence[str]], None] | None = None
    hurried: Callable[[Task], list[str]] | None = None
    start_up: bool = False  # measured on an empty account that it has polled before
    slow: bool = False  # measured in fewer rounds
    unprivileged: bool = False  # where the harness is root, run as somebody else
    succeeds: frozenset[int] = frozenset({0})


def run_as(contestant: Contestant, task: Task, command: list[str]) -> list[str]:
    """Give the task to somebody who is not root, for those who refuse to be root."""
    if os.geteuid() != 0 or not contestant.unprivileged:
        return command
    for path in (task.directory, *task.directory.rglob("*")):
        os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
    who = str(UNPRIVILEGED)
    return ["setpriv", "--reuid", who, "--regid", who, "--clear-groups", *command]
