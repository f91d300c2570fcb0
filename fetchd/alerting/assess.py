"""What lasts of trouble, judged from the facts: the catalog's, the disk's and the clock's.

Whoever asks, in whatever process, comes to the same judgement, so nothing is missed while
no service runs and nothing is raised twice. A trouble that shows here ends here as well,
once its fact is gone; the disk has to have a quarter more room than the least for that.
Blocking: callers use a thread.
"""

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fetchd.alerting.words import clock_of, counted, octets
from fetchd.catalog import alerts, notes
from fetchd.catalog.alerts import Alert, Kind
from fetchd.catalog.database import Catalog
from fetchd.catalog.expiry import expiries
from fetchd.instants import micros, moment
from fetchd.policy.schedule import Cron, Every, Hours, Manual, Schedule
from fetchd.settings import MaildirDestination, MboxDestination, Settings
from fetchd.values import Struct

GRACE = timedelta(minutes=10)  # for a service that has just begun to get round
PROGRESS = timedelta(hours=1)  # since something came home in a run that broke
ROOMY = 1.25  # times the least: below that, a disk that was low is low still

_OF_ACCOUNTS = (
    Kind.AUTHENTICATION, Kind.ACCOUNT, Kind.NO_SUCCESS, Kind.BRAKE, Kind.QUARANTINE,
    Kind.CERTIFICATE,
)  # fmt: skip

Which = tuple[Kind, str]
Lasting = dict[tuple[str, str], Alert]


class Found(Struct, frozen=True):
    """A trouble, in words that stay the same while it does."""

    sentence: str
    advice: str


Judgements = Iterator[tuple[Which, Found | None]]  # None: no trouble


def assess(
    settings: Settings, catalog: Catalog, now: datetime, since: datetime | None = None
) -> None:
    """Begin and end alerts as the facts are; `since`: when a service began to get round."""
    lasting = alerts.lasting(catalog)
    news = [
        (which, found)
        for which, found in _judgements(settings, catalog, lasting, now, since)
        if _is_news(lasting.get(which), found)
    ]
    if news:
        with catalog.transaction():  # one for all: a dead network is the trouble of thousands
            for which, found in news:
                _write(catalog, which, found, lasting, now)
    if any(kind == Kind.DELIVERY_FAILED for kind, _ in lasting):
        alerts.end_failed(catalog, now)
    alerts.forget_old(catalog, now)


def _is_news(known: Alert | None, found: Found | None) -> bool:
    if known is None or found is None:
        return (known is None) != (found is None)
    return (known.sentence, known.advice) != (found.sentence, found.advice)


def _write(
    catalog: Catalog, which: Which, found: Found | None, lasting: Lasting, now: datetime
) -> None:
    if found is None:
        alerts.end_alert(catalog, *which, now)
        return
    # In other words it is the same trouble, and so not counted again.
    times = 0 if which in lasting else 1
    alerts.raise_alert(catalog, *which, found.sentence, found.advice, now, times)


def _judgements(
    settings: Settings, catalog: Catalog, lasting: Lasting, now: datetime, since: datetime | None
) -> Judgements:
    yield from _strangers(settings, lasting)
    yield from _unsynced(settings, catalog, lasting, now, since)
    yield from _quarantines(catalog, lasting)
    yield from _disks(settings, lasting)
    yield _damage(catalog)
    yield from _endings(settings, catalog, lasting, now)


def _strangers(settings: Settings, lasting: Lasting) -> Judgements:
    """What is no longer in the settings troubles nobody."""
    for kind, subject in lasting:
        of_account = kind in _OF_ACCOUNTS and subject not in settings.accounts
        of_place = kind == Kind.DESTINATION and subject not in settings.destinations
        if of_account or of_place:
            yield (Kind(kind), subject), None


# -- No success for too long ----------------------------------------------------------


