"""One small file from the web, within limits: time, size, redirections, TLS verified.

A redirection may lead from HTTPS to HTTPS only. Nothing is sent but the question: no
cookies, no password, and nothing of the environment but its proxies and authorities.
"""

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from httpx import AsyncClient

PATIENCE = 8.0  # seconds for a file, from the first octet sent to the last received
LARGEST = 256 * 1024  # octets; a long autoconfiguration file has 10 KB
MOST_REDIRECTIONS = 3
# Uncompressed, so that a few octets cannot become millions.
_HEADERS = {"User-Agent": "fetchd", "Accept-Encoding": "identity"}


class Web(Protocol):
    """Whoever fetches such files."""

    async def get(self, url: str) -> bytes | str:
        """The file's octets, or, as text, why there are none."""


class Fetcher:
    """Asks the web itself; `ca_file` in place of the system's authorities."""

    def __init__(
        self, *, ca_file: Path | None = None, patience: float = PATIENCE, largest: int = LARGEST
    ) -> None:
        self._ca_file, self._patience, self._largest = ca_file, patience, largest

    async def get(self, url: str) -> bytes | str:
        """Never raises: to find nothing is usual here."""
        import httpx

        try:
            async with asyncio.timeout(self._patience):
                async with await self._client() as client:
                    return await self._follow(client, url)
        except TimeoutError:
            return f"no answer within {self._patience:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            return _in_words(error)

    async def _client(self) -> "AsyncClient":
        import httpx

        from fetchd.clients.stream import TlsSettings, tls_context

        context = await asyncio.to_thread(tls_context, TlsSettings(ca_file=self._ca_file))
        return httpx.AsyncClient(verify=context, headers=_HEADERS)

    async def _follow(self, client: "AsyncClient", url: str) -> bytes | str:
        for _ in range(MOST_REDIRECTIONS + 1):
            async with client.stream("GET", url) as response:
                if response.is_redirect:
                    target = response.next_request
                    if target is None or target.url.scheme != "https":
                        return "is redirected to where there is no TLS"
                    url = str(target.url)
                    continue
                if response.status_code != 200:
                    return f"HTTP {response.status_code}"
                octets = bytearray()
                async for chunk in response.aiter_raw():
                    octets += chunk
                    if len(octets) > self._largest:
                        return f"more than {self._largest} octets"
                return bytes(octets)
        return f"more than {MOST_REDIRECTIONS} redirections"


def _in_words(error: Exception) -> str:
    text = re.sub(r"^\[Errno -?\d+\] ", "", str(error)).split("\n")[0][:200]
    return text or type(error).__name__
