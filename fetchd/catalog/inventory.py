"""What is known of mailboxes and messages: the facts that decisions are made from.

Questions about many messages are asked in bulk and answered with plain values;
a mailbox of 100,000 messages is one query.
"""

import sys
from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

from fetchd.catalog.database import Catalog
from fetchd.catalog.recording import mailbox_id
from fetchd.contracts import Location, SegmentFacts
from fetchd.instants import micros, micros_or_none, moment, moment_or_none
from fetchd.policy.plan import Candidate, Inventory, Known, RemoteMessage, RemoteState
from fetchd.values import Struct

READABLE = "segment_id IS NOT NULL AND damaged = 0 AND expired = 0"
SETTLED = "state IN ('delivered', 'dropped')"

_KNOWN = """
SELECT r.uid, r.state, r.size, r.first_seen, r.digest,
    CASE WHEN r.state = 'retiring' THEN m.header_digest END, r.rules,
    CASE WHEN r.digest IS NULL OR m.expired = 1 THEN 0 WHEN m.segment_id IS NULL THEN 1
        ELSE m.damaged END,
    r.retry_at, r.reason, r.attempts, r.flags, r.labels, {} FROM remote_message r
    LEFT JOIN message m ON m.digest = r.digest
WHERE r.mailbox_id = (SELECT id FROM mailbox WHERE account = ? AND name = ?) AND {}"""
_STATE = (
    "SELECT listing_digest, asked_digest, rules, next_due, on_server, on_server_octets,"
    " last_run_at, caught_up, name FROM mailbox"
)
_PRESENT = "r.state IN ('stored', 'quarantined', 'retiring')"


class MailboxState(Struct, frozen=True):
    """What the last run left behind about a mailbox; all empty before the first."""

    listing_digest: bytes | None = None
    asked_digest: bytes | None = None
    rules: str = ""
    next_due: datetime | None = None
    on_server: int = 0
    on_server_octets: int = 0
    last_run_at: datetime | None = None
    caught_up: bool = False  # all that was there when we first looked is home

    def recognises(self, rules: str, now: datetime) -> bytes | None:
        """The digest of a listing of which nothing is left to be done, or None.

        None too where the settings have changed since, or a message falls due.
        """
        due = self.next_due is not None and self.next_due <= now
        return self.listing_digest if self.rules == rules and not due else None


def inventory(
    catalog: Catalog,
    account: str,
    mailbox: str,
    listed: Collection[bytes] = (),
    *,
    arrivals: bool = False,
    only_listed: bool = False,
) -> Inventory:
    """What should be on the server, and what is remembered of other uids that are `listed`.

    `only_listed`: nothing else, for a listing that tells only what has changed.

    The long past (retired, gone) is only looked up by the uids of the listing:
    it may be many times the size of the mailbox. A hundred thousand messages have to
    fit into little memory: `arrived` is told only if asked for, the header digest
    only of those we asked the server to drop.
    """
    owed = catalog.rows(
        "SELECT digest, key FROM delivery WHERE state IN ('pending', 'deferred', 'failed')"
    )
    unsettled, keys = {row[0] for row in owed}, {row[1] for row in owed}
    more = ("coalesce(r.arrived, m.internal_date)" if arrivals else "NULL") + (
        ", m.copy_key" if keys else ", NULL"
    )
    place = (account, mailbox)
    present = () if only_listed else catalog.scan(_KNOWN.format(more, _PRESENT), place)
    known = {row[0]: _known(row, unsettled, keys) for row in present}
    strange = [uid for uid in listed if uid not in known]
    past = _KNOWN.format(more, "r.uid IN ({})")
    known |= {row[0]: _known(row, unsettled, keys) for row in catalog.each(past, strange, place)}
    return Inventory(known)


