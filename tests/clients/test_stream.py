"""Connecting and TLS: each fault is one sentence with its remedy, and no octet goes astray."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from fetchd.clients.stream import READ_AHEAD, Stream, TlsMode, TlsSettings, open_stream
from fetchd.errors import ConnectionFailed, TlsFailed
from tests.servers.certificates import Authority, Certificate, openssl
from tests.servers.scripted_pop3 import HANG_UP, SILENCE, ScriptedPop3, server_context

PATIENCE = 30.0
NOWHERE = Path("/nowhere.pem")


@dataclass(frozen=True)
class Papers:
    """What the certificate office gave out."""

    authority: Authority
    good: Certificate
    expired: Certificate
    other: Certificate
    self_signed: Certificate
    client: Path  # certificate and key in one file
    locked: Path  # the same with a passphrase


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    mine = authority.issue("client")
    client, locked, key = folder / "client.pem", folder / "locked.pem", folder / "locked.key"
    client.write_text(mine.certificate.read_text() + mine.key.read_text())
    openssl("ec", "-aes128", "-in", str(mine.key), "-passout", "pass:x", "-out", str(key))
    locked.write_text(mine.certificate.read_text() + key.read_text())
    return Papers(
        authority, authority.issue(), authority.issue_expired(),
        authority.issue_for("pop.elsewhere.example"), authority.issue_self_signed(), client, locked,
    )  # fmt: skip


class Greeter:
    """Greets one connection, encrypted where there is a context.

    With plain sockets, since asyncio's server hangs up without its TLS alert.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes accept where nobody came
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            plain, _ = self._listening.accept()
            plain.settimeout(PATIENCE)
            with plain:
                talk = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
                with talk:
                    talk.sendall(b"+OK ready\r\n")
                    talk.recv(4096)  # until the client has gone


Serve = Callable[[Papers], ssl.SSLContext | None]


def good(papers: Papers) -> ssl.SSLContext:
    return server_context(papers.good)


def expired(papers: Papers) -> ssl.SSLContext:
    return server_context(papers.expired)


def self_signed(papers: Papers) -> ssl.SSLContext:
    return server_context(papers.self_signed)


def other(papers: Papers) -> ssl.SSLContext:
    return server_context(papers.other)


def only_1_2(papers: Papers) -> ssl.SSLContext:
    return server_context(papers.good, maximum=ssl.TLSVersion.TLSv1_2)


def wants_client(papers: Papers) -> ssl.SSLContext:
    return server_context(papers.good, client_ca=papers.authority.ca_file)


def wants_client_1_2(papers: Papers) -> ssl.SSLContext:
    return server_context(
        papers.good, client_ca=papers.authority.ca_file, maximum=ssl.TLSVersion.TLSv1_2
    )


def first_words(server: Greeter, settings: TlsSettings, host: str = "localhost") -> Stream:
    """Connect, read the greeting, hang up."""

    async def main() -> Stream:
        stream = await open_stream(host, server.port, settings, PATIENCE)
        try:
            assert await stream.read(PATIENCE) == b"+OK ready\r\n"
            await stream.close()
        finally:
            stream.abort()
        return stream

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("serve", "settings"),
    [
        (good, lambda p: TlsSettings(ca_file=p.authority.ca_file)),
        (good, lambda p: TlsSettings(ca_file=p.authority.ca_file, min_tls="1.3")),
        (only_1_2, lambda p: TlsSettings(ca_file=p.authority.ca_file)),
        (good, lambda p: TlsSettings(fingerprint=p.good.fingerprint)),  # instead of an authority
        (expired, lambda p: TlsSettings(fingerprint=p.expired.fingerprint)),
        (self_signed, lambda p: TlsSettings(fingerprint=colons(p.self_signed.fingerprint))),
        (self_signed, lambda p: TlsSettings(ca_file=p.self_signed.certificate)),
        (wants_client,
         lambda p: TlsSettings(ca_file=p.authority.ca_file, client_certificate=p.client)),
        (wants_client_1_2,
         lambda p: TlsSettings(fingerprint=p.good.fingerprint, client_certificate=p.client)),
    ],
)  # fmt: skip
def test_what_is_trusted(
    papers: Papers, serve: Serve, settings: Callable[[Papers], TlsSettings]
) -> None:
    with Greeter(serve(papers)) as server:
        stream = first_words(server, settings(papers))
        assert stream.tls.startswith("TLSv1.")
        assert bool(stream.expiry) == (settings(papers).fingerprint is None)


def colons(digits: str) -> str:
    return ":".join(digits[n : n + 2] for n in range(0, 64, 2)).upper()


