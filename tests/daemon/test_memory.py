"""What nobody uses any more goes back, however quiet the service is."""

import asyncio
import contextlib
import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from fetchd.daemon import memory
from fetchd.daemon.memory import return_memory

DEADLINE = 10.0


class Ring:
    """Holds itself, as a connection and its protocol hold each other."""

    def __init__(self) -> None:
        self.itself = self
        self.ballast = bytearray(1 << 20)


@pytest.fixture
def _no_garbage_is_looked_for() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


async def _until_gone() -> None:
    gone = asyncio.Event()
    weakref.finalize(Ring(), gone.set)
    returning = asyncio.create_task(return_memory(0.01))
    try:
        async with asyncio.timeout(DEADLINE):
            await gone.wait()
    finally:
        returning.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await returning


@pytest.mark.usefixtures("_no_garbage_is_looked_for")
def test_rings_are_found_though_python_looks_for_none() -> None:
    asyncio.run(_until_gone())


@pytest.mark.usefixtures("_no_garbage_is_looked_for")
def test_a_c_library_without_trim_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_trim", lambda: None)
    asyncio.run(_until_gone())


def test_the_c_library_is_told() -> None:
    trim = memory._trim()
    if trim is not None:
        assert trim(0) in (0, 1)  # whether it had anything to give back


@pytest.mark.parametrize(("mapped", "kept"), [(True, range(10)), (False, range(40, 60))])
def test_large_blocks_go_back_at_once_whatever_lies_behind_them(mapped: bool, kept: range) -> None:
    """In a process of its own, since what the C library has learnt stays learnt."""
    code = (
        "import resource\n"
        "from fetchd.daemon.memory import map_what_is_large\n"
        f"if {mapped}: map_what_is_large()\n"
        "for _ in range(50): bytearray(8 << 20)\n"  # by which glibc learns
        "def resident():\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize()\n"
        "before = resident()\n"
        "pairs = [(bytearray(256 << 10), bytearray(5000)) for _ in range(200)]\n"
        "small = [small for _, small in pairs]\n"
        "del pairs\n"
        "print((resident() - before) >> 20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) in kept  # of 50 MiB
