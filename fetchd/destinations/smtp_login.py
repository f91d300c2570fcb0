"""Getting to where a mail server takes mail: TLS, EHLO, and a login where the settings have one.

The order is the safety argument, as for accounts: nothing goes over a line that is to be
encrypted but EHLO and STARTTLS, a refused STARTTLS ends the attempt, and what was offered
before TLS counts for nothing behind it. No password is sent in the clear unless the settings
say so for that destination; a UNIX socket never leaves this machine and needs neither.

Without `helo` we call ourselves by this machine's name if it is one that others could know,
and else by our address (RFC 5321 §4.1.3).

To change what is tried, change `_methods`.
"""

import asyncio
import ipaddress
import re
import socket
from functools import lru_cache

from fetchd.clients.network_faults import network_faults
from fetchd.clients.smtp import FINAL_WAIT, SmtpClient
from fetchd.clients.smtp_refusals import is_not_understood, login_refusal
from fetchd.clients.stream import Stream, TlsMode, open_stream, open_unix_stream
from fetchd.contracts import Credentials, Watch
from fetchd.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    FetchdError,
    ServerUnavailable,
    TlsFailed,
)
from fetchd.protocol.sasl import MECHANISMS, Login
from fetchd.protocol.smtp_replies import Reply
from fetchd.settings import LmtpDestination, SmtpDestination
from fetchd.sources.login import (
    STRONG,
    Access,
    bearer_methods,
    certainty,
    connect,
    login_of,
    no_way,
    of_token,
    way_to,
)
from fetchd.telemetry import Transcript

_NAME = re.compile(r"(?!localhost\.)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_OVER_SOCKET = "localhost"  # our name and the server's, where neither has an address


async def enter(
    settings: SmtpDestination | LmtpDestination,
    credentials: Credentials | None,
    watch: Watch,
    transcript: Transcript | None = None,
    final_wait: float = FINAL_WAIT,
) -> SmtpClient:
    """Connect, encrypt, log in; `watch` hears of connect, tls, capabilities and login."""
    access = access_of(settings)
    stream = await _connect(settings, access)
    try:
        lmtp = isinstance(settings, LmtpDestination)
        client = SmtpClient(
            stream, access.read_timeout, transcript, lmtp=lmtp, final_wait=final_wait
        )
        await client.greeting()
        watch("connect", stream.where)
        name = settings.helo or str(await asyncio.to_thread(own_name, stream.local_address))
        await client.hello(name)
        if access.tls.mode is TlsMode.STARTTLS:
            await _encrypt(client, access)
            await client.hello(name)
        if stream.tls:
            watch("tls", certainty(stream))
        watch("capabilities", " ".join(client.features.keywords))
        if credentials is not None:
            watch("login", await _authenticate(client, access, credentials))
    except BaseException:
        stream.abort()
        raise
    return client


def access_of(settings: SmtpDestination | LmtpDestination) -> Access:
    """What the settings say of the way, as the sources call it."""
    return Access(**way_to(settings))


async def addresses(settings: SmtpDestination | LmtpDestination) -> str:
    """What the name of the server stands for, in the resolver's order."""
    if settings.proxy or settings.tunnel:
        return f"left to {'the proxy' if settings.proxy else 'the program of tunnel'}"
    timeout = settings.timeouts.connect.total_seconds()
    where = f"{settings.host}:{settings.port}"
    loop = asyncio.get_running_loop()
    with network_faults(where, f"an address within {timeout:g} s"):
        async with asyncio.timeout(timeout):
            found = await loop.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    return " ".join(dict.fromkeys(str(one[4][0]) for one in found))


@lru_cache(maxsize=64)
def own_name(local_address: str) -> str:
    """How we greet; blocking, since the name of this machine may be looked up in the DNS."""
    name = socket.getfqdn()
    if len(name) <= 253 and _NAME.fullmatch(name):
        return name
    if not local_address:
        return _OVER_SOCKET
    address = ipaddress.ip_address(local_address.partition("%")[0])
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


async def _connect(settings: SmtpDestination | LmtpDestination, access: Access) -> Stream:
    if isinstance(settings, LmtpDestination) and settings.socket is not None:
        stream = await open_unix_stream(settings.socket, access.connect_timeout)
        if access.tls.mode is TlsMode.IMPLICIT:
            await stream.start_tls(access.tls, access.connect_timeout)
        return stream
    if settings.username is not None:
        return await connect(access)
    return await open_stream(
        access.host, access.port, access.tls, access.connect_timeout, access.via, access.meter
    )


async def _encrypt(client: SmtpClient, access: Access) -> None:
    where = client.stream.where
    if "STARTTLS" not in client.features:
        raise TlsFailed(
            f"{where} offers no STARTTLS",
            advice='Use tls = "implicit" if the provider offers it; somebody may be in between.',
        )
    reply = await client.start_tls(access.tls, access.connect_timeout)
    if reply.passing:  # RFC 3207 §4: 454, TLS not available now
        raise ServerUnavailable(f"{where} refuses STARTTLS for now: {reply}")
    if not reply.ok:
        raise TlsFailed(
            f"{where} refuses STARTTLS: {reply}",
            advice='Use tls = "implicit" if the provider offers it.',
        )


# -- Authentication ------------------------------------------------------------


async def _authenticate(client: SmtpClient, access: Access, credentials: Credentials) -> str:
    """The method that succeeded."""
    login = login_of(access, credentials)
    refused: FetchdError | None = None
    offered = client.features.mechanisms
    for method in _methods(access.auth, offered, token=credentials.token):
        try:
            reply, told = await _attempt(client, method, login)
        except AuthenticationFailed as error:  # unfit for this method, not asked at all
            refused = error
            continue
        except (ConnectionFailed, ServerUnavailable) as error:
            if refused is None:  # some servers hang up after a wrong password
                raise
            raise refused from error
        if reply.ok:
            return method
        refused = login_refusal(reply, f"{client.stream.where} refuses the login")
        if credentials.token:
            refused = of_token(refused, told)
        unfit = method in STRONG and isinstance(refused, AuthenticationFailed)
        if not (unfit or is_not_understood(reply)):
            break
    if refused is None:
        advice = 'It may want tls = "implicit" or "starttls", another port, or no username.'
        raise no_way(client.stream.where, credentials, advice)
    raise refused


def _methods(auth: str, offered: tuple[str, ...], *, token: bool) -> list[str]:
    """What to try, in order: at most one strong mechanism, then what shows the password.

    CRAM-MD5 is used only where the settings name it.
    """
    if token:
        return bearer_methods(auth, offered)
    if auth.lower() != "auto":
        return [auth.upper()]
    strong = [name for name in STRONG if name in offered][:1]
    return [*strong, *(name for name in ("PLAIN", "LOGIN") if name in offered)]


async def _attempt(client: SmtpClient, method: str, login: Login) -> tuple[Reply, str]:
    """The server's answer, and what it said of a token."""
    if method not in MECHANISMS:
        known = ", ".join(["auto", *(name.lower() for name in MECHANISMS)])
        raise AuthenticationFailed(f"auth = {method!r} is not known", advice=f"Use one of {known}.")
    mechanism = await asyncio.to_thread(MECHANISMS[method], login)  # SCRAM is slow to import
    return await client.authenticate(method, mechanism), mechanism.refusal
