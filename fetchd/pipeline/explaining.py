"""Why an archived message went where it went: what `fetchd plan --message` prints.

For each place where the message was seen, the decision of a sync is made again, by the
settings as they are now and with the functions that a sync uses (owing.py), and held
against what the outbox knows. No server is asked and nothing is changed.

What a sync knew when it fetched the message is taken from the catalog: whether a copy was
there before, and whether the message is older than its account.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from fetchd.catalog import delivered, runs, search
from fetchd.catalog.delivered import Trace
from fetchd.catalog.search import MessageRow, Sighting
from fetchd.contracts import Body, QueuedDelivery
from fetchd.message import Summary, examine
from fetchd.pipeline.errand import errands
from fetchd.pipeline.owing import (
    Beginning,
    Origin,
    Piece,
    deliveries,
    envelope_of,
    hand,
)
from fetchd.pipeline.storage import Storage
from fetchd.pipeline.stored import stored_body
from fetchd.policy.plan import RemoteMessage, RemoteState
from fetchd.policy.routing import Handed, route
from fetchd.settings import Settings
from fetchd.values import Struct, replace

_AWAY = (RemoteState.GONE, RemoteState.RETIRED)


class Goal(Struct, frozen=True):
    """One destination that the message is for, and what became of that.

    `spared`: a sync does not send it there, since it is old mail. `trace` None: it was
    never owed there.
    """

    handed: Handed
    mirror: bool
    spared: bool
    trace: Trace | None


class Explained(Struct, frozen=True):
    """The message at one place; `others` are deliveries that the settings of now do not ask for.

    `trail` has a sentence for each route that was looked at.
    """

    seen: Sighting
    in_settings: bool
    duplicate: bool = False
    trail: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()
    others: tuple[Trace, ...] = ()


class _Subject(Struct, frozen=True):
    """The message, with what is the same at all places."""

    row: MessageRow
    body: Body
    summary: Summary
    traces: Sequence[Trace]
    places: Sequence[Sighting]

    def owed_at(self, seen: Sighting) -> list[Trace]:
        """What was owed for this place, if perhaps under a uid that is forgotten."""
        return self._without(seen, {one.uid for one in self._beside(seen)})

    def perhaps_owed_at(self, seen: Sighting) -> list[Trace]:
        """The same, or for a uid that is gone: the message may have been recognised then."""
        there = {one.uid for one in self._beside(seen) if one.state not in _AWAY}
        return self._without(seen, there)

    def _beside(self, seen: Sighting) -> list[Sighting]:
        place = (seen.account, seen.mailbox)
        return [
            one
            for one in self.places
            if (one.account, one.mailbox) == place and one.uid != seen.uid
        ]

    def _without(self, seen: Sighting, others: Collection[bytes]) -> list[Trace]:
        place = (seen.account, seen.mailbox)
        return [
            one
            for one in self.traces
            if (one.account, one.mailbox) == place and one.uid not in others
        ]


def explain(
    settings: Settings, storage: Storage, row: MessageRow, accounts: Sequence[str]
) -> list[Explained]:
    """The message at every place where it was seen, or at those of these accounts.

    MessageNotStored, ArchiveDamaged where its header cannot be read.
    """
    catalog = storage.catalog
    places = sorted(search.sightings(catalog, row.digest), key=_age)
    copied = delivered.had_copy(catalog, row.digest)
    with stored_body(storage, row) as body:
        _, summary, _ = examine(body.chunks())
        traces = delivered.of_message(catalog, row.digest)
        subject = _Subject(row, body, summary, traces, places)
        # What was found a second time was in the archive by then.
        return [
            _at(settings, storage, subject, seen, duplicate=copied or position > 0)
            for position, seen in enumerate(places)
            if not accounts or seen.account in accounts
        ]


def _age(seen: Sighting) -> tuple[datetime, int, bytes]:
    """Of what one batch brought, the later has the greater uid, most of the time."""
    return seen.first_seen, len(seen.uid), seen.uid


def _at(
    settings: Settings, storage: Storage, subject: _Subject, seen: Sighting, *, duplicate: bool
) -> Explained:
    """One place. An account that has left the settings is owed nothing any more."""
    traces = subject.owed_at(seen)
    if seen.account not in settings.accounts:
        return Explained(seen, False, duplicate, others=tuple(traces))
    (errand,) = errands(settings, [seen.account], storage)
    origin = errand.origin(seen.mailbox, beginning=_beginning(storage, seen))
    goals = _goals(storage, origin, subject, seen, duplicate=duplicate)
    met = {goal.trace.id for goal in goals if goal.trace is not None}
    return Explained(
        seen, True, duplicate, _trail(origin, subject.body, duplicate=duplicate), goals,
        tuple(one for one in traces if one.id not in met),
    )  # fmt: skip


def _beginning(storage: Storage, seen: Sighting) -> Beginning:
    """As it was for the sync that found the message there."""
    added_at, _ = runs.added_at(storage.catalog, seen.account)
    first = delivered.in_first_run(storage.catalog, seen.account, seen.first_seen)
    return Beginning(everything=first, added_at=added_at)


def _trail(origin: Origin, body: Body, *, duplicate: bool) -> tuple[str, ...]:
    own = [owed.destination for owed in origin.owed if not owed.mirror]
    envelope = envelope_of(origin.account, origin.mailbox, body, duplicate=duplicate)
    return route(envelope, origin.routes, own).trail


def _goals(
    storage: Storage, origin: Origin, subject: _Subject, seen: Sighting, *, duplicate: bool
) -> tuple[Goal, ...]:
    row, traces = subject.row, subject.perhaps_owed_at(seen)
    piece = Piece(RemoteMessage(seen.uid, row.size), row.digest, subject.summary, row.internal_date)
    handed = hand(origin, piece, subject.body, duplicate=duplicate)
    by_name = {owed.destination: owed for owed in (*origin.others, *origin.owed)}
    old = origin.beginning.is_old(piece.internal_date)
    # As if nothing were old: each that is handed makes a delivery then, and so has its key.
    as_if_new = replace(origin, beginning=Beginning())
    made = deliveries(as_if_new, piece, handed, piece.internal_date)
    return tuple(
        Goal(
            one, by_name[one.destination].mirror, by_name[one.destination].spares_old and old,
            _trace(storage, queued, traces),
        )
        for one, queued in zip(handed, made, strict=True)
    )  # fmt: skip


def _trace(storage: Storage, made: QueuedDelivery, traces: Sequence[Trace]) -> Trace | None:
    """By its key; or, since the message may have had another uid then, by where it went."""
    if found := delivered.called(storage.catalog, made.destination, made.key):
        return found
    place = (made.destination, made.folder)
    alike = [one for one in traces if (one.destination, one.folder) == place]
    return alike[-1] if alike else None
