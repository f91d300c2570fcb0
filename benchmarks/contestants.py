"""Who is measured, and how each is told to do the same work.

A contestant gets a `Task` (a fresh directory, a server, users) and returns the
command that fetches all new mail of all users and leaves it on the server. All
run with the durability that they have by default, which for each but the plain
drain means fsync before a message counts as delivered.

`remember` writes the state that a contestant would have after fetching the given
unique-ids, so that a poll of 100,000 known messages can be measured without first
fetching them at the slow ones' speed; the run that follows proves it by
delivering nothing.

To add a contestant: a prepare function and a row in CONTESTANTS.
"""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

HOST = "127.0.0.1"
PASSWORD = "secret"
WINDOW = 2_000  # RETRs that the drain leaves unanswered: at 50 ms fewer would cost time
UNPRIVILEGED = 65534  # fdm and getmail refuse to deliver as root


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work: fetch the mail of these users into this directory."""

    directory: Path
    tools: Path  # where the compiled drain lies
    port: int
    users: tuple[str, ...]

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

    MAILDIR = auto()
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
    remember: Callable[[Task, str, Sequence[str]], None] | None = None
    start_up: bool = False  # measured on an empty account that it has polled before
    slow: bool = False  # measured in fewer rounds
    unprivileged: bool = False  # where the harness is root, run as somebody else
    succeeds: frozenset[int] = frozenset({0})


# -- fetchd ------------------------------------------------------------------------


def fetchd_command() -> list[str]:
    """The installed command of this environment."""
    beside = Path(sys.executable).with_name("fetchd")
    found = str(beside) if beside.exists() else shutil.which("fetchd")
    return [found] if found else [sys.executable, "-m", "fetchd"]


def fetchd_settings(
    task: Task, *, deliver: bool, accounts: dict[str, object] | None = None, more: str = ""
) -> Path:
    """A settings file; `accounts` are further keys of each account, `more` further tables.

    All accounts here lie on one host and stand for accounts on many: the limit to a
    host is raised to the limit in all.
    """
    account: dict[str, object] = {
        "protocol": "pop3",
        "host": HOST,
        "port": task.port,
        "tls": "none",
        "allow_plaintext_auth": True,
        "password": PASSWORD,
        "auth": "user",  # as the others are told: SCRAM would cost two more round trips
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
    ]
    for user in task.users:
        keys = {"username": user, **account}
        lines += [f"[accounts.{json.dumps(user)}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return task.write("fetchd.toml", "\n".join([*lines, more, ""]))


def fetchd_both(task: Task) -> list[str]:
    """Archive and Maildir."""
    return [*fetchd_command(), "--config", str(fetchd_settings(task, deliver=True)), "sync"]


def fetchd_archive(task: Task) -> list[str]:
    """Archive only."""
    return [*fetchd_command(), "--config", str(fetchd_settings(task, deliver=False)), "sync"]


def fetchd_help(_task: Task) -> list[str]:
    """The help text."""
    return [*fetchd_command(), "--help"]


# -- The limit -----------------------------------------------------------------------


def drain(mode: str) -> Callable[[Task], list[str]]:
    """The C client in one of its modes, user after user."""

    def prepare(task: Task) -> list[str]:
        commands = [
            [
                str(task.tools / "drain"), HOST, str(task.port), user, PASSWORD, mode,
                str(WINDOW), *([str(task.directory / f"{user}.out")] if mode == "durable" else []),
            ]
            for user in task.users
        ]  # fmt: skip
        if len(commands) == 1:
            return commands[0]
        return ["sh", "-ec", "\n".join(shlex.join(command) for command in commands)]

    return prepare


# -- The rivals ------------------------------------------------------------------------


def mpop(task: Task) -> list[str]:
    """Pipelines, fsyncs each message."""
    accounts = (
        f"account {user}\nhost {HOST}\nport {task.port}\ntls off\nauth user\nuser {user}\n"
        f"password {PASSWORD}\nkeep on\nreceived_header off\n"
        f"uidls_file {task.directory}/uidls-{user}\ndelivery maildir {task.maildir}\n"
        for user in task.users
    )
    return ["mpop", "-C", str(task.write("mpoprc", "\n".join(accounts))), "-q", "-a"]


def mpop_remembers(task: Task, user: str, uidls: Sequence[str]) -> None:
    """Its list must be sorted."""
    lines = (f" {len(uidls)} {HOST} {user}", *sorted(uidls), "")
    task.write(f"uidls-{user}", "\n".join(lines))


def fetchmail(task: Task) -> list[str]:
    """Hands each message to a procmail of its own."""
    rules = task.write(
        "procmailrc", f"MAILDIR={task.directory}\nDEFAULT={task.maildir}/\nLOGABSTRACT=no\n"
    )
    polls = (
        f'poll "{HOST}" protocol pop3 service {task.port} auth password uidl user "{user}" '
        f'password "{PASSWORD}" keep sslproto "" no rewrite pass8bits mda "procmail {rules}"\n'
        for user in task.users
    )
    settings = f'set idfile "{task.directory}/ids"\nset no bouncemail\n' + "".join(polls)
    return [
        "fetchmail", "-f", str(task.write("fetchmailrc", settings)), "--nodetach", "--silent",
        "--nosyslog", "--invisible", "--pidfile", str(task.directory / "fetchmail.pid"),
    ]  # fmt: skip


def fetchmail_remembers(task: Task, user: str, uidls: Sequence[str]) -> None:
    """A line for each."""
    task.write("ids", "".join(f"{user}@{HOST} {uidl}\n" for uidl in uidls))


def getmail(task: Task) -> list[str]:
    """A process and an fsync for each message."""
    command = ["getmail", "--getmaildir", str(task.directory)]
    for user in task.users:
        settings = (
            f"[retriever]\ntype = SimplePOP3Retriever\nserver = {HOST}\nport = {task.port}\n"
            f"username = {user}\npassword = {PASSWORD}\nuse_apop = false\n"
            f"[destination]\ntype = Maildir\npath = {task.maildir}/\n"
            "[options]\nread_all = false\ndelete = false\ndelivered_to = false\n"
            "received = false\nverbose = 0\n"
        )
        command += ["--rcfile", str(task.write(f"getmailrc-{user}", settings))]
    return command


def getmail_remembers(task: Task, user: str, uidls: Sequence[str]) -> None:
    """Unique-id, NUL, when it was seen."""
    lines = (f"{uidl}\0001700000000\n" for uidl in uidls)
    task.write(f"oldmail-{HOST}-{task.port}-{user}", "".join(lines))


def fdm(task: Task) -> list[str]:
    """Accounts beside one another, fsyncs each message."""
    accounts = (
        f'account "{user}" pop3 server "{HOST}" port {task.port} user "{user}" '
        f'pass "{PASSWORD}" new-only cache "{task.directory}/cache-{user}" no-apop keep\n'
        for user in task.users
    )
    settings = (
        f'set no-received\nset lock-file "{task.directory}/lock"\nset maximum-size 1G\n'
        f'action "keep" maildir "{task.maildir}"\n{"".join(accounts)}match all action "keep"\n'
    )
    return ["fdm", "-f", str(task.write("fdm.conf", settings)), "-q", "fetch"]


def fdm_remembers(task: Task, user: str, uidls: Sequence[str]) -> None:
    """Length and unique-id."""
    task.write(f"cache-{user}", "".join(f"{len(uidl)} {uidl}\n" for uidl in uidls))


def run_as(contestant: Contestant, task: Task, command: list[str]) -> list[str]:
    """Give the task to somebody who is not root, for those who refuse to be root."""
    if os.geteuid() != 0 or not contestant.unprivileged:
        return command
    for path in (task.directory, *task.directory.rglob("*")):
        os.chown(path, UNPRIVILEGED, UNPRIVILEGED)
    who = str(UNPRIVILEGED)
    return ["setpriv", "--reuid", who, "--regid", who, "--clear-groups", *command]


FETCHD = Contestant("fetchd", fetchd_both, keeps=Keeps.BOTH)
FETCHD_ARCHIVE = Contestant("fetchd, archive only", fetchd_archive, keeps=Keeps.ARCHIVE)
FETCHD_START = Contestant(
    "fetchd, empty account (S)", fetchd_both, keeps=Keeps.NOTHING, start_up=True
)
FETCHD_HELP = Contestant("fetchd --help", fetchd_help, keeps=Keeps.NOTHING)
DRAIN = Contestant("drain", drain("retr"), keeps=Keeps.COUNT)
DRAIN_DURABLE = Contestant("drain, durable", drain("durable"), keeps=Keeps.COUNT)
DRAIN_UIDL = Contestant("drain, UIDL only", drain("uidl"), keeps=Keeps.COUNT)
MPOP = Contestant("mpop", mpop, needs=("mpop",), remember=mpop_remembers)
FETCHMAIL = Contestant(
    "fetchmail + procmail", fetchmail, needs=("fetchmail", "procmail"),
    remember=fetchmail_remembers, slow=True, succeeds=frozenset({0, 1}),  # 1: no new mail
)  # fmt: skip
GETMAIL = Contestant(
    "getmail6", getmail, needs=("getmail",),
    remember=getmail_remembers, slow=True, unprivileged=True,
)  # fmt: skip
FDM = Contestant("fdm", fdm, needs=("fdm",), remember=fdm_remembers, slow=True, unprivileged=True)

RIVALS = (MPOP, FDM, FETCHMAIL, GETMAIL)
CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        FETCHD, FETCHD_ARCHIVE, FETCHD_START, FETCHD_HELP, DRAIN, DRAIN_DURABLE, DRAIN_UIDL,
        *RIVALS,
    )
}  # fmt: skip
