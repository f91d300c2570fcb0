"""One mailbox of a visit: look, adopt, fetch, and then deliver, retire, remember.

`bring` needs the session; of what follows, in `finish`, only thinning does. Where all
mail stays on the server, the visit therefore goes on to the next mailbox while this one
is still being committed. What a step finds out is recorded behind it, never before.
"""

from collections.abc import Collection, Mapping, Sequence

from fetchd.catalog import inventory as inventories
from fetchd.catalog import runs
from fetchd.catalog.database import Catalog
from fetchd.catalog.inventory import MailboxState
from fetchd.contracts import Session
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.fetch import Fetcher
from fetchd.pipeline.follow import back_again, follow_survey, owe_again
from fetchd.pipeline.owing import Beginning
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.survey import Survey, survey_mailbox
from fetchd.pipeline.thin import next_look, next_octets, thin
from fetchd.pipeline.tools import Tools
from fetchd.policy.plan import RemoteMessage
from fetchd.policy.retention import Retirement


class MailboxSync:
    """The sync of one mailbox; `name` is fetchd's name for it.

    The headers of `blind` uids cannot be had. `beginning` tells old mail from new, as long
    as not all is home that was there when we first looked.
    """

    def __init__(
        self,
        name: str,
        state: MailboxState,
        blind: frozenset[bytes],
        beginning: Beginning,
        errand: Errand,
        tools: Tools,
        report: RunReport,
    ) -> None:
        self.name = name
        self._state, self._blind = state, blind
        self._beginning = None if state.caught_up else beginning
        self._errand, self._tools, self._report = errand, tools, report
        self._survey: Survey | None = None
        self._fetcher: Fetcher | None = None
        self._impostors: tuple[RemoteMessage, ...] = ()

    async def bring(self, session: Session) -> bool:
        """Fetch what is new and begin to commit it; False where nothing has changed."""
        errand, tools, report = self._errand, self._tools, self._report
        tools.progress.phase(errand.account, "listing")
        survey = await survey_mailbox(
            session, self.name, self._state, errand, tools.storage, tools.now(), self._blind
        )
        if not isinstance(survey, Survey):
            report.on_server += survey.on_server
            return False
        report.on_server += survey.listing.on_server
        origin = errand.origin(
            self.name, survey.missing, renumbered=survey.plan.restarted, beginning=self._beginning
        )
        recognised = {
            m.uid: digest for m, digest in (*survey.adopted.items(), *survey.linked.items())
        }
        owed = await self._owe_again(survey, recognised)
        await tools.committer.adopt(survey.adoptions(errand, tools.now()))
        report.adopted += len(survey.adopted)
        if survey.linked:
            owed += await tools.committer.link(origin, survey.linked)
            report.linked += len(survey.linked)
        await tools.deliveries.put_held(owed)
        tools.progress.phase(errand.account, "fetching")
        fetcher = self._fetcher = Fetcher(origin, survey.attempts, tools, report, errand.allowance)
        self._survey = survey
        self._impostors = await self._confirm_returned(session, survey)
        await fetcher.fetch(
            session,
            [m for m in self._wanted(survey) if (self.name, m.uid) not in report.aside],
        )
        return True

    @property
    def needs_session(self) -> bool:
        """Whether `finish` will ask the server for something.

        What has an object id is looked up by it when the next mailbox is listed: it must
        be home by then.
        """
        survey = self._survey
        return survey is not None and (
            survey.leave != "forever" or any(m.object_id for m in survey.wanted)
        )

    async def finish(self, session: Session, taken: Collection[str]) -> frozenset[bytes]:
        """Commit, follow, thin, remember; the uids whose removal the farewell will confirm.

        `taken` are the mailboxes that the settings want.
        """
        errand, tools, report = self._errand, self._tools, self._report
        survey, fetcher = self._survey, self._fetcher
        assert survey is not None
        assert fetcher is not None
        await fetcher.finish()
        followed = False
        if not fetcher.stopped:
            await tools.deliveries.put_held(await self._owe_fetched_again(survey, fetcher.done))
            followed = await follow_survey(survey, errand, tools)
            report.reflagged += len(survey.plan.reflagged)
            report.gone += len(survey.plan.gone)
        octets = next_octets(survey)
        survey = self._survey = survey.without_inventory()
        retirement, retiring = Retirement(), frozenset[bytes]()
        report.stopped |= fetcher.stopped and not report.paused
        if not fetcher.stopped:
            retirement, removed = await thin(
                session, survey, fetcher.done, taken, errand, tools, report
            )
            retiring = frozenset(m.uid for m, _ in retirement.retire) - removed
        _notice(survey, retirement, errand, report)
        self._notice_spared(len(fetcher.done))
        whole = followed and all(m.uid in fetcher.done for m in self._wanted(survey))
        state = next_look(survey, errand, retirement, tools.now(), octets, whole=whole)
        await tools.storage.blocking(
            remember, tools.storage.catalog, errand, self.name, state, session
        )
        return retiring

    def _notice_spared(self, fetched: int) -> None:
        """Old mail that goes no further than the archive."""
        spared = self._errand.spared if self._beginning and self._beginning.everything else ()
        if spared and fetched:
            places = " and ".join(f"'{name}'" for name in spared)
            account = self._errand.account
            ways = " and ".join(f"'fetchd redeliver {account} --to {name}'" for name in spared)
            self._report.notices.append(
                f"{fetched} of '{self.name}' were there before this account was added: they are "
                f"archived and not sent to {places}, as first_sync says; {ways} would."
            )

    def _wanted(self, survey: Survey) -> Sequence[RemoteMessage]:
        return (*self._impostors, *survey.wanted)

    async def _owe_doubted(self, survey: Survey, confirmed: Collection[bytes]) -> list[int]:
        """After a rebuild nobody knows whether they were gone for a time, and so from mirrors."""
        if survey.leave != "forever":
            return []
        known = survey.inventory.messages
        digests = {uid: digest for uid in confirmed if (digest := known[uid].digest)}
        return await owe_again(self.name, digests, self._errand, self._tools)

    async def _owe_again(self, survey: Survey, digests: Mapping[bytes, bytes]) -> list[int]:
        """Deliveries to mirrors of what is back on the server; `digests` are by uid."""
        known, back = survey.inventory.messages, back_again(survey, digests)
        same = {uid: digests[uid] for uid in back if known[uid].digest == digests[uid]}
        return await owe_again(self.name, same, self._errand, self._tools)

    async def _owe_fetched_again(self, survey: Survey, done: Collection[bytes]) -> list[int]:
        """Likewise of what had to be fetched before it was recognised."""
        back = back_again(survey, [m.uid for m in survey.wanted if m.uid in done])
        if not back:
            return []
        catalog, known = self._tools.storage.catalog, survey.inventory.messages
        here = await self._tools.storage.blocking(
            inventories.holders, catalog, self._errand.account, self.name,
            {digest for uid in back if (digest := known[uid].digest)},
        )  # fmt: skip
        fetched = {uid: here[uid][0] for uid in back if uid in here}
        return await self._owe_again(survey, fetched)

    async def _confirm_returned(
        self, session: Session, survey: Survey
    ) -> tuple[RemoteMessage, ...]:
        """Those that carry the uid of a message we asked to drop, and may not be it.

        The header tells. Where the listing is the very one at which we asked, nothing was
        dropped, or all of it was replaced by mail of the same uids and sizes: there the
        oldest speaks for the others, as it does where the server vouches for its uids. What
        is confirmed is known again at once, also when the line breaks on the way.
        """
        returned, known = survey.plan.returned, survey.inventory.messages
        if not returned:
            return ()
        looked = [m for m in returned if m.uid not in self._blind]
        same = bool(survey.listing.epoch) or survey.state.asked_digest == survey.listing.digest
        confirmed = set[bytes]()
        try:
            for sample in (looked[:1], looked[1:]) if same else (looked,):
                async for header in session.headers(sample):
                    if header.digest == known[header.remote.uid].header_digest:
                        confirmed.add(header.remote.uid)
                if same and confirmed:
                    confirmed = {m.uid for m in looked}
                    break
        finally:
            self._report.confirmed += len(confirmed)
            owed = await self._owe_doubted(survey, confirmed)
            await self._tools.storage.blocking(
                inventories.mark_stored, self._tools.storage.catalog, self._errand.account,
                self.name, confirmed,
            )  # fmt: skip
            await self._tools.deliveries.put_held(owed)
        return tuple(m for m in returned if m.uid not in confirmed)

    async def set_aside(self, message: RemoteMessage, reason: str) -> bool:
        """Ask no more for a message at which the line breaks; False: it broke at its header."""
        if self._fetcher is None:
            return False
        await self._fetcher.set_aside(message, reason)
        return True

    def is_home(self, message: RemoteMessage) -> bool:
        """Whether this run has brought it home already."""
        return message.uid in self._report.home.get(self.name, set())


