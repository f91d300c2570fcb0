"""`fetchd check`: every step of a login told, what servers announce judged, nothing changed."""

import asyncio
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fetchd.contracts import ServerFacts
from fetchd.pipeline.check import check, data_folder
from fetchd.pipeline.check_account import consequences
from fetchd.pipeline.check_destination import maildir
from fetchd.pipeline.findings import Finding, Level
from fetchd.policy.retention import Leave, Window
from fetchd.settings import MaildirDestination, Pop3Account, load
from tests import corpus
from tests.pipeline.conftest import Mailbox
from tests.pipeline.home import Home
from tests.servers.certificates import Authority
from tests.servers.dovecot import Dovecot
from tests.servers.scripted_pop3 import HANG_UP, Answer, ScriptedPop3, server_context

OK, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR
DAY = timedelta(days=1)


def look(here: Home, *names: str) -> list[Finding]:
    return asyncio.run(check(here.settings(), names))


def of(findings: list[Finding], subject: str) -> list[str]:
    """Levels and sentences of one subject, the words that vary left out."""
    return [f"{f.level}: {f.sentence}" for f in findings if f.subject == subject]


@pytest.fixture
def server() -> Iterator[ScriptedPop3]:
    with ScriptedPop3(corpus.small(3)) as scripted:
        yield scripted


# -- A real server ---------------------------------------------------------------


@pytest.mark.live
def test_a_good_account_is_told_step_by_step(
    dovecot: Dovecot, mailbox: Mailbox, tmp_path: Path
) -> None:
    user, trust = mailbox(corpus.small(5)), str(dovecot.ca_file)
    here = Home(tmp_path, dovecot.port.pop3s, user, tls="implicit", ca_file=trust)
    findings = look(here)
    account = of(findings, f"account {user}")
    assert account[0] == f"ok: connected to 127.0.0.1:{dovecot.port.pop3s}"
    assert account[1].startswith("ok: TLS: TLSv1.3 ")
    assert "certificate valid until" in account[1]
    assert "PIPELINING" in account[2]
    assert account[3].startswith(f"ok: logged in as {user} (")
    assert account[4].startswith("ok: 5 messages, ")
    assert len(account) == 5
    assert {finding.level for finding in findings} == {OK}
    assert not here.data.exists()
    assert not here.maildir.exists()
    assert len(dovecot.uidls(user)) == 5


@pytest.mark.live
def test_a_check_beside_archive_and_catalog_changes_neither(
    mailbox: Mailbox, home: Callable[..., Home]
) -> None:
    here = home(mailbox(corpus.small(3)))
    here.sync()
    before = snapshot(here.folder)
    assert {finding.level for finding in look(here)} == {OK, WARNING}  # a plaintext line
    assert snapshot(here.folder) == before


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.name != "fetchd.toml" and path.is_file()
    }


# -- Servers that fail -----------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "step"),
    [
        ({"greeting": HANG_UP}, "connection: "),
        ({"CAPA": HANG_UP}, "capabilities: "),
        ({"PASS": b"-ERR [AUTH] no\r\n"}, "login: "),
        ({"STAT": b"-ERR [SYS/TEMP] no\r\n"}, "listing: "),
    ],
)
def test_the_step_that_failed_is_named(
    tmp_path: Path, server: ScriptedPop3, answers: dict[str, Answer], step: str
) -> None:
    server.answers |= answers
    *_, last = look(Home(tmp_path, server.port))
    assert (last.level, last.sentence.startswith(step)) == (ERROR, True), last
    assert last.advice


def test_a_password_that_cannot_be_had(tmp_path: Path, server: ScriptedPop3) -> None:
    here = Home(tmp_path, server.port)
    file = here.settings().path
    file.write_text(file.read_text().replace('password = "', 'password_env = "ABSENT_'))
    findings = asyncio.run(check(load(file, {}), ()))
    assert of(findings, "account work")[0].startswith("error: password: ")
    assert server.connections == 0


def test_a_bad_account_does_not_hide_a_good_one(tmp_path: Path, server: ScriptedPop3) -> None:
    server.answers["USER bad"] = b"-ERR [AUTH] no\r\n"
    findings = look(Home(tmp_path, server.port, "bad", "good"))
    assert of(findings, "account bad")[-1].startswith("error: login: ")
    assert of(findings, "account good")[-1].startswith("ok: 3 messages")


def test_a_certificate_not_to_be_trusted_fails_at_tls(tmp_path: Path) -> None:
    certificate = Authority(tmp_path / "tls").issue_self_signed()
    with ScriptedPop3(tls=server_context(certificate)) as server:
        (account,) = of(look(Home(tmp_path, server.port, tls="implicit")), "account work")
    assert account.startswith("error: TLS: the certificate of")


