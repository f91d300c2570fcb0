"""The loop that tells, for the service; and the one turn of it that other commands take.

A service judges silence only when it has had time to get round once: after a night in which
the machine slept, nobody is woken by what the first minutes mend.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from fetchd.alerting.assess import assess
from fetchd.alerting.tokens import note_tokens
from fetchd.catalog import alerts
from fetchd.errors import FetchdError
from fetchd.pipeline.storage import Storage
from fetchd.settings import Settings
from fetchd.telemetry import log

EVERY = 60.0  # seconds, at most, between two looks
GATHER = 2.0  # seconds after a stir, in which the troubles of one cause come together
SLEPT = timedelta(minutes=5)  # of wall time beyond what was waited for: the machine slept
LAST_TURN = 100.0  # seconds that a command takes for this at its end, at the most


async def watch_alerts(
    settings: Callable[[], Settings],
    storage: Storage,
    now: Callable[[], datetime],
    stop: asyncio.Event,
    stirred: asyncio.Event,
) -> None:
    """Judge and tell until `stop`: within seconds when stirred, else every minute.

    One loop in each process. What goes wrong in a turn is logged, and the next one comes.
    """
    began = seen = now()
    while not stop.is_set():
        stirred.clear()
        if now() - seen > timedelta(seconds=EVERY) + SLEPT:
            began = now()
        seen = now()
        await _turn(settings(), storage, now(), began)
        if await _first(stop, stirred, EVERY) and not stop.is_set():
            await _first(stop, None, GATHER)


async def after_round(settings: Settings, storage: Storage, now: datetime) -> None:
    """One turn, for commands that end: within a bounded time, and without raising anything."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_TURN):
            await _turn(settings, storage, now, None)


async def _turn(
    settings: Settings, storage: Storage, now: datetime, began: datetime | None
) -> None:
    """What must not end anybody's work ends here, and is logged."""
    try:
        await storage.blocking(note_tokens, settings, storage.catalog, now)
        await storage.blocking(assess, settings, storage.catalog, now, began)
        if _has_channels(settings):
            await _tell(settings, storage, now)
    except FetchdError as error:
        log().error("alerts.failed", error=str(error), advice=error.advice)
    except Exception as error:  # a fault of ours; its words may hold anything
        log().error("alerts.failed", error=type(error).__name__)


async def _tell(settings: Settings, storage: Storage, now: datetime) -> None:
    """What sends is imported once there is something to send: a poll without news pays nothing."""
    if await storage.blocking(alerts.any_at_all, storage.catalog):
        from fetchd.alerting.tell import tell

        await tell(settings, storage, now)
    if settings.alerts.digest is not None:
        from fetchd.alerting.digest import send_digest

        await send_digest(settings, storage, now)


def _has_channels(settings: Settings) -> bool:
    wanted = settings.alerts
    urls = (wanted.apprise, wanted.apprise_file, wanted.webhooks, wanted.webhooks_file)
    return any((wanted.destinations, wanted.command, *urls))


async def _first(stop: asyncio.Event, other: asyncio.Event | None, patience: float) -> bool:
    """Wait for one of them; False when neither came in time."""
    waits = [asyncio.ensure_future(one.wait()) for one in (stop, other) if one is not None]
    try:
        done, _ = await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()
    return bool(done)
