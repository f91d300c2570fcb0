"""The lines of the list of server quirks that a source alone cannot honour (POP3, by number)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fetchd.demo import server as demo
from fetchd.errors import CatalogError, FetchdError
from tests import corpus
from tests.pipeline.home import Home
from tests.servers.scripted_pop3 import ScriptedPop3

SHOWN = 3  # of its messages at a time
Plain = demo.Pop3


@dataclass(slots=True)
class Gmail(Plain):
    """Shows the oldest few, and hides for ever what was handed over, deleted or not."""

    popped: set[int] = field(default_factory=set)

    def _capa(self, _: str) -> bytes:
        return b"+OK\r\nUSER\r\nTOP\r\nUIDL\r\nPIPELINING\r\nX-GOOGLE-RICO\r\n.\r\n"

    def _left(self) -> list[int]:
        return Plain._left(self)[:SHOWN]

    def _retr(self, argument: str) -> bytes:
        self.popped.add(int(argument) - 1)
        return Plain._retr(self, argument)

    def _quit(self, _: str) -> bytes:
        self._deleted |= self.popped
        return Plain._quit(self, "")


def at_home(folder: Path, drop: demo.Maildrop, **account: object) -> Home:
    here = Home(folder, drop.port, **account)
    here.account |= {"username": demo.USERNAME, "password": demo.PASSWORD}
    return here


def test_q16_sessions_are_repeated_until_nothing_new_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "Pop3", Gmail)
    mail = corpus.small(10, size=500)
    with demo.serve(mail) as drop:
        here = at_home(tmp_path, drop, leave_on_server={"days": 14})
        report = here.sync()
        assert (report.ok, report.fetched, report.notices) == (True, 10, [])
        assert drop.logins == 5  # four that bring something, one that does not
        assert (here.sync().ok, drop.logins) == (True, 6)
        here.holds(mail)


def test_q15_a_server_that_deletes_by_itself_is_not_told_goodbye_before_all_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EXPIRE 0 takes effect at QUIT (RFC 2449 §6.7)."""

    def broken(*_: Any, **__: Any) -> None:
        raise CatalogError("The disk is full.")

    with ScriptedPop3(corpus.small(3), capabilities=["USER", "UIDL", "TOP", "EXPIRE 0"]) as server:
        here = Home(tmp_path, server.port)
        with monkeypatch.context() as patched:
            patched.setattr("fetchd.catalog.recording.record", broken)
            with pytest.raises(FetchdError, match="disk is full"):
                here.sync()
        assert "RETR" in server.verbs()
        assert "QUIT" not in server.verbs()
        assert here.sync().fetched == 0  # the archive had it: the journal was replayed
        here.holds(server.messages)


def test_q13_nothing_takes_a_removal_back(tmp_path: Path) -> None:
    with ScriptedPop3(corpus.small(3)) as server:
        Home(tmp_path, server.port, leave_on_server="none").sync()
        assert server.verbs().count("DELE") == 3
        assert "RSET" not in server.verbs()


def inserted(server: ScriptedPop3, at: int) -> None:
    server.messages.insert(at, corpus.small(1, seed=50 + at)[0])
    server.uidls.insert(at, b"late-%d" % at)


@pytest.mark.parametrize("at", [0, 2, 4])
def test_q28_new_mail_is_found_wherever_it_is_inserted(tmp_path: Path, at: int) -> None:
    with ScriptedPop3(corpus.small(4)) as server:
        here = Home(tmp_path, server.port)
        assert here.sync().fetched == 4
        inserted(server, at)
        assert here.sync().fetched == 1
        here.holds(server.messages)


Change = Callable[[ScriptedPop3], None]


def number_like(server: ScriptedPop3) -> None:
    """Unique-ids that are message numbers: all of them move up when one goes."""
    del server.messages[0], server.uidls[-1]


@pytest.mark.parametrize("change", [number_like])
def test_q01_q04_unique_ids_that_move_to_other_messages(tmp_path: Path, change: Change) -> None:
    mail = [corpus.small(1, size=500 + 40 * n, seed=n)[0] for n in range(5)]
    with ScriptedPop3(mail, uidls=[b"%d" % n for n in range(1, 6)]) as server:
        here = Home(tmp_path, server.port)
        here.sync()
        change(server)
        report = here.sync()
        assert (report.ok, report.fetched, report.delivered) == (True, 0, 0)
        here.holds(mail)
