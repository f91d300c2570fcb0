"""The bench can be trusted: it counts right, judges right, and nobody edits its page by hand."""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from benchmarks import forwarding, mail, programs, report, run
from benchmarks.contestants import (
    CONTESTANTS,
    DRAIN,
    DRAIN_DURABLE,
    DRAIN_IMAP,
    DRAIN_IMAP_DURABLE,
    DRAIN_STATUS,
    DRAIN_UIDL,
    FETCHD,
    FETCHD_ARCHIVE,
    FETCHD_IMAP_ARCHIVE,
    FETCHD_MIRROR,
    HOST,
    MBSYNC,
    MPOP,
    PASSWORD,
    RIVALS,
    RIVALS_IMAP,
    Contestant,
    Protocol,
    Task,
    fetchd_settings,
)
from benchmarks.mail import Expected
from benchmarks.report import Record, Result, Row
from benchmarks.running import Run, compile_tools, fresh, measure
from benchmarks.running import run as run_once
from benchmarks.scenarios import BOXES, GROUPS, SCENARIOS, TINY, USERS, spread
from benchmarks.targets import TARGETS, Target, judge
from fetchd.settings import load
from tests import corpus
from tests.lacking import lacking
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import postfix_available

MIXED = corpus.realistic(40, total=400_000)
FEW = 5
LONG_LINE = b"\r\n" + b"." * 3_000_000 + b"\r\nend\r\n"  # longer than the drain's buffer
MACHINE = {"processor": "an abacus", "memory": "1 GB", "system": "none", "file system": "clay"}
GOOD = Run(seconds=2.0, cpu=1.0, peak_kb=2048, messages=3, exact=3)


# -- The page and its judge -----------------------------------------------------------


def test_the_page_is_what_the_record_says() -> None:
    page, record = (report.FOLDER / name for name in ("RESULTS.md", "results.json"))
    assert page.exists() == record.exists()
    if page.exists():
        assert page.read_text() == report.render(report.recorded())


def result(name: str, **seconds: tuple[float, ...]) -> Result:
    rows = (
        Row(who, tuple(replace(GOOD, seconds=one) for one in runs)) for who, runs in seconds.items()
    )
    return Result(name, "2026-01-01", tuple(rows))


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    first, second = result("small", mpop=(3.0, 1.0, 2.0)), result("large", mpop=(5.0,))
    for one in (first, second):
        report.add(one, MACHINE, tmp_path)
    assert report.recorded(tmp_path) == Record(MACHINE, {"small": first, "large": second})
    page = (tmp_path / "RESULTS.md").read_text()
    assert page == report.render(report.recorded(tmp_path))
    assert "| mpop | 2.000 | 1.000 to 3.000 | 1.00 | - | 1.00 | 2.0 | 3 | 3 | 3 |" in page
    assert "an abacus" in page


def test_figures_of_another_machine_are_not_kept(tmp_path: Path) -> None:
    report.add(result("small", mpop=(3.0,)), MACHINE, tmp_path)
    report.add(result("large", mpop=(3.0,)), MACHINE | {"memory": "2 GB"}, tmp_path)
    assert list(report.recorded(tmp_path).results) == ["large"]


def test_a_contestant_of_which_one_run_failed_counts_for_no_aim() -> None:
    bad = replace(GOOD, problem="lost one")
    made = Result("small", "2026-01-01", (Row("mpop", (GOOD, bad)), Row("fetchd", (GOOD,))))
    assert made.seconds == {"fetchd": 2.0}
    verdicts = report.verdicts({"small": made})
    assert {v.met for v in verdicts if v.target.scenario == "small"} == {None}
    assert "mpop: 1 of 2 runs failed, the last: lost one" in report.render(
        Record({}, {"small": made})
    )


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.text)
def test_a_target_compares_what_its_scenario_measures(target: Target) -> None:
    scenario = next(one for one in SCENARIOS if one.name == target.scenario)
    asked = [target.who]

    def of(who: Contestant) -> float:
        asked.append(who)
        return 1.0

    assert target.limit(of) > 0
    assert set(asked) <= set(scenario.contestants)
    assert all(CONTESTANTS[who.name] is who for who in asked)


