"""Getting into a POP3 account: TLS, capabilities, and a login that shows no more than it must.

The order is the safety argument. Nothing is sent before the line is encrypted
but STLS itself; a refused STLS ends the attempt, whoever refused it. What was
said before TLS or before the login is asked again behind it (RFC 2595 §4,
RFC 2449 §5). APOP and CRAM-MD5 are used only where the settings name them.

To change what is tried, change `_methods`.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from datetime import timedelta

from fetchd.clients.pop3 import Pop3Client
from fetchd.clients.refusals import is_not_understood, login_refusal
from fetchd.clients.stream import TlsMode
from fetchd.contracts import Credentials, Watch
from fetchd.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    FetchdError,
    TlsFailed,
)
from fetchd.protocol.pop3 import Reply
from fetchd.protocol.sasl import MECHANISMS, Login
from fetchd.sources.login import (
    BEARER,
    STRONG,
    Access,
    bearer_methods,
    certainty,
    connect,
    login_of,
    no_way,
    of_token,
)
from fetchd.telemetry import Transcript
from fetchd.values import Struct

MOST_ANNOUNCED = 100_000  # a day of LOGIN-DELAY, centuries of EXPIRE: what is more is absurd
_TIMESTAMP = re.compile(r"<[!-;=?A-[\]-~]+@[!-;=?A-[\]-~]+>")  # RFC 1939 §7; CVE-2007-1558: no junk


class Pop3Access(Access, frozen=True):
    """Where the maildrop is; `auth` may be "USER" or "APOP" too."""

    port: int = 995


class Entrance(Struct, frozen=True):
    """A connection behind its login.

    `looks` are the answers to STAT, UIDL and perhaps LIST, if already in.
    """

    client: Pop3Client
    greeting: str
    capabilities: Mapping[str, str]  # name -> arguments
    looks: tuple[Reply, ...] = ()


async def enter(
    access: Pop3Access,
    credentials: Credentials,
    transcript: Transcript | None,
    watch: Watch,
    *,
    whole: bool = False,
) -> Entrance:
    """Connect, encrypt, log in; `watch` hears of connect, tls, capabilities and login."""
    stream = await connect(access)
    try:
        client = Pop3Client(stream, access.read_timeout, transcript)
        greeting = await client.greeting()
        watch("connect", stream.where)
        if access.tls.mode is TlsMode.STARTTLS:
            await _encrypt(client, access)
        if stream.tls:
            watch("tls", certainty(stream))
        capabilities = await _capabilities(client)
        watch("capabilities", " ".join(capabilities))
        method = await _authenticate(client, access, credentials, capabilities, greeting)
        watch("login", method)
        return await _look_around(client, greeting, capabilities, whole=whole)
    except BaseException:
        stream.abort()
        raise


async def _encrypt(client: Pop3Client, access: Pop3Access) -> None:
    reply = await client.ask("STLS")
    if not reply.ok:
        raise TlsFailed(
            f"{client.stream.where} refuses STLS: {reply.text}",
            advice='Use tls = "implicit" if the provider offers it.',
        )
    await client.stream.start_tls(access.tls, access.connect_timeout)


async def _capabilities(client: Pop3Client) -> dict[str, str]:
    return parse_capabilities(await client.ask("CAPA"))


def parse_capabilities(reply: Reply) -> dict[str, str]:
    """Name -> arguments; empty where the server knows no CAPA."""
    found: dict[str, str] = {}
    for line in reply.block.decode("ascii", "backslashreplace").splitlines():
        name, _, arguments = line.strip().partition(" ")
        if name:
            found[name.upper()] = arguments.strip()
    return found


async def _look_around(
    client: Pop3Client, greeting: str, before: Mapping[str, str], *, whole: bool
) -> Entrance:
    """CAPA again, and in the same flight, where the server likes it, what `list` needs first."""
    client.pipelining = "PIPELINING" in before
    verbs = ("STAT", "UIDL", "LIST") if whole else ("STAT", "UIDL")
    looks = tuple((verb, b"") for verb in verbs) if client.pipelining else ()
    capa, *rest = await client.ask_all(("CAPA", b""), *looks)
    capabilities = parse_capabilities(capa) or before
    client.pipelining = "PIPELINING" in capabilities
    return Entrance(client, greeting, capabilities, tuple(rest))


# -- Authentication ------------------------------------------------------------


async def _authenticate(
    client: Pop3Client,
    access: Pop3Access,
    credentials: Credentials,
    capabilities: Mapping[str, str],
    greeting: str,
) -> str:
    """The method that succeeded."""
    login = login_of(access, credentials)
    if "UTF8" in capabilities:
        await client.ask("UTF8")  # RFC 6856 §2; a refusal harms nobody
    refused: FetchdError | None = None
    for method in _methods(access.auth, capabilities, token=credentials.token):
        try:
            reply, told = await _attempt(client, method, login, greeting)
        except AuthenticationFailed as error:  # unfit for this method, not asked at all
            refused = error
            continue
        except ConnectionFailed as error:  # some servers hang up after a wrong password
            if refused is None:
                raise
            raise refused from error
        if reply.ok:
            return method
        refused = _refused(reply, client, capabilities)
        if credentials.token:
            refused = of_token(refused, told)
        unfit = method in STRONG and isinstance(refused, AuthenticationFailed)
        if not (unfit or is_not_understood(reply.text)):
            break
    if refused is None:
        raise no_way(client.stream.where, credentials, "")
    raise refused


def _refused(reply: Reply, client: Pop3Client, capabilities: Mapping[str, str]) -> FetchdError:
    delay = announced(capabilities.get("LOGIN-DELAY", ""))
    return login_refusal(
        reply.text,
        f"{client.stream.where} refuses the login",
        wait=timedelta(seconds=delay) if delay else None,
        coded="AUTH-RESP-CODE" in capabilities,
    )


def _methods(auth: str, capabilities: Mapping[str, str], *, token: bool) -> list[str]:
    """What to try, in order: at most one strong mechanism, then what shows the password.

    The second serves servers that announce SCRAM and store hashes of another
    kind, the third those that do not understand the second. More would look
    like an attack. APOP and CRAM-MD5 are never automatic (RFC 6151, CVE-2007-1558).
    """
    offered = capabilities.get("SASL", "").upper().split()
    if token:  # who does not say what it knows may know it all the same
        return bearer_methods(auth, offered or BEARER)
    if auth.lower() != "auto":
        return [auth.upper()]
    strong = [name for name in STRONG if name in offered][:1]
    return [*strong, "PLAIN", "USER"] if "PLAIN" in offered else [*strong, "USER"]


async def _attempt(
    client: Pop3Client, method: str, login: Login, greeting: str
) -> tuple[Reply, str]:
    """The server's answer, and what it said of a token."""
    if method == "USER":
        reply = await client.ask("USER", login.username.encode())
        return await client.ask("PASS", login.secret.encode()) if reply.ok else reply, ""
    if method == "APOP":
        return await client.ask("APOP", _apop(login, greeting)), ""
    if method not in MECHANISMS:
        known = ", ".join(["auto", "USER", "APOP", *MECHANISMS])
        raise AuthenticationFailed(f"auth = {method!r} is not known", advice=f"Use one of {known}.")
    mechanism = await asyncio.to_thread(MECHANISMS[method], login)  # SCRAM is slow to import
    if method in BEARER:
        mechanism.inline = False  # quirk 23: Office 365 wants to say "+" first
    return await client.authenticate(method, mechanism), mechanism.refusal


def _apop(login: Login, greeting: str) -> bytes:
    """RFC 1939 §7: name and digest of timestamp and secret."""
    stamp = _TIMESTAMP.search(greeting)
    if stamp is None:
        raise AuthenticationFailed("the server offers no APOP", advice='Set auth = "auto".')
    digest = hashlib.md5((stamp[0] + login.secret).encode(), usedforsecurity=False)
    return f"{login.username} {digest.hexdigest()}".encode()


def announced(arguments: str) -> int | None:
    """RFC 2449 §6.5, §6.7: seconds or days, perhaps with USER behind it, or NEVER."""
    number = first_number(arguments)
    return None if number is None else min(number, MOST_ANNOUNCED)


def first_number(text: str) -> int | None:
    """The number a text begins with."""
    found = re.match(r"[0-9]{1,18}", text)
    return int(found[0]) if found else None
