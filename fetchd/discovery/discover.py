"""From an address to the servers that may have its mail.

In this order: fetchd's own presets; the domain's autoconfiguration file and its SRV records;
Thunderbird's list of providers; whoever takes the domain's mail (MX); and, if all that names
no server, names that mail servers usually have. What cannot be asked is passed over, and
`watch` hears of each step what it found, or that it found nothing and why.

The address itself goes to nobody but the web server of its own domain, and only by HTTPS;
others are asked for the domain. No password is known here.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from fetchd.auth.presets import preset_of, preset_of_domain, preset_of_exchanger
from fetchd.contracts import Watch, unwatched
from fetchd.discovery.autoconfig import Named, read_autoconfig
from fetchd.discovery.candidate import Candidate, Source, in_order, is_outside, of_preset
from fetchd.discovery.dns import Exchanger, Names, Resolver, by_weight
from fetchd.discovery.probing import Answers, answers, attempts, those_that_answer
from fetchd.discovery.web import Fetcher, Web
from fetchd.errors import UsageError
from fetchd.values import replace

DIRECTORY = "https://autoconfig.thunderbird.net/v1.1"
_SERVICES = {  # RFC 6186, RFC 8314
    "_imaps": ("imap", "implicit"),
    "_imap": ("imap", "starttls"),
    "_pop3s": ("pop3", "implicit"),
    "_pop3": ("pop3", "starttls"),
    "_submissions": ("smtp", "implicit"),
    "_submission": ("smtp", "starttls"),
}


@dataclass(frozen=True, slots=True)
class Means:
    """How the world is asked; tests have a world of their own."""

    names: Names = field(default_factory=Resolver)
    web: Web = field(default_factory=Fetcher)
    directory: str = DIRECTORY
    answers: Answers = answers


@dataclass(slots=True)
class _Search:
    """One address being looked for."""

    address: str
    domain: str
    means: Means
    watch: Watch
    declined: set[tuple[str, str]] = field(default_factory=set)
    exchangers: list[Exchanger] = field(default_factory=list)


async def discover(
    address: str, means: Means | None = None, watch: Watch = unwatched
) -> list[Candidate]:
    """The servers for this address, IMAP first, the surest source first; perhaps none."""
    domain = domain_of(address)
    preset = preset_of_domain(domain)
    if preset is not None:
        watch("preset", f"{domain} is {preset.title}")
        return in_order(of_preset(preset, address, Source.PRESET, preset.title))
    watch("preset", f"no provider known to fetchd has {domain}")
    search = _Search(address, domain, means or Means(), watch)
    asked = await asyncio.gather(_autoconfig(search), _srv(search), _listed(search), _mx(search))
    found = [_judged(one, domain) for candidates in asked for one in candidates]
    if not any(one.protocol != "smtp" for one in found):
        found += await _probed(search)
    return in_order(found)


def domain_of(address: str) -> str:
    """What stands behind the @, as the DNS has it."""
    domain = address.rpartition("@")[2].strip().rstrip(".").lower()
    try:
        encoded = domain.encode("idna").decode()
    except UnicodeError:
        encoded = ""
    if not encoded or "@" not in address:
        raise UsageError(f"'{address}' is no address", advice="Write it as me@example.org.")
    return encoded


def _judged(one: Candidate, domain: str) -> Candidate:
    """Whether it is a provider's that fetchd knows, or within the domain, or another's."""
    if one.preset:
        return one
    known = preset_of(one.host, one.username)
    if known is not None:
        return replace(one, preset=known.name)
    return replace(one, outside=is_outside(one.host, domain))


# -- The domain's own word ---------------------------------------------------------


async def _autoconfig(search: _Search) -> list[Candidate]:
    """By HTTPS; and only if nothing comes of it by HTTP, without the address, as a hint."""
    domain, who = search.domain, quote(search.address, safe="@")
    secure = (
        f"https://autoconfig.{domain}/mail/config-v1.1.xml?emailaddress={who}",
        f"https://{domain}/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress={who}",
    )
    plain = (f"http://autoconfig.{domain}/mail/config-v1.1.xml",)
    for urls in (secure, plain):
        files = await asyncio.gather(*(_file(search, "autoconfig", url) for url in urls))
        for url, servers in zip(urls, files, strict=True):
            if servers:
                return _named(servers, Source.AUTOCONFIG, url.partition("?")[0])
    return []


async def _srv(search: _Search) -> list[Candidate]:
    asked = [f"{service}._tcp.{search.domain}" for service in _SERVICES]
    answered = await asyncio.gather(*(search.means.names.services(name) for name in asked))
    found: list[Candidate] = []
    for name, (protocol, tls), services in zip(asked, _SERVICES.values(), answered, strict=True):
        if services is None:
            search.watch("srv", f"{name}: the DNS does not answer")
            continue
        if services and not any(one.host for one in services):
            search.watch("srv", f"{name}: not offered, says the DNS")
            search.declined.add((protocol, tls))
        for one in by_weight([one for one in services if one.host]):
            search.watch("srv", f"{name}: {one.host}:{one.port}")
            found.append(
                Candidate(protocol, one.host, one.port, tls, search.address, Source.SRV, name)
            )
    if not found and not search.declined:
        search.watch("srv", f"no records for {search.domain}")
    return found


# -- What others know ----------------------------------------------------------------


async def _listed(search: _Search) -> list[Candidate]:
    url = f"{search.means.directory}/{search.domain}"
    return _named(await _file(search, "directory", url), Source.DIRECTORY, url)


async def _mx(search: _Search) -> list[Candidate]:
    """Whoever takes the domain's mail may have it, too."""
    exchangers = await search.means.names.exchangers(search.domain)
    if not exchangers:
        why = "the DNS does not answer" if exchangers is None else "none"
        search.watch("mx", f"{search.domain}: {why}")
        return []
    search.exchangers = exchangers
    for one in exchangers:
        preset = preset_of_exchanger(one.host)
        if preset is not None:
            search.watch("mx", f"{one.host} is {preset.title}")
            return of_preset(preset, search.address, Source.MX, one.host, one.host)
    first = exchangers[0].host
    search.watch("mx", f"{first} is no provider known to fetchd")
    for zone in _zones(first, search.domain):
        url = f"{search.means.directory}/{zone}"
        servers = await _file(search, "mx", url)
        if servers:
            return _named(servers, Source.MX, url)
    return []


