"""A service that does as a test says, for the data folder of a home; and the command beside it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from typer.testing import CliRunner

from fetchd.cli.main import app
from fetchd.daemon.control import Control
from fetchd.daemon.holder import ServiceLock
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.round import Round
from fetchd.pipeline.snapshot import AccountView, DestinationView, Doing, Snapshot
from fetchd.pipeline.tools import Progress
from tests.cli.conftest import Ran
from tests.pipeline.home import Home

START = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)


async def _one_message(_accounts: Sequence[str], progress: Progress) -> Round:
    progress.phase("work", "fetching")
    progress.expect("work", 1, 1000)
    progress.fetched("work", 1, 1000)
    return Round([RunReport("work", fetched=1, octets=1000, delivered=1, on_server=1)])


class Scripted:
    """A control.Handler that notes what it was asked, and does what the test gave it."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.round: Callable[[Sequence[str], Progress], Awaitable[Round]] = _one_message
        self.problems: tuple[str, ...] = ()
        self.error: Exception | None = None
        self.snapshots = 0
        self.view = snapshot()

    async def sync(
        self, accounts: Sequence[str], confirm_retire: bool, progress: Progress
    ) -> Round:
        self.asked.append(("sync", *accounts, confirm_retire))
        if self.error:
            raise self.error
        return await self.round(accounts, progress)

    async def reload(self) -> tuple[str, ...]:
        self.asked.append("reload")
        if self.error:
            raise self.error
        return self.problems

    def snapshot(self) -> Snapshot:
        self.snapshots += 1
        return self.view

    async def resume(self, accounts: Sequence[str]) -> None:
        self.asked.append(("resume", *accounts))
        if self.error:
            raise self.error


class AtService:
    """It holds the folder and listens, in a thread, while this lasts."""

    def __init__(self, data_dir: Path, handler: Scripted | None = None) -> None:
        self.handler = handler or Scripted()
        self._data_dir = data_dir
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._lock = ServiceLock(self._data_dir)
        self._thread.start()
        self.control = Control(self._data_dir, self._lock, self.handler)
        self.do(self.control.open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_listening()
        self._lock.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def do(self, work: Awaitable[object]) -> object:
        """Something, in the service's event loop."""

        async def done() -> object:
            return await work

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(20)

    def stop_listening(self) -> None:
        self.do(self.control.close())


def snapshot(**changed: object) -> Snapshot:
    """A service with an account that syncs and one that waits."""
    values: dict[str, object] = {
        "at": START + timedelta(hours=3), "started_at": START, "pid": 4321, "version": "1.2",
        "ready": True, "healthy": True, "network": True, "syncing": 1, "connections": 1,
        "accounts": (
            AccountView(
                "private", "imap", Doing.WAITING,
                next_at=START + timedelta(hours=3, minutes=4), fetched=7, octets=7000,
            ),
            AccountView(
                "work", "pop3", Doing.SYNCING, phase="fetching", sync_expected=400,
                sync_fetched=120, sync_octets=3_100_000, since=START + timedelta(hours=2),
            ),
        ),
        "destinations": (DestinationView("home", "maildir", waiting=3, delivered=9),),
        **changed,
    }  # fmt: skip
    return Snapshot(**values)  # type: ignore[arg-type]


def run(here: Home, *words: str) -> Ran:
    """The command in this process."""
    here.settings()
    done = CliRunner().invoke(app, ["--config", str(here.folder / "fetchd.toml"), *words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(done.exit_code, done.stdout, done.stderr)
