"""`fetchd status` and `fetchd show` of where mail goes: troubles first, and who has what."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from fetchd.catalog import alerts, outbox, reach
from fetchd.catalog.alerts import Kind
from fetchd.catalog.database import Catalog
from fetchd.catalog.reach import Reach
from fetchd.contracts import Outcome, Settled
from tests.cli.conftest import Ran, Run
from tests.cli.test_commands import documented, is_told, paths
from tests.pipeline.home import Home

NOW = datetime.now(UTC)
REFUSED = "mail.example.org refused the login: 535 no."
ADVICE = "Correct the password."
INSTANT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture
def catalog(here: Home, run: Run) -> Catalog:
    assert run("sync").code == 0
    return Catalog(here.data / "catalog.sqlite")


def status(run: Run) -> str:
    ran = run("status")
    assert ran.code == 0
    return ran.out


def home_document(run: Run) -> dict[str, object]:
    ran = run("status", "--json")
    told = documented()["status"]
    assert {path for path in paths(ran.document) if not is_told(path, told)} == set()
    (found,) = ran.document["destinations"]
    return dict(found)


def out_of_reach(catalog: Catalog, until: timedelta, remedy: str = "wait") -> datetime:
    not_before = NOW + until
    reach.fail(catalog, Reach("home", 4, not_before, REFUSED, remedy, ADVICE))
    return not_before


def test_without_trouble_the_accounts_come_first(run: Run, catalog: Catalog) -> None:
    assert status(run).startswith("ACCOUNT ")
    found = home_document(run)
    assert (found["in_reach"], found["failures"], found["not_before"]) == (True, 0, None)
    assert found["last_success"] is not None


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        (Kind.DELIVERY_FAILED, "deliveries to home failed for good"),
        (Kind.DESTINATION, "destination home takes nothing"),
    ],
)
def test_alerts_stand_above_everything(run: Run, catalog: Catalog, kind: Kind, title: str) -> None:
    begin = NOW - timedelta(hours=3)
    for at in (begin, NOW):
        alerts.raise_alert(catalog, kind, "home", REFUSED, ADVICE, at, 2)
    out = status(run)
    assert re.match(rf"ALERT: {title}, since {INSTANT} \(3 h ago\), 4 times\n", out)
    assert out.split("\n")[1:4] == [f"  {REFUSED}", f"  {ADVICE}", ""]
    (alert,) = run("status", "--json").document["alerts"]
    assert (alert["kind"], alert["subject"], alert["times"]) == (str(kind), "home", 4)
    assert alert["since"] < alert["last"]
    home_document(run)
    alerts.end_alert(catalog, kind, "home", NOW)
    assert "ALERT" not in status(run)
    assert run("status", "--json").document["alerts"] == []


@pytest.mark.parametrize(
    ("until", "again"),
    [
        (timedelta(hours=5), rf"not before {INSTANT} \(in 4 h\)"),
        (timedelta(hours=-1), "at the next sync"),
    ],
)
def test_out_of_reach_is_told_with_why_and_until_when(
    run: Run, catalog: Catalog, until: timedelta, again: str
) -> None:
    not_before = out_of_reach(catalog, until)
    out = status(run)
    assert re.search(rf"^home +{INSTANT} \(.*\) +0 +0 +0 +12 +0  out of reach$", out, re.MULTILINE)
    assert f"home: out of reach, 4 failures in a row. {REFUSED}\n  {ADVICE}\n" in out
    assert re.search(rf"^  Tried again {again}\.$", out, re.MULTILINE)
    found = home_document(run)
    told = ("in_reach", "failures", "last_error", "remedy", "advice")
    assert [found[key] for key in told] == [False, 4, REFUSED, "wait", ADVICE]
    assert datetime.fromisoformat(str(found["not_before"])) == not_before


def test_what_was_forgiven_has_no_time_any_more(run: Run, catalog: Catalog) -> None:
    out_of_reach(catalog, timedelta(hours=5))
    reach.forgive(catalog, "home")
    assert home_document(run)["not_before"] is None
    assert "  Tried again at the next sync.\n" in status(run)


def test_what_an_alert_says_is_not_said_twice(run: Run, catalog: Catalog) -> None:
    out_of_reach(catalog, timedelta(hours=5), "owner")
    alerts.raise_alert(catalog, Kind.DESTINATION, "home", REFUSED, ADVICE, NOW)
    out = status(run)
    assert (out.count(REFUSED), out.count(ADVICE)) == (1, 1)
    assert "home: out of reach, 4 failures in a row.\n  Tried again " in out


def test_the_last_success_is_the_latest_that_is_known(run: Run, catalog: Catalog) -> None:
    by_deliveries = datetime.fromisoformat(str(home_document(run)["last_success"]))
    for at, expected in (
        (by_deliveries - timedelta(days=1), by_deliveries),
        (by_deliveries + timedelta(days=1), by_deliveries + timedelta(days=1)),
    ):
        reach.succeed(catalog, "home", at)
        found = home_document(run)["last_success"]
        assert datetime.fromisoformat(str(found)) == expected


def test_a_destination_that_has_left_the_settings_is_marked(run: Run, catalog: Catalog) -> None:
    reach.succeed(catalog, "former", NOW)
    assert re.search(r"^former .* not in the settings$", status(run), re.MULTILINE)
    documents = run("status", "--json").document["destinations"]
    assert [(one["destination"], one["in_settings"]) for one in documents] == [
        ("home", True),
        ("former", False),
    ]


# -- Of one message ------------------------------------------------------------------


@pytest.fixture
def waiting(here: Home, run: Run) -> Catalog:
    here.destination["path"] = str(here.folder / "absent" / "Maildir")
    assert run("sync").code == 1
    return Catalog(here.data / "catalog.sqlite")


def settled(catalog: Catalog, one: Settled) -> None:
    outbox.settle(catalog, [one], NOW, {1: NOW + timedelta(hours=1)})


def shown(run: Run) -> Ran:
    return run("show", "1")


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (Settled(1, Outcome.DEFERRED, "451 later"), "deferred: 451 later"),
        (
            Settled(1, Outcome.DEFERRED, "connection lost", doubtful=True),
            "deferred, may have arrived: connection lost",
        ),
        (
            Settled(1, Outcome.DEFERRED, "452 full", done=("ann@example.org",)),
            "deferred (ann@example.org has it already): 452 full",
        ),
        (
            Settled(1, Outcome.FAILED, "550 no", doubtful=True, done=("a@example.org", "b@c")),
            "failed, may have arrived (a@example.org and b@c have it already): 550 no",
        ),
        (Settled(1, Outcome.DELIVERED, "250 ok", done=("a@example.org",)), "delivered: 250 ok"),
    ],
)
def test_show_says_what_became_of_it(run: Run, waiting: Catalog, one: Settled, line: str) -> None:
    settled(waiting, one)
    assert f"\nDelivery:  1 to home, {line}\n" in shown(run).out
    (told,) = run("show", "1", "--json").document["deliveries"]
    assert (told["doubtful"], told["done"]) == (one.doubtful, list(one.done))
    assert (told["state"], told["last_reply"]) == (str(one.outcome), one.reply)