def remember(
    catalog: Catalog, errand: Errand, mailbox: str, state: MailboxState, session: Session
) -> None:
    """What the next run shall know of the mailbox, and the server's word of itself."""
    with catalog.transaction(durable=False):
        inventories.save_mailbox_state(catalog, errand.account, mailbox, state)
        runs.save_facts(catalog, errand.account, session.facts)


def _notice(survey: Survey, retirement: Retirement, errand: Errand, report: RunReport) -> None:
    """What is no failure, and yet the owner should hear of."""
    imap = errand.protocol == "imap"
    place = f" of '{survey.mailbox}'" if imap else ""
    if retirement.braked:
        where = f"In '{survey.mailbox}' " if imap else ""
        report.notices.append(where + retirement.braked)
        report.brakes[survey.mailbox] = where + retirement.braked
    elif not (retirement.skipped or report.stopped or report.paused):
        report.brakes[survey.mailbox] = ""
    if retirement.skipped:
        report.notices.append(f"Nothing{place} was removed from the server: {retirement.skipped}.")
    elif survey.plan.emptied:
        name = f" '{survey.mailbox}'" if imap else ""
        report.notices.append(f"The mailbox{name} is suddenly empty; what is stored here stays.")
    if survey.too_large:
        report.notices.append(
            f"{len(survey.too_large)}{place} larger than max_message_size "
            f"({errand.max_message_size} octets) stay on the server."
        )
    if survey.plan.quarantined:
        report.notices.append(
            f"{len(survey.plan.quarantined)}{place} quarantined and not due for another try; "
            "see 'fetchd plan'."
        )
