"""Who is told what, how often, and what becomes of what could not be told."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fetchd.alerting import tell as telling_module
from fetchd.alerting.tell import MOST, Told, pause, tell
from fetchd.catalog import alerts, reach, telling
from fetchd.catalog.alerts import Kind, end_alert
from fetchd.catalog.database import Catalog
from fetchd.catalog.reach import Reach
from fetchd.errors import ChannelFailed
from fetchd.pipeline.storage import Storage
from fetchd.settings import Settings
from tests.alerting.sites import NOW, Recorder, opened, ran, settings_of, trouble

MINUTE = timedelta(minutes=1)


class Site:
    """Settings, storage, one or more channels that record, and a clock."""

    def __init__(self, settings: Settings, storage: Storage, *channels: Recorder) -> None:
        self.settings, self.storage, self.channels = settings, storage, channels
        self.now = NOW

    def tell(self, later: timedelta = MINUTE) -> Told:
        self.now += later
        told: Told = ran(tell(self.settings, self.storage, self.now))
        return told

    def trouble(self, subject: str = "work", kind: Kind = Kind.AUTHENTICATION) -> None:
        trouble(self.storage, subject, kind, self.now)

    def over(self, subject: str = "work", kind: Kind = Kind.AUTHENTICATION) -> None:
        end_alert(self.storage.catalog, kind, subject, self.now)


@pytest.fixture
def channel() -> Recorder:
    return Recorder()


@pytest.fixture
def other() -> Recorder:
    return Recorder("other")


@pytest.fixture
def site(
    tmp_path: Path, channel: Recorder, other: Recorder, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    settings = settings_of(tmp_path)

    async def both(_: Settings) -> list[Recorder]:
        return [channel, other]

    monkeypatch.setattr(telling_module, "channels_of", both)
    with opened(settings) as storage:
        yield Site(settings, storage, channel, other)


def test_a_trouble_is_told_once_and_once_when_it_is_over(site: Site, channel: Recorder) -> None:
    for _ in range(5):
        site.trouble()
        site.tell()
    site.over()
    for _ in range(5):
        site.tell()
    assert channel.told == ["raised", "over"]
    raised, over = channel.sent
    assert raised.subject == "fetchd: account work: the login is refused"
    assert "work said no." in raised.text
    assert "Do something." in raised.text
    assert over.subject == "fetchd: over: account work: the login is refused"
    assert "It lasted 5 minutes" in over.text


def test_what_is_over_before_anybody_heard_of_it_is_not_told(site: Site, channel: Recorder) -> None:
    site.trouble()
    site.over()
    site.tell()
    assert channel.told == []


def test_the_same_trouble_anew_is_told_anew(site: Site, channel: Recorder) -> None:
    for _ in range(2):
        site.trouble()
        site.tell()
        site.over()
        site.tell()
    assert channel.told == ["raised", "over"] * 2
    assert len({one.key for one in channel.sent}) == 4


def test_many_troubles_at_once_are_one_message(site: Site, channel: Recorder) -> None:
    for number in range(70):
        site.trouble(f"account{number}")
    site.tell()
    (message,) = channel.sent
    assert len(message.raised) == 70
    assert message.subject == "fetchd: 70 troubles"
    assert "account0: the login" in message.text
    assert "And 20 more." in message.text


def test_a_failing_channel_neither_keeps_others_from_hearing_nor_forgets(
    site: Site, channel: Recorder, other: Recorder
) -> None:
    channel.failing = True
    site.trouble()
    done = site.tell()
    assert done.failed == {"recorder": "It is out."}
    assert other.told == ["raised"]
    channel.failing = False
    site.tell(MINUTE / 2)  # too early
    assert channel.told == []
    site.tell()
    assert channel.told == ["raised"]
    assert other.told == ["raised"]


def test_what_a_channel_never_heard_of_is_not_over_for_it(
    site: Site, channel: Recorder, other: Recorder
) -> None:
    channel.failing = True
    site.trouble()
    site.tell()
    site.over()
    channel.failing = False
    site.tell(timedelta(hours=2))
    assert channel.told == []
    assert other.told == ["raised", "over"]


@pytest.mark.parametrize(
    ("attempts", "minutes"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1000, 60)]
)
def test_pauses_grow_up_to_an_hour(attempts: int, minutes: int) -> None:
    assert pause(attempts) == timedelta(minutes=minutes)


def test_a_flood_is_held_back_and_becomes_one_message(site: Site, channel: Recorder) -> None:
    for number in range(MOST + 10):
        site.trouble(f"account{number}")
        site.tell(timedelta(seconds=1))
    assert len(channel.sent) == MOST
    assert site.tell(timedelta(seconds=1)).waiting["recorder"] == 10
    site.tell(timedelta(hours=1))
    assert len(channel.sent) == MOST + 1
    assert len(channel.sent[-1].raised) == 10


def test_a_crash_between_sending_and_writing_it_down_tells_twice_and_says_the_same(
    site: Site, channel: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    site.trouble()
    with monkeypatch.context() as patched:
        patched.setattr(telling, "note_told", killed)
        with pytest.raises(KeyboardInterrupt):
            site.tell()
    site.tell()
    site.tell()
    first, second = channel.sent
    assert first.key == second.key


def test_ignored_kinds_are_recorded_and_not_told(
    tmp_path: Path, site: Site, channel: Recorder
) -> None:
    site.settings = settings_of(tmp_path, 'ignore = ["disk"]')
    site.trouble("data folder", Kind.DISK)
    site.trouble()
    site.tell()
    (message,) = channel.sent
    assert [one.subject for one in message.raised] == ["work"]
    assert len(alerts.alerts(site.storage.catalog)) == 2


def test_a_dismissed_one_is_told_no_more_even_when_it_fails_again_or_is_over(
    site: Site, channel: Recorder
) -> None:
    site.trouble()
    ((only,)) = alerts.alerts(site.storage.catalog)
    alerts.dismiss(site.storage.catalog, only.id, site.now)
    site.trouble()
    site.tell()
    site.over()
    site.tell()
    assert channel.told == []
    site.trouble()  # anew
    site.tell()
    assert channel.told == ["raised"]


def test_letters_wait_while_their_own_destination_is_out_of_reach(
    site: Site, channel: Recorder, other: Recorder
) -> None:
    channel.destination = "home"
    site.trouble("home", Kind.DESTINATION)
    until = site.now + timedelta(hours=1)
    reach.fail(site.storage.catalog, Reach("home", 3, until, "It is locked.", "owner"))
    for _ in range(5):
        done = site.tell()
    assert (channel.told, other.told) == ([], ["raised"])
    assert done.waiting == {"recorder": 1}
    assert done.failed == {}
    reach.succeed(site.storage.catalog, "home", site.now)
    site.over("home", Kind.DESTINATION)
    site.tell()
    assert (channel.told, other.told) == ([], ["raised", "over"])


def test_two_processes_do_not_tell_the_same(site: Site, channel: Recorder) -> None:
    site.trouble()
    with Catalog(site.storage.catalog.path) as another:
        assert telling.claim(another, "recorder")
        site.tell()
        assert channel.told == []
        telling.release(another, "recorder")
        site.tell()
    assert channel.told == ["raised"]


def test_the_claim_of_a_dead_process_counts_nothing(site: Site, channel: Recorder) -> None:
    with Catalog(site.storage.catalog.path) as another:
        assert telling.claim(another, "recorder")
    site.trouble()
    site.tell()
    assert channel.told == ["raised"]


def test_a_fault_of_ours_in_one_channel_is_a_failure_of_that_channel(
    site: Site, channel: Recorder, other: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_: object) -> None:
        raise ZeroDivisionError("https://secret")

    monkeypatch.setattr(channel, "send", broken)
    site.trouble()
    assert site.tell().failed == {"recorder": "recorder failed: ZeroDivisionError."}
    assert other.told == ["raised"]


def test_a_channel_that_hangs_is_given_up(
    site: Site, channel: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    async def hangs(_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(channel, "send", hangs)
    monkeypatch.setattr("fetchd.alerting.channels.PATIENCE", 0.05)
    site.trouble()
    assert "did not answer within" in site.tell().failed["recorder"]


def test_errors_of_channels_are_kept_for_who_looks(site: Site, channel: Recorder) -> None:
    channel.failing = True
    site.trouble()
    site.tell()
    (failed,) = (t for t in telling.tellings(site.storage.catalog) if not t.told_at)
    assert (failed.channel, failed.attempts, failed.last_error) == ("recorder", 1, "It is out.")


def test_a_clock_that_was_ahead_silences_nobody(site: Site, channel: Recorder) -> None:
    site.now = NOW + timedelta(days=400)
    channel.failing = True
    site.trouble()
    site.tell()
    channel.failing = False
    site.now = NOW
    site.tell()
    assert channel.told == ["raised"]


def test_nothing_to_tell_asks_for_no_channel(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(_: Settings) -> None:
        raise ChannelFailed("asked")

    monkeypatch.setattr(telling_module, "channels_of", asked)
    assert site.tell() == Told()
