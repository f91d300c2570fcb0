"""SASL mechanisms as conversations without I/O, for POP3 (RFC 5034) and IMAP alike.

A Mechanism is asked for its `initial` response, where the client speaks first,
and then answers each challenge with `respond`; octets are raw here, the
protocols add base64. `finished` must hold when the server reports success:
SCRAM proves the server too.

To add a mechanism, write a class and add its row to MECHANISMS.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from fetchd.errors import AuthenticationFailed, RemoteProtocolError


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

    @property
    def finished(self) -> bool: ...

    def initial(self) -> bytes | None: ...

    def respond(self, challenge: bytes) -> bytes: ...


class _Script:
    """Responses known beforehand, given out in order; then empty ones.

    The empty ones answer an error challenge of XOAUTH2 and OAUTHBEARER, after
    which the server says -ERR (RFC 7628 §3.2.3).
    """

    inline = True
    finished = True

    def __init__(self, *responses: bytes, after_error: bytes = b"") -> None:
        self._responses = list(responses)
        self._after_error = after_error

    def initial(self) -> bytes | None:
        return self._responses.pop(0)

    def respond(self, challenge: bytes) -> bytes:
        return self._responses.pop(0) if self._responses else self._after_error


class _TwoStep(_Script):
    """Waits for the server's go-ahead: Office 365 wants it for XOAUTH2."""

    inline = False


class _LoginMechanism(_Script):
    """LOGIN, the draft: the server asks twice, whatever its words."""

    inline = False

    def initial(self) -> bytes | None:
        return None


class _CramMd5:
    """RFC 2195."""

    inline = False
    finished = True

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
    return _TwoStep(f"user={login.username}\1auth=Bearer {login.secret}\1\1".encode())


def _oauthbearer(login: Login) -> Mechanism:
    """RFC 7628 §3.1."""
    identity = login.username.replace("=", "=3D").replace(",", "=2C")
    where = f"host={login.host}\1port={login.port}\1" if login.host else ""
    message = f"n,a={identity},\1{where}auth=Bearer {login.secret}\1\1"
    return _TwoStep(message.encode(), after_error=b"\1")


MECHANISMS: dict[str, Callable[[Login], Mechanism]] = {
    "SCRAM-SHA-256": lambda login: _Scram("SCRAM-SHA-256", login),
    "SCRAM-SHA-1": lambda login: _Scram("SCRAM-SHA-1", login),
    "PLAIN": _plain,
    "LOGIN": lambda login: _LoginMechanism(login.username.encode(), login.secret.encode()),
    "CRAM-MD5": _CramMd5,
    "XOAUTH2": _xoauth2,
    "OAUTHBEARER": _oauthbearer,
}
