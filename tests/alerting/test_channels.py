"""Each way to tell, with a real receiver at its other end."""

import email
import email.policy
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fetchd.alerting import webhook
from fetchd.alerting.channels import Channel, channels_of, send
from fetchd.alerting.letters import letter
from fetchd.alerting.message import About, Message, of_alerts, plain
from fetchd.alerting.tell import Tried, tell, try_channels
from fetchd.alerting.words import Clock
from fetchd.catalog import telling
from fetchd.catalog.alerts import Alert, Kind, end_alert
from fetchd.catalog.telling import Event, Owed
from fetchd.errors import FetchdError
from fetchd.settings import Settings
from fetchd.telemetry import redact
from tests.alerting.sites import NOW, Hook, opened, ran, settings_of, trouble
from tests.servers.scripted_smtp import ScriptedSmtp

MAILDIR = '[destinations.home]\nkind = "maildir"\npath = "{folder}/Maildir"\n'
SMTP = """
[destinations.relay]
kind = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
recipients = ["owner@example.org"]
"""
ODD = Alert(
    7,
    Kind.QUARANTINE,
    "wörk",
    "Grüße\r\nBcc: x@example.org \x1b[2J",
    "Räum auf.",
    3,
    NOW,
    NOW,
    None,
)  # fmt: skip
# Apprise imports it for one of its services.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "PAUSES", (0.01, 0.01))


def message(*found: Alert) -> Message:
    owed = [Owed(one, Event.OVER if one.over_at else Event.RAISED) for one in found or (ODD,)]
    return of_alerts(owed, NOW, Clock())


def only(settings: Settings) -> Channel:
    (channel,) = ran(channels_of(settings))
    return channel


def failed(channel: Channel) -> FetchdError:
    with pytest.raises(FetchdError) as caught:
        ran(send(channel, message()))
    return caught.value


# -- Letters ---------------------------------------------------------------------------


def test_a_letter_is_ascii_of_short_lines_and_says_all() -> None:
    octets = letter(message(), "me@example.org", ("you@example.org", "not an address"))
    assert octets.isascii()
    assert octets.count(b"\n") == octets.count(b"\r\n")
    assert max(map(len, octets.split(b"\r\n"))) <= 100
    read = email.message_from_bytes(octets, policy=email.policy.default)
    assert str(read["From"]) == "fetchd <me@example.org>"
    assert str(read["To"]) == "you@example.org"
    assert read["Subject"] == "fetchd: account wörk: messages would not come"
    assert read["Auto-Submitted"] == "auto-generated"
    assert read["Bcc"] is None
    assert read["Date"].datetime == NOW
    assert str(read["Message-ID"]).endswith("@example.org>")
    text = read.get_content()
    assert "Grüße" in text
    assert "\x1b" not in text
    assert "Since 2030-01-31 12:00 UTC, 3 times." in text or "2030-01-31" in text


@pytest.mark.parametrize("address", ["root", "mé@example.org", "a b@example.org", ""])
def test_a_letter_can_be_made_whatever_the_owner_is_called(address: str) -> None:
    read = email.message_from_bytes(
        letter(message(), address, (address,)), policy=email.policy.default
    )
    assert str(read["From"]) == "fetchd <fetchd@localhost>"
    assert str(read["To"]) == "undisclosed-recipients:;"
    assert not read.defects


def test_a_letter_comes_into_a_maildir_once_however_often_it_is_sent(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 'destinations = ["home"]', MAILDIR.format(folder=tmp_path))
    ran(send(only(settings), message()))
    (path,) = (tmp_path / "Maildir/new").iterdir()
    path = path.rename(tmp_path / "Maildir/cur" / f"{path.name}:2,S")  # it was read meanwhile
    ran(send(only(settings), message()))
    assert list((tmp_path / "Maildir/new").iterdir()) == []
    read = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    assert "Räum auf." in read.get_content()


def test_a_letter_goes_by_smtp(tmp_path: Path) -> None:
    with ScriptedSmtp() as server:
        settings = settings_of(tmp_path, 'destinations = ["relay"]', SMTP.format(port=server.port))
        ran(send(only(settings), message()))
        (taken,) = server.accepted
    assert "owner@example.org" in str(taken)
    assert b"Auto-Submitted: auto-generated" in taken.octets


def test_a_server_that_refuses_a_letter_is_quoted(tmp_path: Path) -> None:
    with ScriptedSmtp(answers={"RCPT": b"550 5.7.1 go away\r\n"}) as server:
        settings = settings_of(tmp_path, 'destinations = ["relay"]', SMTP.format(port=server.port))
        assert "go away" in str(failed(only(settings)))


