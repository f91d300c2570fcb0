"""Inventory, outbox, runs, search and expiry."""

import threading
import tracemalloc
from datetime import timedelta

from fetchd.catalog import inventory, keeping, outbox, reach, recording, runs, search
from fetchd.catalog.database import Catalog
from fetchd.catalog.inventory import MailboxState
from fetchd.catalog.reach import Reach
from fetchd.contracts import Commit, Outcome, RunCounts, ServerFacts, Settled
from fetchd.errors import Remedy
from fetchd.policy.plan import Candidate, RemoteState
from fetchd.values import replace
from tests.catalog import samples
from tests.catalog.samples import NOW, SEGMENT, digest

MINUTE = timedelta(minutes=1)


def test_inventory_tells_what_decisions_need(catalog: Catalog) -> None:
    first, _, _ = recording.record(catalog, [samples.recorded(1, 2, 3)]).values()
    outbox.settle(catalog, [Settled(first, Outcome.DELIVERED)], NOW, {})
    keeping.mark_damaged(catalog, [digest(3)])
    inventory.mark_retiring(catalog, "home", "INBOX", [b"uid-2"], b"listing")
    known = inventory.inventory(catalog, "home", "INBOX").messages
    one, two, three = (known[b"uid-%d" % n] for n in (1, 2, 3))
    assert (one.settled, two.settled) == (True, False)
    assert (one.damaged, three.damaged) == (False, True)
    assert (one.state, two.state) == (RemoteState.STORED, RemoteState.RETIRING)
    assert (one.size, one.first_seen, one.digest, one.rules) == (1011, NOW, digest(1), "rules")
    assert one.header_digest is None  # only told of those we asked to drop
    assert two.header_digest == samples.stored(2).summary.header_digest
    inventory.mark_retired(catalog, "home", "INBOX", [b"uid-2"], NOW)
    inventory.mark_gone(catalog, "home", "INBOX", [b"uid-1"])
    assert list(inventory.inventory(catalog, "home", "INBOX").messages) == [b"uid-3"]
    listed = [b"uid-1", b"uid-2", b"uid-4"]
    known = inventory.inventory(catalog, "home", "INBOX", listed).messages
    assert known[b"uid-2"].state is RemoteState.RETIRED
    assert known[b"uid-1"].state is RemoteState.GONE


def test_inventory_of_100_000_is_bounded(catalog: Catalog) -> None:
    with catalog.transaction() as db:
        box = recording.mailbox_id(db, "home", "INBOX")
        db.executemany(
            "INSERT INTO remote_message (mailbox_id, uid, size, digest, state, first_seen)"
            " VALUES (?,?,?,?,'stored',0)",
            ((box, b"%08d" % n, n, digest(n)) for n in range(100_000)),
        )
    tracemalloc.start()
    found = inventory.inventory(catalog, "home", "INBOX")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.messages) == 100_000
    assert peak < 100_000_000


def test_candidates_by_header(catalog: Catalog) -> None:
    recording.record(catalog, [samples.recorded(1, 2)])
    keeping.mark_damaged(catalog, [digest(2)])
    key = samples.stored(1).summary.header_digest
    expected = {key: (Candidate(digest(1), frozenset({1001, 1011})),)}
    headers = [samples.stored(n).summary.header_digest for n in (1, 2, 3)]
    assert inventory.candidates(catalog, "home", headers) == expected
    assert inventory.candidates(catalog, "other", headers) == {}
    assert inventory.candidates(catalog, "home", headers[1:]) == {}


def test_a_uid_given_to_another_message_begins_anew(catalog: Catalog) -> None:
    later = NOW + timedelta(days=30)
    recording.record(catalog, [samples.recorded(1)])
    same = replace(samples.remote(1), seen_at=later)
    recording.record(catalog, [samples.facts(Commit(remotes=(same,)))])
    assert inventory.inventory(catalog, "home", "INBOX").messages[b"uid-1"].first_seen == NOW
    other = replace(same, digest=digest(2))
    recording.record(catalog, [samples.facts(Commit(remotes=(other,)))])
    assert inventory.inventory(catalog, "home", "INBOX").messages[b"uid-1"].first_seen == later


def test_a_listing_is_recognised_only_where_nothing_is_left_to_do(catalog: Catalog) -> None:
    state = MailboxState(b"digest", None, "rules", NOW, 5, 500, NOW)
    assert state.recognises("rules", NOW - MINUTE) == b"digest"
    assert state.recognises("other", NOW - MINUTE) is None
    assert state.recognises("rules", NOW) is None  # something falls due
    inventory.save_mailbox_state(catalog, "home", "INBOX", state)
    keeping.mark_damaged(catalog, [digest(1)])
    assert inventory.mailbox_state(catalog, "home", "INBOX").listing_digest is None


