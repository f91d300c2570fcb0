"""What a soak's samples come to: slopes, quantiles, and the table beside the issue's limits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, median

from benchmarks import mail
from benchmarks.mail import Difference, Expected
from benchmarks.soak_site import NUMBER, Sent
from benchmarks.verdict import Line

LIMITS_FROM = 600.0  # seconds of load from which on slopes and medians say something
HEAD = 4096  # octets in which the number must stand

MARK = re.compile(rb"^" + NUMBER.encode() + rb": (\d+)\r?$", re.MULTILINE)


@dataclass(slots=True)
class Figures:
    """Everything that was measured."""

    accounts: int
    seconds: float = 0.0  # of load
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds of load, MB
    late: list[float] = field(default_factory=list)  # p99 of lateness, each time it was asked
    idle_cpu: float | None = None  # share of a core
    restarts: int = 0
    cuts: int = 0
    sent: int = 0
    archive: Difference | None = None
    maildir: Difference | None = None
    pushed: list[float] = field(default_factory=list)  # seconds from server to Maildir, by IDLE
    polled: list[float] = field(default_factory=list)  # by polls
    exit_code: int | None = None
    stopping: float = 0.0
    tracebacks: int = 0

    def look(self, directory: Path, expected: Expected, sent: Mapping[int, Sent]) -> None:
        """Compare what came with what the server has, and see when."""
        maildir = directory / "Maildir"
        self.sent = len(sent)
        self.archive = mail.compare(expected.crlf, mail.in_archive(directory / "data"))
        self.maildir = mail.compare(expected.lf, mail.in_maildir(maildir))
        for number, at in arrivals(maildir).items():
            if one := sent.get(number):
                delays = self.pushed if one.member.protocol == "imap" else self.polled
                delays.append(max(0.0, at - one.at))

    def lines(self) -> list[Line]:
        """The table; what a shortened pass cannot tell has no limit in it."""
        long = self.seconds >= LIMITS_FROM
        return [
            Line("messages sent", self.sent, None, ""),
            *came(self.archive, "archive"),
            *came(self.maildir, "Maildir"),
            Line("memory, slope after the first fifth", self.slope(), 1.0 if long else None,
                 "MB/h"),
            Line("memory, most", max((mb for _, mb in self.memory), default=None), 200.0, "MB"),
            Line("server to Maildir by IDLE, median", middle(self.pushed), 2.0 if long else None,
                 "s"),
            Line("server to Maildir by IDLE, p99", quantile(self.pushed, 0.99), None, "s"),
            Line("server to Maildir by polls, median", middle(self.polled), None, "s"),
            Line("schedule lateness, p99, worst of all looks", max(self.late, default=None), 2.0,
                 "s"),
            Line("CPU while nothing arrives", self.idle_cpu and self.idle_cpu * 100, 2.0,
                 "% of a core"),
            Line("restarts of the server", self.restarts, None, ""),
            Line("connections cut", self.cuts, None, ""),
            Line("tracebacks", self.tracebacks, 0, ""),
            Line("exit code after SIGTERM", self.exit_code, 0, ""),
            Line("seconds until it had stopped", self.stopping, 30.0, "s"),
        ]  # fmt: skip

    def slope(self) -> float | None:
        """MB an hour by least squares, of the load after its first five minutes or fifth."""
        begin = min(300.0, self.seconds / 5)
        settled = [(at, mb) for at, mb in self.memory if begin <= at <= self.seconds]
        if len(settled) < 2:
            return None
        at, mb = zip(*settled, strict=True)
        return linear_regression(at, mb).slope * 3600


def came(met: Difference | None, where: str) -> list[Line]:
    """Promises 1 and 2."""
    missing = met.missing if met else None
    more = met.twice + met.foreign if met else None
    return [
        Line(f"missing in the {where}", missing, 0, ""),
        Line(f"in the {where} twice, or sent by nobody", more, 0, ""),
    ]


def arrivals(maildir: Path) -> dict[int, float]:
    """When each numbered message appeared in the Maildir, by the wall clock.

    A file's ctime is the instant of its last rename: from tmp to new.
    """
    found: dict[int, float] = {}
    for path in mail.messages(maildir):
        with path.open("rb") as file:
            mark = MARK.search(file.read(HEAD))
        if mark:
            found[int(mark[1])] = path.stat().st_ctime
    return found


def middle(values: Sequence[float]) -> float | None:
    """The median, or None of nothing."""
    return median(values) if values else None


def quantile(values: Sequence[float], share: float) -> float | None:
    """By nearest rank, or None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
