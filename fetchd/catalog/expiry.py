"""When what lets us in ends: certificates as servers showed them, tokens as they were issued."""

from datetime import datetime
from typing import Literal

from fetchd.catalog.database import Catalog
from fetchd.instants import micros, moment
from fetchd.values import Struct

What = Literal["certificate", "token"]


class Expiry(Struct, frozen=True):
    """One end; `subject` is an account's name, or "destination NAME"."""

    what: str
    subject: str
    at: datetime


def note_expiry(catalog: Catalog, what: What, subject: str, at: datetime) -> None:
    """It ends then; what was known before is forgotten."""
    with catalog.transaction(durable=False) as db:
        db.execute(
            "INSERT INTO expiry (what, subject, at) VALUES (?,?,?)"
            " ON CONFLICT (what, subject) DO UPDATE SET at = excluded.at",
            (what, subject, micros(at)),
        )


def forget_expiry(catalog: Catalog, what: What, subject: str) -> None:
    """It has no end that anybody told, or is no longer used."""
    with catalog.transaction(durable=False) as db:
        db.execute("DELETE FROM expiry WHERE what = ? AND subject = ?", (what, subject))


def expiries(catalog: Catalog) -> list[Expiry]:
    """All that is known, the nearest end first."""
    rows = catalog.rows("SELECT what, subject, at FROM expiry ORDER BY at, what, subject")
    return [Expiry(what, subject, moment(at)) for what, subject, at in rows]