def test_restamping_foresees_what_is_stored(catalog: Catalog) -> None:
    recording.record(catalog, [samples.recorded(1, 2)])
    inventory.restamp(catalog, "home", "INBOX", "new rules")
    known = inventory.inventory(catalog, "home", "INBOX").messages
    assert {k.rules for k in known.values()} == {"new rules"}


def test_mailbox_state_round_trip(catalog: Catalog) -> None:
    assert inventory.mailbox_state(catalog, "home", "INBOX") == MailboxState()
    state = MailboxState(b"digest", None, "rules", NOW, 5, 500, NOW)
    inventory.save_mailbox_state(catalog, "home", "INBOX", state)
    assert inventory.mailbox_state(catalog, "home", "INBOX") == state


def test_a_deferred_delivery_waits_and_comes_back(catalog: Catalog) -> None:
    ids = list(recording.record(catalog, [samples.recorded(1, 2)]).values())
    outbox.settle(
        catalog,
        [Settled(ids[0], Outcome.DEFERRED, "451 later"), Settled(ids[1], Outcome.FAILED, "550")],
        NOW,
        {ids[0]: NOW + MINUTE},
    )
    assert outbox.claim_due(catalog, ["maildir"], NOW, 10) == []
    (row,) = outbox.claim_due(catalog, ["maildir"], NOW + MINUTE, 10)
    assert (row.id, row.attempts, row.size) == (ids[0], 1, 1001)
    assert row.location == samples.stored(1).location
    assert outbox.claim_due(catalog, ["maildir"], NOW + MINUTE, 10) == []  # in hand
    assert outbox.counts(catalog) == {"maildir": {"deferred": 1, "failed": 1}}
    assert [r.last_reply for r in outbox.listing(catalog)] == ["550", "451 later"]
    assert [r.id for r in outbox.listing(catalog, state="failed")] == [ids[1]]


def test_the_next_due_delivery_is_the_first_that_nobody_has_in_hand(catalog: Catalog) -> None:
    assert outbox.next_due(catalog) is None
    ids = list(recording.record(catalog, [samples.recorded(1, 2, 3, 4)]).values())
    assert outbox.next_due(catalog) is None  # all in hand
    outcomes = (Outcome.DEFERRED, Outcome.DEFERRED, Outcome.FAILED, Outcome.DELIVERED)
    settled = [Settled(i, outcome) for i, outcome in zip(ids, outcomes, strict=True)]
    outbox.settle(catalog, settled, NOW, {ids[0]: NOW + 2 * MINUTE, ids[1]: NOW + MINUTE})
    assert outbox.next_due(catalog) == NOW + MINUTE
    assert outbox.waiting(catalog) == {"maildir": {"deferred": 2, "failed": 1}}
    reach.fail(catalog, Reach("maildir", 1, NOW + 9 * MINUTE))
    assert outbox.next_due(catalog) == NOW + 9 * MINUTE  # not before the destination is


def test_retry_and_drop_by_hand(catalog: Catalog) -> None:
    ids = list(recording.record(catalog, [samples.recorded(1, 2)]).values())
    failed = [Settled(i, Outcome.FAILED) for i in ids]
    outbox.settle(catalog, failed, NOW, {})
    assert outbox.retry(catalog, destination="elsewhere") == 0
    assert outbox.retry(catalog, [ids[0]]) == 1
    assert outbox.drop(catalog, [ids[1]]) == 1
    assert outbox.retry(catalog) == 0
    assert [r.id for r in outbox.claim_due(catalog, ["maildir"], NOW, 10)] == [ids[0]]
    assert inventory.inventory(catalog, "home", "INBOX").messages[b"uid-2"].settled


def test_delivered_is_final(catalog: Catalog) -> None:
    ids = list(recording.record(catalog, [samples.recorded(1)]).values())
    outbox.settle(catalog, [Settled(ids[0], Outcome.DELIVERED)], NOW, {})
    outbox.settle(catalog, [Settled(ids[0], Outcome.FAILED)], NOW, {})
    assert outbox.counts(catalog) == {"maildir": {"delivered": 1}}


