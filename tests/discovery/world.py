"""A small world to discover servers in: a DNS and a web of dictionaries, and a real name server."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from fetchd.discovery.discover import Means
from fetchd.discovery.dns import Exchanger, Service
from fetchd.discovery.probing import Attempt

DIRECTORY = "https://directory.test"


@dataclass
class World:
    """What is not in it is not there; what is None does not answer. `asked` is all URLs."""

    srv: Mapping[str, Sequence[tuple[int, int, int, str]] | None] = field(default_factory=dict)
    mx: Mapping[str, Sequence[tuple[int, str]] | None] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    there: Sequence[tuple[str, str, int]] = ()  # protocol, host, port
    asked: list[str] = field(default_factory=list)
    probed: list[Attempt] = field(default_factory=list)
    heard: list[tuple[str, str]] = field(default_factory=list)

    @property
    def means(self) -> Means:
        return Means(self, self, DIRECTORY, self.answers)

    async def services(self, name: str) -> list[Service] | None:
        found = self.srv.get(name, ())
        return None if found is None else [Service(*one) for one in found]

    async def exchangers(self, domain: str) -> list[Exchanger] | None:
        found = self.mx.get(domain, ())
        return None if found is None else [Exchanger(*one) for one in found]

    async def get(self, url: str) -> bytes | str:
        self.asked.append(url)
        return self.files.get(url.partition("?")[0], "HTTP 404")

    async def answers(self, attempt: Attempt) -> bool:
        self.probed.append(attempt)
        return (attempt.protocol, attempt.host, attempt.port) in self.there

    def watch(self, step: str, found: str) -> None:
        self.heard.append((step, found))


def autoconfig(*servers: tuple[str, str, int, str], username: str = "%EMAILADDRESS%") -> bytes:
    """A file that names these: protocol, host, port, socketType."""
    rows = "".join(
        f"<{way}Server type='{protocol}'><hostname>{host}</hostname><port>{port}</port>"
        f"<socketType>{tls}</socketType><username>{username}</username></{way}Server>"
        for protocol, host, port, tls in servers
        for way in ["outgoing" if protocol == "smtp" else "incoming"]
    )
    text = (
        f"<clientConfig version='1.1'><emailProvider id='x'>{rows}</emailProvider></clientConfig>"
    )
    return text.encode()


Zone = Mapping[tuple[str, str], Sequence[str]]


@contextlib.contextmanager
def name_server(zone: Zone, *, silent: bool = False) -> Iterator[int]:
    """A name server on loopback, by UDP; its port."""
    plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plug.bind(("127.0.0.1", 0))
    thread = threading.Thread(target=_serve, args=(plug, zone, silent))
    thread.start()
    try:
        yield plug.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            plug.sendto(b"", plug.getsockname())  # wakes the thread to end
        thread.join(5)
        plug.close()


def _serve(plug: socket.socket, zone: Zone, silent: bool) -> None:
    while True:
        octets, peer = plug.recvfrom(4096)
        if not octets:
            return
        if not silent:
            plug.sendto(_answer(octets, zone), peer)


def _answer(octets: bytes, zone: Zone) -> bytes:
    query = dns.message.from_wire(octets)
    (question,) = query.question
    name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    rows = zone.get((name, kind))
    if rows:
        response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *rows))
    elif not any(known == name for known, _ in zone):
        response.set_rcode(dns.rcode.NXDOMAIN)
    return response.to_wire()
