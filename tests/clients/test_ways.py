"""The ways to a server: happy eyeballs, addresses of ours, proxies, programs; and dead lines."""

import asyncio
import errno
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fetchd.clients import eyeballs, names, proxy, tunnel
from fetchd.clients.meter import Meter
from fetchd.clients.pop3 import Pop3Client
from fetchd.clients.stream import Stream, TlsMode, TlsSettings, open_stream
from fetchd.clients.via import Via
from fetchd.errors import ConnectionFailed, TlsFailed
from tests.servers.certificates import Authority
from tests.servers.gateway import Gateway
from tests.servers.scripted_pop3 import ScriptedPop3, server_context

PATIENCE = 20.0
PLAIN = TlsSettings(TlsMode.NONE)
GREETING = b"+OK ready\r\n"
# Copies octets between its standard streams and a port, as `nc` does.
COPY = """
import os, select, socket, sys
line = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    ready, _, _ = select.select([0, line], [], [])
    if 0 in ready:
        data = os.read(0, 65536)
        if not data: break
        line.sendall(data)
    if line in ready:
        data = line.recv(65536)
        if not data: break
        os.write(1, data)
"""


@pytest.fixture
def server() -> Iterator[ScriptedPop3]:
    with ScriptedPop3() as scripted:
        yield scripted


def greeting(
    host: str, port: int, via: Via, tls: TlsSettings = PLAIN, timeout: float = PATIENCE
) -> tuple[bytes, Stream]:
    """The first words by this way, and the stream, which is closed."""

    async def main() -> tuple[bytes, Stream]:
        stream = await open_stream(host, port, tls, timeout, via)
        try:
            return await stream.read(PATIENCE), stream
        finally:
            await stream.close()
            if stream.tunnel is not None:
                await stream.tunnel.ended()

    return asyncio.run(main())


# -- Straight ------------------------------------------------------------------------------


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, str, int]) -> None:
    """Whatever the name, these are its addresses."""

    def look_up(_host: str, _port: int, family: int) -> list[names.Address]:
        return [
            (kind, (address, port) if kind == socket.AF_INET else (address, port, 0, 0))
            for kind, address, port in addresses
            if family in (kind, socket.AF_UNSPEC)
        ]

    monkeypatch.setattr(names, "_look_up", look_up)


DEAD6, DEAD4 = "2001:db8::1", "192.0.2.1"


def hanging(monkeypatch: pytest.MonkeyPatch, *dead: str) -> list[str]:
    """Connecting to these takes for ever; all that are tried, in order."""
    tried: list[str] = []
    connect = eyeballs._connect

    async def slow(address: names.Address, bind: str) -> socket.socket:
        tried.append(address[1][0])
        if address[1][0] in dead:
            await asyncio.Event().wait()
        return await connect(address, bind)

    monkeypatch.setattr(eyeballs, "_connect", slow)
    return tried


