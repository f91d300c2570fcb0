"""What a soak's service fetches from: a private Dovecot with many accounts, and its troubles.

All lines go through two proxies, one for each protocol, which can cut them. Mail comes by
LMTP, each message with a number of its own; that one was taken is known only from the
server's answer, so nothing is sent while the server is down. Nothing here is asynchronous:
one thread sends, cuts and restarts in turn.
"""

import random
import smtplib
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from benchmarks.contestants import HOST
from benchmarks.fleet import Member, members_on
from benchmarks.mail import Expected
from tests.servers.dovecot import Dovecot
from tests.servers.proxy import Proxy

NUMBER = "X-Soak"
SIZES = (200, 20_000)  # octets of a body; small ones are more
CUT = 0.2  # share of the open connections that a cut ends
LMTP_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Sent:
    """One message: to whom, and when the server was given it (wall clock)."""

    member: Member
    at: float


@dataclass(slots=True)
class Site:
    """A context manager: server and proxies run while it lasts."""

    accounts: int
    rng: random.Random
    sent: dict[int, Sent] = field(default_factory=dict)  # by number
    restarts: int = 0
    cuts: int = 0  # connections
    server: Dovecot = field(
        default_factory=lambda: Dovecot(sessions_per_process=1000, idle_processes=4)
    )
    members: list[Member] = field(default_factory=list)  # as a service sees them
    _proxies: list[Proxy] = field(default_factory=list)
    _running: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(self.server)
            direct = members_on(self.server, self.accounts)
            pop3, imap = self.server.port.pop3s, self.server.port.imaps
            self._proxies = [opening.enter_context(Proxy(HOST, port)) for port in (pop3, imap)]
            ports = dict(zip((pop3, imap), (proxy.port for proxy in self._proxies), strict=True))
            self.members = [replace(member, port=ports[member.port]) for member in direct]
            self._running = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.__exit__(kind, error, trace)

    def send(self) -> None:
        """One message to one account; it counts once the server has it."""
        member, number = self.rng.choice(self.members), len(self.sent) + 1
        message = self._message(number, member.name)
        at = time.time()
        with smtplib.LMTP(HOST, self.server.lmtp_port, timeout=LMTP_TIMEOUT) as client:
            client.sendmail("soak@example.org", [member.name], message)
        self.sent[number] = Sent(member, at)

    def restart(self) -> None:
        """The server ends as if its machine were shut down, and comes again."""
        self.server.stop()
        self.server.start()
        self.restarts += 1

    def cut(self) -> None:
        """Some lines end, whatever they are at."""
        self.cuts += sum(proxy.cut(CUT, self.rng) for proxy in self._proxies)

    def expected(self) -> Expected:
        """What the server hands out, read by another client: all of it must have come."""
        made = Expected()
        for member in self.members:
            for message in self._served(member):
                made.add(message)
        return made

    def _served(self, member: Member) -> list[bytes]:
        if member.protocol == "pop3":
            return self.server.served(member.name)
        with self.server.client(member.name) as client:
            return list(client.octets("INBOX").values())

    def _message(self, number: int, user: str) -> bytes:
        size = int(self.rng.triangular(*SIZES, SIZES[0]))
        lines = "\r\n".join(f"{self.rng.getrandbits(300):076x}" for _ in range(1 + size // 78))
        return (
            f"From: soak@example.org\r\nTo: {user}@example.org\r\nSubject: number {number}\r\n"
            f"Message-ID: <{number}@soak.example.org>\r\n{NUMBER}: {number}\r\n\r\n{lines}\r\n"
        ).encode()
