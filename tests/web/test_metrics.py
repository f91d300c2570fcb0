"""The metrics: what is exposed is what is documented, as both forms of the text have it."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from fetchd.pipeline.snapshot import AccountView, DestinationView, Doing, Snapshot
from fetchd.values import replace
from fetchd.web.exposition import OPEN_METRICS, PROCESS, TEXT, Exposition, wants_open_metrics
from fetchd.web.metrics import METRICS, Kind, Metric
from tests.web.asking import site
from tests.web.snapshots import CALM, HALTED, ILL, NOW

DOCS = Path(__file__).parents[2] / "docs"
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(snapshot: Snapshot, accept: str = "") -> Samples:
    """By name and labels; one twice would be an error."""
    found: Samples = {}
    for family in families(snapshot, accept):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def families(snapshot: Snapshot, accept: str = "") -> list[Family]:
    page, kind = Exposition().page(snapshot, accept)
    parse = open_metrics if kind == OPEN_METRICS else plain_text
    return list(parse(page.decode()))


def value(name: str, snapshot: Snapshot = CALM, **labels: str) -> float | None:
    return samples(snapshot).get((name, frozenset(labels.items())))


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("fetchd_account_info", {"account": "work", "protocol": "imap"}, 1),
        ("fetchd_account_up", {"account": "work"}, 1),
        ("fetchd_account_up", {"account": "flaky"}, 0),
        ("fetchd_account_up", {"account": HALTED.name}, 0),
        ("fetchd_account_state", {"account": "work", "state": "syncing"}, 1),
        ("fetchd_account_state", {"account": "work", "state": "backing_off"}, 0),
        ("fetchd_account_state", {"account": "flaky", "state": "backing_off"}, 1),
        ("fetchd_account_last_success_timestamp_seconds", {"account": "later"}, NOW.timestamp()),
        ("fetchd_account_last_success_timestamp_seconds", {"account": "flaky"}, 0),
        ("fetchd_account_next_sync_timestamp_seconds", {"account": "later"}, NOW.timestamp() + 300),
        ("fetchd_account_next_sync_timestamp_seconds", {"account": "work"}, None),
        ("fetchd_account_consecutive_failures", {"account": HALTED.name}, 5),
        ("fetchd_syncs_total", {"account": "work", "outcome": "success"}, 10),
        ("fetchd_syncs_total", {"account": "work", "outcome": "failure"}, 2),
        ("fetchd_syncs_stalled_total", {"account": "work"}, 1),
        ("fetchd_sync_expected_messages", {"account": "work"}, 90),
        ("fetchd_sync_fetched_messages", {"account": "work"}, 30),
        ("fetchd_sync_fetched_bytes", {"account": "work"}, 4_000),
        ("fetchd_fetched_messages_total", {"account": "work"}, 300),
        ("fetchd_fetched_bytes_total", {"account": "work"}, 50_000),
        ("fetchd_retired_messages_total", {"account": "work"}, 7),
        ("fetchd_quarantined_messages_total", {"account": "work"}, 3),
        ("fetchd_deliveries_total", {"account": "work", "outcome": "delivered"}, 290),
        ("fetchd_deliveries_total", {"account": "work", "outcome": "deferred"}, 4),
        ("fetchd_deliveries_total", {"account": "work", "outcome": "failed"}, 6),
        ("fetchd_line_received_bytes_total", {"account": "work"}, 61_000),
        ("fetchd_line_sent_bytes_total", {"account": "work"}, 2_500),
        ("fetchd_destination_info", {"destination": "away", "kind": "smtp"}, 1),
        ("fetchd_destination_up", {"destination": "home"}, 1),
        ("fetchd_destination_up", {"destination": "away"}, 0),
        ("fetchd_destination_consecutive_failures", {"destination": "away"}, 3),
        ("fetchd_destination_retry_timestamp_seconds", {"destination": "away"},
         NOW.timestamp() + 600),
        ("fetchd_destination_retry_timestamp_seconds", {"destination": "home"}, None),
        ("fetchd_destination_waiting_deliveries", {"destination": "away"}, 40),
        ("fetchd_destination_failed_deliveries", {"destination": "home"}, 6),
        ("fetchd_destination_delivered_messages_total", {"destination": "home"}, 290),
        ("fetchd_build_info", {"version": "1.2.3"}, 1),
        ("fetchd_start_time_seconds", {}, NOW.timestamp() - 86_400),
        ("fetchd_healthy", {}, 1),
        ("fetchd_ready", {}, 1),
        ("fetchd_network_up", {}, 1),
        ("fetchd_syncs_running", {}, 1),
        ("fetchd_syncs_queued", {}, 4),
        ("fetchd_connections", {}, 9),
        ("fetchd_schedule_lateness_seconds", {"quantile": "0.5"}, 0.51),
        ("fetchd_schedule_lateness_seconds", {"quantile": "0.99"}, 1.0),
        ("fetchd_schedule_lateness_seconds", {"quantile": "1"}, 1.0),
        ("fetchd_archive_commits_total", {}, 77),
        ("fetchd_archive_bytes", {}, 123_456),
        ("fetchd_disk_free_bytes", {}, 9e9),
        ("fetchd_alerts_open", {}, 2),
        ("fetchd_reload_success", {}, 1),
        ("fetchd_reload_timestamp_seconds", {}, NOW.timestamp()),
    ],
)  # fmt: skip
def test_values(name: str, labels: dict[str, str], expected: float | None) -> None:
    assert value(name, **labels) == expected


@pytest.mark.parametrize(
    "name", ["fetchd_healthy", "fetchd_ready", "fetchd_network_up", "fetchd_reload_success"]
)
def test_what_is_amiss_is_nought(name: str) -> None:
    assert value(name, ILL) == 0


def test_a_service_that_just_began_has_a_page() -> None:
    new = Snapshot(
        at=NOW, started_at=NOW, pid=1, version="1", ready=False, healthy=True, network=True
    )
    found = samples(new)
    assert found[("fetchd_reload_timestamp_seconds", frozenset())] == 0
    assert not any(name == "fetchd_schedule_lateness_seconds" for name, _ in found)


def test_both_forms_say_the_same() -> None:
    plain, opened = samples(CALM), samples(CALM, "application/openmetrics-text")
    for found in (plain, opened):
        for key in [key for key in found if key[0].startswith("process_")]:
            del found[key]
    assert plain == opened
    assert len(plain) > 100


def test_every_row_is_exposed_as_it_is_written() -> None:
    exposed = {family.name: family for family in families(CALM, "application/openmetrics-text")}
    for metric in METRICS:
        family = exposed[metric.name.removesuffix("_total")]
        assert family.samples
        assert (family.type, family.unit) == (metric.kind.value, metric.unit)
        assert family.documentation == metric.meaning
        for sample in family.samples:
            assert sample.name == metric.name
            assert set(sample.labels) == set(metric.labels)
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"fetchd_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert not re.search(r"_(octets|milliseconds|count|sum|bucket|created)\b", metric.name)
    assert not metric.meaning.endswith(".")


def test_samples_are_bounded_by_the_number_of_accounts() -> None:
    one = AccountView("one", "imap", Doing.WAITING, next_at=NOW)
    other = replace(one, name="other")
    alone = replace(CALM, accounts=(one,), destinations=())
    assert len(samples(replace(alone, accounts=(one, other)))) - len(samples(alone)) == 28
    there = replace(alone, destinations=(DestinationView("home", "smtp", not_before=NOW),))
    assert len(samples(there)) - len(samples(alone)) == 7


def test_no_sentence_of_a_servers_and_no_login_is_told() -> None:
    page, _ = Exposition().page(ILL, "")
    assert HALTED.why.encode() not in page
    assert b"accounts.work: port" not in page


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; version=1.0.0", True),
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        ("text/plain, application/openmetrics-text;q=0.5", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;version=nonsense", True),
        ("application/openmetrics-text;q=nonsense", False),
        ("application/openmetrics-text;q=nan", False),
        (";;;,,,q=1;=;", False),
        ("text/plain," * 100_000 + "application/openmetrics-text", False),
    ],
)
def test_the_form_is_what_accept_prefers(accept: str, wanted: bool) -> None:
    assert wants_open_metrics(accept) == wanted
    assert Exposition().page(CALM, accept)[1] == (OPEN_METRICS if wanted else TEXT)


def test_the_page_comes_over_http_in_either_form() -> None:
    async def main() -> None:
        async with site() as there:
            plain = await there.get("/metrics")
            opened = await there.get("/metrics", f"Accept: {PROMETHEUS_2}")
            split = await there.get(
                "/metrics", "Accept: text/plain;q=0.1", "Accept: application/openmetrics-text"
            )
            both = await asyncio.gather(*(there.get("/metrics") for _ in range(4)))
        assert (plain.fields["content-type"], plain.body[:7]) == (TEXT, "# HELP ")
        assert opened.fields["content-type"] == split.fields["content-type"] == OPEN_METRICS
        assert opened.body.endswith("# EOF\n")
        assert {answer.status for answer in both} == {200}
        assert 'account="odd \\"name\\"\\n\\\\"' in plain.body

    asyncio.run(main())


# -- The documents ------------------------------------------------------------------------


def rows() -> dict[str, list[str]]:
    """The rows of the documents' tables of metrics, by name."""
    lines = re.findall(r"^\| `((?:fetchd|process)_\w+)` \|(.*)\|$", _page(), re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in lines}


