"""A login that was refused is not tried again until it is another one, or the owner says so.

Providers lock accounts out after a handful of attempts, and a poll every five minutes is a
dozen an hour. A refusal by a response code halts the account at once; words alone may mean
something else (quirks 19, 31), so they have ATTEMPTS.
"""

import asyncio
import os

from fetchd.auth.marks import login_mark
from fetchd.auth.secrets import read_credentials
from fetchd.catalog import halting, runs
from fetchd.errors import AccountRefused, AuthenticationFailed, Scope, SecretUnavailable
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.storage import Storage
from fetchd.settings import Account

ATTEMPTS = 3  # in a row, where the server's words leave a doubt


def refusal_of(report: RunReport) -> AuthenticationFailed | AccountRefused | None:
    """What the server said to the login, if that is what stopped the account."""
    for failure in report.failures:
        if isinstance(failure.error, AuthenticationFailed | AccountRefused):
            return failure.error
    return None


async def note_refusal(account: str, storage: Storage, report: RunReport) -> bool:
    """Halt the account if this was the last attempt, or forget that it was; whether it is."""
    catalog = storage.catalog
    error = refusal_of(report)
    if error is None:
        stopped = any(failure.scope >= Scope.ACCOUNT for failure in report.failures)
        if not (stopped or report.skipped):
            await storage.blocking(halting.resume, catalog, [account])
        return False
    failures = await storage.blocking(runs.failures, catalog, account)
    if error.tried and (error.certain or failures >= ATTEMPTS):
        await storage.blocking(halting.halt, catalog, account, error.tried)
        return True
    return False


async def still_refused(account: Account, storage: Storage) -> AuthenticationFailed | None:
    """What stands in the way of a new attempt: the same login was refused before."""
    mark = await storage.blocking(halting.halted, storage.catalog, account.name)
    if not mark:
        return None
    try:
        credentials = await read_credentials(account, os.environ)
    except (AuthenticationFailed, SecretUnavailable):
        credentials = None
    if await asyncio.to_thread(login_mark, account, credentials) != mark:
        return None
    sentence = await storage.blocking(runs.last_error, storage.catalog, account.name)
    cure = "Put the secret or the settings right"
    if account.oauth2 is not None:
        cure = f"Run: fetchd login {account.name}"
    return AuthenticationFailed(
        f"not tried again: {sentence or 'the server refused this login'}",
        advice=f"{cure}; to try the same once more, run 'fetchd sync {account.name}'.",
    )
