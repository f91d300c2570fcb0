"""What every request passes: who may ask, and what every answer says.

A page in somebody's browser must not read what is only for this machine. Other origins cannot,
unless their name is made to resolve to 127.0.0.1 (DNS rebinding); the Host that the browser
then sends is that name, so on loopback only loopback's own names are answered.

A connection carries one request (`Connection: close`): whoever asks once in fifteen seconds
loses nothing, and no idle line has to be watched. An error of ours is logged and answered in
one line; it ends neither the server nor the service.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from typing import Any

from fetchd.telemetry import log
from fetchd.web.listening import is_loopback

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

ON_EVERY_ANSWER = (
    (b"connection", b"close"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class Guard:
    """Around an application; `host` is what the settings listen at."""

    def __init__(self, application: Application, host: str, *, loopback: bool) -> None:
        self._application = application
        self._names = frozenset({"localhost", host.lower()}) if loopback else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        answer = _Answer(send)
        if not self._may_ask(scope):
            await answer.plain(421, b"This is fetchd on loopback; ask for it by that name.\n")
            return
        try:
            await self._application(scope, receive, answer)
        except Exception as error:  # whatever it is, a scrape must not end the service
            log().error("web.failed", path=scope["path"], error=f"{type(error).__name__}: {error}")
            if not answer.begun:
                await answer.plain(500, b"Something failed; see the service's log.\n")

    def _may_ask(self, scope: Scope) -> bool:
        if self._names is None:
            return True
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        return all(self._is_ours(host.decode("latin-1")) for host in hosts)

    def _is_ours(self, host: str) -> bool:
        """A loopback literal is safe: no other origin can have it for a name."""
        name = _without_port(host).lower().removesuffix(".")
        return is_loopback(name) or (self._names is not None and name in self._names)


class _Answer:
    """`send` of one request, with what every answer says put on top."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            date = (b"date", formatdate(usegmt=True).encode())
            message["headers"] = [*message.get("headers", ()), date, *ON_EVERY_ANSWER]
        await self._send(message)

    async def plain(self, status: int, text: bytes) -> None:
        kind, length = b"text/plain; charset=utf-8", str(len(text)).encode()
        headers = [(b"content-type", kind), (b"content-length", length)]
        await self({"type": "http.response.start", "status": status, "headers": headers})
        await self({"type": "http.response.body", "body": text})


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
