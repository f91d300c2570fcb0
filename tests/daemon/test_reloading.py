"""New settings at awkward moments: while the data folder is opened, while a port is given back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fetchd.daemon import service as service_module
from fetchd.daemon.service import Service
from fetchd.errors import CatalogError
from fetchd.settings import Settings
from tests.daemon.in_loop import in_loop
from tests.daemon.supervised import settings_of
from tests.servers.processes import free_ports


def service_of(*read: Settings) -> Service:
    """One that reads these settings, one after the other."""
    first, *later = read
    lock = SimpleNamespace(require=lambda: None)
    return Service(lambda: later.pop(0), first, cast("Any", lock))


@in_loop
async def test_settings_that_change_while_the_data_folder_is_opened_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied: list[Settings] = []

    @asynccontextmanager
    async def working(settings: Settings, *_: Any) -> AsyncIterator[Any]:
        assert not await service.reload()

        async def apply(settings: Settings) -> None:
            applied.append(settings)

        yield SimpleNamespace(settings=settings, apply=apply, status=lambda: "", tasks=[])

    async def until_ended(_work: Any, stop: asyncio.Event) -> None:
        stop.set()

    monkeypatch.setattr(service_module, "working", working)
    monkeypatch.setattr(service_module, "until_ended", until_ended)
    old, new = settings_of(tmp_path, 1), settings_of(tmp_path, 2)
    service = service_of(old, new)
    await service._work_until_stopped()
    assert applied == [new]


@in_loop
async def test_the_pages_move_to_another_name_of_the_same_port(tmp_path: Path) -> None:
    [port] = free_ports(1)
    here, there = (
        settings_of(tmp_path, more=f'[web]\nlisten = "{host}:{port}"\n')
        for host in ("127.0.0.1", "localhost")
    )
    service = service_of(here, there)
    service._serve_web()
    await answered(port)
    assert not await service.reload()
    before = service._web
    await answered(port)
    assert service._web is before
    assert before is not None
    assert not before.done()
    before.cancel()
    await asyncio.wait({before})


async def answered(port: int) -> None:
    """Wait until the page is there."""
    for _ in range(500):
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            said = await reader.readline()
            writer.close()
            if said.startswith(b"HTTP/1.1 200"):
                return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody answers")


@in_loop
async def test_a_reload_that_fails_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fails() -> None:
        raise CatalogError("The catalog is locked.")

    service = service_of(settings_of(tmp_path))
    service._begin(fails())
    await asyncio.wait(service._chores)
    await asyncio.sleep(0)
    assert "The catalog is locked." in capsys.readouterr().err


@in_loop
@pytest.mark.parametrize("by", ["itself", "reload"])
async def test_a_data_folder_in_trouble_is_tried_again_and_at_once_after_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    attempts = asyncio.Semaphore(0)

    @asynccontextmanager
    async def working(*_: Any) -> AsyncIterator[Any]:
        attempts.release()
        raise CatalogError("It is not mounted.")
        yield

    delay = 0.01 if by == "itself" else 3600.0
    monkeypatch.setattr(service_module, "working", working)
    monkeypatch.setattr(service_module, "OPEN_AGAIN", (delay, delay))
    settings = settings_of(tmp_path, 1)
    service = service_of(settings, settings)
    opening = asyncio.create_task(service._work_until_stopped())
    await attempts.acquire()
    await asyncio.sleep(0.05)
    if by == "reload":
        assert attempts.locked()
        await service.reload()
    await attempts.acquire()
    service._stop.set()
    service._stirred.set()
    await opening