def test_every_mailbox_of_a_scenario_can_be_filled() -> None:
    for scenario in SCENARIOS:
        assert {*scenario.users, *scenario.slow_users} <= set(USERS)


def test_tiny_messages_are_spread_over_all_mailboxes() -> None:
    counts = {box: sum(1 for _ in messages) for box, messages in spread().items()}
    assert (tuple(counts), sum(counts.values())) == (BOXES, TINY)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_scenarios_are_chosen_by_name_and_by_group() -> None:
    assert run.named([]) == list(SCENARIOS)
    assert run.named(["imap"]) == list(GROUPS["imap"])
    both = run.named(["imap-small", "pop3", "small"])
    assert both == [*GROUPS["pop3"], next(s for s in SCENARIOS if s.name == "imap-small")]
    assert all(who.protocol == "imap" for one in GROUPS["imap"] for who in one.contestants)
    assert all(who.protocol == "pop3" for one in GROUPS["pop3"] for who in one.contestants)


TWICE = Target("at most twice mpop", "small", FETCHD, lambda of: 2 * of(MPOP))
BELOW = Target("peak", "small", FETCHD, lambda _of: 120.0, "MB")


@pytest.mark.parametrize(
    ("target", "seconds", "megabytes", "met"),
    [
        (TWICE, {"fetchd": 1.9, "mpop": 1.0}, {}, True),
        (TWICE, {"fetchd": 2.0, "mpop": 1.0}, {}, True),  # at most
        (TWICE, {"fetchd": 2.1, "mpop": 1.0}, {}, False),
        (TWICE, {"fetchd": 2.1}, {}, None),  # nothing to compare with
        (TWICE, {"mpop": 1.0}, {}, None),
        (BELOW, {"fetchd": 999.0}, {"fetchd": 119.0}, True),
        (BELOW, {"fetchd": 0.1}, {"fetchd": 121.0}, False),
        (BELOW, {"fetchd": 0.1}, {}, None),
    ],
)
def test_the_judge(
    target: Target, seconds: dict[str, float], megabytes: dict[str, float], met: bool | None
) -> None:
    assert judge(target, seconds, megabytes).met is met


def test_the_median_of_a_smaller_mailbox_is_multiplied() -> None:
    runs = tuple(replace(GOOD, seconds=one, peak_kb=peak) for one, peak in ((1, 1024), (9, 4096)))
    row = Row("fdm", (*runs, replace(GOOD, seconds=2.0)), factor=10)
    assert (row.seconds, row.megabytes) == (20.0, 4.0)


# -- What was delivered ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found", "difference"),
    [  # expected, exact, missing, twice, foreign
        ("abc", "abc", (3, 3, 0, 0, 0)),
        ("abc", "ab", (3, 2, 1, 0, 0)),
        ("abc", "abcc", (3, 3, 0, 1, 0)),
        ("abc", "abx", (3, 2, 1, 0, 1)),
        ("aab", "aab", (3, 3, 0, 0, 0)),  # the server holds one twice
        ("aab", "ab", (3, 2, 1, 0, 0)),
        ("", "aa", (0, 0, 0, 0, 2)),
    ],
)
def test_what_was_found_is_matched_with_what_was_expected(
    wanted: str, found: str, difference: tuple[int, ...]
) -> None:
    met = mail.compare(mail.Counter(wanted), mail.Counter(found))
    assert (met.expected, met.exact, met.missing, met.twice, met.foreign) == difference
    assert met.found == len(found)


def segment(data_dir: Path, *entries: tuple[str, bytes]) -> None:
    octets = io.BytesIO()
    with tarfile.open(fileobj=octets, mode="w") as archive:
        for name, message in entries:
            info = tarfile.TarInfo(name)
            info.size = len(message)
            archive.addfile(info, io.BytesIO(message))
    folder = data_dir / "archive" / "2026" / "01"
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.iterdir()))
    (folder / f"{number}.tar.zst").write_bytes(zstandard.compress(octets.getvalue()))


