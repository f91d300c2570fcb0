"""`fetchd top`: what is drawn of a snapshot, and how it stays."""

import json
import os
import pty
import select
import signal
import subprocess
import time
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from rich.console import Console, Group

from fetchd.cli.top import document
from fetchd.cli.top_rates import Rate, Rates
from fetchd.cli.top_screen import Screen
from fetchd.pipeline.snapshot import AccountView, DestinationView, Doing, Snapshot
from tests.cli.at_service import START, AtService, Scripted, run, snapshot
from tests.cli.conftest import spawn
from tests.pipeline.home import Home

NOW = START + timedelta(hours=3)


def drawn(*snapshots: Snapshot, rows: int = 40, columns: int = 160, away: bool = False) -> str:
    screen = Screen()
    for one in snapshots:
        screen.add(one)
    screen.away = away
    console = Console(file=StringIO(), width=columns, color_system=None, highlight=False)
    console.print(Group(*screen.drawn(rows, columns)))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def many(count: int, **more: Any) -> tuple[AccountView, ...]:
    return tuple(AccountView(f"a{i:04}", "imap", Doing.WATCHING, **more) for i in range(count))


def words(text: str) -> list[str]:
    return text.split()


# -- What is drawn -------------------------------------------------------------------------


def test_a_sync_shows_how_far_it_is_and_who_waits_shows_until_when() -> None:
    lines = drawn(snapshot()).splitlines()
    assert "process 4321, up 3 h | 1 syncing, 0 queued | 1 connection" in lines[0]
    assert "7 messages (7.0 kB) fetched" in lines[1]
    assert lines[2].split()[:3] == ["ACCOUNT", "DOING", "PROGRESS"]
    assert lines[3].split() == words("work syncing fetching 120/400, 30 % 1 h 0 0 B")
    assert lines[4].split() == words("private waiting in 4 min 7 7.0 kB")
    assert lines[6].split()[0] == "DESTINATION"
    assert lines[7].split() == words("home maildir 3 0 9")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ready": False}, "not ready"),
        ({"healthy": False}, "stuck"),
        ({"network": False}, "no network"),
        ({"alerts": 2}, "2 alerts: 'fetchd status'"),
        ({"reload_refused": "fetchd.toml:3: no\nsuch key"}, "refused: fetchd.toml:3: no such key"),
        ({"unready": ("the data\nfolder is full",)}, "the data folder is full"),
        ({"unhealthy": ("the loop is stuck",)}, "the loop is stuck"),
        ({"lateness": (0.1, 0.2, 7.0)}, "late by 0.2 s, 99 % below 7.0 s"),
    ],
)
def test_what_is_wrong_stands_on_top(changed: dict[str, Any], said: str) -> None:
    assert said in "".join(drawn(snapshot(**changed)).splitlines()[:3])
    assert said not in drawn(snapshot())


def test_those_that_do_something_or_need_somebody_stand_first() -> None:
    accounts = tuple(
        AccountView(name, "imap", doing, next_at=at)
        for name, doing, at in (
            ("m", Doing.MANUAL, None),
            ("later", Doing.WAITING, NOW + timedelta(minutes=2)),
            ("soon", Doing.WAITING, NOW + timedelta(minutes=1)),
            ("idle", Doing.WATCHING, None),
            ("spent", Doing.PAUSED, None),
            ("ill", Doing.BACKING_OFF, None),
            ("dead", Doing.HALTED, None),
            ("next", Doing.QUEUED, None),
            ("b", Doing.SYNCING, None),
            ("a", Doing.SYNCING, None),
        )
    )
    lines = drawn(snapshot(accounts=accounts, destinations=())).splitlines()[3:]
    shown = [line.split()[0] for line in lines if line.strip()]
    assert shown == words("a b next dead ill spent idle soon later m")


def test_every_doing_has_its_place() -> None:
    for doing in Doing:
        assert str(doing) in drawn(snapshot(accounts=(AccountView("x", "imap", doing),)))


def test_why_is_told_without_what_a_terminal_would_obey() -> None:
    ill = AccountView("work", "imap", Doing.HALTED, why="it says\n\x1b[31mno [AUTH]", failures=3)
    text = drawn(snapshot(accounts=(ill,)))
    assert "it says \\x1b[31mno [AUTH]" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("rows", [0, 1, 5, 10, 24, 50])
@pytest.mark.parametrize("columns", [20, 80, 200])
@pytest.mark.parametrize(("accounts", "destinations"), [(2000, 40), (2000, 0), (1, 40), (0, 0)])
def test_it_fits_the_terminal(rows: int, columns: int, accounts: int, destinations: int) -> None:
    places = tuple(DestinationView(f"d{i}", "smtp", why="w" * 300) for i in range(destinations))
    one = snapshot(accounts=many(accounts, why="x" * 300), destinations=places)
    lines = drawn(one, rows=rows, columns=columns).splitlines()
    assert len(lines) <= rows
    assert all(len(line) <= columns for line in lines)


def test_the_least_important_columns_go_first() -> None:
    ill = AccountView("work", "imap", Doing.BACKING_OFF, why="connection refused", failures=3)
    one = snapshot(accounts=(*snapshot().accounts, ill))
    heads = [words(drawn(one, columns=columns).splitlines()[2]) for columns in (200, 80, 50)]
    assert heads == [
        words("ACCOUNT DOING PROGRESS SINCE NEXT MESSAGES SIZE FAILURES WHY"),
        words("ACCOUNT DOING PROGRESS FAILURES WHY"),
        words("ACCOUNT DOING WHY"),
    ]


