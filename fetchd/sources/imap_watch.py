"""A connection that waits for news of an IMAP account; what it hears are hints, never facts.

By NOTIFY (RFC 5465) one connection hears of every mailbox, of one that is selected as by IDLE,
of the others by STATUS; Dovecot tells nothing of an inbox that never had mail unless it is
selected. Else IDLE (RFC 2177) tells of one mailbox, and STATUS of the others
is asked for at intervals; else STATUS of all. Where the server refuses what it offers, or
drowns in it (NOTIFICATIONOVERFLOW), the next lesser way is taken. Whoever gets a hint
syncs, and finds out what is true (quirks 52, 53).

`begin` before the sync, `hints` during and after it: nothing that happens is missed then.
To add a way, add a member of How and a branch of `begin`.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from enum import StrEnum

from fetchd.policy.mailboxes import Mailbox
from fetchd.protocol.imap import commands
from fetchd.protocol.imap.events import Event
from fetchd.protocol.imap.types import (
    Code,
    Exists,
    Expunged,
    Fetched,
    Listed,
    MailboxStatus,
    Status,
    Vanished,
)
from fetchd.sources.imap import ImapSession
from fetchd.sources.imap_overview import status_items

# Seconds. RFC 2177 wants a new IDLE before 29 minutes; boxes between us and the server
# forget a silent connection after ten (quirk 51). A line that is dead and does not look it
# is thus known after RENEWAL and the read timeout, ten minutes as the settings stand, even
# if something in between acknowledges all we send; else the system notices it after two
# (clients.eyeballs.HALF_OPEN).
RENEWAL = 9 * 60.0
# Seconds. Of a hundred mailboxes one STATUS each is 10 kB: 14 MB a day at this interval,
# less than a hundredth of what Gmail allows (2,500 MB).
SWEEP = 60.0

_NEWS = ("MessageNew", "MessageExpunge", "FlagChange", "MailboxName")
_LEAST = ("MessageNew", "MessageExpunge")  # RFC 5465 §5: never one without the other


class How(StrEnum):
    """By what a server tells its news."""

    NOTIFY = "notify"
    IDLE = "idle"
    POLLING = "polling"


class ImapWatch:
    """Watches the `chosen` mailboxes of a session that does nothing else.

    `first` of them is what IDLE listens to; `sweep` is the interval, in seconds, at which
    the others are looked at.
    """

    def __init__(
        self, session: ImapSession, chosen: Sequence[Mailbox], first: Mailbox, sweep: float
    ) -> None:
        self.how = How.POLLING
        self._client, self._offered = session.client, session.capabilities
        self._chosen = {mailbox.wire: mailbox for mailbox in chosen}
        self._ignored = {m.wire for m in session.overview.mailboxes} - self._chosen.keys()
        self._first, self._sweep = first, sweep
        # Some offer LIST-STATUS and refuse it (quirk 59): believed where it worked at the login.
        self._lists = "LIST-STATUS" in session.capabilities and bool(session.overview.status)
        self._told: dict[bytes, MailboxStatus] = {}
        self._names: set[bytes] | None = None
        self._selected = False  # whether the first one is
        self._exists = 0  # messages in it
        self._all_told = False  # NOTIFY tells of flags and names as well
        self._overflown = False
        self._overflown_at: float | None = None

    async def begin(self) -> None:
        """Find the best way; what happens from now on will be hinted at."""
        if {"NOTIFY", "IDLE"} <= self._offered and await self._notify():
            self.how = How.NOTIFY
            return
        await self._begin_idle()

    async def hints(self) -> AsyncGenerator[None, None]:
        """One for whatever may have happened, for ever; to be read all the time."""
        while True:
            if self.how is How.POLLING:
                await asyncio.sleep(self._sweep)
            else:
                async with aclosing(self._idle()) as told:
                    async for _ in told:
                        yield
            if await self._look():
                yield

    # -- NOTIFY --------------------------------------------------------------------

    async def _notify(self) -> bool:
        """Have the server tell of all mailboxes, as much as it can; False if it will not."""
        await self._select()
        for wanted in (_NEWS, _LEAST):
            # With STATUS it says first how all of them stand: nothing lies in between.
            asked = commands.notify(self._filters(wanted), status=True)
            flight = await self._client.ask(asked)
            self._hear(flight.events)
            (answer,) = flight.completed
            if answer.ok:
                self._all_told = wanted == _NEWS
                return True
            if answer.code is None or answer.code.name != "BADEVENT":
                break
        return False

    def _filters(self, wanted: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
        everywhere = [("personal", wanted)]
        if not self._selected:
            return everywhere
        of_messages = tuple(event for event in wanted if event != "MailboxName")
        return [("selected", of_messages), *everywhere]

    async def _notify_again(self) -> None:
        """RFC 5465 §5.8: after an overflow NOTIFY is off. Twice within a renewal is too often."""
        clock = asyncio.get_running_loop().time
        before, self._overflown_at = self._overflown_at, clock()
        self._overflown = False
        often = before is not None and clock() - before < RENEWAL
        if often or not await self._notify():
            await self._begin_idle()

    # -- IDLE ------------------------------------------------------------------------

    async def _begin_idle(self) -> None:
        """Listen to one mailbox, if that can be; and see how the others stand."""
        self.how = How.POLLING
        if "IDLE" in self._offered and await self._select():
            self.how = How.IDLE
        await self._look()

    async def _select(self) -> bool:
        """To hear of the first one as it happens; whether that can be."""
        flight = await self._client.ask(commands.examine(self._first.wire))
        counts = [event.count for event in flight.events if isinstance(event, Exists)]
        self._selected, self._exists = flight.ok, max(counts[-1:], default=0)
        return self._selected

    async def _idle(self) -> AsyncGenerator[None, None]:
        """One IDLE, until something else is due."""
        async with aclosing(self._client.idle(self._patience)) as news:
            # DONE may be said only once the server has understood: not to be cut short.
            events: list[Event] | None = await _whole(news)
            while events is not None:
                if self._hear(events):
                    yield
                if self._overflown:
                    break
                events = await anext(news, None)
        refused = not self._client.protocol.pending  # it is over, and not by our DONE
        if self._hear(await self._client.settle()):
            yield
        if self._overflown:
            await self._notify_again()
            yield
        elif refused and self.how is How.NOTIFY:
            await self._begin_idle()
            yield
        elif refused:
            self.how = How.POLLING

    @property
    def _patience(self) -> float:
        """Seconds until STATUS is to be asked for, or IDLE to be renewed."""
        alone = self.how is How.IDLE and self._chosen.keys() <= {self._first.wire}
        told = self.how is How.NOTIFY and self._all_told
        return RENEWAL if alone or told else min(self._sweep, RENEWAL)

    # -- STATUS -----------------------------------------------------------------------

    async def _look(self) -> bool:
        """Whether any of those that nobody tells of stands otherwise than before."""
        items = status_items(self._offered)
        if "HIGHESTMODSEQ" not in items:
            items.append("UNSEEN")  # the one flag whose change then shows
        if self._lists:
            flight = await self._client.ask(commands.list_mailboxes(status=items))
        else:
            asked = [commands.status(wire, items) for wire in self._chosen if self._is_asked(wire)]
            flight = await self._client.flight(*asked)
        news = self._hear(event for event in flight.events if not isinstance(event, Listed))
        return self._has_other_names(flight.events) or news

    def _is_asked(self, wire: bytes) -> bool:
        """Quirk 54: STATUS of the selected mailbox may lie."""
        return not (self._selected and wire == self._first.wire)

    def _has_other_names(self, events: Iterable[Event]) -> bool:
        before, names = self._names, {event.name for event in events if isinstance(event, Listed)}
        self._names = names or before
        return bool(before and names and names != before)

    # -- What it means -----------------------------------------------------------------

    def _hear(self, events: Iterable[Event]) -> bool:
        """Whether there is news among them; each is remembered."""
        return sum(self._is_news(event) for event in events) > 0

    def _is_news(self, event: Event) -> bool:
        """What only repeats what is known is none: some say EXISTS to keep the line warm."""
        match event:
            case MailboxStatus():
                return self._is_new_status(event)
            case Exists(count):
                before, self._exists = self._exists, count
                return count != before and self.how is not How.POLLING
            case Expunged():
                self._exists -= 1
                return True
            case Vanished(uids=uids, earlier=False):
                self._exists -= uids.count
                return True
            case Fetched() | Listed():
                return True
            case Status(code=Code(name="NOTIFICATIONOVERFLOW")):
                self._overflown = True
                return True
        return False

    def _is_new_status(self, status: MailboxStatus) -> bool:
        """A mailbox that was not there at the login counts: the settings may choose it."""
        if status.name in self._ignored or not self._is_asked(status.name):
            return False
        known = self._told.get(status.name, MailboxStatus(status.name))
        merged = MailboxStatus(
            status.name,
            messages=_either(status.messages, known.messages),
            uidnext=_either(status.uidnext, known.uidnext),
            uidvalidity=_either(status.uidvalidity, known.uidvalidity),
            unseen=_either(status.unseen, known.unseen),
            highestmodseq=_either(status.highestmodseq, known.highestmodseq),
        )
        self._told[status.name] = merged
        return merged != known


def _either(now: int | None, before: int | None) -> int | None:
    """NOTIFY says only what has changed."""
    return before if now is None else now


async def _whole(news: AsyncGenerator[list[Event], None]) -> list[Event]:
    """The first of them, even when we are cancelled meanwhile; then that."""
    first = asyncio.ensure_future(anext(news))
    try:
        return await asyncio.shield(first)
    except asyncio.CancelledError:
        await asyncio.wait({first})
        first.cancelled() or first.exception()  # nobody wants to know any more
        raise
