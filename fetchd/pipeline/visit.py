"""One session with a server: a straight line from login to removal. Read this module first.

The order is the safety argument: a message leaves the server only after its
octets are durable in the archive, its rows and deliveries are committed, every
destination it is owed to has taken it, and the archive has been read back.
What a step finds out is recorded behind it, never before.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from fetchd.catalog import inventory as inventories
from fetchd.catalog import runs
from fetchd.catalog.database import Catalog
from fetchd.catalog.inventory import MailboxState
from fetchd.contracts import Session
from fetchd.errors import Scope
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.fetch import Fetcher
from fetchd.pipeline.follow import follow_absence, follow_survey
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.survey import Survey, survey_mailbox
from fetchd.pipeline.thin import next_look, next_octets, thin
from fetchd.pipeline.tools import Tools
from fetchd.policy.plan import RemoteMessage
from fetchd.policy.retention import Retirement


class Visit:
    """One session with the server."""

    def __init__(
        self, errand: Errand, tools: Tools, report: RunReport, blind: frozenset[bytes]
    ) -> None:
        self._errand, self._tools, self._report, self._blind = errand, tools, report, blind
        self._session: Session | None = None
        self._fetcher: Fetcher | None = None
        self._mailboxes: Sequence[str] = ()
        self._leaving: asyncio.Task[frozenset[bytes]] | None = None
        self._retiring: dict[str, frozenset[bytes]] = {}
        self._states: dict[str, MailboxState] = {}
        self._unchanged: list[str] = []

    async def run(self) -> None:
        """Log in, go through the mailboxes, log out; removals become facts."""
        errand, tools, report = self._errand, self._tools, self._report
        tools.progress.phase(errand.account, "connecting")
        report.on_server = 0
        catalog = tools.storage.catalog
        states = self._states = await tools.storage.blocking(
            inventories.mailbox_states, catalog, errand.account
        )
        known = any(state.listing_digest for state in states.values())
        session = self._session = await errand.open(not known)
        try:
            self._mailboxes = await session.mailboxes()
            for mailbox in self._mailboxes:
                with report.shelter(Scope.MAILBOX, mailbox):
                    await self._sync_mailbox(session, mailbox)
            await self._follow_absent(session)
            await tools.storage.blocking(self._remember_unchanged, catalog, session)
            confirmed = await (self._leaving or session.close())
        except BaseException:
            if self._leaving is not None:
                self._leaving.cancel()
            await session.abort()
            raise
        for mailbox, asked in self._retiring.items():
            if not asked:
                continue
            gone = asked & confirmed
            await tools.storage.blocking(
                inventories.mark_retired, catalog, errand.account, mailbox, gone, tools.now()
            )
            report.retired += len(gone)
            report.on_server -= len(gone)
            if left := len(asked - gone):
                report.notices.append(
                    f"The server did not confirm the removal of {left}; the next sync looks again."
                )

    async def _sync_mailbox(self, session: Session, mailbox: str) -> None:
        """Look, adopt, fetch, deliver, retire, remember: in that order."""
        errand, tools, report = self._errand, self._tools, self._report
        tools.progress.phase(errand.account, "listing")
        catalog = tools.storage.catalog
        survey = await survey_mailbox(
            session, mailbox, self._states.get(mailbox, MailboxState()), errand, tools.storage,
            tools.now(), self._blind,
        )  # fmt: skip
        if not isinstance(survey, Survey):
            report.on_server += survey.on_server
            self._unchanged.append(mailbox)
            return
        report.on_server += survey.listing.on_server
        await tools.committer.adopt(survey.adoptions(errand, tools.now()))
        report.adopted += len(survey.adopted)
        origin = errand.origin(mailbox, survey.missing)
        if survey.linked:
            await tools.deliveries.put_held(await tools.committer.link(origin, survey.linked))
            report.linked += len(survey.linked)

        tools.progress.phase(errand.account, "fetching")
        fetcher = self._fetcher = Fetcher(origin, survey.attempts, tools, report)
        impostors = await self._confirm_returned(session, survey)
        wanted = [m for m in (*impostors, *survey.wanted) if (mailbox, m.uid) not in report.aside]
        await fetcher.fetch(session, wanted)
        if self._may_leave(session):
            self._leaving = asyncio.create_task(session.close())
        await fetcher.finish()
        if not fetcher.stopped:
            await follow_survey(survey, errand, tools)
            report.reflagged += len(survey.plan.reflagged)
            report.gone += len(survey.plan.gone)
        octets = next_octets(survey)
        survey = survey.without_inventory()
        retirement = Retirement()
        report.stopped |= fetcher.stopped
        if not fetcher.stopped:
            retirement, removed = await thin(session, survey, fetcher.done, errand, tools, report)
            self._retiring[mailbox] = frozenset(m.uid for m, _ in retirement.retire) - removed
        _notice(survey, retirement, errand, report)
        whole = all(message.uid in fetcher.done for message in (*impostors, *survey.wanted))
        state = next_look(survey, errand, retirement, tools.now(), octets, whole=whole)
        await tools.storage.blocking(_remember, catalog, errand, mailbox, state, session)

    async def _follow_absent(self, session: Session) -> None:
        """Mailboxes that somebody removed or renamed; stored mail stays, as ever."""
        known = [name for name, state in self._states.items() if state.on_server]
        for mailbox in await session.absent(known):
            with self._report.shelter(Scope.MAILBOX, mailbox):
                gone = await follow_absence(mailbox, self._errand, self._tools)
                self._report.gone += gone
                self._report.notices.append(
                    f"The mailbox '{mailbox}' with its {gone} messages is no longer on the "
                    "server; what is stored here stays."
                )
                await self._tools.storage.blocking(
                    inventories.save_mailbox_state, self._tools.storage.catalog,
                    self._errand.account, mailbox, MailboxState(),
                )  # fmt: skip

    def _remember_unchanged(self, catalog: Catalog, session: Session) -> None:
        now = self._tools.now()
        with catalog.transaction(durable=False):
            for mailbox in self._unchanged:
                state = replace(self._states[mailbox], last_run_at=now)
                _remember(catalog, self._errand, mailbox, state, session)
            self._unchanged.clear()

    async def _confirm_returned(
        self, session: Session, survey: Survey
    ) -> tuple[RemoteMessage, ...]:
        """Those that carry the uid of a message we asked to drop, and may not be it.

        The header tells. Where the listing is the very one at which we asked, nothing was
        dropped, or all of it was replaced by mail of the same uids and sizes: there the
        oldest speaks for the others. What is confirmed is known again at
        once, also when the line breaks on the way.
        """
        returned, known = survey.plan.returned, survey.inventory.messages
        if not returned:
            return ()
        looked = [m for m in returned if m.uid not in self._blind]
        same = survey.state.asked_digest == survey.listing.digest
        sample = looked[:1] if same else looked
        confirmed = set[bytes]()
        try:
            async for header in session.headers(sample):
                if header.digest == known[header.remote.uid].header_digest:
                    confirmed.add(header.remote.uid)
            if same and len(confirmed) == len(sample) > 0:
                confirmed = {m.uid for m in looked}
        finally:
            self._report.confirmed += len(confirmed)
            await self._tools.storage.blocking(
                inventories.mark_stored, self._tools.storage.catalog, self._errand.account,
                survey.mailbox, confirmed,
            )  # fmt: skip
        return tuple(m for m in returned if m.uid not in confirmed)

    def _may_leave(self, session: Session) -> bool:
        """Whether nothing more is wanted of the server: its goodbye need not be waited for.

        A server that deletes by itself at QUIT (EXPIRE 0) is not told before all is stored.
        """
        return (
            self._errand.leave == "forever"
            and len(self._mailboxes) == len(self._states.keys() | {*self._mailboxes}) == 1
            and session.facts.expire_days != 0
        )

    @property
    def in_progress(self) -> RemoteMessage | None:
        """The message at which the line broke, if it broke at one that is not home yet."""
        message = self._session.in_progress if self._session else None
        home = self._report.home.values()
        return message if message and not any(message.uid in uids for uids in home) else None

    @property
    def shows_parts(self) -> bool:
        """Gmail lists a few hundred messages at a time and hides what was read (quirk 16)."""
        return self._session is not None and self._session.facts.partial_listings

    @property
    def counts_logins(self) -> bool:
        """RFC 2449 §6.5: another login now would be refused."""
        return self._session is not None and bool(self._session.facts.login_delay)

    async def set_aside(self, message: RemoteMessage, reason: str, blind: set[bytes]) -> None:
        """Ask no more for that at which the line breaks: the header, or the message."""
        if self._fetcher is None:
            blind.add(message.uid)
        else:
            await self._fetcher.set_aside(message, reason)


def _remember(
    catalog: Catalog, errand: Errand, mailbox: str, state: MailboxState, session: Session
) -> None:
    """What the next run shall know of the mailbox, and the server's word of itself."""
    with catalog.transaction(durable=False):
        inventories.save_mailbox_state(catalog, errand.account, mailbox, state)
        runs.save_facts(catalog, errand.account, session.facts)


def _notice(survey: Survey, retirement: Retirement, errand: Errand, report: RunReport) -> None:
    """What is no failure, and yet the owner should hear of."""
    if retirement.braked:
        report.notices.append(retirement.braked)
    if retirement.skipped:
        report.notices.append(f"Nothing was removed from the server: {retirement.skipped}.")
    elif survey.plan.emptied:
        report.notices.append("The mailbox is suddenly empty; what is stored here stays.")
    if survey.too_large:
        report.notices.append(
            f"{len(survey.too_large)} larger than max_message_size "
            f"({errand.max_message_size} octets) stay on the server."
        )
    if survey.plan.quarantined:
        report.notices.append(
            f"{len(survey.plan.quarantined)} quarantined and not due for another try; "
            "see 'fetchd plan'."
        )
