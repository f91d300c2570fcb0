"""SIGKILL at random instants: nothing is lost, nothing comes twice, and the loop would see it.

`python -m benchmarks.kill --kills 200` is the long form.
"""

import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import kill, kill_deliver, kill_home, kill_restore, kill_serve
from benchmarks.contestants import HOST, PASSWORD, Protocol, Task
from benchmarks.mail import Expected
from tests.lacking import lacking
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix, postfix_available

# Writes what it reads, then deletes: right as long as nobody kills it.
NAIVE = """
import os, poplib, sys
host, port, password, maildir, *users = sys.argv[1:]
poplib._MAXLINE = 1 << 20
os.makedirs(f"{maildir}/new", exist_ok=True)
for user in users:
    session = poplib.POP3(host, int(port))
    session.user(user)
    session.pass_(password)
    count, _octets = session.stat()
    for number in range(1, count + 1):
        _status, lines, _octets = session.retr(number)
        with open(f"{maildir}/new/{user}.{os.getpid()}.{number}", "wb") as file:
            file.writelines(line + b"\\n" for line in lines)
        session.dele(number)
    session.quit()
"""


@pytest.fixture
def server() -> Iterator[Dovecot]:
    with Dovecot() as running:
        yield running


def naive(task: Task) -> list[str]:
    where = (HOST, str(task.port), PASSWORD, str(task.maildir))
    return [sys.executable, "-c", NAIVE, *where, *task.users]


@pytest.mark.live
@pytest.mark.parametrize("protocol", ["pop3", "imap"])
def test_every_message_comes_once_however_often_fetchd_is_killed(
    server: Dovecot, tmp_path: Path, protocol: Protocol
) -> None:
    report = kill.kill(server, tmp_path, kills=20, seed=20, messages=150, protocol=protocol)
    assert report.violations == []
    assert report.kills == 20
    assert report.at_work >= 2  # else the kills proved nothing; on a busy machine many come early


@pytest.mark.live
def test_a_fetcher_that_brings_mail_twice_is_found_out(server: Dovecot, tmp_path: Path) -> None:
    report = kill.kill(server, tmp_path, kills=8, seed=8, prepare=naive)
    assert any("Maildir" in line and "more than once" in line for line in report.violations)


@pytest.mark.live
def test_every_message_is_restored_once_however_often_fetchd_is_killed(
    server: Dovecot, tmp_path: Path
) -> None:
    report = kill_restore.kill_restore(server, tmp_path, kills=8, seed=8, messages=150)
    assert report.violations == []
    assert report.kills == 8
    assert report.at_work >= 1


@pytest.mark.live
def test_a_restore_that_puts_mail_back_twice_is_found_out(server: Dovecot, tmp_path: Path) -> None:
    restoring = kill_restore.Restoring(server, tmp_path, 9, random.Random(1))
    restoring.next_target()
    restoring.timed()
    assert restoring.violations() == []
    with server.client("target-1") as client:
        client.copy("Work", client.uids("Work")[:1], "Work")
        client.flag("INBOX", client.uids("INBOX")[:1], add=["\\Deleted"])
    assert restoring.violations() == [
        "target-1: 1 messages missing or changed, of 9, the first in INBOX",
        "target-1: 2 messages there more than once or changed, of 9, the first in Work",
    ]


@pytest.mark.live
def test_every_message_is_delivered_however_often_fetchd_is_killed(
    server: Dovecot, tmp_path: Path
) -> None:
    if reason := postfix_available():
        lacking(reason)
    report = kill_deliver.kill_deliver(server, tmp_path, kills=10, seed=10, messages=60)
    assert report.violations == []
    assert report.kills == 10
    assert report.at_work >= 1


@pytest.mark.live
def test_every_message_comes_once_however_a_service_is_ended(
    server: Dovecot, tmp_path: Path
) -> None:
    report = kill_serve.kill_serve(server, tmp_path / "served", kills=10, seed=10)
    assert report.violations == []
    assert report.kills == 10
    assert report.at_work >= 1


