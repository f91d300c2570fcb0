"""`fetchd watch` as a person and a program meet it, on a Dovecot, in a process of its own."""

import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fetchd.catalog.changes import Described
from fetchd.cli.watch import MOST, _say_all
from fetchd.pipeline.news import News, What
from tests.cli.at_dovecot import at_home, run
from tests.cli.conftest import spawn
from tests.pipeline.home import PASSWORD, Home
from tests.servers.dovecot import Dovecot

MAIL = b"From: Alice <a@example.org>\r\nSubject: Gr\xc3\xbc\xc3\x9fe\r\n\r\nHello.\r\n"
PATIENCE = 40


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot() as server:
        yield server


@pytest.fixture
def home(dovecot: Dovecot, tmp_path: Path, request: pytest.FixtureRequest) -> Home:
    user = f"cli{abs(hash(request.node.name)) % 10**9}"
    return at_home(tmp_path, dovecot, user, "imap")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_line_for_each_change_and_a_signal_ends_it_well(
    dovecot: Dovecot, home: Home, number: int
) -> None:
    (user,) = home.users
    with spawn(home, "watch", user, text=True) as process:
        assert process.stderr.readline() == f"{user}: watching every mailbox by NOTIFY\n"
        with dovecot.client(user) as other:
            uid = other.append("INBOX", MAIL)
            assert process.stdout.readline().endswith(
                "  INBOX  new      Alice <a@example.org>  Grüße\n"
            )
            assert home.delivered().total() == 1
            other.flag("INBOX", [uid], add=["\\Seen"])
            assert process.stdout.readline().endswith("  INBOX  flags    +\\Seen  Grüße\n")
            other.expunge("INBOX", [uid])
            assert process.stdout.readline().endswith("  INBOX  gone     Grüße\n")
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_document_a_line_for_programs(dovecot: Dovecot, home: Home) -> None:
    (user,) = home.users
    with spawn(home, "watch", user, "--json") as process:
        assert json.loads(process.stdout.readline()) == {
            "what": "watching", "account": user, "how": "notify", "first": "INBOX",
        }  # fmt: skip
        with dovecot.client(user) as other:
            other.append("INBOX", MAIL, ["\\Seen"])
        new = json.loads(process.stdout.readline())
        assert datetime.fromisoformat(new.pop("at")).tzinfo is not None
        assert len(new.pop("digest")) == 64
        assert new == {
            "what": "new", "account": user, "mailbox": "INBOX", "uid": "1", "size": len(MAIL),
            "from": "Alice <a@example.org>", "subject": "Grüße", "flags": ["\\Seen"],
            "added": [], "dropped": [],
        }  # fmt: skip
        dovecot.add_user(user, "another password")
        dovecot.kick(user)
        last = json.loads(process.stdout.readline())
        while "error" not in last:  # that it waits is told unless a sync was refused first
            assert last["what"] == "waiting"
            last = json.loads(process.stdout.readline())
        assert "refuses the login" in last["error"]["sentence"]
        assert last["error"]["advice"]
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (1, b"")
    assert b"refuses the login" in err
    assert PASSWORD.encode() not in err


def test_nobody_reads_any_more(dovecot: Dovecot, home: Home) -> None:
    (user,) = home.users
    with spawn(home, "watch", user) as process:
        process.stderr.readline()
        process.stdout.close()
        with dovecot.client(user) as other:
            other.append("INBOX", MAIL)
        assert process.wait(PATIENCE) == 141
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(
    ("protocol", "words", "told"),
    [
        ("pop3", (),                      "POP3 server tells nothing by itself"),
        ("imap", ("--mailbox", "Inbux"),  "has no mailbox 'Inbux'"),
    ],
)  # fmt: skip
def test_what_is_asked_wrongly_is_told(
    dovecot: Dovecot, tmp_path: Path, protocol: str, words: tuple[str, ...], told: str
) -> None:
    ran = run(at_home(tmp_path, dovecot, "wrong", protocol), "watch", "wrong", *words)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err


def test_a_renamed_mailbox_does_not_fill_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime(2026, 11, 25, tzinfo=UTC)
    message = Described(b"", 1, "gone", "", "a mail")
    news = [News(now, "Old", What.GONE, b"%d" % n, message, ()) for n in range(MOST + 7)]
    _say_all(news)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == MOST + 1
    assert lines[-1].endswith("  Old  gone     and 7 messages more")
