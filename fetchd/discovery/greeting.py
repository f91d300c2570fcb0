"""Whether a server answers as it should: greeting, TLS verified, capabilities. No login.

`greet` raises the same errors as a sync would, so what it says can be acted upon.
"""

import asyncio
from pathlib import Path

from fetchd.clients.imap import ImapClient
from fetchd.clients.pop3 import Pop3Client
from fetchd.clients.stream import Stream, TlsMode, TlsSettings
from fetchd.errors import ConnectionFailed, TlsFailed
from fetchd.sources.imap_login import capabilities as imap_capabilities
from fetchd.sources.login import Access, certainty, connect
from fetchd.sources.pop3_login import parse_capabilities
from fetchd.values import Struct

PATIENCE = 20.0  # seconds for all of it


class Greeted(Struct, frozen=True):
    """What the server said of itself; `tls` is empty on a line without."""

    text: str
    tls: str
    capabilities: tuple[str, ...]


async def greet(
    protocol: str,
    host: str,
    port: int,
    tls: str,
    *,
    ca_file: Path | None = None,
    fingerprint: str | None = None,
    patience: float = PATIENCE,
) -> Greeted:
    """Connect, hear the greeting, encrypt, ask for the capabilities, and take leave."""
    settings = TlsSettings(TlsMode(tls), ca_file, fingerprint)
    # No password is at hand, so a line without TLS shows none.
    access = Access(
        host, port, settings, allow_plaintext_auth=True, connect_timeout=patience,
        read_timeout=patience,
    )  # fmt: skip
    try:
        async with asyncio.timeout(patience):
            return await _greet(protocol, access)
    except TimeoutError:
        raise ConnectionFailed(f"{host}:{port} did not answer within {patience:g} s") from None


async def _greet(protocol: str, access: Access) -> Greeted:
    stream = await connect(access)
    try:
        greeted = await (_imap if protocol == "imap" else _pop3)(stream, access)
    except BaseException:
        stream.abort()
        raise
    await stream.close()
    return greeted


async def _imap(stream: Stream, access: Access) -> Greeted:
    client = ImapClient(stream, access.read_timeout, None)
    greeting = await client.greeting()
    if access.tls.mode is TlsMode.STARTTLS:
        if greeting.preauth:
            raise TlsFailed(f"{stream.where} has logged us in already, without TLS")
        answer = await client.start_tls(access.tls, access.connect_timeout)
        if not answer.ok:
            raise TlsFailed(f"{stream.where} refuses STARTTLS: {answer.text}")
    offered = await imap_capabilities(client)
    await client.logout()
    return Greeted(greeting.text, certainty(stream), tuple(sorted(offered)))


async def _pop3(stream: Stream, access: Access) -> Greeted:
    client = Pop3Client(stream, access.read_timeout, None)
    greeting = await client.greeting()
    if access.tls.mode is TlsMode.STARTTLS:
        reply = await client.ask("STLS")
        if not reply.ok:
            raise TlsFailed(f"{stream.where} refuses STLS: {reply.text}")
        await stream.start_tls(access.tls, access.connect_timeout)
    offered = parse_capabilities(await client.ask("CAPA"))
    await client.ask("QUIT")
    return Greeted(greeting, certainty(stream), tuple(sorted(offered)))