def _unsynced(
    settings: Settings, catalog: Catalog, lasting: Lasting, now: datetime, since: datetime | None
) -> Judgements:
    known = {
        name: row
        for name, *row in catalog.rows(
            "SELECT name, last_success, added_at, last_error, last_advice FROM account"
        )
    }
    when = clock_of(settings).instant
    fresh = [name for name in settings.accounts if not any(known.get(name, ())[:2])]
    wanted = _first_seen(catalog, fresh, now)
    for name, account in settings.accounts.items():
        which = (Kind.NO_SUCCESS, name)
        success, added, error, advice = known.get(name, (None, None, "", ""))
        schedule = account.schedule or settings.service.schedule
        if isinstance(schedule, Manual):
            yield which, None
            continue
        quiet = account.quiet_hours or settings.service.quiet_hours
        begun, patience = _moment(success, added) or wanted[name], settings.alerts.no_success_for
        due = begun + patience + _longest_pause(schedule, quiet)
        if now <= max(due, since + min(GRACE, patience) if since else due):
            yield which, None
            continue
        # Whose login is refused was told so; but what has begun is not over by that.
        told = any((kind, name) in lasting for kind in (Kind.AUTHENTICATION, Kind.ACCOUNT))
        # A sync that is under way may bring the end; it is none before it does.
        begins = not told and not _is_at_it(catalog, name, now)
        trouble = (which in lasting or begins) and not _gets_on(catalog, name, now)
        yield which, _silence(name, success, when(begun), error, advice) if trouble else None


def _is_at_it(catalog: Catalog, name: str, now: datetime) -> bool:
    """Whether a sync is under way; the service itself ends one that makes no progress."""
    rows = catalog.rows(
        "SELECT lease_owner FROM account WHERE name = ? AND lease_until > ?", (name, micros(now))
    )
    return bool(rows) and catalog.is_alive(rows[0][0])


def _gets_on(catalog: Catalog, name: str, now: datetime) -> bool:
    """Whether its lines break and yet bring something home: a first sync may take days."""
    return bool(
        catalog.rows(
            "SELECT 1 FROM run WHERE account = ? AND ended_at > ? AND fetched > 0"
            " AND deferred = 0 AND failed = 0 LIMIT 1",
            (name, micros(now - PROGRESS)),
        )
    )


def _silence(name: str, success: int | None, begun: str, error: str, advice: str) -> Found:
    sentence = f"It was last synced on {begun}." if success else f"It never was, since {begun}."
    if error:
        sentence = f"{sentence} The last attempt said: {error}"
    return Found(sentence, advice or f"'fetchd check {name}' and 'fetchd status' say more.")


def _moment(*stored: int | None) -> datetime | None:
    return next((moment(one) for one in stored if one is not None), None)


def _first_seen(catalog: Catalog, names: Sequence[str], now: datetime) -> dict[str, datetime]:
    """Since when accounts that never ran are known to be wanted."""
    seen = {name: notes.note(catalog, f"wanted {name}") for name in names}
    if unseen := [name for name, stored in seen.items() if not stored]:
        with catalog.transaction():
            for name in unseen:
                seen[name] = str(micros(now))
                notes.write_note(catalog, f"wanted {name}", seen[name])
    return {name: moment(int(stored)) for name, stored in seen.items()}


def _longest_pause(schedule: Schedule, quiet: Hours | None) -> timedelta:
    """How long a schedule lets an account alone, at the most."""
    pause = timedelta()
    match schedule:
        case Every(interval):
            pause = interval
        case Cron() as cron:
            pause = _longest_of(cron)
    return pause + _length(quiet) if quiet else pause


def _longest_of(cron: Cron) -> timedelta:
    """By the coarsest field that is not "any"; more than it can be, and never less."""
    if len(cron.months) < 12:
        return timedelta(days=366)
    if len(cron.days) < 31:
        return timedelta(days=31)
    if len(cron.weekdays) < 7:
        return timedelta(days=7)
    return timedelta(days=1) if len(cron.hours) < 24 else timedelta(hours=1)


def _length(hours: Hours) -> timedelta:
    day = datetime(2000, 1, 1, tzinfo=UTC)
    span = datetime.combine(day, hours.end) - datetime.combine(day, hours.begin)
    return span % timedelta(days=1)


