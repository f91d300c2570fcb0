"""The loop of the service, and the turn that other commands take."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fetchd.alerting import after_round, watch_alerts, watching
from fetchd.catalog.alerts import Kind, alerts, end_alert
from fetchd.errors import CatalogError
from fetchd.pipeline.storage import Storage
from fetchd.settings import Settings
from tests.alerting.sites import NOW, Hook, opened, ran, settings_of, trouble


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "GATHER", 0.05)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for it; whoever asks has a bound."""
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def test_what_is_stirred_is_told_at_once_and_its_end_too(tmp_path: Path) -> None:
    async def play(settings: Settings, storage: Storage, hook: Hook) -> None:
        stop, stirred = asyncio.Event(), asyncio.Event()
        loop = asyncio.create_task(
            watch_alerts(lambda: settings, storage, lambda: NOW, stop, stirred)
        )
        trouble(storage)
        stirred.set()
        await until(lambda: len(hook.bodies) == 1)
        end_alert(storage.catalog, Kind.AUTHENTICATION, "work", NOW)
        stirred.set()
        await until(lambda: len(hook.bodies) == 2)
        stop.set()
        await loop

    with Hook() as hook:
        settings = settings_of(tmp_path, f'webhooks = ["http://127.0.0.1:{hook.port}/"]')
        with opened(settings) as storage:
            ran(play(settings, storage, hook))
    assert [one["event"] for one in hook.bodies] == ["raised", "over"]


def test_the_loop_survives_what_goes_wrong_in_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[int] = []

    def broken(*_: object) -> None:
        turns.append(1)
        if len(turns) == 1:
            raise CatalogError("The disk is full.")
        raise ZeroDivisionError

    async def play(settings: Settings, storage: Storage) -> None:
        stop, stirred = asyncio.Event(), asyncio.Event()
        loop = asyncio.create_task(
            watch_alerts(lambda: settings, storage, lambda: NOW, stop, stirred)
        )
        for turn in range(1, 4):
            await until(lambda turn=turn: len(turns) == turn)  # type: ignore[misc]
            stirred.set()
        stop.set()
        await loop

    monkeypatch.setattr(watching, "assess", broken)
    settings = settings_of(tmp_path)
    with opened(settings) as storage:
        ran(play(settings, storage))


def test_a_machine_that_slept_gets_time_to_get_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[datetime | None] = []
    clock = [NOW]

    async def play(settings: Settings, storage: Storage) -> None:
        stop, stirred = asyncio.Event(), asyncio.Event()
        loop = asyncio.create_task(
            watch_alerts(lambda: settings, storage, lambda: clock[0], stop, stirred)
        )
        for seen, minutes in enumerate((1, 600), 1):
            await until(lambda seen=seen: len(given) == seen)  # type: ignore[misc]
            clock[0] += timedelta(minutes=minutes)
            stirred.set()
        await until(lambda: len(given) == 3)
        stop.set()
        await loop

    monkeypatch.setattr(watching, "assess", lambda _s, _c, _n, began: given.append(began))
    settings = settings_of(tmp_path)
    with opened(settings) as storage:
        ran(play(settings, storage))
    assert given == [NOW, NOW, NOW + timedelta(minutes=601)]


def test_a_command_takes_one_turn_and_never_fails_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hook((500,)) as hook:
        settings = settings_of(tmp_path, f'webhooks = ["http://127.0.0.1:{hook.port}/"]')
        monkeypatch.setattr("fetchd.alerting.webhook.PAUSES", ())
        with opened(settings) as storage:
            trouble(storage)
            ran(after_round(settings, storage, NOW))
            assert len(hook.bodies) == 1
            assert len(alerts(storage.catalog)) == 1


def test_a_command_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(watching, "_tell", hangs)
    monkeypatch.setattr(watching, "LAST_TURN", 0.1)
    settings = settings_of(tmp_path, 'command = ["/bin/true"]')
    with opened(settings) as storage:
        began = time.monotonic()
        ran(after_round(settings, storage, NOW))
    assert time.monotonic() - began < 10


def test_a_round_without_trouble_imports_nothing_that_sends(tmp_path: Path) -> None:
    settings_of(tmp_path, 'command = ["/bin/true"]')
    code = (
        "import asyncio, sys\n"
        "from datetime import UTC, datetime\n"
        "from pathlib import Path\n"
        "from fetchd.alerting import after_round\n"
        "from fetchd.pipeline.storage import open_storage\n"
        "from fetchd.settings import load\n"
        f"settings = load(Path({str(tmp_path / 'fetchd.toml')!r}), {{}})\n"
        "with open_storage(settings) as storage:\n"
        "    asyncio.run(after_round(settings, storage, datetime.now(UTC)))\n"
        "heavy = {'httpx', 'apprise', 'fetchd.alerting.tell', 'cryptography', 'structlog'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
