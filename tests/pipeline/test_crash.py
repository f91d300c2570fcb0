"""Killed at every step: whatever was done before, the next start repairs it by itself.

A round runs in a forked child that kills itself (SIGKILL, no cleanup of any kind) just
before the n-th step, for every n there is: each hand-over to a thread and each call
that changes a disk. Then the round runs undisturbed, and the laws must hold: every
message once in the archive, once in the Maildir, none missing, none left behind.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fetchd.demo.server import PASSWORD, USERNAME, Maildrop, serve
from tests import corpus
from tests.pipeline.home import Home

MESSAGES = 7
DISK = ("write", "fsync", "fdatasync", "rename", "unlink", "ftruncate", "mkdir")
SLICES = 4  # the points are divided between as many tests


@pytest.fixture
def server() -> Iterator[Maildrop]:
    with serve(corpus.small(MESSAGES, size=600)) as drop:
        yield drop


class Steps:
    """Counts steps, and kills the process before the one that is its last."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.taken = 0

    def take(self) -> None:
        self.taken += 1
        if self.taken == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self.take()
            return call(*args, **kwargs)

        return watched


def round_in_child(here: Home, last: int) -> int:
    """Run a round that is killed before step `last`; 0 if it was, else the steps it took."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            steps = Steps(last)
            tell = os.write
            for name in DISK:
                setattr(os, name, steps.watch(getattr(os, name)))
            loop = asyncio.base_events.BaseEventLoop
            loop.run_in_executor = steps.watch(loop.run_in_executor)  # type: ignore[method-assign]
            code = 0 if here.sync().ok else 2
            tell(writer, b"%d" % steps.taken)
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        taken = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return 0
    assert os.WEXITSTATUS(status) == 0
    return int(taken)


@pytest.mark.parametrize("part", range(SLICES))
def test_a_kill_at_any_step_loses_and_repeats_nothing(
    server: Maildrop, tmp_path: Path, part: int
) -> None:
    messages = list(server.messages)
    killed, last = 0, 1 + part
    while True:
        folder = tmp_path / str(last)
        folder.mkdir()
        server.messages[:] = messages
        here = Home(folder, server.port, leave_on_server="none")
        here.account |= {"username": USERNAME, "password": PASSWORD}
        if round_in_child(here, last):
            break  # it had fewer steps than that
        killed += 1
        after = here.sync()
        assert after.ok, (last, after.sentence())
        assert here.sync().ok
        assert server.messages == [], last
        here.holds(messages)
        last += SLICES
    assert killed > 10


def test_killed_again_and_again(server: Maildrop, tmp_path: Path) -> None:
    """Each attempt gets a little further than the one before."""
    messages = list(server.messages)
    here = Home(tmp_path, server.port, leave_on_server="none")
    here.account |= {"username": USERNAME, "password": PASSWORD}
    last = 5
    while not round_in_child(here, last):
        last += 5
    assert server.messages == []
    here.holds(messages)
