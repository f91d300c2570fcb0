"""The digest: once a day, whatever happens, and what it says."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fetchd.alerting import digest as digest_module
from fetchd.alerting.digest import send_digest
from fetchd.catalog import runs
from fetchd.catalog.alerts import Kind, end_alert
from fetchd.contracts import RunCounts
from fetchd.errors import Remedy
from fetchd.pipeline.storage import Storage
from fetchd.settings import Settings
from tests.alerting.sites import NOW, Recorder, opened, ran, settings_of, trouble

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
AT_EIGHT = 'digest = "08:00"\ncommand = ["/bin/true"]'
EIGHT = NOW.replace(hour=8, minute=0)


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()

    async def one(_: Settings) -> list[Recorder]:
        return [recorder]

    monkeypatch.setattr(digest_module, "channels_of", one)
    return recorder


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with opened(settings_of(tmp_path)) as storage:
        yield storage


def send(folder: Path, storage: Storage, *instants: datetime, alerts: str = AT_EIGHT) -> None:
    settings = settings_of(folder, alerts)
    for at in instants:
        ran(send_digest(settings, storage, at))


def test_it_comes_once_a_day_from_its_time_on(
    tmp_path: Path, storage: Storage, channel: Recorder
) -> None:
    send(tmp_path, storage, EIGHT - MINUTE)
    assert channel.sent == []
    send(tmp_path, storage, *(EIGHT + n * MINUTE for n in range(5)))
    assert [one.subject for one in channel.sent] == ["fetchd: digest of 2030-01-31"]
    send(tmp_path, storage, EIGHT + DAY - MINUTE, EIGHT + DAY, EIGHT + DAY + 9 * MINUTE)
    assert len(channel.sent) == 2


def test_a_restart_does_not_repeat_it(tmp_path: Path, channel: Recorder) -> None:
    for n in range(3):
        with opened(settings_of(tmp_path)) as storage:
            send(tmp_path, storage, EIGHT + n * MINUTE)
    assert len(channel.sent) == 1


def test_one_that_was_missed_comes_later_that_day(
    tmp_path: Path, storage: Storage, channel: Recorder
) -> None:
    send(tmp_path, storage, EIGHT - DAY, EIGHT.replace(hour=23))
    assert len(channel.sent) == 2


def test_one_just_before_midnight_is_not_lost_over_it(
    tmp_path: Path, storage: Storage, channel: Recorder
) -> None:
    late = 'digest = "23:59"\ncommand = ["/bin/true"]'
    midnight = NOW.replace(hour=0, minute=0)
    send(tmp_path, storage, midnight, alerts=late)
    assert channel.sent == []  # nobody waits for the first one of yesterday
    send(tmp_path, storage, midnight - MINUTE, midnight + DAY, midnight + DAY + MINUTE, alerts=late)
    subjects = [one.subject for one in channel.sent]
    assert subjects == ["fetchd: digest of 2030-01-30", "fetchd: digest of 2030-01-31"]
    channel.failing = True
    send(tmp_path, storage, midnight + 2 * DAY - MINUTE, alerts=late)
    channel.failing = False
    send(tmp_path, storage, midnight + 2 * DAY + 5 * MINUTE, alerts=late)
    assert channel.sent[-1].subject == "fetchd: digest of 2030-02-01"


def test_one_that_failed_is_tried_again_after_a_pause(
    tmp_path: Path, storage: Storage, channel: Recorder
) -> None:
    channel.failing = True
    send(tmp_path, storage, EIGHT, EIGHT + MINUTE)
    channel.failing = False
    send(tmp_path, storage, EIGHT + 2 * MINUTE)  # two failures: a pause of two minutes
    assert channel.sent == []
    send(tmp_path, storage, EIGHT + 3 * MINUTE, EIGHT + 4 * MINUTE)
    assert len(channel.sent) == 1


def test_without_a_time_there_is_none(tmp_path: Path, storage: Storage, channel: Recorder) -> None:
    send(tmp_path, storage, EIGHT, alerts="")
    assert channel.sent == []


def test_its_time_is_the_owners(tmp_path: Path, storage: Storage, channel: Recorder) -> None:
    settings = settings_of(tmp_path, AT_EIGHT)
    service = settings.service.model_copy(update={"timezone": "America/New_York"})
    there = settings.model_copy(update={"service": service})
    ran(send_digest(there, storage, EIGHT))
    assert channel.sent == []
    ran(send_digest(there, storage, EIGHT + timedelta(hours=5)))
    assert "2030-01-31 08:00 EST" in channel.sent[0].text


def test_it_says_what_the_day_brought(tmp_path: Path, storage: Storage, channel: Recorder) -> None:
    catalog = storage.catalog
    old = runs.begin(catalog, "work", "imap", EIGHT - 2 * DAY)
    runs.succeed(catalog, old, EIGHT - 2 * DAY, RunCounts(fetched=1000))
    for hour in range(3):
        at = EIGHT - timedelta(hours=6 - hour)
        number = runs.begin(catalog, "work", "imap", at)
        runs.succeed(catalog, number, at, RunCounts(fetched=2, octets=500, delivered=1))
    at = EIGHT - timedelta(hours=1)
    number = runs.begin(catalog, "work", "imap", at)
    runs.fail(catalog, number, at, RunCounts(), "No.", Remedy.WAIT)
    trouble(storage, "home", Kind.DESTINATION, at)
    trouble(storage, "work", Kind.BRAKE, at)
    end_alert(catalog, Kind.BRAKE, "work", at + timedelta(minutes=30))
    send(tmp_path, storage, EIGHT)
    lines = channel.sent[0].text.splitlines()
    assert (
        "work: 6 fetched (1.5 kB), 3 delivered, 0 removed, 0 on the server; "
        "4 runs (1 failed), last success 2030-01-31 04:00 UTC"
    ) in lines
    assert "destination home takes nothing, since 2030-01-31 07:00 UTC" in lines
    assert "OVER: account work: removals are held back, after 30 minutes" in lines
    assert any(line.startswith("Free in ") for line in lines)
