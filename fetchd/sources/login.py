"""What logging in has in common, whatever the protocol: the way there, and what is never shown.

No password goes over a plaintext line unless the settings say so for that account.
"""

import re
from typing import Any

from fetchd.clients.meter import Meter
from fetchd.clients.stream import Stream, TlsMode, TlsSettings, open_stream
from fetchd.clients.via import STRAIGHT, Via
from fetchd.contracts import Credentials
from fetchd.errors import AuthenticationFailed, PlaintextRefused
from fetchd.protocol.sasl import Login
from fetchd.settings import Account, ImapDestination, LmtpDestination, SmtpDestination
from fetchd.values import Struct, field

# The server proves itself too, and a thief of the line learns nothing to log in with.
STRONG = ("SCRAM-SHA-256", "SCRAM-SHA-1")


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


def login_of(access: Access, credentials: Credentials) -> Login:
    """What a mechanism may need to know."""
    if re.search(r"[\x00\r\n]", credentials.username + credentials.secret):
        raise AuthenticationFailed("username or password holds a line break or NUL")
    return Login(credentials.username, credentials.secret, access.host, access.port)
