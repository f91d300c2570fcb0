"""What has changed in an account, told from the catalog: nothing is news that is not stored.

A ledger remembers what the catalog knew and compares it with what it knows now, so it
does not matter which process synced meanwhile. Only mailboxes whose state has moved are
compared. Blocking; for a thread.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum

from fetchd.catalog import changes
from fetchd.catalog.changes import Described, Places
from fetchd.catalog.database import Catalog
from fetchd.catalog.inventory import MailboxState, mailbox_states
from fetchd.policy.plan import RemoteState
from fetchd.values import Struct


class What(StrEnum):
    """What became of one message in one mailbox."""

    NEW = "new"
    FLAGS = "flags"
    GONE = "gone"  # by somebody else's doing
    RETIRED = "retired"  # by ours, as `leave_on_server` wants it


class News(Struct, frozen=True):
    """One change. `flags` are those it has now, or had last; the others only FLAGS has."""

    at: datetime  # when it was found
    mailbox: str
    what: What
    uid: bytes
    message: Described
    flags: tuple[str, ...]
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()


class Ledger:
    """What the catalog knew of an account when it was last looked at."""

    def __init__(self, catalog: Catalog, account: str) -> None:
        self._catalog, self._account = catalog, account
        self._states = mailbox_states(catalog, account)
        self._places = {name: changes.places(catalog, account, name) for name in self._states}

    def compare(self, now: datetime) -> Iterator[News]:
        """All that is other than at the last look; to be read to its end."""
        before, self._states = self._states, mailbox_states(self._catalog, self._account)
        for name, state in self._states.items():
            if not _stands(state, before.get(name)):
                yield from self._compare(name, now)

    def _compare(self, mailbox: str, now: datetime) -> Iterator[News]:
        before = self._places.get(mailbox, Places())
        after = changes.places(self._catalog, self._account, mailbox, before.until)
        self._places[mailbox] = after
        known, there = before.present, after.present | after.retired
        new = [uid for uid in there if uid not in known]
        flagged = [uid for uid, flags in after.present.items() if known.get(uid, flags) != flags]
        gone = [uid for uid in known if uid not in after.present]
        what = changes.described(self._catalog, self._account, mailbox, [*new, *flagged, *gone])
        renumbered = _renumbered(new, gone, what)
        for uid, message in what.items():
            if uid in renumbered:
                continue
            flags, old = there.get(uid, ""), known.get(uid, "")
            if uid not in known:
                yield _news(now, mailbox, What.NEW, uid, message, flags)
            elif uid in after.present:
                yield _reflagged(now, mailbox, uid, message, old, flags)
            if uid not in after.present:
                ours = message.state == RemoteState.RETIRED
                kind = What.RETIRED if ours else What.GONE
                yield _news(now, mailbox, kind, uid, message, flags or old)


def _stands(state: MailboxState, before: MailboxState | None) -> bool:
    """Whether nothing can have changed: a mailbox without a mark is always looked at."""
    return (
        before is not None
        and state.listing_digest is not None
        and state.listing_digest == before.listing_digest
        and state.on_server == before.on_server
    )


def _renumbered(
    new: list[bytes], gone: list[bytes], what: Mapping[bytes, Described]
) -> frozenset[bytes]:
    """Uids that only took the place of others (UIDVALIDITY): no news for anybody."""
    left: dict[bytes, list[bytes]] = {}
    for uid in gone:
        if uid in what:
            left.setdefault(what[uid].digest, []).append(uid)
    found: set[bytes] = set()
    for uid in new:
        if uid in what and (others := left.get(what[uid].digest)):
            found |= {uid, others.pop()}
    return frozenset(found)


def _news(
    now: datetime, mailbox: str, what: What, uid: bytes, message: Described, flags: str
) -> News:
    return News(now, mailbox, what, uid, message, tuple(flags.split()))


def _reflagged(
    now: datetime, mailbox: str, uid: bytes, message: Described, old: str, flags: str
) -> News:
    was, now_has = old.split(), flags.split()
    added = tuple(flag for flag in now_has if flag not in was)
    dropped = tuple(flag for flag in was if flag not in now_has)
    return News(now, mailbox, What.FLAGS, uid, message, tuple(now_has), added, dropped)