# -- The archive and its disk ----------------------------------------------------------


def _quarantines(catalog: Catalog, lasting: Lasting) -> Judgements:
    """A run begins them (pipeline.alarms); they end when no message is set aside any longer."""
    for kind, name in lasting:
        if kind == Kind.QUARANTINE and not _set_aside(catalog, name):
            yield (Kind.QUARANTINE, name), None


def _set_aside(catalog: Catalog, account: str) -> bool:
    return bool(
        catalog.rows(
            "SELECT 1 FROM mailbox b JOIN remote_message r ON r.mailbox_id = b.id"
            " WHERE b.account = ? AND r.state = 'quarantined' LIMIT 1",
            (account,),
        )
    )


def _disks(settings: Settings, lasting: Lasting) -> Judgements:
    least = settings.alerts.disk_free
    seen = set[int]()
    judged = set[Which]()
    for subject, path in _places(settings):
        with suppress(OSError):  # it is not there: whoever needs it will say so
            device, free = path.stat().st_dev, shutil.disk_usage(path).free
            if device in seen:
                continue
            seen.add(device)
            which = (Kind.DISK, subject)
            judged.add(which)
            low = free < least * (ROOMY if which in lasting else 1)
            yield which, _low(path, least) if low else None
    yield from _unjudged(lasting, judged, Kind.DISK)


def _low(path: Path, least: int) -> Found:
    return Found(
        f"Less than {octets(least)} is free in {path}.",
        "Free space there; nothing can be fetched or delivered once it is full.",
    )


def _places(settings: Settings) -> Iterator[tuple[str, Path]]:
    yield "data folder", _standing(settings.data_dir)
    for name, destination in settings.destinations.items():
        if isinstance(destination, MaildirDestination | MboxDestination):
            yield f"destination {name}", _standing(destination.path)


def _standing(path: Path) -> Path:
    """As much of it as is there."""
    return next((one for one in (path, *path.parents) if os.path.lexists(one)), path)


def _damage(catalog: Catalog) -> tuple[Which, Found | None]:
    ((count,),) = catalog.rows("SELECT count(*) FROM message WHERE damaged = 1")
    found = Found(
        f"{counted(count, 'stored message')} cannot be read back.",
        "The next sync fetches again what a server still has; otherwise restore the segments "
        "from a backup. 'fetchd verify --restart' names them.",
    )
    return (Kind.DAMAGE, "archive"), found if count else None


# -- What lets us in, and ends -----------------------------------------------------------


_ENDING = {
    "certificate": (Kind.CERTIFICATE, "The server's certificate"),
    "token": (Kind.TOKEN, "The token"),
}


def _endings(settings: Settings, catalog: Catalog, lasting: Lasting, now: datetime) -> Judgements:
    names = {*settings.accounts, *(f"destination {name}" for name in settings.destinations)}
    when = clock_of(settings).instant
    judged = set[Which]()
    for one in expiries(catalog):
        if one.what not in _ENDING:
            continue
        kind, what = _ENDING[one.what]
        judged.add((kind, one.subject))
        near = one.subject in names and one.at - now < settings.alerts.expiry
        verb = "ended" if one.at <= now else "ends"
        found = Found(f"{what} {verb} on {when(one.at)}.", _renewal(kind, one.subject))
        yield (kind, one.subject), found if near else None
    yield from _unjudged(lasting, judged, Kind.CERTIFICATE, Kind.TOKEN)


def _renewal(kind: Kind, subject: str) -> str:
    if kind is Kind.CERTIFICATE:
        return "Ask whoever runs the server to renew it; where that happens by itself, wait."
    name = subject.removeprefix("destination ")
    return f"Run: fetchd login {name}{' --destination' if name != subject else ''}"


def _unjudged(lasting: Lasting, judged: Collection[Which], *kinds: Kind) -> Judgements:
    """What nothing is known of any longer."""
    for kind, subject in lasting:
        if kind in kinds and (kind, subject) not in judged:
            yield (Kind(kind), subject), None