@pytest.mark.parametrize(
    ("serve", "changes", "host", "sentence", "advice"),
    [
        # who answers   changed settings   by which name   what is said            what to do
        (good, {"ca_file": None}, "localhost", "an authority unknown here", "ca_file"),
        (expired, {}, "localhost", "has expired", "renew"),
        (self_signed, {}, "localhost", "is self-signed", "fingerprint"),
        (other, {}, "localhost", "is for another host name", "host"),
        (other, {}, "127.0.0.1", "is not for this IP address", "host"),
        (good, {"fingerprint": "00" * 32}, "localhost", "not the pinned one", "fingerprint"),
        (only_1_2, {"min_tls": "1.3"}, "localhost", "as new as min_tls", "min_tls"),
        (wants_client, {}, "localhost", "wants a client certificate", "client_certificate"),
        (wants_client_1_2, {}, "localhost", "breaks off the TLS handshake", "client_certificate"),
        (lambda _: None, {}, "localhost", "does not speak TLS on this port", "starttls"),
        (good, {"ca_file": NOWHERE}, "localhost", "load ca_file /nowhere.pem: No such file", "PEM"),
        (good, {"client_certificate": "locked"}, "localhost", "cannot load client_certificate /",
         "unencrypted"),
    ],
)  # fmt: skip
def test_what_is_not(
    papers: Papers, serve: Serve, changes: dict, host: str, sentence: str, advice: str
) -> None:
    values = {"ca_file": papers.authority.ca_file} | changes
    if "client_certificate" in values:
        values["client_certificate"] = papers.locked
    with Greeter(serve(papers)) as server, pytest.raises(TlsFailed) as raised:
        first_words(server, TlsSettings(**values), host)
    assert sentence in str(raised.value)
    assert advice in raised.value.advice
    assert "\n" not in str(raised.value)


def test_a_client_certificate_of_a_stranger_is_rejected(papers: Papers, tmp_path: Path) -> None:
    stranger = Authority(tmp_path).issue("client")
    both = tmp_path / "both.pem"
    both.write_text(stranger.certificate.read_text() + stranger.key.read_text())
    settings = TlsSettings(ca_file=papers.authority.ca_file, client_certificate=both)
    rejected = pytest.raises(TlsFailed, match="rejects our client certificate")
    with Greeter(wants_client(papers)) as server, rejected:
        first_words(server, settings)


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("no-such-host.invalid", "the host name no-such-host.invalid was not found"),
        ("a..b", "the host name a..b was not found"),
        ("x" * 70 + ".example.org", "was not found"),
        ("127.0.0.1", "refused the connection"),
        ("::1", "refused the connection"),
    ],
)
def test_who_cannot_be_reached(host: str, sentence: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        port = closed.getsockname()[1]
        with pytest.raises(ConnectionFailed, match=sentence) as raised:
            asyncio.run(open_stream(host, port, TlsSettings(TlsMode.NONE), PATIENCE))
    assert raised.value.advice


def test_a_server_that_is_silent_about_tls_is_not_waited_for() -> None:
    late = pytest.raises(ConnectionFailed, match=r"the TLS handshake within 0\.3 s")
    with ScriptedPop3(answers={"greeting": SILENCE}) as server, late:
        asyncio.run(open_stream("127.0.0.1", server.port, TlsSettings(), 0.3))


@pytest.mark.parametrize("said", [b"", b"-ERR too many connections\r\n"])
def test_a_server_that_hangs_up_at_once_is_not_waited_for(said: bytes) -> None:
    with ScriptedPop3(answers={"greeting": [said, HANG_UP]}) as server:
        with pytest.raises(ConnectionFailed) as raised:
            asyncio.run(open_stream("127.0.0.1", server.port, TlsSettings(), PATIENCE))
        assert "within" not in str(raised.value), "no deadline was needed"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, int]]:
    """A listening socket, for a server of one's own."""
    with ExitStack() as closing:
        listening = closing.enter_context(socket.create_server(("127.0.0.1", 0)))
        yield listening, listening.getsockname()[1]


def test_a_slow_reader_throttles_the_server(pair: tuple[socket.socket, int]) -> None:
    listening, port = pair

    async def main() -> None:
        stream = await open_stream("127.0.0.1", port, TlsSettings(TlsMode.NONE), PATIENCE)
        there, _ = listening.accept()
        there.setblocking(False)
        loop = asyncio.get_running_loop()
        sent = 0
        sending = asyncio.create_task(loop.sock_sendall(there, b"x" * (64 << 20)))
        for _ in range(1000):  # the loop goes on turning; nobody reads
            await asyncio.sleep(0)
        assert not sending.done()
        assert stream._size <= READ_AHEAD + (1 << 18), "one read more than the limit"
        while sent < 64 << 20:
            sent += len(await stream.read(PATIENCE))
        await sending
        there.close()
        assert await stream.read(PATIENCE) == b""
        await stream.close()

    asyncio.run(main())
