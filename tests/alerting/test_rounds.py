"""From a server's refusal to the owner's ear: rounds as the command makes them, then told."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fetchd.alerting import after_round
from fetchd.catalog.alerts import Alert, Kind, alerts
from fetchd.catalog.database import Catalog
from fetchd.catalog.expiry import expiries
from fetchd.demo import sample
from fetchd.pipeline.storage import open_storage
from tests.alerting.sites import Hook, ran
from tests.pipeline.home import Home
from tests.servers.certificates import Authority
from tests.servers.scripted_imap import ScriptedImap
from tests.servers.scripted_pop3 import HANG_UP, ScriptedPop3, server_context

MESSAGES = sample.messages(30)
REFUSED = b"-ERR [AUTH] wrong password\r\n"


@pytest.fixture
def server() -> Iterator[ScriptedPop3]:
    with ScriptedPop3(MESSAGES) as scripted:
        yield scripted


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as receiver:
        yield receiver


@pytest.fixture
def here(tmp_path: Path, server: ScriptedPop3, hook: Hook) -> Home:
    made = Home(tmp_path, server.port)
    made.more = f'[alerts]\nwebhooks = ["http://127.0.0.1:{hook.port}/"]\n'
    return made


def round_and_tell(here: Home, *, confirm_retire: bool = False) -> None:
    """As `fetchd sync` does."""
    here.round(confirm_retire=confirm_retire)
    settings = here.settings()
    with open_storage(settings) as storage:
        ran(after_round(settings, storage, datetime.now(UTC) + here.offset))


def lasting(here: Home) -> list[Alert]:
    with Catalog(here.data / "catalog.sqlite", read_only=True) as catalog:
        return alerts(catalog)


def told(hook: Hook) -> list[tuple[str, str]]:
    return [(one["event"], (one["raised"] or one["over"])[0]["kind"]) for one in hook.bodies]


def test_a_refused_login_is_told_once_and_once_when_it_works_again(
    here: Home, server: ScriptedPop3, hook: Hook
) -> None:
    server.answers["PASS"] = REFUSED
    for number in range(4):
        here.account["password"] = f"guess {number}"  # the same one would not be tried again
        round_and_tell(here)
    (one,) = lasting(here)
    assert (one.kind, one.subject) == (Kind.AUTHENTICATION, "work")
    assert "wrong password" in one.sentence
    assert one.times == 4
    del server.answers["PASS"]
    here.account["password"] = "right"
    for _ in range(3):
        round_and_tell(here)
    assert told(hook) == [("raised", "authentication"), ("over", "authentication")]


def test_a_line_that_breaks_is_no_news_and_ends_nothing(
    here: Home, server: ScriptedPop3, hook: Hook
) -> None:
    server.answers["greeting"] = HANG_UP
    round_and_tell(here)
    assert told(hook) == []
    server.answers = {"PASS": REFUSED}
    round_and_tell(here)
    server.answers = {"greeting": HANG_UP}
    round_and_tell(here)
    assert told(hook) == [("raised", "authentication")]


def test_what_only_the_owner_can_end_is_told(here: Home, server: ScriptedPop3, hook: Hook) -> None:
    server.answers["PASS"] = b"-ERR [SYS/PERM] account suspended\r\n"
    round_and_tell(here)
    server.answers["PASS"] = REFUSED  # that is another trouble; the first one is past
    here.account["password"] = "another"
    round_and_tell(here)
    assert [one.kind for one in lasting(here)] == [Kind.AUTHENTICATION]
    assert told(hook)[0] == ("raised", "account")
    assert hook.bodies[1]["event"] == "raised and over"


def test_a_doubtful_refusal_is_told_once_it_lasts(
    here: Home, server: ScriptedPop3, hook: Hook
) -> None:
    server.answers["PASS"] = b"-ERR authentication failed\r\n"
    for _ in range(2):
        round_and_tell(here)
    assert told(hook) == []
    for _ in range(2):
        round_and_tell(here)
    assert told(hook) == [("raised", "authentication")]


def test_a_certificate_that_cannot_be_trusted_is_told_once_it_lasts(
    tmp_path: Path, hook: Hook
) -> None:
    certificate = Authority(tmp_path / "tls").issue_self_signed()
    with ScriptedPop3(tls=server_context(certificate)) as server:
        here = Home(tmp_path, server.port, tls="implicit")
        here.more = f'[alerts]\nwebhooks = ["http://127.0.0.1:{hook.port}/"]\n'
        for expected in ([], [], [("raised", "account")], [("raised", "account")]):
            round_and_tell(here)
            assert told(hook) == expected


def test_a_message_in_quarantine_is_told_until_it_came(
    here: Home, server: ScriptedPop3, hook: Hook
) -> None:
    server.answers["RETR 2"] = b"-ERR broken\r\n"
    round_and_tell(here)
    round_and_tell(here)
    assert told(hook) == [("raised", "quarantine")]
    del server.answers["RETR 2"]
    here.offset = timedelta(days=8)
    round_and_tell(here)
    assert told(hook) == [("raised", "quarantine"), ("over", "quarantine")]


def test_the_brake_is_told_until_it_is_confirmed(here: Home, hook: Hook) -> None:
    round_and_tell(here)
    here.account["leave_on_server"] = "none"
    for _ in range(3):
        round_and_tell(here)
    (one,) = lasting(here)
    assert "30 of 30 messages would leave the server unexpectedly" in one.sentence
    round_and_tell(here, confirm_retire=True)
    assert told(hook) == [("raised", "brake"), ("over", "brake")]


def test_the_brake_of_a_mailbox_that_was_not_looked_at_lasts(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": MESSAGES[:15], "Old": MESSAGES}) as server:
        here = Home(tmp_path, server.port, protocol="imap", mailboxes=["INBOX", "Old"])
        here.sync()
        here.account["leave_on_server"] = "none"
        here.account["retire_share"] = 0.01
        here.sync()
        assert [one.kind for one in lasting(here)] == [Kind.BRAKE]
        here.account["mailboxes"] = ["INBOX"]
        here.sync(confirm_retire=True)
        assert [one.kind for one in lasting(here)] == [Kind.BRAKE]
        here.account["mailboxes"] = ["INBOX", "Old"]
        here.sync(confirm_retire=True)
        assert lasting(here) == []


def test_damage_is_told_whoever_found_it(here: Home, hook: Hook) -> None:
    round_and_tell(here)
    (segment,) = (here.data / "archive").rglob("*.tar.zst")
    octets = bytearray(segment.read_bytes())
    octets[len(octets) // 2] ^= 0xFF
    segment.write_bytes(octets)
    with contextlib.suppress(Exception):
        here.verify()
    settings = here.settings()
    with open_storage(settings) as storage:
        ran(after_round(settings, storage, datetime.now(UTC)))
    assert told(hook) == [("raised", "damage")]
    round_and_tell(here)  # the server still has them
    assert told(hook) == [("raised", "damage"), ("over", "damage")]


def test_a_certificate_near_its_end_is_told_until_there_is_a_new_one(
    tmp_path: Path, hook: Hook
) -> None:
    authority = Authority(tmp_path / "tls")
    names = ("DNS:localhost", "IP:127.0.0.1")
    seen: list[datetime] = []
    for days in ("3", "60"):
        certificate = authority._issue(f"for{days}", "localhost", names, ("-days", days))
        with ScriptedPop3(MESSAGES, tls=server_context(certificate)) as server:
            here = Home(tmp_path, server.port, tls="implicit", ca_file=str(authority.ca_file))
            here.more = f'[alerts]\nwebhooks = ["http://127.0.0.1:{hook.port}/"]\n'
            round_and_tell(here)
            round_and_tell(here)
        with Catalog(here.data / "catalog.sqlite", read_only=True) as catalog:
            seen += [one.at for one in expiries(catalog)]
    assert [round((at - datetime.now(UTC)) / timedelta(days=1)) for at in seen] == [3, 60]
    assert told(hook) == [("raised", "certificate"), ("over", "certificate")]


def test_a_round_that_was_skipped_or_stopped_says_nothing_of_the_account(
    here: Home, server: ScriptedPop3, hook: Hook
) -> None:
    server.answers["PASS"] = REFUSED
    round_and_tell(here)
    here.round(stopped=True)
    assert [one.kind for one in lasting(here)] == [Kind.AUTHENTICATION]