def test_an_archive_is_read_with_tar(tmp_path: Path) -> None:
    segment(tmp_path, ("work/INBOX/1-a.eml", b"a\r\n"), ("work/INBOX/2-b.eml", b"b\r\n"))
    segment(tmp_path, ("work/INBOX/3-a.eml", b"a\r\n"), ("other", b"no mail"))
    wanted = Expected.of([b"a\r\n", b"a\r\n", b"b\r\n"]).crlf
    assert mail.in_archive(tmp_path) == wanted
    assert mail.archived(tmp_path) == 3


def test_a_name_given_twice_or_a_damaged_segment_is_found_out(tmp_path: Path) -> None:
    segment(tmp_path / "twice", ("1.eml", b"a"), ("1.eml", b"b"))
    with pytest.raises(RuntimeError, match="lists 2 messages, holds 1"):
        mail.in_archive(tmp_path / "twice")
    segment(tmp_path / "damaged", ("1.eml", os.urandom(1000)))
    path = mail.segments(tmp_path / "damaged")[0]
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(RuntimeError, match="tar of"):
        mail.in_archive(tmp_path / "damaged")


def test_a_mirror_is_read_folder_by_folder(tmp_path: Path) -> None:
    for name, octets in (
        ("cur/1:2,FS", b"a\n"), ("new/F2", b"F\n"), (".Work/cur/1:2,S", b"a\n"), (".Work/x", b"b\n")
    ):  # fmt: skip
        path = tmp_path / "first" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
    wanted = Expected()
    for octets, place in ((b"a\r\n", "first"), (b"F\r\n", "first"), (b"a\r\n", "first/.Work")):
        wanted.add(octets, place)
    assert mail.in_mirror(tmp_path) == wanted.lf
    assert mail.in_maildir(tmp_path) == Expected.of([b"a\r\n", b"F\r\n", b"a\r\n"]).lf
    assert mail.flagged(tmp_path) == 1


@pytest.mark.parametrize("protocol", ["pop3", "imap"])
@pytest.mark.parametrize("deliver", [True, False])
def test_the_settings_given_to_fetchd_are_settings(
    tmp_path: Path, deliver: bool, protocol: Protocol
) -> None:
    task = Task(tmp_path, tmp_path, 1110, ("one", "two"))
    leaves: dict[str, object] = {"leave_on_server": "none"}
    path = fetchd_settings(task, deliver=deliver, protocol=protocol, accounts=leaves)
    settings = load(path, {})
    assert [account.username for account in settings.accounts.values()] == ["one", "two"]
    assert {account.leave_on_server for account in settings.accounts.values()} == {"none"}
    assert settings.accounts["one"].deliver_to == (("home",) if deliver else ())
    assert {account.protocol for account in settings.accounts.values()} == {protocol}
    assert settings.destinations["home"].path == task.maildir
    assert settings.destinations["home"].layout == {"pop3": "flat", "imap": "mirror"}[protocol]


# -- What is missing ----------------------------------------------------------------


def test_what_is_missing_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find_program", lambda name: None if name in "cc fdm" else name)
    assert run.unable() == "cc is not installed: sudo apt-get install gcc libc6-dev"
    kept, absent = run.present(SCENARIOS)
    assert absent == ["fdm"]
    assert all("fdm" not in {who.name for who in one.contestants} for one in kept)
    assert any("mpop" in {who.name for who in one.contestants} for one in kept)
    both = programs.advice(["fdm", "getmail"])
    assert both == "fdm, getmail are not installed: sudo apt-get install fdm getmail6"


