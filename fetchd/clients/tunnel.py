"""A program whose standard input and output are the line: tunnel = ["ssh", "-W", "{host}:{port}"].

No shell; {host} and {port} are put in. Both of its ends are one socket, so that whatever
works over TCP, TLS included, works over it. It leads a process group of its own, which is
asked to end (SIGTERM) when the line does, and ended GRACE later (SIGKILL); both before its
status is collected, while its number cannot belong to anyone else. Of what it says on
standard error, the last line is told where the line breaks.

Variables of fetchd's own settings, which may be secrets, are not handed to it.
"""

import asyncio
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress

from fetchd.errors import ConnectionFailed
from fetchd.telemetry import printable, redact

GRACE = 3.0  # seconds between SIGTERM and SIGKILL
ADVICE = "Run the program of tunnel by hand, and see what it says."
_KEPT = 2_000  # octets of standard error
_SHOWN = 300  # characters of its last line
_LAST_WORDS = 1.0  # seconds that it has for them once the line is broken
_PIECE = 1 << 16


class Tunnel:
    """One running program; made by `open_tunnel`.

    Threads of its own look after it, so that it ends whatever becomes of the event loop.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._said = b""
        self._over = threading.Event()
        self._ending: threading.Thread | None = None
        self._hearing = threading.Thread(target=self._hear, daemon=True, name="tunnel")
        self._hearing.start()

    def end(self) -> None:
        """The line is closed: the program has nothing left to do. May be repeated."""
        if self._ending is None:
            self._ending = threading.Thread(target=self._see_out, name="tunnel ends")
            self._ending.start()

    async def ended(self) -> None:
        """Wait until it has; at most GRACE and a little."""
        self.end()
        await asyncio.to_thread(self._over.wait, GRACE + 2 * _LAST_WORDS)

    async def explained(self, sentence: str) -> ConnectionFailed:
        """The fault of the line, with what the program says of it."""
        self.end()
        await asyncio.to_thread(self._over.wait, _LAST_WORDS)
        lines = self._said.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        said = f" says: {printable(redact(last))[:_SHOWN]}" if last else ""
        status = self._process.returncode
        if not said and (status is None or status < 0):  # ended by us, or not yet
            return ConnectionFailed(sentence)
        how = f" ended with status {status}" if status is not None and status >= 0 else ""
        both = " and" if how and said else ""
        return ConnectionFailed(
            f"{sentence}: the program of tunnel{how}{both}{said}", advice=ADVICE
        )

    def _hear(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        with stderr:
            while piece := stderr.read(_PIECE):
                self._said = (self._said + piece)[-_KEPT:]

    def _see_out(self) -> None:
        """It ends by itself when its line does, at SIGTERM, or at SIGKILL."""
        if not self._ends_within(_LAST_WORDS / 2):
            self._signal(signal.SIGTERM)
            if not self._ends_within(GRACE):
                self._signal(signal.SIGKILL)
        self._process.wait()  # nobody survives that
        self._hearing.join(_LAST_WORDS / 4)  # a child of its own may hold its standard error
        self._over.set()

    def _ends_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


async def open_tunnel(
    arguments: Sequence[str], host: str, port: int
) -> tuple[socket.socket, Tunnel]:
    """Start it; our end of the line, and the program."""
    filled = [one.replace("{host}", host).replace("{port}", str(port)) for one in arguments]
    ours, theirs = socket.socketpair()
    starting = asyncio.get_running_loop().run_in_executor(None, _start, filled, theirs)
    try:
        process = await asyncio.shield(starting)
    except OSError as error:
        ours.close()
        raise ConnectionFailed(
            f"the program {filled[0]} of tunnel cannot be started: {error.strerror}", advice=ADVICE
        ) from error
    except BaseException:
        ours.close()
        starting.add_done_callback(_end_unwanted)
        raise
    ours.setblocking(False)
    return ours, Tunnel(process)


def _end_unwanted(starting: "asyncio.Future[subprocess.Popen[bytes]]") -> None:
    """Nobody waits any more for this program, which may have been started all the same."""
    if not starting.cancelled() and starting.exception() is None:
        Tunnel(starting.result()).end()


def _start(arguments: Sequence[str], line: socket.socket) -> "subprocess.Popen[bytes]":
    environment = {k: v for k, v in os.environ.items() if not k.upper().startswith("FETCHD_")}
    # Neither a shell nor a word of a stranger: the arguments are the owner's.
    with line:  # closed here and by nobody else, lest its number be another's by then
        return subprocess.Popen(  # noqa: S603
            arguments,
            stdin=line.fileno(),
            stdout=line.fileno(),
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            bufsize=0,
        )