def test_a_dead_ipv6_costs_a_quarter_of_a_second(
    server: ScriptedPop3, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(
        monkeypatch, (socket.AF_INET6, DEAD6, 110), (socket.AF_INET, "127.0.0.1", server.port)
    )
    hanging(monkeypatch, DEAD6)
    begun = time.monotonic()
    assert greeting("both.example", server.port, Via())[0] == GREETING
    took = time.monotonic() - begun
    assert eyeballs.NEXT_ADDRESS_DELAY <= took < 5 * eyeballs.NEXT_ADDRESS_DELAY, took


def test_an_address_that_refuses_is_followed_at_once(
    server: ScriptedPop3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eyeballs, "NEXT_ADDRESS_DELAY", 30.0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
        resolving(
            monkeypatch,
            (socket.AF_INET, "127.0.0.1", nobody),
            (socket.AF_INET, "127.0.0.1", server.port),
        )
        assert greeting("two.example", server.port, Via())[0] == GREETING


def test_the_families_take_turns(server: ScriptedPop3, monkeypatch: pytest.MonkeyPatch) -> None:
    six = [(socket.AF_INET6, f"2001:db8::{n}", 110) for n in (1, 2, 3)]
    four = [(socket.AF_INET, DEAD4, 110), (socket.AF_INET, "127.0.0.1", server.port)]
    resolving(monkeypatch, *six, *four)
    tried = hanging(monkeypatch, *(one[1] for one in six), DEAD4)
    monkeypatch.setattr(eyeballs, "NEXT_ADDRESS_DELAY", 0.02)
    greeting("many.example", server.port, Via())
    assert tried[:4] == ["2001:db8::1", DEAD4, "2001:db8::2", "127.0.0.1"]


def test_the_loser_of_a_race_leaves_no_line_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        made: list[socket.socket] = []
        go = asyncio.Event()

        async def together(_address: names.Address, _bind: str) -> socket.socket:
            made.append(socket.socket())
            if len(made) == 2:
                go.set()
            own = made[-1]
            await go.wait()
            return own

        monkeypatch.setattr(eyeballs, "_connect", together)
        monkeypatch.setattr(eyeballs, "NEXT_ADDRESS_DELAY", 0.01)
        won = await eyeballs.race([(socket.AF_INET, ("a", 1)), (socket.AF_INET, ("b", 1))])
        assert len(made) == 2
        assert [one for one in made if one.fileno() != -1] == [won]
        won.close()

    asyncio.run(main())


def test_what_a_server_says_weighs_more_than_a_missing_route() -> None:
    no_route = OSError(errno.ENETUNREACH, "unreachable")
    refused = OSError(errno.ECONNREFUSED, "refused")
    assert eyeballs._weightiest([no_route, refused]) is refused
    assert eyeballs._weightiest([no_route, no_route]) is no_route


@pytest.mark.parametrize(("ip", "host"), [("4", "192.0.2.1"), ("6", "2001:db8::1")])
def test_only_the_wanted_family_is_used(
    monkeypatch: pytest.MonkeyPatch, ip: str, host: str
) -> None:
    def both(_host: str, port: int, family: int = 0, **_more: object) -> list[object]:
        found = {socket.AF_INET: ("192.0.2.1", port), socket.AF_INET6: ("2001:db8::1", port, 0, 0)}
        return [(f, 1, 6, "", at) for f, at in found.items() if family in (0, f)]

    monkeypatch.setattr(socket, "getaddrinfo", both)

    async def main(ip: str) -> list[names.Address]:
        return await names.addresses("mail.example.org", 110, ip)

    assert [address[0] for _, address in asyncio.run(main(ip))] == [host]
    assert len(asyncio.run(main("any"))) == 2


def test_a_name_without_the_wanted_family_is_told_as_such() -> None:
    with pytest.raises(ConnectionFailed, match="no address of the wanted kind") as raised:
        greeting("127.0.0.1", 110, Via(ip="6"))
    assert "ip" in raised.value.advice


def test_the_line_begins_at_the_bound_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        async def main() -> str:
            port = listening.getsockname()[1]
            stream = await open_stream(
                "127.0.0.1", port, PLAIN, PATIENCE, Via(bind_address="127.0.0.7")
            )
            there, (peer, _) = listening.accept()
            there.close()
            await stream.close()
            return str(peer)

        assert asyncio.run(main()) == "127.0.0.7"


def test_an_address_that_is_not_ours_is_this_machines_own_trouble(server: ScriptedPop3) -> None:
    with pytest.raises(ConnectionFailed, match="no such address") as raised:
        greeting("127.0.0.1", server.port, Via(bind_address="192.0.2.9"))
    assert raised.value.local
    assert "bind_address" in raised.value.advice


@pytest.mark.parametrize(
    ("fault", "local", "sentence"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "x"), True, "DNS does not answer"),
        (socket.gaierror(socket.EAI_NONAME, "x"), False, "was not found"),
        (OSError(errno.ENETUNREACH, "x"), True, "no route"),
        (OSError(errno.ENETDOWN, "x"), True, "network is down"),
        (OSError(errno.EHOSTUNREACH, "x"), False, "no route"),
        (OSError(errno.ECONNREFUSED, "x"), False, "refused"),
    ],
)
def test_whose_network_it_is(
    fault: OSError, local: bool, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> list[names.Address]:
        raise fault

    monkeypatch.setattr(names, "_look_up", fail)
    with pytest.raises(ConnectionFailed, match=sentence) as raised:
        greeting("mail.example", 110, Via())
    assert raised.value.local is local


def test_a_resolver_that_hangs_is_not_waited_for_and_holds_up_nobody(
    server: ScriptedPop3, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, waiting = names._look_up, __import__("threading").Event()

    def slow(host: str, port: int, family: int) -> list[names.Address]:
        if host == "slow.example":
            waiting.wait(PATIENCE)
        return look_up(host, port, family)

    monkeypatch.setattr(names, "_look_up", slow)
    begun = time.monotonic()

    async def main() -> None:
        lost = [open_stream("slow.example", 110, PLAIN, 0.3) for _ in range(8)]
        good = open_stream("localhost", server.port, PLAIN, PATIENCE)
        *faults, stream = await asyncio.gather(*lost, good, return_exceptions=True)
        assert all("did not give a connection within 0.3 s" in str(fault) for fault in faults)
        assert isinstance(stream, Stream)
        await stream.close()

    try:
        asyncio.run(main())  # whose end waits for no thread either
        assert time.monotonic() - begun < PATIENCE / 2
    finally:
        waiting.set()


def test_the_system_watches_over_a_silent_line(server: ScriptedPop3) -> None:
    async def main() -> dict[str, int]:
        stream = await open_stream("127.0.0.1", server.port, PLAIN, PATIENCE)
        line = stream._transport.get_extra_info("socket")  # type: ignore[union-attr]
        asked = {
            name: line.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
            for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        }
        asked["on"] = line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        await stream.close()
        return asked

    asked = asyncio.run(main())
    assert asked["on"]
    last = asked["TCP_KEEPIDLE"] + asked["TCP_KEEPINTVL"] * asked["TCP_KEEPCNT"]
    assert last == eyeballs.HALF_OPEN == asked["TCP_USER_TIMEOUT"] / 1000


def test_octets_are_counted_in_both_directions(server: ScriptedPop3) -> None:
    async def main() -> Meter:
        meter = Meter()
        stream = await open_stream("127.0.0.1", server.port, PLAIN, PATIENCE, Via(), meter)
        await stream.read(PATIENCE)
        stream.write(b"NOOP\r\n")
        await stream.read(PATIENCE)
        await stream.close()
        return meter

    meter = asyncio.run(main())
    assert meter.sent == len(b"NOOP\r\n")
    assert meter.received > len(GREETING)


# -- Proxies -------------------------------------------------------------------------------

LOGIN = ("me@here", "pass:word/%")
ENCODED = "me%40here:pass%3Aword%2F%25"


@pytest.mark.parametrize(
    ("scheme", "asked"),
    [
        ("socks5", ("socks5", "127.0.0.1")),
        ("socks5h", ("socks5", "localhost")),
        ("socks4", ("socks4", "127.0.0.1")),
        ("http", ("http", "localhost")),
    ],
)
def test_a_proxy_brings_us_there_and_looks_the_name_up_where_it_should(
    scheme: str, asked: tuple[str, str], server: ScriptedPop3
) -> None:
    with Gateway() as gateway:
        via = Via(proxy=f"{scheme}://127.0.0.1:{gateway.port}", ip="4")
        first, _ = greeting("localhost", server.port, via)
    assert first == GREETING, "also where it came in one piece with the proxy's answer"
    if scheme == "socks5":  # whichever family localhost has first
        assert gateway.asked[0][1] in ("127.0.0.1", "::1")
    else:
        assert gateway.asked == [(*asked, server.port)]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "http"])
