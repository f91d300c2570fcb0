"""The channels of `[alerts]`: who they are, by names that hold no secret, and how each sends.

A channel's name is what the catalog remembers it by: the same settings give the same
name, and a URL is known by a digest of itself. To add a kind: a module with its channel, a
line in `channels_of`.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from fetchd.alerting.message import Message
from fetchd.auth.reading import from_file
from fetchd.catalog.alerts import Kind
from fetchd.errors import ChannelFailed, FetchdError
from fetchd.settings import Settings
from fetchd.telemetry import conceal

PATIENCE = 90.0  # seconds for one message through one channel, whatever it does


class Channel(Protocol):
    """One way to tell the owner."""

    name: str
    destination: str  # whose letters these are; "" for other ways

    async def send(self, message: Message) -> None:
        """On return it was taken; ChannelFailed and other FetchdErrors say why it was not."""


class Broken:
    """A channel that cannot even be made: it says why whenever it is used."""

    def __init__(self, name: str, error: FetchdError) -> None:
        self.name, self.destination, self._error = name, "", error

    async def send(self, message: Message) -> None:
        """It never works."""
        raise ChannelFailed(str(self._error), advice=self._error.advice)


async def channels_of(settings: Settings) -> list[Channel]:
    """All of them, each by its own name; files of URLs are read anew each time."""
    from fetchd.alerting.letters import DestinationChannel

    wanted = settings.alerts
    found: list[Channel] = [
        DestinationChannel(name, settings.destinations[name], settings.data_dir)
        for name in dict.fromkeys(wanted.destinations)
    ]
    written = [one.get_secret_value() for one in wanted.apprise]
    found += await _of_urls("apprise", written, wanted.apprise_file)
    written = [one.get_secret_value() for one in wanted.webhooks]
    found += await _of_urls("webhooks", written, wanted.webhooks_file)
    if wanted.command is not None:
        from fetchd.alerting.program import ProgramChannel

        found.append(ProgramChannel(wanted.command))
    return list({one.name: one for one in found}.values())


async def send(channel: Channel, message: Message) -> None:
    """Send it, within a bounded time."""
    try:
        async with asyncio.timeout(PATIENCE):
            await channel.send(message)
    except TimeoutError:
        raise ChannelFailed(f"{channel.name} did not answer within {PATIENCE:g} s.") from None


async def _of_urls(kind: str, urls: list[str], file: Path | None) -> list[Channel]:
    """The channels of URLs from the settings and from a file that holds one a line."""
    found: list[Channel] = []
    if file is not None:
        try:
            urls = urls + await asyncio.to_thread(_lines, f"alerts.{kind}_file", file)
        except FetchdError as error:
            found.append(Broken(f"{kind}_file", error))
    conceal(*urls)
    return [*found, *_opened(kind, urls)]


def _lines(setting: str, file: Path) -> list[str]:
    """A URL a line; empty lines, and those that begin with #, are for people."""
    lines = [line.strip() for line in from_file(setting, file).splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _opened(kind: str, urls: list[str]) -> Iterator[Channel]:
    from fetchd.alerting.pushed import AppriseChannel
    from fetchd.alerting.webhook import Webhook

    for url in urls:
        digest = hashlib.sha256(url.encode()).hexdigest()[:8]
        if kind == "apprise":
            # What stands for the host in these URLs often is the secret.
            scheme = url.partition(":")[0]
            yield AppriseChannel(f"apprise {scheme[:20]} {digest}", url)
        elif url.startswith(("https://", "http://")) and _host(url):
            yield Webhook(f"webhook {_host(url)} {digest}", url)
        else:
            error = ChannelFailed(
                "A line of alerts.webhooks_file is no URL.", advice="Write https://..., one a line."
            )
            yield Broken(f"webhook {digest}", error)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def told_kinds(settings: Settings) -> frozenset[str]:
    """The kinds of trouble that the owner wants to hear of."""
    return frozenset(Kind) - frozenset(settings.alerts.ignore)
