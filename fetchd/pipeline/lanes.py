"""Who is next at a destination: every account in its turn, each one's oldest first."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime

from fetchd.values import Struct


class Waiting(Struct, frozen=True):
    """A delivery in our hands that waits for a connection; its body is in the archive."""

    id: int
    account: str
    key: str
    attempts: int
    queued_at: datetime


class Lanes:
    """One queue for each account.

    With `in_order`, an account whose messages are under way has to wait for `done`: where
    the destination is a mailbox, nothing overtakes.
    """

    def __init__(self, *, in_order: bool) -> None:
        self._in_order = in_order
        self._lanes: dict[str, deque[Waiting]] = {}
        self._busy: set[str] = set()

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def add(self, waiting: Waiting) -> None:
        """To the end of its account's queue."""
        self._lanes.setdefault(waiting.account, deque()).append(waiting)

    def give_back(self, taken: Sequence[Waiting]) -> None:
        """What was taken of one account and not tried comes first again."""
        for one in reversed(taken):
            self._lanes.setdefault(one.account, deque()).appendleft(one)

    @property
    def ready(self) -> bool:
        """Whether `take` would give something."""
        return any(account not in self._busy for account in self._lanes)

    def take(self, at_most: int) -> list[Waiting]:
        """The next ones, of one account; none when all wait for somebody."""
        account = next((name for name in self._lanes if name not in self._busy), None)
        if account is None:
            return []
        lane = self._lanes.pop(account)
        taken = [lane.popleft() for _ in range(min(at_most, len(lane)))]
        if lane:
            self._lanes[account] = lane  # behind all others
        if self._in_order:
            self._busy.add(account)
        return taken

    def done(self, account: str) -> None:
        """What was taken of this account is no longer under way."""
        self._busy.discard(account)

    def clear(self) -> list[Waiting]:
        """All that waits, and nothing does any more."""
        left = [one for lane in self._lanes.values() for one in lane]
        self._lanes.clear()
        return left
