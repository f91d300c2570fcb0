"""The table is the specification of what leaves the server."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fetchd.policy.plan import Inventory, Known, Listing, RemoteMessage, RemoteState
from fetchd.policy.retention import Leave, Retirement, Window, fingerprint, plan_retirement
from fetchd.values import replace

NOW = datetime(2030, 1, 31, tzinfo=UTC)
DAY = timedelta(days=1)
WEEK = Window(days=7 * DAY)


def listing(uids: str) -> Listing:
    messages = [RemoteMessage(u.encode(), 100, n) for n, u in enumerate(uids.upper(), 1)]
    doubled = {u for u in uids.upper() if uids.upper().count(u) > 1}
    marked = [replace(m, ambiguous=m.uid.decode() in doubled) for m in messages]
    return Listing("INBOX", tuple(marked), b"d")


def inventory(text: str, leave: Leave) -> Inventory:
    """'A9 B-': known uids; 9 days old; - delivery outstanding, ! damaged, ~ retiring, ? bad."""
    known = {}
    for word in text.split():
        state = RemoteState.STORED
        if "~" in word:
            state = RemoteState.RETIRING
        if "?" in word:
            state = RemoteState.QUARANTINED
        seen = NOW - DAY * int(word[1:].strip("-!~?") or 0)
        known[word[:1].encode()] = Known(
            state, 100, seen, rules=fingerprint(leave), settled="-" not in word,
            damaged="!" in word,
        )  # fmt: skip
    return Inventory(known)


def names(pairs: Any) -> str:
    return "".join(m.uid.decode() for m, _ in pairs)


@pytest.mark.parametrize(
    ("server", "known", "leave", "retire", "waiting"),
    [
        ("ABC", "A9 B9 C9", "forever", "", ""),
        ("ABC", "A B C", "none", "ABC", ""),
        ("ABC", "A B", "none", "AB", "C"),  # never what is not stored
        ("ABCD", "A- B! C~ D?", "none", "C", "ABD"),
        ("AAB", "A B", "none", "B", "AA"),  # an ambiguous uid names nothing
        ("ABC", "A9 B7 C6", WEEK, "AB", ""),
        ("ABC", "A0 B9 C0", Window(newest=2), "A", ""),
        ("ABC", "A B C", Window(newest=0), "ABC", ""),
        ("ABC", "A B C", Window(newest=9), "", ""),
        ("ABC", "A B C", Window(max_size=200), "A", ""),
        ("ABC", "A- B C", Window(max_size=200), "", "A"),  # B need not go in place of A
        ("ABC", "A B C9", Window(days=7 * DAY, max_size=200), "C", ""),
    ],
)
def test_window(server: str, known: str, leave: Leave, retire: str, waiting: str) -> None:
    plan = plan_retirement(
        listing(server), inventory(known, leave), leave, NOW, last_run_at=NOW - DAY
    )
    assert (names(plan.retire), names(plan.waiting), plan.braked) == (retire, waiting, None)


@pytest.mark.parametrize("odd", ["restarted", "emptied", "adopted", "incomplete"])
def test_an_odd_run_retires_nothing(odd: str) -> None:
    what = replace(listing("AB"), complete=odd != "incomplete")
    flags: dict[str, Any] = {odd: True} if odd != "incomplete" else {}
    plan = plan_retirement(what, inventory("A B", "none"), "none", NOW, last_run_at=NOW, **flags)
    assert plan == Retirement(skipped=plan.skipped)
    assert plan.skipped


MANY = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"  # 26: more than floor and share


@pytest.mark.parametrize(
    ("age", "recorded", "leave", "last_run", "confirmed", "held"),
    [
        (1, "none", "none", None, False, 0),  # all that was fetched, under "none"
        (1, "forever", "none", DAY, False, 26),  # the settings changed
        (1, "forever", "none", DAY, True, 0),
        (7, WEEK, WEEK, DAY, False, 0),  # foreseen yesterday
        (7, WEEK, WEEK, None, False, 26),
        (20, WEEK, WEEK, 30 * DAY, False, 26),  # due long after the last run: a clock jumped
        (99, WEEK, WEEK, DAY, False, 0),
        (1, Window(newest=0), Window(newest=0), DAY, False, 26),
    ],
)  # fmt: skip
def test_brake(
    age: int, recorded: Leave, leave: Leave, last_run: timedelta | None, confirmed: bool, held: int
) -> None:
    known = inventory(" ".join(f"{u}{age}" for u in MANY), recorded)
    last = NOW - last_run if last_run else None
    plan = plan_retirement(listing(MANY), known, leave, NOW, last_run_at=last, confirmed=confirmed)
    assert len(plan.held) == held
    assert len(plan.retire) == 26 - held
    assert ("--confirm-retire" in (plan.braked or "")) == bool(held)


def test_what_new_mail_displaces_was_foreseen() -> None:
    leave = Window(newest=2)
    known = inventory(" ".join(MANY), leave)
    plan = plan_retirement(
        listing(MANY), known, leave, NOW, last_run_at=NOW - DAY, floor=0, share=0,
        fetched_this_run={b"Y", b"Z"},
    )  # fmt: skip
    assert names(plan.held) == MANY[:22]
    assert names(plan.retire) == "WX"


def test_next_due_and_arrival() -> None:
    leave = Window(days=7 * DAY, since="arrival")
    known = dict(inventory("A B3 C3", leave).messages)
    known[b"A"] = replace(known[b"A"], arrived=NOW - 8 * DAY)
    known[b"C"] = replace(known[b"C"], arrived=NOW + 9 * DAY)  # as if it had come after we saw it
    plan = plan_retirement(listing("ABC"), Inventory(known), leave, NOW, last_run_at=NOW)
    assert names(plan.retire) == "A"
    assert plan.next_due == NOW + 4 * DAY
