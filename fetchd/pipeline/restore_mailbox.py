"""One archived mailbox put back on a server: looked up, compared, sent.

What is there already is asked of the server, never remembered, so a restore that was
interrupted goes on where it stopped, also behind an APPEND whose answer was lost. Octets
are read from the archive, hashed, and only then sent. What cannot be put back becomes a
`Trouble`, and the rest goes on; of a batch that is refused, halves are tried until the
one message is found.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from fetchd.catalog import inventory as inventories
from fetchd.catalog import restoring
from fetchd.contracts import Body, Location
from fetchd.errors import ArchiveDamaged, FetchdError, MailboxUnavailable
from fetchd.pipeline.allowance import Allowance
from fetchd.pipeline.storage import Storage
from fetchd.policy.mailboxes import Mailbox
from fetchd.policy.restoring import (
    Copy,
    doubtful,
    kept_flags,
    missing,
    role_of,
    sizes_as_served,
    stood_at_once,
    target_path,
)
from fetchd.sources.imap_upload import ImapTarget, Letter, Refusal, Terms, Why
from fetchd.values import Struct

BATCH_OCTETS = 4 << 20  # of one APPEND, unless it is one message
BATCH_MESSAGES = 200

Located = Mapping[bytes, tuple[Location, int]]


class Kind(StrEnum):
    """Why a message cannot be put back."""

    DAMAGED = "damaged"
    TOO_LARGE = "too-large"
    IMPOSSIBLE = "impossible"
    REFUSED = "refused"


class Trouble(Struct, frozen=True):
    """One message that cannot be put back; `id` and `subject` are for `fetchd show`."""

    kind: Kind
    id: int
    digest: bytes
    subject: str
    reason: str


@dataclass(slots=True)
class MailboxReport:
    """What became of one mailbox, or with `dry_run`, what would.

    `create`: it was not there. `gone`: messages whose octets `archive.keep` let expire.
    `flags_dropped`: flags that the target does not keep. `done`: nothing is left to do.
    """

    mailbox: str
    target: str = ""
    create: bool = False
    put: int = 0
    octets: int = 0
    present: int = 0
    gone: int = 0
    flags_dropped: int = 0
    troubles: list[Trouble] = field(default_factory=list)
    failure: FetchdError | None = None
    done: bool = False
    _looked: bool = field(default=False, init=False)
    _present_octets: int = field(default=0, init=False)

    @property
    def ok(self) -> bool:
        """All that the archive has stands there."""
        return self.done and self.failure is None and not self.troubles

    def look(self, copies: Sequence[Copy], left: Sequence[Copy]) -> None:
        """What is there now; at a second look, what we have put there as well."""
        there = len(copies) - len(left)
        octets = sum(copy.size for copy in copies) - sum(copy.size for copy in left)
        if not self._looked:
            self.present, self._present_octets, self._looked = there, octets, True
        self.put = there - self.present
        self.octets = octets - self._present_octets
        self.troubles.clear()


@dataclass(slots=True)
class Work:
    """What all mailboxes of one restore share.

    `in_flight` are the messages whose answer is due: where the line broke, if it breaks.
    `careful`: so many are to be sent one at a time. `aside`: messages, by mailbox and
    digest, at which it broke again and again, and why.
    """

    storage: Storage
    spool: Path
    account: str
    since: datetime | None
    into: str
    dry_run: bool
    stop: asyncio.Event
    allowance: Allowance
    expect: Callable[[int, int], None]
    done: Callable[[int, int], None]
    in_flight: tuple[str, tuple[Copy, ...]] = ("", ())
    careful: int = 0
    aside: dict[tuple[str, bytes], str] = field(default_factory=dict)


async def restore_mailbox(work: Work, target: ImapTarget, report: MailboxReport) -> None:
    """Put back what is missing; MailboxUnavailable where the mailbox takes nothing."""
    mailbox, there = target.place(target_path(report.mailbox, work.into))
    report.target = mailbox.name
    report.create = report.create or not there
    copies = await work.storage.blocking(_copies, work, report.mailbox)
    left = await _missing(work, target, mailbox, copies) if there else copies
    report.look(copies, left)
    located: Located = await work.storage.blocking(
        inventories.locations, work.storage.catalog, [copy.digest for copy in left]
    )
    wanted = [copy for copy in left if copy.digest in located]
    report.gone = len(left) - len(wanted)
    report.done = not wanted
    if wanted:
        terms = await _terms(work, target, mailbox, report, there=there)
        work.expect(len(wanted), sum(copy.size for copy in wanted))
        sending = _Sending(work, target, mailbox, report, terms, located)
        report.done = await sending.send(wanted)


async def _terms(
    work: Work, target: ImapTarget, mailbox: Mailbox, report: MailboxReport, *, there: bool
) -> Terms:
    """The mailbox, there for sure unless nothing is to be done, and what it takes."""
    if work.dry_run:
        return Terms(None, await target.limit(mailbox if there else None))
    if not there:
        await target.create(mailbox, role_of(report.mailbox))
    return await target.terms(mailbox)


async def _missing(
    work: Work, target: ImapTarget, mailbox: Mailbox, copies: Sequence[Copy]
) -> list[Copy]:
    ids = {copy.message_id for copy in copies if copy.message_id}
    present = await target.present(mailbox, ids)
    unsure = doubtful(copies, present)
    sizes = await work.storage.blocking(_other_sizes, work, unsure) if unsure else {}
    return missing(copies, present, sizes)


def _copies(work: Work, mailbox: str) -> list[Copy]:
    seen = restoring.sightings(work.storage.catalog, work.account, mailbox, work.since)
    return stood_at_once(seen)


def _other_sizes(work: Work, copies: Sequence[Copy]) -> dict[bytes, set[int]]:
    """Under which sizes a server may show these; none for what cannot be read."""
    located = inventories.locations(work.storage.catalog, {copy.digest for copy in copies})
    sizes: dict[bytes, set[int]] = {}
    for digest, (location, size) in located.items():
        try:
            body = work.storage.archive.body(location, size, work.spool)
        except ArchiveDamaged:
            continue
        try:
            sizes[digest] = sizes_as_served(body.chunks())
        finally:
            body.discard()
    return sizes


class _Sending:
    """The messages of one mailbox on their way."""

    def __init__(
        self,
        work: Work,
        target: ImapTarget,
        mailbox: Mailbox,
        report: MailboxReport,
        terms: Terms,
        located: Located,
    ) -> None:
        self._work, self._target, self._mailbox = work, target, mailbox
        self._report, self._terms, self._located = report, terms, located
        self._many = target.offers("MULTIAPPEND")
        self._room: int | None = None  # a message of so many octets is over quota
        self._created_again = False

    async def send(self, copies: Sequence[Copy]) -> bool:
        """All of them, in order; False if a stop was asked for before the last one."""
        batch: list[tuple[Copy, Letter]] = []
        try:
            for copy in copies:
                if self._is_full(batch, copy):
                    await self._put(batch)
                    _discard(batch)
                if self._work.stop.is_set():
                    return False
                letter = await self._letter(copy)
                if letter is not None:
                    batch.append((copy, letter))
            await self._put(batch)
            return True
        finally:
            _discard(batch)

    def _is_full(self, batch: Sequence[tuple[Copy, Letter]], copy: Copy) -> bool:
        """Whether the next message has to wait for another batch."""
        at_once = BATCH_MESSAGES if self._many and not self._work.careful else 1
        octets = sum(one.size for one, _ in batch)
        return bool(batch) and (len(batch) >= at_once or octets + copy.size > BATCH_OCTETS)

    async def _letter(self, copy: Copy) -> Letter | None:
        """The message as it is to be sent; None, and a trouble, where it cannot be."""
        trouble = self._hopeless(copy)
        if trouble is None:
            try:
                body, nul = await self._work.storage.blocking(self._read, copy)
            except ArchiveDamaged as damage:
                trouble = Kind.DAMAGED, str(damage)
            else:
                if not nul or self._target.offers("BINARY"):
                    flags = kept_flags(copy.flags, self._terms.permanent)
                    return Letter(body, flags, copy.date, nul)
                body.discard()
                trouble = Kind.IMPOSSIBLE, "it holds NUL octets, and the server has no BINARY"
        await self._tell(copy, *trouble)
        return None

    def _hopeless(self, copy: Copy) -> tuple[Kind, str] | None:
        """Why there is no use in reading it."""
        if reason := self._work.aside.get((self._report.mailbox, copy.digest)):
            return Kind.REFUSED, reason
        limit = self._terms.limit
        if limit is not None and copy.size > limit:
            return Kind.TOO_LARGE, f"{copy.size:,} octets; the server takes {limit:,} (APPENDLIMIT)"
        if self._room is not None and copy.size >= self._room:
            return Kind.REFUSED, "no room for it, nor for a smaller one before it"
        if not copy.size:
            return Kind.IMPOSSIBLE, "it is empty, and APPEND takes nothing empty (RFC 3502)"
        return None

    def _read(self, copy: Copy) -> tuple[Body, bool]:
        """The octets as they were stored, and whether a NUL is among them."""
        location, size = self._located[copy.digest]
        body = self._work.storage.archive.body(location, size, self._work.spool)
        digest, nul = hashlib.sha256(), False
        for piece in body.chunks():
            digest.update(piece)
            nul = nul or b"\0" in piece
        if digest.digest() != copy.digest:
            body.discard()
            raise ArchiveDamaged("its octets do not have the digest of what was stored")
        return body, nul

    async def _put(self, items: Sequence[tuple[Copy, Letter]]) -> None:
        """Send them at once, or, if the server will not have that, find out which."""
        items = await self._with_room(items)
        if not items or self._work.dry_run:
            self._note(items)
            return
        octets = sum(copy.size for copy, _ in items)
        if not self._work.allowance.takes_all(octets, len(items)):
            await self._put_halves(items)
            return
        self._work.in_flight = self._report.mailbox, tuple(copy for copy, _ in items)
        refusal = await self._target.append(self._mailbox, [letter for _, letter in items])
        self._work.in_flight = "", ()
        await self._work.allowance.checkpoint()
        self._work.careful = max(self._work.careful - len(items), 0)
        if refusal is None:
            self._note(items)
        elif refusal.why is Why.NO_MAILBOX:
            await self._create_again(refusal)
            await self._put(items)
        elif len(items) > 1:
            await self._put_halves(items)
        else:
            await self._give_up(items[0][0], refusal)

    async def _put_halves(self, items: Sequence[tuple[Copy, Letter]]) -> None:
        for part in (items[: len(items) // 2], items[len(items) // 2 :]):
            await self._put(part)

    async def _with_room(
        self, items: Sequence[tuple[Copy, Letter]]
    ) -> Sequence[tuple[Copy, Letter]]:
        """Without those that were waiting when a smaller one was refused."""
        fitting = []
        for item in items:
            if hopeless := self._hopeless(item[0]):
                await self._tell(item[0], *hopeless)
            else:
                fitting.append(item)
        return fitting

    async def _create_again(self, refusal: Refusal) -> None:
        """Somebody removed it meanwhile, once."""
        if self._created_again:
            raise MailboxUnavailable(
                f"the mailbox '{self._mailbox.name}' takes no mail: {refusal.text}"
            )
        self._created_again = True
        await self._target.create(self._mailbox, role_of(self._report.mailbox))

    async def _give_up(self, copy: Copy, refusal: Refusal) -> None:
        if refusal.why is Why.NO_ROOM:
            self._room = copy.size
        kind = Kind.TOO_LARGE if refusal.why is Why.TOO_LARGE else Kind.REFUSED
        await self._tell(copy, kind, f"the server says: {refusal.text}")

    def _note(self, items: Sequence[tuple[Copy, Letter]]) -> None:
        octets = sum(copy.size for copy, _ in items)
        self._report.put += len(items)
        self._report.octets += octets
        for copy, letter in items:
            wanted = [flag for flag in copy.flags.split() if flag.lower() != "\\recent"]
            self._report.flags_dropped += len(wanted) - len(letter.flags)
        self._work.done(len(items), octets)

    async def _tell(self, copy: Copy, kind: Kind, reason: str) -> None:
        storage = self._work.storage
        titles = await storage.blocking(restoring.titles, storage.catalog, [copy.digest])
        title = titles[copy.digest]
        self._report.troubles.append(Trouble(kind, title.id, copy.digest, title.subject, reason))
        self._work.done(1, copy.size)


def _discard(batch: list[tuple[Copy, Letter]]) -> None:
    for _, letter in batch:
        letter.body.discard()
    batch.clear()
