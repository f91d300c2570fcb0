"""The service under load: a shortened soak, and that the soak would see what it looks for.

`python -m benchmarks.soak --minutes 30` is the long form, `python -m benchmarks.many` the
round over thousands of accounts.
"""

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import many, soak, usage
from benchmarks.contestants import Task
from benchmarks.fleet import Member, write_settings
from benchmarks.mail import Difference, Expected
from benchmarks.many import Measured, Round
from benchmarks.programs import advice, missing
from benchmarks.soak_figures import Figures, arrivals, quantile
from benchmarks.soak_service import SAMPLE
from benchmarks.soak_site import NUMBER, Sent, Site
from benchmarks.verdict import Line, all_hold, table
from fetchd.settings import load
from tests.lacking import lacking

SHORT = soak.Plan(
    accounts=12, seconds=15.0, rate=6.0, cut_every=5.0, restart_every=7.0, poll="10s", seed=5
)
ALL_THERE = Difference(expected=2, exact=2, missing=0, twice=0, foreign=0)


@pytest.mark.live
def test_nothing_is_lost_and_nothing_comes_twice_while_lines_are_cut_and_the_server_restarts(
    tmp_path: Path,
) -> None:
    figures = soak.soak(tmp_path, SHORT)
    lines = figures.lines()
    assert all_hold(lines), table(lines)
    # Else it proved nothing.
    assert figures.sent > 50
    assert figures.restarts >= 1
    assert figures.cuts >= 1
    assert len(figures.polled) > 10
    assert len(figures.pushed) > 10
    # What comes while a server is down or just up again waits; the rest does not.
    swift = quantile(figures.pushed, 0.25)
    assert swift is not None
    assert swift < 2


@pytest.mark.live
def test_a_round_over_many_accounts_in_small(tmp_path_factory: pytest.TempPathFactory) -> None:
    if absent := missing(["cc"]):
        lacking(advice(absent))
    measured = many.poll_all(tmp_path_factory.mktemp("many"), 40)
    lines = many.verdicts(measured)
    assert all_hold(lines), table(lines)
    assert measured.archive.exact == measured.maildir.exact == 40
    assert measured.far.seconds > measured.few.seconds  # the way there was felt
    assert measured.first.server_cpu > 0
    assert "The bottleneck is" in many.extrapolation(measured)


# -- What a soak sees --------------------------------------------------------------------


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site(4, random.Random(1)) as running:
        yield running


@pytest.mark.live
def test_what_was_sent_is_what_the_server_hands_out(site: Site) -> None:
    before = len(site.sent)
    for _ in range(6):
        site.send()
    site.restart()
    for _ in range(3):
        site.send()
    assert site.expected().crlf.total() == len(site.sent) == before + 9
    assert {sent.member.protocol for sent in site.sent.values()} == {"pop3", "imap"}
    assert site.restarts == 1


def numbered(number: int) -> bytes:
    return f"Subject: x\n{NUMBER}: {number}\n\nbody {number}\n".encode()


def maildir(folder: Path, *messages: bytes) -> Path:
    (folder / "new").mkdir(parents=True)
    for position, message in enumerate(messages):
        (folder / "new" / f"{position}").write_bytes(message)
    return folder


def test_a_message_that_is_missing_and_one_that_is_twice_are_found_out(tmp_path: Path) -> None:
    maildir(tmp_path / "Maildir", numbered(1), numbered(2), numbered(2))
    (tmp_path / "data").mkdir()
    expected = Expected.of([numbered(n).replace(b"\n", b"\r\n") for n in (1, 2, 3)])
    figures = Figures(accounts=2)
    figures.look(tmp_path, expected, {})
    amiss = {line.what: line.measured for line in figures.lines() if not line.holds}
    assert amiss["missing in the Maildir"] == 1
    assert amiss["in the Maildir twice, or sent by nobody"] == 1
    assert amiss["missing in the archive"] == 3