def _page() -> str:
    return (DOCS / "metrics.md").read_text()


def test_the_documents_have_every_metric_and_no_other() -> None:
    documented = [name for name in rows() if name.startswith("fetchd_")]
    assert documented == [metric.name for metric in METRICS]
    exposed = {name for name, _ in samples(CALM) if name.startswith("process_")}
    assert exposed == set(PROCESS) == {name for name in rows() if name.startswith("process_")}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_documents_say_what_the_metric_says(metric: Metric) -> None:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    assert rows()[metric.name] == [metric.kind.value, metric.unit, labels, metric.meaning]


def test_the_documents_have_every_state() -> None:
    for state in Doing:
        assert f"`{state.value.replace(' ', '_')}`" in _page()


def test_the_expressions_of_the_documents_name_metrics_that_there_are() -> None:
    expressions = re.findall(r"^\| `([^`]+)`(?: for [^|]+)? \| [^|]+\|$", _page(), re.MULTILINE)
    assert len([one for one in expressions if " " in one]) >= 7
    for expression in expressions:
        assert unknown(expression) == set()


# -- The dashboard --------------------------------------------------------------------------


def dashboard() -> dict[str, Any]:
    made: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text())
    return made


def panels() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = dashboard()["panels"]
    return made


def expressions() -> Iterator[str]:
    for panel in panels():
        yield from (target["expr"] for target in panel.get("targets", []))


