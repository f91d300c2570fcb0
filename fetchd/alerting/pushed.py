"""A message to any of the services that Apprise knows: chats, pushes, SMS.

Apprise blocks and has no deadline of its own that holds for all: it gets a thread that nobody
waits for at the end. What it logs may show the secrets of its URLs, so its words go nowhere,
and the sentence here has only the URL's scheme.
"""

import asyncio
import logging
import threading
from contextlib import suppress
from enum import StrEnum
from importlib import import_module
from typing import Any

from fetchd.alerting.message import About, Message
from fetchd.errors import ChannelFailed

DEADLINE = 60.0  # seconds


class Told(StrEnum):
    """What became of a message."""

    TAKEN = "taken"
    REFUSED = "did not take the message"
    UNKNOWN = "is no URL that Apprise knows"
    MISSING = "needs the package apprise, which is not installed"


_ADVICE = {
    Told.REFUSED: "Check the URL and the service; 'fetchd alerts test' tries it now.",
    Told.UNKNOWN: "Write it as Apprise's documentation says for that service.",
    Told.MISSING: "Install it: pip install 'fetchd[apprise]'",
}


class AppriseChannel:
    """One URL."""

    destination = ""

    def __init__(self, name: str, url: str) -> None:
        self.name, self._url = name, url

    async def send(self, message: Message) -> None:
        """Hand it over, to the service's own answer."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Told] = loop.create_future()

        def work() -> None:
            result = self._notify(message)
            with suppress(RuntimeError):  # the loop ended before the service answered
                loop.call_soon_threadsafe(_settle, told, result)

        threading.Thread(target=work, name="fetchd-apprise", daemon=True).start()
        try:
            async with asyncio.timeout(DEADLINE):
                result = await told
        except TimeoutError:
            raise ChannelFailed(f"{self.name} did not answer within {DEADLINE:g} s.") from None
        if result is not Told.TAKEN:
            raise ChannelFailed(f"{self.name} {result}.", advice=_ADVICE[result])

    def _notify(self, message: Message) -> Told:
        """In a thread. Whatever its plugins raise is no more than a refusal."""
        logging.getLogger("apprise").disabled = True
        try:
            apprise: Any = import_module("apprise")  # an extra, and slow to import
        except ImportError:
            return Told.MISSING
        try:
            service = apprise.Apprise()
            if not service.add(self._url):
                return Told.UNKNOWN
            sent = service.notify(
                body=message.text, title=message.subject, notify_type=_TYPES[message.about],
                body_format="text",
            )  # fmt: skip
        except Exception:  # over a hundred plugins; their words may hold secrets
            return Told.REFUSED
        return Told.TAKEN if sent else Told.REFUSED


def _settle(told: "asyncio.Future[Told]", result: Told) -> None:
    if not told.done():  # nobody waits any longer
        told.set_result(result)


_TYPES = {
    About.RAISED: "failure",
    About.BOTH: "failure",
    About.OVER: "success",
    About.DIGEST: "info",
    About.TEST: "info",
}
