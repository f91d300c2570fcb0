"""One server with its mailboxes, and the rounds of a scenario on it.

Mailboxes are filled when first needed and stay as they are. Where all mail is known
before the clock runs, a contestant is brought there once in a bench, whatever
scenarios need it.
"""

import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from benchmarks.contestants import PASSWORD, Contestant, Keeps, Protocol, Task
from benchmarks.mail import Expected
from benchmarks.report import Result, Row
from benchmarks.running import Run, compile_tools, fresh, run
from benchmarks.scenarios import USERS, Scenario
from tests.servers.dovecot import Dovecot
from tests.servers.mail import Mail
from tests.servers.proxy import Proxy

ROOM = 10_000_000_000  # octets that the largest scenario may need
# Sessions that one server process serves before it is replaced: starting a process
# for each of hundreds of logins would be measured as the clients' time.
SESSIONS_PER_PROCESS = 100
IDLE_PROCESSES = 4
# No line here is too narrow. mbsync takes the offer on loopback too, and would be measured
# waiting for the server to deflate: ten times as long for ten messages of 30 MB.
HIDDEN = ("COMPRESS=DEFLATE",)
EMPTY = ("empty",)
FLAG = "\\Flagged"


@dataclass(frozen=True, slots=True)
class Work:
    """What one contestant has to do in one scenario."""

    task: Task
    expected: Expected
    known: bool


