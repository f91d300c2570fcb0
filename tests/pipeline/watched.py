"""A home that is being watched in a thread, and what was heard, to be waited for.

with Watched(home) as watched:
    watched.until(lambda: watched.news)          # a deadline, never a pause
    watched.stop()                               # as Ctrl-C does; leaving does it too
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Self

from fetchd.pipeline.news import News, What
from fetchd.pipeline.resync import Condition, Hearer, Timing, Waiting, Watching
from fetchd.pipeline.storage import open_storage
from fetchd.pipeline.watch import watch
from fetchd.policy.retry import Schedule
from tests.pipeline.home import Home

DEADLINE = 40.0
QUICK = Schedule(timedelta(milliseconds=20), timedelta(seconds=5))


class Watched:
    """One account under watch."""

    def __init__(
        self,
        home: Home,
        *,
        mailbox: str = "",
        sweep: float = 3600.0,
        steady: float = 300.0,
        reconnect: Schedule = QUICK,
        turned_away: Schedule = QUICK,
    ) -> None:
        self.home, self._mailbox = home, mailbox
        self._timing = Timing(sweep, steady, reconnect, turned_away)
        self.heard: list[News | Condition] = []
        self._change = threading.Condition()
        self._done: Future[None] = Future()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE)
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._thread.is_alive():
            self.stop()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        """As a signal does; what the watch raised is raised here."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self.ended()

    def ended(self) -> None:
        """Wait for the end; what the watch raised is raised here."""
        self._done.result(DEADLINE)

    @property
    def news(self) -> list[tuple[str, str, str]]:
        """What, where, subject; in the order in which it was told."""
        return [(n.what, n.mailbox, n.message.subject) for n in self.all_news]

    @property
    def all_news(self) -> list[News]:
        return [one for one in self.heard if isinstance(one, News)]

    @property
    def ways(self) -> list[str]:
        """How it watched, each time."""
        return [one.how for one in self.heard if isinstance(one, Watching)]

    @property
    def waits(self) -> list[Waiting]:
        return [one for one in self.heard if isinstance(one, Waiting)]

    def until(self, fact: Callable[[], object]) -> None:
        """Wait for it."""
        end = time.monotonic() + DEADLINE
        with self._change:
            while not fact():
                assert not self._done.done(), self._done.exception() or "ended"
                assert self._change.wait(min(0.05, end - time.monotonic())) or (
                    time.monotonic() < end
                ), self.heard

    def until_told(self, what: What, mailbox: str, subject: str) -> None:
        self.until(lambda: (what, mailbox, subject) in self.news)

    def _run(self) -> None:
        try:
            asyncio.run(self._watch())
        except BaseException as error:
            self._done.set_exception(error)
        else:
            self._done.set_result(None)
        finally:
            self._ready.set()

    async def _watch(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        settings = self.home.settings()
        (account,) = self.home.users
        with open_storage(settings) as storage:
            await watch(
                settings, account, storage, Hearer(self._changed, lambda c: self._note([c])),
                stop=self._stop, mailbox=self._mailbox, timing=self._timing,
            )  # fmt: skip

    def _changed(self, news: Sequence[News]) -> None:
        self._note(news)

    def _note(self, heard: Sequence[News | Condition]) -> None:
        with self._change:
            self.heard += heard
            self._change.notify_all()