def test_how_long_each_was_under_way_is_told_by_protocol(tmp_path: Path) -> None:
    maildir(tmp_path / "Maildir", numbered(1), numbered(2), b"no number\n\n")
    (tmp_path / "data").mkdir()
    now = time.time()
    figures = Figures(accounts=2)
    sent = {
        1: Sent(Member("a", "imap", 1), now - 5),
        2: Sent(Member("b", "pop3", 1), now - 50),
    }
    figures.look(tmp_path, Expected(), sent)
    assert 4 < figures.pushed[0] < 10
    assert 49 < figures.polled[0] < 55
    assert set(arrivals(tmp_path / "Maildir")) == {1, 2}


@pytest.mark.parametrize(
    ("a_minute", "seconds", "expected"),
    [
        (0.0, 1_800, 0.0),
        (1.0, 1_800, 60.0),
        (-0.5, 600, -30.0),
    ],
)
def test_the_slope_of_memory(a_minute: float, seconds: int, expected: float) -> None:
    figures = Figures(accounts=1, seconds=seconds)
    settling = min(300, seconds // 5)
    figures.memory = [
        (at, 100 + (50 if at < settling else 0) + a_minute * at / 60) for at in range(seconds)
    ]
    assert figures.slope() == pytest.approx(expected, abs=1e-6)


def whole(**changed: object) -> Figures:
    """All well."""
    made = Figures(
        accounts=2, seconds=1_440, memory=[(at, 100.0) for at in range(1_440)], late=[0.1],
        idle_cpu=0.01, sent=2, archive=ALL_THERE, maildir=ALL_THERE, pushed=[0.5], polled=[9.0],
        exit_code=0, stopping=0.3,
    )  # fmt: skip
    for name, value in changed.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"memory": [(at, 100 + at / 1_000) for at in range(1_440)]}, "memory, slope"),
        ({"memory": [(at, 201.0) for at in range(1_440)]}, "memory, most"),
        ({"memory": []}, "memory, most"),
        ({"pushed": [2.5]}, "server to Maildir by IDLE, median"),
        ({"pushed": []}, "server to Maildir by IDLE, median"),
        ({"late": [0.1, 2.5, 0.1]}, "schedule lateness"),
        ({"late": []}, "schedule lateness"),
        ({"idle_cpu": 0.021}, "CPU while nothing arrives"),
        ({"idle_cpu": None}, "CPU while nothing arrives"),
        ({"tracebacks": 1}, "tracebacks"),
        ({"exit_code": 1}, "exit code"),
        ({"exit_code": None}, "exit code"),
        ({"exit_code": -9}, "exit code"),
        ({"stopping": 31.0}, "seconds until it had stopped"),
        ({"archive": None}, "missing in the archive"),
        ({"maildir": Difference(2, 1, 1, 0, 0)}, "missing in the Maildir"),
        ({"maildir": Difference(2, 2, 0, 0, 1)}, "in the Maildir twice"),
    ],
)
def test_each_limit_that_is_passed_is_found_out(changed: dict[str, object], what: str) -> None:
    assert all_hold(whole().lines())
    amiss = [line.what for line in whole(**changed).lines() if not line.holds]
    assert any(one.startswith(what) for one in amiss), amiss


def test_a_shortened_pass_tells_a_slope_and_does_not_judge_it() -> None:
    short = whole(seconds=20, memory=[(0, 50.0), (10, 60.0), (20, 70.0)])
    assert all_hold(short.lines())
    assert "| memory, slope after the first fifth | 3,600 MB/h |  |  |" in table(short.lines())


# -- What many sees ------------------------------------------------------------------------


