"""`fetchd verify` and `fetchd rebuild`: the archive looked after."""

import asyncio

from fetchd.alerting import after_round
from fetchd.cli import output
from fetchd.cli.stopping import stoppable
from fetchd.cli.watching import watch_octets
from fetchd.cli.words import counted, octets
from fetchd.errors import CatalogError
from fetchd.pipeline.at_work import utc_now
from fetchd.pipeline.rebuild import RebuildReport
from fetchd.pipeline.rebuild import rebuild as make_anew
from fetchd.pipeline.storage import data_paths, open_storage
from fetchd.pipeline.verify import DamagedMessage, VerifyReport
from fetchd.pipeline.verify import verify as read_again
from fetchd.settings import Settings
from fetchd.values import asdict


def verify(settings: Settings, *, restart: bool, json: bool) -> bool:
    """Check everything stored; whether it is whole, as far as this run came."""
    paths = data_paths(settings)
    if not (paths.catalog.exists() or paths.archive.exists()):
        raise _nothing_there(settings)
    stopped: list[bool] = []
    with (
        watch_octets("verifying") as bar,
        open_storage(settings) as storage,
        stoppable(lambda: stopped.append(True)),
    ):
        report = read_again(storage, restart=restart, progress=bar.at, stop=lambda: bool(stopped))
        if not stopped:
            asyncio.run(after_round(settings, storage, utc_now()))
    if json:
        output.emit(_verified(report))
    else:
        _tell_verified(report)
    return not report.damaged


def rebuild(settings: Settings, *, json: bool) -> bool:
    """Replace the catalog by one made from the segments; whether all of them were whole."""
    archive = data_paths(settings).archive
    if not any(archive.glob("*/*/*.tar.zst")):
        raise _nothing_there(settings)
    with watch_octets("rebuilding") as bar:
        report = make_anew(settings, progress=bar.at)
    if json:
        output.emit(_rebuilt(report))
    else:
        _tell_rebuilt(report)
    return not report.damage


def _nothing_there(settings: Settings) -> CatalogError:
    return CatalogError(
        f"There is no archive in {settings.data_dir}.",
        advice="Check that data_dir is right and its disk mounted; 'fetchd sync' begins a new one.",
    )


def _verified(report: VerifyReport) -> dict[str, object]:
    return {
        "ok": not report.damaged,
        "complete": report.complete,
        "checked": report.checked,
        "octets": report.octets,
        "damaged": [
            {
                "id": one.id,
                "digest": one.digest.hex(),
                "from": one.sender,
                "subject": one.subject,
                "accounts": list(one.accounts),
                "reason": one.reason,
            }
            for one in report.damaged
        ],
    }


def _tell_verified(report: VerifyReport) -> None:
    for one in report.damaged:
        _tell_damaged(one)
    result = f"{counted(len(report.damaged), 'message')} damaged" if report.damaged else "all whole"
    output.say(f"{counted(report.checked, 'message')} ({octets(report.octets)}) read: {result}")
    if report.damaged:
        output.say("  The next sync fetches them again where a server still has them.")
        output.say("  Otherwise restore the segments from a backup and verify again.")
    if not report.complete:
        output.say("Stopped before the end; 'fetchd verify' goes on from here.")


def _tell_damaged(one: DamagedMessage) -> None:
    output.say(f"damaged: message {one.id} ({', '.join(one.accounts) or 'of no account'})")
    output.say(f"  from {one.sender}: {one.subject}")
    output.say(f"  SHA-256 {one.digest.hex()}")
    output.say(f"  {one.reason}")


def _rebuilt(report: RebuildReport) -> dict[str, object]:
    previous = None if report.previous is None else str(report.previous)
    return {
        "ok": not report.damage,
        **asdict(report),
        "damage": list(report.damage),
        "previous": previous,
    }


def _tell_rebuilt(report: RebuildReport) -> None:
    output.say(
        f"{counted(report.messages, 'message')} in {counted(report.segments, 'segment')}, "
        f"{counted(report.remotes, 'uid')}, {counted(report.deliveries, 'delivery')}: "
        "the catalog is made anew"
    )
    for damage in report.damage:
        output.say(f"damaged: {damage}")
    if report.damage:
        output.say("  What could be saved is in the catalog; 'fetchd verify' names what is not.")
    if report.previous is not None:
        output.say(f"The old catalog is now {report.previous}")
