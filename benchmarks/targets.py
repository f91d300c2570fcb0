"""What the figures must be, as ratios within one scenario.

A target compares one contestant's median with a limit computed from the medians
of others in the same scenario. `S` is fetchd's time for an empty account, measured
in the same rounds. To change an aim, change its row here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.contestants import (
    DRAIN,
    DRAIN_DURABLE,
    DRAIN_IMAP,
    DRAIN_IMAP_DURABLE,
    DRAIN_UIDL,
    FETCHD,
    FETCHD_ARCHIVE,
    FETCHD_HELP,
    FETCHD_IMAP_ARCHIVE,
    FETCHD_IMAP_START,
    FETCHD_MIRROR,
    FETCHD_START,
    MBSYNC,
    MPOP,
    Contestant,
)

Medians = Mapping[str, float]
S = FETCHD_START
S_IMAP = FETCHD_IMAP_START


@dataclass(frozen=True, slots=True)
class Target:
    """`who` in `scenario` must not exceed `limit(medians of that scenario)`."""

    text: str
    scenario: str
    who: Contestant
    limit: Callable[[Callable[[Contestant], float]], float]
    unit: str = "s"


TARGETS = (
    Target("help text in 0.15 s", "startup", FETCHD_HELP, lambda _of: 0.15),
    Target("S, a sync of one account with nothing new, in 0.6 s", "startup", S, lambda _of: 0.6),
    Target("2,000 small, archive and Maildir: 0.9 of mpop", "small", FETCHD,
           lambda of: 0.9 * of(MPOP)),
    Target("2,000 small, archive only: S + 0.25 s", "small", FETCHD_ARCHIVE,
           lambda of: of(S) + 0.25),
    Target("200 MB, archive and Maildir: 0.67 of mpop", "realistic", FETCHD,
           lambda of: 0.67 * of(MPOP)),
    Target("200 MB, archive only: S + twice the durable drain", "realistic", FETCHD_ARCHIVE,
           lambda of: of(S) + 2 * of(DRAIN_DURABLE)),
    Target("nothing new in 100,000: S + 1.5 times the UIDL-only drain", "nochange",
           FETCHD_ARCHIVE, lambda of: of(S) + 1.5 * of(DRAIN_UIDL)),
    Target("50 ms, 2,000 small, archive and Maildir: S + drain + 0.4 s", "latency", FETCHD,
           lambda of: of(S) + of(DRAIN) + 0.4),
    Target("50 ms, 2,000 small, archive only: S + drain + 0.4 s", "latency", FETCHD_ARCHIVE,
           lambda of: of(S) + of(DRAIN) + 0.4),
    Target("100 accounts of 50: a quarter of mpop", "accounts", FETCHD,
           lambda of: of(MPOP) / 4),
    Target("peak memory, 10 x 30 MB", "large", FETCHD, lambda _of: 120.0, "MB"),
    Target("peak memory, 100,000 fetched", "listing", FETCHD_ARCHIVE, lambda _of: 200.0, "MB"),
    Target("peak memory, 100,000 listed, nothing new", "nochange", FETCHD_ARCHIVE,
           lambda _of: 200.0, "MB"),
    Target("IMAP: 2,000 small, archive and mirror: 0.8 of mbsync", "imap-small", FETCHD_MIRROR,
           lambda of: 0.8 * of(MBSYNC)),
    Target("IMAP: 2,000 small, archive only: S + 0.25 s", "imap-small", FETCHD_IMAP_ARCHIVE,
           lambda of: of(S_IMAP) + 0.25),
    Target("IMAP: 200 MB, archive and mirror: 0.8 of mbsync", "imap-realistic", FETCHD_MIRROR,
           lambda of: 0.8 * of(MBSYNC)),
    Target("IMAP: 200 MB, archive only: S + twice the durable drain", "imap-realistic",
           FETCHD_IMAP_ARCHIVE, lambda of: of(S_IMAP) + 2 * of(DRAIN_IMAP_DURABLE)),
    Target("IMAP: 50 ms, 2,000 small, archive and mirror: S + drain + 0.4 s", "imap-latency",
           FETCHD_MIRROR, lambda of: of(S_IMAP) + of(DRAIN_IMAP) + 0.4),
    Target("IMAP: 50 ms, 2,000 small, archive only: S + drain + 0.4 s", "imap-latency",
           FETCHD_IMAP_ARCHIVE, lambda of: of(S_IMAP) + of(DRAIN_IMAP) + 0.4),
    Target("IMAP: nothing new in 100,000, archive and mirror: S + 0.1 s", "imap-nochange",
           FETCHD_MIRROR, lambda of: of(S_IMAP) + 0.1),
    Target("IMAP: nothing new in 100,000, archive only: S + 0.1 s", "imap-nochange",
           FETCHD_IMAP_ARCHIVE, lambda of: of(S_IMAP) + 0.1),
    Target("IMAP: peak memory, 10 x 30 MB", "imap-large", FETCHD_MIRROR, lambda _of: 120.0, "MB"),
    Target("IMAP: peak memory, 100,000 fetched", "imap-listing", FETCHD_IMAP_ARCHIVE,
           lambda _of: 200.0, "MB"),
    Target("IMAP: peak memory, 100,000 listed, nothing new", "imap-nochange",
           FETCHD_IMAP_ARCHIVE, lambda _of: 200.0, "MB"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target beside what was measured; `measured` is None where something is missing."""

    target: Target
    measured: float | None
    limit: float | None

    @property
    def met(self) -> bool | None:
        if self.measured is None or self.limit is None:
            return None
        return self.measured <= self.limit


def judge(target: Target, seconds: Medians, megabytes: Medians) -> Verdict:
    """Set one target against the medians of its scenario, by contestants' names."""
    try:
        limit = target.limit(lambda contestant: seconds[contestant.name])
        measured = (seconds if target.unit == "s" else megabytes)[target.who.name]
    except KeyError:
        return Verdict(target, None, None)
    return Verdict(target, measured, limit)
