"""A server that may have an address's mail, and what it rests on."""

from enum import StrEnum

from fetchd.auth.preset import Preset, is_within
from fetchd.values import Struct

PROTOCOLS = ("imap", "pop3", "smtp")  # in the order in which they are proposed


class Source(StrEnum):
    """Who says so, the surest first."""

    PRESET = "preset"  # fetchd itself
    AUTOCONFIG = "autoconfig"  # the domain, by its web server
    SRV = "srv"  # the domain, by the DNS
    DIRECTORY = "directory"  # Thunderbird's list of providers
    MX = "mx"  # fetchd or the directory, for whoever takes the domain's mail
    PROBE = "probe"  # a server of that name answers


class Candidate(Struct, frozen=True):
    """One server. `where` is the place that names it: a URL, a name in the DNS.

    `outside`: neither is it within the address's own domain, nor does fetchd know it as the
    provider's. Whoever falsified the answer could be there, so a person is to look at it
    before a password goes there (RFC 6186 §6).
    """

    protocol: str  # "imap", "pop3", "smtp"
    host: str
    port: int
    tls: str  # "implicit", "starttls"
    username: str
    source: Source
    where: str
    preset: str = ""  # whose, if fetchd knows it
    outside: bool = False

    @property
    def shown(self) -> str:
        """As people write it."""
        return f"{self.protocol} {self.host}:{self.port} ({_TLS[self.tls]})"


_TLS = {"implicit": "TLS", "starttls": "STARTTLS"}


def of_preset(
    preset: Preset, address: str, source: Source, where: str, exchanger: str = ""
) -> list[Candidate]:
    """The servers of a provider for an address there, or of a domain that it serves."""
    local, _, domain = address.rpartition("@")
    region = preset.region(domain, exchanger)
    username = local if preset.username == "local" and domain in preset.domains else address
    servers = (("imap", region.imap), ("pop3", region.pop3), ("smtp", region.smtp))
    return [
        Candidate(
            protocol, server.host, server.port, server.tls, username, source, where, preset.name
        )
        for protocol, server in servers
        if server is not None
    ]


def is_outside(host: str, domain: str) -> bool:
    """Whether a host is another's than the domain's."""
    return not is_within(host, (domain,))


def in_order(candidates: list[Candidate]) -> list[Candidate]:
    """Each server once, by its surest source; IMAP before POP3, TLS before STARTTLS."""
    sources = list(Source)
    once: dict[tuple[str, str, int], Candidate] = {}
    for one in sorted(candidates, key=lambda one: sources.index(one.source)):
        once.setdefault((one.protocol, one.host, one.port), one)
    return sorted(
        once.values(),
        key=lambda one: (
            PROTOCOLS.index(one.protocol),
            sources.index(one.source),
            one.tls != "implicit",
        ),
    )
