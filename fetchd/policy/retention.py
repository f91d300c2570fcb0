"""Decide what the server need not keep. Pure: facts in, decisions out.

Two questions, answered one after the other. What does `leave_on_server` not
want there any longer (`_superfluous`)? And which of that may really go: only
what is stored, undamaged and delivered, and only under the brake, which guards
against surprises and not against settings: what unchanged settings foresaw at
the last run goes without asking, the rest only in moderate numbers.

To add a rule to the window: a field of `Window` and a branch of `_superfluous`.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from fetchd.policy.plan import (
    Inventory,
    Known,
    Listing,
    RemoteMessage,
    RemoteState,
    is_another,
)
from fetchd.values import Struct

# How far ahead of its own clock a run foresees: a poll every day stays unbraked,
# a clock that jumped by a month does not.
FORESIGHT = timedelta(days=2)
FLOOR = 20  # that many may always go: a small mailbox shall not ask at every turn


@dataclass(frozen=True, slots=True)
class Window:
    """What stays on the server; a message leaves when any one rule lets it go."""

    days: timedelta | None = None
    since: Literal["first_seen", "arrival"] = "first_seen"
    newest: int | None = None
    max_size: int | None = None  # octets of the whole mailbox
    keep_unread: bool = False  # without \Seen: stays whatever the rules say (IMAP only)
    keep_flagged: bool = False  # with \Flagged: stays as well (IMAP only)


Leave = Literal["forever", "none"] | Window
Reasons = tuple[tuple[RemoteMessage, str], ...]


class Retirement(Struct, frozen=True):
    """What may leave the server now, what may not yet, and why, message by message."""

    retire: Reasons = ()
    held: Reasons = ()  # by the brake
    waiting: Reasons = ()  # superfluous, but not safe to drop yet
    next_due: datetime | None = None  # when the next message grows too old
    braked: str | None = None  # one sentence for the owner
    skipped: str | None = None  # why this run decides nothing at all


def fingerprint(leave: Leave) -> str:
    """Changes whenever the settings do; recorded with each message for the brake."""
    if isinstance(leave, str):
        return leave
    days = "" if leave.days is None else f"{leave.days.total_seconds():g}"
    rules = f"days={days};since={leave.since};newest={leave.newest};max_size={leave.max_size}"
    # Named only where they are set: the catalog holds fingerprints from before they were.
    kept = {"unread": leave.keep_unread, "flagged": leave.keep_flagged}
    return rules + "".join(f";{what}=keep" for what, keep in kept.items() if keep)


def plan_retirement(
    listing: Listing,
    inventory: Inventory,
    leave: Leave,
    now: datetime,
    *,
    last_run_at: datetime | None,
    restarted: bool = False,
    emptied: bool = False,
    adopted: bool = False,
    confirmed: bool = False,
    share: float = 0.5,
    floor: int = FLOOR,
    fetched_this_run: Collection[bytes] = (),
) -> Retirement:
    """What the server need not keep.

    `last_run_at` is the last successful run before this one. `inventory` is
    read after this run's commits.
    """
    if leave == "forever":
        return Retirement()
    if reason := _no_day_for_it(listing, restarted, emptied, adopted):
        return Retirement(skipped=reason)
    due = _due_times(listing, inventory, leave)
    superfluous = _superfluous(listing.messages, inventory, leave, due, now)
    ready, waiting = _sort_out(superfluous, inventory)
    earlier = [m for m in listing.messages if m.uid not in fetched_this_run]
    overdue = {m.uid for m, _ in _superfluous(earlier, inventory, leave, due, now)}
    # What still waits for its delivery counts too: it must not pass the brake later.
    leaving = {m for m, _ in ready} | {m for m, _ in waiting if _is_ours(m, inventory)}
    surprises = {
        m
        for m in leaving
        if not _foreseen(
            inventory.messages[m.uid],
            leave,
            due.get(m.uid),
            last_run_at,
            displaced=m.uid not in overdue and m.uid not in fetched_this_run,
        )
    }
    allowed = max(floor, int(share * len(listing.messages)))
    braked = None
    if len(surprises) > allowed and not confirmed:
        braked = _sentence(listing, len(surprises), allowed)
    held = surprises if braked else set()
    return Retirement(
        retire=tuple(pair for pair in ready if pair[0] not in held),
        held=tuple(pair for pair in ready if pair[0] in held),
        waiting=tuple(waiting),
        next_due=min((at for at in due.values() if at > now), default=None),
        braked=braked,
    )


def _no_day_for_it(listing: Listing, restarted: bool, emptied: bool, adopted: bool) -> str | None:
    if not listing.complete:
        return "the server's listing was incomplete"
    if restarted or adopted:
        return "the server renumbered the mailbox"
    return "the mailbox was suddenly empty" if emptied else None


def _due_times(listing: Listing, inventory: Inventory, leave: Leave) -> dict[bytes, datetime]:
    """When each stored message grows too old; empty where age is no rule.

    A message cannot have arrived after it was first seen, whatever it says.
    """
    if isinstance(leave, str) or leave.days is None:
        return {}
    by_arrival = leave.since == "arrival"
    return {
        m.uid: min(known.arrived or known.first_seen, known.first_seen) + leave.days
        if by_arrival
        else known.first_seen + leave.days
        for m in listing.messages
        if (known := inventory.messages.get(m.uid)) and known.state in _HELD_BY_US
    }


def _superfluous(
    messages: Iterable[RemoteMessage],
    inventory: Inventory,
    leave: Leave,
    due: Mapping[bytes, datetime],
    now: datetime,
) -> list[tuple[RemoteMessage, str]]:
    """What the settings do not want on the server, safe to drop or not, oldest first."""
    # Numbers ascend with age: POP3's by RFC 1939 §5, UIDs by the order of arrival there.
    by_age = sorted(messages, key=lambda m: m.number)
    if isinstance(leave, str):
        return [(m, 'leave_on_server = "none"') for m in by_age]
    kept, left, protected = [], [], 0
    surplus = len(by_age) - leave.newest if leave.newest is not None else 0
    for index, message in enumerate(by_age):
        if _is_protected(message, leave):
            protected += message.size or _known_size(inventory, message)
        elif message.uid in due and due[message.uid] <= now:
            left.append((message, f"older than {_days(leave.days)}"))
        elif index < surplus:
            left.append((message, f"not among the newest {leave.newest}"))
        else:
            kept.append(message)
    left += _until_it_fits(kept, inventory, leave.max_size, protected)
    return sorted(left, key=lambda pair: pair[0].number)


def _is_protected(message: RemoteMessage, leave: Window) -> bool:
    """Whether its flags let it stay, however old it is."""
    flags = message.flags.split()
    return (leave.keep_unread and "\\Seen" not in flags) or (
        leave.keep_flagged and "\\Flagged" in flags
    )


def _until_it_fits(
    kept: Iterable[RemoteMessage], inventory: Inventory, limit: int | None, protected: int
) -> list[tuple[RemoteMessage, str]]:
    """Oldest first; `protected` octets stay in any case.

    What cannot be dropped counts as dropped, so that no newer message has to leave in
    place of an older one that waits for its delivery.
    """
    if limit is None:
        return []
    sizes = [(m, m.size or _known_size(inventory, m)) for m in kept]
    total = protected + sum(size for _, size in sizes)
    left = []
    for message, size in sizes:
        if total <= limit:
            break
        total -= size
        left.append((message, f"mailbox larger than {limit} octets"))
    return left


_HELD_BY_US = {RemoteState.STORED, RemoteState.RETIRING}


def _sort_out(
    superfluous: Iterable[tuple[RemoteMessage, str]], inventory: Inventory
) -> tuple[list[tuple[RemoteMessage, str]], list[tuple[RemoteMessage, str]]]:
    """Those that may go, and those that may not yet with what stands in their way."""
    ready, waiting = [], []
    for message, reason in superfluous:
        if obstacle := _obstacle(message, inventory.messages.get(message.uid)):
            waiting.append((message, obstacle))
        else:
            ready.append((message, reason))
    return ready, waiting


def _is_ours(message: RemoteMessage, inventory: Inventory) -> bool:
    known = inventory.messages.get(message.uid)
    return known is not None and known.state in _HELD_BY_US


def _obstacle(message: RemoteMessage, known: Known | None) -> str | None:
    """Why this message must stay whatever the settings say."""
    if known is None or known.state not in _HELD_BY_US:
        return "not fetched yet"
    if message.ambiguous:
        return "the server gave its unique id to several messages"
    if is_another(message, known.size):
        return "not the message that is stored by this unique id"
    if known.damaged:
        return "the stored copy is damaged"
    return None if known.settled else "delivery outstanding"


def _foreseen(
    known: Known,
    leave: Leave,
    due: datetime | None,
    last_run_at: datetime | None,
    *,
    displaced: bool,
) -> bool:
    """Would the last run, under these settings, have expected this message to go?"""
    if known.rules != fingerprint(leave):
        return False
    if leave == "none":
        return True
    if last_run_at is None:
        return False
    # An old message that leaves because this run's arrivals pushed it out is
    # how `newest` and `max_size` work from day to day.
    return displaced or (due is not None and due <= last_run_at + FORESIGHT)


def _sentence(listing: Listing, count: int, allowed: int) -> str:
    return (
        f"{count} of {len(listing.messages)} messages would leave the server unexpectedly, more "
        f"than the {allowed} that may go at once; nothing of that was removed: "
        "run 'fetchd plan' to see them and 'fetchd sync --confirm-retire' if that is right"
    )


def _known_size(inventory: Inventory, message: RemoteMessage) -> int:
    known = inventory.messages.get(message.uid)
    return known.size if known else 0


def _days(age: timedelta | None) -> str:
    days = (age or timedelta()) / timedelta(days=1)
    return f"{days:g} day{'' if days == 1 else 's'}"
