"""One hung, one refusing and one babbling server among twenty: nobody else notices."""

from collections import Counter
from pathlib import Path

import pytest

from tests.daemon.serving import serving, until
from tests.daemon.site import PASSWORD, Site
from tests.servers.dovecot import Dovecot
from tests.servers.moody import HOST, Mood, Moody

pytestmark = pytest.mark.live

ILL = {"hung": Mood.SILENT, "refusing": Mood.REFUSING, "babbling": Mood.GARBAGE}
LATE = 2.0  # seconds
ROUNDS = 3


def test_the_other_seventeen_keep_their_schedule_and_each_trouble_is_told_once(
    tmp_path: Path,
) -> None:
    told = tmp_path / "told"
    teller = tmp_path / "tell.sh"
    teller.write_text(f'#!/bin/sh\ncat >> {told}\necho "===" >> {told}\n')
    teller.chmod(0o700)
    with Dovecot(separator="/") as server:
        moods = {name: Moody(HOST, server.port.imap, mood) for name, mood in ILL.items()}
        site = Site(tmp_path, server)
        for number in range(17):
            name = f"well{number:02}"
            server.add_user(name, PASSWORD)
            site.add(name, protocol="pop3" if number % 2 else "imap")
        for name, moody in moods.items():
            moody.__enter__()
            server.add_user(name, PASSWORD)
            site.add(name, port=moody.port, timeouts={"connect": "5s", "read": "5s"})
        site.service |= {"stalled": "20s"}
        site.more = f'[alerts]\ncommand = ["{teller}"]\nno_success_for = "15s"\ndisk_free = "1kB"\n'
        try:
            with serving(site.write()) as service:
                well = [f"well{number:02}" for number in range(17)]

                def rounds() -> int:
                    views = {one["name"]: one for one in service.snapshot()["accounts"]}
                    return min(int(views[name]["runs"]) for name in well)

                until(lambda: rounds() >= ROUNDS, "every well account had its rounds", 60)
                snapshot = service.snapshot()
                assert max(snapshot["lateness"]) < LATE
                views = {one["name"]: one for one in snapshot["accounts"]}
                assert all(views[name]["failed_runs"] == 0 for name in well)
                assert all(views[name]["failures"] > 0 for name in ILL)
                until(lambda: raised(told) == Counter(ILL.keys()), "each trouble was told", 90)
                for moody in moods.values():
                    moody.mood = Mood.WELL
                assert service.run("sync", *ILL).returncode == 0
                until(lambda: over(told) == Counter(ILL.keys()), "each end was told", 90)
                assert raised(told) == Counter(ILL.keys())
        finally:
            for moody in moods.values():
                moody.__exit__()


def raised(told: Path) -> Counter[str]:
    """How often the begin of each account's trouble was told."""
    return _lines(told, "account {} was not synced for too long")


def over(told: Path) -> Counter[str]:
    """How often its end was."""
    return _lines(told, "OVER: account {} was not synced for too long")


def _lines(told: Path, sentence: str) -> Counter[str]:
    lines = told.read_text().splitlines() if told.exists() else []
    return Counter(name for name in ILL for line in lines if line == sentence.format(name))
