"""IMAP on a bare socket, for tests that count every octet the scripted server says.

with ScriptedImap({"INBOX": [ONE]}) as server, wire(server) as client:
    assert client.say("NOOP") == b"t OK done\\r\\n"
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from tests.servers.imap_boxes import Box
from tests.servers.mail import Mail
from tests.servers.proxy import Proxy
from tests.servers.scripted_imap import ScriptedImap

ONE = b"Subject: one\r\nFrom: a@b\r\n\r\nfirst\r\n"
TWO = b"Subject: two\r\n\r\nsecond, with <tag> in it\r\n"
SEEN = Mail(TWO, ("\\Seen",), datetime(2020, 1, 2, tzinfo=UTC))
NARROW = ("IMAP4rev1",)


class RawImap:
    """A client that says lines and collects them."""

    def __init__(self, server: ScriptedImap | Proxy) -> None:
        self._socket = socket.create_connection((server.host, server.port), 10)
        self._file = self._socket.makefile("rb")
        self.greeting = self._file.readline()

    def say(self, line: str, *, tag: str = "t") -> bytes:
        """Everything up to the tagged line, or the end of the connection."""
        self._socket.sendall(f"{tag} {line}\r\n".encode())
        return self.until(f"{tag} ".encode())

    def raw(self, octets: bytes) -> None:
        """Send octets as they are."""
        self._socket.sendall(octets)

    def until(self, start: bytes) -> bytes:
        """Everything up to a line that starts so, or the end of the connection."""
        said = b""
        while line := self._file.readline():
            said += line
            if line.startswith(start):
                break
        return said

    def take(self, size: int) -> bytes:
        """So many octets."""
        return self._file.read(size)

    def close(self) -> None:
        """Leave without a word."""
        self._file.close()
        self._socket.close()


@contextmanager
def wire(server: ScriptedImap | Proxy, *, inside: bool = True) -> Iterator[RawImap]:
    """A conversation, unless told otherwise logged in and with INBOX selected."""
    client = RawImap(server)
    try:
        if inside:
            client.say("LOGIN me secret")
            client.say("SELECT INBOX")
        yield client
    finally:
        client.close()


def said(command: str, *boxes: Box, **server: object) -> bytes:
    """What one command brings, in a mailbox with ONE and TWO unless another is given."""
    box = boxes[0] if boxes else Box([ONE, SEEN])
    with ScriptedImap({"INBOX": box}, **server) as scripted, wire(scripted) as client:  # type: ignore[arg-type]
        return client.say(command)
