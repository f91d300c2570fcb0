"""Runs one program to its end, or ends it: with a limit in time and on what it says.

The program leads a session and process group of its own. When its time is up, or whoever
waits loses patience (`Interrupt`), the whole group is asked to end (SIGTERM), and what
is left of it after GRACE is ended (SIGKILL). Both happen before the program's status is
collected, while its number cannot belong to anyone else yet.

The end of the program ends the wait, though a child that it left behind may hold its
standard error open for days. Of that only the last line is kept; standard output goes
nowhere. Nothing else that is open here is open there.
"""

import os
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic

from fetchd.values import Struct

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
KEPT = 2_000  # octets of standard error
DRAINED = 1 << 20  # octets that are read once it has ended
LOOK = 0.05  # seconds between looks at it, where the system has no pidfds

_PIECE = 1 << 16


class Ended(Struct, frozen=True):
    """How it went. `status`: of its exit, or a signal's number below zero; `said`: last line.

    `by_us`: it did not end by itself.
    """

    status: int
    said: str = ""
    by_us: bool = False


class Interrupt:
    """From another thread: end what runs, and whatever is run after it."""

    def __init__(self) -> None:
        self._seen, self._sent = os.pipe()
        self._ends: tuple[int, ...] = (self._seen, self._sent)

    def fileno(self) -> int:
        return self._seen

    def set(self) -> None:
        os.write(self._sent, b"!")  # never read, so it stays set

    def close(self) -> None:
        """May be repeated."""
        open_ends, self._ends = self._ends, ()
        for end in open_ends:
            os.close(end)


def run(
    arguments: Sequence[str],
    stdin: int,
    environment: Mapping[str, str],
    limit: float,
    interrupt: Interrupt,
) -> Ended:
    """Blocking; OSError when it cannot even be started."""
    # Neither a shell nor a word of a stranger: the arguments are the owner's.
    process = subprocess.Popen(  # noqa: S603
        arguments,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        env=environment,
        start_new_session=True,
    )
    with _Watched(process, interrupt) as watched:
        watched.until(monotonic() + limit)
        by_us = not watched.ended
        if by_us:
            _signal_group(process, signal.SIGTERM)
            watched.until(monotonic() + GRACE, hurried=True)
            _signal_group(process, signal.SIGKILL)
        status = process.wait()
        return Ended(status, watched.said(), by_us)


class _Watched:
    """A running program, and the end of what it says."""

    def __init__(self, process: subprocess.Popen[bytes], interrupt: Interrupt) -> None:
        assert process.stderr is not None
        self._process, self._stderr = process, process.stderr
        os.set_blocking(self._stderr.fileno(), False)
        self._tail = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stderr, selectors.EVENT_READ, "stderr")
        self._selector.register(interrupt, selectors.EVENT_READ, "interrupt")
        self._pidfd = _pidfd(process.pid)
        if self._pidfd is not None:
            self._selector.register(self._pidfd, selectors.EVENT_READ, "end")
        self._interrupt = interrupt
        self.ended = False

    def __enter__(self) -> "_Watched":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
        self._selector.close()
        self._stderr.close()

    def until(self, deadline: float, *, hurried: bool = False) -> None:
        """Return when it has ended, at the deadline, or, unless `hurried`, when interrupted."""
        if hurried:
            with suppress(KeyError):
                self._selector.unregister(self._interrupt)
        while not self.ended and (left := deadline - monotonic()) > 0:
            wait = left if self._pidfd is not None else min(left, LOOK)
            ready = {key.data for key, _ in self._selector.select(wait)}
            if "stderr" in ready and not self._read():
                self._selector.unregister(self._stderr)
            self.ended = "end" in ready if self._pidfd is not None else _has_ended(self._process)
            if "interrupt" in ready:
                return

    def said(self) -> str:
        """Its last line that says anything."""
        drained = 0
        while drained < DRAINED and (octets := self._read()):
            drained += octets
        lines = self._tail.decode("utf-8", "replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _read(self) -> int:
        """How many octets were there; 0 at the end, or where there is nothing now."""
        with suppress(BlockingIOError):
            piece = os.read(self._stderr.fileno(), _PIECE)
            self._tail = (self._tail + piece)[-KEPT:]
            return len(piece)
        return 0


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # all gone, or become another user
        os.killpg(process.pid, number)


def _pidfd(pid: int) -> int | None:
    """A descriptor that is readable once the process has ended; None where there are none."""
    with suppress(OSError, AttributeError):
        return os.pidfd_open(pid)
    return None


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Without collecting its status, which would free its number."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
