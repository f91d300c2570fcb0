"""What a provider allows to one user, or to all of a host together: octets, logins, connections.

Octets are counted by the meters of those who share the purse, and those they have asked
for are counted as soon as they are asked for. What was spent is in the catalog
(`catalog.spending`), so that it holds from run to run and for all processes; connections
are counted in this process only.

Who watches holds a connection for as long as it stands; who syncs, for minutes. The first
leave the others one, always: else nothing that is heard of could be fetched.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from fetchd.auth.preset import Caps
from fetchd.catalog.spending import Spans
from fetchd.errors import BudgetSpent, ServerUnavailable
from fetchd.pipeline.change import Change
from fetchd.policy.budget import Span, What, admits, frees_at, room_at, spent

LENIENCE = 600.0  # seconds after a server found us too many until we dare more again

_WORDS = {
    What.DOWNLOAD: ("download budget", "a day"),
    What.UPLOAD: ("upload budget", "a day"),
    What.LOGINS: ("login budget", "an hour"),
}


class Member(Protocol):
    """Who spends from it."""

    def unsettled(self, what: What) -> int:
        """What is spent or asked for, and not in the catalog yet."""


@dataclass(slots=True)
class Purse:
    """One budget. `name` is its key in the catalog, `title` its name in sentences."""

    name: str
    title: str
    caps: Caps
    spans: Spans = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    _lasting: int = 0  # connections open now: of those who watch
    _passing: int = 0  # and of those who sync
    _shrunk: int | None = None  # as many as a crowded server bears
    _shrunk_at: float = 0.0
    _change: Change = field(default_factory=Change)

    # -- Octets and logins -------------------------------------------------------

    def limit(self, what: What) -> int | None:
        """None: there is none."""
        match what:
            case What.DOWNLOAD:
                return self.caps.download_per_day
            case What.UPLOAD:
                return self.caps.upload_per_day
            case What.LOGINS:
                return self.caps.logins_per_hour

    @property
    def counts(self) -> bool:
        """Whether anything has to be remembered."""
        return any(self.limit(what) is not None for what in What)

    def so_far(self, what: What, now: datetime) -> int:
        """What counts now, settled or not."""
        known = spent(what, self.spans.get(what, ()), now)
        return known + sum(member.unsettled(what) for member in self.members)

    def admits(self, what: What, now: datetime, size: int, *, alone: bool = True) -> bool:
        """Whether so much may be asked for, or sent, in one piece; `alone`: it is one message."""
        limit = self.limit(what)
        if limit is None:
            return True
        so_far = self.so_far(what, now)
        return admits(limit, so_far, size) if alone else so_far + size <= limit

    def expect_left(self, what: What, now: datetime) -> None:
        """BudgetSpent where nothing is left."""
        limit = self.limit(what)
        if limit is not None and self.so_far(what, now) >= limit:
            raise self.is_spent(what, now)

    def is_spent(self, what: What, now: datetime, size: int = 0) -> BudgetSpent:
        """The sentence, and when there is room for so much again."""
        limit = self.limit(what) or 0
        fresh = Span(now, sum(member.unsettled(what) for member in self.members))
        spans = (*self.spans.get(what, ()), fresh)
        until = room_at(what, spans, now, limit, size) if size else now
        until = max(until, frees_at(what, spans, now, limit), now + timedelta(minutes=1))
        budget, period = _WORDS[what]
        shown = f"{limit:,}" if what is What.LOGINS else f"{limit / 1_000_000:,.6g} MB"
        return BudgetSpent(
            f"the {budget} of {self.title} ({shown} {period}) is spent; the rest follows after "
            f"{until:%Y-%m-%d %H:%M} UTC",
            until=until,
            now=now,
        )

    # -- Connections ---------------------------------------------------------------

    @property
    def most(self) -> int | None:
        """Connections that may be open at once, for now; None: as many as you like."""
        known = [count for count in (self.caps.connections, self._shrunk) if count is not None]
        return min(known) if known else None

    @asynccontextmanager
    async def connection(self, *, lasting: bool = False) -> AsyncIterator[None]:
        """Wait for a place, and hold it."""
        await self._change.until(lambda: self._has_place(lasting))
        self._enter(1, lasting=lasting)
        try:
            yield
        finally:
            self._enter(-1, lasting=lasting)

    @contextmanager
    def spare(self) -> Iterator[None]:
        """A place that nobody else waits for; ServerUnavailable without one."""
        most = self.most
        if most is not None and self._lasting + self._passing >= most:
            raise ServerUnavailable(f"{self.title} allows no more than {most} connections")
        self._enter(1, lasting=False)
        try:
            yield
        finally:
            self._enter(-1, lasting=False)

    def shrink(self, at: float) -> None:
        """The server says that we are too many: half of what is open, for a time."""
        half = max((self._lasting + self._passing) // 2, 1)
        self._shrunk = half if self._shrunk is None else max(min(self._shrunk, half), 1)
        self._shrunk_at = at

    def grow(self, at: float) -> None:
        """It let us in: twice as many after a time, until it is as before."""
        if self._shrunk is None or at - self._shrunk_at < LENIENCE:
            return
        self._shrunk, self._shrunk_at = self._shrunk * 2, at
        if self._shrunk >= (self.caps.connections or 32):
            self._shrunk = None
        self._change.tell()

    def allow(self, caps: Caps) -> None:
        """These hold from now on; who holds a connection keeps it."""
        self.caps = caps
        self._change.tell()

    def _has_place(self, lasting: bool) -> bool:
        most = self.most
        if most is None:
            return True
        if lasting:
            return self._lasting + 1 < most and self._lasting + self._passing < most
        return self._passing < max(most - self._lasting, 1)

    def _enter(self, count: int, *, lasting: bool) -> None:
        if lasting:
            self._lasting += count
        else:
            self._passing += count
        if count < 0:
            self._change.tell()
