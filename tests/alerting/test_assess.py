"""What counts as trouble, from when to when."""

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from fetchd.alerting.assess import GRACE, assess
from fetchd.catalog import alerts, leases, runs
from fetchd.catalog.alerts import Kind, raise_alert
from fetchd.catalog.database import Catalog
from fetchd.catalog.expiry import expiries, forget_expiry, note_expiry
from fetchd.contracts import RunCounts, ServerFacts
from fetchd.errors import Remedy
from fetchd.instants import micros
from fetchd.settings import Settings
from tests.alerting.sites import NOW, settings_of

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "data/catalog.sqlite") as opened:
        yield opened


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 10**12)


def free(monkeypatch: pytest.MonkeyPatch, octets: int) -> None:
    class Usage(NamedTuple):
        total: int
        used: int
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**13, 0, octets))


def run(catalog: Catalog, at: datetime, *, well: bool = True, name: str = "work") -> None:
    """One run of the account."""
    number = runs.begin(catalog, name, "imap", at)
    if well:
        runs.succeed(catalog, number, at, RunCounts())
    else:
        runs.fail(catalog, number, at, RunCounts(), f"No route at {at:%H}.", Remedy.WAIT, "Wait.")


def lasting(
    settings: Settings, catalog: Catalog, now: datetime, since: datetime | None = None
) -> list[tuple[str, str]]:
    """What lasts, once it was judged."""
    assess(settings, catalog, now, since)
    return [(one.kind, one.subject) for one in alerts.alerts(catalog)]


SILENT = [(Kind.NO_SUCCESS, "work")]


@pytest.mark.parametrize(
    ("account", "service", "after", "silent"),
    [
        ("", "", 24 * HOUR, False),
        ("", "", 24 * HOUR + timedelta(minutes=6), True),
        ('schedule = "6h"', "", 29 * HOUR, False),
        ('schedule = "6h"', "", 31 * HOUR, True),
        ('schedule = "0 8 * * mon"', "", 7 * DAY, False),
        ('schedule = "0 8 * * mon"', "", 8 * DAY + HOUR, True),
        ('schedule = "0 8 1 * *"', "", 31 * DAY, False),
        ('schedule = "0 8 * * *"', "", 47 * HOUR, False),
        ('schedule = "manual"', "", 999 * DAY, False),
        ('schedule = "idle"', "", 25 * HOUR, True),
        ('quiet_hours = "22:00-06:00"', "", 31 * HOUR, False),
        ('quiet_hours = "22:00-06:00"', "", 33 * HOUR, True),
    ],
)
def test_silence_is_judged_by_what_was_to_be_expected(
    tmp_path: Path, catalog: Catalog, account: str, service: str, after: timedelta, silent: bool
) -> None:
    settings = settings_of(tmp_path, more=account)
    run(catalog, NOW)
    assert lasting(settings, catalog, NOW + after) == (SILENT if silent else [])


def test_silence_ends_with_a_success_and_says_what_was_last_heard(
    tmp_path: Path, catalog: Catalog
) -> None:
    settings = settings_of(tmp_path)
    run(catalog, NOW)
    for hours in range(1, 60):
        run(catalog, NOW + hours * HOUR, well=False)
        assess(settings, catalog, NOW + hours * HOUR)
    (one,) = alerts.alerts(catalog)
    assert one.times == 1
    assert one.sentence == (
        "It was last synced on 2030-01-31 12:00 UTC. The last attempt said: No route at 23."
    )
    assert one.advice == "Wait."
    run(catalog, NOW + 60 * HOUR)
    assert lasting(settings, catalog, NOW + 60 * HOUR) == []


def test_an_account_that_never_ran_is_missed_too(tmp_path: Path, catalog: Catalog) -> None:
    settings = settings_of(tmp_path)
    assert lasting(settings, catalog, NOW) == []
    assert lasting(settings, catalog, NOW + 23 * HOUR) == []
    assert lasting(settings, catalog, NOW + 25 * HOUR) == SILENT
    (one,) = alerts.alerts(catalog)
    assert one.sentence == "It never was, since 2030-01-31 12:00 UTC."


def test_a_service_that_has_just_begun_has_time_to_get_round(
    tmp_path: Path, catalog: Catalog
) -> None:
    settings = settings_of(tmp_path)
    run(catalog, NOW)
    woken = NOW + 30 * DAY
    assert lasting(settings, catalog, woken, woken) == []
    assert lasting(settings, catalog, woken + GRACE * 2, woken) == SILENT


