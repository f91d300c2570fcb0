"""RESULTS.md and results.json, written from the runs and from nothing else.

results.json is the record: a scenario measured again replaces its old figures,
the others stay with the date of their run, unless they are of another machine. RESULTS.md is
rendered from it whole, so it must never be edited by hand.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.contestants import (
    DRAIN,
    DRAIN_DURABLE,
    DRAIN_IMAP,
    DRAIN_IMAP_DURABLE,
    DRAIN_STATUS,
    DRAIN_UIDL,
)
from benchmarks.machine import HARDWARE
from benchmarks.running import Run
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.targets import TARGETS, Verdict, judge

# The first of them that was measured is what the others are set against.
DRAINS = (DRAIN_DURABLE, DRAIN_UIDL, DRAIN, DRAIN_IMAP_DURABLE, DRAIN_STATUS, DRAIN_IMAP)
FOLDER = Path(__file__).parent
HEAD = """\
# Results

Written by `make bench` (`python -m benchmarks.run`); never by hand. Whole processes, wall time,
medians of interleaved runs on one Dovecot on loopback; each program with the durability it has
by default (fetchd, mpop, mbsync, offlineimap3, fdm, procmail and getmail6 fsync), and mbsync also
without. The drain is a C client that only reads (drain_pop3.c, drain_imap.c); the durable one
appends to one file, with fdatasync per 100 messages or 1 MB. After every run all messages were
counted and matched by SHA-256 with what the server serves; "exact" is how many came through octet
for octet (Maildir: LF for CRLF). S is a no-change sync of an empty account. A contestant of which
one run failed counts for no aim. Parts may be of different runs, as each says: compare only within
one part. Times are of one machine: read the ratios.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant in one scenario."""

    name: str
    runs: tuple[Run, ...]
    factor: int = 1  # a smaller mailbox stood for the whole

    @property
    def good(self) -> list[Run]:
        return [run for run in self.runs if not run.problem]

    @property
    def seconds(self) -> float:
        return median(run.seconds for run in self.good) * self.factor

    @property
    def megabytes(self) -> float:
        return max(run.peak_kb for run in self.good) / 1024


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario's figures; those by name are of contestants whose every run was good."""

    scenario: str
    date: str  # when the bench that it is from began
    rows: tuple[Row, ...]

    @property
    def sound(self) -> list[Row]:
        return [row for row in self.rows if len(row.good) == len(row.runs)]

    @property
    def seconds(self) -> dict[str, float]:
        return {row.name: row.seconds for row in self.sound}

    @property
    def megabytes(self) -> dict[str, float]:
        return {row.name: row.megabytes for row in self.sound}


@dataclass(frozen=True, slots=True)
class Record:
    """What results.json holds: the machine, and results by scenario."""

    machine: dict[str, str]
    results: dict[str, Result]


def verdicts(results: Mapping[str, Result]) -> list[Verdict]:
    """Every target, whether its scenario was measured or not."""
    found = []
    for target in TARGETS:
        result = results.get(target.scenario)
        found.append(
            judge(target, result.seconds if result else {}, result.megabytes if result else {})
        )
    return found


# -- The record ----------------------------------------------------------------------


def recorded(folder: Path = FOLDER) -> Record:
    """What was kept so far."""
    path = folder / "results.json"
    if not path.exists():
        return Record({}, {})
    kept = json.loads(path.read_text())
    results = {name: from_json(result) for name, result in kept["results"].items()}
    return Record(kept["machine"], results)


def from_json(result: dict[str, object]) -> Result:
    """Undo asdict()."""
    rows = result["rows"]
    assert isinstance(rows, list)
    made = tuple(
        Row(row["name"], tuple(Run(**run) for run in row["runs"]), row["factor"]) for row in rows
    )
    return Result(str(result["scenario"]), str(result["date"]), made)


