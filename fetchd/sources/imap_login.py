"""Getting into an IMAP account: TLS, capabilities, a login that shows no more than it must.

The order is the safety argument, as in `pop3_login`: nothing is sent before the line is
encrypted but STARTTLS itself, and what was said before counts for nothing afterwards
(RFC 9051 §6.2.1). A server that greets with PREAUTH on a plaintext line that was to be
encrypted cannot be asked for STARTTLS any more, and is left (quirk 65). CRAM-MD5 is used
only where the settings name it.

Round trips are dear: capabilities that come with the greeting or the login's OK are not
asked for again, and with SASL-IR a login is one flight.

To change what is tried, change `_methods`.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta

from fetchd.clients.imap import ImapClient
from fetchd.clients.imap_refusals import is_not_understood, login_refusal
from fetchd.clients.stream import TlsMode
from fetchd.contracts import Credentials, Watch
from fetchd.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    FetchdError,
    ServerUnavailable,
    TlsFailed,
)
from fetchd.protocol.imap import commands
from fetchd.protocol.imap.events import Completed, Greeting
from fetchd.protocol.sasl import MECHANISMS, Login
from fetchd.sources.login import (
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

_COMMAND = "LOGIN-COMMAND"  # IMAP's own LOGIN, which is no SASL mechanism
# What RFC 9051 (appendix E) made part of IMAP, so that a server may leave it unsaid.
_IN_REV2 = frozenset({
    "ENABLE", "ESEARCH", "IDLE", "LIST-EXTENDED", "LIST-STATUS", "LITERAL-", "MOVE", "NAMESPACE",
    "SASL-IR", "SEARCHRES", "STATUS=SIZE", "UIDPLUS", "UNSELECT",
})  # fmt: skip


class ImapAccess(Access, frozen=True):
    """Where the account is, and what is wanted of it; see settings.account.ImapAccount."""

    port: int = 993
    mailboxes: tuple[str, ...] = ("*",)
    retire_to: str | None = None
    connections: int = 2
    compress: bool = True
    full_pass: timedelta = timedelta(days=1)
    # To be entered for each connection beyond the first; who may have none raises.
    door: Callable[[], AbstractAsyncContextManager[None]] = nullcontext


class Entrance(Struct, frozen=True):
    """A connection behind its login."""

    client: ImapClient
    greeting: str
    capabilities: frozenset[str]


async def enter(
    access: ImapAccess, credentials: Credentials, transcript: Transcript | None, watch: Watch
) -> Entrance:
    """Connect, encrypt, log in; `watch` hears of connect, tls, capabilities and login."""
    stream = await connect(access)
    try:
        client = ImapClient(stream, access.read_timeout, transcript)
        greeting = await client.greeting()
        watch("connect", stream.where)
        if access.tls.mode is TlsMode.STARTTLS:
            await _encrypt(client, access, greeting)
        if stream.tls:
            watch("tls", certainty(stream))
        watch("capabilities", " ".join(sorted(await capabilities(client))))
        method = "PREAUTH" if greeting.preauth else await _authenticate(client, access, credentials)
        watch("login", method)
        return Entrance(client, greeting.text, await capabilities(client))
    except BaseException:
        stream.abort()
        raise


async def capabilities(client: ImapClient) -> frozenset[str]:
    """What the server can do now; asked for unless it has said so by itself."""
    if client.protocol.capabilities is None:
        await client.ask(commands.capability())
    offered = client.protocol.capabilities or frozenset()
    return offered | _IN_REV2 if is_rev2(offered) else offered


def is_rev2(offered: frozenset[str]) -> bool:
    """Whether this is IMAP4rev2 and nothing older: else it would have to be enabled first."""
    return "IMAP4REV2" in offered and "IMAP4REV1" not in offered


async def _encrypt(client: ImapClient, access: Access, greeting: Greeting) -> None:
    where = client.stream.where
    if greeting.preauth:
        raise TlsFailed(
            f"{where} has logged us in already, so the line cannot be encrypted any more",
            advice='Use tls = "implicit"; somebody may be in between.',
        )
    answer = await client.start_tls(access.tls, access.connect_timeout)
    if not answer.ok:
        raise TlsFailed(
            f"{where} refuses STARTTLS: {answer.text}",
            advice='Use tls = "implicit" if the provider offers it.',
        )


# -- Authentication ------------------------------------------------------------


async def _authenticate(client: ImapClient, access: Access, credentials: Credentials) -> str:
    """The method that succeeded."""
    login = login_of(access, credentials)
    offered = await capabilities(client)
    refused: FetchdError | None = None
    for method in _methods(access.auth, offered, login, token=credentials.token):
        try:
            answer, told = await _attempt(client, method, login, offered)
        except AuthenticationFailed as error:  # unfit for this method, not asked at all
            refused = error
            continue
        # Some servers hang up after a wrong password, with a word of farewell or without.
        except (ConnectionFailed, ServerUnavailable) as error:
            if refused is None:
                raise
            raise refused from error
        if answer.ok:
            return method
        what = f"{client.stream.where} refuses the login"
        refused = login_refusal(answer.code, answer.text, what)
        if credentials.token:
            refused = of_token(refused, told)
        unfit = method in STRONG and isinstance(refused, AuthenticationFailed)
        if not (unfit or is_not_understood(answer.code, answer.text)):
            break
    if refused is None:
        advice = 'It may want tls = "implicit" or "starttls", or another value of auth.'
        raise no_way(client.stream.where, credentials, advice)
    raise refused


def _methods(auth: str, offered: frozenset[str], login: Login, *, token: bool) -> list[str]:
    """What to try, in order: at most one strong mechanism, then what shows the password.

    LOGIN takes one round trip and AUTHENTICATE PLAIN two, unless the server has
    SASL-IR; only PLAIN is sure to carry what is not ASCII (RFC 9051 §6.2.3).
    """
    if token:
        mechanisms = {name.removeprefix("AUTH=") for name in offered if name.startswith("AUTH=")}
        return bearer_methods(auth, mechanisms)
    if auth.lower() != "auto":
        return [auth.upper()]
    strong = [name for name in STRONG if f"AUTH={name}" in offered][:1]
    shown = ["PLAIN"] if "AUTH=PLAIN" in offered else []
    command = [] if "LOGINDISABLED" in offered else [_COMMAND]
    plain_first = "SASL-IR" in offered or not (login.username + login.secret).isascii()
    weak = [*shown, *command] if plain_first else [*command, *shown]
    old = ["LOGIN"] if "AUTH=LOGIN" in offered and not (shown or command) else []
    return [*strong, *weak, *old]


async def _attempt(
    client: ImapClient, method: str, login: Login, offered: frozenset[str]
) -> tuple[Completed, str]:
    """The server's answer, and what it said of a token."""
    if method == _COMMAND and "LOGINDISABLED" in offered:  # RFC 9051 §6.2.3: it must not be sent
        raise AuthenticationFailed(
            f"{client.stream.where} allows no LOGIN on this line",
            advice='Set tls = "starttls" or "implicit", or auth = "auto".',
        )
    if method == _COMMAND:
        (answer,) = (await client.ask(commands.login(login.username, login.secret))).completed
        return answer, ""
    if method not in MECHANISMS:
        known = ", ".join(["auto", _COMMAND.lower(), *(name.lower() for name in MECHANISMS)])
        raise AuthenticationFailed(f"auth = {method!r} is not known", advice=f"Use one of {known}.")
    mechanism = await asyncio.to_thread(MECHANISMS[method], login)  # SCRAM is slow to import
    answer = await client.authenticate(method, mechanism, inline="SASL-IR" in offered)
    return answer, mechanism.refusal
