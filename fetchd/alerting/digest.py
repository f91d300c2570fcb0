"""The daily digest: what a day brought, account by account, through every channel, once.

It is due from `alerts.digest` on, in the owner's time; one that was missed, or did not get
through, comes with the next opportunity of the 24 hours that follow. What was sent, and what
failed, is noted for each channel, so that a restart neither repeats nor loses it.
"""

import asyncio
import shutil
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta

from fetchd.alerting.channels import Channel, channels_of, send
from fetchd.alerting.message import About, Message, here, plain
from fetchd.alerting.tell import pause
from fetchd.alerting.words import Clock, clock_of, counted, lasted, octets, titled
from fetchd.catalog import alerts, notes, outbox, telling
from fetchd.catalog.database import Catalog
from fetchd.errors import ChannelFailed, FetchdError
from fetchd.instants import micros, moment, moment_or_none
from fetchd.pipeline.storage import Storage
from fetchd.settings import Settings
from fetchd.telemetry import log, printable, redact
from fetchd.values import Struct

DAY = timedelta(days=1)
LISTED = 200  # accounts told one by one; a letter is for reading

_DAY_OF_ACCOUNTS = """
SELECT r.account, count(*), sum(r.outcome = 'failed'), sum(r.fetched), sum(r.octets),
    sum(r.delivered), sum(r.retired)
FROM run r WHERE r.started_at > ? GROUP BY r.account"""


class Day(Struct, frozen=True):
    """What a day brought one account."""

    runs: int = 0
    failed_runs: int = 0
    fetched: int = 0
    octets: int = 0
    delivered: int = 0
    retired: int = 0


async def send_digest(settings: Settings, storage: Storage, now: datetime) -> None:
    """To each channel that has not had today's; a channel's failure is logged and tried again."""
    if settings.alerts.digest is None:
        return
    due = _due(clock_of(settings).local(now), settings.alerts.digest)
    channels = await channels_of(settings)
    owed = [
        one for one in channels if await storage.blocking(_is_owed, storage.catalog, one, due, now)
    ]
    if not owed:
        return
    message = await storage.blocking(_message, settings, storage.catalog, str(due.day), now)
    await asyncio.gather(*(_send(one, message, storage, due, now) for one in owed))


class _Due(Struct, frozen=True):
    """The last day on which the digest's time has come; `late`: that was before midnight."""

    day: date
    late: bool


def _due(local: datetime, at: time) -> _Due:
    late = local.time() < at
    return _Due(local.date() - DAY if late else local.date(), late)


async def _send(
    channel: Channel, message: Message, storage: Storage, due: _Due, now: datetime
) -> None:
    catalog = storage.catalog
    if not await storage.blocking(telling.claim, catalog, channel.name):
        return
    try:
        if await storage.blocking(_is_owed, catalog, channel, due, now):
            state = await _sent(channel, message, storage, now)
            await storage.blocking(notes.write_note, catalog, _key(channel), f"{due.day} {state}")
    finally:
        await storage.blocking(telling.release, catalog, channel.name)


async def _sent(channel: Channel, message: Message, storage: Storage, now: datetime) -> str:
    """What to note: "told", or how often it failed and when to try again."""
    try:
        await send(channel, message)
    except Exception as error:  # a fault of ours in one channel must not silence the others
        if not isinstance(error, FetchdError):
            error = ChannelFailed(f"{channel.name} failed: {type(error).__name__}.")
        said = printable(redact(str(error)))
        log().warning("alert.untold", channel=channel.name, title=message.subject, reason=said)
        noted = (await storage.blocking(notes.note, storage.catalog, _key(channel))).split()
        failures = 1 + (int(noted[1]) if len(noted) == 3 else 0)
        return f"{failures} {micros(now + pause(failures))}"
    return "told"


