"""A message as JSON to a URL of the owner's; docs/alerts.md has the document.

One POST, a few times where the line or the server fails for a moment. A redirect is not
followed: what is told here is for that URL alone. Whatever is answered is not read.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from fetchd.alerting.message import Message, here
from fetchd.catalog.alerts import Alert
from fetchd.errors import ChannelFailed
from fetchd.telemetry import redact, redacted

if TYPE_CHECKING:
    import httpx

VERSION = 1  # of the document; keys may be added to it, none is taken away
DEADLINE = 10.0  # seconds for each step of one attempt
ATTEMPT = 20.0  # and for all of it
PAUSES = (1.0, 4.0)  # seconds before another attempt
_PASSING = (408, 425, 429)


class Webhook:
    """One URL."""

    destination = ""

    def __init__(self, name: str, url: str) -> None:
        self.name, self._url = name, url

    async def send(self, message: Message) -> None:
        """POST it; any 2xx means that it was taken."""
        import httpx

        body = document(message)
        async with httpx.AsyncClient(timeout=DEADLINE, follow_redirects=False) as client:
            for pause in (*PAUSES, None):
                why, passing = await self._attempt(client, body)
                if not why:
                    return
                if pause is None or not passing:
                    raise ChannelFailed(f"{self.name}: {why}.")
                await asyncio.sleep(pause)

    async def _attempt(self, client: "httpx.AsyncClient", body: dict[str, Any]) -> tuple[str, bool]:
        """Why it was not taken, "" if it was; and whether another attempt may help."""
        import httpx

        try:
            async with (
                asyncio.timeout(ATTEMPT),
                client.stream("POST", self._url, json=body) as answer,
            ):
                status = answer.status_code
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError):
            return "the URL cannot be used", False
        except (httpx.HTTPError, OSError, TimeoutError) as error:
            # Its own words may show the URL.
            return _REASONS.get(type(error).__name__, "the connection failed"), True
        if 200 <= status < 300:
            return "", False
        kind = " (a redirect, which is not followed)" if 300 <= status < 400 else ""
        return f"the server answered {status}{kind}", status in _PASSING or status >= 500


_REASONS = {
    "ConnectError": "no connection, or the certificate is not one to trust",
    "ConnectTimeout": f"no connection within {DEADLINE:g} s",
    "ReadTimeout": f"no answer within {DEADLINE:g} s",
    "TimeoutError": f"no answer within {ATTEMPT:g} s",
    "RemoteProtocolError": "the server does not speak HTTP",
}


def document(message: Message) -> dict[str, Any]:
    """The message with stable keys; no secret passes."""
    made: dict[str, Any] = redacted(
        {
            "version": VERSION,
            "event": str(message.about),
            "id": message.key,
            "at": message.at.isoformat(timespec="seconds"),
            "host": here(),
            "title": message.subject,
            "text": redact(message.text),
            "raised": [_alert(one) for one in message.raised],
            "over": [_alert(one) for one in message.over],
        }
    )
    return made


def _alert(one: Alert) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind,
        "subject": one.subject,
        "sentence": one.sentence,
        "advice": one.advice,
        "times": one.times,
        "since": one.raised_at.isoformat(timespec="seconds"),
        "last": one.last_at.isoformat(timespec="seconds"),
        "over": one.over_at.isoformat(timespec="seconds") if one.over_at else None,
    }
