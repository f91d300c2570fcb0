"""Fetching one small file, from a web server that may want to do harm."""

import asyncio
import contextlib
import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fetchd.discovery.web import MOST_REDIRECTIONS, Fetcher
from tests.servers.certificates import Authority

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def say(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b"x" * 65536)


def silent(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.rfile.read(1)  # until the client has had enough


ANSWERS: dict[str, Answer] = {
    "/good": say(200, b"here"),
    "/absent": say(404, b"no"),
    "/endless": endless,
    "/silent": silent,
    "/away": say(302, Location="http://127.0.0.1:1/"),
    "/nowhere": say(302, Location="ftp://127.0.0.1/"),
    "/on": say(302, Location="/good"),
    "/round": say(302, Location="/round"),
}


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        ANSWERS[self.path.partition("?")[0]](self)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Site:
    def __init__(self, authority: Authority) -> None:
        self.ca_file = authority.ca_file
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads = True
        self.server.seen = []  # type: ignore[attr-defined]
        certificate = authority.issue()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        # The handshake is done in the connection's own thread, at its first read.
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.base = f"https://localhost:{self.server.server_port}"
        self.seen: list[tuple[str, dict[str, str]]] = self.server.seen  # type: ignore[attr-defined]

    def get(self, path: str, **limits: float) -> bytes | str:
        fetcher = Fetcher(ca_file=self.ca_file, **limits)  # type: ignore[arg-type]
        return asyncio.run(fetcher.get(self.base + path))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(Authority(tmp_path_factory.mktemp("tls")))
    site.server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=site.server.serve_forever, args=(0.05,))
    thread.start()
    yield site
    site.server.shutdown()
    thread.join(5)
    site.server.server_close()


def test_a_file_is_fetched_also_behind_a_redirection(site: Site) -> None:
    assert site.get("/good") == b"here"
    assert site.get("/on") == b"here"


def test_nothing_is_asked_to_be_compressed(site: Site) -> None:
    site.get("/good?x")
    (headers,) = [headers for path, headers in site.seen if path == "/good?x"]
    assert headers["Accept-Encoding"] == "identity"
    assert "Cookie" not in headers
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/absent", "HTTP 404"),
        ("/away", "redirected to where there is no TLS"),
        ("/nowhere", "redirected to where there is no TLS"),
        ("/round", f"more than {MOST_REDIRECTIONS} redirections"),
    ],
)
def test_what_gives_no_file_says_why(site: Site, path: str, why: str) -> None:
    assert why in str(site.get(path))


def test_too_much_is_not_read_to_its_end(site: Site) -> None:
    assert site.get("/endless", largest=100_000) == "more than 100000 octets"


def test_a_silent_server_costs_the_patience(site: Site) -> None:
    assert site.get("/silent", patience=0.5) == "no answer within 0.5 s"


def test_a_certificate_of_an_unknown_authority_gives_nothing(site: Site, tmp_path: Path) -> None:
    other = Fetcher(ca_file=Authority(tmp_path).ca_file)
    got = asyncio.run(other.get(f"{site.base}/good"))
    assert isinstance(got, str)
    assert "certificate" in got.lower()


@pytest.mark.parametrize("url", ["https://localhost:1/", "https://no such host/", "nonsense://x"])
def test_what_cannot_be_reached_is_words_and_no_exception(url: str) -> None:
    assert isinstance(asyncio.run(Fetcher(patience=5).get(url)), str)
