"""One HTTP request on a loopback port: the browser's, with the answer to an authorization.

RFC 8252 §7.3. It listens on this machine alone and for one path, takes what carries the
right `state` and nothing else (another program on this machine may knock, and browsers ask
for icons), and says on a page that the window can be closed. Requests are bounded in size,
time and number.
"""

import asyncio
import contextlib
import hmac
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from fetchd.errors import AccountBusy, RemoteProtocolError
from fetchd.values import Struct

REQUEST_PATIENCE = 10.0  # seconds for one request
MAX_LINE = 16 * 1024  # octets; codes of Microsoft have some two thousand
MOST_HEADERS = 100
MOST_AT_ONCE = 8  # a browser opens a few in advance

_PAGE = """\
<!doctype html><html lang="en"><head><meta charset="utf-8"><title>fetchd</title>
<meta name="viewport" content="width=device-width"><style>
body{{font:1.1rem/1.6 system-ui,sans-serif;max-width:32rem;margin:20vh auto;padding:0 1rem}}
@media(prefers-color-scheme:dark){{body{{background:#111;color:#eee}}}}
</style></head><body><h1>{title}</h1><p>{text}</p></body></html>
"""
_THANKS = _PAGE.format(
    title="Thank you", text="fetchd has the answer. This window can be closed; go back to it."
)
_DECLINED = _PAGE.format(
    title="Declined", text="The provider did not agree. fetchd says why; this window can be closed."
)
_STRANGE = _PAGE.format(title="Not this one", text="This is not the answer that fetchd waits for.")


class Redirected(Struct, frozen=True):
    """What the issuer sent the browser back with: a code, or why there is none."""

    code: str = ""
    error: str = ""
    description: str = ""

    def __repr__(self) -> str:
        return f"Redirected(error={self.error!r})"


class Loopback:
    """A port that waits; `redirect` is what the issuer is told."""

    def __init__(self, redirect: str, port: int, state: str) -> None:
        self.redirect = f"{redirect}:{port}"
        self._state = state
        self._at_work = asyncio.Semaphore(MOST_AT_ONCE)
        self._answer: asyncio.Future[Redirected] = asyncio.get_running_loop().create_future()

    async def answer(self) -> Redirected:
        """The answer, once it is there; whoever waits sets the deadline."""
        return await asyncio.shield(self._answer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            with contextlib.suppress(OSError, ValueError, TimeoutError, EOFError):
                async with asyncio.timeout(REQUEST_PATIENCE), self._at_work:
                    await self._serve(reader, writer)
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = (await reader.readline()).decode("ascii").split(" ", 2)
        for _ in range(MOST_HEADERS):
            if (await reader.readline()).strip() == b"":
                break
        found = redirected(target, self._state) if method == "GET" else None
        if found is None:
            await _reply(writer, "404 Not Found", _STRANGE)
            return
        if not self._answer.done():
            self._answer.set_result(found)
        await _reply(writer, "200 OK", _THANKS if found.code else _DECLINED)


@asynccontextmanager
async def listening(redirect: str, port: int, state: str) -> AsyncIterator[Loopback]:
    """Listen for the browser; port 0 is whichever is free."""
    sockets = _bound(redirect, port)
    loopback = Loopback(redirect, sockets[0].getsockname()[1], state)
    servers = [
        await asyncio.start_server(loopback.serve, sock=one, limit=MAX_LINE) for one in sockets
    ]
    try:
        yield loopback
    finally:
        for server in servers:
            server.close()


def redirected(target: str, state: str) -> Redirected | None:
    """What a target (RFC 9112 §3.2) or a whole URL carries; None without the right state.

    An answer that lacks it may be somebody else's, who wants us in another account
    (RFC 6749 §10.12).
    """
    try:
        fields = parse_qs(urlsplit(target).query, max_num_fields=50)
    except ValueError:
        return None
    given = {name: values[0] for name, values in fields.items()}
    if not hmac.compare_digest(given.get("state", "").encode(), state.encode()):
        return None
    if not given.get("code") and not given.get("error"):
        return None
    return Redirected(
        given.get("code", ""), given.get("error", ""), given.get("error_description", "")
    )


def pasted(text: str, state: str) -> Redirected:
    """What a person copied: the whole address of the page that did not load, or the code alone."""
    text = text.strip()
    if "://" not in text and "code=" not in text and "error=" not in text:
        if not text or len(text) > MAX_LINE or any(c.isspace() for c in text):
            raise RemoteProtocolError(
                "this is neither an address nor a code",
                advice="Paste the whole address from the browser's address bar.",
            )
        return Redirected(text)
    found = redirected(text if "?" in text else f"?{text}", state)
    if found is None:
        raise RemoteProtocolError(
            "this address is not the answer to this login",
            advice="Paste the address that the browser shows after the consent, whole, and once.",
        )
    return found


def _bound(redirect: str, port: int) -> list[socket.socket]:
    """127.0.0.1, and ::1 on the same port where browsers may take "localhost" for that."""
    try:
        first = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise AccountBusy(
            f"port {port} for the redirect cannot be had: {error.strerror}",
            advice="Free it, set redirect_port to another one, or use --paste.",
        ) from None
    sockets = [first]
    if redirect.endswith("localhost"):
        with contextlib.suppress(OSError):
            where = ("::1", first.getsockname()[1])
            sockets.append(socket.create_server(where, family=socket.AF_INET6))
    return sockets


async def _reply(writer: asyncio.StreamWriter, status: str, page: str) -> None:
    """Nothing of the address stays in the browser's history for a referrer to tell."""
    body = page.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\nCache-Control: no-store\r\n"
        "Referrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n"
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
