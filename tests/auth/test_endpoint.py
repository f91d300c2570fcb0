"""An endpoint that lies, stalls, redirects or floods; a browser's knock that is not the answer."""

import asyncio
import contextlib
import errno
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler
from importlib.util import find_spec

import pytest

from fetchd.auth.endpoint import MAX_ANSWER, Answer, Line, ask
from fetchd.auth.loopback import Redirected, listening, pasted, redirected
from fetchd.errors import AccountBusy, ConnectionFailed, RemoteProtocolError, SecretUnavailable
from tests.auth.scripted import endpoint, told
from tests.lacking import lacking
from tests.servers.gateway import Gateway
from tests.servers.processes import free_ports

STATE = "the-state"


def asked(url: str, patience: float = 20, line: Line | None = None) -> Answer:
    return asyncio.run(ask(url, {"secret": "hush"}, line or Line(), patience=patience))


def test_an_object_and_a_hint_come_back() -> None:
    with endpoint(told(429, b'{"a": 1}', {"Retry-After": "60"})) as url:
        answer = asked(url)
    assert (answer.status, answer.body) == (429, {"a": 1})
    assert answer.wait is not None
    assert answer.wait.total_seconds() == 60
    assert not answer.ok


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_nothing(body: bytes) -> None:
    with endpoint(told(200, body)) as url:
        assert asked(url).body == {}


def test_a_redirect_is_not_followed() -> None:
    knocks: list[str] = []

    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        knocks.append(handler.path)
        told(200, b'{"access_token": "x"}')(handler)

    with (
        endpoint(elsewhere) as other,
        endpoint(told(307, b"", {"Location": other})) as url,
    ):
        answer = asked(url)
    assert (answer.status, knocks) == (307, [])


def test_a_flood_is_cut_off() -> None:
    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(10_000):
            handler.wfile.write(b"x" * 65536)

    with endpoint(flood) as url, pytest.raises(RemoteProtocolError, match=f"{MAX_ANSWER:,}"):
        asked(url)


def test_a_small_answer_that_would_unpack_to_a_flood_is_cut_off() -> None:
    import gzip

    bomb = gzip.compress(b" " * 50_000_000)
    with (
        endpoint(told(200, bomb, {"Content-Encoding": "gzip"})) as url,
        pytest.raises(RemoteProtocolError, match="octets"),
    ):
        asked(url)


def test_one_that_drips_is_given_up() -> None:
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not over.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    begun = time.monotonic()
    with endpoint(drip) as url:
        with pytest.raises(ConnectionFailed, match="no answer within 1 s"):
            asked(url, patience=1)
        over.set()
    assert time.monotonic() - begun < 10


def test_nobody_there_is_a_sentence_without_the_form() -> None:
    (port,) = free_ports(1)
    with pytest.raises(ConnectionFailed, match="cannot be reached") as caught:
        asked(f"http://127.0.0.1:{port}/token")
    assert "hush" not in caught.value.whole


