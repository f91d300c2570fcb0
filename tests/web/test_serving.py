"""HTTP on the service's loop: what is answered, to whom, and what a bad peer costs."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import time
from collections.abc import Callable

import pytest

from fetchd import telemetry
from fetchd.errors import CannotListen
from fetchd.pipeline.snapshot import Snapshot
from fetchd.values import replace
from fetchd.web import serving
from fetchd.web.listening import is_loopback, listen_at, place_of
from fetchd.web.serving import serve_web
from tests.servers.processes import HOST, free_ports
from tests.web.asking import DEADLINE, Answer, site
from tests.web.snapshots import CALM, ILL


def ask(
    path: str,
    *fields: str,
    method: str = "GET",
    snapshot: Callable[[], Snapshot] = lambda: CALM,
    listen: str = "",
) -> Answer:
    async def main() -> Answer:
        async with site(snapshot, listen=listen) as there:
            return await there.get(path, *fields, method=method)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("path", "snapshot", "status", "body"),
    [
        ("/healthz", CALM, 200, {"healthy": True, "reasons": []}),
        ("/healthz", ILL, 503, {"healthy": False, "reasons": list(ILL.unhealthy)}),
        ("/readyz", CALM, 200, {"ready": True, "reasons": []}),
        ("/readyz", ILL, 503, {"ready": False, "reasons": list(ILL.unready)}),
    ],
)
def test_health(path: str, snapshot: Snapshot, status: int, body: dict[str, object]) -> None:
    answer = ask(path, snapshot=lambda: snapshot)
    assert (answer.status, json.loads(answer.body)) == (status, body)
    assert answer.fields["content-type"] == "application/json"


def test_no_reason_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "_literal", ())
    monkeypatch.setattr(telemetry, "_encoded", ())
    telemetry.conceal("hunter22")
    told = replace(ILL, unready=("hunter22 was refused.",), unhealthy=("hunter22 hangs.",))
    for path in ("/readyz", "/healthz"):
        answer = ask(path, snapshot=lambda: told)
        assert answer.status == 503
        assert "hunter22" not in answer.body
        assert "***" in answer.body


def test_the_index_says_what_there_is() -> None:
    answer = ask("/")
    assert answer.status == 200
    assert "fetchd 1.2.3" in answer.body
    assert all(path in answer.body for path in ("/metrics", "/healthz", "/readyz"))


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/readyz"])
def test_a_head_is_a_get_without_the_body(path: str) -> None:
    got, headed = ask(path), ask(path, method="HEAD")
    assert headed.status == got.status == 200
    assert headed.body == ""
    assert headed.fields["content-type"] == got.fields["content-type"]
    assert headed.fields["content-length"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/metrics/", 404),
        ("GET", "/../etc/passwd", 404),
        ("GET", "/%2e%2e/%00", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/", 405),
        ("OPTIONS", "/healthz", 405),
    ],
)
def test_there_is_nothing_else(method: str, path: str, status: int) -> None:
    assert ask(path, method=method).status == status


def test_every_answer_ends_its_connection_and_is_kept_by_nobody() -> None:
    for path in ("/", "/metrics", "/nowhere"):
        fields = ask(path).fields
        assert fields["connection"] == "close"
        assert fields["cache-control"] == "no-store"
        assert fields["x-content-type-options"] == "nosniff"
        assert fields["date"].endswith(" gmt")
        assert "server" not in fields


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST.:9488", 200),
        ("127.0.0.1:1", 200),  # a port that somebody forwards
        ("127.0.0.2", 200),
        ("[::1]:9488", 200),
        ("attacker.example", 421),
        ("attacker.example:9488", 421),
        ("127.0.0.1.attacker.example", 421),
        ("localhost.attacker.example", 421),
        ("192.0.2.1", 421),
        ("[2001:db8::1]", 421),
        ("[::1", 200),
        ("", 421),
    ],
)
def test_on_loopback_only_loopbacks_names_are_answered(host: str, status: int) -> None:
    answer = ask("/metrics", f"Host: {host}")
    assert answer.status == status
    assert ("fetchd_account_up" in answer.body) == (status == 200)


def test_where_other_machines_may_ask_any_name_is_answered() -> None:
    assert ask("/readyz", "Host: mail.example.org", listen="0.0.0.0:{port}").status == 200


def test_an_address_of_ipv6_and_a_name_are_listened_at() -> None:
    async def main() -> None:
        async with site(host="::1") as there:
            assert (await there.get("/", "Host: [::1]")).status == 200
        async with site(listen="localhost:{port}") as there:
            assert (await there.get("/", "Host: localhost")).status == 200
        async with site(listen="[::]:{port}") as there:  # both families
            assert (await there.get("/", "Host: anything")).status == 200

    asyncio.run(main())


@pytest.mark.parametrize(
    ("listen", "reason"),
    [
        ("{taken}", "address already in use"),
        ("192.0.2.1:9488", "cannot assign requested address"),
        ("no-such-host.invalid:9488", "no address is known of that name"),
        ("127.0.0.1:70000", "that is no address and port"),
    ],
)
def test_where_it_cannot_listen_it_says_why_in_a_sentence(listen: str, reason: str) -> None:
    async def main(where: str) -> None:
        async with asyncio.timeout(DEADLINE):
            await serve_web(where, lambda: CALM, asyncio.Event())

    with socket.create_server((HOST, 0)) as taken:
        where = listen.format(taken=f"{HOST}:{taken.getsockname()[1]}")
        with pytest.raises(CannotListen) as caught:
            asyncio.run(main(where))
    assert str(caught.value) == f"Metrics and health cannot be served at {where}: {reason}."
    assert "listen under [web]" in caught.value.advice


def test_a_name_with_one_address_that_is_taken_gives_the_other_back() -> None:
    async def main() -> None:
        port = free_ports(1)[0]
        with socket.create_server(("::1", port), family=socket.AF_INET6):
            with pytest.raises(CannotListen):
                await listen_at(f"localhost:{port}")
            with socket.create_server((HOST, port)):
                pass

    if "::1" in {info[4][0] for info in socket.getaddrinfo("localhost", 1)}:
        asyncio.run(main())


def test_off_serves_nothing() -> None:
    async def main() -> None:
        async with asyncio.timeout(1):
            await serve_web("off", lambda: CALM, asyncio.Event())

    asyncio.run(main())


def test_stopping_gives_the_port_back_at_once_though_a_peer_hangs() -> None:
    async def main() -> None:
        async with site() as there:
            reader, writer = await asyncio.open_connection(HOST, there.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: loc")
            await writer.drain()
        with socket.create_server((HOST, there.port)):
            pass
        async with asyncio.timeout(1):
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < serving.FAREWELL + 2


def test_signals_stay_the_services() -> None:
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]

    async def main() -> None:
        async with site():
            now = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
            assert now[0] == before[0]

    asyncio.run(main())
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == before


def test_an_error_of_ours_is_answered_in_one_line_and_ends_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = True

    def snapshot() -> Snapshot:
        if broken:
            raise RuntimeError("half made")
        return CALM

    async def main() -> None:
        nonlocal broken
        async with site(snapshot) as there:
            answer = await there.get("/metrics")
            assert answer.status == 500
            assert answer.body == "Something failed; see the service's log.\n"
            broken = False
            assert (await there.get("/metrics")).status == 200

    asyncio.run(main())
    said = capsys.readouterr().err
    assert "half made" in said
    assert "Traceback" not in said


# -- Bad peers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x80" * 200,  # TLS
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (serving.HEAD * 2),
        b"GET /" + b"a" * (serving.HEAD * 2),
    ],
    ids=["garbage", "tls", "two hosts", "long field", "long path"],
)
def test_garbage_is_refused_and_costs_no_word_in_the_log(
    said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with site() as there:
            answer = await there.say(said)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
            assert (await there.get("/healthz")).status == 200

    asyncio.run(main())
    assert caplog.records == []


def test_a_websocket_is_not_opened() -> None:
    answer = ask(
        "/", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
    )  # fmt: skip
    assert answer.status == 200


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: local"])
def test_a_peer_that_never_finishes_is_hung_up_on(
    first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LIFETIME", 0.3)

    async def main() -> None:
        async with site() as there:
            assert await there.say(first) == b""

    asyncio.run(main())


def test_a_peer_that_never_reads_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LIFETIME", 0.5)
    long = replace(CALM, accounts=(replace(CALM.accounts[0], name="x" * 500_000),))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with site(lambda: long) as there:
            with socket.socket() as asking:
                asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                asking.connect((HOST, there.port))
                asking.setblocking(False)
                asking.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await asyncio.sleep(1)  # the timer of half of it is this loop's own
                octets = b""
                async with asyncio.timeout(DEADLINE):
                    while more := await loop.sock_recv(asking, 1 << 20):
                        octets += more
        head, _, page = octets.partition(b"\r\n\r\n")
        whole = re.search(rb"content-length: (\d+)", head)
        assert whole is not None
        assert len(page) < int(whole[1])

    asyncio.run(main())


def test_more_connections_than_there_may_be_are_closed_unheard() -> None:
    async def main() -> None:
        async with site() as there:
            lines = [
                await asyncio.open_connection(HOST, there.port)
                for _ in range(serving.CONNECTIONS + 8)
            ]
            async with asyncio.timeout(DEADLINE):
                for reader, _ in lines[serving.CONNECTIONS + 1 :]:
                    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                        await reader.readexactly(1)
            for _, writer in lines:
                writer.close()
            loop = asyncio.get_running_loop()
            until = loop.time() + DEADLINE
            while (await there.get("/healthz")).status != 200:
                assert loop.time() < until
                await asyncio.sleep(0.02)

    asyncio.run(main())


# -- Words -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:9488", "127.0.0.1", 9488), ("[::1]:1", "::1", 1), ("box:65535", "box", 65535)],
)
def test_places(text: str, host: str, port: int) -> None:
    assert (place_of(text).host, place_of(text).port) == (host, port)


@pytest.mark.parametrize("text", ["", "9488", ":9488", "host", "host:", "host:x", "host:65536"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(CannotListen):
        place_of(text)


@pytest.mark.parametrize(
    ("address", "is_it"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False), ("::", False), ("192.168.1.1", False), ("localhost", False),
        ("fe80::1%lo", False), ("", False),
    ],
)  # fmt: skip
def test_loopback(address: str, is_it: bool) -> None:
    assert is_loopback(address) == is_it
