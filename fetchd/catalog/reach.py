"""How destinations that are reached over connections fare: in reach, or not before when."""

from datetime import datetime

from fetchd.catalog.database import Catalog
from fetchd.instants import micros, moment, moment_or_none
from fetchd.values import Struct


class Reach(Struct, frozen=True):
    """What was found out about one destination; `failures` are in a row, none: in reach."""

    name: str
    failures: int = 0
    not_before: datetime | None = None
    last_error: str = ""
    last_remedy: str = ""
    last_advice: str = ""
    last_success: datetime | None = None


def of(catalog: Catalog, name: str) -> Reach:
    """What is known of this one."""
    return everything(catalog).get(name, Reach(name))


def everything(catalog: Catalog) -> dict[str, Reach]:
    """What is known, by name."""
    rows = catalog.rows(
        "SELECT name, failures, not_before, last_error, last_remedy, last_advice, last_success"
        " FROM destination"
    )
    return {
        name: Reach(
            name, failures, moment(not_before) if failures else None, error, remedy, advice,
            moment_or_none(success),
        )
        for name, failures, not_before, error, remedy, advice, success in rows
    }  # fmt: skip


def fail(catalog: Catalog, reach: Reach) -> None:
    """It is out of reach, as `reach` says."""
    with catalog.transaction(durable=False) as db:
        db.execute(
            "INSERT INTO destination (name, failures, not_before, last_error, last_remedy,"
            " last_advice) VALUES (?,?,?,?,?,?) ON CONFLICT (name) DO UPDATE SET"
            " failures = excluded.failures, not_before = excluded.not_before,"
            " last_error = excluded.last_error, last_remedy = excluded.last_remedy,"
            " last_advice = excluded.last_advice",
            (
                reach.name, reach.failures, micros(reach.not_before) if reach.not_before else 0,
                reach.last_error, reach.last_remedy, reach.last_advice,
            ),
        )  # fmt: skip


def succeed(catalog: Catalog, name: str, now: datetime) -> None:
    """It took something: what it refused before is forgotten."""
    with catalog.transaction(durable=False) as db:
        db.execute(
            "INSERT INTO destination (name, last_success) VALUES (?,?) ON CONFLICT (name)"
            " DO UPDATE SET failures = 0, not_before = 0, last_error = '', last_remedy = '',"
            " last_advice = '', last_success = excluded.last_success",
            (name, micros(now)),
        )


def forgive(catalog: Catalog, name: str = "") -> None:
    """A person says: try this one, or all, at once."""
    with catalog.transaction() as db:
        db.execute(
            "UPDATE destination SET not_before = 0 WHERE name = ? OR ? = ''",
            (name, name),
        )
