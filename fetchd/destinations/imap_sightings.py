"""Whether messages stand in a mailbox already, asked of the server: before a delivery is repeated.

Nothing but the server knows what became of an APPEND whose answer was lost. A message is
recognised as `fetchd restore` does it: by Message-ID and header, and where it has no
Message-ID by header and size.

A look has to be cheap, for after an outage each delivery of a backlog wants one. What came
last is listed (NEWEST UIDs), and of that only what is new since the last look of this
session; in what lies before, the server searches for the Message-IDs. A message without
one is therefore found among the newest only.

What this session itself has put, or has found for another delivery, stands for no second
one. A like message that somebody else put there does: whose it is cannot be told, and no
second copy is better than one too many.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from fetchd.contracts import Body
from fetchd.policy.mailboxes import Mailbox
from fetchd.policy.restoring import Copy, Present, doubtful, missing, sizes_as_served
from fetchd.protocol.imap.sequence import write_sets
from fetchd.sources.imap_listing import Place
from fetchd.sources.imap_upload import ImapTarget

NEWEST = 2000  # UIDs that are listed
_LINE = 900  # octets of one SEARCH, or of a set in FETCH (quirk 46)
_FOUND_AT_MOST = 5000  # messages with one of our Message-IDs; more is a server gone mad

Told = dict[int, tuple[int, str]]  # size and Message-ID, by UID


class Sightings:
    """One mailbox, as far as this session has looked."""

    def __init__(self, target: ImapTarget, mailbox: Mailbox) -> None:
        self._target, self._mailbox = target, mailbox
        self._may_search = True
        self._forget(0)

    def _forget(self, epoch: int) -> None:
        self._epoch = epoch
        self._told: Told = {}
        self._from = self._next = 0  # UIDs below and from which nothing was listed
        self._shown: dict[int, Present] = {}
        self._taken: set[int] = set()

    def put(self, uids: Iterable[int]) -> None:
        """We put these ourselves, for deliveries that have an outcome."""
        self._taken.update(uids)

    async def lacking(self, copies: Sequence[Copy], bodies: Mapping[bytes, Body]) -> list[Copy]:
        """Those that do not stand there."""
        place = await self._target.examine(self._mailbox)
        if place.uidvalidity != self._epoch:
            self._forget(place.uidvalidity)
        if not place.messages:
            return list(copies)
        await self._list(place)
        ids = {copy.message_id for copy in copies if copy.message_id}
        listed = {known for _, known in self._told.values()}
        older = await self._older(ids - listed) if self._from > 1 else {}
        told = self._told | older
        near = {uid: one for uid, one in told.items() if not one[1] or one[1] in ids}
        present = await self._headers({uid: near[uid] for uid in near if uid not in self._taken})
        unsure = doubtful(copies, present.values())
        sizes = await asyncio.to_thread(_sizes, unsure, bodies) if unsure else {}
        left = missing(copies, present.values(), sizes)
        lacking = {id(copy) for copy in left}  # two deliveries may have equal copies
        self._take(present, [copy for copy in copies if id(copy) not in lacking])
        return left

    async def _list(self, place: Place) -> None:
        """The Message-IDs of the newest, or of what came since the last look."""
        few = place.messages <= NEWEST or not place.uidnext
        if not self._next:
            self._from = 1 if few else max(1, place.uidnext - NEWEST)
        since = max(self._from, self._next)
        if not place.uidnext or since < place.uidnext:
            self._told |= await self._target.message_ids(self._mailbox, b"%d:*" % since)
        self._next = place.uidnext
        if len(self._told) > 2 * NEWEST and self._may_search:
            kept = sorted(self._told)[-NEWEST:]
            self._from = kept[0]
            self._told = {uid: self._told[uid] for uid in kept}
            self._taken = {uid for uid in self._taken if uid >= self._from}
            self._shown = {uid: one for uid, one in self._shown.items() if uid >= self._from}

    async def _older(self, ids: Iterable[str]) -> Told:
        """What lies before the listed and has one of these; where the server will not search,
        all of it is listed, once."""
        below = b"1:%d" % (self._from - 1)
        uids: set[int] = set()
        for group in _groups(sorted(ids)):
            ors = b"OR HEADER MESSAGE-ID %s " * (len(group) - 1)
            found = await self._target.search(
                b"UID %b %bHEADER MESSAGE-ID %%s" % (below, ors), *group
            )
            if found is None:
                self._may_search, self._from = False, 1
                self._told |= await self._target.message_ids(self._mailbox, below)
                return self._told
            if sum(one.count for one in found) > _FOUND_AT_MOST:
                continue
            uids.update(uid for one in found for uid in one if uid < self._from)
        told: Told = {}
        for some in write_sets(uids, _LINE):
            told |= await self._target.message_ids(self._mailbox, some)
        return told

    async def _headers(self, near: Told) -> dict[int, Present]:
        fresh = [uid for uid in near if uid not in self._shown]
        if fresh:
            self._shown |= await self._target.shown(near, fresh)
        return {uid: self._shown[uid] for uid in near if uid in self._shown}

    def _take(self, present: Mapping[int, Present], found: Iterable[Copy]) -> None:
        """Each found message stands for one delivery."""
        for copy in found:
            alike = (
                uid
                for uid, one in present.items()
                if uid not in self._taken
                and (one.message_id, one.header_digest) == (copy.message_id, copy.header_digest)
            )
            uid = next(alike, None)
            if uid is not None:
                self._taken.add(uid)


def _groups(ids: Sequence[str]) -> Iterable[tuple[bytes, ...]]:
    """Message-IDs for one SEARCH each; what is not ASCII would need a charset."""
    group: list[bytes] = []
    for word in (max(one.split(), key=len) for one in ids):
        if not word.isascii():
            continue
        if group and sum(len(one) + 25 for one in group) + len(word) > _LINE:
            yield tuple(group)
            group = []
        group.append(word.encode())
    if group:
        yield tuple(group)


def _sizes(copies: Iterable[Copy], bodies: Mapping[bytes, Body]) -> dict[bytes, set[int]]:
    """Under which sizes a server may show these. Blocking."""
    return {copy.digest: sizes_as_served(bodies[copy.digest].chunks()) for copy in copies}
