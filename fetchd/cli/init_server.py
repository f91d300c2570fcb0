"""`fetchd init`: from an address to a server that answers, with whatever a person must decide.

What leads out of the address's domain to a server that fetchd does not know is used only if
a person says so (RFC 6186 §6): `--yes` alone is not enough, `--host` is.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from fetchd.auth.presets import Preset, preset_named, preset_of, preset_of_domain
from fetchd.cli.init_answers import Given, Server
from fetchd.cli.init_person import Person
from fetchd.discovery.candidate import Candidate
from fetchd.discovery.discover import Means, discover, domain_of
from fetchd.discovery.greeting import greet
from fetchd.errors import FetchdError, UsageError
from fetchd.settings.values import address as read_address
from fetchd.values import replace

PROTOCOLS, TLS = ("imap", "pop3"), ("implicit", "starttls", "none")
_PORTS = {
    ("imap", "implicit"): 993,
    ("imap", "starttls"): 143,
    ("imap", "none"): 143,
    ("pop3", "implicit"): 995,
    ("pop3", "starttls"): 110,
    ("pop3", "none"): 110,
}
_BY_HAND = "another server"


def find_server(person: Person, given: Given, means: Means | None = None) -> Server:
    """A server that greets us, its TLS verified, and the name to log in with."""
    address = _address(person, given)
    if given.host:
        server = _greeted(person, _given(given, address))
    else:
        server = _found(person, given, address, means)
    username = given.username or person.ask("User name", "--username", _name, server.username)
    server = replace(server, username=username)
    return replace(server, preset=_preset(server, address))


def _address(person: Person, given: Given) -> str:
    if not given.address and given.host and given.username:
        return given.username
    if not given.address:
        return person.ask("Your address", "ADDRESS", read_address)
    try:
        return read_address(given.address)
    except ValueError as error:
        raise UsageError(f"'{given.address}' is not {error}") from None


# -- By what others say ------------------------------------------------------------


def _found(person: Person, given: Given, address: str, means: Means | None) -> Server:
    person.tell(f"Looking for the servers of {domain_of(address)}:")
    every = asyncio.run(
        discover(address, means, lambda step, found: person.tell(f"  {step:11}{found}"))
    )
    wanted = (given.protocol,) if given.protocol else PROTOCOLS
    left = [one for one in every if one.protocol in wanted]
    if person.yes:  # nobody can vouch for a stranger
        left.sort(key=lambda one: one.outside)
    failed: FetchdError | None = None
    while left:
        chosen = _chosen(person, left, domain_of(address))
        if chosen is None:
            break
        left.remove(chosen)
        server = Server(
            chosen.protocol, chosen.host, chosen.port, chosen.tls, chosen.username,
            f"{chosen.source}: {chosen.where}", preset_named(chosen.preset),
            _absolute(given.ca_file), given.fingerprint,
        )  # fmt: skip
        try:
            return _greeted(person, server)
        except FetchdError as error:
            failed = error
            person.tell(error.whole)
    if person.yes:
        raise failed or _nothing(address, given)
    if not every:
        person.tell("No server was found.")
    return _by_hand(person, given, address)


def _chosen(person: Person, left: list[Candidate], domain: str) -> Candidate | None:
    """The one that a person wants, None: another one; who leaves the domain is confirmed."""
    lines = [f"{one.shown}, {one.source}: {one.where}" for one in left]
    number = person.choose("Which one", "--host", [*lines, _BY_HAND])
    if number == len(left):
        return None
    one = left[number]
    if not one.outside:
        return one
    warning = f"{one.host} is outside of {domain}, and no provider known to fetchd"
    if person.yes:
        raise UsageError(
            f"{warning}: {one.source} ({one.where}) names it",
            advice=f"If it is your provider's, name it: --host {one.host}",
        )
    person.tell(f"{warning}. If it is not your provider's, your password would go to strangers.")
    if person.agrees(f"Is {one.host} your provider's?", "--host", default=False):
        return one
    return _chosen(person, rest, domain) if (rest := [o for o in left if o != one]) else None


def _nothing(address: str, given: Given) -> UsageError:
    what = f"{given.protocol} server" if given.protocol else "server"
    return UsageError(f"no {what} was found for {address}", advice="Name it by --host.")


# -- By hand -----------------------------------------------------------------------


def _given(given: Given, address: str) -> Server:
    protocol = given.protocol or "imap"
    tls = given.tls or "implicit"
    port = given.port or _PORTS[protocol, tls]
    return Server(
        protocol, given.host, port, tls, given.username or address, "given", None,
        _absolute(given.ca_file), given.fingerprint,
    )  # fmt: skip


def _by_hand(person: Person, given: Given, address: str) -> Server:
    """Asked for until one answers."""
    while True:
        protocol = given.protocol or person.ask(
            "Protocol (imap, pop3)", "--protocol", _one_of(PROTOCOLS), "imap"
        )
        host = person.ask("Host", "--host", _word)
        tls = person.ask("TLS (implicit, starttls, none)", "--tls", _one_of(TLS), "implicit")
        port = person.ask("Port", "--port", _port, str(_PORTS[protocol, tls]))
        fitting = replace(given, protocol=protocol, host=host, tls=tls, port=port)
        try:
            return _greeted(person, _given(fitting, address))
        except FetchdError as error:
            person.tell(error.whole)


def _greeted(person: Person, server: Server) -> Server:
    """The same, once it has answered; what it said is told."""
    greeted = asyncio.run(
        greet(
            server.protocol, server.host, server.port, server.tls,
            ca_file=Path(server.ca_file) if server.ca_file else None,
            fingerprint=server.fingerprint or None,
        )
    )  # fmt: skip
    person.tell(f"{server.host}:{server.port} answers: {greeted.text}")
    person.tell(f"  {greeted.tls or 'without TLS: password and mail travel unencrypted'}")
    person.tell(f"  {' '.join(greeted.capabilities)}")
    return replace(server, capabilities=greeted.capabilities)


def _preset(server: Server, address: str) -> Preset | None:
    """Whose server it is: also Proton's bridge on this machine, for an address there."""
    if server.preset is not None:
        return server.preset
    own = preset_of_domain(domain_of(address)) if "@" in address else None
    if own is not None and server.host in [endpoint.host for endpoint in own.endpoints]:
        return own
    return preset_of(server.host, server.username)


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute()) if path else ""


def _one_of(words: Sequence[str]) -> Callable[[str], str]:
    def one(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text.lower()

    return one


def _word(text: str) -> str:
    if not text or not text.isprintable() or " " in text:
        raise ValueError("one word")
    return text


def _name(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("a user name")
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError("a number from 1 to 65535")
    return int(text)
