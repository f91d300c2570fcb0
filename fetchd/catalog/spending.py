"""What was spent of budgets, by purse: written by every process, so that none forgets the others.

A purse is whatever has a budget of its own: a user at a provider, or all its users together.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from fetchd.catalog.database import Catalog
from fetchd.instants import micros, moment
from fetchd.policy.budget import LONGEST_MEMORY, Span, What, span_of

# Longer than anything counts: a clock that is ahead for a moment makes nobody forget.
KEPT = 7 * LONGEST_MEMORY

Spans = Mapping[What, tuple[Span, ...]]


def of(catalog: Catalog, purse: str) -> Spans:
    """All that is remembered of it, by what was spent."""
    rows = catalog.rows(
        "SELECT what, since, amount FROM spending WHERE purse = ? ORDER BY since", (purse,)
    )
    known = {str(what) for what in What}
    found: dict[What, tuple[Span, ...]] = dict.fromkeys(What, ())
    for what, since, amount in rows:
        if what in known:
            found[What(what)] += (Span(moment(since), amount),)
    return found


def spend(
    catalog: Catalog, purse: str, amounts: Iterable[tuple[What, int]], now: datetime
) -> Spans:
    """Add what was spent just now; what is remembered then, by all processes."""
    with catalog.transaction(durable=False) as db:
        db.execute("DELETE FROM spending WHERE since < ?", (micros(now - KEPT),))
        for what, amount in amounts:
            if amount > 0:
                db.execute(
                    "INSERT INTO spending (purse, what, since, amount) VALUES (?,?,?,?)"
                    " ON CONFLICT (purse, what, since) DO UPDATE"
                    " SET amount = spending.amount + excluded.amount",
                    (purse, str(what), micros(span_of(what, now)), amount),
                )
        return of(catalog, purse)