def many_measured(**changed: object) -> Measured:
    few, far = Round(1.0, 0.5, 0.1, 50.0), Round(11.0, 0.5, 0.1, 50.0)
    made: dict[str, object] = {
        "accounts": 2_020, "few": few, "far": far, "first": Round(41.0, 20.5, 9.0, 150.0),
        "second": Round(21.0, 10.5, 5.0, 150.0), "archive": ALL_THERE, "maildir": ALL_THERE,
    }  # fmt: skip
    return Measured(**{**made, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({}, True),
        ({"first": Round(60.5, 20.0, 9.0, 150.0)}, False),
        ({"first": Round(41.0, 20.0, 9.0, 401.0)}, False),
        ({"second": Round(1.0, 1.0, 1.0, 1.0, "exit 1")}, False),
        ({"archive": Difference(2, 1, 1, 0, 0)}, False),
        ({"maildir": Difference(2, 2, 0, 1, 0)}, False),
    ],
)
def test_the_limits_of_a_round_over_many(changed: dict[str, object], holds: bool) -> None:
    assert all_hold(many.verdicts(many_measured(**changed))) == holds


def test_what_one_host_carries_is_scaled_by_what_runs_out_first() -> None:
    told = many.extrapolation(many_measured())
    # 10 ms of CPU an account; half a second a poll on each of 16 connections; 50 KB an account.
    assert "30,000 by the one core of fetchd's process" in told
    assert "9,600 by 16 connections with servers 50 ms away" in told
    assert "79,000 by 4 GB of memory" in told
    assert told.count("The bottleneck is 16 connections with servers 50 ms away, then") == 2


# -- Their tools -----------------------------------------------------------------------------


def test_the_table_of_a_verdict() -> None:
    lines = [
        Line("fast", 1.25, 2.0, "s"),
        Line("slow", 2.0, 2.0, "s"),
        Line("lost", 1, 0, ""),
        Line("told", 1_234.5, None, "MB"),
        Line("unseen", None, 3.0, "s"),
        Line("enough", 3.0, 3.0, "x", least=True),
    ]
    assert table(lines).splitlines()[2:] == [
        "| fast | 1.25 s | under 2 s | yes |",
        "| slow | 2 s | under 2 s | NO |",
        "| lost | 1 | exactly 0 | NO |",
        "| told | 1,234.5 MB |  |  |",
        "| unseen | nothing | under 3 s | NO |",
        "| enough | 3 x | at least 3 x | yes |",
    ]
    assert not all_hold(lines)


def test_quantiles() -> None:
    assert quantile([], 0.99) is None
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(100)], 0.99) == 99.0


def test_samples_are_read_off_a_page_of_metrics() -> None:
    page = '# HELP a b\n# TYPE a gauge\na 1.5\nb{c="d",e="f g"} 2e+09\n'
    assert SAMPLE.findall(page) == [("a", "", "1.5"), ("b", 'c="d",e="f g"', "2e+09")]


def test_the_settings_of_a_fleet_are_settings(tmp_path: Path) -> None:
    members = [Member("one", "pop3", 1), Member("two", "imap", 2), Member("three", "imap", 3)]
    path = write_settings(
        tmp_path, members, connections=9,
        keys={"imap": {"schedule": "idle"}}, tables=["[web]", 'listen = "off"'],
    )  # fmt: skip
    settings = load(path, {})
    assert [account.protocol for account in settings.accounts.values()] == ["pop3", "imap", "imap"]
    assert settings.accounts["one"].schedule is None
    assert settings.accounts["two"].schedule is not None
    assert settings.limits.connections_per_host == 9
    assert settings.web.listen == "off"


def test_what_a_process_uses_is_read_from_the_kernel(tmp_path: Path) -> None:
    import subprocess

    takes = "a = b'x' * (64 << 20); sum(range(3 * 10**6)); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", takes],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        assert 60 < usage.resident_mb(process.pid) < 200
        assert usage.peak_mb(process.pid) >= usage.resident_mb(process.pid)
        assert 0 < usage.cpu_seconds(process.pid) < 30
        assert usage.session_cpu_seconds(process.pid) == usage.cpu_seconds(process.pid)
        process.communicate(b"\n")
    assert Task(tmp_path, tmp_path, 0, ()).maildir.name == "Maildir"
