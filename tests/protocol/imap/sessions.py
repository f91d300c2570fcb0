"""Sessions brought to a state by a short honest conversation."""

from fetchd.protocol.imap import commands
from fetchd.protocol.imap.session import MAX_BODY, ImapProtocol
from fetchd.protocol.imap.types import State


def greeted(capabilities: str = "", *, strict: bool = False) -> ImapProtocol:
    protocol = ImapProtocol(strict=strict)
    protocol.receive(f"* OK [CAPABILITY IMAP4rev1 {capabilities}] hello\r\n".encode())
    return protocol


def logged_in(
    capabilities: str = "", *, max_body: int = MAX_BODY, strict: bool = False
) -> ImapProtocol:
    protocol = ImapProtocol(max_body, strict=strict)
    protocol.receive(b"* OK hello\r\n")
    protocol.send(commands.login("tim", "secret"))
    protocol.receive(f"A1 OK [CAPABILITY IMAP4rev1 {capabilities}] welcome\r\n".encode())
    assert protocol.state is State.AUTHENTICATED
    return protocol


def selected(*, max_body: int = MAX_BODY, strict: bool = False) -> ImapProtocol:
    protocol = logged_in(max_body=max_body, strict=strict)
    protocol.send(commands.select(b"INBOX"))
    protocol.receive(b"A2 OK [READ-WRITE] yours\r\n")
    assert protocol.state is State.SELECTED
    return protocol
