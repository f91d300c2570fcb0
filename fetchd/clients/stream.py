"""Octets over TCP and TLS with a deadline on every wait.

`open_stream` connects, or `open_unix_stream` on this machine, `start_tls` encrypts,
`read` gives what has arrived, `write` never waits. OSError, ssl.SSLError and TimeoutError
of the network leave here as ConnectionFailed or TlsFailed (`network_faults`).
"""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from fetchd.clients.meter import Meter
from fetchd.clients.network_faults import NOT_TLS, network_faults
from fetchd.clients.via import STRAIGHT, Via
from fetchd.clients.ways import awaited, open_line
from fetchd.errors import ConnectionFailed, RemoteProtocolError, TlsFailed
from fetchd.values import Struct

if TYPE_CHECKING:
    from fetchd.clients.tunnel import Tunnel

READ_AHEAD = 1 << 20  # octets kept for a slow reader before the peer is throttled
CLOSE_PATIENCE = 1.0  # seconds for the TLS farewell; nobody needs it


class TlsMode(StrEnum):
    """When the line becomes encrypted."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


class TlsSettings(Struct, frozen=True):
    """`fingerprint`: SHA-256 of the certificate in hex; replaces trust in authorities."""

    mode: TlsMode = TlsMode.IMPLICIT
    ca_file: Path | None = None
    fingerprint: str | None = None
    client_certificate: Path | None = None  # PEM, key included
    min_tls: str = "1.2"


class Stream(asyncio.Protocol):
    """One connection; made by `open_stream` and `open_unix_stream`."""

    def __init__(self, host: str, port: int, where: str = "", meter: Meter | None = None) -> None:
        self.host, self.port = host, port
        self.meter = meter or Meter()
        self.where = where or (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        self.tls = ""  # version and cipher, once encrypted
        self.expiry = ""  # of the peer's certificate, where it was verified
        self.tunnel: Tunnel | None = None  # whose standard input and output this is
        self._transport: asyncio.Transport | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._paused = False
        self._ended = False
        self._fault: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._crowded: asyncio.Future[None] | None = None  # who waits for room
        self._lost = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    # -- asyncio calls these ---------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        plug = transport.get_extra_info("socket")
        if plug is not None and plug.family in (socket.AF_INET, socket.AF_INET6):
            plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        self.meter.received += len(data)
        if self._size >= READ_AHEAD and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._fault = self._fault or exc
        self._lost.set()
        self._drained.set()
        self._wake()
        if self.tunnel is not None:
            self.tunnel.end()

    def pause_writing(self) -> None:
        self._drained.clear()

    def resume_writing(self) -> None:
        self._drained.set()
        _finish(self._crowded)

    def _wake(self) -> None:
        _finish(self._waiter)
        _finish(self._crowded)

    # -- We call these -----------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the peer has hung up: what is written now goes nowhere."""
        return self._ended

    @property
    def heard(self) -> bool:
        """Whether `read` would not have to wait."""
        return bool(self._chunks) or self._ended

    @property
    def local_address(self) -> str:
        """Our own end's IP address; "" on a UNIX socket."""
        name = self._transport.get_extra_info("sockname") if self._transport else None
        return str(name[0]) if isinstance(name, tuple) else ""

    async def read(self, timeout: float, purpose: str = "an answer") -> bytes:  # noqa: ASYNC109
        """All that has arrived, at least one octet; b"" when the peer has hung up."""
        with network_faults(self.where, f"{purpose} within {timeout:g} s"):
            if not self._chunks and not self._ended:
                self._waiter = asyncio.get_running_loop().create_future()
                try:
                    async with asyncio.timeout(timeout):
                        await self._waiter
                finally:
                    self._waiter = None
            if not self._chunks and self._fault is not None and self.tunnel is None:
                raise self._fault
        if not self._chunks and self.tunnel is not None:
            raise await self.tunnel.explained(f"{self.where} hung up")
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def drained(self, timeout: float) -> None:  # noqa: ASYNC109
        """Wait until the peer takes more; for whoever writes more than a few commands."""
        if not self._drained.is_set():
            with network_faults(self.where, f"room for more octets within {timeout:g} s"):
                async with asyncio.timeout(timeout):
                    await self._drained.wait()

    async def room(self, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until the peer takes more, or says something; False: it has not taken all yet.

        For whoever writes for long to a peer that may object, and then take no more.
        """
        if not self._drained.is_set() and not self.heard:
            with network_faults(self.where, f"room for more octets within {timeout:g} s"):
                self._crowded = asyncio.get_running_loop().create_future()
                try:
                    async with asyncio.timeout(timeout):
                        await self._crowded
                finally:
                    self._crowded = None
        return self._drained.is_set()

    def write(self, data: bytes) -> None:
        """Queue octets; a broken line shows itself at the next read."""
        if self._transport is not None and not self._ended:
            self.meter.sent += len(data)
            self._transport.write(data)

    async def start_tls(self, settings: TlsSettings, timeout: float) -> None:  # noqa: ASYNC109
        """Encrypt the line and verify the peer."""
        assert self._transport is not None
        context = await asyncio.to_thread(tls_context, settings)
        if self._chunks:
            if settings.mode is TlsMode.IMPLICIT:
                raise TlsFailed(f"{self.where} {NOT_TLS[0]}", advice=NOT_TLS[1])
            raise RemoteProtocolError("plaintext before the TLS handshake", b"".join(self._chunks))
        if self._ended:
            raise ConnectionFailed(f"{self.where} hung up before the TLS handshake")
        with network_faults(self.where, f"the TLS handshake within {timeout:g} s"):
            async with asyncio.timeout(timeout):
                encrypted = await asyncio.get_running_loop().start_tls(
                    self._transport,
                    self,
                    context,
                    server_hostname=self.host,
                    ssl_handshake_timeout=timeout,
                )
        if encrypted is None:
            raise TlsFailed(f"{self.where} hung up during the TLS handshake")
        self._transport = encrypted
        secured = encrypted.get_extra_info("ssl_object")
        self._check_pin(settings, secured.getpeercert(binary_form=True) or b"")
        self.tls = f"{secured.version()} {secured.cipher()[0]}"
        self.expiry = secured.getpeercert().get("notAfter", "")

    def _check_pin(self, settings: TlsSettings, certificate: bytes) -> None:
        if settings.fingerprint is None:
            return
        found = hashlib.sha256(certificate).hexdigest()
        if found != settings.fingerprint.replace(":", "").strip().lower():
            self.abort()
            raise TlsFailed(
                f"the certificate of {self.where} has the fingerprint {found}, not the pinned one",
                advice="If the server has a new certificate, verify it and change 'fingerprint'.",
            )

    async def close(self) -> None:
        """Hang up in good order."""
        if self._transport is None:
            return
        self._transport.close()
        try:
            async with asyncio.timeout(CLOSE_PATIENCE):
                await self._lost.wait()
        except TimeoutError:
            self._transport.abort()

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()
        if self.tunnel is not None:  # the loop may end before it tells us of the end
            self.tunnel.end()


async def open_stream(
    host: str,
    port: int,
    tls: TlsSettings,
    timeout: float,  # noqa: ASYNC109
    via: Via = STRAIGHT,
    meter: Meter | None = None,
) -> Stream:
    """Connect, and encrypt at once where the settings say so."""
    stream = Stream(host, port, meter=meter)
    try:
        with network_faults(stream.where, *awaited(timeout, via)):
            async with asyncio.timeout(timeout):
                line, stream.tunnel = await open_line(host, port, via)
                await _take(stream, line)
        if tls.mode is TlsMode.IMPLICIT:
            await stream.start_tls(tls, timeout)
    except BaseException as error:
        stream.abort()
        if stream.tunnel is not None and type(error) is ConnectionFailed:
            raise await stream.tunnel.explained(str(error)) from error
        raise
    return stream


async def _take(stream: Stream, line: socket.socket) -> None:
    """The line becomes the stream's."""
    try:
        await asyncio.get_running_loop().create_connection(lambda: stream, sock=line)
    except BaseException:
        line.close()
        if stream.tunnel is not None:
            stream.tunnel.end()
        raise


async def open_unix_stream(path: Path, timeout: float) -> Stream:  # noqa: ASYNC109
    """Connect to a server on this machine by its socket in the file system."""
    stream = Stream("localhost", 0, str(path))
    with network_faults(stream.where, f"a connection within {timeout:g} s"):
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().create_unix_connection(lambda: stream, str(path))
    return stream


def tls_context(settings: TlsSettings) -> ssl.SSLContext:
    """Verification on, unless one certificate is pinned; blocking."""
    pinned, ca, own = (
        settings.fingerprint is not None,
        settings.ca_file,
        settings.client_certificate,
    )
    system = Path(ssl.get_default_verify_paths().openssl_cafile)
    return _context(settings.min_tls, pinned, ca, _stamp(ca or system), own, _stamp(own))


def _finish(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


@contextmanager
def _loading(setting: str, file: Path | None, wanted: str) -> Iterator[None]:
    """Say which file cannot be used, and what should be in it."""
    try:
        yield
    except OSError as error:  # among them ssl.SSLError, whose words are for programmers
        reason = None if isinstance(error, ssl.SSLError) else error.strerror
        raise TlsFailed(
            f"cannot load {setting} {file}: {reason or 'it holds something else'}",
            advice=f"Name a readable file with {wanted} in {setting}.",
        ) from error


def _stamp(file: Path | None) -> tuple[int, int]:
    """By which a file that was changed is known."""
    if file is None:
        return 0, 0
    with suppress(OSError):
        found = file.stat()
        return found.st_mtime_ns, found.st_size
    return 0, 0


@lru_cache(maxsize=64)
def _context(
    min_tls: str,
    pinned: bool,
    ca_file: Path | None,
    _ca_stamp: tuple[int, int],
    own: Path | None,
    _own_stamp: tuple[int, int],
) -> ssl.SSLContext:
    """One for all accounts that are alike: reading the system's authorities takes 20 ms."""
    with _loading("ca_file", ca_file, "the authorities' certificates as PEM"):
        context = _new_context(min_tls, pinned, ca_file)
    if own is not None:
        with _loading("client_certificate", own, "certificate and unencrypted key as PEM"):
            # An empty passphrase, lest OpenSSL should ask for one on the terminal.
            context.load_cert_chain(own, password="")
    return context


def _new_context(min_tls: str, pinned: bool, ca_file: Path | None) -> ssl.SSLContext:
    if pinned:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if min_tls == "1.3" else ssl.TLSVersion.TLSv1_2
    return context
