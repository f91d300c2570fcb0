"""A supervisor whose syncs are scripted: what it decides, without a server.

The real line is played in tests/daemon/test_service.py, on real servers.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fetchd.daemon import syncing
from fetchd.daemon.supervisor import Supervisor
from fetchd.errors import FetchdError, Scope
from fetchd.pipeline.account import Turn
from fetchd.pipeline.allowance import Allowances
from fetchd.pipeline.at_work import at_work
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.lease import Guard
from fetchd.pipeline.report import Failure, RunReport
from fetchd.pipeline.storage import open_storage
from fetchd.pipeline.tools import Tools
from fetchd.settings import Settings, load

Sync = Callable[[Errand, Tools], Coroutine[Any, Any, RunReport]]


class Script:
    """What each account's syncs do; by default they go well at once."""

    def __init__(self) -> None:
        self.syncs: defaultdict[str, list[Sync]] = defaultdict(list)
        self.begun: list[str] = []
        self.errands: list[Errand] = []
        self.at_once = self.most = 0
        self.changed = asyncio.Event()

    async def sync(
        self, errand: Errand, tools: Tools, turn: Turn, guard: Guard | None = None
    ) -> RunReport:
        """In place of pipeline.account.sync_account."""
        self.begun.append(errand.account)
        self.errands.append(errand)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.changed.set()
        try:
            script = self.syncs[errand.account]
            work = script.pop(0) if script else well
            async with turn():
                return await _guarded(work(errand, tools), errand, guard)
        finally:
            self.at_once -= 1
            self.changed.set()

    async def until(self, condition: Callable[[], bool], patience: float = 10.0) -> None:
        """Wait until it holds."""
        async with asyncio.timeout(patience):
            while not condition():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.02)


async def _guarded(
    work: Coroutine[Any, Any, RunReport], errand: Errand, guard: Guard | None
) -> RunReport:
    task = asyncio.create_task(work)
    watch = asyncio.create_task(guard()) if guard is not None else None
    tasks: set[asyncio.Task[Any]] = {task} if watch is None else {task, watch}
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    try:
        if watch is not None and watch.done():
            report = RunReport(errand.account)
            error = watch.exception()
            assert isinstance(error, FetchdError)
            report.failures.append(Failure(Scope.ACCOUNT, errand.account, error))
            return report
        return task.result()
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.wait(tasks)


async def well(errand: Errand, _tools: Tools) -> RunReport:
    """A sync without trouble."""
    return RunReport(errand.account)


def failing(error: FetchdError, **more: object) -> Sync:
    """A sync that ends with this."""

    async def fail(errand: Errand, _tools: Tools) -> RunReport:
        report = RunReport(errand.account, **more)  # type: ignore[arg-type]
        report.failures.append(Failure(Scope.ACCOUNT, errand.account, error))
        return report

    return fail


def endless(errand: Errand, tools: Tools) -> Coroutine[Any, Any, RunReport]:
    """A first backup: goes on until it is asked to stop, and gets on all the time."""

    async def go_on() -> RunReport:
        report = RunReport(errand.account)
        while not tools.stop.is_set():
            tools.progress.fetched(errand.account, 1, 10)
            report.fetched += 1
            await asyncio.sleep(0.005)
        report.stopped = True
        return report

    return go_on()


async def hung(_errand: Errand, _tools: Tools) -> RunReport:
    """A server that says nothing any more."""
    await asyncio.Event().wait()
    raise AssertionError


def settings_of(folder: Path, accounts: int = 3, more: str = "", **keys: str) -> Settings:
    """Accounts a0, a1, ... each at a host of its own, or at `host`."""
    lines = [f'data_dir = "{folder / "data"}"', more]
    for number in range(accounts):
        lines += [
            f"[accounts.a{number}]",
            'protocol = "imap"',
            f'host = "{keys.get("host", f"h{number}")}"',
            f'username = "u{number}"',
            'password_env = "NOWHERE"',
            *(f"{key} = {value}" for key, value in keys.items() if key != "host"),
        ]
    file = folder / "fetchd.toml"
    file.write_text("\n".join(lines))
    return load(file, {})


@asynccontextmanager
async def supervised(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Supervisor, Script, Tools]]:
    """A supervisor at work, drained at the end."""
    script = Script()
    monkeypatch.setattr(syncing, "sync_account", script.sync)
    stop = asyncio.Event()
    with open_storage(settings) as storage:
        async with at_work(settings, (), storage, stop) as (tools, _):
            supervisor = Supervisor(settings, tools, Allowances(settings, storage))
            await supervisor.apply(settings)
            try:
                yield supervisor, script, tools
            finally:
                stop.set()
                supervisor.network.close()
                await supervisor.cut()
