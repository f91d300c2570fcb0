"""The addresses of a "host:port" as the settings have it, and the sockets that listen there.

A name may stand for several addresses ("localhost": 127.0.0.1 and ::1): all of them or none.
A port that is taken, an address that is not this machine's and a name that nobody knows are
each a sentence.
"""

import asyncio
import os
import socket
from ipaddress import ip_address
from typing import Any

from fetchd.errors import CannotListen
from fetchd.values import Struct

RESOLVE = 10.0  # seconds until a name counts as unknown
BACKLOG = 64

Address = tuple[int, tuple[Any, ...]]  # family, as a socket of it is bound


class Place(Struct, frozen=True):
    """Where to listen; the host is without the brackets of an IPv6 literal."""

    text: str
    host: str
    port: int


class Listeners(Struct, frozen=True):
    """Sockets that listen; `loopback`: only this machine reaches them."""

    place: Place
    sockets: tuple[socket.socket, ...]

    @property
    def loopback(self) -> bool:
        """Whether nobody on another machine can ask."""
        return all(is_loopback(one.getsockname()[0]) for one in self.sockets)

    def close(self) -> None:
        """Give the port back."""
        for one in self.sockets:
            one.close()


def place_of(text: str) -> Place:
    """The parts of "127.0.0.1:9488" or "[::1]:9488"."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise _cannot(text, "that is no address and port")
    return Place(text, host.removeprefix("[").removesuffix("]"), int(port))


def is_loopback(address: str) -> bool:
    """Whether this literal is one that only this machine reaches."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


async def listen_at(text: str) -> Listeners:
    """Bind and listen; CannotListen says why not."""
    place = place_of(text)
    sockets: list[socket.socket] = []
    try:
        for family, address in await _addresses(place):
            sockets.append(_listener(family, address))
    except TimeoutError:
        raise _cannot(text, f"the name {place.host} could not be looked up in time") from None
    except OSError as error:
        for one in sockets:
            one.close()
        raise _cannot(text, _reason(error)) from None
    return Listeners(place, tuple(sockets))


async def _addresses(place: Place) -> list[Address]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(RESOLVE):
        found = await loop.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _listener(family: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "[::]" is every address, as people expect of it; any other is itself alone.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "no address is known of that name"
    return (os.strerror(error.errno) if error.errno else str(error)).lower()


def _cannot(text: str, reason: str) -> CannotListen:
    return CannotListen(
        f"Metrics and health cannot be served at {text}: {reason}.",
        advice='Set listen under [web] to another address or port, or to "off"; '
        "then restart the service.",
    )