def _known(row: tuple[Any, ...], unsettled: set[bytes], keys: set[str]) -> Known:
    _, state, size, seen, digest, header, rules, damaged, retry, reason, tries, *tail = row
    flags, labels, arrived, copy = tail
    return Known(
        state=RemoteState(state),
        size=size,
        first_seen=_instant(seen),
        digest=digest,
        header_digest=header,
        rules=sys.intern(rules),
        # A lookalike that was passed over shares the key of the one that is owed.
        settled=digest not in unsettled and not (copy and copy.hex()[:32] in keys),
        damaged=damaged == 1,
        retry_at=moment_or_none(retry),
        reason=reason,
        attempts=tries,
        arrived=moment_or_none(arrived),
        flags=sys.intern(flags),
        labels=sys.intern(labels),
    )


@lru_cache(64)
def _instant(stored: int) -> datetime:
    return moment(stored)  # a batch shares one


def candidates(
    catalog: Catalog, account: str, headers: Iterable[bytes]
) -> dict[bytes, tuple[Candidate, ...]]:
    """Readable messages of an account with these header digests, for `policy.plan.adopt`."""
    found: dict[bytes, dict[bytes, set[int]]] = defaultdict(dict)
    stored = (
        "SELECT header_digest, digest, size FROM message"  # noqa: S608
        f" WHERE {READABLE} AND header_digest IN ({{}})"
    )
    sizes: dict[bytes, set[int]] = {}
    for header, digest, octets in catalog.each(stored, headers):
        found[header][digest] = sizes[digest] = {octets}
    ours = set()
    listed = (
        "SELECT r.digest, r.size FROM remote_message r JOIN mailbox b ON b.id = r.mailbox_id"
        " WHERE b.account = ? AND r.digest IN ({})"
    )
    for digest, size in catalog.each(listed, sizes, before=(account,)):
        sizes[digest].add(size)
        ours.add(digest)
    return {
        header: tuple(Candidate(d, frozenset(s)) for d, s in by_digest.items() if d in ours)
        for header, by_digest in found.items()
        if ours & by_digest.keys()
    }


def mailbox_state(catalog: Catalog, account: str, mailbox: str) -> MailboxState:
    rows = catalog.rows(f"{_STATE} WHERE account = ? AND name = ?", (account, mailbox))
    return _state(rows[0]) if rows else MailboxState()


def _state(row: tuple[Any, ...]) -> MailboxState:
    listing, asked, rules, due, count, octets, run, caught_up, _ = row
    due, run = moment_or_none(due), moment_or_none(run)
    return MailboxState(listing, asked, rules, due, count, octets, run, bool(caught_up))


def knows_listing(catalog: Catalog, account: str) -> bool:
    """Whether a listing of the account may turn out to be unchanged."""
    sql = "SELECT 1 FROM mailbox WHERE account = ? AND listing_digest NOTNULL LIMIT 1"
    return bool(catalog.rows(sql, (account,)))


def save_mailbox_state(catalog: Catalog, account: str, mailbox: str, state: MailboxState) -> None:
    with catalog.transaction(durable=False) as db:
        box = mailbox_id(db, account, mailbox)
        # Damage that was found meanwhile needs a close look, whatever the run thought.
        damaged = catalog.rows("SELECT digest FROM message WHERE damaged = 1")
        spoilt = damaged and catalog.each(
            "SELECT 1 FROM remote_message WHERE mailbox_id = ? AND digest IN ({})",
            [row[0] for row in damaged],
            before=(box,),
        )
        db.execute(
            "UPDATE mailbox SET listing_digest = ?, rules = ?, next_due = ?, on_server = ?,"
            " on_server_octets = ?, last_run_at = ?, caught_up = max(caught_up, ?) WHERE id = ?",
            (
                None if spoilt else state.listing_digest,
                state.rules,
                micros_or_none(state.next_due),
                state.on_server,
                state.on_server_octets,
                micros_or_none(state.last_run_at),
                state.caught_up,
                box,
            ),
        )


