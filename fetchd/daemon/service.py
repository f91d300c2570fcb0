"""`fetchd serve`: opens the data folder, keeps everything going, and ends in good order.

    SIGTERM, SIGINT    drain: syncs end at their next batch, at most service.drain; twice: at once
    SIGHUP             the settings are read again; wrong ones change nothing
    a full disk        is no reason to end: the data folder is opened again, a little later
    systemd            hears of readiness, state, reload and stop, and watches (notify.py)

Read this first, then work.py (what works together), supervisor.py (one account's syncs).
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from typing import Any

from fetchd import __version__
from fetchd.catalog import halting
from fetchd.daemon.clockwatch import Kind, watch_clocks
from fetchd.daemon.control import Control
from fetchd.daemon.files import allow_files
from fetchd.daemon.holder import ServiceLock
from fetchd.daemon.line import Why
from fetchd.daemon.memory import map_what_is_large, return_memory
from fetchd.daemon.notify import Notify, Watchdog
from fetchd.daemon.reporting import tell_fault
from fetchd.daemon.signals import obeyed
from fetchd.daemon.work import Work, until_ended, working
from fetchd.errors import FetchdError, Remedy, ServiceError, SettingsError
from fetchd.pipeline.at_work import utc_now
from fetchd.pipeline.round import Round, tell_of_strays, unreached
from fetchd.pipeline.snapshot import Doing, Snapshot
from fetchd.pipeline.tools import Progress
from fetchd.settings import Settings
from fetchd.telemetry import configure, log
from fetchd.web.serving import serve_web

OPEN_AGAIN = (10.0, 300.0)  # seconds until the data folder is tried again: first, at most
GRACE = 20.0  # seconds beyond the drain, after which nothing is waited for
LOOK = 5.0  # seconds between two looks whether the data folder is still there
STATUS = 10.0  # seconds between two looks at what systemd is told
FIXED = ("data_dir", "archive.segment_size")  # settings that need a restart

Load = Callable[[], Settings]


def serve(load: Load) -> bool:
    """Run until a signal; True when it ended by one. One service for each data folder."""
    settings = load()
    allow_files()
    map_what_is_large()
    with _holding(settings) as lock:
        return asyncio.run(Service(load, settings, lock).run())


class Service:
    """The running service (control.Handler)."""

    def __init__(
        self, load: Load, settings: Settings, lock: ServiceLock, *, notify: Notify | None = None
    ) -> None:
        self._load, self._settings, self._lock = load, settings, lock
        self._notify = notify or Notify.of(os.environ)
        self._watchdog = Watchdog(self._notify, self._alive)
        self._stop = asyncio.Event()
        self._stirred = asyncio.Event()  # the owner wants something
        self._work: Work | None = None
        self._started_at = utc_now()
        self._reloading = asyncio.Lock()
        self._hangups = asyncio.Lock()
        self._hung_up = False  # and not obeyed yet
        self._reloaded_at: datetime | None = None
        self._refused = ""
        self._trouble = ""  # why the data folder is not open
        self._web: asyncio.Task[None] | None = None
        self._listening = asyncio.Lock()
        self._chores: set[asyncio.Task[Any]] = set()

    async def run(self) -> bool:
        """Until a signal; what only the owner can put right is raised."""
        asyncio.get_running_loop().set_exception_handler(tell_fault)
        log().info("service.started", version=__version__, accounts=len(self._settings.accounts))
        async with self._surroundings():
            await self._work_until_stopped()
        log().info("service.stopped")
        return True

    # -- Asked over the control socket --------------------------------------------------

    async def sync(
        self, accounts: Sequence[str], confirm_retire: bool, progress: Progress
    ) -> Round:
        """As `fetchd sync`, by the service's own connections."""
        work = self._need_work()
        names = work.supervisor.require(accounts)
        catalog = work.tools.storage.catalog
        if accounts:
            work.supervisor.resume(names)
        reports = await asyncio.gather(*(
            work.supervisor.request(
                name, Why.OWNER, watcher=progress, confirm_retire=confirm_retire,
                by_name=bool(accounts),
            )
            for name in names
        ))  # fmt: skip
        done = Round(list(reports))
        await tell_of_strays(done.reports, work.tools.storage, self._settings)
        done.unreached = await work.tools.storage.blocking(
            unreached, catalog, self._settings.destinations
        )
        return done

    async def reload(self) -> Sequence[str]:
        """Read the settings again; what is wrong with them, or nothing."""
        async with self._reloading:
            if self._stop.is_set():
                return ("the service is stopping",)
            self._notify.reloading()
            try:
                problems = await self._reload()
            finally:
                if self._work is not None or self._trouble:  # else it never was ready
                    self._notify.ready(self._status())
        self._refused = problems[0] if problems else ""
        if problems:
            log().error("settings.refused", problems=list(problems))
        else:
            self._reloaded_at = utc_now()
            log().info("settings.applied", accounts=len(self._settings.accounts))
        return problems

    async def resume(self, accounts: Sequence[str]) -> None:
        """Try these again, or all that are halted."""
        work = self._need_work()
        names = work.supervisor.require(accounts)
        lines = work.supervisor.lines
        chosen = names if accounts else [n for n in names if lines[n].doing is Doing.HALTED]
        catalog = work.tools.storage.catalog
        await work.tools.storage.blocking(halting.resume, catalog, chosen)
        work.supervisor.resume(chosen)
        for name in chosen:
            work.supervisor.request(name, Why.OWNER)

    def snapshot(self) -> Snapshot:
        """What it is doing now."""
        now, work = utc_now(), self._work
        unready = tuple(self._unready())
        told = Snapshot(
            at=now, started_at=self._started_at, pid=os.getpid(), version=__version__,
            ready=not unready, unready=unready, healthy=self._watchdog.well,
            unhealthy=() if self._watchdog.well else ("Commits do not come to their end.",),
            network=True, reloaded_at=self._reloaded_at, reload_refused=self._refused,
        )  # fmt: skip
        return told if work is None else work.complete(told)

    def _unready(self) -> Iterator[str]:
        if self._stop.is_set():
            yield "The service is stopping."
        elif self._work is None:
            yield self._trouble or "The service is starting."

    # -- The data folder, open --------------------------------------------------------------

    async def _work_until_stopped(self) -> None:
        delay, longest = OPEN_AGAIN
        while not self._stop.is_set():
            try:
                self._lock.require()
                async with working(self._settings, self._stop, utc_now) as work:
                    work.tasks.append(asyncio.create_task(self._watch_folder()))
                    self._work, self._trouble, delay = work, "", OPEN_AGAIN[0]
                    self._notify.ready(self._status())
                    try:
                        await self._catch_up(work)
                        await until_ended(work, self._stop)
                    finally:
                        self._work = None
                        self._say_stopping()
            except FetchdError as error:
                if error.remedy is not Remedy.WAIT:
                    raise
                self._trouble = error.whole
                log().error("service.waits", error=str(error), advice=error.advice, seconds=delay)
                self._notify.ready(self._status())
                await self._unless_stirred(delay)
                delay = min(delay * 2, longest)

    async def _unless_stirred(self, delay: float) -> None:
        """Wait for so long; the owner, who stops or reloads, need not."""
        self._stirred.clear()
        if not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stirred.wait(), delay)

    async def _watch_folder(self) -> None:
        """Raise once the data folder is not there any more: what is written now is lost."""
        while True:
            await asyncio.sleep(LOOK)
            await asyncio.to_thread(self._lock.require)

    async def _catch_up(self, work: Work) -> None:
        """The settings may have been read again while the data folder was being opened."""
        async with self._reloading:
            if work.settings is not self._settings:
                await work.apply(self._settings)

    def _say_stopping(self) -> None:
        if self._stop.is_set():
            patience = self._settings.service.drain.total_seconds()
            self._notify.stopping("finishing what is under way")
            self._notify.extend(patience + GRACE)

    def _need_work(self) -> Work:
        if self._work is None or self._stop.is_set():
            raise ServiceError(
                self._trouble or "the service is starting or stopping",
                advice="Ask again in a moment.",
            )
        return self._work

    async def _alive(self) -> bool:
        """The loop answers by answering; the committer must come to the end of a commit."""
        work = self._work
        return work is None or await work.tools.committer.beat()

    # -- What surrounds it ------------------------------------------------------------------

    @asynccontextmanager
    async def _surroundings(self) -> AsyncIterator[None]:
        control = Control(self._settings.data_dir, self._lock, self)
        with obeyed(self._asked_to_stop, self._asked_to_reload):
            await control.open()
            self._serve_web()
            tasks = [
                asyncio.create_task(coroutine)
                for coroutine in (
                    self._watchdog.run(),
                    watch_clocks(self._jumped),
                    return_memory(),
                    self._keep_status(),
                )
            ]
            try:
                yield
            finally:
                await control.close()
                rest = [*tasks, *self._chores, *([self._web] if self._web else [])]
                for task in rest:
                    task.cancel()
                await asyncio.wait(rest)

    def _asked_to_stop(self) -> None:
        log().info("service.stopping", note="finishing what is under way; once more to end at once")
        self._stop.set()
        self._stirred.set()
        patience = self._settings.service.drain.total_seconds() + GRACE
        last = threading.Timer(patience, os._exit, (1,))  # whatever a thread may hang in
        last.daemon = True
        last.start()

    def _asked_to_reload(self) -> None:
        """SIGHUP; those that come before it is obeyed are one."""
        if not self._hung_up:
            self._hung_up = True
            self._begin(self._obey_hangup())

    async def _obey_hangup(self) -> None:
        async with self._hangups:
            self._hung_up = False
            await self.reload()

    def _serve_web(self) -> None:
        if self._web is not None:
            self._web.cancel()
        self._web = asyncio.create_task(self._web_until_stopped(self._settings.web.listen))

    async def _web_until_stopped(self, listen: str) -> None:
        """Whatever becomes of it is no reason to fetch no mail."""
        try:
            async with self._listening:  # the one before may still have the port
                # Until the very end: while it drains, /readyz says that it stops.
                await serve_web(listen, self.snapshot, asyncio.Event())
        except FetchdError as error:
            log().error("web.failed", error=str(error), advice=error.advice)
        except Exception as error:
            log().error("web.failed", error=f"{type(error).__name__}: {error}")

    def _jumped(self, kind: Kind, seconds: float) -> None:
        log().info("clock.jumped", kind=str(kind), seconds=round(seconds, 1))
        if self._work is not None:
            self._work.scheduler.rearm()
            self._work.supervisor.all_anew()

    async def _keep_status(self) -> None:
        while True:
            await asyncio.sleep(STATUS)
            self._notify.status(self._status())

    def _status(self) -> str:
        """One line for `systemctl status`."""
        return self._work.status() if self._work is not None else self._trouble or "starting"

    def _begin(self, chore: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(chore)
        self._chores.add(task)
        task.add_done_callback(self._over)

    def _over(self, chore: "asyncio.Task[Any]") -> None:
        self._chores.discard(chore)
        if not chore.cancelled() and (error := chore.exception()) is not None:
            advice = error.advice if isinstance(error, FetchdError) else ""
            log().error("reload.failed", error=str(error) or type(error).__name__, advice=advice)

    # -- New settings ---------------------------------------------------------------------

    async def _reload(self) -> tuple[str, ...]:
        try:
            settings = await asyncio.to_thread(self._load)
        except SettingsError as error:
            return error.problems
        if fixed := [key for key in FIXED if _at(settings, key) != _at(self._settings, key)]:
            return tuple(f"{key}: takes effect at the next start of the service" for key in fixed)
        before, self._settings = self._settings, settings
        configure(settings.log.level, settings.log.format)
        if self._work is not None:
            await self._work.apply(settings)
        self._stirred.set()
        if before.web != settings.web:
            self._serve_web()
        return ()


@contextmanager
def _holding(settings: Settings) -> Iterator[ServiceLock]:
    lock = ServiceLock(settings.data_dir)
    try:
        yield lock
    finally:
        lock.close()


def _at(settings: Settings, key: str) -> object:
    value: object = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value
