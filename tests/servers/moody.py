"""A port that leads to a real server while its mood is good, and to trouble while it is not.

    with Moody("127.0.0.1", server.port.imap, Mood.SILENT) as moody: ...  moody.port
    moody.mood = Mood.WELL

The mood holds for connections made from then on.
"""

import contextlib
import random
import socket
import threading
from enum import Enum
from typing import Self

HOST = "127.0.0.1"
CHUNK = 1 << 16


class Mood(Enum):
    """What becomes of a connection."""

    WELL = "led to the server"
    SILENT = "accepted, and never answered"
    REFUSING = "cut at once"
    GARBAGE = "told what no protocol knows, without end"


class Moody:
    """One listening port; a thread for each connection."""

    def __init__(self, host: str, port: int, mood: Mood = Mood.WELL) -> None:
        self._target = (host, port)
        self.mood = mood
        self.connections = 0
        self._server = socket.create_server((HOST, 0))
        self.port: int = self._server.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._ended = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ended = True
        for plug in (self._server, *self._open):
            with contextlib.suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)
            plug.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended:
                plug, _ = self._server.accept()
                self.connections += 1
                self._open.add(plug)
                threading.Thread(target=self._talk, args=(plug, self.mood), daemon=True).start()

    def _talk(self, plug: socket.socket, mood: Mood) -> None:
        with contextlib.suppress(OSError), plug:
            match mood:
                case Mood.SILENT:
                    while plug.recv(CHUNK):
                        pass
                case Mood.GARBAGE:
                    rng = random.Random(1)
                    while True:
                        plug.sendall(rng.randbytes(2000) + b"\r\n")
                case Mood.WELL:
                    self._lead(plug)
        self._open.discard(plug)

    def _lead(self, plug: socket.socket) -> None:
        with socket.create_connection(self._target) as other:
            self._open.add(other)
            back = threading.Thread(target=_copy, args=(other, plug), daemon=True)
            back.start()
            _copy(plug, other)
            back.join()
            self._open.discard(other)


def _copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while octets := source.recv(CHUNK):
            to.sendall(octets)
    with contextlib.suppress(OSError):
        to.shutdown(socket.SHUT_WR)
