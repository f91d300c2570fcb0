"""What the owner must hear of: one record for each trouble, from when it began to when it was over.

The same trouble again only counts; `status` shows the open ones. Who was told of which is in
`telling`. One that the owner dismissed stays on record until the facts end it, lest it come
back with the next failure, and is neither shown nor told any longer: a row of `telling`
without a channel says so.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from fetchd.catalog.database import Catalog
from fetchd.instants import micros, moment, moment_or_none
from fetchd.values import Struct

KEPT = timedelta(days=90)  # those that are over

_COLUMNS = """
SELECT a.id, a.kind, a.subject, a.sentence, a.advice, a.times, a.raised_at, a.last_at, a.over_at,
    EXISTS (SELECT 1 FROM telling t WHERE t.alert_id = a.id AND t.channel = ''
        AND t.event = 'dismissed')
FROM alert a"""


class Kind(StrEnum):
    """What an alert is about: a `settings.alerts.Trouble`."""

    AUTHENTICATION = "authentication"  # an account's login is refused
    ACCOUNT = "account"  # another failure of an account that only the owner can end
    NO_SUCCESS = "no success"  # an account was not synced for too long, for whatever reason
    DELIVERY_FAILED = "delivery failed"  # for good: some messages wait for the owner
    DESTINATION = "destination"  # it refuses all, until the owner acts
    BRAKE = "brake"  # an account: more would leave the server than was to be expected
    QUARANTINE = "quarantine"  # an account: messages that would not come
    DISK = "disk"  # a place: little room is left
    DAMAGE = "damage"  # the archive
    CERTIFICATE = "certificate"  # an account's server's, near its end
    TOKEN = "token"  # noqa: S105  # an account's or destination's login, likewise


class Alert(Struct, frozen=True):
    """One trouble; `over_at` None: it lasts."""

    id: int
    kind: str
    subject: str
    sentence: str
    advice: str
    times: int
    raised_at: datetime
    last_at: datetime
    over_at: datetime | None
    dismissed: bool = False


def raise_alert(
    catalog: Catalog,
    kind: Kind,
    subject: str,
    sentence: str,
    advice: str,
    now: datetime,
    times: int = 1,
) -> None:
    """It happened, so many times, perhaps not for the first time."""
    at = micros(now)
    with catalog.transaction() as db:
        db.execute(
            "INSERT INTO alert (kind, subject, sentence, advice, times, raised_at, last_at)"
            " VALUES (?,?,?,?,?,?,?) ON CONFLICT (kind, subject) WHERE over_at IS NULL"
            " DO UPDATE SET sentence = excluded.sentence, advice = excluded.advice,"
            " times = alert.times + excluded.times, last_at = excluded.last_at",
            (str(kind), subject, sentence, advice, times, at, at),
        )


def end_alert(catalog: Catalog, kind: Kind, subject: str, now: datetime) -> None:
    """It is over, if it ever was."""
    end_alerts(catalog, [(kind, subject)], now)


def end_alerts(catalog: Catalog, which: Iterable[tuple[Kind, str]], now: datetime) -> None:
    """These are over, if they ever were."""
    with catalog.transaction(durable=False) as db:
        db.executemany(
            "UPDATE alert SET over_at = ? WHERE kind = ? AND subject = ? AND over_at IS NULL",
            [(micros(now), str(kind), subject) for kind, subject in which],
        )


def end_failed(catalog: Catalog, now: datetime) -> None:
    """Deliveries that failed were retried, or dropped: nothing of them is left to tell."""
    with catalog.transaction(durable=False) as db:
        db.execute(
            "UPDATE alert SET over_at = ? WHERE kind = ? AND over_at IS NULL AND NOT EXISTS"
            " (SELECT 1 FROM delivery d WHERE d.destination = alert.subject"
            " AND d.state IN ('pending', 'deferred', 'failed') AND d.state = 'failed')",
            (micros(now), str(Kind.DELIVERY_FAILED)),
        )


def alerts(catalog: Catalog, *, over: bool = False) -> list[Alert]:
    """Those that last and were not dismissed, oldest first; with `over` the others too."""
    found = _found(catalog, " WHERE a.over_at IS NULL OR ? ORDER BY a.id", (over,))
    return [one for one in found if over or not one.dismissed]


def lasting(catalog: Catalog) -> dict[tuple[str, str], Alert]:
    """Those that last, dismissed or not, by kind and subject."""
    found = _found(catalog, " WHERE a.over_at IS NULL ORDER BY a.id", ())
    return {(one.kind, one.subject): one for one in found}


def any_at_all(catalog: Catalog) -> bool:
    """Whether there is anything to tell, or was."""
    return bool(catalog.rows("SELECT 1 FROM alert LIMIT 1"))


def those(catalog: Catalog, ids: Sequence[int]) -> list[Alert]:
    """The ones with these ids, oldest first."""
    return _alerts(catalog.each(_COLUMNS + " WHERE a.id IN ({}) ORDER BY a.id", ids))


def dismiss(catalog: Catalog, id_: int, now: datetime) -> None:
    """The owner knows: say no more of it."""
    with catalog.transaction() as db:
        db.execute(
            "INSERT INTO telling (alert_id, channel, event, told_at) VALUES (?,'','dismissed',?)"
            " ON CONFLICT (alert_id, channel, event) DO NOTHING",
            (id_, micros(now)),
        )


def forget_old(catalog: Catalog, now: datetime) -> None:
    """Those that were over long ago, and who was told of them."""
    before = micros(now - KEPT)
    if not catalog.rows("SELECT 1 FROM alert WHERE over_at < ? LIMIT 1", (before,)):
        return  # no lock is taken for nothing
    with catalog.transaction(durable=False) as db:
        db.execute(
            "DELETE FROM telling WHERE alert_id IN (SELECT id FROM alert WHERE over_at < ?)",
            (before,),
        )
        db.execute("DELETE FROM alert WHERE over_at < ?", (before,))


def _found(catalog: Catalog, where: str, values: tuple[Any, ...]) -> list[Alert]:
    return _alerts(catalog.rows(_COLUMNS + where, values))


def _alerts(rows: Iterable[tuple[Any, ...]]) -> list[Alert]:
    return [
        Alert(
            id_, kind, subject, sentence, advice, times, moment(raised), moment(last),
            moment_or_none(over_at), bool(dismissed),
        )
        for id_, kind, subject, sentence, advice, times, raised, last, over_at, dismissed in rows
    ]  # fmt: skip
