"""Clocks that are set, and machines that sleep."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from fetchd.daemon import clockwatch
from fetchd.daemon.clockwatch import PERIOD, Jump, Kind, Reading, jumps, watch_clocks

START = Reading(1000.0, 5000.0, 1.8e9)
NONE: tuple[Jump, ...] = ()


def after(monotonic: float, since_boot: float, wall: float) -> Reading:
    return Reading(START.monotonic + monotonic, START.since_boot + since_boot, START.wall + wall)


@pytest.mark.parametrize(
    ("reading", "found"),
    [
        (after(5, 5, 5), NONE),
        (after(600, 600, 600), NONE),  # the process was stopped; no clock was
        (after(5, 5, 5.4), NONE),  # NTP, bit by bit
        (after(5, 6, 6), NONE),  # a nap
        (after(5, 3605, 3605), (Jump(Kind.SLEPT, 3600),)),
        (after(5, 5, 3605), (Jump(Kind.FORWARD, 3600),)),
        (after(5, 5, -3595), (Jump(Kind.BACK, 3600),)),
        (after(5, 5, 7), (Jump(Kind.FORWARD, 2),)),
        (after(5, 5, 3), (Jump(Kind.BACK, 2),)),
        # It slept, and NTP put right a clock that had run badly meanwhile.
        (after(5, 3605, 3635), (Jump(Kind.SLEPT, 3600), Jump(Kind.FORWARD, 30))),
        (after(5, 3605, 3575), (Jump(Kind.SLEPT, 3600), Jump(Kind.BACK, 30))),
        (after(5, 3605, 5), (Jump(Kind.SLEPT, 3600), Jump(Kind.BACK, 3600))),
    ],
)
def test_jumps(reading: Reading, found: tuple[Jump, ...]) -> None:
    assert jumps(START, reading) == found


def watched(*readings: Reading) -> tuple[list[tuple[Kind, float]], list[float]]:
    """What is told of readings one after the other, and how long was waited between them."""
    told: list[tuple[Kind, float]] = []
    waits: list[float] = []
    left: Iterator[Reading] = iter(readings)

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == len(readings):
            raise asyncio.CancelledError

    async def watch() -> None:
        await watch_clocks(
            lambda kind, seconds: told.append((kind, seconds)),
            read=lambda: next(left), sleep=sleep,
        )  # fmt: skip

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch())
    return told, waits


def test_each_event_is_told_once() -> None:
    told, waits = watched(
        START, after(5, 5, 5), after(10, 110, 110), after(15, 115, 115), after(20, 120, 60),
        after(25, 125, 65), after(30, 130, 130),
    )  # fmt: skip
    assert told == [(Kind.SLEPT, 100.0), (Kind.BACK, 60.0), (Kind.FORWARD, 60.0)]
    assert waits == [PERIOD] * 7


def test_the_clocks_of_this_machine_stand_still_together() -> None:
    first, second = clockwatch.read_clocks(), clockwatch.read_clocks()
    assert jumps(first, second) == NONE
    assert abs(second.wall - time.time()) < 60


def test_a_process_that_is_held_up_between_two_clocks_reads_them_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = iter([10.0, 100.0, 200.0, 200.001])  # held up for 90 s within the first reading
    monkeypatch.setattr(time, "monotonic", lambda: next(shown))
    assert clockwatch.read_clocks().monotonic == 200.0


def test_without_a_clock_since_boot_sleep_shows_as_a_clock_put_forward(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clockwatch, "_SINCE_BOOT", None)
    reading = clockwatch.read_clocks()
    assert reading.since_boot == reading.monotonic
    slept = Reading(reading.monotonic + 5, reading.since_boot + 5, reading.wall + 65)
    assert jumps(reading, slept) == (Jump(Kind.FORWARD, pytest.approx(60)),)
