"""One measured run: prepare, measure, count what came.

The clock and the peak of memory are taken by measure.c around the command alone.
Before each run the dirty pages of what was before are written out, so that nobody
pays for another's. After each run every message is counted and, where a program
keeps octets as they are, matched by digest. A run that leaves a message out, brings
one twice or ends with an error is no figure: its `problem` says why.
"""

import os
import shutil
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks import mail
from benchmarks.contestants import Contestant, Keeps, Task, run_as
from benchmarks.mail import Expected

RUN_DEADLINE = 1_800.0
LEFT_BEHIND = 0.01  # of the messages, by another program than ours
SOURCES = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took and brought; `problem` is empty when all is right."""

    seconds: float
    cpu: float
    peak_kb: int
    messages: int
    exact: int
    problem: str = ""


def compile_tools(work: Path) -> Path:
    """Build the C programs where they are older than their sources; SystemExit says what failed."""
    tools = work / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    newest_header = max(path.stat().st_mtime for path in SOURCES.glob("*.h"))
    for source in SOURCES.glob("*.c"):
        binary = tools / source.stem
        newest = max(newest_header, source.stat().st_mtime)
        if not binary.exists() or binary.stat().st_mtime < newest:
            command = ["cc", "-O2", "-Wall", "-Wextra", "-o", str(binary), str(source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{source.name} does not compile: {done.stderr.strip()}")
    return tools


def fresh(task: Task) -> None:
    """An empty directory with an empty Maildir, as closed as fdm wants it."""
    shutil.rmtree(task.directory, ignore_errors=True)
    for part in ("cur", "new", "tmp"):
        (task.maildir / part).mkdir(parents=True, mode=0o700)
    task.maildir.chmod(0o700)


def run(
    contestant: Contestant,
    task: Task,
    expected: Expected,
    *,
    known: bool = False,
    flagged: int | None = None,
) -> Run:
    """Measure once; with `known`, nothing new must come, and so many messages be flagged then."""
    command = run_as(contestant, task, contestant.prepare(task))
    seconds, cpu, peak_kb, status, output = measure(command, task)
    if status not in contestant.succeeds:
        said = (task.directory / "stderr").read_text(errors="replace").strip().splitlines()
        return Run(seconds, cpu, peak_kb, 0, 0, f"exit {status}: {' '.join(said[-3:])[:300]}")
    try:
        messages, exact, problem = check(contestant, task, expected, output, known=known)
        problem = problem or check_flags(task, flagged)
    except RuntimeError as error:
        messages, exact, problem = 0, 0, str(error)
    return Run(seconds, cpu, peak_kb, messages, exact, problem)


def measure(command: list[str], task: Task) -> tuple[float, float, int, int, str]:
    """Seconds, CPU seconds, peak kilobytes, exit status and standard output."""
    report, out, err = (task.directory.parent / f"{task.directory.name}.{name}" for name in
                        ("report", "stdout", "stderr"))  # fmt: skip
    os.sync()
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [str(task.tools / "measure"), str(report), *command],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            # Nothing of the caller's: settings of any contestant may lie in variables.
            env={"PATH": os.environ["PATH"], "HOME": str(task.directory), "LC_ALL": "C.UTF-8"},
            cwd=task.directory,
            start_new_session=True,
        )
        failed = wait(process)
    shutil.copy(err, task.directory / "stderr")
    if failed:
        return RUN_DEADLINE, 0.0, 0, failed, ""
    seconds, user, system, peak, status = report.read_text().split()
    cpu = float(user) + float(system)
    return float(seconds), cpu, int(peak), int(status), out.read_text(errors="replace")


def wait(process: "subprocess.Popen[bytes]") -> int:
    """Wait for the end; whoever takes too long is ended with all its children."""
    try:
        return process.wait(RUN_DEADLINE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()
    except BaseException:  # Ctrl-C must not leave a contestant running
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


def check(
    contestant: Contestant, task: Task, expected: Expected, output: str, *, known: bool
) -> tuple[int, int, str]:
    """How many messages came, how many octet for octet, and what is wrong with that."""
    match contestant.keeps:
        case Keeps.NOTHING:
            return 0, 0, ""
        case Keeps.COUNT:
            return check_count(expected, output)
        case Keeps.MAILDIR if known:
            # What it was told that it had fetched is not there.
            wanted = expected.crlf.total() if contestant.remember is None else 0
            return check_known(task, wanted)
        case Keeps.MAILDIR:
            return check_maildir(expected.lf, mail.in_maildir(task.maildir), exactly=False)
        case Keeps.ARCHIVE:
            return check_archive(task, expected, known=known)
        case Keeps.BOTH:
            stored = check_archive(task, expected, known=known)
            if stored[2]:
                return stored
            if known:
                return check_known(task, expected.crlf.total())
            return check_maildir(expected.lf, mail.in_maildir(task.maildir), exactly=True)


def check_count(expected: Expected, output: str) -> tuple[int, int, str]:
    """The drain prints messages and octets for each user; a listing has other octets."""
    lines = [line.split() for line in output.splitlines()]
    messages = sum(int(count) for count, _octets in lines)
    octets = sum(int(octets) for _count, octets in lines)
    wanted = expected.crlf.total()
    problem = "" if messages == wanted else f"{messages} messages instead of {wanted}"
    return messages, messages if octets == expected.octets else 0, problem


def check_maildir(
    expected: Counter[str], found: Counter[str], *, exactly: bool
) -> tuple[int, int, str]:
    """By number for everybody, by digest for us.

    Who leaves a few odd messages behind (mbsync does, those with a NUL) has had less to
    do: its time still counts as a limit for us, and the table says how many it brought.
    """
    met = mail.compare(expected, found)
    problem = ""
    lacking = met.expected - met.found
    short = exactly or not 0 <= lacking <= met.expected * LEFT_BEHIND
    if (lacking and short) or (exactly and met.exact != met.expected):
        problem = f"Maildir: {met.found} messages, {met.exact} exact, {met.expected} expected"
    return met.found, met.exact, problem


def check_known(task: Task, wanted: int) -> tuple[int, int, str]:
    """Known mail is only counted."""
    count = sum(1 for _path in mail.messages(task.maildir))
    return 0, 0, "" if count == wanted else f"Maildir: {count} messages, {wanted} expected"


def check_flags(task: Task, wanted: int | None) -> str:
    """Whether the flags came that were changed on the server; None: none were."""
    if wanted is None or (count := mail.flagged(task.maildir)) == wanted:
        return ""
    return f"Maildir: {count} messages flagged, {wanted} expected"


def check_archive(task: Task, expected: Expected, *, known: bool) -> tuple[int, int, str]:
    """Unpacked and matched; a polled archive of known mail is only counted."""
    data = task.directory / "data"
    if known:
        count, wanted = mail.archived(data), expected.crlf.total()
        return 0, 0, "" if count == wanted else f"archive: {count} messages, {wanted} expected"
    met = mail.compare(expected.crlf, mail.in_archive(data))
    problem = ""
    if (met.exact, met.found) != (met.expected, met.expected):
        problem = f"archive: {met.found} messages, {met.exact} exact, {met.expected} expected"
    return met.found, met.exact, problem
