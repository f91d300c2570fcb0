"""SASL mechanisms as conversations without I/O, for POP3 (RFC 5034) and IMAP alike.

A Mechanism is asked for its `initial` response, where the client speaks first,
and then answers each challenge with `respond`; octets are raw here, the
protocols add base64. `finished` must hold when the server reports success:
SCRAM proves the server too. `refusal` is why a token was refused, where the server said it
in an error challenge (RFC 7628 §3.2.2).

To add a mechanism, write a class and add its row to MECHANISMS.
"""

import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from fetchd.errors import AuthenticationFailed, RemoteProtocolError

MAX_CHALLENGE = 4096  # octets of an error challenge that are looked at
MAX_TOLD = 120  # characters of each of its words that are told


@dataclass(frozen=True, slots=True)
class Login:
    """What a mechanism may need to know."""

    username: str
    secret: str = field(repr=False)
    host: str = ""
    port: int = 0


class Mechanism(Protocol):
    """One conversation; `inline` says whether `initial` may ride on the AUTH line."""

    inline: bool
    refusal: str

    @property
    def finished(self) -> bool: ...

    def initial(self) -> bytes | None: ...

    def respond(self, challenge: bytes) -> bytes: ...


class _Script:
    """Responses known beforehand, given out in order; then empty ones."""

    inline = True
    finished = True
    refusal = ""

    def __init__(self, *responses: bytes) -> None:
        self._responses = list(responses)

    def initial(self) -> bytes | None:
        return self._responses.pop(0)

    def respond(self, challenge: bytes) -> bytes:
        return self._responses.pop(0) if self._responses else b""


class _Bearer:
    """A token, said at once: no round trip is spent on being asked for it.

    A challenge after it is an error, in JSON. It wants an answer before the server says no
    in its own protocol: nothing for XOAUTH2, %x01 for OAUTHBEARER (RFC 7628 §3.2.3).
    """

    finished = True

    def __init__(self, message: str, farewell: bytes) -> None:
        self.inline = True
        self.refusal = ""
        self._message, self._farewell = message.encode(), farewell

    def initial(self) -> bytes | None:
        return self._message

    def respond(self, challenge: bytes) -> bytes:
        self.refusal = bearer_refusal(challenge)
        return self._farewell


class _LoginMechanism(_Script):
    """LOGIN, the draft: the server asks twice, whatever its words."""

    inline = False

    def initial(self) -> bytes | None:
        return None


class _CramMd5:
    """RFC 2195."""

    inline = False
    finished = True
    refusal = ""

    def __init__(self, login: Login) -> None:
        self._login = login

    def initial(self) -> bytes | None:
        return None

    def respond(self, challenge: bytes) -> bytes:
        digest = hmac.new(self._login.secret.encode(), challenge, "md5").hexdigest()
        return f"{self._login.username} {digest}".encode()


class _Scram:
    """RFC 5802, RFC 7677; the arithmetic is scramp's."""

    inline = True
    refusal = ""

    def __init__(self, name: str, login: Login) -> None:
        # Here, since it is slow to import and seldom needed.
        import scramp  # type: ignore[import-untyped]

        self._error: type[Exception] = scramp.ScramException
        self._turn = 0
        self._proven = False
        try:
            self._client: Any = scramp.ScramClient([name], login.username, login.secret)
        except scramp.ScramException as error:
            raise AuthenticationFailed(f"username or password unfit for {name}: {error}") from error

    @property
    def finished(self) -> bool:
        return self._proven

    def initial(self) -> bytes | None:
        first: str = self._client.get_client_first()
        return first.encode()

    def respond(self, challenge: bytes) -> bytes:
        if challenge.startswith(b"e="):
            return b""  # RFC 5802 §7: refused; the server says so again in its own words
        self._turn += 1
        try:
            text = challenge.decode()
            if self._turn == 1:
                self._client.set_server_first(text)
                final: str = self._client.get_client_final()
                return final.encode()
            if self._turn == 2:
                self._client.set_server_final(text)
                self._proven = True
                return b""
        except (self._error, ValueError) as error:
            raise RemoteProtocolError(f"the server's part of SCRAM is wrong: {error}") from error
        raise RemoteProtocolError("SCRAM has no third challenge")


def _plain(login: Login) -> Mechanism:
    """RFC 4616; said again to a server that asks although it has been told."""
    message = f"\0{login.username}\0{login.secret}".encode()
    return _Script(message, message)


def _xoauth2(login: Login) -> Mechanism:
    return _Bearer(f"user={login.username}\1auth=Bearer {login.secret}\1\1", b"")


def _oauthbearer(login: Login) -> Mechanism:
    """RFC 7628 §3.1."""
    identity = login.username.replace("=", "=3D").replace(",", "=2C")
    where = f"host={login.host}\1port={login.port}\1" if login.host else ""
    return _Bearer(f"n,a={identity},\1{where}auth=Bearer {login.secret}\1\1", b"\1")


def bearer_refusal(challenge: bytes) -> str:
    """What an error challenge says, in a few words; what it is not, it does not say.

    RFC 7628 §3.2.2 has status, scope and openid-configuration; others have more.
    """
    try:
        found = json.loads(challenge[:MAX_CHALLENGE])
    except (ValueError, RecursionError):
        return ""
    if not isinstance(found, dict):
        return ""
    told = []
    for name in ("status", "error", "error_description", "scope"):
        value = found.get(name)
        if isinstance(value, str | int) and str(value).strip():
            told.append(f"{name} {' '.join(str(value).split())[:MAX_TOLD]}")
    return ", ".join(told)


MECHANISMS: dict[str, Callable[[Login], Mechanism]] = {
    "SCRAM-SHA-256": lambda login: _Scram("SCRAM-SHA-256", login),
    "SCRAM-SHA-1": lambda login: _Scram("SCRAM-SHA-1", login),
    "PLAIN": _plain,
    "LOGIN": lambda login: _LoginMechanism(login.username.encode(), login.secret.encode()),
    "CRAM-MD5": _CramMd5,
    "XOAUTH2": _xoauth2,
    "OAUTHBEARER": _oauthbearer,
}
