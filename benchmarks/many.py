"""Thousands of accounts in one round: `python -m benchmarks.many`, on this machine's cores.

    python -m benchmarks.many --accounts 2000

Every account has one new message, half of them over POP3 and half over IMAP, each line TLS
with a handshake of its own, on a private Dovecot that runs on the same cores. `fetchd sync`
brings all in one round into archive and Maildir; then a second round finds nothing new. What
is told: seconds and peak memory of the first, against their limits, whether every message
came once, and what one host could carry at an interval of five minutes.

The extrapolation is on paper. A round is scaled to 300 s, for what a host may run out of: the
one core that fetchd's process mainly uses, the connections that its settings allow by default,
if every server is 50 ms away (measured on a few accounts through a slow proxy, one after
another), and memory. The least of them is the bottleneck, and is named.
"""

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import mail, usage
from benchmarks.contestants import HOST, Task, fetchd_sync
from benchmarks.fleet import Member, members_on, trusting, write_settings
from benchmarks.mail import Expected
from benchmarks.programs import advice, missing
from benchmarks.running import compile_tools, measure
from benchmarks.verdict import Line, all_hold, table
from tests import corpus
from tests.servers.dovecot import Dovecot, dovecot_available
from tests.servers.proxy import Proxy

ACCOUNTS = 2_000
SECONDS, MEGABYTES = 60.0, 400.0
CONNECTIONS = 16  # fetchd's default in all
FEW = 20  # accounts whose round tells what the process costs before the first account
INTERVAL = 300.0  # seconds
HOST_MEMORY = 4_000.0  # MB that a host gives to fetchd, on paper
ONE_WAY = 0.025  # seconds, to the servers that are far away


@dataclass(frozen=True, slots=True)
class Round:
    """What one round took; `server_cpu` is Dovecot's."""

    seconds: float
    cpu: float
    server_cpu: float
    peak_mb: float
    complaint: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """The rounds of one run, and what came."""

    accounts: int
    few: Round
    far: Round  # a few, one after another
    first: Round
    second: Round
    archive: mail.Difference
    maildir: mail.Difference

    @property
    def rounds(self) -> tuple[Round, ...]:
        return self.few, self.far, self.first, self.second


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.many",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    given = parser.parse_args()
    absent = missing(["cc"])
    if reason := dovecot_available() or (advice(absent) if absent else None):
        print(f"It cannot be measured: {reason}.", file=sys.stderr)
        return 1
    directory = Path(tempfile.mkdtemp(prefix="many-"))
    try:
        measured = poll_all(directory, given.accounts)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    for one in measured.rounds:
        if one.complaint:
            print(one.complaint, file=sys.stderr)
    lines = verdicts(measured)
    print(table(lines))
    print(extrapolation(measured))
    return 0 if all_hold(lines) else 1


def poll_all(directory: Path, accounts: int) -> Measured:
    """Fill, poll a few, poll them from afar, poll all, poll again, and look at what came."""
    tools = compile_tools(directory)
    few, far, every = (Task(directory / name, tools, 0, ()) for name in ("few", "far", "all"))
    with Dovecot(sessions_per_process=1000, idle_processes=8) as server:
        members = members_on(server, accounts)
        messages = corpus.small(accounts)
        for member, message in zip(members, messages, strict=True):
            server.fill(member.name, [message], part="new")
        for task, chosen in ((few, members[:FEW]), (every, members)):
            write_settings(task.directory, chosen, connections=CONNECTIONS)
        small, distant = timed(server, few), from_afar(server, far, members[:FEW])
        first, second = timed(server, every), timed(server, every)
    expected = Expected.of(messages)
    return Measured(
        accounts=accounts,
        few=small,
        far=distant,
        first=first,
        second=second,
        archive=mail.compare(expected.crlf, mail.in_archive(every.directory / "data")),
        maildir=mail.compare(expected.lf, mail.in_maildir(every.maildir)),
    )


def from_afar(server: Dovecot, task: Task, members: list[Member]) -> Round:
    """A round over few accounts through a slow line, one connection at a time."""
    with (
        Proxy(HOST, server.port.pop3s, delay=ONE_WAY) as pop3,
        Proxy(HOST, server.port.imaps, delay=ONE_WAY) as imap,
    ):
        ports = {"pop3": pop3.port, "imap": imap.port}
        there = [replace(member, port=ports[member.protocol]) for member in members]
        one_by_one = {"imap": {"connections": 1}}
        write_settings(task.directory, there, connections=1, keys=one_by_one)
        return timed(server, task)


