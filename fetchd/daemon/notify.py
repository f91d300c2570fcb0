"""What systemd is told of a service: sd_notify(3), by a datagram for each message.

Nothing here blocks, and nothing raises: a service manager that does not listen is no reason
to fetch no mail. A message for which there is no room at the moment goes ahead of the next
one. Outside of systemd all of this does nothing.

The watchdog is fed only while `alive` says so, in time: systemd then ends a service that
still runs but does no work, and starts it anew.
"""

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping

from fetchd.telemetry import log, redact

STATUS_LIMIT = 400  # characters of a status line
OWED = 8  # messages that wait for room
UNWATCHED = 30.0  # seconds: the interval at which we look where systemd does not watch
_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notify:
    """Messages to the service manager; `watchdog` is its interval in seconds, None: it has none."""

    def __init__(self, address: str = "", watchdog: float | None = None) -> None:
        self._name = _name_of(address)
        self._owed: deque[bytes] = deque(maxlen=OWED)
        self._status = ""
        self.watchdog = watchdog if self.heard else None

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> "Notify":
        """As the environment says, from which it is taken: our children are not the service."""
        address, interval, pid = (environ.pop(name, "") for name in _VARIABLES)
        ours = not pid or pid == str(os.getpid())
        usec = int(interval) if interval.isdecimal() else 0
        return cls(address, usec / 1e6 if usec and ours else None)

    @property
    def heard(self) -> bool:
        """Whether there is a service manager that listens."""
        return bool(self._name)

    def ready(self, status: str = "") -> None:
        """The service does its work: after the start, and after each reload."""
        self._send("READY=1", f"MAINPID={os.getpid()}", *self._told(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`; the same again is not sent."""
        if lines := self._told(text):
            self._send(*lines)

    def reloading(self) -> None:
        """The settings are being read again; `ready` ends it (systemd 253: notify-reload)."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self, status: str = "") -> None:
        """What is under way is being finished."""
        self._send("STOPPING=1", *self._told(status))

    def extend(self, seconds: float) -> None:
        """Starting, or stopping, goes on for so long; more than TimeoutStopSec= foresaw."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def feed(self) -> None:
        """The watchdog may wait for another interval."""
        self._send("WATCHDOG=1")

    def _told(self, status: str) -> list[str]:
        shown = " ".join(redact(status).split())[:STATUS_LIMIT]
        if not shown or shown == self._status:
            return []
        self._status = shown
        return [f"STATUS={shown}"]

    def _send(self, *lines: str) -> None:
        if not self.heard:
            return
        self._owed.append("\n".join(lines).encode("utf-8", "replace"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plug:
            plug.setblocking(False)
            while self._owed and _sent(plug, self._owed[0], self._name):
                self._owed.popleft()


class Watchdog:
    """Feeds systemd's watchdog while `alive` answers True within a third of the interval.

    `well` is what it found last, for whoever else wants to know: /healthz, `fetchd top`.
    """

    def __init__(
        self, notify: Notify, alive: Callable[[], Awaitable[bool]], *, interval: float = UNWATCHED
    ) -> None:
        self._notify, self._alive = notify, alive
        self._period = (notify.watchdog or interval) / 3
        self.well = True

    async def run(self) -> None:
        """Until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            self._found(await self._asked())
            if self.well:
                self._notify.feed()
            await asyncio.sleep(max(0.0, began + self._period - clock()))

    async def _asked(self) -> bool:
        try:
            async with asyncio.timeout(self._period):
                return await self._alive()
        except Exception as error:  # whatever it is: who cannot answer is not well
            log().debug("watchdog.failed", reason=repr(error))
            return False

    def _found(self, well: bool) -> None:
        if well != self.well:
            say = log().info if well else log().error
            say("service.well" if well else "service.stuck")
        self.well = well


def _sent(plug: socket.socket, message: bytes, name: str) -> bool:
    """False: there is no room, and it may be tried again; what fails for good is done with."""
    try:
        plug.sendto(message, name)
    except (BlockingIOError, InterruptedError):
        return False
    except (OSError, ValueError) as error:
        log().debug("notify.failed", reason=str(error))
    return True


def _name_of(address: str) -> str:
    """A path, or an abstract name, which is written with @; "" for what we do not speak."""
    if address.startswith("@"):
        return f"\0{address[1:]}"
    return address if address.startswith("/") else ""