class Bench:
    """Use it as a context; `rehearse` cuts every mailbox to so many messages."""

    def __init__(self, work: Path, *, rehearse: int | None = None) -> None:
        self._work = work
        self._rehearse = rehearse
        self._began = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        self._tools = compile_tools(work)
        self._runs = work / "runs"
        self._server = Dovecot(
            sessions_per_process=SESSIONS_PER_PROCESS, idle_processes=IDLE_PROCESSES, hide=HIDDEN
        )
        self._mailboxes: dict[str, tuple[str, ...]] = {}
        self._expected: dict[tuple[str, Protocol], Expected] = {}
        self._ready: set[Path] = set()

    def __enter__(self) -> "Bench":
        self._clear()  # of a bench that was interrupted
        self._server.__enter__()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.close()
        shutil.rmtree(self._runs)

    def measure(self, scenario: Scenario, rounds: int, slow_rounds: int) -> Result:
        """All rounds of one scenario."""
        print(f"== {scenario.title}", flush=True)
        if shutil.disk_usage(self._work).free < ROOM:
            self._clear()
        runs: dict[str, list[Run]] = {who.name: [] for who in scenario.contestants}
        with self._line(scenario) as port:
            for who in scenario.contestants:
                self._make_ready(who, self._work_of(scenario, who, port, 0))
            for number in range(rounds):
                flagged = self._flag(scenario, number) if scenario.flagged else None
                for who in turned(scenario.contestants, number):
                    if number < (slow_rounds if who.slow else rounds):
                        made = self._once(scenario, who, port, number, flagged)
                        runs[who.name].append(made)
        rows = (
            Row(who.name, tuple(runs[who.name]), scenario.slow_factor if who.slow else 1)
            for who in scenario.contestants
            if runs[who.name]
        )
        return Result(scenario.name, self._began, tuple(rows))

    def _clear(self) -> None:
        shutil.rmtree(self._runs, ignore_errors=True)
        self._runs.mkdir()
        self._ready.clear()

    @contextmanager
    def _line(self, scenario: Scenario) -> Iterator[int]:
        """The port to connect to: the server's, or one from far away."""
        near = self._port(scenario)
        if not scenario.delay:
            yield near
            return
        with Proxy(self._server.host, near, delay=scenario.delay) as proxy:
            yield proxy.port

    def _port(self, scenario: Scenario) -> int:
        ports = self._server.port
        return ports.imap if scenario.protocol == "imap" else ports.pop3

    def _work_of(self, scenario: Scenario, who: Contestant, port: int, number: int) -> Work:
        users = scenario.slow_users if who.slow and scenario.slow_users else scenario.users
        if who.start_up:
            users, port = EMPTY, self._port(scenario)
        expected = self._mail(users, scenario.protocol)
        known = scenario.known or who.start_up
        task = Task(
            self._directory(scenario, who, users, None if known else number),
            self._tools,
            port,
            users,
            self._mailboxes[users[0]],
        )
        return Work(task, expected, known)

    def _directory(
        self, scenario: Scenario, who: Contestant, users: Sequence[str], number: int | None
    ) -> Path:
        """What is known stays from scenario to scenario."""
        plain = "".join(letter if letter.isalnum() else "-" for letter in who.name)
        what = f"known-{users[0]}" if number is None else scenario.name
        return self._runs / f"{what}-{plain}-{number or 0}"

    def _once(
        self, scenario: Scenario, who: Contestant, port: int, number: int, flagged: int | None
    ) -> Run:
        work = self._work_of(scenario, who, port, number)
        if not work.known:
            fresh(work.task)
        changed = None if who.start_up else flagged
        made = run(who, work.task, work.expected, known=work.known, flagged=changed)
        shown = f"{made.seconds:8.3f} s {made.peak_kb / 1024:7.1f} MB {made.messages:7d}"
        print(f"{who.name:32}{shown} {made.problem}", flush=True)
        return made

    # -- What must be there before the clock runs ------------------------------------

    def _mail(self, users: tuple[str, ...], protocol: Protocol) -> Expected:
        """Fill what is not there yet; what the server serves is what is expected."""
        total = Expected()
        for user in users:
            if user not in self._mailboxes:
                self._fill(user)
            if (user, protocol) not in self._expected:
                served = self._served(user, protocol)
                self._expected[user, protocol] = Expected.of(served)
            total += self._expected[user, protocol]
        return total

    def _fill(self, user: str) -> None:
        self._server.add_user(user, PASSWORD)
        contents = USERS[user]()
        for mailbox, messages in contents.items():
            chosen = islice(messages, self._rehearse)
            self._server.fill(
                user, (Mail(octets, ("\\Seen",)) for octets in chosen), mailbox=mailbox
            )
        self._mailboxes[user] = tuple(contents)

    def _served(self, user: str, protocol: Protocol) -> Iterable[bytes]:
        """POP3 ends every message with a line's end; IMAP gives it as it is."""
        if protocol == "pop3":
            with self._server.session(user) as session:
                yield from session.messages()
            return
        with self._server.client(user) as client:
            for mailbox in self._mailboxes[user]:
                yield from client.octets(mailbox).values()

    def _make_ready(self, who: Contestant, work: Work) -> None:
        """Bring a contestant into the state of having fetched everything, where it must be."""
        task = work.task
        if not work.known or task.directory in self._ready:
            return
        fresh(task)
        self._ready.add(task.directory)
        if who.remember is not None:
            for user in task.users:
                uidls = [uidl.decode() for uidl in self._server.uidls(user)]
                who.remember(task, user, uidls)
        elif who.keeps is not Keeps.COUNT:
            started = time.monotonic()
            way = replace(who, prepare=who.hurried or who.prepare, keeps=Keeps.NOTHING)
            first = run(way, task, work.expected)
            took = time.monotonic() - started
            print(f"{who.name:32}{took:8.3f} s to get there {first.problem}", flush=True)

    def _flag(self, scenario: Scenario, number: int) -> int:
        """Flag some messages of each mailbox, or take the flags away; how many then have one."""
        change = "add" if number % 2 == 0 else "drop"
        changed = 0
        for user in scenario.users:
            self._mail((user,), scenario.protocol)
            mailboxes = self._mailboxes[user]
            share = -(-scenario.flagged // (len(mailboxes) * len(scenario.users)))
            with self._server.client(user) as client:
                for mailbox in mailboxes:
                    uids = client.uids(mailbox)[: min(share, scenario.flagged - changed)]
                    client.flag(mailbox, uids, **{change: (FLAG,)})
                    changed += len(uids)
        return changed if change == "add" else 0


def turned(contestants: Sequence[Contestant], number: int) -> Sequence[Contestant]:
    """The same order, begun with the next one each round."""
    start = number % len(contestants)
    return (*contestants[start:], *contestants[:start])
