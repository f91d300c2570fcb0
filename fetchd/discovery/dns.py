"""What the DNS says of a domain's mail: SRV of RFC 6186 and RFC 8314, and MX.

Every question has a deadline; what cannot be answered is no answer. The DNS is not proof:
without DNSSEC anybody on the way may have written it, so whoever uses an answer that leads
out of the domain asks a person first.
"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from fetchd.discovery.autoconfig import is_host
from fetchd.values import Struct

if TYPE_CHECKING:
    from dns.rdata import Rdata

PATIENCE = 5.0  # seconds for one question, retries included
MOST_RECORDS = 20  # of one answer


class Service(Struct, frozen=True):
    """One SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    host: str  # "" where it is ".": expressly not offered


class Exchanger(Struct, frozen=True):
    """One MX record."""

    preference: int
    host: str


class Names(Protocol):
    """Whoever answers such questions."""

    async def services(self, name: str) -> list[Service] | None:
        """SRV records; None where nobody could say, and empty where there are none."""

    async def exchangers(self, domain: str) -> list[Exchanger] | None:
        """MX records; None where nobody could say, and empty where there are none."""


class Resolver:
    """Asks the resolver of this machine, or these name servers."""

    def __init__(
        self, servers: Sequence[str] = (), *, port: int = 53, patience: float = PATIENCE
    ) -> None:
        self._servers, self._port, self._patience = list(servers), port, patience

    async def services(self, name: str) -> list[Service] | None:
        """The SRV records of this name."""
        answer = await self._ask(name, "SRV")
        if answer is None:
            return None
        return [
            Service(record.priority, record.weight, record.port, host)  # type: ignore[attr-defined]
            for record in answer
            if (host := _host(record.target)) is not None  # type: ignore[attr-defined]
        ]

    async def exchangers(self, domain: str) -> list[Exchanger] | None:
        """The MX records of this domain, the preferred first; of a null MX (RFC 7505) none."""
        answer = await self._ask(domain, "MX")
        if answer is None:
            return None
        found = [
            Exchanger(record.preference, host)  # type: ignore[attr-defined]
            for record in answer
            if (host := _host(record.exchange))  # type: ignore[attr-defined]
        ]
        return sorted(found, key=lambda one: (one.preference, one.host))

    async def _ask(self, name: str, kind: str) -> "list[Rdata] | None":
        import dns.asyncresolver
        import dns.exception
        import dns.resolver

        try:
            resolver = dns.asyncresolver.Resolver(configure=not self._servers)
            if self._servers:
                resolver.nameservers, resolver.port = self._servers, self._port
            # Absolute: a name must not be looked for below our own domain.
            answer = await resolver.resolve(
                f"{name}.", kind, lifetime=self._patience, search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN:
            return []
        except (dns.exception.DNSException, OSError, ValueError, UnicodeError):
            return None
        return list(answer.rrset or ())[:MOST_RECORDS]


def by_weight(services: Sequence[Service], rng: random.Random | None = None) -> list[Service]:
    """In the order in which to try them (RFC 2782): by priority, then by lot with weights."""
    rng = rng or random.Random()  # noqa: S311  # spreads load, keeps no secret
    ordered: list[Service] = []
    for priority in sorted({one.priority for one in services}):
        left = [one for one in services if one.priority == priority]
        while left:
            # Those without weight come first, and so are chosen when the lot falls on nought.
            left.sort(key=lambda one: one.weight)
            drawn = rng.randint(0, sum(one.weight for one in left))
            for one in left:
                drawn -= one.weight
                if drawn <= 0:
                    ordered.append(one)
                    left.remove(one)
                    break
    return ordered


def _host(name: object) -> str | None:
    """ "" for the root, None for what is no host name."""
    text = str(name).lower().rstrip(".")
    return text if not text or is_host(text) else None
