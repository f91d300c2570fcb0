"""What a run says of its account's troubles: those that begin with it, and those it ends.

Written in the transaction that records the run, so no alert is lost that the run's record
knows of. Troubles that show in the catalog or on the disk at any time are judged elsewhere
(`alerting.assess`). A failure that passes by itself neither begins nor ends anything here.
"""

import json
from collections.abc import Iterator
from datetime import datetime

from fetchd.catalog import alerts, runs
from fetchd.catalog.alerts import Kind
from fetchd.catalog.database import Catalog
from fetchd.catalog.notes import note, write_note
from fetchd.errors import AuthenticationFailed, FetchdError, Remedy, Scope, TlsFailed
from fetchd.pipeline.halting import ATTEMPTS
from fetchd.pipeline.report import Failure, RunReport

_LOOK = "'fetchd check {}' looks closer."


def note_troubles(catalog: Catalog, report: RunReport, now: datetime) -> None:
    """Begin and end alerts of the account of a run, which is one that was not skipped."""
    _login(catalog, report, now)
    if report.brakes:
        _brake(catalog, report, now)
    if report.aside:
        count = len(report.aside)
        alerts.raise_alert(
            catalog, Kind.QUARANTINE, report.account,
            f"{count} message{'s' if count > 1 else ''} would not come; the rest did.",
            f"'fetchd plan {report.account}' says which, and why; they are tried again.",
            now, count,
        )  # fmt: skip


def _login(catalog: Catalog, report: RunReport, now: datetime) -> None:
    """Whether the account lets us in and serves us."""
    account = report.account
    over = [] if report.stopped or not report.ok else [(Kind.NO_SUCCESS, account)]
    if not any(failure.scope >= Scope.ACCOUNT for failure in report.failures):
        over += [(Kind.AUTHENTICATION, account), (Kind.ACCOUNT, account)]
    for failure in _owners(report):
        if _is_doubtful(failure.error) and runs.failures(catalog, account) < ATTEMPTS:
            continue
        kind, other = Kind.ACCOUNT, Kind.AUTHENTICATION
        if isinstance(failure.error, AuthenticationFailed):
            kind, other = other, kind
        advice = failure.error.advice or _LOOK.format(account)
        alerts.raise_alert(catalog, kind, account, str(failure.error), advice, now)
        over.append((other, account))  # it came further than that, or not so far
    alerts.end_alerts(catalog, over, now)


def _is_doubtful(error: FetchdError) -> bool:
    """Whether it may pass by itself: some servers say no, or hang up, while they restart."""
    match error:
        case AuthenticationFailed():
            return not error.certain
        case TlsFailed():
            return True
    return False


def _owners(report: RunReport) -> Iterator[Failure]:
    """The last failure of the account that only a person can end."""
    for failure in reversed(report.failures):
        if failure.scope is Scope.ACCOUNT and failure.error.remedy is not Remedy.WAIT:
            yield failure
            return


def _brake(catalog: Catalog, report: RunReport, now: datetime) -> None:
    """A run may look at some mailboxes only: what is known of the others still holds."""
    key = f"braked {report.account}"
    before: dict[str, str] = json.loads(note(catalog, key) or "{}")
    braked = {name: said for name, said in (before | report.brakes).items() if said}
    if braked != before:
        write_note(catalog, key, json.dumps(braked) if braked else "")
    if fresh := [said for name, said in braked.items() if name in report.brakes]:
        advice = f"Look at 'fetchd plan {report.account}' before you confirm."
        alerts.raise_alert(catalog, Kind.BRAKE, report.account, " ".join(fresh), advice, now)
    elif before and not braked:
        alerts.end_alert(catalog, Kind.BRAKE, report.account, now)
