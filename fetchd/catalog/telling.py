"""Who was told of which trouble: for each alert, channel and event, when, or how it failed.

What was not told stays owed, so a process that dies between sending and writing it down
tells twice and never not at all.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from fetchd.catalog import alerts
from fetchd.catalog.alerts import Alert
from fetchd.catalog.database import Catalog
from fetchd.instants import micros, moment, moment_or_none
from fetchd.values import Struct

# An end is owed to whom the beginning was told; what was dismissed, to nobody.
_OWED = """
SELECT a.id FROM alert a
LEFT JOIN telling r ON r.alert_id = a.id AND r.channel = ? AND r.event = 'raised'
LEFT JOIN telling o ON o.alert_id = a.id AND o.channel = ? AND o.event = 'over'
LEFT JOIN telling d ON d.alert_id = a.id AND d.channel = '' AND d.event = 'dismissed'
WHERE d.alert_id IS NULL AND CASE WHEN a.over_at IS NULL THEN r.told_at IS NULL
    ELSE r.told_at IS NOT NULL AND o.told_at IS NULL END
ORDER BY a.id"""

LONGEST_ERROR = 500  # characters that are kept


class Event(StrEnum):
    """What there is to tell of a trouble."""

    RAISED = "raised"
    OVER = "over"


class Owed(Struct, frozen=True):
    """One alert that a channel has not been told of."""

    alert: Alert
    event: Event
    attempts: int = 0
    not_before: datetime | None = None


class Telling(Struct, frozen=True):
    """How the telling of one alert went; `told_at` None: not yet."""

    alert_id: int
    channel: str
    event: str
    told_at: datetime | None
    attempts: int
    last_error: str


def owed(catalog: Catalog, channel: str) -> list[Owed]:
    """What this channel must hear, oldest first.

    The end of a trouble only where its beginning was told: who never heard of it need not
    hear that it is over.
    """
    due = {(id_, event): (attempts, at) for id_, event, attempts, at in _tried(catalog, channel)}
    found: list[Owed] = []
    for one in alerts.those(catalog, [row[0] for row in catalog.rows(_OWED, (channel, channel))]):
        event = Event.OVER if one.over_at else Event.RAISED
        attempts, not_before = due.get((one.id, event), (0, None))
        found.append(Owed(one, event, attempts, not_before))
    return found


def tellings(catalog: Catalog, channel: str = "") -> list[Telling]:
    """What is known of this channel, or of all."""
    rows = catalog.rows(
        "SELECT alert_id, channel, event, told_at, attempts, last_error FROM telling"
        " WHERE channel <> '' AND (channel = ? OR ? = '') ORDER BY alert_id, channel, told_at",
        (channel, channel),
    )
    return [
        Telling(id_, name, event, moment_or_none(told), attempts, error)
        for id_, name, event, told, attempts, error in rows
    ]


def note_told(catalog: Catalog, channel: str, told: Sequence[Owed], now: datetime) -> None:
    """These went out, in one message: they share the instant."""
    _write(catalog, [(o.alert.id, channel, str(o.event), micros(now), o.attempts + 1, 0, "")
                     for o in told])  # fmt: skip


def note_failed(
    catalog: Catalog, channel: str, untold: Sequence[Owed], error: str, not_before: datetime
) -> None:
    """These did not; when to try again."""
    at, error = micros(not_before), error[:LONGEST_ERROR]
    _write(catalog, [(o.alert.id, channel, str(o.event), None, o.attempts + 1, at, error)
                     for o in untold])  # fmt: skip


def messages(catalog: Catalog, channel: str, since: datetime, now: datetime) -> list[datetime]:
    """When messages went through this channel, oldest first; what went together counts once."""
    rows = catalog.rows(
        "SELECT DISTINCT told_at FROM telling WHERE channel = ? AND told_at > ? AND told_at <= ?"
        " ORDER BY told_at",
        (channel, micros(since), micros(now)),
    )
    return [moment(row[0]) for row in rows]


def claim(catalog: Catalog, channel: str) -> bool:
    """Take the channel, lest two processes tell the same; False: another one has it and lives."""
    key = _claim_key(channel)
    with catalog.transaction(durable=False) as db:
        held = db.execute("SELECT value FROM note WHERE key = ?", (key,)).fetchone()
        if held and held[0] != catalog.owner and catalog.is_alive(held[0]):
            return False
        db.execute(
            "INSERT INTO note (key, value) VALUES (?,?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, catalog.owner),
        )
        return True


def release(catalog: Catalog, channel: str) -> None:
    """Let go of it, if it is ours."""
    with catalog.transaction(durable=False) as db:
        db.execute(
            "DELETE FROM note WHERE key = ? AND value = ?", (_claim_key(channel), catalog.owner)
        )


def _claim_key(channel: str) -> str:
    return f"telling {channel}"


def _tried(catalog: Catalog, channel: str) -> list[tuple[int, str, int, datetime]]:
    rows = catalog.rows(
        "SELECT alert_id, event, attempts, not_before FROM telling"
        " WHERE channel = ? AND told_at IS NULL",
        (channel,),
    )
    return [(id_, event, attempts, moment(at)) for id_, event, attempts, at in rows]


def _write(catalog: Catalog, rows: Sequence[tuple[object, ...]]) -> None:
    with catalog.transaction() as db:
        db.executemany(
            "INSERT INTO telling (alert_id, channel, event, told_at, attempts, not_before,"
            " last_error) VALUES (?,?,?,?,?,?,?) ON CONFLICT (alert_id, channel, event)"
            " DO UPDATE SET told_at = excluded.told_at, attempts = excluded.attempts,"
            " not_before = excluded.not_before, last_error = excluded.last_error",
            rows,
        )
