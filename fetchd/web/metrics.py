"""Every metric: its name, what it means, its unit, and how it is read off a snapshot.

Names and units are Prometheus': base units, `_total` for what only grows. Each metric has a
sample for an account or a destination at most for each of a few words (outcomes, states), so
that their number is that of the accounts times a constant. Counters begin with the service;
`fetchd_start_time_seconds` says when.

To add one: a row here, its row in docs/metrics.md (a test compares them), and a panel in
docs/grafana.json where somebody should see it.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum

from fetchd.pipeline.snapshot import AccountView, DestinationView, Doing, Snapshot
from fetchd.values import Struct

QUANTILES = (0.5, 0.9, 0.99, 1.0)
HALTED = (Doing.HALTED,)

Sample = tuple[tuple[str, ...], float]  # values of the labels, value


class Kind(StrEnum):
    """The types of Prometheus that are in use here."""

    COUNTER = "counter"
    GAUGE = "gauge"
    SUMMARY = "summary"


class Metric(Struct, frozen=True):
    """One family; `name` is as it is exposed."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    read: Callable[[Snapshot], Iterable[Sample]]

    @property
    def unit(self) -> str:
        """As the name says it; messages, syncs and the like have none."""
        bare = self.name.removesuffix("_total")
        return next((unit for unit in ("seconds", "bytes") if bare.endswith(f"_{unit}")), "")


# -- How they are read --------------------------------------------------------------


def _one(value: Callable[[Snapshot], float]) -> Callable[[Snapshot], Iterable[Sample]]:
    return lambda snapshot: [((), value(snapshot))]


def _accounts(value: Callable[[AccountView], float]) -> Callable[[Snapshot], Iterable[Sample]]:
    return lambda snapshot: [((one.name,), value(one)) for one in snapshot.accounts]


def _account_words(
    *values: tuple[str, Callable[[AccountView], float]],
) -> Callable[[Snapshot], Iterable[Sample]]:
    return lambda snapshot: [
        ((one.name, word), value(one)) for one in snapshot.accounts for word, value in values
    ]


def _destinations(
    value: Callable[[DestinationView], float],
) -> Callable[[Snapshot], Iterable[Sample]]:
    return lambda snapshot: [((one.name,), value(one)) for one in snapshot.destinations]


def _next_syncs(snapshot: Snapshot) -> Iterable[Sample]:
    return [((one.name,), one.next_at.timestamp()) for one in snapshot.accounts if one.next_at]


def _not_before(snapshot: Snapshot) -> Iterable[Sample]:
    return [
        ((one.name,), one.not_before.timestamp()) for one in snapshot.destinations if one.not_before
    ]


def _lateness(snapshot: Snapshot) -> Iterable[Sample]:
    """By nearest rank; nothing before the first scheduled sync."""
    late = sorted(snapshot.lateness)
    if not late:
        return []
    last = len(late) - 1
    return [((f"{q:g}",), late[min(last, int(q * len(late)))]) for q in QUANTILES]


def _is_up(account: AccountView) -> float:
    return not account.failures and account.doing not in HALTED


def _state(state: Doing) -> tuple[str, Callable[[AccountView], float]]:
    return state.value.replace(" ", "_"), lambda account: account.doing is state


def _instant(at: datetime | None) -> float:
    return at.timestamp() if at else 0.0


# -- What there is ---------------------------------------------------------------------

_COUNTER, _GAUGE, _SUMMARY = Kind.COUNTER, Kind.GAUGE, Kind.SUMMARY
_ACCOUNT, _DESTINATION = ("account",), ("destination",)

OF_ACCOUNTS = (
    Metric("fetchd_account_info", _GAUGE, ("account", "protocol"),
           "1 for each account, with its protocol",
           lambda snapshot: [((one.name, one.protocol), 1.0) for one in snapshot.accounts]),
    Metric("fetchd_account_up", _GAUGE, _ACCOUNT,
           "1 unless the last sync of the account failed or the account is halted",
           _accounts(_is_up)),
    Metric("fetchd_account_state", _GAUGE, ("account", "state"),
           "1 for what the account is at, 0 for each other state",
           _account_words(*(_state(state) for state in Doing))),
    Metric("fetchd_account_last_success_timestamp_seconds", _GAUGE, _ACCOUNT,
           "When a sync of the account last succeeded, since 1970; 0 if none has",
           _accounts(lambda one: _instant(one.last_success))),
    Metric("fetchd_account_next_sync_timestamp_seconds", _GAUGE, _ACCOUNT,
           "When the account is due next, since 1970; absent where no time is set",
           _next_syncs),
    Metric("fetchd_account_consecutive_failures", _GAUGE, _ACCOUNT,
           "Syncs of the account that failed since the last success",
           _accounts(lambda one: one.failures)),
    Metric("fetchd_syncs_total", _COUNTER, ("account", "outcome"),
           "Syncs that ended, by outcome: success or failure",
           _account_words(("success", lambda one: max(0, one.runs - one.failed_runs)),
                          ("failure", lambda one: one.failed_runs))),
    Metric("fetchd_syncs_stalled_total", _COUNTER, _ACCOUNT,
           "Syncs that were ended because they made no progress",
           _accounts(lambda one: one.stalled)),
    Metric("fetchd_sync_expected_messages", _GAUGE, _ACCOUNT,
           "Messages that the sync under way will fetch; 0 when none is",
           _accounts(lambda one: one.sync_expected)),
    Metric("fetchd_sync_fetched_messages", _GAUGE, _ACCOUNT,
           "Messages that the sync under way has fetched",
           _accounts(lambda one: one.sync_fetched)),
    Metric("fetchd_sync_fetched_bytes", _GAUGE, _ACCOUNT,
           "Octets of messages that the sync under way has fetched",
           _accounts(lambda one: one.sync_octets)),
    Metric("fetchd_fetched_messages_total", _COUNTER, _ACCOUNT,
           "Messages that were fetched and stored",
           _accounts(lambda one: one.fetched)),
    Metric("fetchd_fetched_bytes_total", _COUNTER, _ACCOUNT,
           "Octets of the messages that were fetched and stored",
           _accounts(lambda one: one.octets)),
    Metric("fetchd_retired_messages_total", _COUNTER, _ACCOUNT,
           "Messages that were removed from the server, as it confirmed",
           _accounts(lambda one: one.retired)),
    Metric("fetchd_quarantined_messages_total", _COUNTER, _ACCOUNT,
           "Messages that were set aside because they cannot be fetched",
           _accounts(lambda one: one.quarantined)),
    Metric("fetchd_deliveries_total", _COUNTER, ("account", "outcome"),
           "Attempts to deliver the mail of the account, by outcome: delivered, deferred or "
           "failed for good",
           _account_words(("delivered", lambda one: one.delivered),
                          ("deferred", lambda one: one.deferred),
                          ("failed", lambda one: one.failed))),
    Metric("fetchd_line_received_bytes_total", _COUNTER, _ACCOUNT,
           "Octets that the account's connections received, the protocol's included, TLS' own not",
           _accounts(lambda one: one.received)),
    Metric("fetchd_line_sent_bytes_total", _COUNTER, _ACCOUNT,
           "Octets that the account's connections sent, the protocol's included, TLS' own not",
           _accounts(lambda one: one.sent)),
)  # fmt: skip