def test_a_first_sync_that_takes_days_is_no_silence(tmp_path: Path, catalog: Catalog) -> None:
    settings = settings_of(tmp_path)
    run(catalog, NOW - DAY, well=False)
    now = NOW + 3 * DAY
    leases.acquire(catalog, "work", now + timedelta(minutes=1), now)
    assert lasting(settings, catalog, now) == []
    leases.release(catalog, "work")
    assert lasting(settings, catalog, now) == SILENT
    leases.acquire(catalog, "work", now + timedelta(minutes=1), now)
    assert lasting(settings, catalog, now) == SILENT  # an attempt is no success
    leases.release(catalog, "work")
    number = runs.begin(catalog, "work", "imap", now)
    runs.fail(catalog, number, now, RunCounts(fetched=1), "It broke.", Remedy.WAIT)
    assert lasting(settings, catalog, now) == []
    assert lasting(settings, catalog, now + 2 * HOUR) == SILENT


def test_whose_login_is_refused_is_not_told_of_silence_as_well(
    tmp_path: Path, catalog: Catalog
) -> None:
    settings = settings_of(tmp_path)
    run(catalog, NOW)
    raise_alert(catalog, Kind.AUTHENTICATION, "work", "No.", "", NOW)
    assert lasting(settings, catalog, NOW + 9 * DAY) == [(Kind.AUTHENTICATION, "work")]


def test_silence_is_not_over_because_a_login_is_refused(tmp_path: Path, catalog: Catalog) -> None:
    settings = settings_of(tmp_path)
    run(catalog, NOW)
    assert lasting(settings, catalog, NOW + 9 * DAY) == SILENT
    raise_alert(catalog, Kind.AUTHENTICATION, "work", "No.", "", NOW)
    assert SILENT[0] in lasting(settings, catalog, NOW + 9 * DAY)


def test_a_disk_is_low_until_it_has_clearly_more_room(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, 'disk_free = "1GB"')
    run(catalog, NOW)
    low = [(Kind.DISK, "data folder")]
    for octets, expected in [
        (1_000_000_000, []), (999_999_999, low), (1_200_000_000, low), (1_250_000_000, []),
        (1_000_000_001, []),
    ]:  # fmt: skip
        free(monkeypatch, octets)
        assert lasting(settings, catalog, NOW) == expected, octets