def mailbox_states(catalog: Catalog, account: str) -> dict[str, MailboxState]:
    """The state of every mailbox of an account."""
    rows = catalog.rows(f"{_STATE} WHERE account = ?", (account,))
    return {row[-1]: _state(row) for row in rows}


def reflag(catalog: Catalog, account: str, mailbox: str, messages: Iterable[RemoteMessage]) -> None:
    """The server tells other flags of them than before."""
    with catalog.transaction() as db:
        box = mailbox_id(db, account, mailbox)
        db.executemany(
            "UPDATE remote_message SET flags = ?, labels = ? WHERE mailbox_id = ? AND uid = ?",
            [(m.flags, m.labels, box, m.uid) for m in messages],
        )


def holders(
    catalog: Catalog, account: str, mailbox: str, digests: Iterable[bytes] | None = None
) -> dict[bytes, tuple[bytes, str]]:
    """Digest and flags of what should be in a mailbox, by uid; with `digests` only of these."""
    box = "SELECT id FROM mailbox WHERE account = ? AND name = ?"
    sql = (
        "SELECT uid, digest, flags FROM remote_message r"  # noqa: S608
        f" WHERE mailbox_id = ({box}) AND digest NOTNULL AND {_PRESENT}"
    )
    place = (account, mailbox)
    rows = (
        catalog.rows(sql, place)
        if digests is None
        else catalog.each(sql + " AND digest IN ({})", digests, before=place)
    )
    return {uid: (digest, flags) for uid, digest, flags in rows}


def retired(
    catalog: Catalog, account: str, mailbox: str, digests: Iterable[bytes]
) -> frozenset[bytes]:
    """The uids that these messages had in a mailbox when the server dropped them for us."""
    sql = (
        "SELECT r.uid FROM remote_message r JOIN mailbox b ON b.id = r.mailbox_id"
        " WHERE b.account = ? AND b.name = ? AND r.state = 'retired' AND r.digest IN ({})"
    )
    return frozenset(row[0] for row in catalog.each(sql, digests, before=(account, mailbox)))


def by_object(catalog: Catalog, account: str, objects: Iterable[str]) -> dict[str, bytes]:
    """What is readable of these objects of the account (EMAILID), its digest."""
    sql = (
        "SELECT r.object_id, r.digest FROM remote_message r JOIN mailbox b ON b.id = r.mailbox_id"  # noqa: S608
        f" JOIN message m ON m.digest = r.digest WHERE b.account = ? AND {READABLE}"
        " AND r.object_id <> '' AND r.object_id IN ({})"
    )
    return dict(catalog.each(sql, objects, before=(account,)))


def mark_gone(catalog: Catalog, account: str, mailbox: str, uids: Iterable[bytes]) -> None:
    """They vanished from the server, and not by our doing."""
    _mark(catalog, account, mailbox, uids, RemoteState.GONE, None)


def mark_retiring(
    catalog: Catalog, account: str, mailbox: str, uids: Iterable[bytes], listing: bytes
) -> None:
    """We are about to ask the server to drop them; the answer may never reach us.

    `listing` is the digest of the listing that named them: should the next one be
    the same, nothing was dropped.
    """
    with catalog.transaction() as db:
        _mark(catalog, account, mailbox, uids, RemoteState.RETIRING, None)
        db.execute(
            "UPDATE mailbox SET asked_digest = ? WHERE id = ?",
            (listing, mailbox_id(db, account, mailbox)),
        )


def mark_stored(catalog: Catalog, account: str, mailbox: str, uids: Iterable[bytes]) -> None:
    """Asked for, but seen on the server again: the removal did not happen."""
    _mark(catalog, account, mailbox, uids, RemoteState.STORED, None)


def mark_retired(
    catalog: Catalog, account: str, mailbox: str, uids: Iterable[bytes], now: datetime
) -> None:
    """The server confirmed that it dropped them."""
    _mark(catalog, account, mailbox, uids, RemoteState.RETIRED, now)


