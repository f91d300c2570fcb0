"""A line that is dead and does not look it: noticed in time, and the mail of meanwhile is found.

Between the watch and a real Dovecot is a gateway that swallows what both say from one moment
on, and acknowledges it all the same, so that no TCP timer helps: only the protocol can tell.
"""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fetchd.pipeline.news import What
from fetchd.sources import imap_watch
from tests.pipeline.home import PASSWORD
from tests.pipeline.imap_home import ImapHome
from tests.pipeline.watched import Watched
from tests.servers.dovecot import Dovecot
from tests.servers.gateway import Gateway

READ = 1.0  # seconds, as in the settings below
RENEWAL = 0.5
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot(separator="/") as dovecot:
        yield dovecot


@pytest.fixture
def user(server: Dovecot) -> str:
    name = f"dead{next(_numbers)}"
    server.add_user(name, PASSWORD)
    return name


def mail(subject: str) -> bytes:
    return f"From: a@example.org\r\nSubject: {subject}\r\n\r\nhello\r\n".encode()


@pytest.mark.parametrize("way", ["idle", "notify", "polling"])
def test_mail_that_came_behind_a_dead_line_is_found(
    way: str, server: Dovecot, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap_watch, "RENEWAL", RENEWAL)
    _offering(monkeypatch, way)
    with Gateway(target=server.port.imap) as gateway:
        home = ImapHome(tmp_path, gateway.port, user)
        home.account |= {
            "timeouts": {"connect": "5s", "read": f"{READ:g}s"},
            "mailboxes": ["INBOX"],
        }
        with Watched(home, sweep=RENEWAL) as watched:
            watched.until(lambda: watched.ways and gateway.lines >= 2)
            assert watched.ways == [way]
            with server.client(user) as client:
                client.append("INBOX", mail("before"))
            watched.until_told(What.NEW, "INBOX", "before")
            gateway.swallow()
            begun = time.monotonic()
            with server.client(user) as client:
                client.append("INBOX", mail("in the gap"))
            watched.until_told(What.NEW, "INBOX", "in the gap")
            took = time.monotonic() - begun
            assert took < 10 * (RENEWAL + READ), took
            assert len(watched.ways) == 2, "by a new line"
            assert "did not give" in watched.waits[0].sentence
            with server.client(user) as client:
                client.append("INBOX", mail("afterwards"))
            watched.until_told(What.NEW, "INBOX", "afterwards")


def _offering(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """As if the server had nothing better than that."""
    begin = imap_watch.ImapWatch.begin
    lacking = {"notify": set[str](), "idle": {"NOTIFY"}, "polling": {"NOTIFY", "IDLE"}}[way]

    async def begin_with_less(watch: imap_watch.ImapWatch) -> None:
        watch._offered = watch._offered - lacking
        await begin(watch)

    monkeypatch.setattr(imap_watch.ImapWatch, "begin", begin_with_less)


def test_a_dead_line_costs_ten_minutes_at_most(tmp_path: Path) -> None:
    """What the constants promise: IDLE is renewed, and DONE has the deadline of any answer."""
    home = ImapHome(tmp_path, 1, "work")
    home.account["timeouts"] = {}
    read = home.settings().accounts["work"].timeouts.read
    assert imap_watch.RENEWAL + read.total_seconds() <= 10 * 60
