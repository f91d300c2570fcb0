"""What is untold goes to each channel: one message for each trouble, one when it is over.

For each channel by itself: what it has not been told is one message, however many troubles
that is. It is written down as told once the channel took it; a process that dies in between
tells again (at least once). What a channel does not take is tried again later, with a growing
pause, for as long as it lasts. No more than `MOST` messages an hour go through one channel:
what comes faster waits, becomes one message, and falls away where it was over before anybody
was told.

A letter never goes by a destination that is itself out of reach: it waits with it. That a
channel fails is logged and shown by `fetchd alerts`, and is no trouble to be told of.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from fetchd.alerting.channels import Channel, channels_of, send, told_kinds
from fetchd.alerting.message import About, Message, here, of_alerts, plain
from fetchd.alerting.words import clock_of
from fetchd.catalog import alerts, reach, telling
from fetchd.catalog.database import Catalog
from fetchd.catalog.telling import Owed
from fetchd.errors import CatalogError, ChannelFailed, FetchdError
from fetchd.pipeline.storage import Storage
from fetchd.settings import Settings
from fetchd.telemetry import log, printable, redact
from fetchd.ulid import new_ulid
from fetchd.values import Struct

MOST = 12  # messages through one channel in an hour
HOUR = timedelta(hours=1)
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)


@dataclass(slots=True)
class Told:
    """What became of it: troubles and ends told, by channel; why channels failed; what waits."""

    told: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)


class Tried(Struct, frozen=True):
    """How a test message went through one channel; `failure` "": it was taken."""

    channel: str
    failure: str = ""
    advice: str = ""


async def tell(settings: Settings, storage: Storage, now: datetime) -> Told:
    """Tell every channel what it has not been told; never raises for a channel's sake."""
    done = Told()
    if not await storage.blocking(alerts.any_at_all, storage.catalog):
        return done
    channels = await channels_of(settings)
    await asyncio.gather(*(_tell(one, settings, storage, now, done) for one in channels))
    return done


async def try_channels(settings: Settings, now: datetime) -> list[Tried]:
    """Send a message that says so through every channel, and how each went."""
    lines = [
        f"This is a test: fetchd on {here()} can reach you this way.",
        "When something needs you, it says so here, and says when it is over.",
    ]
    message = plain(About.TEST, "test of alerts", lines, now, new_ulid())
    channels = await channels_of(settings)
    failures = await asyncio.gather(*(_failure(one, message) for one in channels))
    return [
        Tried(one.name, str(error), error.advice) if error else Tried(one.name)
        for one, error in zip(channels, failures, strict=True)
    ]


async def _tell(
    channel: Channel, settings: Settings, storage: Storage, now: datetime, done: Told
) -> None:
    """All that one channel is owed, unless another process is at it."""
    catalog = storage.catalog
    if not await storage.blocking(telling.claim, catalog, channel.name):
        return
    try:
        owed = await storage.blocking(_due, catalog, channel, settings, now)
        if owed.held:
            done.waiting[channel.name] = owed.held
        if owed.now:
            await _tell_owed(channel, owed.now, settings, storage, now, done)
    finally:
        with suppress(CatalogError):  # then it is free once this process has ended
            await storage.blocking(telling.release, catalog, channel.name)


async def _tell_owed(
    channel: Channel,
    owed: Sequence[Owed],
    settings: Settings,
    storage: Storage,
    now: datetime,
    done: Told,
) -> None:
    message = of_alerts(owed, now, clock_of(settings))
    error = await _failure(channel, message)
    if error is None:
        done.told[channel.name] = len(owed)
        await storage.blocking(telling.note_told, storage.catalog, channel.name, owed, now)
        log().info("alert.told", channel=channel.name, title=message.subject)
        return
    said = printable(redact(str(error)))
    done.failed[channel.name] = said
    log().warning("alert.untold", channel=channel.name, title=message.subject, reason=said)
    later = now + pause(max(one.attempts for one in owed) + 1)
    await storage.blocking(telling.note_failed, storage.catalog, channel.name, owed, said, later)


async def _failure(channel: Channel, message: Message) -> FetchdError | None:
    """Why it was not taken."""
    try:
        await send(channel, message)
    except FetchdError as error:
        return error
    except Exception as error:  # a fault of ours in one channel must not silence the others
        return ChannelFailed(f"{channel.name} failed: {type(error).__name__}.")
    return None


def pause(attempts: int) -> timedelta:
    """After so many failures in a row."""
    doublings = min(attempts - 1, 10)
    return min(FIRST_PAUSE * (1 << doublings), LONGEST_PAUSE)


class _Due(Struct, frozen=True):
    """What a channel is to be told now, and how much of it must wait."""

    now: tuple[Owed, ...] = ()
    held: int = 0


def _due(catalog: Catalog, channel: Channel, settings: Settings, now: datetime) -> _Due:
    kinds = told_kinds(settings)
    owed = [one for one in telling.owed(catalog, channel.name) if one.alert.kind in kinds]
    # What is new is told with what waits for another try: one message is no more than another.
    again = [one.not_before for one in owed if one.not_before is not None]
    fresh = any(one.attempts == 0 for one in owed)
    pausing = bool(again) and not fresh and min(again) > now and min(again) <= now + LONGEST_PAUSE
    if not owed or pausing or _out_of_reach(catalog, channel, now):
        return _Due(held=len(owed))
    if len(telling.messages(catalog, channel.name, now - HOUR, now)) >= MOST:
        return _Due(held=len(owed))
    return _Due(tuple(owed))


def _out_of_reach(catalog: Catalog, channel: Channel, now: datetime) -> bool:
    """Whether the destination of these letters is not to be tried now."""
    if not channel.destination:
        return False
    known = reach.of(catalog, channel.destination)
    return bool(known.failures and known.not_before is not None and known.not_before > now)
