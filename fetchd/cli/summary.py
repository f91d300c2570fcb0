"""What a round did, in a few lines for people and as a document for programs."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fetchd.cli import output
from fetchd.cli.words import counted, octets
from fetchd.pipeline.deliver import Tally
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.round import Round

FEW = 5  # accounts that are each named though there is nothing to say of them


def tell(done: Round, seconds: float, *, stopped: bool) -> None:
    """A line for each account with news, failures with what to do, and a total."""
    quiet = [report for report in done.reports if not _has_news(report)]
    for report in done.reports:
        if _has_news(report) or len(done.reports) <= FEW:
            _tell_account(report, done.unreached)
    if quiet and len(done.reports) > FEW:
        output.say(f"{counted(len(quiet), 'account')}: nothing new")
    for account, tally in done.others.items():
        output.say(f"{account} (from earlier rounds): {', '.join(_delivered(tally))}")
        _tell_troubles(tally.troubles, done.unreached)
    _tell_troubles(done.unreached)
    if len(done.reports) > 1:
        _tell_total(done.reports, seconds)
    if stopped:
        output.say("Stopped before the end, as asked; the next sync goes on from here.")


def document(done: Round, seconds: float, *, stopped: bool) -> dict[str, Any]:
    """The same with stable keys (docs/json.md)."""
    return {
        "ok": done.ok,
        "stopped": stopped,
        "seconds": round(seconds, 3),
        "accounts": [_account(report) for report in done.reports],
        "others": [
            {"account": account, **_tally(tally)} for account, tally in sorted(done.others.items())
        ],
        "unreached": done.unreached,
    }


def _account(report: RunReport) -> dict[str, Any]:
    return {
        "account": report.account,
        "ok": report.ok,
        "skipped": report.skipped,
        "stopped": report.stopped,
        "fetched": report.fetched,
        "octets": report.octets,
        "adopted": report.adopted,
        "linked": report.linked,
        "reflagged": report.reflagged,
        "gone": report.gone,
        "retired": report.retired,
        "quarantined": report.quarantined,
        "on_server": report.on_server,
        **_tally(Tally(report.delivered, report.deferred, report.failed, report.troubles)),
        "notices": report.notices,
        "failures": [
            {
                "scope": failure.scope.name.lower(),
                "name": failure.name,
                "sentence": str(failure.error),
                "advice": failure.error.advice,
                "remedy": str(failure.error.remedy),
            }
            for failure in report.failures
        ],
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "delivered": tally.delivered,
        "deferred": tally.deferred,
        "failed": tally.failed,
        "troubles": tally.troubles,
    }


def _tell_account(report: RunReport, unreached: Collection[str]) -> None:
    output.say(f"{report.account}: {', '.join(_news(report))}")
    for failure in report.failures:
        output.say(f"  {_where(report, failure.name)}{failure.error}")
        if failure.error.advice:
            output.say(f"    {failure.error.advice}")
    _tell_troubles(report.troubles, unreached)
    if report.quarantined:
        output.say("  'fetchd plan' says which messages would not come, and why.")
    for notice in report.notices:
        output.say(f"  {notice}")


def _tell_troubles(troubles: Mapping[str, str], unreached: Collection[str] = ()) -> None:
    """But for those that are told once for all accounts."""
    for destination, said in troubles.items():
        if destination not in unreached:
            output.say(f"  {destination}: {said}")


def _where(report: RunReport, name: str) -> str:
    return "" if name == report.account else f"{name}: "


def _has_news(report: RunReport) -> bool:
    said = report.failures or report.notices or report.skipped or report.stopped
    return bool(_done(report) or said)


def _news(report: RunReport) -> list[str]:
    words = _done(report)
    if report.failures:
        return [*words, "failed"]
    if report.skipped:
        return ["skipped"]
    if report.stopped:
        return [*words, f"stopped early ({report.on_server:,} on the server)"]
    return words or [f"nothing new ({report.on_server:,} on the server)"]


def _done(report: RunReport) -> list[str]:
    """What happened, in words; empty when nothing did."""
    words = []
    if report.fetched:
        words.append(f"{counted(report.fetched, 'new message')} ({octets(report.octets)})")
    if report.adopted:
        words.append(f"{report.adopted:,} recognised")
    if report.linked:
        words.append(f"{report.linked:,} stored already, in another mailbox")
    if report.reflagged:
        words.append(f"{report.reflagged:,} with other flags")
    if report.gone:
        words.append(f"{report.gone:,} gone from the server")
    words += _delivered(Tally(report.delivered, report.deferred, report.failed))
    if report.retired:
        words.append(f"{report.retired:,} removed from the server")
    if report.quarantined:
        words.append(f"{report.quarantined:,} would not come")
    return words


def _delivered(tally: Tally) -> list[str]:
    counts = (
        (tally.delivered, "delivered"),
        (tally.deferred, "to be delivered later"),
        (tally.failed, "refused by the destination"),
    )
    return [f"{count:,} {what}" for count, what in counts if count]


def _tell_total(reports: Sequence[RunReport], seconds: float) -> None:
    fetched = sum(report.fetched for report in reports)
    size = octets(sum(report.octets for report in reports))
    bad = sum(not report.ok for report in reports)
    news = f"{counted(fetched, 'new message')} ({size})" if fetched else "nothing new"
    wrong = f", {bad:,} with trouble" if bad else ""
    output.say(f"{counted(len(reports), 'account')} in {seconds:.1f} s: {news}{wrong}")
