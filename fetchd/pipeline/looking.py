"""A session that is only looked at: which mailbox is meant, and how to leave no trace.

Shared by whatever shows what is on a server (browsing, auditing, by_hand).
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from difflib import get_close_matches

from fetchd.contracts import Session
from fetchd.errors import UsageError
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.untouched import untouched
from fetchd.policy.mailboxes import Mailbox, locate
from fetchd.sources.imap import ImapSession
from fetchd.telemetry import printable

NEAREST = 5  # names that a mistyped one may mean
LIKENESS = 0.5  # of 1; difflib's own 0.6 finds no "Würfel & Co" for "Wurfel"


@asynccontextmanager
async def looked_at(errand: Errand) -> AsyncIterator[Session]:
    """An open session that removes nothing, not even by its farewell."""
    async with untouched(await errand.open(True)) as session:
        yield session


async def existing_mailboxes(session: Session) -> Sequence[Mailbox]:
    """Those that an IMAP account has, whether the settings choose them or not."""
    if not isinstance(session, ImapSession):
        return ()
    there = session.overview.mailboxes
    absent = await session.absent(mailbox.name for mailbox in there)  # though LIST names them
    return [mailbox for mailbox in there if mailbox.name not in absent]


async def the_mailbox(session: Session, account: str, wanted: str) -> str:
    """The mailbox of that name or role, whether the settings choose it or not."""
    if isinstance(session, ImapSession):
        there = session.overview.mailboxes
        if (found := locate(there, wanted)) is not None:
            return found.name
        names = [mailbox.name for mailbox in there]
    else:
        (only,) = names = list(await session.mailboxes())
        if not wanted or wanted.upper() == only:
            return only
    raise UsageError(
        f"account {account} has no mailbox '{wanted}' on its server",
        advice=f"{_nearest(wanted, names)}'fetchd browse {account}' shows all there is.",
    )


def shown(uid: bytes, epoch: bytes) -> str:
    """A uid for people: of IMAP's, without the UIDVALIDITY that all of a listing begin with."""
    return printable(uid.removeprefix(epoch).decode("utf-8", "backslashreplace"))


def _nearest(wanted: str, names: Iterable[str]) -> str:
    by_folded = {name.casefold(): name for name in names}
    near = get_close_matches(wanted.casefold(), by_folded, NEAREST, LIKENESS)
    if not near:
        return ""
    return f"There is {', '.join(by_folded[name] for name in near)}. "