def test_tls_goes_through_a_proxy_and_names_the_server(scheme: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with (
        ScriptedPop3(tls=server_context(authority.issue())) as server,
        Gateway() as gateway,
    ):
        via = Via(proxy=f"{scheme}://127.0.0.1:{gateway.port}")
        trusting = TlsSettings(ca_file=authority.ca_file)
        first, stream = greeting("127.0.0.1", server.port, via, trusting)
        assert first == GREETING
        assert stream.tls
        with pytest.raises(TlsFailed):
            greeting("127.0.0.1", server.port, via, TlsSettings())


@pytest.mark.parametrize("scheme", ["socks5h", "http"])
def test_a_proxy_gets_its_password_and_nobody_else(scheme: str, server: ScriptedPop3) -> None:
    with Gateway(login=LOGIN) as gateway:
        good = Via(proxy=f"{scheme}://{ENCODED}@127.0.0.1:{gateway.port}")
        assert greeting("127.0.0.1", server.port, good)[0] == GREETING
        wrong = Via(proxy=f"{scheme}://me:treasure@127.0.0.1:{gateway.port}")
        with pytest.raises(ConnectionFailed, match="makes no line") as raised:
            greeting("127.0.0.1", server.port, wrong)
    shown = f"{raised.value.whole} {raised.value!r} {wrong!r}"
    assert "treasure" not in shown
    assert f"{scheme}://127.0.0.1:{gateway.port}" in raised.value.whole


@pytest.mark.parametrize("scheme", ["socks5h", "socks4", "http"])
def test_what_a_proxy_refuses_is_told_in_its_words(scheme: str, server: ScriptedPop3) -> None:
    with Gateway(refuse=True) as gateway:
        via = Via(proxy=f"{scheme}://127.0.0.1:{gateway.port}")
        with pytest.raises(ConnectionFailed, match="makes no line, and says") as raised:
            greeting("127.0.0.1", server.port, via)
    assert raised.value.advice == proxy.ADVICE
    assert str(raised.value).isprintable()


@pytest.mark.parametrize("scheme", ["socks5h", "socks4", "http"])
def test_a_proxy_that_is_not_there(scheme: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        via = Via(proxy=f"{scheme}://127.0.0.1:{port}")
        with pytest.raises(ConnectionFailed, match=f"the proxy {scheme}://127.0.0.1:{port} ref"):
            greeting("127.0.0.1", 110, via)


@pytest.mark.parametrize("scheme", ["socks5h", "socks4", "http"])
@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 abc\r\n\r\n", b"\x05\x63\0\0\0", b"SSH-2.0-x\r\n\r\n", b"x" * 40_000]
)
def test_garbage_of_a_proxy_is_a_sentence(scheme: str, said: bytes) -> None:
    with ScriptedPop3(answers={"greeting": [said or b"\n"]}) as server:
        via = Via(proxy=f"{scheme}://127.0.0.1:{server.port}")
        with pytest.raises(ConnectionFailed):
            greeting("127.0.0.1", 110, via, timeout=0.3)


def test_a_silent_proxy_is_not_waited_for_longer_than_a_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for scheme in ("socks5h", "http"):
            via = Via(proxy=f"{scheme}://127.0.0.1:{listening.getsockname()[1]}")
            with pytest.raises(ConnectionFailed, match=r"0\.3 s through the proxy") as late:
                greeting("127.0.0.1", 110, via, timeout=0.3)
            assert "the proxy" in late.value.advice


def test_a_proxy_without_an_address_is_named() -> None:
    words = r"the host name of the proxy http://nowhere\.invalid:3128 "
    with pytest.raises(ConnectionFailed, match=words):
        greeting("127.0.0.1", 110, Via(proxy="http://nowhere.invalid:3128"))


def test_a_host_name_cannot_smuggle_a_header_to_the_proxy() -> None:
    with Gateway() as gateway:
        via = Via(proxy=f"http://127.0.0.1:{gateway.port}")
        with pytest.raises(ConnectionFailed):
            greeting("a.example\r\nX-Evil: 1", 110, via)
    assert gateway.asked == []


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    with pytest.raises(ConnectionFailed) as raised:
        greeting("127.0.0.1", 110, Via(proxy="socks5h://127.0.0.1:9"))
    assert "pip install 'fetchd[proxy]'" in raised.value.advice


# -- Programs ------------------------------------------------------------------------------


def program(text: str, *more: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text, "{host}", "{port}", *more)


def test_a_program_is_the_line(server: ScriptedPop3) -> None:
    first, stream = greeting("127.0.0.1", server.port, Via(tunnel=program(COPY)))
    assert first == GREETING
    assert stream.tunnel is not None
    assert stream.tunnel._process.returncode is not None, "it ended with its line"


def test_tls_goes_through_a_program(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with ScriptedPop3(tls=server_context(authority.issue())) as server:
        trusting = TlsSettings(ca_file=authority.ca_file)
        first, stream = greeting("127.0.0.1", server.port, Via(tunnel=program(COPY)), trusting)
    assert first == GREETING
    assert stream.tls


def test_a_program_that_ends_says_why() -> None:
    text = "import sys; print('x' * 9000, '\\nno such\\x07 key', file=sys.stderr); sys.exit(255)"
    with pytest.raises(ConnectionFailed) as raised:
        greeting("127.0.0.1", 110, Via(tunnel=program(text)))
    said = str(raised.value)
    assert "the program of tunnel ended with status 255 and says: no such\\x07 key" in said
    assert len(said) < 400


def test_what_a_program_says_is_not_taken_for_a_wrong_port() -> None:
    async def main() -> None:
        via = Via(tunnel=program("import time; time.sleep(0.2); raise SystemExit(1)"))
        stream = await open_stream("127.0.0.1", 110, PLAIN, PATIENCE, via)
        try:
            await Pop3Client(stream, PATIENCE).greeting()
        finally:
            stream.abort()
            assert stream.tunnel is not None
            await stream.tunnel.ended()

    with pytest.raises(ConnectionFailed, match="ended with status 1") as raised:
        asyncio.run(main())
    assert raised.value.advice == tunnel.ADVICE


def test_a_program_that_cannot_be_started() -> None:
    with pytest.raises(ConnectionFailed, match="/nowhere/ssh of tunnel cannot be started"):
        greeting("127.0.0.1", 110, Via(tunnel=("/nowhere/ssh",)))


def test_a_program_that_will_not_end_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnel, "GRACE", 0.2)
    monkeypatch.setattr(tunnel, "_LAST_WORDS", 0.2)
    note = tmp_path / "pids"
    text = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = os.fork()\n"
        f"open({str(note)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "if child: os.write(1, b'+OK ready\\r\\n')\n"
        "time.sleep(60)\n"
    )
    assert greeting("127.0.0.1", 110, Via(tunnel=program(text)))[0] == GREETING
    until(lambda: not any(is_alive(int(pid)) for pid in note.read_text().split()))


