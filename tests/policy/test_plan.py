"""The fetch plan as a table: what the server lists, what we know, what follows."""

from datetime import UTC, datetime, timedelta

import pytest

from fetchd.policy.plan import (
    Candidate,
    Header,
    Inventory,
    Known,
    Listing,
    RemoteMessage,
    RemoteState,
    adopt,
    plan_fetch,
)
from fetchd.values import replace

NOW = datetime(2030, 1, 31, tzinfo=UTC)
STATES = {
    "": RemoteState.STORED,
    "q": RemoteState.QUARANTINED,
    "-": RemoteState.RETIRING,
    "x": RemoteState.RETIRED,
    "o": RemoteState.GONE,
}


def listing(uids: str, *, complete: bool = True) -> Listing:
    """Sizes tell the messages apart: 'a' has 97 octets."""
    messages = tuple(
        RemoteMessage(u.encode(), ord(u), number) for number, u in enumerate(uids, start=1)
    )
    return Listing("INBOX", messages, uids.encode(), complete)


def inventory(text: str) -> Inventory:
    """'a b- cq5 d!': stored; retiring; quarantined for 5 more days; damaged."""
    known = {}
    for word in text.split():
        days = "".join(c for c in word[1:] if c.isdigit())
        mark = "".join(c for c in word[1:] if c in "q-xo")
        known[word[0].encode()] = Known(
            STATES[mark],
            ord(word[0]),
            NOW,
            damaged="!" in word,
            retry_at=NOW + timedelta(days=int(days)) if days else None,
        )
    return Inventory(known)


def uids(messages) -> str:
    return "".join(sorted(m.uid.decode() for m in messages))


@pytest.mark.parametrize(
    ("on_server", "known", "fetch", "verify", "waiting", "gone", "retired"),
    [
        # server known        fetch  verify waiting gone retired
        ("", "", "", "", "", "", ""),  # nothing at all
        ("abc", "", "abc", "", "", "", ""),  # first sync
        ("abc", "a b", "c", "", "", "", ""),  # one new
        ("bc", "a b", "c", "", "", "a", ""),  # one new, one gone
        ("b", "a- b", "", "", "", "", "a"),  # our own deletion came true
        ("ab", "a- b", "", "", "", "", ""),  # it did not: QUIT was lost
        ("ab", "aq1 b", "", "", "a", "", ""),  # quarantined, not due
        ("ab", "aq b", "a", "", "", "", ""),  # quarantined, due
        ("ab", "a! b", "a", "", "", "", ""),  # damaged in the archive: repaired
        ("ab", "ax b", "", "a", "", "", ""),  # a retired uid is back
        ("ab", "ao b", "", "a", "", "", ""),  # a vanished uid is back
        ("bc", "a b ", "c", "", "", "a", ""),  # sizes differ: no renumbering suspected
        ("", "a-", "", "", "", "", "a"),  # we emptied it ourselves
        ("", "a b-", "", "", "", "", "b"),  # somebody else did: wait before believing
    ],
)
def test_plan_fetch(on_server, known, fetch, verify, waiting, gone, retired):
    plan = plan_fetch(listing(on_server), inventory(known), NOW)
    assert uids(plan.fetch) == fetch
    assert uids(plan.verify) == verify
    assert uids(plan.quarantined) == waiting
    assert plan.gone == {u.encode() for u in gone}
    assert plan.retired == {u.encode() for u in retired}


def test_when_no_uid_is_left_a_new_epoch_is_looked_at_by_header():
    plan = plan_fetch(listing("xy"), inventory("a b"), NOW)
    assert plan.restarted
    assert uids(plan.verify) == "xy"
    assert not plan.fetch


def test_what_was_refused_before_is_asked_for_last():
    plan = plan_fetch(listing("abc"), inventory("aq"), NOW)
    assert [m.uid for m in plan.fetch] == [b"b", b"c", b"a"]


def test_what_is_too_large_is_named_and_not_fetched():
    plan = plan_fetch(listing("abcd"), inventory("d bq"), NOW, max_size=ord("a"))
    assert uids(plan.fetch) == "a"
    assert uids(plan.too_large) == "bc"


