"""What the owner must hear of: one record for each trouble, from when it began to when it was over.

The same trouble again only counts; `status` shows the open ones.
"""

from datetime import datetime
from enum import StrEnum

from fetchd.catalog.database import Catalog
from fetchd.instants import micros, moment, moment_or_none
from fetchd.values import Struct


class Kind(StrEnum):
    """What an alert is about; its subject is an account's or a destination's name."""

    DELIVERY_FAILED = "delivery failed"  # for good: some messages wait for the owner
    DESTINATION = "destination"  # it refuses all, until the owner acts


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
    with catalog.transaction(durable=False) as db:
        db.execute(
            "UPDATE alert SET over_at = ? WHERE kind = ? AND subject = ? AND over_at IS NULL",
            (micros(now), str(kind), subject),
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
    """Those that last, oldest first; with `over` the others too."""
    rows = catalog.rows(
        "SELECT id, kind, subject, sentence, advice, times, raised_at, last_at, over_at"
        " FROM alert WHERE over_at IS NULL OR ? ORDER BY id",
        (over,),
    )
    return [
        Alert(
            id_, kind, subject, sentence, advice, times, moment(raised), moment(last),
            moment_or_none(over_at),
        )
        for id_, kind, subject, sentence, advice, times, raised, last, over_at in rows
    ]  # fmt: skip
