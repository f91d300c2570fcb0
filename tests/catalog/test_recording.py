"""The group commit's transaction, and its replay."""

import itertools

from fetchd.catalog import inventory, keeping, outbox, recording
from fetchd.catalog.database import Catalog
from fetchd.contracts import Commit, Location, Recorded, SegmentFacts
from fetchd.policy.plan import RemoteMessage, RemoteState
from tests.catalog import samples
from tests.catalog.samples import NOW, SEGMENT, digest

DUMPED = {
    "message": "digest, size, segment_id, frame_offset, inner, damaged, expired, stored_at",
    "remote_message": "uid, size, digest, state, rules, first_seen, attempts, reason",
    "delivery": "destination, key, digest, account, mailbox, uid, state",
    "segment": "path, length",
}


def dump(catalog: Catalog) -> dict[str, list[object]]:
    return {
        table: sorted(catalog.rows(f"SELECT {columns} FROM {table}"), key=repr)
        for table, columns in DUMPED.items()
    }


def test_a_commit_is_one_truth(catalog: Catalog) -> None:
    ids = recording.record(catalog, [samples.recorded(1, 2), samples.recorded(3)])
    assert list(ids) == [("maildir", "key-1"), ("maildir", "key-2"), ("maildir", "key-3")]
    assert inventory.known_digests(catalog, map(digest, range(5))) == {
        digest(1),
        digest(2),
        digest(3),
    }
    assert inventory.segment_facts(catalog) == {SEGMENT: SegmentFacts(400, sealed=False)}
    place, size = inventory.locations(catalog, [digest(2), digest(9)])[digest(2)]
    assert (place, size) == (Location(SEGMENT, 200, 100, 512), 1002)


def test_replay_changes_nothing(catalog: Catalog) -> None:
    settled = samples.facts(Commit(delivered=(("maildir", "key-1"),), expired=(digest(2),)))
    history = [samples.recorded(1, 2), samples.recorded(3), settled]
    recording.record(catalog, history)
    before = dump(catalog)
    assert recording.record(catalog, history, replay=True) == {}
    assert dump(catalog) == before
    for one in history:
        recording.record(catalog, [one], replay=True)
    assert dump(catalog) == before


def test_facts_may_come_in_any_order(catalog: Catalog) -> None:
    """A delivery made is known as made even if its queueing is replayed later."""
    again = samples.facts(
        Commit(messages=(samples.stored(1, None),), remotes=(samples.remote(1, "work"),))
    )
    delivered = samples.facts(Commit(delivered=(("maildir", "key-1"),)))
    outcomes = []
    history = [samples.recorded(1), samples.recorded(2), delivered, again]
    for order in itertools.permutations(history):
        recording.record(catalog, order, replay=True)
        outcomes.append(dump(catalog))
        with catalog.transaction() as db:
            for table in ("delivery", "remote_message", "message", "segment", "mailbox"):
                db.execute(f"DELETE FROM {table}")
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert [row[-1] for row in outcomes[0]["delivery"]] == ["delivered", "pending"]


def test_replayed_deliveries_are_doubtful(catalog: Catalog) -> None:
    recording.record(catalog, [samples.recorded(1)], replay=True)
    assert [row.doubtful for row in outbox.claim_due(catalog, ["maildir"], NOW, 9)] == [True]


def test_a_good_location_is_kept_and_a_lost_one_replaced(catalog: Catalog) -> None:
    other = "2026/12/B.tar.zst"

    def where() -> Location:
        return inventory.locations(catalog, [digest(1)])[digest(1)][0]

    recording.record(catalog, [samples.recorded(1)])
    recording.record(catalog, [samples.recorded(1, segment=other)])
    assert where().segment == SEGMENT
    keeping.mark_damaged(catalog, [digest(1)])
    recording.record(catalog, [samples.recorded(1)], replay=True)
    assert inventory.known_digests(catalog, [digest(1)]) == set()
    recording.record(catalog, [samples.recorded(1, segment=other)])
    assert where().segment == other
    recording.record(catalog, [samples.facts(Commit(expired=(digest(1),)))])
    assert inventory.locations(catalog, [digest(1)]) == {}
    recording.record(catalog, [samples.recorded(1)])
    assert where().segment == SEGMENT


def test_storing_ends_a_quarantine(catalog: Catalog) -> None:
    message = RemoteMessage(b"uid-1", 1011)
    for attempt in (1, 2):
        tried = inventory.quarantine(catalog, "home", "INBOX", message, "endless", NOW, NOW)
        assert tried == attempt
    known = inventory.inventory(catalog, "home", "INBOX").messages[b"uid-1"]
    assert (known.state, known.reason, known.retry_at) == (
        RemoteState.QUARANTINED,
        "endless",
        NOW,
    )
    recording.record(catalog, [samples.recorded(1)])
    known = inventory.inventory(catalog, "home", "INBOX").messages[b"uid-1"]
    assert (known.state, known.reason, known.retry_at) == (RemoteState.STORED, "", None)


def test_a_segment_never_shrinks(catalog: Catalog) -> None:
    recording.record(catalog, [Recorded(SEGMENT, 900, Commit())])
    recording.record(catalog, [Recorded(SEGMENT, 300, Commit())])
    assert inventory.segment_facts(catalog) == {SEGMENT: SegmentFacts(900, sealed=False)}
