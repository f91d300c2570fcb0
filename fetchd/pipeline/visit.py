"""One session with a server: a straight line from login to removal. Read this module first.

The order is the safety argument: a message leaves the server only after its
octets are durable in the archive, its rows and deliveries are committed, every
destination it is owed to has taken it, and the archive has been read back.
What is done with one mailbox is in `mailbox`.
"""

import asyncio
from collections.abc import Collection
from typing import NamedTuple

from fetchd.catalog import inventory as inventories
from fetchd.catalog import runs
from fetchd.catalog.database import Catalog
from fetchd.catalog.inventory import MailboxState
from fetchd.contracts import Session
from fetchd.errors import Scope
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.follow import follow_absence
from fetchd.pipeline.mailbox import MailboxSync, remember
from fetchd.pipeline.owing import Beginning
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.tools import Tools
from fetchd.policy.plan import RemoteMessage
from fetchd.values import replace

BEHIND = 2  # mailboxes that may still be committed while the next one is fetched

Place = tuple[str, bytes]  # mailbox and uid


class Culprit(NamedTuple):
    """A message at which a line broke."""

    place: Place
    message: RemoteMessage


class Visit:
    """One session with the server; the headers at `blind` places cannot be had."""

    def __init__(
        self, errand: Errand, tools: Tools, report: RunReport, blind: Collection[Place]
    ) -> None:
        self._errand, self._tools, self._report, self._blind = errand, tools, report, blind
        self._session: Session | None = None
        self._mailbox: MailboxSync | None = None  # at which the session is
        self._leaving: asyncio.Task[frozenset[bytes]] | None = None
        self._finishing: list[asyncio.Task[None]] = []
        self._retiring: dict[str, frozenset[bytes]] = {}
        self._states: dict[str, MailboxState] = {}
        self._taken = frozenset[str]()  # mailboxes that the settings want
        self._unchanged: list[str] = []
        self._beginning = Beginning()

    async def run(self) -> None:
        """Log in, go through the mailboxes, log out; removals become facts."""
        errand, tools, report = self._errand, self._tools, self._report
        tools.progress.phase(errand.account, "connecting")
        report.on_server = 0
        catalog = tools.storage.catalog
        self._states = await tools.storage.blocking(
            inventories.mailbox_states, catalog, errand.account
        )
        added_at, first = await tools.storage.blocking(runs.added_at, catalog, errand.account)
        self._beginning = Beginning(everything=first, added_at=added_at)
        known = any(state.listing_digest for state in self._states.values())
        session = self._session = await errand.open(not known)
        try:
            mailboxes = await session.mailboxes()
            alone = len({*self._states, *mailboxes}) == 1
            self._taken = frozenset(mailboxes)
            due = [name for name in mailboxes if errand.is_due(name, session.role(name))]
            for position, name in enumerate(due):
                if position and tools.stop.is_set():
                    report.stopped = True
                    break
                if report.paused:
                    break
                with report.shelter(Scope.MAILBOX, name):
                    await self._sync(session, name, alone=alone)
            await self._until_finished(0)
            await self._follow_absent(session)
            await tools.storage.blocking(self._remember_unchanged, catalog, session)
            confirmed = await (self._leaving or session.close())
        except BaseException:
            if self._leaving is not None:
                self._leaving.cancel()
            await session.abort()
            # What had come whole before the line broke is committed all the same.
            await asyncio.gather(*self._finishing, return_exceptions=True)
            raise
        for name, asked in self._retiring.items():
            if asked:
                await self._record_removals(name, asked, confirmed)

    async def _sync(self, session: Session, name: str, *, alone: bool) -> None:
        """One mailbox; its last steps may overlap with the next one's first."""
        errand = self._errand
        blind = frozenset(uid for mailbox, uid in self._blind if mailbox == name)
        state = self._states.get(name, MailboxState())
        mailbox = self._mailbox = MailboxSync(
            name, state, blind, self._beginning, errand, self._tools, self._report
        )
        if not await mailbox.bring(session):
            self._unchanged.append(name)
            return
        if mailbox.needs_session:
            await self._finish(session, mailbox)
            return
        # Nothing more is wanted of the server: its goodbye need not be waited for. One
        # that deletes by itself at QUIT (EXPIRE 0) is not told before all is stored.
        if alone and session.facts.expire_days != 0:
            self._leaving = asyncio.create_task(session.close())
        self._finishing.append(asyncio.create_task(self._finish_sheltered(session, mailbox)))
        await self._until_finished(BEHIND)

    async def _finish_sheltered(self, session: Session, mailbox: MailboxSync) -> None:
        with self._report.shelter(Scope.MAILBOX, mailbox.name):
            await self._finish(session, mailbox)

    async def _finish(self, session: Session, mailbox: MailboxSync) -> None:
        self._retiring[mailbox.name] = await mailbox.finish(session, self._taken)

    async def _until_finished(self, left: int) -> None:
        """Wait until at most so many mailboxes are behind."""
        while len(self._finishing) > left:
            await self._finishing[0]
            self._finishing.pop(0)

    async def _record_removals(
        self, mailbox: str, asked: frozenset[bytes], confirmed: frozenset[bytes]
    ) -> None:
        """What the farewell confirmed, and nothing else."""
        tools, report = self._tools, self._report
        gone = asked & confirmed
        await tools.storage.blocking(
            inventories.mark_retired, tools.storage.catalog, self._errand.account, mailbox, gone,
            tools.now(),
        )  # fmt: skip
        report.retired += len(gone)
        report.on_server -= len(gone)
        if left := len(asked - gone):
            report.notices.append(self._unconfirmed(mailbox, left))

    def _unconfirmed(self, mailbox: str, left: int) -> str:
        facts = self._session.facts if self._session else None
        if facts is None or facts.can_remove:
            return f"The server did not confirm the removal of {left}; the next sync looks again."
        return (
            f"{left} of '{mailbox}' are marked as deleted and stay: "
            "the server cannot remove single messages."
        )

    async def _follow_absent(self, session: Session) -> None:
        """Mailboxes that somebody removed or renamed; stored mail stays, as ever."""
        tools, report = self._tools, self._report
        for name in await session.absent(self._states):
            with report.shelter(Scope.MAILBOX, name):
                gone = await follow_absence(name, self._errand, tools)
                if not gone:
                    continue  # we know already
                report.gone += gone
                report.notices.append(
                    f"The mailbox '{name}' with its {gone} messages is no longer on the server; "
                    "what is stored here stays."
                )
                await tools.storage.blocking(
                    inventories.save_mailbox_state, tools.storage.catalog, self._errand.account,
                    name, MailboxState(),
                )  # fmt: skip

    def _remember_unchanged(self, catalog: Catalog, session: Session) -> None:
        now = self._tools.now()
        with catalog.transaction(durable=False):
            for name in self._unchanged:
                state = replace(self._states[name], last_run_at=now)
                remember(catalog, self._errand, name, state, session)

    @property
    def culprit(self) -> Culprit | None:
        """Where the line broke, if it broke at a message that is not home yet."""
        message = self._session.in_progress if self._session else None
        mailbox = self._mailbox
        if message is None or mailbox is None or mailbox.is_home(message):
            return None
        return Culprit((mailbox.name, message.uid), message)

    @property
    def shows_parts(self) -> bool:
        """Gmail lists a few hundred messages at a time and hides what was read (quirk 16)."""
        return self._session is not None and self._session.facts.partial_listings

    @property
    def counts_logins(self) -> bool:
        """RFC 2449 §6.5: another login now would be refused."""
        return self._session is not None and bool(self._session.facts.login_delay)

    async def set_aside(self, message: RemoteMessage, reason: str, blind: set[Place]) -> None:
        """Ask no more for that at which the line breaks: the header, or the message."""
        mailbox = self._mailbox
        if mailbox is not None and not await mailbox.set_aside(message, reason):
            blind.add((mailbox.name, message.uid))
