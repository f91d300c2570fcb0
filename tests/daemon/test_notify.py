"""What systemd hears, at a socket as it has one; and a watchdog that is not fed by the dead."""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from fetchd.daemon.notify import OWED, STATUS_LIMIT, Notify, Watchdog
from fetchd.errors import CatalogError


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plug:
        name = str(tmp_path / "notify")
        plug.bind(name if request.param == "path" else f"\0fetchd-{os.getpid()}-{name}")
        plug.settimeout(20)
        yield plug


def address(manager: socket.socket) -> str:
    name = manager.getsockname()
    return "@" + os.fsdecode(name[1:]) if isinstance(name, bytes) else name


def heard(manager: socket.socket) -> list[list[str]]:
    """All messages that are there now, each as lines."""
    messages = []
    manager.setblocking(False)
    while True:
        try:
            messages.append(manager.recv(4096).decode().split("\n"))
        except BlockingIOError:
            manager.settimeout(20)
            return messages


def test_a_life_is_told_in_the_words_of_sd_notify(manager: socket.socket) -> None:
    notify = Notify.of({"NOTIFY_SOCKET": address(manager)})
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify.ready("3 accounts")
    notify.status("3 accounts")
    notify.status("all is well")
    notify.reloading()
    notify.ready()
    notify.extend(1.5)
    notify.feed()
    notify.stopping("finishing 2 syncs")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    told = heard(manager)
    begun = told[2].pop()
    assert told == [
        ["READY=1", f"MAINPID={os.getpid()}", "STATUS=3 accounts"],
        ["STATUS=all is well"],
        ["RELOADING=1"],
        ["READY=1", f"MAINPID={os.getpid()}"],
        ["EXTEND_TIMEOUT_USEC=1500000"],
        ["WATCHDOG=1"],
        ["STOPPING=1", "STATUS=finishing 2 syncs"],
    ]
    name, _, value = begun.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= after


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_status_is_one_short_line(manager: socket.socket) -> None:
    Notify(address(manager)).status("of a\nserver\r\n\x00 READY=0 " + "x" * 5000)
    ((line,),) = heard(manager)
    assert line.startswith("STATUS=of a server")
    assert len(line) <= STATUS_LIMIT + len("STATUS=")


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_ours_if_systemd_means_us(
    environ: dict[str, str], interval: float | None, tmp_path: Path
) -> None:
    environ |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "OTHER": "stays"}
    assert Notify.of(environ).watchdog == interval
    assert environ == {"OTHER": "stays"}


@pytest.mark.parametrize(
    "where", ["", "vsock:2:1234", "relative", "/nonexistent/notify", "/" + "x" * 200, "/a\0b"]
)
def test_without_a_manager_that_listens_nothing_happens(where: str) -> None:
    notify = Notify.of({"NOTIFY_SOCKET": where})
    notify.ready("well")
    notify.feed()
    notify.stopping()


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_what_finds_no_room_goes_ahead_of_the_next(manager: socket.socket) -> None:
    notify = Notify(address(manager))
    sent = 0
    while not notify._owed:  # the manager does not read
        notify.feed()
        sent += 1
        assert sent < 100_000
    began = time.monotonic()
    notify.stopping()
    for _ in range(3 * OWED):
        notify.feed()
    assert time.monotonic() - began < 5  # it never waited
    assert len(notify._owed) == OWED
    heard(manager)
    notify.reloading()
    told = heard(manager)
    assert told[-1][0] == "RELOADING=1"
    assert len(told) == OWED


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_manager_that_comes_back_is_heard_again(manager: socket.socket, tmp_path: Path) -> None:
    notify = Notify(address(manager))
    notify.feed()
    (tmp_path / "notify").unlink()
    notify.feed()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
        again.bind(str(tmp_path / "notify"))
        notify.status("here")
        assert heard(again) == [["STATUS=here"]]


# -- The watchdog --------------------------------------------------------------------------

Alive = Callable[[], Awaitable[bool]]


async def _well() -> bool:
    return True


async def _not_well() -> bool:
    return False


async def _stuck() -> bool:
    await asyncio.sleep(3600)
    return True


async def _broken() -> bool:
    raise CatalogError("the disk is full")


async def _buggy() -> bool:
    raise ZeroDivisionError


def watched(manager: socket.socket, alive: Alive, seconds: float) -> tuple[int, bool]:
    """How often a watchdog of 0.15 s was fed within that time, and what it then thought."""

    async def live() -> bool:
        watchdog = Watchdog(Notify(address(manager), 0.15), alive)
        running = asyncio.create_task(watchdog.run())
        await asyncio.sleep(seconds)
        running.cancel()
        await asyncio.wait({running})
        return watchdog.well

    well = asyncio.run(live())
    return heard(manager).count(["WATCHDOG=1"]), well


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_who_advances_is_fed_thrice_in_an_interval(manager: socket.socket) -> None:
    fed, well = watched(manager, _well, 1.0)
    assert 7 <= fed <= 21  # 20 on a machine that has nothing else to do
    assert well


@pytest.mark.parametrize("manager", ["path"], indirect=True)
@pytest.mark.parametrize("alive", [_not_well, _stuck, _broken, _buggy])
def test_who_does_not_advance_is_not_fed(manager: socket.socket, alive: Alive) -> None:
    assert watched(manager, alive, 0.5) == (0, False)


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_loop_that_is_blocked_does_not_feed(manager: socket.socket) -> None:
    async def live() -> list[list[str]]:
        running = asyncio.create_task(Watchdog(Notify(address(manager), 0.15), _well).run())
        await asyncio.sleep(0)
        heard(manager)
        time.sleep(1)  # noqa: ASYNC251  # as a bug would
        found = heard(manager)
        running.cancel()
        await asyncio.wait({running})
        return found

    assert asyncio.run(live()) == []


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_who_recovers_is_fed_again(manager: socket.socket) -> None:
    answers = iter([True, False, False])

    async def alive() -> bool:
        return next(answers, True)

    fed, well = watched(manager, alive, 1.0)
    assert fed > 2
    assert well


def test_without_systemd_it_still_knows() -> None:
    async def live() -> bool:
        watchdog = Watchdog(Notify(), _not_well, interval=0.03)
        running = asyncio.create_task(watchdog.run())
        async with asyncio.timeout(20):
            while watchdog.well:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running})
        return watchdog.well

    assert not asyncio.run(live())