def test_the_disk_of_a_maildir_counts_where_it_is_another(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    tables = [
        f'[destinations.{name}]\nkind = "maildir"\npath = "{path}/not/there/yet"\n'
        for name, path in [("near", tmp_path), ("far", "/dev/shm")]
    ]
    run(catalog, NOW)
    free(monkeypatch, 1)
    settings = settings_of(tmp_path, more="\n".join(tables))
    both = [(Kind.DISK, "data folder"), (Kind.DISK, "destination far")]
    assert lasting(settings, catalog, NOW) == both
    assert lasting(settings_of(tmp_path), catalog, NOW) == both[:1]


def test_damage_lasts_until_nothing_is_damaged(tmp_path: Path, catalog: Catalog) -> None:
    settings = settings_of(tmp_path)
    run(catalog, NOW)
    with catalog.transaction() as db:
        db.execute(
            "INSERT INTO message (digest, size, internal_date, header_digest, copy_key, stored_at,"
            " damaged) VALUES (x'00', 1, 0, x'00', x'00', 0, 1)"
        )
    assert lasting(settings, catalog, NOW) == [(Kind.DAMAGE, "archive")]
    with catalog.transaction() as db:
        db.execute("UPDATE message SET damaged = 0")
    assert lasting(settings, catalog, NOW) == []


def test_quarantine_lasts_until_nothing_is_set_aside(tmp_path: Path, catalog: Catalog) -> None:
    settings = settings_of(tmp_path)
    run(catalog, NOW)
    with catalog.transaction() as db:
        db.execute("INSERT INTO mailbox (id, account, name) VALUES (1, 'work', 'INBOX')")
        db.execute(
            "INSERT INTO remote_message (mailbox_id, uid, size, state, first_seen)"
            " VALUES (1, x'31', 1, 'quarantined', 0)"
        )
    raise_alert(catalog, Kind.QUARANTINE, "work", "1 would not come.", "", NOW)
    assert lasting(settings, catalog, NOW) == [(Kind.QUARANTINE, "work")]
    with catalog.transaction() as db:
        db.execute("UPDATE remote_message SET state = 'gone'")
    assert lasting(settings, catalog, NOW) == []


def test_deliveries_that_failed_are_over_when_none_is_left(
    tmp_path: Path, catalog: Catalog
) -> None:
    run(catalog, NOW)
    with catalog.transaction() as db:
        db.execute(
            "INSERT INTO delivery (destination, key, digest, account, mailbox, uid, state,"
            " queued_at) VALUES ('home', 'k', x'00', 'work', 'INBOX', x'31', 'failed', 0)"
        )
    raise_alert(catalog, Kind.DELIVERY_FAILED, "home", "No.", "", NOW)
    settings = settings_of(tmp_path)
    assert lasting(settings, catalog, NOW) == [(Kind.DELIVERY_FAILED, "home")]
    with catalog.transaction() as db:
        db.execute("UPDATE delivery SET state = 'dropped'")
    assert lasting(settings, catalog, NOW) == []


@pytest.mark.parametrize(
    ("what", "kind"), [("certificate", Kind.CERTIFICATE), ("token", Kind.TOKEN)]
)
def test_what_lets_us_in_and_ends_is_told_before(
    tmp_path: Path, catalog: Catalog, what: str, kind: Kind
) -> None:
    settings = settings_of(tmp_path, 'expiry = "14d"')
    run(catalog, NOW)
    note_expiry(catalog, what, "work", NOW + 20 * DAY)  # type: ignore[arg-type]
    note_expiry(catalog, what, "stranger", NOW)  # type: ignore[arg-type]
    quiet = settings_of(tmp_path, 'no_success_for = "99d"\nexpiry = "14d"')
    assert lasting(settings, catalog, NOW) == []
    assert lasting(quiet, catalog, NOW + 7 * DAY) == [(kind, "work")]
    (one,) = alerts.alerts(catalog)
    assert one.sentence.endswith("ends on 2030-02-20 12:00 UTC.")
    note_expiry(catalog, what, "work", NOW + 99 * DAY)  # type: ignore[arg-type]
    assert lasting(quiet, catalog, NOW + 7 * DAY) == []
    note_expiry(catalog, what, "work", NOW + 8 * DAY)  # type: ignore[arg-type]
    assert lasting(quiet, catalog, NOW + 7 * DAY) == [(kind, "work")]
    forget_expiry(catalog, what, "work")  # type: ignore[arg-type]
    assert lasting(quiet, catalog, NOW + 7 * DAY) == []


def test_the_token_of_a_destination_has_its_own_command(tmp_path: Path, catalog: Catalog) -> None:
    place = '[destinations.work]\nkind = "maildir"\npath = "/x"\n'
    run(catalog, NOW)
    note_expiry(catalog, "token", "work", NOW + DAY)
    note_expiry(catalog, "token", "destination work", NOW - DAY)
    assess(settings_of(tmp_path, more=place), catalog, NOW)
    assert [(one.subject, one.sentence, one.advice) for one in alerts.alerts(catalog)] == [
        (
            "destination work",
            "The token ended on 2030-01-30 12:00 UTC.",
            "Run: fetchd login work --destination",
        ),
        ("work", "The token ends on 2030-02-01 12:00 UTC.", "Run: fetchd login work"),
    ]


def test_the_end_of_a_certificate_is_noted_with_what_the_server_says(catalog: Catalog) -> None:
    run(catalog, NOW)
    runs.save_facts(catalog, "work", ServerFacts(certificate_until="2031-01-01T00:00:00+00:00"))
    (one,) = expiries(catalog)
    assert (one.what, one.subject, micros(one.at)) == ("certificate", "work", 1924992000000000)
    runs.save_facts(catalog, "work", ServerFacts())
    assert expiries(catalog) == []


def test_who_left_the_settings_troubles_nobody(tmp_path: Path, catalog: Catalog) -> None:
    run(catalog, NOW)
    for kind in (Kind.AUTHENTICATION, Kind.ACCOUNT, Kind.NO_SUCCESS, Kind.BRAKE, Kind.QUARANTINE):
        raise_alert(catalog, kind, "gone", "No.", "", NOW)
    raise_alert(catalog, Kind.DESTINATION, "gone", "No.", "", NOW)
    raise_alert(catalog, Kind.AUTHENTICATION, "work", "No.", "", NOW)
    assert lasting(settings_of(tmp_path), catalog, NOW) == [(Kind.AUTHENTICATION, "work")]


def test_the_same_facts_are_judged_alike_and_write_nothing(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path)
    run(catalog, NOW)
    free(monkeypatch, 1)
    assess(settings, catalog, NOW + 9 * DAY)
    (before,) = catalog.rows("SELECT total_changes()")
    for _ in range(5):
        assess(settings, catalog, NOW + 9 * DAY)
    assert catalog.rows("SELECT total_changes()") == [before]


def test_old_alerts_are_forgotten_with_who_was_told(tmp_path: Path, catalog: Catalog) -> None:
    run(catalog, NOW)
    raise_alert(catalog, Kind.BRAKE, "work", "No.", "", NOW)
    (one,) = alerts.alerts(catalog)
    alerts.dismiss(catalog, one.id, NOW)
    alerts.end_alert(catalog, Kind.BRAKE, "work", NOW)
    settings = settings_of(tmp_path, 'no_success_for = "999d"')
    assess(settings, catalog, NOW + 89 * DAY)
    assert alerts.alerts(catalog, over=True)
    assess(settings, catalog, NOW + 91 * DAY)
    assert alerts.alerts(catalog, over=True) == []
    assert catalog.rows("SELECT count(*) FROM telling") == [(0,)]
