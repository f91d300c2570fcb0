"""What is measured: mailboxes, who fetches them, and from how far away.

A mailbox is a name and the messages in it; a scenario gives mailboxes to
contestants. Contestants in one scenario are run interleaved and may be compared;
figures of different scenarios may not, since a disk drifts. That is why S, the
start-up of fetchd, is measured again in every scenario whose target needs it, and
always near the server: start-up is what is not the network's.

To add a scenario, add a row to SCENARIOS and its targets to targets.py.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.contestants import (
    DRAIN,
    DRAIN_DURABLE,
    DRAIN_UIDL,
    FDM,
    FETCHD,
    FETCHD_ARCHIVE,
    FETCHD_HELP,
    FETCHD_START,
    FETCHMAIL,
    GETMAIL,
    MPOP,
    Contestant,
)
from tests import corpus

ACCOUNTS, EACH = 100, 50
FEW = 200  # messages that stand for 2,000 where a slow contestant would need minutes


@dataclass(frozen=True, slots=True)
class Scenario:
    """One comparison."""

    name: str
    title: str
    users: tuple[str, ...]
    contestants: tuple[Contestant, ...]
    delay: float = 0.0  # one way, in seconds
    known: bool = False  # everything was fetched before
    slow_users: tuple[str, ...] = ()  # a smaller mailbox for the slow ones
    slow_factor: int = 1  # and by what their time is multiplied


def many(number: int) -> Callable[[], Iterable[bytes]]:
    """The mailbox of one of many accounts; no two hold the same mail."""
    return lambda: corpus.small(EACH, seed=1_000 + number)


MANY = tuple(f"many-{number:03}" for number in range(ACCOUNTS))
MAILBOXES: dict[str, Callable[[], Iterable[bytes]]] = {
    "empty": list,
    "small": corpus.small,
    "few": lambda: corpus.small(FEW, seed=7),
    "realistic": corpus.realistic,
    "large": corpus.large,
    "tiny": corpus.tiny,
    **{user: many(number) for number, user in enumerate(MANY)},
}

FIRST_SYNC = (DRAIN, DRAIN_DURABLE, FETCHD_START, FETCHD, FETCHD_ARCHIVE, MPOP)
SLOW = (FDM, FETCHMAIL, GETMAIL)

SCENARIOS = (
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