def test_settings_in_variables_stay_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FETCHD_ACCOUNTS__WORK__PASSWORD", "open sesame")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    text = "import os, sys; os.write(1, ' '.join(sorted(os.environ)).encode())"
    first, _ = greeting("127.0.0.1", 110, Via(tunnel=program(text)))
    assert b"SSH_AUTH_SOCK" in first
    assert b"FETCHD" not in first


def test_a_program_leaves_with_a_cancelled_sync(server: ScriptedPop3) -> None:
    async def main() -> int:
        stream = await open_stream(
            "127.0.0.1", server.port, PLAIN, PATIENCE, Via(tunnel=program(COPY))
        )
        assert stream.tunnel is not None
        assert await stream.read(PATIENCE) == GREETING
        stream.abort()
        return stream.tunnel._process.pid

    pid = asyncio.run(main())
    until(lambda: not is_alive(pid))


def test_a_program_that_starts_when_nobody_waits_any_more_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin, pids, started = tunnel._start, list[int](), threading.Event()

    def slowly(arguments: Sequence[str], line: socket.socket) -> Any:
        time.sleep(0.2)
        process = begin(arguments, line)
        pids.append(process.pid)
        started.set()
        return process

    async def main() -> None:
        deaf = [sys.executable, "-c", "import time; time.sleep(600)"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await tunnel.open_tunnel(deaf, "127.0.0.1", 110)
        await asyncio.to_thread(started.wait, PATIENCE)
        await asyncio.sleep(0.05)

    monkeypatch.setattr(tunnel, "_start", slowly)
    asyncio.run(main())
    until(lambda: not is_alive(pids[0]))


def until(fact: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Neither gone nor waiting to be collected."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
