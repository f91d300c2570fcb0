"""Where mail comes from: an account of the settings as an open Session.

A protocol's module is imported when the first account asks for it. To add a
protocol, add a case to `open_session`.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

from fetchd.auth.marks import login_mark
from fetchd.auth.secrets import read_credentials
from fetchd.clients.meter import Meter
from fetchd.contracts import Credentials, Session, Watch, unwatched
from fetchd.errors import AccountRefused, AuthenticationFailed
from fetchd.settings import Account, ImapAccount
from fetchd.telemetry import Transcript, conceal_of

__all__ = ["Transcript", "Watch", "enter", "open_session"]

Door = Callable[[], AbstractAsyncContextManager[None]]


async def enter(
    account: Account,
    spill_dir: Path,
    transcript: Transcript | None = None,
    watch: Watch = unwatched,
    *,
    whole: bool = False,
    meter: Meter | None = None,
    door: Door = nullcontext,
) -> Session:
    """`open_session` with the account's own credentials, which are asked for anew each time.

    So a password that changes is noticed; what would show it is told to conceal it first. A
    token that the server refuses before its time is renewed once.
    """
    tried: Credentials | None = None

    async def attempt() -> Session:
        nonlocal tried
        tried = await read_credentials(account, os.environ, refused=tried)
        conceal_of(account.called, tried.secret)
        watch("password", "")
        return await open_session(
            account, tried, spill_dir, transcript, watch, whole=whole, meter=meter, door=door
        )

    try:
        try:
            return await attempt()
        except AuthenticationFailed:
            if tried is None or not tried.token:
                raise
        return await attempt()
    except (AccountRefused, AuthenticationFailed) as error:
        error.tried = await asyncio.to_thread(login_mark, account, tried)
        raise


async def open_session(
    account: Account,
    credentials: Credentials,
    spill_dir: Path,
    transcript: Transcript | None = None,
    watch: Watch = unwatched,
    *,
    whole: bool = False,
    meter: Meter | None = None,
    door: Door = nullcontext,
) -> Session:
    """Connect and log in; bodies too large for memory will go to files in `spill_dir`.

    `whole`: nothing is known of what is there, so sizes may be asked for at once. `door`: to be
    entered for each connection beyond the first.

    The step that `watch` did not hear of is the one that failed.
    """
    from fetchd.sources.login import way_to

    way = way_to(account) | {
        "max_message_size": account.max_message_size,
        "meter": meter or Meter(),
    }
    if isinstance(account, ImapAccount):
        from fetchd.sources.imap import open_imap
        from fetchd.sources.imap_login import ImapAccess

        wishes = ImapAccess(
            **way,
            mailboxes=account.mailboxes,
            retire_to=account.retire_to,
            connections=account.connections,
            compress=account.compress,
            full_pass=account.full_pass,
            door=door,
        )
        return await open_imap(wishes, credentials, spill_dir, transcript, watch)
    from fetchd.sources.pop3 import open_pop3
    from fetchd.sources.pop3_login import Pop3Access

    access = Pop3Access(**way)
    return await open_pop3(access, credentials, spill_dir, transcript, watch, whole=whole)
