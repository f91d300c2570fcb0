"""A line to a server by a proxy: SOCKS5, SOCKS4 (python-socks) or HTTP CONNECT (RFC 9110 §9.3.6).

    socks5://user:password@127.0.0.1:1080   the name is looked up here
    socks5h://...                           the name is looked up by the proxy, as http does
    socks4://..., http://...

User and password are percent-decoded. The proxy is named in sentences, its password never.

HTTP is spoken here and not by python-socks, which takes whatever comes with the proxy's
answer for a part of it: a mail server's greeting would be lost.
"""

import asyncio
import base64
import socket
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from fetchd.clients.eyeballs import keep_alive, race
from fetchd.clients.names import addresses
from fetchd.clients.network_faults import network_faults
from fetchd.clients.via import Via
from fetchd.errors import ConnectionFailed
from fetchd.telemetry import printable, redact

ADVICE = "Check proxy in the settings, and the proxy itself."
MAX_HEAD = 16_384  # octets of an HTTP answer
_MAX_SHOWN = 200  # characters of what a proxy says
_SOCKS = {"socks5": "SOCKS5", "socks5h": "SOCKS5", "socks4": "SOCKS4"}
_LOCALLY = ("socks5", "socks4")  # where we look the server's name up


async def connect(host: str, port: int, via: Via) -> socket.socket:
    """A line whose next octets are the server's; the caller's deadline holds."""
    url, where = urlsplit(via.proxy), named(via)
    with network_faults(where, "a line in time", ADVICE):
        if url.scheme == "http":
            line = await race(await addresses(_host(url), url.port or 0, via.ip), via.bind_address)
            return await _by_http(line, host, port, url, where)
        return await _by_socks(host, port, url, via, where)


def named(via: Via) -> str:
    """The proxy as sentences have it, without its login."""
    url = urlsplit(via.proxy)
    return f"the proxy {url.scheme}://{_host(url)}:{url.port}"


def _host(url: SplitResult) -> str:
    return url.hostname or ""


def _login(url: SplitResult) -> tuple[str | None, str | None]:
    user = None if url.username is None else unquote(url.username)
    return user, unquote(url.password or "") if user is not None else None


# -- SOCKS ---------------------------------------------------------------------


async def _by_socks(host: str, port: int, url: SplitResult, via: Via, where: str) -> socket.socket:
    proxies = await addresses(_host(url), url.port or 0, via.ip)
    target = await _target(host, port, url.scheme)
    fault: OSError | None = None
    for _, address in proxies:
        try:
            line = await _ask_socks(address[:2], target, port, url, via, where)
        except OSError as error:  # this address of the proxy; another may answer
            fault = error
            continue
        keep_alive(line)
        return line
    raise fault or OSError(f"no address of {where}")


async def _target(host: str, port: int, scheme: str) -> str:
    """What the proxy is told: the name, or, where it is not to look it up, an address."""
    if scheme not in _LOCALLY:
        return host
    with network_faults(f"{host}:{port}", "an address in time"):
        found = await addresses(host, port, "4" if scheme == "socks4" else "any")
    return str(found[0][1][0])


async def _ask_socks(
    proxy: tuple[str, int], target: str, port: int, url: SplitResult, via: Via, where: str
) -> socket.socket:
    socks = _library()
    user, password = _login(url)
    asking = socks.asyncio.Proxy(
        proxy_type=getattr(socks.ProxyType, _SOCKS[url.scheme]),
        host=proxy[0],
        port=proxy[1],
        username=user,
        password=password,
        rdns=True,
    )
    local = {"local_addr": (via.bind_address, 0)} if via.bind_address else {}
    try:
        line: socket.socket = await asking.connect(target, port, **local)
    except socks.ProxyConnectionError as error:  # an OSError, whose text is for programmers
        raise OSError(error.errno, "the proxy cannot be reached") from error
    except (socks.ProxyError, ValueError) as error:
        raise _refusal(where, str(error)) from error
    return line


def _library() -> Any:
    try:
        import python_socks
        import python_socks.async_.asyncio
    except ImportError:
        raise ConnectionFailed(
            "a SOCKS proxy needs a package that is not installed",
            advice="Run: pip install 'fetchd[proxy]'",
        ) from None

    class Library:
        asyncio = python_socks.async_.asyncio
        ProxyType = python_socks.ProxyType
        ProxyError = python_socks.ProxyError
        ProxyConnectionError = python_socks.ProxyConnectionError

    return Library


# -- HTTP ----------------------------------------------------------------------


async def _by_http(
    line: socket.socket, host: str, port: int, url: SplitResult, where: str
) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(line, _request(host, port, url))
        head = await _head(line, where)
    except BaseException:
        line.close()
        raise
    version, _, rest = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
    if not (version.startswith("HTTP/1.") and rest[:1] == "2" and rest[1:3].isdigit()):
        line.close()
        raise _refusal(where, rest if version.startswith("HTTP/") else "something else than HTTP")
    return line


def _request(host: str, port: int, url: SplitResult) -> bytes:
    """RFC 9110 §9.3.6, with the login of RFC 7617."""
    name = f"[{host}]" if ":" in host else _ascii(host)
    lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}"]
    user, password = _login(url)
    if user is not None:
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {login}")
    return "".join(f"{text}\r\n" for text in [*lines, ""]).encode("ascii")


def _ascii(host: str) -> str:
    """As the DNS writes it; UnicodeError where it is no host name, a line break included."""
    name = host.encode("idna").decode("ascii")
    if not name.isprintable() or " " in name:
        raise UnicodeError(f"{host!r} is no host name")
    return name


async def _head(line: socket.socket, where: str) -> bytes:
    """The answer to its empty line, octet by octet: what follows is the server's."""
    loop, head = asyncio.get_running_loop(), bytearray()
    while not head.endswith(b"\r\n\r\n"):
        octet = await loop.sock_recv(line, 1)
        if not octet:
            raise _refusal(where, "nothing, and hung up")
        head += octet
        if len(head) > MAX_HEAD:
            raise _refusal(where, "more than an answer has")
    return bytes(head)


def _refusal(where: str, said: str) -> ConnectionFailed:
    shown = printable(redact(said))[:_MAX_SHOWN]
    return ConnectionFailed(f"{where} makes no line, and says: {shown}", advice=ADVICE)
