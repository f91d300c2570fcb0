"""Snapshots as a service would make them, with a value of its own in every field."""

from datetime import UTC, datetime, timedelta

from fetchd.pipeline.snapshot import AccountView, DestinationView, Doing, Snapshot
from fetchd.values import replace

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
BUSY = AccountView(
    name="work", protocol="imap", doing=Doing.SYNCING, phase="fetching",
    last_success=NOW - timedelta(hours=1), sync_expected=90, sync_fetched=30, sync_octets=4_000,
    runs=12, failed_runs=2, stalled=1, fetched=300, octets=50_000, retired=7, quarantined=3,
    delivered=290, deferred=4, failed=6, received=61_000, sent=2_500,
)  # fmt: skip
HALTED = AccountView(
    name='odd "name"\n\\', protocol="pop3", doing=Doing.HALTED, why="The server says no.",
    failures=5, runs=5, failed_runs=5,
)  # fmt: skip
WAITING = AccountView(
    name="later", protocol="pop3", doing=Doing.WAITING, next_at=NOW + timedelta(minutes=5),
    last_success=NOW, runs=1,
)  # fmt: skip
FAILING = AccountView(name="flaky", protocol="imap", doing=Doing.BACKING_OFF, failures=1)
HOME = DestinationView(name="home", kind="maildir", waiting=2, failed=6, delivered=290)
AWAY = DestinationView(
    name="away", kind="smtp", waiting=40, failures=3, not_before=NOW + timedelta(minutes=10)
)
CALM = Snapshot(
    at=NOW, started_at=NOW - timedelta(days=1), pid=1, version="1.2.3", ready=True, healthy=True,
    network=True, accounts=(BUSY, HALTED, WAITING, FAILING), destinations=(HOME, AWAY), queued=4,
    syncing=1, connections=9, lateness=tuple(n / 100 for n in range(100, 0, -1)), commits=77,
    archive_octets=123_456, disk_free=9_000_000_000, alerts=2, reloaded_at=NOW,
)  # fmt: skip
ILL = replace(
    CALM,
    ready=False,
    unready=("The service is stopping.",),
    healthy=False,
    unhealthy=("The committer has not answered for 60 s.",),
    network=False,
    reload_refused="accounts.work: port",
)
