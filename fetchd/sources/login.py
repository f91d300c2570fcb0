"""What logging in has in common, whatever the protocol: the way there, and what is never shown.

No password goes over a plaintext line unless the settings say so for that account.
"""

import re
from collections.abc import Collection
from ssl import cert_time_to_seconds
from typing import Any

from fetchd.clients.meter import Meter
from fetchd.clients.stream import Stream, TlsMode, TlsSettings, open_stream
from fetchd.clients.via import STRAIGHT, Via
from fetchd.contracts import Credentials
from fetchd.errors import AuthenticationFailed, FetchdError, PlaintextRefused
from fetchd.instants import moment
from fetchd.protocol.sasl import Login
from fetchd.settings import Account, ImapDestination, LmtpDestination, SmtpDestination
from fetchd.values import Struct, field

# The server proves itself too, and a thief of the line learns nothing to log in with.
STRONG = ("SCRAM-SHA-256", "SCRAM-SHA-1")
# What carries a token, the first that is offered first. XOAUTH2 is what providers describe and
# test (Microsoft has nothing else), and it does not name host and port, which OAUTHBEARER does
# and a tunnel or a proxy makes wrong. A refusal of either is told alike (RFC 7628 §3.2.2).
BEARER = ("XOAUTH2", "OAUTHBEARER")


class Access(Struct, frozen=True):
    """Where the account is and how to get in."""

    host: str
    port: int = 0
    tls: TlsSettings = field(default_factory=TlsSettings)
    auth: str = "auto"  # or what the protocol has of its own, or a SASL mechanism
    allow_plaintext_auth: bool = False
    connect_timeout: float = 30.0  # seconds
    read_timeout: float = 60.0
    max_message_size: int | None = None  # octets; larger ones stay where they are
    via: Via = STRAIGHT
    meter: Meter = field(default_factory=Meter)


def way_to(server: Account | ImapDestination | SmtpDestination | LmtpDestination) -> dict[str, Any]:
    """What the settings say of the way to any server, as `Access` calls it."""
    return {
        "host": server.host,
        "port": server.port,
        "tls": TlsSettings(
            mode=TlsMode(server.tls),
            ca_file=server.ca_file,
            fingerprint=server.fingerprint,
            client_certificate=server.client_certificate,
            min_tls=server.min_tls,
        ),
        "auth": server.auth,
        "allow_plaintext_auth": server.allow_plaintext_auth,
        "connect_timeout": server.timeouts.connect.total_seconds(),
        "read_timeout": server.timeouts.read.total_seconds(),
        "via": Via(
            proxy=server.proxy.get_secret_value() if server.proxy else "",
            tunnel=server.tunnel or (),
            bind_address=server.bind_address or "",
            ip=server.ip,
        ),
    }


async def connect(access: Access) -> Stream:
    """An open line, encrypted where `tls` is implicit."""
    if access.tls.mode is TlsMode.NONE and not access.allow_plaintext_auth:
        raise PlaintextRefused(
            "allow_plaintext_auth = true is needed to send a password over an unencrypted line"
        )
    return await open_stream(
        access.host, access.port, access.tls, access.connect_timeout, access.via, access.meter
    )


def certainty(stream: Stream) -> str:
    """What `check` says of an encrypted line."""
    return f"{stream.tls}, certificate valid until {stream.expiry}" if stream.expiry else stream.tls


def certified_until(stream: Stream) -> str:
    """The end of the certificate that the server showed and we verified, as ISO 8601."""
    if not stream.expiry:
        return ""
    return moment(int(cert_time_to_seconds(stream.expiry)) * 1_000_000).isoformat()


def bearer_methods(auth: str, offered: Collection[str]) -> list[str]:
    """What to try with a token, in order, of the mechanisms that the server offers."""
    named = auth.upper()
    if named in BEARER:
        return [named]
    return [name for name in BEARER if name in offered]


def no_way(where: str, credentials: Credentials, advice: str) -> AuthenticationFailed:
    """The server offers nothing that fits; `advice` is for passwords."""
    if credentials.token:
        sentence = f"{where} takes no tokens on this line (neither {' nor '.join(BEARER)})"
        advice = 'Check host, and tls = "implicit" or "starttls"; or log in by a password.'
        return AuthenticationFailed(sentence, advice=advice)
    return AuthenticationFailed(f"{where} offers no way to log in on this line", advice=advice)


def of_token(refused: FetchdError, refusal: str) -> FetchdError:
    """What is different where it was a token that was refused; waiting remains waiting."""
    if not isinstance(refused, AuthenticationFailed):
        return refused
    told = f"{refused} ({refusal})" if refusal else str(refused)
    return AuthenticationFailed(told, advice=_REFUSED_ADVICE)


_REFUSED_ADVICE = (
    "Check that username is the one that 'fetchd login' was done for, and that the provider "
    "lets this protocol in; else do 'fetchd login' again."
)


def login_of(access: Access, credentials: Credentials) -> Login:
    """What a mechanism may need to know."""
    if re.search(r"[\x00\r\n]", credentials.username + credentials.secret):
        raise AuthenticationFailed("username or password holds a line break or NUL")
    return Login(credentials.username, credentials.secret, access.host, access.port)