def timed(server: Dovecot, task: Task) -> Round:
    """One round of `fetchd sync`."""
    before = usage.session_cpu_seconds(server.pid)
    trust = [f"{name}={value}" for name, value in trusting(server.ca_file).items()]
    command = ["env", *trust, *fetchd_sync(task.directory / "fetchd.toml")]
    seconds, cpu, peak_kb, status, _ = measure(command, task)
    said = (task.directory / "stderr").read_text(errors="replace")
    complaint = f"exit {status}: {said.strip()[-500:]}" if status else ""
    spent = usage.session_cpu_seconds(server.pid) - before
    return Round(seconds, cpu, spent, peak_kb / 1000, complaint)


def verdicts(measured: Measured) -> list[Line]:
    """The figures beside their limits."""
    first, second = measured.first, measured.second
    failed = sum(bool(one.complaint) for one in measured.rounds)
    return [
        Line(f"{measured.accounts:,} accounts, a message each: a round", first.seconds, SECONDS,
             "s"),
        Line("its peak memory", first.peak_mb, MEGABYTES, "MB"),
        Line("rounds that failed", failed, 0, ""),
        *came(measured.archive, "archive"),
        *came(measured.maildir, "Maildir"),
        Line("a round with nothing new", second.seconds, None, "s"),
        Line("its peak memory", second.peak_mb, None, "MB"),
        Line("CPU of the first round, fetchd", first.cpu, None, "s"),
        Line("CPU of the first round, Dovecot", first.server_cpu, None, "s"),
        Line("CPU of the second round, fetchd", second.cpu, None, "s"),
        Line("CPU of the second round, Dovecot", second.server_cpu, None, "s"),
    ]  # fmt: skip


def came(met: mail.Difference, where: str) -> list[Line]:
    """Promises 1 and 2."""
    return [
        Line(f"messages missing in the {where}", met.missing, 0, ""),
        Line(f"messages in the {where} twice, or that nobody sent", met.twice + met.foreign, 0, ""),
    ]


def extrapolation(measured: Measured) -> str:
    """What one host could carry, by what would run out first."""
    lines = [
        f"On paper, each account polled every {INTERVAL:.0f} s:",
        _sentence("with a message at each poll", _carried(measured, measured.first)),
        _sentence("with nothing new at each poll", _carried(measured, measured.second)),
        _shares(measured.first) + f"; a poll from afar took {_far(measured):.2f} s.",
    ]
    return "\n".join(lines)


def _carried(measured: Measured, one: Round) -> dict[str, float]:
    """How many accounts each of the means allows; what the process costs by itself left out."""
    few, more = measured.few, measured.accounts - FEW
    each_cpu = max(1e-6, (one.cpu - few.cpu) / more)
    each_mb = max(1e-3, (one.peak_mb - few.peak_mb) / more)
    return {
        "the one core of fetchd's process": INTERVAL / each_cpu,
        f"{CONNECTIONS} connections with servers 50 ms away": INTERVAL
        * CONNECTIONS
        / _far(measured),
        f"{HOST_MEMORY / 1000:.0f} GB of memory": (HOST_MEMORY - few.peak_mb) / each_mb,
    }


def _far(measured: Measured) -> float:
    """Seconds that one poll lasts with 50 ms of round trip."""
    return max(1e-3, (measured.far.seconds - measured.few.seconds) / FEW)


def _shares(one: Round) -> str:
    fetchd, server = one.cpu / one.seconds, one.server_cpu / one.seconds
    return f"In the first round fetchd used {fetchd:.0%} of a core and Dovecot {server:.0%}"


def _sentence(case: str, carried: dict[str, float]) -> str:
    told = ", ".join(f"{count:,.0f} by {name}" for name, count in carried.items())
    least, then, *_ = sorted(carried, key=lambda name: carried[name])
    return f"- {case}: {told}. The bottleneck is {least}, then {then}."


if __name__ == "__main__":
    sys.exit(main())
