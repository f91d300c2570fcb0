"""Who fetches over IMAP, beside fetchd.

Only mbsync and offlineimap mirror, as fetchd does: a Maildir for each mailbox, flags in
the file names. The others hand INBOX to one Maildir.
"""

import shlex
from collections.abc import Callable

from benchmarks.contestants.task import HOST, PASSWORD, Contestant, Keeps, Task


def drain(mode: str) -> Callable[[Task], list[str]]:
    """The C client in one of its modes, user after user."""

    def prepare(task: Task) -> list[str]:
        commands = [
            [
                str(task.tools / "drain_imap"), HOST, str(task.port), user, PASSWORD, mode,
                str(task.directory / f"{user}.out"), *task.mailboxes,
            ]
            for user in task.users
        ]  # fmt: skip
        if len(commands) == 1:
            return commands[0]
        return ["sh", "-ec", "\n".join(shlex.join(command) for command in commands)]

    return prepare


def mbsync(sync: str) -> Callable[[Task], list[str]]:
    """Pipelines; `sync` is its FSync, of each message, yes unless told otherwise."""

    def prepare(task: Task) -> list[str]:
        channels = (
            f"IMAPAccount {user}\nHost {HOST}\nPort {task.port}\nUser {user}\nPass {PASSWORD}\n"
            f"SSLType None\nAuthMechs LOGIN\n\nIMAPStore {user}-far\nAccount {user}\n\n"
            f"MaildirStore {user}-near\nPath {task.maildir}/{user}/\n"
            f"Inbox {task.maildir}/{user}/INBOX\nSubFolders Verbatim\n\n"
            f"Channel {user}\nFar :{user}-far:\nNear :{user}-near:\nPatterns *\n"
            "Sync Pull\nCreate Near\nSyncState *\n\n"
            for user in task.users
        )
        for user in task.users:
            (task.maildir / user).mkdir(exist_ok=True)
        settings = task.write("mbsyncrc", f"FSync {sync}\n\n" + "".join(channels))
        return ["mbsync", "--config", str(settings), "--quiet", "--all"]

    return prepare


def offlineimap(task: Task) -> list[str]:
    """Keeps what it knows in SQLite, fsyncs each message."""
    accounts = (
        f"[Account {user}]\nlocalrepository = {user}-near\nremoterepository = {user}-far\n"
        f"[Repository {user}-near]\ntype = Maildir\nlocalfolders = {task.maildir}/{user}\n"
        f"[Repository {user}-far]\ntype = IMAP\nremotehost = {HOST}\nremoteport = {task.port}\n"
        f"remoteuser = {user}\nremotepass = {PASSWORD}\nssl = no\nstarttls = no\n"
        "auth_mechanisms = LOGIN\nreadonly = True\n"
        for user in task.users
    )
    settings = (
        f"[general]\naccounts = {', '.join(task.users)}\n"
        f"metadata = {task.directory}/offlineimap\n{''.join(accounts)}"
    )
    return ["offlineimap", "-c", str(task.write("offlineimaprc", settings)), "-o", "-u", "quiet"]


def fetchmail(task: Task) -> list[str]:
    """Hands each message to a procmail of its own; unread mail only, if not told otherwise."""
    rules = task.write(
        "procmailrc", f"MAILDIR={task.directory}\nDEFAULT={task.maildir}/\nLOGABSTRACT=no\n"
    )
    polls = (
        f'poll "{HOST}" protocol imap service {task.port} auth password user "{user}" '
        f'password "{PASSWORD}" keep fetchall sslproto "" no rewrite pass8bits '
        f'mda "procmail {rules}"\n'
        for user in task.users
    )
    settings = f'set idfile "{task.directory}/ids"\nset no bouncemail\n' + "".join(polls)
    return [
        "fetchmail", "-f", str(task.write("fetchmailrc", settings)), "--nodetach", "--silent",
        "--nosyslog", "--invisible", "--pidfile", str(task.directory / "fetchmail.pid"),
    ]  # fmt: skip


def getmail(task: Task) -> list[str]:
    """A process and an fsync for each message."""
    command = ["getmail", "--getmaildir", str(task.directory)]
    for user in task.users:
        settings = (
            f"[retriever]\ntype = SimpleIMAPRetriever\nserver = {HOST}\nport = {task.port}\n"
            f'username = {user}\npassword = {PASSWORD}\nmailboxes = ("INBOX",)\n'
            f"[destination]\ntype = Maildir\npath = {task.maildir}/\n"
            "[options]\nread_all = false\ndelete = false\ndelivered_to = false\n"
            "received = false\nverbose = 0\n"
        )
        command += ["--rcfile", str(task.write(f"getmailrc-{user}", settings))]
    return command


def fdm(task: Task) -> list[str]:
    """Accounts beside one another, fsyncs each message."""
    accounts = (
        f'account "{user}" imap server "{HOST}" port {task.port} user "{user}" '
        f'pass "{PASSWORD}" no-cram-md5 keep\n'
        for user in task.users
    )
    settings = (
        f'set no-received\nset lock-file "{task.directory}/lock"\nset maximum-size 1G\n'
        f'action "keep" maildir "{task.maildir}"\n{"".join(accounts)}match all action "keep"\n'
    )
    return ["fdm", "-f", str(task.write("fdm.conf", settings)), "-q", "fetch"]


DRAIN_IMAP = Contestant("drain, IMAP", drain("fetch"), keeps=Keeps.COUNT, protocol="imap")
DRAIN_IMAP_DURABLE = Contestant(
    "drain, IMAP, durable", drain("durable"), keeps=Keeps.COUNT, protocol="imap"
)
DRAIN_STATUS = Contestant("drain, STATUS only", drain("status"), keeps=Keeps.COUNT, protocol="imap")
MBSYNC = Contestant(
    "mbsync", mbsync("yes"), needs=("mbsync",), protocol="imap", hurried=mbsync("no")
)
MBSYNC_UNSYNCED = Contestant("mbsync, FSync no", mbsync("no"), needs=("mbsync",), protocol="imap")
OFFLINEIMAP = Contestant(
    "offlineimap3", offlineimap, needs=("offlineimap",), protocol="imap", slow=True
)
FETCHMAIL_IMAP = Contestant(
    "fetchmail + procmail, IMAP", fetchmail, needs=("fetchmail", "procmail"), protocol="imap",
    slow=True,
)  # fmt: skip
GETMAIL_IMAP = Contestant(
    "getmail6, IMAP", getmail, needs=("getmail",), protocol="imap", slow=True, unprivileged=True
)
FDM_IMAP = Contestant(
    "fdm, IMAP", fdm, needs=("fdm",), protocol="imap", slow=True, unprivileged=True
)
