"""Who is measured, and how each is told to do the same work.

`task` says what a contestant is; `fetchd`, `pop3` and `imap` have them. To add one: a
prepare function and a `Contestant` there, and its name in the table below.
"""

from benchmarks.contestants.fetchd import (
    FETCHD,
    FETCHD_ARCHIVE,
    FETCHD_HELP,
    FETCHD_IMAP_ARCHIVE,
    FETCHD_IMAP_START,
    FETCHD_MIRROR,
    FETCHD_START,
    fetchd_command,
    fetchd_settings,
    fetchd_sync,
)
from benchmarks.contestants.imap import (
    DRAIN_IMAP,
    DRAIN_IMAP_DURABLE,
    DRAIN_STATUS,
    FDM_IMAP,
    FETCHMAIL_IMAP,
    GETMAIL_IMAP,
    MBSYNC,
    MBSYNC_UNSYNCED,
    OFFLINEIMAP,
)
from benchmarks.contestants.pop3 import (
    DRAIN,
    DRAIN_DURABLE,
    DRAIN_UIDL,
    FDM,
    FETCHMAIL,
    GETMAIL,
    MPOP,
)
from benchmarks.contestants.task import (
    HOST,
    PASSWORD,
    Contestant,
    Keeps,
    Protocol,
    Task,
    run_as,
)

RIVALS = (MPOP, FDM, FETCHMAIL, GETMAIL)
RIVALS_IMAP = (MBSYNC, MBSYNC_UNSYNCED, FDM_IMAP, FETCHMAIL_IMAP, OFFLINEIMAP, GETMAIL_IMAP)
CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        FETCHD, FETCHD_ARCHIVE, FETCHD_START, FETCHD_HELP, DRAIN, DRAIN_DURABLE, DRAIN_UIDL,
        *RIVALS, FETCHD_MIRROR, FETCHD_IMAP_ARCHIVE, FETCHD_IMAP_START, DRAIN_IMAP,
        DRAIN_IMAP_DURABLE, DRAIN_STATUS, *RIVALS_IMAP,
    )
}  # fmt: skip

__all__ = [
    "CONTESTANTS", "DRAIN", "DRAIN_DURABLE", "DRAIN_IMAP", "DRAIN_IMAP_DURABLE", "DRAIN_STATUS",
    "DRAIN_UIDL", "FDM", "FDM_IMAP", "FETCHD", "FETCHD_ARCHIVE", "FETCHD_HELP",
    "FETCHD_IMAP_ARCHIVE", "FETCHD_IMAP_START", "FETCHD_MIRROR", "FETCHD_START", "FETCHMAIL",
    "FETCHMAIL_IMAP", "GETMAIL", "GETMAIL_IMAP", "HOST", "MBSYNC", "MBSYNC_UNSYNCED", "MPOP",
    "OFFLINEIMAP", "PASSWORD", "RIVALS", "RIVALS_IMAP", "Contestant", "Keeps", "Protocol", "Task",
    "fetchd_command", "fetchd_settings", "fetchd_sync", "run_as",
]  # fmt: skip