def test_a_certificate_that_ends_soon_is_a_warning(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    certificate = authority._issue(
        "soon", "localhost", ("DNS:localhost", "IP:127.0.0.1"), ("-days", "3")
    )
    with ScriptedPop3(tls=server_context(certificate)) as server:
        here = Home(tmp_path, server.port, tls="implicit", ca_file=str(authority.ca_file))
        (told,) = [f for f in look(here) if f.sentence.startswith("TLS: ")]
    assert (told.level, told.sentence[-11:]) == (WARNING, ", in 2 days")


# -- A check harms nothing ---------------------------------------------------------


def test_where_even_quit_would_remove_mail_it_is_not_said(tmp_path: Path) -> None:
    capabilities = ("USER", "EXPIRE 0")
    refused: dict[str, Answer] = {"UIDL": b"-ERR unknown command\r\n", "TOP": b"-ERR unknown\r\n"}
    with ScriptedPop3(corpus.small(3), capabilities=capabilities, answers=refused) as server:
        findings = look(Home(tmp_path, server.port))
        assert "RETR" in server.verbs()  # without UIDL and TOP a listing reads everything
        assert "QUIT" not in server.verbs()
    assert any("EXPIRE 0" in finding.sentence for finding in findings)


def test_nothing_is_deleted_and_the_server_is_left_politely(
    tmp_path: Path, server: ScriptedPop3
) -> None:
    look(Home(tmp_path, server.port, leave_on_server="none"))
    assert server.verbs()[-1] == "QUIT"
    assert not {"DELE", "RETR", "RSET"} & set(server.verbs())


# -- What announcements mean -------------------------------------------------------

WEEK, MONTH = Window(days=7 * DAY), Window(days=30 * DAY)


@pytest.mark.parametrize(
    ("facts", "leave", "told"),
    [
        (ServerFacts(), "forever", []),
        (ServerFacts(expire_days=0), "none", []),
        (ServerFacts(expire_days=0), "forever", [(WARNING, "EXPIRE 0")]),
        (ServerFacts(expire_days=0), WEEK, [(WARNING, "EXPIRE 0")]),
        (ServerFacts(expire_days=7), "none", []),
        (ServerFacts(expire_days=7), WEEK, [(OK, "after 7 days")]),
        (ServerFacts(expire_days=7), MONTH, [(WARNING, "sooner than")]),
        (ServerFacts(expire_days=7), "forever", [(WARNING, "sooner than")]),
        (ServerFacts(expire_days=7), Window(newest=100), [(WARNING, "sooner than")]),
        (ServerFacts(login_delay=60), "forever", [(OK, "60 s between")]),
        (ServerFacts(login_delay=900), "forever", [(WARNING, "900 s between")]),
        (ServerFacts(unique_ids=False), "forever", [(WARNING, "has no UIDL")]),
        (ServerFacts(can_preview=False), "forever", [(WARNING, "has no TOP")]),
        (
            ServerFacts(unique_ids=False, can_preview=False),
            "forever",
            [(WARNING, "neither UIDL nor TOP")],
        ),
        (ServerFacts(partial_listings=True), "forever", [(OK, "a part of the mailbox")]),
        (
            ServerFacts(expire_days=0, login_delay=900),
            "forever",
            [(WARNING, "EXPIRE 0"), (WARNING, "900 s")],
        ),
    ],
)
def test_consequences(facts: ServerFacts, leave: Leave, told: list[tuple[Level, str]]) -> None:
    account = Pop3Account(protocol="pop3", host="h", username="u", leave_on_server=leave)
    found = list(consequences(account, facts))
    assert [finding.level for finding in found] == [level for level, _ in told]
    for finding, (level, words) in zip(found, told, strict=True):
        assert words in finding.sentence
        assert finding.advice or level is OK


def test_messages_too_large_and_listings_that_contradict_each_other(tmp_path: Path) -> None:
    answers: dict[str, Answer] = {"STAT": b"+OK 9 900\r\n"}
    with ScriptedPop3([b"a\r\n" * 900, b"b\r\n"], answers=answers) as server:
        findings = look(Home(tmp_path, server.port, max_message_size="1kB"))
    told = of(findings, "account work")[-2:]
    assert told[0] == "warning: the server's listings contradict each other"
    assert told[1].startswith("warning: 1 of them are larger than max_message_size")


# -- At home -----------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder below which what is named `sealed` may not be written, whoever we are."""
    real = os.access

    def access(path: Path, mode: int) -> bool:
        return (mode == os.F_OK or Path(path).name != "sealed") and real(path, mode)

    monkeypatch.setattr(os, "access", access)
    for name in ("open", "sealed"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to("nowhere")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "level", "told"),
    [
        ("open", OK, "can be written"),
        ("open/a/b", OK, "the first sync makes it"),
        ("sealed", ERROR, "may not be written"),
        ("sealed/a/b", ERROR, "cannot be made"),
        ("file", ERROR, "is not a folder"),
    ],
)
def test_data_folder(place: Path, path: str, level: Level, told: str) -> None:
    found = data_folder(place / path)
    assert (found.level, told in found.sentence) == (level, True)
    assert found.advice or level is OK
    assert not (place / path / "a").exists()


def test_a_data_folder_open_to_others_is_a_warning(place: Path) -> None:
    (place / "open").chmod(0o755)
    found = data_folder(place / "open")
    assert (found.level, found.advice) == (WARNING, f"Run: chmod 700 {place / 'open'}")


@pytest.mark.parametrize(
    ("path", "level", "told"),
    [
        ("open/Maildir", OK, "the first delivery makes it"),
        ("open", OK, "can be written"),
        ("absent/Maildir", ERROR, "never makes the parent"),
        ("sealed/Maildir", ERROR, "cannot be made"),
        ("sealed", ERROR, "may not be written"),
        ("file", ERROR, "is not a folder"),
        ("file/Maildir", ERROR, "leads nowhere"),
        ("dangling", ERROR, "leads nowhere"),
    ],
)
def test_maildir(place: Path, path: str, level: Level, told: str) -> None:
    found = maildir(MaildirDestination(kind="maildir", path=place / path))
    assert (found.level, told in found.sentence) == (level, True)
    assert found.advice or level is OK
