"""One request to an endpoint of an issuer: a form goes there, a JSON object comes back.

Promises: the certificate is verified, no redirect is followed (a form full of secrets is
for one host alone), the answer is read within a size and the whole of it within a time,
and every fault of the network is a sentence without a word of what was sent.

A line that goes through a proxy to the mail server goes through it to the issuer too; one
that a tunnel makes does not, for a tunnel leads to one place. Without, HTTPS_PROXY of the
environment counts.
"""

import asyncio
import errno
import json
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import quote_plus, urlsplit

from fetchd.errors import ConnectionFailed, RemoteProtocolError, SecretUnavailable, TlsFailed
from fetchd.values import Struct

PATIENCE = 30.0  # seconds for all of it
MAX_ANSWER = 256 * 1024  # octets; tokens have some thousand
_OURS = {errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
LONGEST_HINT = timedelta(hours=1)  # of Retry-After


class Line(Struct, frozen=True):
    """How to get there."""

    proxy: str = ""
    bind_address: str = ""

    def __repr__(self) -> str:
        return f"Line(bind_address={self.bind_address!r})"


class Answer(Struct, frozen=True):
    """`body` is empty where it was no JSON object; `wait` is the server's hint."""

    status: int
    body: dict[str, Any]
    host: str
    wait: timedelta | None = None

    def __repr__(self) -> str:
        return f"Answer(status={self.status}, host={self.host!r})"

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for."""
        return self.status == 200 and bool(self.body) and "error" not in self.body


async def ask(
    url: str,
    form: Mapping[str, str],
    line: Line,
    *,
    basic: tuple[str, str] | None = None,
    patience: float = PATIENCE,
) -> Answer:
    """POST the form; `basic` are the client's id and secret for the header.

    ConnectionFailed where nothing came back, RemoteProtocolError for what is no answer.
    """
    import httpx  # slow to import, and wanted once an hour

    host = urlsplit(url).netloc.rpartition("@")[2]
    headers = {"Accept": "application/json", "User-Agent": "fetchd"}
    if basic is not None:
        headers["Authorization"] = f"Basic {_encoded(*basic)}"
    try:
        async with (
            asyncio.timeout(patience),
            _client(line) as client,
            client.stream("POST", url, data=dict(form), headers=headers) as response,
        ):
            octets = await _body(response, host)
            return Answer(
                response.status_code,
                _object(octets),
                host,
                _hint(response.headers.get("Retry-After", "")),
            )
    except TimeoutError:
        raise ConnectionFailed(f"{host} gave no answer within {patience:g} s") from None
    except httpx.HTTPError as error:
        raise _fault(host, error) from None


def _client(line: Line) -> Any:
    """httpx's own; with our address or proxy, the environment's proxies do not count."""
    import httpx

    verify = _context()
    options: dict[str, Any] = {"verify": verify, "follow_redirects": False, "timeout": PATIENCE}
    try:
        if line.proxy:
            return httpx.AsyncClient(proxy=line.proxy, trust_env=False, **options)
        if line.bind_address:
            transport = httpx.AsyncHTTPTransport(verify=verify, local_address=line.bind_address)
            return httpx.AsyncClient(transport=transport, **options)
        return httpx.AsyncClient(**options)
    except ImportError:
        advice = "Install it: pip install 'fetchd[proxy]'"
        raise SecretUnavailable("a SOCKS proxy needs the package socksio", advice=advice) from None
    except ValueError:
        advice = 'Use "socks5", "socks5h" or "http" in proxy.'
        raise SecretUnavailable(
            "this kind of proxy cannot be asked for tokens", advice=advice
        ) from None


@lru_cache(maxsize=1)
def _context() -> ssl.SSLContext:
    """The system's authorities, or SSL_CERT_FILE; reading them takes 20 ms."""
    return ssl.create_default_context()


async def _body(response: Any, host: str) -> bytes:
    octets = bytearray()
    async for piece in response.aiter_bytes():
        octets += piece
        if len(octets) > MAX_ANSWER:
            raise RemoteProtocolError(
                f"{host} answers with more than {MAX_ANSWER:,} octets",
                advice="Check token_endpoint: no token is as long.",
            )
    return bytes(octets)


def _object(octets: bytes) -> dict[str, Any]:
    try:
        found = json.loads(octets)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _hint(text: str) -> timedelta | None:
    """Retry-After in seconds (RFC 9110 §10.2.3); its dates need clocks that agree."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        return None
    return min(timedelta(seconds=int(text)), LONGEST_HINT)


def _encoded(client: str, secret: str) -> str:
    """RFC 6749 §2.3.1: both encoded as in a form, before base64."""
    return b64encode(f"{quote_plus(client)}:{quote_plus(secret)}".encode()).decode()


def _fault(host: str, error: Exception) -> ConnectionFailed:
    cause: BaseException | None = error
    local = False
    for _ in range(8):
        local |= _is_ours(cause)
        if isinstance(cause, ssl.SSLCertVerificationError):
            advice = "Check the clock, and whether somebody is in between."
            sentence = f"the certificate of {host} is not one to trust: {cause.verify_message}"
            return TlsFailed(sentence, advice=advice)
        if isinstance(cause, BaseExceptionGroup):  # an attempt for each address
            cause = cause.exceptions[0]
        else:
            cause = cause.__cause__ or cause.__context__ if cause is not None else None
    reason = type(error).__name__ if not str(error) else str(error)
    return ConnectionFailed(f"{host} cannot be reached: {reason[:200]}", local=local)


def _is_ours(cause: BaseException | None) -> bool:
    """Whether it is this machine's own network that is missing."""
    if isinstance(cause, socket.gaierror):
        return cause.errno == socket.EAI_AGAIN
    return isinstance(cause, OSError) and cause.errno in _OURS