def _mark(
    catalog: Catalog,
    account: str,
    mailbox: str,
    uids: Iterable[bytes],
    state: RemoteState,
    now: datetime | None,
) -> None:
    with catalog.transaction() as db:
        box = mailbox_id(db, account, mailbox)
        at = micros_or_none(now)
        db.executemany(
            "UPDATE remote_message SET state = ?, retired_at = ? WHERE mailbox_id = ? AND uid = ?",
            [(str(state), at, box, uid) for uid in uids],
        )


def quarantine(
    catalog: Catalog,
    account: str,
    mailbox: str,
    message: RemoteMessage,
    reason: str,
    retry_at: datetime,
    now: datetime,
) -> int:
    """Set a message aside that the server would not hand over; how often it was tried."""
    with catalog.transaction(durable=False) as db:
        box = mailbox_id(db, account, mailbox)
        db.execute(
            "INSERT INTO remote_message (mailbox_id, uid, size, state, first_seen, attempts,"
            " retry_at, reason) VALUES (?,?,?,'quarantined',?,1,?,?)"
            " ON CONFLICT (mailbox_id, uid) DO UPDATE SET state = 'quarantined',"
            " attempts = remote_message.attempts + 1, retry_at = excluded.retry_at,"
            " reason = excluded.reason",
            (box, message.uid, message.size, micros(now), micros(retry_at), reason),
        )
        row = db.execute(
            "SELECT attempts FROM remote_message WHERE mailbox_id = ? AND uid = ?",
            (box, message.uid),
        ).fetchone()
        return int(row[0])


def known_digests(catalog: Catalog, digests: Iterable[bytes]) -> set[bytes]:
    """Those of them whose octets the archive can give."""
    sql = f"SELECT digest FROM message WHERE {READABLE} AND digest IN ({{}})"  # noqa: S608
    return {row[0] for row in catalog.each(sql, digests)}


def let_go(catalog: Catalog, digests: Iterable[bytes]) -> set[bytes]:
    """Those of them whose octets `keep` let expire."""
    sql = "SELECT digest FROM message WHERE expired = 1 AND digest IN ({})"
    return {row[0] for row in catalog.each(sql, digests)}


def locations(catalog: Catalog, digests: Iterable[bytes]) -> dict[bytes, tuple[Location, int]]:
    """Where the octets are, and how many; those without are left out."""
    sql = (
        "SELECT m.digest, s.path, m.frame_offset, m.frame_length, m.inner, m.size"
        " FROM message m JOIN segment s ON s.id = m.segment_id"
        " WHERE m.expired = 0 AND m.digest IN ({})"
    )
    return {row[0]: (Location(*row[1:5]), row[5]) for row in catalog.each(sql, digests)}


def doubt_all(catalog: Catalog) -> None:
    """What was fetched is known, and whether it still is on the server is not."""
    with catalog.transaction() as db:
        db.execute("UPDATE remote_message SET state = 'retiring' WHERE state = 'stored'")


def restamp(catalog: Catalog, account: str, mailbox: str, rules: str) -> None:
    """A whole run went by under these settings unbraked: they are foreseen from now on."""
    with catalog.transaction() as db:
        db.execute(
            "UPDATE remote_message SET rules = ? WHERE mailbox_id = ? AND state = 'stored'"
            " AND rules <> ?",
            (rules, mailbox_id(db, account, mailbox), rules),
        )


def archive_octets(catalog: Catalog) -> int:
    """How long all segments are together."""
    return int(catalog.rows("SELECT coalesce(sum(length), 0) FROM segment")[0][0])


def segment_facts(catalog: Catalog) -> dict[str, SegmentFacts]:
    """The recorded valid length of every segment, and whether it may still grow."""
    rows = catalog.rows("SELECT path, length, sealed FROM segment")
    return {path: SegmentFacts(length, bool(sealed)) for path, length, sealed in rows}
