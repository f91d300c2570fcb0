"""Who fetches over POP3, beside fetchd."""

import shlex
from collections.abc import Callable, Sequence

from benchmarks.contestants.task import HOST, PASSWORD, Contestant, Keeps, Task

WINDOW = 2_000  # RETRs that the drain leaves unanswered: at 50 ms fewer would cost time


def drain(mode: str) -> Callable[[Task], list[str]]:
    """The C client in one of its modes, user after user."""

    def prepare(task: Task) -> list[str]:
        commands = [
            [
                str(task.tools / "drain_pop3"), HOST, str(task.port), user, PASSWORD, mode,
                str(WINDOW), *([str(task.directory / f"{user}.out")] if mode == "durable" else []),
            ]
            for user in task.users
        ]  # fmt: skip
        if len(commands) == 1:
            return commands[0]
        return ["sh", "-ec", "\n".join(shlex.join(command) for command in commands)]

    return prepare


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