def test_a_server_that_shows_a_part_at_a_time_proves_nothing_by_absence():
    seen = replace(listing("xy"), partial=True)
    plan = plan_fetch(seen, inventory("a b c-"), NOW)
    assert uids(plan.fetch) == "xy"
    assert (plan.restarted, plan.emptied, plan.gone, plan.verify) == (False, False, set(), ())
    assert not plan_fetch(replace(seen, messages=()), inventory("a"), NOW).emptied


def test_what_we_asked_to_drop_and_still_see_has_returned():
    plan = plan_fetch(listing("ab"), inventory("a- b c-"), NOW)
    assert (uids(plan.returned), plan.retired) == ("a", {b"c"})


def test_an_incomplete_listing_proves_no_absence():
    plan = plan_fetch(listing("b", complete=False), inventory("a b c-"), NOW)
    assert plan.gone == plan.retired == frozenset()


def test_a_mailbox_emptied_behind_our_back_is_reported():
    plan = plan_fetch(listing(""), inventory("a b"), NOW)
    assert plan.emptied
    assert not plan.gone


def adopted(strangers: str, stored: str, *, restarted: bool = True, missing: str = "") -> str:
    """Strangers 'H1 h2 =': a header, capital if distinctive, and a uid; stored 'HD' pairs.

    All have 10 octets; what is stored is missing unless `missing` says what is. The
    answer is 'uid digest' pairs.
    """
    headers = {
        RemoteMessage(word[1:].encode(), 10): Header(word[0].upper().encode(), word[0].isupper())
        for word in strangers.split()
    }
    candidates: dict[bytes, tuple[Candidate, ...]] = {}
    for header, digest in stored.split():
        candidate = Candidate(digest.encode(), frozenset({10, 11}))
        candidates[header.encode()] = (*candidates.get(header.encode(), ()), candidate)
    lost = {digest.encode() for digest in missing or [word[1] for word in stored.split()]}
    found = adopt(headers, candidates, lost, restarted=restarted)
    return " ".join(sorted(f"{m.uid.decode()}{digest.decode()}" for m, digest in found.items()))


@pytest.mark.parametrize(
    ("strangers", "stored", "restarted", "missing", "expected"),
    [
        # strangers   stored      new epoch  missing  adopted
        ("H1",        "HD",       True,      "",      "1D"),     # renumbered
        ("H1",        "HD",       False,     "",      "1D"),     # moved away and back
        ("H1",        "GD",       True,      "",      ""),       # not ours
        ("H1 H2",     "HD",       True,      "",      ""),       # more than are stored
        ("H1 H2",     "HD HE",    True,      "",      "1D 2E"),  # as many
        ("H1",        "HD",       True,      "x",     "1D"),     # long gone, and back
        ("H1",        "HD",       False,     "x",     ""),       # still here: a copy of its own
        ("h1",        "HD",       True,      "",      ""),       # one weak header proves nothing
        ("h1 g2",     "HD GE",    True,      "",      "1D 2E"),  # most are recognised
        ("h1 g2",     "HD GE",    False,     "",      ""),       # in the same epoch: chance
        ("h1 G2 F3",  "HD GE FC", True,      "",      "1D 2E 3C"),
        ("h1 g2 f3",  "HD HE GC", True,      "",      ""),       # a header that comes again
        ("h1 h2 g3",  "HD HE GC", True,      "",      ""),
        ("h1 a2 b3",  "HD",       True,      "",      ""),       # mostly new mail
    ],
)  # fmt: skip
def test_adoption(strangers, stored, restarted, missing, expected):
    assert adopted(strangers, stored, restarted=restarted, missing=missing) == expected


def test_adoption_needs_the_size():
    stored = {b"H": (Candidate(b"D", frozenset({10, 11})),)}
    strange = {RemoteMessage(b"1", 12): Header(b"H", distinctive=True)}
    assert adopt(strange, stored, {b"D"}, restarted=True) == {}


def test_what_we_removed_ourselves_makes_no_new_message_suspect():
    seen = replace(listing("b"), messages=(RemoteMessage(b"b", 97),))
    plan = plan_fetch(seen, inventory("a-"), NOW)  # a and b have one size
    assert (uids(plan.fetch), plan.verify) == ("b", ())


def test_a_uid_with_another_size_is_looked_at():
    seen = replace(listing("ab"), messages=(RemoteMessage(b"a", 5), RemoteMessage(b"b", 0)))
    plan = plan_fetch(seen, inventory("a b"), NOW)
    assert uids(plan.verify) == "a"  # and where no size is told, none is compared
