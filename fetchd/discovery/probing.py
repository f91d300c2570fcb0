"""The last step: names that mail servers usually have are tried, a few at a time.

What answers with a greeting, behind TLS whose certificate is verified for that very name,
is a candidate. A few connections at once and one attempt each: this is no port scan.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable

from fetchd.discovery.greeting import greet
from fetchd.errors import FetchdError
from fetchd.values import Struct

AT_ONCE = 4
PATIENCE = 6.0  # seconds for one attempt
_HOSTS = {"imap": ("imap", "mail", ""), "pop3": ("pop", "pop3", "mail", "")}
_PORTS = {
    ("imap", "implicit"): 993,
    ("imap", "starttls"): 143,
    ("pop3", "implicit"): 995,
    ("pop3", "starttls"): 110,
}


class Attempt(Struct, frozen=True):
    """One server that may be there."""

    protocol: str
    host: str
    port: int
    tls: str


Answers = Callable[[Attempt], Awaitable[bool]]


async def answers(attempt: Attempt) -> bool:
    """Whether such a server is there, and its certificate is good."""
    try:
        await greet(attempt.protocol, attempt.host, attempt.port, attempt.tls, patience=PATIENCE)
    except FetchdError:
        return False
    return True


def attempts(
    domain: str, tls: str, *, declined: Collection[tuple[str, str]] = (), exchanger: str = ""
) -> list[Attempt]:
    """What to try for a domain, the likeliest first; not what it `declined` in the DNS.

    Of its mail exchanger only one that is within the domain: another's is nobody's guess.
    """
    found = []
    for (protocol, how), port in _PORTS.items():
        if how != tls or (protocol, how) in declined:
            continue
        hosts = [f"{label}.{domain}" if label else domain for label in _HOSTS[protocol]]
        hosts += [exchanger] if exchanger.endswith(f".{domain}") else []
        found += [Attempt(protocol, host, port, tls) for host in dict.fromkeys(hosts)]
    return found


async def those_that_answer(tried: Iterable[Attempt], answer: Answers = answers) -> list[Attempt]:
    """Those of them that are there, in the order given."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(attempt: Attempt) -> bool:
        async with turns:
            return await answer(attempt)

    tried = list(tried)
    found = await asyncio.gather(*(in_turn(attempt) for attempt in tried))
    return [attempt for attempt, there in zip(tried, found, strict=True) if there]
