"""The bench: `make bench`, or `python -m benchmarks.run --only small,nochange --rounds 1`.

For each scenario: fill the server's mailboxes, then run every contestant once a
round, round after round, each round beginning with another of them, so that a
drifting disk hits all alike. Slow contestants (fdm, fetchmail, getmail6) take part
in the first `--slow-rounds` rounds only; the table says how many runs each had.

What a run wrote stays until the end of the bench, some 15 GB in all: on a disk that
is told of freed blocks (mount option `discard`) the runs that follow a deletion
were seen to take two to four times as long, and whoever fsyncs most loses most.

A whole bench writes RESULTS.md and results.json beside this file. Fewer rounds,
named contestants or a missing rival make it a trial, whose results go to the work
directory. The exit code is 1 when an aim was missed, or when a run failed or lost mail;
what befalls a slow contestant, whom no aim names, is only noted.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine, programs, report
from benchmarks.contestants import CONTESTANTS, PASSWORD, Contestant, Keeps, Task
from benchmarks.mail import Expected
from benchmarks.report import Result, Row
from benchmarks.running import Run, compile_tools, fresh, run
from benchmarks.scenarios import MAILBOXES, SCENARIOS, Scenario
from tests.servers.dovecot import Dovecot, dovecot_available
from tests.servers.proxy import Proxy

WORK = Path(__file__).parent / "work"
ROUNDS = 5
ROOM = 10_000_000_000  # octets that the largest scenario may need
BUSY = 0.5  # load average before we begin
# Sessions that one server process serves before it is replaced: starting a process
# for each of hundreds of logins would be measured as the clients' time.
SESSIONS_PER_PROCESS = 100
IDLE_PROCESSES = 4


def main() -> int:
    """The command."""
    given = arguments()
    if reason := unable():
        print(f"The bench cannot run: {reason}.", file=sys.stderr)
        return 1
    chosen = [chosen_of(scenario, given.contestants) for scenario in SCENARIOS]
    chosen = [scenario for scenario in chosen if not given.only or scenario.name in given.only]
    chosen, absent = present(chosen)
    if absent:
        print(f"Left out: {programs.advice(absent)}.", file=sys.stderr)
    if (load := os.getloadavg()[0]) > BUSY:
        print(f"This machine is busy (load {load:.1f}): do not trust the figures.", file=sys.stderr)
    trial = given.rounds < ROUNDS or given.contestants or absent
    results = given.results or (given.work / "results" if trial else report.FOLDER)
    with Bench(given.work.resolve()) as bench:
        for scenario in chosen:
            result = bench.measure(scenario, given.rounds, given.slow_rounds)
            report.add(result, machine.describe(given.work), results)
    print(f"Written to {results / 'RESULTS.md'}")
    return conclude(report.recorded(results).results, [scenario.name for scenario in chosen])


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    scenarios = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--only", help=f"some of {','.join(scenarios)}")
    parser.add_argument("--contestants", help="names as in RESULTS.md, separated by ';'")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--slow-rounds", type=int, default=1)
    parser.add_argument("--work", type=Path, default=WORK, help="where mail is delivered")
    parser.add_argument("--results", type=Path, help="where to write the results")
    given = parser.parse_args()
    given.only = known_names(parser, given.only, ",", scenarios)
    given.contestants = known_names(parser, given.contestants, ";", list(CONTESTANTS))
    given.work.mkdir(parents=True, exist_ok=True)
    return given


def known_names(
    parser: argparse.ArgumentParser, given: str | None, mark: str, known: Sequence[str]
) -> list[str]:
    """The names in an argument; what nobody knows is refused."""
    names = [name.strip() for name in given.split(mark)] if given else []
    if unknown := [name for name in names if name not in known]:
        parser.error(f"{', '.join(unknown)}: unknown, known are {', '.join(known)}")
    return names


def unable() -> str | None:
    """Why nothing at all can be measured here."""
    if reason := dovecot_available():
        return reason
    lacking = programs.missing(("cc", "zstd"))
    return programs.advice(lacking) if lacking else None


def chosen_of(scenario: Scenario, names: Sequence[str]) -> Scenario:
    """The scenario with the named contestants only; with no names, with all."""
    kept = (who for who in scenario.contestants if not names or who.name in names)
    return replace(scenario, contestants=tuple(kept))


def present(scenarios: Sequence[Scenario]) -> tuple[list[Scenario], list[str]]:
    """The scenarios without contestants that are not installed, and what these lack."""
    absent = programs.missing(
        name for scenario in scenarios for who in scenario.contestants for name in who.needs
    )
    kept = [
        replace(
            scenario,
            contestants=tuple(w for w in scenario.contestants if not set(w.needs) & set(absent)),
        )
        for scenario in scenarios
    ]
    return [scenario for scenario in kept if scenario.contestants], absent


def conclude(results: dict[str, Result], measured: Sequence[str]) -> int:
    """Say what was met of the aims of these scenarios; the exit code."""
    failed = False
    for verdict in report.verdicts(results):
        if verdict.target.scenario in measured:
            failed |= verdict.met is False
            print({True: "met    ", False: "MISSED ", None: "-      "}[verdict.met], end="")
            figures = (verdict.measured, verdict.limit)
            shown = ("?" if one is None else report.amount(one, verdict.target.unit)
                     for one in figures)  # fmt: skip
            print(f"{verdict.target.text}: {' against '.join(shown)}")
    rows = [row for name in measured for row in results[name].rows]
    lost = any(len(row.good) < len(row.runs) for row in rows if not CONTESTANTS[row.name].slow)
    return int(failed or lost)


class Bench:
    """One server with its mailboxes, filled when first needed."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._tools = compile_tools(work)
        self._runs = work / "runs"
        self._server = Dovecot(
            sessions_per_process=SESSIONS_PER_PROCESS, idle_processes=IDLE_PROCESSES
        )
        self._expected: dict[str, Expected] = {}

    def __enter__(self) -> "Bench":
        shutil.rmtree(self._runs, ignore_errors=True)  # of a bench that was interrupted
        self._runs.mkdir()
        self._server.__enter__()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.close()
        shutil.rmtree(self._runs)

    def measure(self, scenario: Scenario, rounds: int, slow_rounds: int) -> Result:
        """All rounds of one scenario."""
        print(f"== {scenario.title}", flush=True)
        if shutil.disk_usage(self._work).free < ROOM:
            shutil.rmtree(self._runs)
            self._runs.mkdir()
        runs: dict[str, list[Run]] = {who.name: [] for who in scenario.contestants}
        with self._line(scenario) as port:
            for number in range(rounds):
                for who in turned(scenario.contestants, number):
                    if number < (slow_rounds if who.slow else rounds):
                        runs[who.name].append(self._once(scenario, who, port, number))
        rows = (
            Row(who.name, tuple(runs[who.name]), scenario.slow_factor if who.slow else 1)
            for who in scenario.contestants
            if runs[who.name]
        )
        date = datetime.now(UTC).date().isoformat()
        return Result(scenario.name, date, tuple(rows))

    @contextmanager
    def _line(self, scenario: Scenario) -> Iterator[int]:
        """The port to connect to: the server's, or one from far away."""
        near = self._server.port.pop3
        if not scenario.delay:
            yield near
            return
        with Proxy(self._server.host, near, delay=scenario.delay) as proxy:
            yield proxy.port

    def _once(self, scenario: Scenario, who: Contestant, port: int, number: int) -> Run:
        users = scenario.slow_users if who.slow and scenario.slow_users else scenario.users
        if who.start_up:
            users, port = ("empty",), self._server.port.pop3
        expected = self._mail(users)
        known = scenario.known or who.start_up
        task = Task(
            self._directory(scenario, who, 0 if known else number), self._tools, port, users
        )
        if number == 0 or not known:
            fresh(task)
        if number == 0 and known:
            self._make_known(who, task, expected)
        made = run(who, task, expected, known=known)
        shown = f"{made.seconds:8.3f} s {made.peak_kb / 1024:7.1f} MB {made.messages:7d}"
        print(f"{who.name:28}{shown} {made.problem}", flush=True)
        return made

    def _mail(self, users: tuple[str, ...]) -> Expected:
        """Fill what is not there yet; what the server serves is what is expected."""
        for user in users:
            if user not in self._expected:
                self._server.add_user(user, PASSWORD)
                self._server.fill(user, MAILBOXES[user]())
                with self._server.session(user) as session:
                    self._expected[user] = Expected.of(session.messages())
        total = Expected()
        for user in users:
            total += self._expected[user]
        return total

    def _make_known(self, who: Contestant, task: Task, expected: Expected) -> None:
        """Bring a contestant into the state of having fetched everything."""
        if who.remember is not None:
            for user in task.users:
                uidls = [uidl.decode() for uidl in self._server.uidls(user)]
                who.remember(task, user, uidls)
        elif who.keeps is not Keeps.COUNT:
            started = time.monotonic()
            first = run(replace(who, keeps=Keeps.NOTHING), task, expected)
            took = time.monotonic() - started
            print(f"{who.name:28}{took:8.3f} s to get there {first.problem}", flush=True)

    def _directory(self, scenario: Scenario, who: Contestant, number: int) -> Path:
        plain = "".join(letter if letter.isalnum() else "-" for letter in who.name)
        return self._runs / f"{scenario.name}-{plain}-{number}"


def turned(contestants: Sequence[Contestant], number: int) -> Sequence[Contestant]:
    """The same order, begun with the next one each round."""
    start = number % len(contestants)
    return (*contestants[start:], *contestants[:start])


if __name__ == "__main__":
    sys.exit(main())