def test_an_unknown_scenario_is_refused() -> None:
    asked = [sys.executable, "-m", "benchmarks.run", "small", "nothing"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nothing: unknown, known are pop3, imap, startup, small" in done.stderr


# -- The tools and the contestants, against a real server -----------------------------


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if programs.missing(["cc"]):
        reason = programs.advice(["cc"])
        lacking(reason)
    return compile_tools(tmp_path_factory.mktemp("tools"))


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot() as running:
        for user, messages in (("mixed", MIXED), ("empty", []), ("dots", [LONG_LINE])):
            running.add_user(user, PASSWORD)
            running.fill(user, messages)
        running.add_user("boxes", PASSWORD)
        for number, mailbox in enumerate(("INBOX", "Box 2", "Box 3", "Empty")):
            messages = corpus.small(FEW if mailbox != "Empty" else 0, seed=number)
            running.fill("boxes", messages, mailbox=mailbox)
        yield running


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that an unprivileged contestant can reach, which tmp_path is not."""
    path = Path(tempfile.mkdtemp(prefix="bench-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def served(server: Dovecot, user: str) -> Expected:
    return Expected.of(server.served(user))


def served_imap(server: Dovecot, user: str, *mailboxes: str) -> list[bytes]:
    with server.client(user) as client:
        boxes = [client.octets(mailbox) for mailbox in mailboxes or ("INBOX",)]
    return [octets for box in boxes for octets in box.values()]


def imap_task(server: Dovecot, directory: Path, tools: Path, user: str) -> Task:
    task = Task(directory, tools, server.port.imap, (user,))
    fresh(task)
    return task


@pytest.mark.live
@pytest.mark.parametrize("window", [1, 7, 2000])
@pytest.mark.parametrize("user", ["mixed", "empty", "dots"])
@pytest.mark.parametrize("mode", ["retr", "durable"])
def test_the_drain_takes_every_octet(
    tools: Path, server: Dovecot, tmp_path: Path, user: str, mode: str, window: int
) -> None:
    kept = tmp_path / "kept"
    command = [tools / "drain_pop3", HOST, str(server.port.pop3), user, PASSWORD, mode, str(window)]
    done = subprocess.run([*command, kept], capture_output=True, text=True, check=True)
    messages = server.served(user)
    assert done.stdout == f"{len(messages)} {sum(map(len, messages))}\n"
    if mode == "durable":
        assert kept.read_bytes() == b"".join(messages)


@pytest.mark.live
def test_the_drain_reports_what_goes_wrong(tools: Path, server: Dovecot) -> None:
    for user, password, said in (("mixed", "wrong", "-ERR"), ("nobody-there", PASSWORD, "-ERR")):
        command = [tools / "drain_pop3", HOST, str(server.port.pop3), user, password, "retr", "9"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert said in done.stderr


@pytest.mark.live
@pytest.mark.parametrize("mode", ["fetch", "durable"])
@pytest.mark.parametrize(
    ("user", "mailboxes"),
    [
        ("mixed", ["INBOX"]),
        ("empty", ["INBOX"]),
        ("dots", ["INBOX"]),
        ("boxes", ["INBOX", "Empty", "Box 2", "Box 3"]),
    ],
)
def test_the_drain_takes_every_octet_over_imap(
    tools: Path, server: Dovecot, tmp_path: Path, user: str, mailboxes: list[str], mode: str
) -> None:
    kept = tmp_path / "kept"
    command = [tools / "drain_imap", HOST, str(server.port.imap), user, PASSWORD, mode, kept]
    done = subprocess.run([*command, *mailboxes], capture_output=True, text=True, check=True)
    messages = served_imap(server, user, *mailboxes)
    assert done.stdout == f"{len(messages)} {sum(map(len, messages))}\n"
    if mode == "durable":
        assert kept.read_bytes() == b"".join(messages)


@pytest.mark.live
def test_the_drain_asks_for_the_status_of_all_mailboxes(tools: Path, server: Dovecot) -> None:
    command = [tools / "drain_imap", HOST, str(server.port.imap), "boxes", PASSWORD, "status", "-"]
    done = subprocess.run([*command, "INBOX"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{3 * FEW} 0\n"


@pytest.mark.live
@pytest.mark.parametrize(
    ("password", "mailbox", "said"),
    [("wrong", "INBOX", "AUTHENTICATIONFAILED"), (PASSWORD, "Nowhere", "Mailbox doesn't exist")],
)
def test_the_drain_reports_what_goes_wrong_over_imap(
    tools: Path, server: Dovecot, password: str, mailbox: str, said: str
) -> None:
    command = [tools / "drain_imap", HOST, str(server.port.imap), "mixed", password, "fetch", "-"]
    done = subprocess.run([*command, mailbox], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr


def test_what_a_run_took_is_measured_of_the_command_alone(tools: Path, tmp_path: Path) -> None:
    task = Task(tmp_path / "task", tools, 0, ())
    fresh(task)
    ballast = b"x" * (100 << 20)  # of ours: must not be taken for the command's
    _seconds, _cpu, small, status, output = measure(["sh", "-c", "echo said; exit 3"], task)
    assert (status, output) == (3, "said\n")
    assert small < 20_000
    takes = [sys.executable, "-c", "b'x' * (64 << 20); sum(range(10**6))"]
    seconds, cpu, peak, status, _output = measure(takes, task)
    assert status == 0
    assert 64_000 < peak < len(ballast) / 1024
    assert cpu > 0
    assert seconds > 0
    assert measure(["sh", "-c", "kill -9 $$"], task)[3] == 128 + 9
    assert measure(["no-such-program"], task)[3] == 127


@pytest.mark.live
@pytest.mark.parametrize("who", [DRAIN, DRAIN_DURABLE, DRAIN_UIDL, *RIVALS], ids=lambda w: w.name)
def test_a_contestant_does_the_work_and_remembers_it(
    tools: Path, server: Dovecot, open_path: Path, who: Contestant
) -> None:
    if absent := programs.missing(who.needs):
        lacking(programs.advice(absent))
    task = Task(open_path / "task", tools, server.port.pop3, ("mixed",))
    fresh(task)
    made = run_once(who, task, served(server, "mixed"))
    assert (made.problem, made.messages) == ("", len(MIXED))
    if who.remember is not None:
        fresh(task)
        uidls = [uidl.decode() for uidl in server.uidls("mixed")]
        who.remember(task, "mixed", uidls[:-1])
        # The one that it was not told of shows that it read what it was told.
        polled = run_once(who, task, Expected.of(MIXED[-1:]))
        assert (polled.problem, polled.messages) == ("", 1)
        run_once(who, task, Expected())
        assert mail.in_maildir(task.maildir).total() == 1  # nor does it come again


@pytest.mark.live
@pytest.mark.parametrize(
    "who",
    [DRAIN_IMAP, DRAIN_IMAP_DURABLE, FETCHD_MIRROR, FETCHD_IMAP_ARCHIVE, *RIVALS_IMAP],
    ids=lambda w: w.name,
)
def test_a_contestant_does_the_work_over_imap(
    tools: Path, server: Dovecot, open_path: Path, who: Contestant
) -> None:
    if absent := programs.missing(who.needs):
        lacking(programs.advice(absent))
    task = imap_task(server, open_path / "task", tools, "mixed")
    expected = Expected.of(served_imap(server, "mixed"))
    made = run_once(who, task, expected)
    assert (made.problem, made.messages) == ("", len(MIXED))
    if who in (FETCHD_MIRROR, FETCHD_IMAP_ARCHIVE, DRAIN_IMAP, DRAIN_IMAP_DURABLE):
        assert made.exact == len(MIXED)


@pytest.mark.live
@pytest.mark.parametrize("who", [DRAIN_STATUS, FETCHD_MIRROR, MBSYNC], ids=lambda w: w.name)
def test_whoever_knows_all_mail_of_an_account_brings_nothing_but_flags(
    tools: Path, server: Dovecot, tmp_path: Path, who: Contestant
) -> None:
    if absent := programs.missing(who.needs):
        lacking(programs.advice(absent))
    task = imap_task(server, tmp_path / "task", tools, "boxes")
    expected = Expected.of(served_imap(server, "boxes", "INBOX", "Box 2", "Box 3"))
    run_once(replace(who, prepare=who.hurried or who.prepare), task, expected)
    assert run_once(who, task, expected, known=True).problem == ""
    if who is DRAIN_STATUS:
        return
    unfit = run_once(who, task, expected + Expected.of([b"x"]), known=True)
    assert f"{3 * FEW} messages, {3 * FEW + 1} expected" in unfit.problem
    with server.client("boxes") as client:
        uids = client.uids("Box 2")[:2]
        client.flag("Box 2", uids, add=["\\Flagged"])
        assert run_once(who, task, expected, known=True, flagged=2).problem == ""
        client.flag("Box 2", uids, drop=["\\Flagged"])
        missed = replace(who, prepare=lambda _task: ["true"])
        problem = run_once(missed, task, expected, known=True, flagged=0).problem
        assert problem == "Maildir: 2 messages flagged, 0 expected"


@pytest.mark.live
def test_a_rehearsal_goes_through_whole_scenarios(tools: Path, open_path: Path) -> None:
    if absent := programs.missing(MBSYNC.needs):
        lacking(programs.advice(absent))
    asked = ["imap-nochange", "imap-flags", "--rehearse", "2", "--rounds", "2"]
    command = [sys.executable, "-m", "benchmarks.run", *asked, "--work", str(open_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = report.recorded(open_path / "results")
    assert {name: len(one.sound) for name, one in record.results.items()} == {
        "imap-nochange": 5,
        "imap-flags": 3,
    }
    # Who knew all mail already for the one scenario did not fetch it again for the other.
    assert done.stdout.count("to get there") == 4


@pytest.mark.live
@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("exit 7", "exit 7: "),
        ("true", "Maildir: 0 messages, 0 exact, 40 expected"),
        ("echo >$HOME/Maildir/new/1", "Maildir: 1 messages, 0 exact, 40 expected"),
    ],
)
def test_a_run_that_did_not_do_the_work_is_no_figure(
    tools: Path, server: Dovecot, tmp_path: Path, script: str, problem: str
) -> None:
    idle = Contestant("idle", lambda _task: ["sh", "-c", script])
    task = Task(tmp_path / "task", tools, server.port.pop3, ("mixed",))
    fresh(task)
    assert run_once(idle, task, served(server, "mixed")).problem == problem


@pytest.mark.live
def test_fetchd_is_held_to_the_exact_octets(tools: Path, server: Dovecot, tmp_path: Path) -> None:
    expected = served(server, "mixed")
    for who in (FETCHD, FETCHD_ARCHIVE):
        task = Task(tmp_path / who.name, tools, server.port.pop3, ("mixed",))
        fresh(task)
        made = run_once(who, task, expected)
        assert (made.problem, made.exact) == ("", len(MIXED))


# -- Forwarding -----------------------------------------------------------------------


def on_top(message: bytes) -> bytes:
    """As fetchd sends it on."""
    return b"X-Fetchd-Trace: me; to=1; id=2\r\nResent-To: a@example.org,\r\n\tb\r\n" + message


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (MIXED, ""),
        (MIXED[1:], f"{len(MIXED) - 1} of {len(MIXED)} arrived, 0 twice, 0 changed"),
        ([*MIXED, MIXED[0]], f"{len(MIXED)} of {len(MIXED)} arrived, 1 twice, 0 changed"),
        ([*MIXED[1:], MIXED[1]], f"{len(MIXED) - 1} of {len(MIXED)} arrived, 1 twice, 0 changed"),
        ([*MIXED[1:], MIXED[0] + b"\r\n"],
         f"{len(MIXED) - 1} of {len(MIXED)} arrived, 0 twice, 1 changed"),
    ],
    ids=["all", "lost", "twice", "one for another", "changed"],
)  # fmt: skip
def test_what_was_forwarded_is_compared_below_what_was_put_on_top(
    found: list[bytes], problem: str
) -> None:
    arrived = [on_top(message) for message in found]
    assert forwarding.amiss(arrived, MIXED, below=forwarding.below_block) == problem


def test_a_forward_that_failed_is_no_figure() -> None:
    runs = [
        forwarding.Runs("fetchd", "smtp", [1.0, 3.0, 2.0]),
        forwarding.Runs("fetchmail", "smtp", [25.0]),
        forwarding.Runs("fetchd", "lmtp", [1.0]),
        forwarding.Runs("fetchmail", "lmtp", [], ["1 of 2 arrived"]),
    ]
    assert [*forwarding.ratios(runs)] == [("smtp", 12.5)]
    assert not forwarding.met(runs)
    page = forwarding.written(runs, 2, 3)
    assert "| fetchd | 2.00 | 1.00 |" in page
    assert "| fetchmail | 25.00 | failed (1 of 2 arrived) |" in page


@pytest.mark.live
def test_everybody_forwards_in_a_rehearsal() -> None:
    if reason := postfix_available():
        lacking(reason)
    if absent := programs.missing(["fetchmail"]):
        lacking(programs.advice(absent))
    command = [sys.executable, "-m", "benchmarks.forwarding", "--messages", "8", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^\w+ +[sl]mtp +\d+\.\d+ s $", done.stdout, re.MULTILINE)) == 5
