"""What a service is doing now, as a value: for `fetchd top`, the control socket, metrics, health.

The supervisor makes one whenever somebody asks; whoever shows it needs nothing else.
"""

from datetime import datetime
from enum import StrEnum

from fetchd.values import Struct


class Doing(StrEnum):
    """What an account is at."""

    WAITING = "waiting"  # for its time
    QUEUED = "queued"  # for its turn
    SYNCING = "syncing"
    WATCHING = "watching"  # the server will tell
    BACKING_OFF = "backing off"  # after a failure, or by the server's wish
    PAUSED = "paused"  # a budget is spent
    HALTED = "halted"  # until a person acts
    MANUAL = "manual"  # until a person asks


class AccountView(Struct, frozen=True):
    """One account now; octets and counts are since the service began, but for `sync_`."""

    name: str
    protocol: str
    doing: Doing
    phase: str = ""
    why: str = ""  # of backing off, paused, halted: a sentence
    advice: str = ""
    next_at: datetime | None = None  # the next scheduled sync, if known
    since: datetime | None = None  # when what it is doing began
    last_success: datetime | None = None
    failures: int = 0  # in a row
    sync_expected: int = 0  # messages that the sync under way will fetch
    sync_fetched: int = 0
    sync_octets: int = 0
    runs: int = 0
    failed_runs: int = 0
    stalled: int = 0  # syncs that were ended for lack of progress
    fetched: int = 0
    octets: int = 0
    retired: int = 0
    quarantined: int = 0
    delivered: int = 0
    deferred: int = 0
    failed: int = 0  # deliveries
    received: int = 0  # octets over the line, protocol included
    sent: int = 0


class DestinationView(Struct, frozen=True):
    """One destination now."""

    name: str
    kind: str
    waiting: int = 0  # deliveries pending and deferred
    failed: int = 0
    delivered: int = 0  # since the service began
    failures: int = 0  # in a row, of reaching it
    not_before: datetime | None = None
    why: str = ""


class Snapshot(Struct, frozen=True):
    """All of it. `lateness`: seconds by which each of the last scheduled syncs began late."""

    at: datetime
    started_at: datetime
    pid: int
    version: str
    ready: bool
    healthy: bool  # loop and committer advance
    network: bool  # False: this machine has no way out
    accounts: tuple[AccountView, ...] = ()
    destinations: tuple[DestinationView, ...] = ()
    queued: int = 0
    syncing: int = 0
    connections: int = 0
    lateness: tuple[float, ...] = ()
    commits: int = 0
    archive_octets: int = 0
    disk_free: int = 0  # octets
    alerts: int = 0  # that last
    reloaded_at: datetime | None = None
    reload_refused: str = ""  # why the last reload changed nothing
    unready: tuple[str, ...] = ()  # sentences: why it is not ready
    unhealthy: tuple[str, ...] = ()  # sentences: what does not advance