def unknown(expression: str) -> set[str]:
    """Metrics, and labels of theirs, that the expression names and nobody exposes."""
    known = {metric.name: set(metric.labels) for metric in METRICS} | {n: set() for n in PROCESS}
    strange = set(re.findall(r"\b(?:fetchd|process)_\w+", expression)) - known.keys()
    for name, selector in re.findall(r"\b((?:fetchd|process)_\w+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) - {"instance", "job"}
        strange |= {f"{name}{{{label}}}" for label in labels - known.get(name, set())}
    return strange


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    made = dashboard()
    assert made["schemaVersion"] >= 36
    assert made["title"] == made["uid"] == "fetchd"
    assert "id" not in made  # or Grafana would look for one that it has
    variables = {one["name"]: one for one in made["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)


def test_every_panel_asks_the_chosen_prometheus_and_says_what_it_shows() -> None:
    for panel in panels():
        if panel["type"] == "row":
            continue
        assert panel["description"].endswith("."), panel["title"]
        for one in (panel, *panel["targets"]):
            assert one["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_panel_covers_another() -> None:
    covered: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & covered, panel["title"]
        covered |= cells


def test_every_expression_of_the_dashboard_names_metrics_and_labels_that_there_are() -> None:
    found = list(expressions())
    assert len(found) > 30
    for expression in found:
        assert unknown(expression) == set(), expression
        assert expression.count("(") == expression.count(")")
    queries = [
        one["definition"] for one in dashboard()["templating"]["list"] if "definition" in one
    ]
    for query in queries:
        assert unknown(query) == set()


def test_every_metric_that_says_something_is_on_the_dashboard() -> None:
    shown = set(re.findall(r"\b(?:fetchd|process)_\w+", " ".join(expressions())))
    unseen = {metric.name for metric in METRICS} - shown
    assert unseen == set()


def test_a_misspelt_metric_and_a_strange_label_would_be_found() -> None:
    assert unknown("rate(fetchd_fetched_message_total[5m])") == {"fetchd_fetched_message_total"}
    assert unknown('fetchd_healthy{account="a"}') == {"fetchd_healthy{account}"}