OF_DESTINATIONS = (
    Metric("fetchd_destination_info", _GAUGE, ("destination", "kind"),
           "1 for each destination, with its kind",
           lambda snapshot: [((one.name, one.kind), 1.0) for one in snapshot.destinations]),
    Metric("fetchd_destination_up", _GAUGE, _DESTINATION,
           "1 unless the destination could not be reached when last tried",
           _destinations(lambda one: not one.failures)),
    Metric("fetchd_destination_consecutive_failures", _GAUGE, _DESTINATION,
           "Times in a row that the destination could not be reached",
           _destinations(lambda one: one.failures)),
    Metric("fetchd_destination_retry_timestamp_seconds", _GAUGE, _DESTINATION,
           "When a destination that is out of reach is tried again, since 1970; absent otherwise",
           _not_before),
    Metric("fetchd_destination_waiting_deliveries", _GAUGE, _DESTINATION,
           "Deliveries that wait for the destination, pending and deferred",
           _destinations(lambda one: one.waiting)),
    Metric("fetchd_destination_failed_deliveries", _GAUGE, _DESTINATION,
           "Deliveries that the destination refused for good and that nobody has settled",
           _destinations(lambda one: one.failed)),
    Metric("fetchd_destination_delivered_messages_total", _COUNTER, _DESTINATION,
           "Messages that the destination took",
           _destinations(lambda one: one.delivered)),
)  # fmt: skip

OF_THE_SERVICE = (
    Metric("fetchd_build_info", _GAUGE, ("version",),
           "1, with the version of fetchd that runs",
           lambda snapshot: [((snapshot.version,), 1.0)]),
    Metric("fetchd_start_time_seconds", _GAUGE, (),
           "When the service began, since 1970; counters are from then on",
           _one(lambda snapshot: snapshot.started_at.timestamp())),
    Metric("fetchd_healthy", _GAUGE, (),
           "1 while the event loop and the committer advance",
           _one(lambda snapshot: snapshot.healthy)),
    Metric("fetchd_ready", _GAUGE, (),
           "1 while the service does its work; 0 before its first plan and while it stops",
           _one(lambda snapshot: snapshot.ready)),
    Metric("fetchd_network_up", _GAUGE, (),
           "0 while this machine has no way out, else 1",
           _one(lambda snapshot: snapshot.network)),
    Metric("fetchd_syncs_running", _GAUGE, (),
           "Accounts that are being synced",
           _one(lambda snapshot: snapshot.syncing)),
    Metric("fetchd_syncs_queued", _GAUGE, (),
           "Accounts that are due and wait for their turn",
           _one(lambda snapshot: snapshot.queued)),
    Metric("fetchd_connections", _GAUGE, (),
           "Connections to servers that are open, those of watches included",
           _one(lambda snapshot: snapshot.connections)),
    Metric("fetchd_schedule_lateness_seconds", _SUMMARY, ("quantile",),
           "Time from when a sync was due until it began, over the last scheduled syncs",
           _lateness),
    Metric("fetchd_archive_commits_total", _COUNTER, (),
           "Batches that were made durable in the archive",
           _one(lambda snapshot: snapshot.commits)),
    Metric("fetchd_archive_bytes", _GAUGE, (),
           "Size of the archive on disk",
           _one(lambda snapshot: snapshot.archive_octets)),
    Metric("fetchd_disk_free_bytes", _GAUGE, (),
           "Room left on the file system of the data folder",
           _one(lambda snapshot: snapshot.disk_free)),
    Metric("fetchd_alerts_open", _GAUGE, (),
           "Troubles that the owner was alerted to and that last",
           _one(lambda snapshot: snapshot.alerts)),
    Metric("fetchd_reload_success", _GAUGE, (),
           "0 if the settings were refused when last read again, else 1",
           _one(lambda snapshot: not snapshot.reload_refused)),
    Metric("fetchd_reload_timestamp_seconds", _GAUGE, (),
           "When the settings were last read again, since 1970; 0 if they were not",
           _one(lambda snapshot: _instant(snapshot.reloaded_at))),
)  # fmt: skip

METRICS = (*OF_ACCOUNTS, *OF_DESTINATIONS, *OF_THE_SERVICE)
