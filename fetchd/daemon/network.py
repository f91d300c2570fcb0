"""Whether this machine has a way out: noticed once, and not once for each account.

A line that fails because of this machine (no route, no answer from the resolver; the errors
say so) may still be one host's own fault, a name whose servers are broken, say. So the
network is down only when two hosts in a row failed so and none was reached between. Then
nobody tries but one account, ever another one, until something is reached again. One that
finds out nothing (its login was refused before, it has left the settings, it hangs) is
followed by the next one all the same.
"""

import asyncio
from collections.abc import Callable, Iterable

from fetchd.errors import ConnectionFailed
from fetchd.pipeline.report import RunReport
from fetchd.telemetry import log

FIRST_PROBE, LONGEST_PROBE = 2.0, 30.0  # seconds; the delay doubles
PATIENCE = 60.0  # seconds for whoever tries; then another one does


class Network:
    """`probe` lets one account try; `back` has those that were kept from trying."""

    def __init__(
        self,
        probe: Callable[[str], None],
        back: Callable[[Iterable[str]], None],
        hosts: Callable[[], int],
    ) -> None:
        self._probe, self._back, self._hosts = probe, back, hosts
        self.up = True
        self._lost_at: set[str] = set()  # hosts, since anything was reached
        self._kept: dict[str, None] = {}  # accounts, in the order in which they were kept
        self._prober = ""
        self._delay = FIRST_PROBE
        self._timer: asyncio.TimerHandle | None = None
        self._found = asyncio.Event()
        self._found.set()

    def lets(self, account: str) -> bool:
        """Whether this account may try now; if not, it will be told when it may."""
        if self.up or account == self._prober:
            return True
        self._kept.setdefault(account)
        return False

    async def until_up(self) -> None:
        """Wait for it."""
        await self._found.wait()

    def note(self, account: str, host: str, report: RunReport) -> None:
        """What a sync found out about the way."""
        if report.skipped:
            if account == self._prober:
                self._arm()  # it has not even tried
            return
        errors = [f.error for f in report.failures if isinstance(f.error, ConnectionFailed)]
        if any(error.local for error in errors):
            self._lose(account, host)
        elif report.progress or not errors or not self.up:
            self._find()

    def suspect(self) -> None:
        """The machine slept: what was found out before may be otherwise now."""
        self._lost_at.clear()
        if not self.up:
            self._delay = FIRST_PROBE
            self._try_next()

    def close(self) -> None:
        """Try no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _lose(self, account: str, host: str) -> None:
        self._lost_at.add(host)
        self._kept.setdefault(account)
        if self.up and len(self._lost_at) >= min(2, self._hosts()):
            self.up = False
            self._found.clear()
            self._delay = FIRST_PROBE
            log().warning("network.lost", note="this machine reaches no server; all accounts wait")
        if not self.up:
            self._arm()

    def _find(self) -> None:
        self._lost_at.clear()
        self._prober = ""
        kept, self._kept = list(self._kept), {}
        if self.up:
            return
        self.up = True
        self._found.set()
        self.close()
        log().info("network.back", accounts=len(kept))
        self._back(kept)

    def _arm(self) -> None:
        self.close()
        self._prober = ""
        self._timer = asyncio.get_running_loop().call_later(self._delay, self._try_next)
        self._delay = min(self._delay * 2, LONGEST_PROBE)

    def _try_next(self) -> None:
        """Ever another one: the first may have troubles of its own."""
        self.close()
        self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._try_next)
        self._prober = next(iter(self._kept), "")
        if self._prober:
            del self._kept[self._prober]
            self._kept[self._prober] = None
            self._probe(self._prober)
