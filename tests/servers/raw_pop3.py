"""A tiny POP3 reader on a bare socket: the second opinion on what a server holds.

It shares no code with fetchd and none with poplib, so that a test comparing
fetchd's result with it compares two readings of the same octets. It is strict
and trusts the server: anything but +OK is a RuntimeError.

`RawPop3(host, port, user, password)` logs in; `uidls()`, `sizes()`,
`messages()` read; `quit()` leaves. As a context manager it quits on the way out.
"""

import socket
from collections.abc import Iterator
from typing import Self

CHUNK = 1 << 18
WINDOW = 64  # RETRs outstanding: enough for speed, few enough not to deadlock


class RawPop3:
    """One logged-in session."""

    def __init__(
        self, host: str, port: int, user: str, password: str, *, timeout: float = 60
    ) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        try:
            self._status()
            self.command(b"USER " + user.encode())
            self.command(b"PASS " + password.encode())
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            self.quit()
        else:
            self._socket.close()

    def command(self, line: bytes) -> bytes:
        """Send one command and return its +OK line."""
        self._socket.sendall(line + b"\r\n")
        return self._status()

    def uidls(self) -> list[bytes]:
        """The unique-id of every message, in the order of message numbers."""
        self.command(b"UIDL")
        return [line.split(b" ", 1)[1] for line in self._dotted().splitlines()]

    def sizes(self) -> list[int]:
        """The size that LIST announces for every message."""
        self.command(b"LIST")
        return [int(line.split()[1]) for line in self._dotted().splitlines()]

    def messages(self) -> Iterator[bytes]:
        """Every message's exact octets, dot-stuffing undone, in order."""
        total = len(self.sizes())
        for number in range(1, min(WINDOW, total) + 1):
            self._socket.sendall(b"RETR %d\r\n" % number)
        for number in range(1, total + 1):
            self._status()
            yield self._dotted()
            if number + WINDOW <= total:
                self._socket.sendall(b"RETR %d\r\n" % (number + WINDOW))

    def quit(self) -> None:
        """Leave as RFC 1939 wants it, so that deletions happen and the lock is freed."""
        try:
            self.command(b"QUIT")
        finally:
            self._socket.close()

    def _status(self) -> bytes:
        line = self._take_until(b"\r\n")
        if not line.startswith(b"+OK"):
            raise RuntimeError(f"the server said {line!r}")
        return line

    def _dotted(self) -> bytes:
        """One dot-terminated reply, RFC 1939 §3; an empty one is the lone dot at once."""
        self._fill(3)
        if self._buffer.startswith(b".\r\n"):
            del self._buffer[:3]
            return b""
        body = self._take_until(b"\r\n.\r\n") + b"\r\n"
        body = body.replace(b"\r\n..", b"\r\n.")
        return body[1:] if body.startswith(b"..") else body

    def _take_until(self, end: bytes) -> bytes:
        searched = 0
        while (at := self._buffer.find(end, searched)) < 0:
            searched = max(0, len(self._buffer) - len(end) + 1)
            self._fill(len(self._buffer) + 1)
        taken = bytes(self._buffer[:at])
        del self._buffer[: at + len(end)]
        return taken

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            data = self._socket.recv(CHUNK)
            if not data:
                raise RuntimeError("the server closed the connection")
            self._buffer += data