@pytest.mark.live
def test_a_service_that_brings_mail_twice_or_loses_it_is_found_out(
    server: Dovecot, tmp_path: Path
) -> None:
    site = kill_serve.Site(server, tmp_path / "served")
    site.send("pop-a", 3, random.Random(1))
    assert kill_serve.finish(site) == []
    one, other, _ = sorted((tmp_path / "served" / "Maildir" / "new").iterdir())
    one.write_bytes(other.read_bytes())
    assert site.violations() == [
        "Maildir: 1 messages missing, of 3",
        "Maildir: 1 messages there more than once, of 3",
    ]


MAIL = Expected.of([b"a\r\n", b"b\r\n", b"c\r\n"])
A, B, C = MAIL.crlf
LF_A, LF_B, LF_C = MAIL.lf


@pytest.mark.parametrize(
    ("archive", "maildir", "left", "violated"),
    [
        ((A, B, C), (LF_A, LF_B, LF_C), 0, []),
        ((A, B), (LF_A, LF_B, LF_C), 0, ["archive: 1 messages missing, of 3"]),
        ((A, B, C), (LF_A,), 0, ["Maildir: 2 messages missing, of 3"]),
        ((A, B, C, C, C), (LF_A, LF_B, LF_C), 0,
         ["archive: 2 messages there more than once, of 3"]),
        ((A, B, C), (LF_A, LF_B, LF_C, LF_A), 0,
         ["Maildir: 1 messages there more than once, of 3"]),
        ((A, B, C), (A, LF_B, LF_C), 0,  # CRLF, where LF was asked for
         ["Maildir: 1 messages missing, of 3",
          "Maildir: 1 messages there that no server held, of 3"]),
        ((A, B, C), (LF_A, LF_B, LF_C), 7, ["server: 7 messages left"]),
    ],
)  # fmt: skip
def test_what_counts_as_a_violation(
    archive: tuple[str, ...], maildir: tuple[str, ...], left: int, violated: list[str]
) -> None:
    assert kill_home.violations(MAIL, Counter(archive), Counter(maildir), left) == violated


ONCE = [(b"a", A), (b"b", B), (b"c", C)]


@pytest.mark.parametrize(
    ("copies", "violated", "again"),
    [
        (ONCE, [], 0),
        ([*ONCE, (b"a", A), (b"a", A), (b"c", C)], [], 3),
        (ONCE[:2], ["SMTP: 1 messages missing, of 3"], 0),
        ([*ONCE, (b"d", A)],
         ["SMTP: 1 messages sent again under another Resent-Message-ID, of 3"], 0),
        ([*ONCE, (b"a", B)],
         ["SMTP: 1 messages sent again under another Resent-Message-ID, of 3",
          "SMTP: 1 messages changed under the same Resent-Message-ID, of 3"], 0),
        ([*ONCE[:2], (b"c", LF_C)],
         ["SMTP: 1 messages missing, of 3", "SMTP: 1 messages there that no server held, of 3"],
         0),
        ([*ONCE[:2], (b"", C)], ["SMTP: 1 messages without Resent-Message-ID, of 3"], 0),
    ],
)  # fmt: skip
def test_what_counts_as_a_violation_by_smtp(
    copies: list[kill_deliver.Copy], violated: list[str], again: int
) -> None:
    assert kill_deliver.by_smtp(MAIL.crlf, copies) == (violated, again)


def test_no_more_is_repeated_than_could_be_under_way() -> None:
    assert kill_deliver.too_often(8, kills=2) == []
    assert kill_deliver.too_often(9, kills=2) == ["SMTP: 9 copies too many, 8 at most"]


@pytest.mark.live
def test_a_delivery_that_is_lost_or_made_twice_is_found_out(
    server: Dovecot, tmp_path: Path
) -> None:
    if reason := postfix_available():
        lacking(reason)
    with Postfix() as postfix:
        home = kill_deliver.ForwardingHome(server, postfix, tmp_path / "home", ("one",), "box")
        home.fill(9, random.Random(1))
        assert [home.finish(), home.received()] == [[], ([], 0)]
        some = sorted(path for path in postfix.maildir("box").rglob("new/*"))
        some[0].unlink()
        shutil.copy(some[1], some[1].with_name(f"{some[1].name}-again"))
        with server.client("box") as client:
            client.copy("INBOX", client.uids("INBOX")[:1], "INBOX")
        there = home.expected.crlf.total()
        assert home.received() == (
            [f"IMAP: 1 messages there more than once, of {there}",
             f"SMTP: 1 messages missing, of {there}"], 1,
        )  # fmt: skip
