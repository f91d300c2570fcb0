"""Alerts and who was told of them, as the catalog keeps them."""

from datetime import UTC, datetime, timedelta
from typing import get_args

from fetchd.catalog import alerts, telling
from fetchd.catalog.alerts import Kind
from fetchd.catalog.database import Catalog
from fetchd.catalog.expiry import Expiry, expiries, note_expiry
from fetchd.catalog.telling import Event
from fetchd.settings.alerts import Trouble

NOW = datetime(2030, 1, 31, tzinfo=UTC)


def begin(catalog: Catalog, subject: str = "work", kind: Kind = Kind.BRAKE) -> None:
    alerts.raise_alert(catalog, kind, subject, "No.", "", NOW)


def test_every_kind_can_be_ignored_by_its_name() -> None:
    assert {str(kind) for kind in Kind} == set(get_args(Trouble))


def test_the_same_trouble_only_counts_until_it_is_over(catalog: Catalog) -> None:
    for _ in range(3):
        begin(catalog)
    begin(catalog, "home")
    alerts.end_alert(catalog, Kind.BRAKE, "work", NOW)
    begin(catalog)
    assert [(one.subject, one.times) for one in alerts.alerts(catalog)] == [
        ("home", 1),
        ("work", 1),
    ]
    every = alerts.alerts(catalog, over=True)
    assert [(one.subject, one.times, one.over_at) for one in every] == [
        ("work", 3, NOW), ("home", 1, None), ("work", 1, None),
    ]  # fmt: skip


def test_ending_what_never_began_changes_nothing(catalog: Catalog) -> None:
    alerts.end_alerts(catalog, [(Kind.DISK, "work"), (Kind.BRAKE, "home")], NOW)
    assert alerts.alerts(catalog, over=True) == []


def test_a_dismissed_one_is_not_shown_and_does_not_come_back(catalog: Catalog) -> None:
    begin(catalog)
    (one,) = alerts.alerts(catalog)
    for _ in range(2):
        alerts.dismiss(catalog, one.id, NOW)
    begin(catalog)
    assert alerts.alerts(catalog) == []
    assert [one.dismissed for one in alerts.alerts(catalog, over=True)] == [True]
    assert list(alerts.lasting(catalog)) == [("brake", "work")]
    assert telling.owed(catalog, "hook") == []


def test_each_channel_is_owed_for_itself(catalog: Catalog) -> None:
    begin(catalog)
    (owed,) = telling.owed(catalog, "hook")
    telling.note_told(catalog, "hook", [owed], NOW)
    assert telling.owed(catalog, "hook") == []
    assert [one.event for one in telling.owed(catalog, "letter")] == [Event.RAISED]
    alerts.end_alert(catalog, Kind.BRAKE, "work", NOW)
    assert [one.event for one in telling.owed(catalog, "hook")] == [Event.OVER]
    assert telling.owed(catalog, "letter") == []


def test_attempts_are_counted_until_it_is_told(catalog: Catalog) -> None:
    begin(catalog)
    for attempt in range(3):
        (owed,) = telling.owed(catalog, "hook")
        assert owed.attempts == attempt
        later = NOW + timedelta(minutes=attempt)
        telling.note_failed(catalog, "hook", [owed], "x" * 9999, later)
    (owed,) = telling.owed(catalog, "hook")
    assert owed.not_before == later
    telling.note_told(catalog, "hook", [owed], NOW)
    (told,) = telling.tellings(catalog, "hook")
    assert (told.told_at, told.attempts, told.last_error) == (NOW, 4, "")


def test_what_goes_together_is_one_message(catalog: Catalog) -> None:
    begin(catalog)
    begin(catalog, "home")
    telling.note_told(catalog, "hook", telling.owed(catalog, "hook"), NOW)
    hour = timedelta(hours=1)
    assert telling.messages(catalog, "hook", NOW - hour, NOW) == [NOW]
    assert telling.messages(catalog, "hook", NOW, NOW + hour) == []
    assert telling.messages(catalog, "hook", NOW - 2 * hour, NOW - hour) == []


def test_a_channel_is_one_process_own_while_it_lives(catalog: Catalog) -> None:
    assert telling.claim(catalog, "hook")
    assert telling.claim(catalog, "hook")  # its own
    with Catalog(catalog.path) as other:
        assert not telling.claim(other, "hook")
        telling.release(other, "hook")  # not its to give
        assert not telling.claim(other, "hook")
        telling.release(catalog, "hook")
        assert telling.claim(other, "hook")
        assert not telling.claim(catalog, "hook")
    assert telling.claim(catalog, "hook")


def test_ends_are_known_by_what_and_whose(catalog: Catalog) -> None:
    note_expiry(catalog, "token", "work", NOW)
    note_expiry(catalog, "certificate", "work", NOW + timedelta(days=1))
    note_expiry(catalog, "token", "work", NOW + timedelta(days=2))
    assert expiries(catalog) == [
        Expiry("certificate", "work", NOW + timedelta(days=1)),
        Expiry("token", "work", NOW + timedelta(days=2)),
    ]
