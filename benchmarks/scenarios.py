"""What is measured: mailboxes, who fetches them, and from how far away.

A user is a name and what lies in its mailboxes; a scenario gives users to contestants.
Contestants in one scenario are run interleaved and may be compared; figures of
different scenarios may not, since a disk drifts. That is why S, the start-up of
fetchd, is measured again in every scenario whose target needs it, and always near the
server: start-up is what is not the network's.

All mail was read before: some contestants mark what they fetch as seen, and would
change what the others find.

To add a scenario, add a row to SCENARIOS and its targets to targets.py.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks.contestants import (
    DRAIN,
    DRAIN_DURABLE,
    DRAIN_IMAP,
    DRAIN_IMAP_DURABLE,
    DRAIN_STATUS,
    DRAIN_UIDL,
    FDM,
    FDM_IMAP,
    FETCHD,
    FETCHD_ARCHIVE,
    FETCHD_HELP,
    FETCHD_IMAP_ARCHIVE,
    FETCHD_IMAP_START,
    FETCHD_MIRROR,
    FETCHD_START,
    FETCHMAIL,
    FETCHMAIL_IMAP,
    GETMAIL,
    GETMAIL_IMAP,
    MBSYNC,
    MBSYNC_UNSYNCED,
    MPOP,
    OFFLINEIMAP,
    Contestant,
    Protocol,
)
from tests import corpus

ACCOUNTS, EACH = 100, 50
FEW = 200  # messages that stand for 2,000 where a slow contestant would need minutes
TINY = 100_000
FLAGGED = 1_000  # of them change before each round where flags do

Contents = Mapping[str, Iterable[bytes]]  # by mailbox


@dataclass(frozen=True, slots=True)
class Scenario:
    """One comparison."""

    name: str
    title: str
    users: tuple[str, ...]
    contestants: tuple[Contestant, ...]
    protocol: Protocol = "pop3"
    delay: float = 0.0  # one way, in seconds
    known: bool = False  # everything was fetched before
    flagged: int = 0  # messages that are flagged, and flagged no longer, from round to round
    slow_users: tuple[str, ...] = ()  # a smaller mailbox for the slow ones
    slow_factor: int = 1  # and by what their time is multiplied

    @property
    def rival(self) -> Contestant:
        """Whom all are set against."""
        return MBSYNC if self.protocol == "imap" else MPOP


def inbox(messages: Callable[[], Iterable[bytes]]) -> Callable[[], Contents]:
    """Everything in INBOX."""
    return lambda: {"INBOX": messages()}


def many(number: int) -> Callable[[], Contents]:
    """The mailbox of one of many accounts; no two hold the same mail."""
    return inbox(lambda: corpus.small(EACH, seed=1_000 + number))


def spread() -> Contents:
    """Tiny messages over many mailboxes."""
    counts = (TINY // len(BOXES) + (number < TINY % len(BOXES)) for number in range(len(BOXES)))
    return {
        box: corpus.tiny(count, seed=2_000 + number)
        for number, (box, count) in enumerate(zip(BOXES, counts, strict=True))
    }


BOXES = ("INBOX", *(f"Box {number}" for number in range(2, 31)))
MANY = tuple(f"many-{number:03}" for number in range(ACCOUNTS))
USERS: dict[str, Callable[[], Contents]] = {
    "empty": inbox(list),
    "small": inbox(corpus.small),
    "few": inbox(lambda: corpus.small(FEW, seed=7)),
    "realistic": inbox(corpus.realistic),
    "large": inbox(corpus.large),
    "tiny": inbox(lambda: corpus.tiny(TINY)),
    "spread": spread,
    **{user: many(number) for number, user in enumerate(MANY)},
}

FIRST_SYNC = (DRAIN, DRAIN_DURABLE, FETCHD_START, FETCHD, FETCHD_ARCHIVE, MPOP)
SLOW = (FDM, FETCHMAIL, GETMAIL)
FIRST_SYNC_IMAP = (
    DRAIN_IMAP, DRAIN_IMAP_DURABLE, FETCHD_IMAP_START, FETCHD_MIRROR, FETCHD_IMAP_ARCHIVE,
    MBSYNC, MBSYNC_UNSYNCED,
)  # fmt: skip
SLOW_IMAP = (FDM_IMAP, FETCHMAIL_IMAP, OFFLINEIMAP, GETMAIL_IMAP)

POP3 = (
    Scenario("startup", "Start-up", ("empty",), (FETCHD_START, FETCHD_HELP)),
    Scenario("small", "First sync of 2,000 messages of 3 KB", ("small",), (*FIRST_SYNC, *SLOW)),
    Scenario(
        "realistic", "First sync of 5,000 messages, 200 MB", ("realistic",), (*FIRST_SYNC, *SLOW)
    ),
    Scenario(
        "latency",
        "First sync of 2,000 messages of 3 KB at a round trip of 50 ms",
        ("small",),
        (*FIRST_SYNC, *SLOW),
        delay=0.025,
        slow_users=("few",),
        slow_factor=10,
    ),
    Scenario(
        "accounts",
        f"First sync of {ACCOUNTS} accounts of {EACH} messages each",
        MANY,
        # Without getmail6, which waits in vain for one of its many children sooner or later.
        (DRAIN, FETCHD, MPOP, FDM, FETCHMAIL),
    ),
    Scenario(
        "large",
        "First sync of 10 messages of 30 MB",
        ("large",),
        (DRAIN, DRAIN_DURABLE, FETCHD, FETCHD_ARCHIVE, MPOP, *SLOW),
    ),
    Scenario(
        "listing",
        "First sync of 100,000 tiny messages",
        ("tiny",),
        (DRAIN_DURABLE, FETCHD_ARCHIVE),
    ),
    Scenario(
        "nochange",
        "Nothing new among 100,000 messages",
        ("tiny",),
        (DRAIN_UIDL, FETCHD_START, FETCHD_ARCHIVE, MPOP, *SLOW),
        known=True,
    ),
)

IMAP = (
    Scenario(
        "imap-small",
        "IMAP: first sync of 2,000 messages of 3 KB",
        ("small",),
        (*FIRST_SYNC_IMAP, *SLOW_IMAP),
        "imap",
    ),
    Scenario(
        "imap-realistic",
        "IMAP: first sync of 5,000 messages, 200 MB",
        ("realistic",),
        (*FIRST_SYNC_IMAP, *SLOW_IMAP),
        "imap",
    ),
    Scenario(
        "imap-latency",
        "IMAP: first sync of 2,000 messages of 3 KB at a round trip of 50 ms",
        ("small",),
        (*FIRST_SYNC_IMAP, *SLOW_IMAP),
        "imap",
        delay=0.025,
        slow_users=("few",),
        slow_factor=10,
    ),
    Scenario(
        "imap-large",
        "IMAP: first sync of 10 messages of 30 MB",
        ("large",),
        (DRAIN_IMAP, DRAIN_IMAP_DURABLE, FETCHD_MIRROR, FETCHD_IMAP_ARCHIVE, MBSYNC, *SLOW_IMAP),
        "imap",
    ),
    Scenario(
        "imap-listing",
        "IMAP: first sync of 100,000 tiny messages in 30 mailboxes",
        ("spread",),
        (DRAIN_IMAP_DURABLE, FETCHD_IMAP_ARCHIVE),
        "imap",
    ),
    Scenario(
        "imap-nochange",
        "IMAP: nothing new among 100,000 messages in 30 mailboxes",
        ("spread",),
        (DRAIN_STATUS, FETCHD_IMAP_START, FETCHD_MIRROR, FETCHD_IMAP_ARCHIVE, MBSYNC),
        "imap",
        known=True,
    ),
    Scenario(
        "imap-flags",
        "IMAP: flags changed on 1,000 of 100,000 messages in 30 mailboxes",
        ("spread",),
        (FETCHD_IMAP_START, FETCHD_MIRROR, MBSYNC),
        "imap",
        known=True,
        flagged=FLAGGED,
    ),
)

SCENARIOS = (*POP3, *IMAP)
GROUPS = {"pop3": POP3, "imap": IMAP}