def test_runs_and_health(catalog: Catalog) -> None:
    recording.record(catalog, [samples.recorded(1, 2)])
    killed = runs.begin(catalog, "home", "pop3", NOW)
    for failures in (1, 2):
        run = runs.begin(catalog, "home", "pop3", NOW)
        error = "The password was refused."
        told = (error, Remedy.OWNER, "Ask for another.", NOW)
        assert runs.fail(catalog, run, NOW, RunCounts(), *told) == failures
    run = runs.begin(catalog, "home", "pop3", NOW)
    runs.interrupt(catalog, run, NOW, RunCounts(fetched=1))  # neither well nor ill by that
    runs.save_facts(catalog, "home", ServerFacts(("UIDL",), pipelining=True))
    (status,) = runs.status(catalog)
    assert (status.failures, status.last_remedy, status.not_before) == (2, "owner", NOW)
    assert (status.last_error, status.last_advice) == (error, "Ask for another.")
    assert status.last_success is None
    assert (status.messages, status.octets, status.waiting) == (2, 2003, 2)
    assert status.facts == ServerFacts(("UIDL",), pipelining=True)
    run = runs.begin(catalog, "home", "pop3", NOW)
    runs.succeed(catalog, run, NOW, RunCounts(fetched=7))
    (status,) = runs.status(catalog)
    assert (status.failures, status.last_error, status.last_success) == (0, "", NOW)
    assert status.last_advice == ""
    history = runs.history(catalog, "home")
    outcomes = [row.outcome for row in history]
    assert outcomes == ["ok", "interrupted", "failed", "failed", "interrupted"]
    assert [row.ended_at for row in history] == [NOW, NOW, NOW, NOW, None]
    assert history[0].counts == RunCounts(fetched=7)
    assert history[-1].id == killed
    assert history == runs.history(catalog)


def test_search(catalog: Catalog) -> None:
    recording.record(catalog, [samples.recorded(1, 2, 12)])
    found = search.messages(catalog, subject="subject 1")
    assert [row.digest for row in found] == [digest(12), digest(1)]
    assert search.messages(catalog, subject="subject_1") == []
    assert len(search.messages(catalog, account="home", since=NOW, limit=2)) == 2
    assert search.messages(catalog, account="other") == []
    assert search.messages(catalog, since=NOW + MINUTE) == []
    assert [m.digest for m in search.by_id(catalog, digest(2).hex()[:8])] == [digest(2)]
    assert [m.digest for m in search.by_id(catalog, "1")] == [digest(1)]
    assert search.by_id(catalog, "%") == []
    assert [s.uid for s in search.sightings(catalog, digest(2))] == [b"uid-2"]


def test_a_few_digits_are_no_digest(catalog: Catalog) -> None:
    """Whoever mistypes a number must not be shown another message."""
    recording.record(catalog, [samples.recorded(12)])
    assert digest(12).hex().startswith("6b")
    assert search.by_id(catalog, "6") == []
    assert [m.digest for m in search.by_id(catalog, "6b")] == [digest(12)]


def test_expiry_and_segments(catalog: Catalog) -> None:
    queued = recording.record(catalog, [samples.recorded(1, 2), samples.recorded(3, deliver=False)])
    ids = list(queued.values())
    assert keeping.expirable(catalog, None) == []
    outbox.settle(catalog, [Settled(ids[0], Outcome.DELIVERED)], NOW, {})
    assert keeping.expirable(catalog, None) == [digest(1)]
    assert keeping.expirable(catalog, NOW) == []
    assert keeping.expirable(catalog, NOW + MINUTE) == [digest(1), digest(3)]
    keeping.seal_segment(catalog, SEGMENT)
    (use,) = keeping.segments(catalog)
    assert (use.length, use.sealed, use.live, use.live_octets, use.live_frames) == (
        400,
        True,
        3,
        3006,
        300,
    )
    assert [row[0] for row in keeping.contents(catalog, SEGMENT, 200)] == [digest(2), digest(3)]
    keeping.drop_segment(catalog, SEGMENT)
    assert keeping.segments(catalog) == []
    assert inventory.known_digests(catalog, [digest(1)]) == set()


def test_verification_is_remembered(catalog: Catalog) -> None:
    recording.record(catalog, [samples.recorded(1)])
    mark = keeping.VerifyMark(SEGMENT, 100, NOW)
    keeping.save_verify_mark(catalog, mark)
    assert keeping.verify_mark(catalog) == mark
    keeping.save_verify_mark(catalog, None)
    assert keeping.verify_mark(catalog) is None
    keeping.mark_damaged(catalog, [digest(1)])
    keeping.mark_verified(catalog, [digest(1)], NOW)
    assert search.by_id(catalog, "1")[0].verified_at == NOW
    assert inventory.known_digests(catalog, [digest(1)]) == {digest(1)}


def test_threads_share_a_catalog(catalog: Catalog) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 20):
            recording.record(catalog, [samples.recorded(number)])

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inventory.inventory(catalog, "home", "INBOX").messages) == 80