def test_neither_archive_nor_outbox_know_of_letters(tmp_path: Path) -> None:
    with ScriptedSmtp(answers={"MAIL": b"550 5.7.1 go away\r\n"}) as server:
        settings = settings_of(tmp_path, 'destinations = ["relay"]', SMTP.format(port=server.port))
        with opened(settings) as storage:
            trouble(storage, "relay", Kind.DESTINATION)
            done = ran(tell(settings, storage, NOW))
            assert list(done.failed) == ["destination relay"]
            rows = storage.catalog.rows
            assert rows("SELECT count(*) FROM delivery") == [(0,)]
            assert rows("SELECT count(*) FROM message") == [(0,)]
            assert rows("SELECT count(*), max(times) FROM alert") == [(1, 1)]


# -- Webhooks -----------------------------------------------------------------------------


def test_a_webhook_gets_one_document_for_each_message(tmp_path: Path) -> None:
    with Hook() as hook:
        settings = settings_of(tmp_path, f'webhooks = ["http://127.0.0.1:{hook.port}/x?key=k3y"]')
        with opened(settings) as storage:
            trouble(storage)
            ran(tell(settings, storage, NOW))
            ran(tell(settings, storage, NOW))
            end_alert(storage.catalog, Kind.AUTHENTICATION, "work", NOW)
            ran(tell(settings, storage, NOW))
            ran(tell(settings, storage, NOW))
    raised, over = hook.bodies
    assert raised["event"] == "raised"
    assert raised["version"] == 1
    assert raised["raised"] == [
        {
            "id": 1, "kind": "authentication", "subject": "work", "sentence": "work said no.",
            "advice": "Do something.", "times": 1, "since": "2030-01-31T12:00:00+00:00",
            "last": "2030-01-31T12:00:00+00:00", "over": None,
        }
    ]  # fmt: skip
    assert over["event"] == "over"
    assert over["over"][0]["over"] == "2030-01-31T12:00:00+00:00"
    assert hook.paths == ["/x?key=k3y"] * 2


@pytest.mark.parametrize(
    ("answers", "posts", "error"),
    [
        ((204,), 1, ""),
        ((503, 500, 200), 3, ""),
        ((500,), 3, "the server answered 500"),
        ((403,), 1, "the server answered 403"),
        ((302,), 1, "a redirect, which is not followed"),
    ],
)
def test_a_webhook_is_tried_again_where_that_may_help(
    tmp_path: Path, answers: tuple[int, ...], posts: int, error: str
) -> None:
    with Hook() as elsewhere, Hook(answers, location=f"http://127.0.0.1:{elsewhere.port}/") as hook:
        channel = only(settings_of(tmp_path, f'webhooks = ["http://127.0.0.1:{hook.port}/k3y"]'))
        if error:
            assert error in str(failed(channel))
        else:
            ran(send(channel, message()))
        assert len(hook.bodies) == posts
        assert elsewhere.bodies == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/S3CRET", "https://127.0.0.1:1/S3CRET"])
def test_the_url_of_a_webhook_is_never_told(tmp_path: Path, url: str) -> None:
    channel = only(settings_of(tmp_path, f'webhooks = ["{url}"]'))
    error = failed(channel)
    assert "S3CRET" not in f"{channel.name} {error} {error.advice} {error.__cause__!r}"
    assert redact(url) == "***"


def test_files_of_urls_are_read_and_kept_from_others(tmp_path: Path) -> None:
    file = tmp_path / "hooks"
    file.write_text("# mine\n\nhttps://a.example.org/1\nhttps://a.example.org/2\nhttps://[broken\n")
    file.chmod(0o600)
    settings = settings_of(tmp_path, f'webhooks_file = "{file}"')
    channels = ran(channels_of(settings))
    assert [one.name.split()[1] for one in channels[:2]] == ["a.example.org"] * 2
    assert len({one.name for one in channels}) == 3
    assert "no URL" in str(failed(channels[2]))
    file.chmod(0o644)
    assert "readable by others" in str(failed(only(settings)))


# -- Apprise --------------------------------------------------------------------------------