def _is_owed(catalog: Catalog, channel: Channel, due: _Due, now: datetime) -> bool:
    noted = notes.note(catalog, _key(channel)).split()
    if noted[:1] == [str(due.day)]:
        return len(noted) == 3 and moment(int(noted[2])) <= now
    if due.late:  # only where it is the next one: nobody needs yesterday's first
        return noted[:1] == [str(due.day - DAY)]
    return noted[:1] != [str(due.day + DAY)]  # the clock was set back over midnight


def _key(channel: Channel) -> str:
    return f"digest {channel.name}"


# -- What it says -------------------------------------------------------------------


def _message(settings: Settings, catalog: Catalog, today: str, now: datetime) -> Message:
    clock = clock_of(settings)
    lines = [f"fetchd on {here()}, the day before {clock.instant(now)}:", ""]
    lines += [*_troubles(catalog, clock, now), ""]
    lines += [*_accounts(settings, catalog, clock, now), ""]
    lines += [*_deliveries(settings, catalog), "", *_disk(settings)]
    return plain(About.DIGEST, f"digest of {today}", lines, now, today)


def _troubles(catalog: Catalog, clock: Clock, now: datetime) -> Iterable[str]:
    every = alerts.alerts(catalog, over=True)
    lasting = [one for one in every if one.over_at is None and not one.dismissed]
    ended = [one for one in every if one.over_at is not None and one.over_at > now - DAY]
    if not lasting:
        yield "No trouble lasts."
    for one in lasting:
        yield f"{titled(one)}, since {clock.instant(one.raised_at)}"
        yield from (f"  {said}" for said in (one.sentence, one.advice) if said)
    for one in ended:
        assert one.over_at is not None
        yield f"OVER: {titled(one)}, after {lasted(one.over_at - one.raised_at)}"


def _accounts(settings: Settings, catalog: Catalog, clock: Clock, now: datetime) -> Iterable[str]:
    days = {
        name: Day(*(int(value or 0) for value in sums))
        for name, *sums in catalog.rows(_DAY_OF_ACCOUNTS, (micros(now - DAY),))
    }
    known = _states(catalog)
    for name in list(settings.accounts)[:LISTED]:
        yield _account(name, days.get(name, Day()), *known.get(name, (None, 0)), clock)
    if rest := list(settings.accounts)[LISTED:]:
        fetched = sum(days[name].fetched for name in rest if name in days)
        yield f"{counted(len(rest), 'more account')}: {fetched:,} fetched"


def _account(name: str, day: Day, success: datetime | None, on_server: int, clock: Clock) -> str:
    failed = f" ({day.failed_runs:,} failed)" if day.failed_runs else ""
    last = f"last success {clock.instant(success)}" if success else "never synced"
    return (
        f"{name}: {day.fetched:,} fetched ({octets(day.octets)}), {day.delivered:,} delivered, "
        f"{day.retired:,} removed, {on_server:,} on the server; "
        f"{counted(day.runs, 'run')}{failed}, {last}"
    )


def _states(catalog: Catalog) -> Mapping[str, tuple[datetime | None, int]]:
    """When each account last was well, and how much its server has."""
    rows = catalog.rows(
        "SELECT a.name, a.last_success, (SELECT coalesce(sum(b.on_server), 0) FROM mailbox b"
        " WHERE b.account = a.name) FROM account a"
    )
    return {name: (moment_or_none(success), int(count)) for name, success, count in rows}


def _deliveries(settings: Settings, catalog: Catalog) -> Iterable[str]:
    states = outbox.counts(catalog)
    for name in settings.destinations:
        counts = states.get(name, {})
        waiting = counts.get("pending", 0) + counts.get("deferred", 0)
        yield f"To {name}: {waiting:,} wait, {counts.get('failed', 0):,} failed for good"


def _disk(settings: Settings) -> Iterable[str]:
    try:
        free = shutil.disk_usage(settings.data_dir).free
    except OSError:
        return
    yield f"Free in {settings.data_dir}: {octets(free)}"
