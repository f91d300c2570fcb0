"""`fetchd restore`: archived mail put back on an IMAP server, watched and interruptible."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.stopping import stoppable
from fetchd.cli.watching import STOPPING, LoggedRound, Watcher, watch_round
from fetchd.cli.words import counted, octets, since
from fetchd.errors import FetchdError, UsageError
from fetchd.pipeline.restore import RestoreReport, Wish, restore
from fetchd.pipeline.restore_mailbox import Kind, MailboxReport
from fetchd.pipeline.storage import open_storage
from fetchd.settings import Settings
from fetchd.telemetry import log
from fetchd.values import Struct

FEW = 5  # messages of one mailbox that are each named
_WHY = {
    Kind.DAMAGED: "damaged",
    Kind.TOO_LARGE: "too large",
    Kind.IMPOSSIBLE: "impossible",
    Kind.REFUSED: "refused",
}


class Asked(Struct, frozen=True):
    """What was asked for, in the person's words."""

    account: str
    from_account: str
    to: str
    mailboxes: tuple[str, ...]
    since: str
    into: str
    dry_run: bool


def put_back(settings: Settings, asked: Asked, *, json: bool) -> bool:
    """Put mail back; whether all of it is there now."""
    require(settings, None, [asked.to])
    wish = Wish(
        source=_source(asked),
        to=asked.to,
        mailboxes=asked.mailboxes,
        since=since(asked.since, datetime.now(UTC)) if asked.since else None,
        into=asked.into,
        dry_run=asked.dry_run,
    )
    with watch_round([asked.to], _Logged) as watcher:
        report = asyncio.run(_restore(settings, wish, watcher))
    if json:
        output.emit(_document(report, wish))
    else:
        _tell(report, wish)
    return report.ok


def _source(asked: Asked) -> str:
    if asked.account and asked.from_account and asked.account != asked.from_account:
        raise UsageError(
            f"'{asked.account}' and --from-account {asked.from_account} are two accounts",
            advice="Name the account whose mail is to be put back once.",
        )
    if source := asked.account or asked.from_account:
        return source
    raise UsageError(
        "say whose mail is to be put back",
        advice="Example: fetchd restore work --to new. 'fetchd status' shows the accounts.",
    )


async def _restore(settings: Settings, wish: Wish, watcher: Watcher) -> RestoreReport:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def asked_to_stop() -> None:
        stop.set()
        watcher.stopping()

    with (
        stoppable(lambda: loop.call_soon_threadsafe(asked_to_stop)),
        open_storage(settings, read_only=wish.dry_run) as storage,
    ):
        require(settings, storage.catalog, [wish.source])
        return await restore(settings, wish, storage, progress=watcher, stop=stop)


class _Logged(LoggedRound):
    """Says what begins."""

    def phase(self, account: str, phase: str) -> None:
        """`connecting`, or the name of a mailbox."""
        log().debug("restore.phase", account=account, phase=phase)

    def expect(self, account: str, messages: int, octets: int) -> None:
        """There is something to put back."""
        log().info("restore.sending", account=account, messages=messages, octets=octets)

    def fetched(self, account: str, messages: int, octets: int) -> None:
        """The server has taken some."""
        log().debug("restore.sent", account=account, messages=messages, octets=octets)

    def stopping(self) -> None:
        """A signal came."""
        log().warning("restore.stopping", note=STOPPING)


# -- For programs --------------------------------------------------------------------


def _document(report: RestoreReport, wish: Wish) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "dry_run": wish.dry_run,
        "stopped": report.stopped,
        "from": wish.source,
        "to": wish.to,
        "failure": _error(report.failure),
        "mailboxes": [_mailbox(one) for one in report.mailboxes],
    }


def _mailbox(one: MailboxReport) -> dict[str, Any]:
    return {
        "mailbox": one.mailbox,
        "target": one.target or None,
        "create": one.create,
        "done": one.done,
        "put": one.put,
        "octets": one.octets,
        "present": one.present,
        "gone": one.gone,
        "flags_dropped": one.flags_dropped,
        "failure": _error(one.failure),
        "troubles": [
            {
                "kind": str(trouble.kind),
                "id": trouble.id,
                "digest": trouble.digest.hex(),
                "subject": trouble.subject,
                "reason": trouble.reason,
            }
            for trouble in one.troubles
        ],
    }


def _error(error: FetchdError | None) -> dict[str, str] | None:
    return None if error is None else {"sentence": str(error), "advice": error.advice}


# -- For people ------------------------------------------------------------------------


def _tell(report: RestoreReport, wish: Wish) -> None:
    if not report.mailboxes:
        output.say(f"Nothing is archived of account {wish.source}.")
    for one in report.mailboxes:
        if one.target or one.failure is not None:
            _tell_mailbox(one, wish)
    _tell_total(report.mailboxes, wish)
    if report.failure is not None:
        output.say(f"{wish.to}: {report.failure}")
        if report.failure.advice:
            output.say(f"  {report.failure.advice}")
    if report.stopped:
        output.say("Stopped before the end, as asked; the next restore goes on from here.")


def _tell_mailbox(one: MailboxReport, wish: Wish) -> None:
    where = one.mailbox if one.target in ("", one.mailbox) else f"{one.mailbox} -> {one.target}"
    output.say(f"{where}: {', '.join(_news(one, wish))}")
    if one.failure is not None:
        output.say(f"  {one.failure}")
        if one.failure.advice:
            output.say(f"    {one.failure.advice}")
    for kind, title in _WHY.items():
        here = [trouble for trouble in one.troubles if trouble.kind is kind]
        for trouble in here[:FEW]:
            output.say(f"  {title}: message {trouble.id}, {trouble.subject}: {trouble.reason}")
        if len(here) > FEW:
            output.say(f"  {title}: and {len(here) - FEW:,} more; --json names them all")


def _news(one: MailboxReport, wish: Wish) -> list[str]:
    words = []
    if one.create:
        words.append("to be created" if wish.dry_run else "new")
    if one.put:
        what = "to put back" if wish.dry_run else "put back"
        words.append(f"{counted(one.put, 'message')} {what} ({octets(one.octets)})")
    if one.present:
        words.append(f"{one.present:,} there already")
    if one.troubles:
        words.append(f"{len(one.troubles):,} cannot be put back")
    if one.gone:
        words.append(f"{one.gone:,} left out: archive.keep let the octets go")
    if one.flags_dropped:
        words.append(f"{counted(one.flags_dropped, 'flag')} not kept by the server")
    return words or ["nothing to put back"]


def _tell_total(mailboxes: Sequence[MailboxReport], wish: Wish) -> None:
    if len(mailboxes) > 1:
        put = counted(sum(one.put for one in mailboxes), "message")
        size = octets(sum(one.octets for one in mailboxes))
        done = "to put back" if wish.dry_run else "put back"
        present = sum(one.present for one in mailboxes)
        output.say(f"{put} {done} ({size}), {present:,} there already, at {wish.to}")