def test_apprise_tells_a_service(tmp_path: Path) -> None:
    with Hook() as hook:
        channel = only(settings_of(tmp_path, f'apprise = ["json://127.0.0.1:{hook.port}/in"]'))
        ran(send(channel, message()))
    (body,) = hook.bodies
    assert body["title"] == "fetchd: account wörk: messages would not come"
    assert "Räum auf." in body["message"]
    assert body["type"] == "failure"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("json://127.0.0.1:1/S3CRET", "did not take the message"),
        ("tgram://S3CRET", "is no URL that Apprise knows"),
        ("nonsense://S3CRET", "is no URL that Apprise knows"),
    ],
)
def test_apprise_says_nothing_of_its_urls(
    tmp_path: Path,
    url: str,
    said: str,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(1)
    channel = only(settings_of(tmp_path, f'apprise = ["{url}"]'))
    error = failed(channel)
    assert said in str(error)
    shown = capfd.readouterr()
    assert "S3CRET" not in f"{channel.name} {error} {error.advice} {shown.out} {shown.err}"
    assert [one for one in caplog.records if one.name.startswith("apprise")] == []


def test_without_apprise_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    error = failed(only(settings_of(tmp_path, 'apprise = ["json://127.0.0.1/"]')))
    assert error.advice == "Install it: pip install 'fetchd[apprise]'"


# -- Programs ----------------------------------------------------------------------------------


def script(folder: Path, text: str) -> Path:
    path = folder / "told"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_program_gets_the_letter_and_the_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FETCHD_SECRET", "S3CRET")
    program = script(
        tmp_path, f'cat > {tmp_path}/letter; env > {tmp_path}/env; echo "$1" > {tmp_path}/arg'
    )
    channel = only(settings_of(tmp_path, f'command = ["{program}", "$HOME; true"]'))
    ran(send(channel, message()))
    read = email.message_from_bytes((tmp_path / "letter").read_bytes(), policy=email.policy.default)
    assert "Räum auf." in read.get_content()
    assert (tmp_path / "arg").read_text() == "$HOME; true\n"
    told = (tmp_path / "env").read_text()
    assert "FETCHD_ALERT_KIND=quarantine\n" in told
    assert "FETCHD_ALERT_SUBJECT=wörk\n" in told
    assert "FETCHD_ALERT_EVENT=raised\n" in told
    assert "FETCHD_ALERT_SENTENCE=Grüße\\r\\nBcc: x@example.org \\x1b[2J\n" in told
    assert "S3CRET" not in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo 'no way' >&2; exit 3", "told ended with 3: no way"),
        ("kill -9 $$", "told was killed by signal 9."),
        ("exec sleep 60", "took over 0.2 s and was ended"),
    ],
)
def test_a_program_that_fails_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    limit = 0.2 if "sleep" in text else 30.0
    monkeypatch.setattr("fetchd.alerting.program.LIMIT", limit)
    program = script(tmp_path, text)
    assert said in str(failed(only(settings_of(tmp_path, f'command = ["{program}"]'))))


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = failed(only(settings_of(tmp_path, 'command = ["/nowhere/told"]')))
    assert "/nowhere/told" in str(error)
    assert "alerts.command" in error.advice


def test_a_program_is_ended_with_its_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetchd.alerting.channels.PATIENCE", 0.2)
    program = script(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 60")
    assert "did not answer" in str(failed(only(settings_of(tmp_path, f'command = ["{program}"]'))))
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()


# -- All of them ------------------------------------------------------------------------------


def test_a_test_goes_through_every_channel(tmp_path: Path) -> None:
    with Hook() as hook:
        url = f"127.0.0.1:{hook.port}/k3y"
        settings = settings_of(
            tmp_path,
            f'destinations = ["home"]\napprise = ["json://{url}"]\nwebhooks = ["http://{url}"]\n'
            'command = ["/bin/false"]',
            MAILDIR.format(folder=tmp_path),
        )
        tried: list[Tried] = ran(try_channels(settings, datetime.now(UTC)))
    names = [one.channel.split()[0] for one in tried]
    assert names == ["destination", "apprise", "webhook", "command"]
    assert [bool(one.failure) for one in tried] == [False, False, False, True]
    assert len(hook.bodies) == 2
    assert len(list((tmp_path / "Maildir/new").iterdir())) == 1
    assert not (tmp_path / "data").exists()


def test_the_names_of_channels_last(tmp_path: Path) -> None:
    text = 'webhooks = ["https://a.example.org/1", "https://a.example.org/1"]'
    assert only(settings_of(tmp_path, text)).name == only(settings_of(tmp_path, text)).name


def test_what_a_channel_said_is_kept_without_secrets(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 'webhooks = ["http://127.0.0.1:1/S3CRET"]')
    with opened(settings) as storage:
        trouble(storage)
        ran(tell(settings, storage, NOW))
        (kept,) = telling.tellings(storage.catalog)
    assert "S3CRET" not in str(kept)
    assert kept.attempts == 1


def test_subjects_are_short_and_lines_stay_lines() -> None:
    made = plain(About.TEST, "x" * 1000 + "\nBcc: y", ["a\nb"], NOW, "key")
    assert len(made.subject) == 160
    assert made.text == "a\\nb\n"
