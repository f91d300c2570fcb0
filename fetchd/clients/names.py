"""What a host name stands for, asked of the system's resolver with an end to the waiting.

A resolver that does not answer holds a thread for up to half a minute, and nothing can call
the thread back. So these threads are our own, and few: what else works in threads goes on,
and none of them keeps a process that wants to end from ending.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

MOST_ADDRESSES = 16  # of one name; a name with more says the same thing often
_MOST_THREADS = 16

Address = tuple[int, Any]  # its family, and what connect() takes

_FAMILIES = {"4": socket.AF_INET, "6": socket.AF_INET6, "any": socket.AF_UNSPEC}


async def addresses(host: str, port: int, ip: str = "any") -> list[Address]:
    """In the resolver's order; socket.gaierror, UnicodeError. The caller's deadline holds."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Address]] = loop.create_future()

    def ask() -> None:
        try:
            found = _look_up(host, port, _FAMILIES[ip])
        except (OSError, UnicodeError) as error:
            _tell(loop, answer, error)
        else:
            _tell(loop, answer, found)

    if _is_literal(host):
        return _look_up(host, port, _FAMILIES[ip])
    _DESK.submit(ask)
    return await answer


def _look_up(host: str, port: int, family: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    known: dict[Address, None] = {(int(one[0]), one[4]): None for one in found}
    return list(known)[:MOST_ADDRESSES]


def _is_literal(host: str) -> bool:
    """Whether there is nothing to ask: then a thread would be in vain."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return True
    return False


def _tell(
    loop: asyncio.AbstractEventLoop,
    answer: "asyncio.Future[list[Address]]",
    result: list[Address] | Exception,
) -> None:
    def settle() -> None:
        if answer.done():
            return  # nobody waits any more
        if isinstance(result, Exception):
            answer.set_exception(result)
        else:
            answer.set_result(result)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop has ended meanwhile
        return


class _Desk:
    """Threads that are started as they are needed, and end with the process."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._idle = 0

    def submit(self, job: Callable[[], None]) -> None:
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads < _MOST_THREADS:
                self._threads += 1
                threading.Thread(target=self._work, daemon=True, name="resolver").start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            with self._lock:
                self._idle += 1


_DESK = _Desk()