def add(result: Result, machine: Mapping[str, str], folder: Path = FOLDER) -> None:
    """Write the record with this result in it, and the page."""
    kept = recorded(folder)
    same = all(kept.machine.get(part) == machine.get(part) for part in HARDWARE)
    record = Record(dict(machine), {**(kept.results if same else {}), result.scenario: result})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(asdict(record), indent=1) + "\n")
    (folder / "RESULTS.md").write_text(render(record))


# -- The page ------------------------------------------------------------------------


def render(record: Record) -> str:
    """RESULTS.md."""
    parts = [HEAD, "## The machine\n", table([("", ""), *record.machine.items()])]
    parts += ["## The aims\n", table(aims(record.results))]
    for scenario in SCENARIOS:
        if result := record.results.get(scenario.name):
            parts += [f"## {scenario.title}\n", f"Of the run of {result.date}.\n"]
            parts += [table(figures(scenario, result)), *notes(scenario, result)]
    return "\n".join(parts)


def aims(results: Mapping[str, Result]) -> list[tuple[str, ...]]:
    """A line for each target."""
    lines: list[tuple[str, ...]] = [("aim", "limit", "measured", "met")]
    for verdict in verdicts(results):
        unit = verdict.target.unit
        measured, limit = (
            "not measured" if value is None else amount(value, unit)
            for value in (verdict.measured, verdict.limit)
        )
        met = {True: "yes", False: "**no**", None: "-"}[verdict.met]
        lines.append((verdict.target.text, limit, measured, met))
    return lines


def figures(scenario: Scenario, result: Result) -> list[tuple[str, ...]]:
    """A line for each contestant, the fastest first."""
    rival = scenario.rival.name
    lines: list[tuple[str, ...]] = [
        ("", "median s", "lowest to highest", f"of {rival}", "of the drain", "CPU s", "peak MB",
         "messages", "exact", "runs"),
    ]  # fmt: skip
    rows = sorted((row for row in result.rows if row.good), key=lambda row: row.seconds)
    for row in rows:
        seconds = [run.seconds * row.factor for run in row.good]
        lines.append(
            (
                row.name,
                ("~" if row.factor > 1 else "") + f"{row.seconds:.3f}",
                f"{min(seconds):.3f} to {max(seconds):.3f}",
                ratio(row.seconds, result.seconds.get(rival)),
                ratio(row.seconds, drained(result)),
                f"{median(run.cpu for run in row.good) * row.factor:.2f}",
                f"{row.megabytes:.1f}",
                str(row.good[-1].messages or "-"),
                exact(scenario, row.good[-1]),
                str(len(row.good)),
            )
        )
    return lines


def exact(scenario: Scenario, run: Run) -> str:
    """How many came octet for octet; nothing to say where none should come."""
    return str(run.exact) if run.messages and not scenario.known else "-"


def notes(scenario: Scenario, result: Result) -> list[str]:
    """What the table cannot say."""
    said = []
    if any(row.factor > 1 for row in result.rows):
        said.append(f"~ measured on a {scenario.slow_factor}th of the messages and multiplied.\n")
    for row in result.rows:
        problems = [run.problem for run in row.runs if run.problem]
        if problems:
            count = f"{len(problems)} of {len(row.runs)}"
            said.append(f"{row.name}: {count} runs failed, the last: {problems[-1]}\n")
    return said


def drained(result: Result) -> float | None:
    """The drain that a scenario's figures are set against."""
    names = (who.name for who in DRAINS)
    return next((result.seconds[name] for name in names if name in result.seconds), None)


def ratio(value: float, base: float | None) -> str:
    """Two digits that matter."""
    return "-" if not base else f"{value / base:.2f}"


def amount(value: float, unit: str) -> str:
    """A figure with its unit."""
    return f"{value:.3f} s" if unit == "s" else f"{value:.0f} {unit}"


def table(lines: Sequence[tuple[str, ...]]) -> str:
    """Markdown; the first line is the head."""
    head, *rest = lines
    rule = tuple("---" for _ in head)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rest)) + "\n"
