"""The bench: `make bench`, or `python -m benchmarks.run imap`, or `... small --rounds 1`.

It takes names of scenarios or of groups, `pop3` and `imap`; with none, it runs all.
For each scenario: fill the server's mailboxes, then run every contestant once a
round, round after round, each round beginning with another of them, so that a
drifting disk hits all alike. Slow contestants (fdm, fetchmail, getmail6, offlineimap3)
take part in the first `--slow-rounds` rounds only; the table says how many runs each had.

What a run wrote stays until the end of the bench, some 15 GB in all: on a disk that
is told of freed blocks (mount option `discard`) the runs that follow a deletion
were seen to take two to four times as long, and whoever fsyncs most loses most.

RESULTS.md and results.json beside this file get what was measured and keep the rest,
each part with the date of its run. Fewer rounds, named contestants or a missing rival
make it a trial, whose results go to the work directory; so does `--rehearse 50`, which
cuts every mailbox to 50 messages to see that everybody can do the work. The exit code
is 1 when an aim was missed, or when a run failed or lost mail; what befalls a slow
contestant, whom no aim names, is only noted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import machine, programs, report
from benchmarks.bench import Bench
from benchmarks.contestants import CONTESTANTS
from benchmarks.report import Result
from benchmarks.scenarios import GROUPS, SCENARIOS, Scenario
from tests.servers.dovecot import dovecot_available

WORK = Path(__file__).parent / "work"
ROUNDS = 5
BUSY = 0.5  # load average before we begin


def main() -> int:
    """The command."""
    given = arguments()
    if reason := unable():
        print(f"The bench cannot run: {reason}.", file=sys.stderr)
        return 1
    chosen = [chosen_of(scenario, given.contestants) for scenario in named(given.works)]
    chosen, absent = present(chosen)
    if absent:
        print(f"Left out: {programs.advice(absent)}.", file=sys.stderr)
    if (load := os.getloadavg()[0]) > BUSY:
        print(f"This machine is busy (load {load:.1f}): do not trust the figures.", file=sys.stderr)
    trial = given.rounds < ROUNDS or given.contestants or given.rehearse or absent
    results = given.results or (given.work / "results" if trial else report.FOLDER)
    with Bench(given.work.resolve(), rehearse=given.rehearse) as bench:
        for scenario in chosen:
            result = bench.measure(scenario, given.rounds, given.slow_rounds)
            report.add(result, machine.describe(given.work), results)
    print(f"Written to {results / 'RESULTS.md'}")
    made = report.recorded(results).results
    return conclude({scenario.name: made[scenario.name] for scenario in chosen}, given.rehearse)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    works = [*GROUPS, *(scenario.name for scenario in SCENARIOS)]
    parser.add_argument("works", nargs="*", help=f"some of {', '.join(works)}")
    parser.add_argument("--contestants", help="names as in RESULTS.md, separated by ';'")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--slow-rounds", type=int, default=1)
    parser.add_argument("--rehearse", type=int, metavar="MESSAGES", help="in a mailbox, at most")
    parser.add_argument("--work", type=Path, default=WORK, help="where mail is delivered")
    parser.add_argument("--results", type=Path, help="where to write the results")
    given = parser.parse_args()
    asked = given.contestants.split(";") if given.contestants else []
    given.contestants = known_names(parser, asked, list(CONTESTANTS))
    given.works = known_names(parser, given.works, works)
    given.work.mkdir(parents=True, exist_ok=True)
    return given


def known_names(
    parser: argparse.ArgumentParser, given: Sequence[str], known: Sequence[str]
) -> list[str]:
    """The names; what nobody knows is refused."""
    names = [name.strip() for name in given]
    if unknown := [name for name in names if name not in known]:
        parser.error(f"{', '.join(unknown)}: unknown, known are {', '.join(known)}")
    return names


def unable() -> str | None:
    """Why nothing at all can be measured here."""
    if reason := dovecot_available():
        return reason
    lacking = programs.missing(("cc", "zstd"))
    return programs.advice(lacking) if lacking else None


def named(works: Sequence[str]) -> list[Scenario]:
    """The scenarios of these names or groups, in their order; with no names, all."""
    wanted = set(works or GROUPS)
    for group in wanted & set(GROUPS):
        wanted |= {scenario.name for scenario in GROUPS[group]}
    return [scenario for scenario in SCENARIOS if scenario.name in wanted]


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


def conclude(results: dict[str, Result], rehearsed: int | None) -> int:
    """Say what was met of the aims of these scenarios; the exit code."""
    failed = False
    for verdict in report.verdicts(results) if not rehearsed else ():
        if verdict.target.scenario in results:
            failed |= verdict.met is False
            print({True: "met    ", False: "MISSED ", None: "-      "}[verdict.met], end="")
            figures = (verdict.measured, verdict.limit)
            shown = ("?" if one is None else report.amount(one, verdict.target.unit)
                     for one in figures)  # fmt: skip
            print(f"{verdict.target.text}: {' against '.join(shown)}")
    rows = [row for result in results.values() for row in result.rows]
    lost = any(
        len(row.good) < len(row.runs) for row in rows if rehearsed or not CONTESTANTS[row.name].slow
    )
    return int(failed or lost)


if __name__ == "__main__":
    sys.exit(main())
