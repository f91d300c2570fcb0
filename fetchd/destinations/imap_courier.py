"""One connection to an IMAP server that mail is put into by APPEND (contracts.Courier).

Promises:

- Octets go out as they are stored. What the server cannot take (a NUL without BINARY, more
  octets than APPENDLIMIT) fails with a sentence and is not sent.
- A delivery that may have been made before is looked for first (`imap_sightings`).
- Several messages go in one APPEND where the server takes that (MULTIAPPEND, RFC 3502),
  all or none. Of a batch that is refused, halves are tried until the one message is
  found, and the rest is delivered.
- What is about one message is its outcome; what is about a mailbox defers the messages
  that are for it; what is about the account or the line is raised, unless some of what was
  given is accepted already: then the rest is deferred, and the next call raises.
- Where the line breaks between our last octet and the answer, nobody can know. Such
  messages are doubtful, and from then on go last and one by one: should the line have
  broken at one of them, the others still get there.

A label becomes a keyword. Gmail has labels of its own (X-GM-EXT-1), which are mailboxes:
there the message is copied to the mailbox of that name behind its APPEND, which gives it
the label and makes no second message. A message that has its mailbox and lacks its label
is delivered, and the reply says so.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

from fetchd.contracts import Outcome, Outgoing, Settled
from fetchd.destinations.imap_boxes import Box, Boxes, advised
from fetchd.destinations.imap_letters import Ready, read
from fetchd.destinations.imap_places import Place, Wish, has_keywords, place_for, wanted_flags
from fetchd.errors import ConnectionFailed, FetchdError, MailboxUnavailable
from fetchd.sources.imap_upload import ImapTarget, Letter, Refusal, Why
from fetchd.values import Struct

BATCH_MESSAGES = 50
BATCH_OCTETS = 4 << 20  # of one APPEND, unless it is one message
NO_ROOM_FOR = 60.0  # seconds in which nothing as large is sent to a mailbox over quota
PARTING = 5.0  # seconds for LOGOUT; nobody needs it

_TOO_LARGE = "Route large messages to another destination (larger = ...)."
_NUL = (
    "It holds NUL octets, and only a server with BINARY takes those (RFC 3516)."
    " Deliver it to a destination of another kind."
)


class Outbound(Struct, frozen=True):
    """One delivery on its way; `lacks_label`: the mailbox keeps no such keyword."""

    ready: Ready
    letter: Letter
    lacks_label: bool = False

    @property
    def item(self) -> Outgoing:
        """What it is about."""
        return self.ready.item

    @property
    def size(self) -> int:
        """In octets."""
        return self.ready.copy.size


class ImapCourier:
    """See the module; `suspects` are the keys of what lines broke at, shared by all couriers."""

    def __init__(self, target: ImapTarget, mailbox: str, wish: Wish, suspects: set[str]) -> None:
        self._target, self._mailbox, self._wish = target, mailbox, wish
        self._suspects = suspects
        self._boxes = Boxes(target)
        self._labels = target.offers("X-GM-EXT-1") and target.offers("UIDPLUS")
        self._many = target.offers("MULTIAPPEND")
        self._settled: dict[int, Settled] = {}
        self._in_flight: Sequence[Outbound] = ()
        self._fault: FetchdError | None = None
        self._used = False

    @property
    def in_doubt(self) -> bool:
        """Whether the server has all of some messages and owes its answer."""
        return bool(self._in_flight) and self._target.unanswered

    async def carry(self, letters: Sequence[Outgoing]) -> Sequence[Settled]:
        """As contracts.Courier says."""
        if self._fault is not None:
            raise self._fault
        self._settled = {}
        try:
            if self._used:  # a line may die while nobody looks, and APPEND would be in doubt
                await self._target.session.keep_alive()
            self._used = True
            await self._carry(letters)
        except FetchdError as error:
            self._end(error)
            if not any(_may_be_there(one) for one in self._settled.values()):
                raise
            self._put_off(letters, error.whole)
        except BaseException:
            self._end(ConnectionFailed(f"{self._target.where} was left in the middle of a word"))
            raise
        return [self._settled[one.id] for one in letters]

    async def close(self) -> None:
        """LOGOUT, or hang up."""
        session = self._target.session
        try:
            if not session.client.protocol.pending:
                async with asyncio.timeout(PARTING):
                    await session.close()
        except (FetchdError, TimeoutError):
            pass
        finally:
            await session.abort()

    # -- What becomes of it ---------------------------------------------------------

    def _note(
        self, item: Outgoing, outcome: Outcome, reply: str, *, doubtful: bool = False
    ) -> None:
        self._settled[item.id] = Settled(item.id, outcome, reply, doubtful)
        if outcome is not Outcome.DEFERRED:
            self._suspects.discard(item.key)

    def _put_off(self, items: Iterable[Outgoing], reply: str) -> None:
        """Those of them that have no outcome."""
        for item in items:
            if item.id not in self._settled:
                self._note(item, Outcome.DEFERRED, reply)

    def _end(self, error: FetchdError) -> None:
        """Nothing more goes over this line; what was sent whole and not answered is in doubt."""
        self._fault = error
        if self.in_doubt:
            reply = f"{error.whole} Whether it was accepted before that is not known."
            for one in self._in_flight:
                self._suspects.add(one.item.key)
                self._note(one.item, Outcome.DEFERRED, reply, doubtful=True)
        self._in_flight = ()

    # -- Mailbox by mailbox ------------------------------------------------------------

    async def _carry(self, letters: Sequence[Outgoing]) -> None:
        ready: list[Ready] = []
        for one in await asyncio.to_thread(lambda: [read(item) for item in letters]):
            if isinstance(one, Settled):
                self._settled[one.id] = one
            else:
                ready.append(one)
        suspects = [one for one in ready if one.item.key in self._suspects]
        others = [one for one in ready if one.item.key not in self._suspects]
        for place, group in self._by_place(others).items():
            await self._deliver(place, group, careful=False)
        for place, group in self._by_place(suspects).items():
            await self._deliver(place, group, careful=True)

    def _by_place(self, ready: Iterable[Ready]) -> dict[Place, list[Ready]]:
        places: dict[Place, list[Ready]] = {}
        for one in ready:
            item = one.item
            try:
                place = place_for(item.folder or self._mailbox, item.account, item.mailbox)
            except MailboxUnavailable as error:
                self._put_off([item], error.whole)
            else:
                places.setdefault(place, []).append(one)
        return places

    async def _deliver(self, place: Place, group: Sequence[Ready], *, careful: bool) -> None:
        """All that goes to one mailbox; where it takes nothing, only these have to wait."""
        try:
            box = await self._boxes.open(place)
            lacking = await self._not_there(box, group)
            outbound = [one for ready in lacking if (one := await self._outbound(box, ready))]
            for batch in _batches(outbound, BATCH_MESSAGES if self._many and not careful else 1):
                await self._put(box, batch)
        except MailboxUnavailable as error:
            self._boxes.forget(place)
            self._put_off((one.item for one in group), advised(error).whole)

    async def _not_there(self, box: Box, group: Sequence[Ready]) -> list[Ready]:
        """Without those that an earlier attempt has put there."""
        unsure = [one for one in group if one.item.doubtful or one.item.key in self._suspects]
        if not unsure:
            return list(group)
        bodies = {one.item.digest: one.item.body for one in unsure}
        left = await box.sightings.lacking([one.copy for one in unsure], bodies)
        lacking = {id(copy) for copy in left}
        found = {one.item.id for one in unsure if id(one.copy) not in lacking}
        for one in unsure:
            if one.item.id in found:
                self._note(one.item, Outcome.DELIVERED, "found there")
        return [one for one in group if one.item.id not in found]

    async def _outbound(self, box: Box, ready: Ready) -> Outbound | None:
        """As it is to be sent; None, and an outcome, where it cannot be."""
        item, size, where = ready.item, ready.copy.size, self._target.where
        if box.limit is not None and size > box.limit:
            limit = f"{where} takes messages of at most {box.limit:,} octets (APPENDLIMIT)"
            self._note(item, Outcome.FAILED, f"{limit}, and this one has {size:,}. {_TOO_LARGE}")
            return None
        if ready.nul and not self._target.offers("BINARY"):
            self._note(item, Outcome.FAILED, _NUL)
            return None
        keyword = "" if self._labels else item.label
        flags = wanted_flags(self._wish, item.flags, keyword)
        if has_keywords(flags):
            flags = await self._boxes.kept(box, flags)
        lacks_label = bool(keyword) and keyword not in flags
        return Outbound(ready, Letter(item.body, flags, ready.copy.date, ready.nul), lacks_label)

    # -- APPEND -------------------------------------------------------------------------

    async def _put(self, box: Box, batch: Sequence[Outbound]) -> None:
        """Send them at once, or, if the server will not have that, find out which."""
        batch = self._with_room(box, batch)
        if not batch:
            return
        refusal = await self._append(box, batch)
        if refusal is None:
            await self._accepted(box, batch)
        elif refusal.why is Why.NO_MAILBOX:
            await self._boxes.make_again(box, refusal)
            await self._put(box, batch)
        elif len(batch) > 1:
            half = len(batch) // 2
            await self._put(box, batch[:half])
            await self._put(box, batch[half:])
        else:
            self._refused(box, batch[0], refusal)

    async def _append(self, box: Box, batch: Sequence[Outbound]) -> Refusal | None:
        self._in_flight = batch
        try:
            refusal = await self._target.append(box.mailbox, [one.letter for one in batch])
        except OSError as error:  # of our own disk: the network's have become ConnectionFailed
            why = error.strerror or error
            raise ConnectionFailed(f"a message could not be read again: {why}") from error
        self._in_flight = ()
        return refusal

    def _with_room(self, box: Box, batch: Sequence[Outbound]) -> list[Outbound]:
        """Without those as large as what was refused for its size a moment ago."""
        if box.room is not None and _clock() >= box.room_until:
            box.room = None
        fitting = []
        for one in batch:
            if box.room is not None and one.size >= box.room:
                reply = f"There was no room in the mailbox '{box.mailbox.name}' for a smaller one."
                self._note(one.item, Outcome.DEFERRED, f"{reply} Make room there.")
            else:
                fitting.append(one)
        return fitting

    def _refused(self, box: Box, one: Outbound, refusal: Refusal) -> None:
        where, name = self._target.where, box.mailbox.name
        match refusal.why:
            case Why.NO_ROOM:
                box.room, box.room_until = one.size, _clock() + NO_ROOM_FOR
                reply = f"There is no room in the mailbox '{name}': {_ended(refusal.text)}"
                self._note(one.item, Outcome.DEFERRED, f"{reply} Make room there.")
            case Why.TOO_LARGE:
                reply = f"It is too large for {where}: {_ended(refusal.text)} {_TOO_LARGE}"
                self._note(one.item, Outcome.FAILED, reply)
            case Why.NEVER:
                reply = f"{where} refuses it for good: {_ended(refusal.text)}"
                self._note(one.item, Outcome.FAILED, reply)
            case _:
                reply = f"{where} does not take it now: {_ended(refusal.text)}"
                self._note(one.item, Outcome.DEFERRED, reply)

    async def _accepted(self, box: Box, batch: Sequence[Outbound]) -> None:
        answer = self._target.answer
        said = answer.text if answer is not None else ""
        uids = self._target.appended
        box.sightings.put(uids)
        for one in batch:
            more = f" It has no keyword '{one.item.label}': the mailbox keeps none of that name."
            self._note(one.item, Outcome.DELIVERED, said + more * one.lacks_label)
        if self._labels:
            labelled = zip(uids, batch, strict=True) if len(uids) == len(batch) else ()
            for uid, one in labelled:
                if one.item.label:
                    await self._give_label(box, uid, one.item, said)

    async def _give_label(self, box: Box, uid: int, item: Outgoing, said: str) -> None:
        """Gmail's way; what goes wrong here takes nothing back."""
        try:
            to = await self._boxes.open(place_for(item.label))
            answer = await self._target.copy(box.mailbox, [uid], to.mailbox)
            trouble = "" if answer.ok else answer.text
        except MailboxUnavailable as error:
            trouble = str(error)
        if trouble:
            reply = f"{said} It has no label '{item.label}': {_ended(trouble)}"
            self._note(item, Outcome.DELIVERED, reply)


def _batches(outbound: Sequence[Outbound], at_most: int) -> Iterator[Sequence[Outbound]]:
    batch: list[Outbound] = []
    octets = 0
    for one in outbound:
        if batch and (len(batch) >= at_most or octets + one.size > BATCH_OCTETS):
            yield batch
            batch, octets = [], 0
        batch.append(one)
        octets += one.size
    if batch:
        yield batch


def _may_be_there(one: Settled) -> bool:
    return one.outcome is Outcome.DELIVERED or one.doubtful


def _clock() -> float:
    return asyncio.get_running_loop().time()


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
