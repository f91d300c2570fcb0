"""What a sync did, in the log: for the postmaster; no news is told at level debug only."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fetchd.pipeline.report import RunReport
from fetchd.telemetry import log


def log_report(report: RunReport) -> None:
    """One account's: notices, what failed, and how much there was of what."""
    for notice in report.notices:
        log().warning("sync.notice", account=report.account, note=notice)
    for failure in report.failures:
        log().error(
            "sync.failed",
            account=report.account,
            stopped=failure.name,
            error=str(failure.error),
            advice=failure.error.advice,
        )
    log_troubles(report.account, report.troubles, failed=report.failed)
    _log_counts(report)


def log_troubles(account: str, troubles: Mapping[str, str], *, failed: int) -> None:
    """Destinations that did not take everything."""
    event = "delivery.failed" if failed else "delivery.deferred"
    for destination, said in troubles.items():
        log().warning(event, account=account, destination=destination, reply=said)


def tell_fault(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What asyncio found and nobody waits for, in a line: no file is left for a socket, say."""
    error = context.get("exception")
    what = f"{type(error).__name__}: {error}" if error is not None else ""
    log().error("service.fault", note=context["message"], error=what)


def _log_counts(report: RunReport) -> None:
    counts = report.counts()
    news = report.failures or any(
        (counts.fetched, counts.adopted, counts.delivered, counts.deferred, counts.failed,
         counts.retired, counts.quarantined)
    )  # fmt: skip
    say = log().info if news else log().debug
    say(
        "sync.finished",
        account=report.account,
        ok=report.ok,
        skipped=report.skipped,
        fetched=counts.fetched,
        octets=counts.octets,
        adopted=counts.adopted,
        delivered=counts.delivered,
        deferred=counts.deferred,
        failed=counts.failed,
        retired=counts.retired,
        quarantined=counts.quarantined,
        on_server=counts.on_server,
    )
