"""What a poll remembers of a mailbox: enough to know whether anything happened since.

The mark is the listing's `digest`, which the catalog keeps without understanding it.
Equal STATUS values mean an unchanged mailbox only where the server counts changes
(CONDSTORE, RFC 7162): without HIGHESTMODSEQ a changed flag moves nothing. Some servers
change flags without counting, or count backwards after a restore (quirk 49), so each
mark has the time of the last full pass, and one that is too old is worth nothing.
"""

import re
from datetime import datetime, timedelta

from fetchd.instants import micros, moment
from fetchd.protocol.imap.types import MailboxStatus
from fetchd.values import Struct

_WRITTEN = re.compile(rb"imap1 ([0-9]+) ([0-9]+) ([0-9]+) ([0-9]+) ([0-9]+)")


class Mark(Struct, frozen=True):
    """UIDVALIDITY, UIDNEXT, MESSAGES and HIGHESTMODSEQ at a time when all was known."""

    uidvalidity: int
    uidnext: int
    messages: int
    modseq: int
    full_pass: datetime

    def written(self) -> bytes:
        """As the catalog keeps it."""
        return b"imap1 %d %d %d %d %d" % (
            self.uidvalidity, self.uidnext, self.messages, self.modseq, micros(self.full_pass)
        )  # fmt: skip

    def is_fresh(self, now: datetime, full_pass: timedelta) -> bool:
        """Whether the last full pass is recent; a clock that went back makes it old."""
        return now - full_pass < self.full_pass <= now

    def still_holds(self, status: MailboxStatus) -> bool:
        """Whether nothing has happened in the mailbox since; without a count nobody knows."""
        now = (status.uidvalidity, status.uidnext, status.messages, status.highestmodseq)
        return self.modseq > 0 and now == (
            self.uidvalidity,
            self.uidnext,
            self.messages,
            self.modseq,
        )


def read_mark(written: bytes | None) -> Mark | None:
    """What `written` gave; None for anything else."""
    found = _WRITTEN.fullmatch(written or b"")
    if found is None:
        return None
    uidvalidity, uidnext, messages, modseq, at = map(int, found.groups())
    try:
        return Mark(uidvalidity, uidnext, messages, modseq, moment(at))
    except OverflowError:
        return None
