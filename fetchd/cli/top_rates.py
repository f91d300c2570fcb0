"""How fast it goes: what two snapshots of one service differ by, a second. Pure."""

from fetchd.pipeline.snapshot import Snapshot
from fetchd.values import Struct


class Rate(Struct, frozen=True):
    """Octets on the line, and messages, a second."""

    received: float = 0.0
    sent: float = 0.0
    fetched: float = 0.0
    delivered: float = 0.0


class Rates:
    """Of each account and destination, and of all; nothing moves where there is no span."""

    def __init__(self, first: Snapshot, last: Snapshot) -> None:
        seconds = (last.at - first.at).total_seconds()
        self._accounts = _accounts(first, last, seconds) if seconds > 0 else {}
        self._destinations = _destinations(first, last, seconds) if seconds > 0 else {}
        self.total = Rate(
            sum(rate.received for rate in self._accounts.values()),
            sum(rate.sent for rate in self._accounts.values()),
            sum(rate.fetched for rate in self._accounts.values()),
            sum(rate.delivered for rate in self._destinations.values()),
        )

    def account(self, name: str) -> Rate:
        """Of this one."""
        return self._accounts.get(name, Rate())

    def destination(self, name: str) -> Rate:
        """Of this one; only `delivered` is known."""
        return self._destinations.get(name, Rate())


def _accounts(first: Snapshot, last: Snapshot, seconds: float) -> dict[str, Rate]:
    before = {one.name: one for one in first.accounts}
    found = {}
    for one in last.accounts:
        was = before.get(one.name, one)
        found[one.name] = Rate(
            max(one.received - was.received, 0) / seconds,
            max(one.sent - was.sent, 0) / seconds,
            max(one.fetched - was.fetched, 0) / seconds,
        )
    return found


def _destinations(first: Snapshot, last: Snapshot, seconds: float) -> dict[str, Rate]:
    before = {one.name: one for one in first.destinations}
    return {
        one.name: Rate(
            delivered=max(one.delivered - before.get(one.name, one).delivered, 0) / seconds
        )
        for one in last.destinations
    }