@pytest.mark.parametrize(
    ("fault", "local"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
    ],
)
def test_a_missing_network_is_no_fault_of_the_provider(
    monkeypatch: pytest.MonkeyPatch, fault: socket.gaierror, local: bool
) -> None:
    def no_answer(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(socket, "getaddrinfo", no_answer)
    with pytest.raises(ConnectionFailed) as caught:
        asked("https://login.example.org/token")
    assert caught.value.local is local


@pytest.mark.parametrize(
    ("number", "local"), [(errno.ENETUNREACH, True), (errno.ECONNREFUSED, False)]
)
def test_a_missing_route_is_no_fault_of_the_provider(
    monkeypatch: pytest.MonkeyPatch, number: int, local: bool
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError(number, "no way")

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", unreachable)
    monkeypatch.setattr(asyncio.SelectorEventLoop, "create_connection", unreachable)
    with pytest.raises(ConnectionFailed) as caught:
        asked("https://127.0.0.1:1/token")
    assert caught.value.local is local


def test_the_accounts_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def proxy(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.path)
        told(200, b'{"ok": true}')(handler)

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # the account's own counts
    with endpoint(proxy) as url:
        base = url.removesuffix("/token")
        answer = asked("http://issuer.invalid/token", line=Line(proxy=base))
    assert answer.body == {"ok": True}
    assert seen == ["http://issuer.invalid/token"]
    with pytest.raises(SecretUnavailable, match="proxy"):
        asked("http://issuer.invalid/token", line=Line(proxy="socks4://127.0.0.1:1"))


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_is_used(scheme: str) -> None:
    if find_spec("socksio") is None:
        lacking("the package socksio is not installed")
    with endpoint(told(200, b'{"ok": true}')) as url, Gateway(login=("u", "p")) as gateway:
        line = Line(proxy=f"{scheme}://u:p@127.0.0.1:{gateway.port}")
        assert asked(url, line=line).body == {"ok": True}
        assert [kind for kind, *_ in gateway.asked] == ["socks5"]


# -- The loopback ------------------------------------------------------------------------


def fetch(url: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def heard(*queries: str, redirect: str = "http://127.0.0.1") -> tuple[Redirected, list[int]]:
    """What the loopback takes for the answer, and what each knock was told."""

    async def main() -> tuple[Redirected, list[int]]:
        async with listening(redirect, 0, STATE) as loopback:
            said = [
                (await asyncio.to_thread(fetch, f"{loopback.redirect}/{query}"))[0]
                for query in queries
            ]
            return await asyncio.wait_for(loopback.answer(), 20), said

    return asyncio.run(main())


def test_only_the_answer_with_the_right_state_counts() -> None:
    found, said = heard(
        "favicon.ico", "?code=stolen", "?code=forged&state=other", f"?state={STATE}",
        f"?code=right&state={STATE}", f"?code=late&state={STATE}",
    )  # fmt: skip
    assert found == Redirected("right")
    assert said == [404, 404, 404, 404, 200, 200]


def test_localhost_is_heard_too() -> None:
    assert heard(f"?code=a&state={STATE}", redirect="http://localhost")[0] == Redirected("a")


def test_a_no_is_an_answer() -> None:
    found, _ = heard(f"?error=access_denied&error_description=never&state={STATE}")
    assert found == Redirected("", "access_denied", "never")


def test_garbage_does_not_end_the_wait() -> None:
    async def main() -> Redirected:
        async with listening("http://127.0.0.1", 0, STATE) as loopback:
            port = urllib.parse.urlsplit(loopback.redirect).port
            garbage = [b"\xff\xff\r\n\r\n", b"GET\r\n\r\n", b"", b"GET /" + b"x" * 100_000]
            for octets in [*garbage, b"POST /?code=x&state=the-state HTTP/1.1\r\n\r\n"]:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(octets)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            await asyncio.to_thread(fetch, f"{loopback.redirect}/?code=right&state={STATE}")
            return await asyncio.wait_for(loopback.answer(), 20)

    assert asyncio.run(main()) == Redirected("right")


def test_a_port_that_is_taken_is_told() -> None:
    async def main() -> None:
        async with listening("http://127.0.0.1", 0, STATE) as loopback:
            port = urllib.parse.urlsplit(loopback.redirect).port
            assert port is not None
            async with listening("http://127.0.0.1", port, STATE):
                pass

    with pytest.raises(AccountBusy, match="cannot be had") as caught:
        asyncio.run(main())
    assert "redirect_port" in caught.value.advice


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"http://127.0.0.1:8400/?code=a%2Fb&state={STATE}\n", "a/b"),
        (f"  http://localhost:1/?state={STATE}&code=abc&scope=x  ", "abc"),
        (f"code=abc&state={STATE}",                              "abc"),
        ("4/0AeaYSHabc",                                         "4/0AeaYSHabc"),
    ],
)  # fmt: skip
def test_what_people_paste(text: str, code: str) -> None:
    assert pasted(text, STATE).code == code


@pytest.mark.parametrize(
    "text", ["", "two words", "http://127.0.0.1/?code=a&state=other", "http://127.0.0.1/?state=x"]
)
def test_what_people_paste_wrongly(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        pasted(text, STATE)
    assert "address" in caught.value.advice


def test_too_many_fields_are_no_answer() -> None:
    assert redirected("/?" + "&".join(["a=b"] * 1000) + f"&state={STATE}&code=x", STATE) is None