def _zones(exchanger: str, domain: str) -> list[str]:
    """The domains that a mail exchanger may be of: three labels, as example.co.uk, and two."""
    labels = exchanger.split(".")
    zones = [".".join(labels[-count:]) for count in (3, 2) if len(labels) > count]
    return [zone for zone in zones if zone != domain]


# -- The last step ---------------------------------------------------------------------


async def _probed(search: _Search) -> list[Candidate]:
    first = search.exchangers[0].host if search.exchangers else ""
    for tls in ("implicit", "starttls"):
        tried = attempts(search.domain, tls, declined=search.declined, exchanger=first)
        there = await those_that_answer(tried, search.means.answers)
        for one in there:
            search.watch("probe", f"{one.protocol} answers at {one.host}:{one.port}")
        if there:
            return [
                Candidate(
                    one.protocol, one.host, one.port, one.tls, search.address, Source.PROBE,
                    f"{one.host}:{one.port}",
                )
                for one in there
            ]  # fmt: skip
        search.watch("probe", f"none of {len(tried)} usual names answers ({tls})")
    return []


async def _file(search: _Search, step: str, url: str) -> Sequence[Named]:
    shown = url.partition("?")[0]
    got = await search.means.web.get(url)
    if isinstance(got, str):
        search.watch(step, f"{shown}: {got}")
        return []
    servers = read_autoconfig(got, search.address)
    told = ", ".join(f"{one.protocol} {one.host}:{one.port}" for one in servers)
    search.watch(step, f"{shown}: {told or 'no autoconfiguration file, or none with TLS'}")
    return servers


def _named(servers: Sequence[Named], source: Source, where: str) -> list[Candidate]:
    return [
        Candidate(one.protocol, one.host, one.port, one.tls, one.username, source, where)
        for one in servers
    ]