def test_those_that_do_not_fit_are_counted() -> None:
    accounts = (*many(2000), AccountView("z", "imap", Doing.SYNCING))
    lines = drawn(snapshot(accounts=accounts, destinations=()), rows=24).splitlines()
    assert len(lines) == 24
    assert lines[3].startswith("z ")
    assert lines[-1].rstrip() == "and 1,981 accounts more: 1,981 watching"


def test_a_service_that_went_away_is_told_and_what_it_did_is_kept() -> None:
    text = drawn(snapshot(), away=True)
    assert text.startswith("The service went away after ")
    assert "work" in text


# -- Rates ---------------------------------------------------------------------------------


def at(seconds: float, **more: int) -> Snapshot:
    account = AccountView(
        "work", "imap", Doing.SYNCING, received=more.get("received", 0), sent=more.get("sent", 0),
        fetched=more.get("fetched", 0),
    )  # fmt: skip
    place = DestinationView("home", "maildir", delivered=more.get("delivered", 0))
    return snapshot(at=NOW + timedelta(seconds=seconds), accounts=(account,), destinations=(place,))


@pytest.mark.parametrize(
    ("first", "last", "account", "destination"),
    [
        (at(0), at(0), Rate(), 0.0),
        (at(0), at(-5, received=10), Rate(), 0.0),  # its clock was put back
        (at(0), at(2, received=1000, sent=20, fetched=4, delivered=8), Rate(500, 10, 2), 4.0),
        (at(0, received=1000), at(2), Rate(), 0.0),  # counted anew
        (snapshot(accounts=(), destinations=()), at(2, received=1000), Rate(), 0.0),  # it is new
    ],
)
def test_rates(first: Snapshot, last: Snapshot, account: Rate, destination: float) -> None:
    rates = Rates(first, last)
    assert rates.account("work") == account
    assert rates.destination("home").delivered == destination
    assert rates.account("nobody") == Rate()
    assert rates.total.received == account.received
    assert rates.total.delivered == destination


def test_a_rate_is_drawn_and_not_across_a_restart() -> None:
    first, last = at(0), at(2, received=3_000_000, fetched=9)
    assert "1.5 MB/s" in drawn(first, last)
    text = drawn(snapshot(started_at=START - timedelta(hours=9), accounts=first.accounts), last)
    assert "MB/s" not in text


# -- The command ---------------------------------------------------------------------------


def test_once_and_whole(here: Home) -> None:
    handler = Scripted()
    handler.view = snapshot(accounts=many(500, why="x" * 300))
    with AtService(here.data, handler):
        for words in (("top", "--once"), ("top",)):
            ran = run(here, *words)
            assert ran.code == 0
            assert ran.out.count("x" * 300) == 500
            assert "\x1b" not in ran.out
            assert all(line == line.rstrip() for line in ran.out.splitlines())


def test_its_document_is_the_snapshot(here: Home) -> None:
    with AtService(here.data) as service:
        told = run(here, "top", "--json").document
        assert told == json.loads(json.dumps(document(service.handler.view)))
    assert told["at"] == "2026-11-25T12:00:00Z"
    assert told["accounts"][1]["doing"] == "syncing"


class Terminal:
    """Somebody who sits before `fetchd top`."""

    def __init__(self, here: Home, *words: str) -> None:
        self._parent, child = pty.openpty()
        environment = {"TERM": "xterm", "COLUMNS": "160", "LINES": "30"}
        self.process: subprocess.Popen[str] = spawn(
            here, "top", *words, stdout=child, text=True, environment=environment
        )
        os.close(child)
        self.seen = b""

    def sees(self, what: bytes, seconds: float = 20) -> None:
        """Wait until it is drawn; what was drawn before does not count."""
        until = time.monotonic() + seconds
        fresh = b""
        while what not in fresh:
            assert time.monotonic() < until, fresh
            if select.select([self._parent], [], [], 0.1)[0]:
                fresh += os.read(self._parent, 1 << 16)
        self.seen += fresh

    def ends(self) -> tuple[int, str]:
        """Its exit code, and what it said on standard error."""
        with suppress(OSError):  # EIO: the other side is closed
            while piece := os.read(self._parent, 1 << 16):
                self.seen += piece
        _, err = self.process.communicate(timeout=20)
        os.close(self._parent)
        return self.process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_terminal_sees_it_move_and_is_given_back(here: Home, number: signal.Signals) -> None:
    with AtService(here.data) as service:
        terminal = Terminal(here, "--interval", "0.5")
        terminal.sees(b"120/400")
        service.handler.view = snapshot(alerts=7)
        terminal.sees(b"7 alerts")
        terminal.process.send_signal(number)
        assert terminal.ends() == (0, "")
    assert terminal.seen.rindex(b"\x1b[?1049l") > terminal.seen.rindex(b"\x1b[?1049h")
    assert terminal.seen.rindex(b"\x1b[?25h") > terminal.seen.rindex(b"\x1b[?25l")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_service_that_goes_away_is_waited_for(here: Home, number: signal.Signals) -> None:
    with AtService(here.data):
        terminal = Terminal(here)
        terminal.sees(b"120/400")
    terminal.sees(b"went away")
    handler = Scripted()
    handler.view = snapshot(pid=777)
    with AtService(here.data, handler):
        terminal.sees(b"process 777")
    terminal.sees(b"went away")
    terminal.process.send_signal(number)
    assert terminal.ends() == (0, "")
    assert terminal.seen.rindex(b"\x1b[?1049l") > terminal.seen.rindex(b"\x1b[?1049h")


def test_without_a_service_a_terminal_is_told_so(here: Home) -> None:
    terminal = Terminal(here)
    code, err = terminal.ends()
    assert code == 1
    assert "No service is running" in err
    assert terminal.seen == b""
