"""How commands ask the service that runs for their data folder: one question, its answers.

Whoever asks waits no longer than `SILENCE` for the next word: the service says something all
the time it is at it. A signal ends the wait and not what was asked for.
"""

import os
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fetchd.cli.stopping import stoppable
from fetchd.daemon.holder import Holder, holder_of
from fetchd.daemon.messages import (
    ANSWER_LIMIT,
    Answer,
    Beat,
    Failed,
    Hello,
    Request,
    answer,
    line,
)
from fetchd.daemon.sockets import connected
from fetchd.errors import ServiceError, UsageError

GREETING = 5.0  # seconds for Hello
SILENCE = 30.0  # seconds without any word: it hangs
PIECE = 1 << 16


class Asking:
    """A connection to the service, from `reach` to the end of its `with`."""

    def __init__(self, plug: socket.socket, holder: Holder) -> None:
        self.holder = holder
        self._plug = plug
        self._octets = bytearray()
        self._stopped, self._stop = os.pipe()

    def close(self) -> None:
        """Hang up."""
        self._plug.close()
        os.close(self._stopped)
        os.close(self._stop)

    def ask(self, request: Request) -> None:
        """Say what is wanted."""
        try:
            self._plug.sendall(line(request))
        except OSError:
            raise self.gone() from None

    def answers(self) -> Iterator[Answer]:
        """One after the other, until the service has said all. Failed is raised."""
        while (octets := self._line(SILENCE)) is not None:
            yield self._understood(octets)

    def answer(self) -> Answer:
        """The next one; that there is none is an error."""
        for one in self.answers():
            if not isinstance(one, Beat):
                return one
        raise self.gone()

    def _understood(self, octets: bytes) -> Answer:
        try:
            found = answer(octets)
        except ValueError:
            raise self._trouble("speaks in words that this fetchd does not know") from None
        if isinstance(found, Failed):
            kind = UsageError if found.misused else ServiceError
            raise kind(found.sentence, advice=found.advice)
        return found

    def greeted(self) -> None:
        """ServiceError unless what listens there is a service that answers."""
        octets = self._line(GREETING)
        if octets is None or not isinstance(self._understood(octets), Hello):
            raise self._trouble("does not answer")

    def _line(self, patience: float) -> bytes | None:
        """The next line; None when the service has hung up."""
        until = time.monotonic() + patience
        begin = 0
        while (end := self._octets.find(b"\n", begin)) < 0:
            begin = len(self._octets)
            if begin > ANSWER_LIMIT:
                raise self._trouble("answers at too great a length")
            piece = self._piece(until)
            if not piece:
                return None
            self._octets += piece
        found = bytes(self._octets[:end])
        del self._octets[: end + 1]
        return found

    def _piece(self, until: float) -> bytes:
        ends = [self._plug.fileno(), self._stopped]
        ready, _, _ = select.select(ends, [], [], max(0.0, until - time.monotonic()))
        if self._stopped in ready:
            raise KeyboardInterrupt
        if not ready:
            raise self._trouble("does not answer")
        with suppress(ConnectionError):
            return self._plug.recv(PIECE)
        return b""

    def interrupt(self) -> None:
        """From a signal handler: whoever waits stops waiting."""
        os.write(self._stop, b"x")

    def gone(self) -> ServiceError:
        """For whoever lacks an answer at the end of them."""
        return self._trouble("went away before it had answered")

    def _trouble(self, what: str) -> ServiceError:
        return ServiceError(
            f"The service ({self.holder}) {what}.",
            advice="See its log ('journalctl -u fetchd'), or start it anew.",
        )


@contextmanager
def reach(data_dir: Path) -> Iterator[Asking]:
    """The service of this data folder; ServiceError where none runs, or none answers.

    Within, a signal raises KeyboardInterrupt where we wait; a second one ends the process.
    """
    holder = holder_of(data_dir)
    if holder is None:
        raise ServiceError(
            f"No service is running for {data_dir}.",
            advice="Start it: 'systemctl start fetchd', or 'fetchd serve'.",
        )
    asking = Asking(_connection(data_dir, holder), holder)
    try:
        with stoppable(asking.interrupt):
            asking.greeted()
            yield asking
    finally:
        asking.close()


def _connection(data_dir: Path, holder: Holder) -> socket.socket:
    try:
        return connected(data_dir, GREETING)
    except OSError as error:
        raise ServiceError(
            f"The service ({holder}) cannot be asked: {error.strerror or error}.",
            advice="If it has just begun, or is about to end, try again; else see its log.",
        ) from None
