"""An IMAP account as a Session: what its mailboxes mean (RFC 9051, RFC 3501).

How to get in is in `imap_login`, which mailboxes there are in `imap_overview`, what one
holds in `imap_listing`, what a poll remembers in `imap_mark`, how bodies come in in
`imap_bodies`, with more connections in `imap_team`, how they leave the server in
`imap_retiring`. Here: when which is asked.

Mail is read by EXAMINE and BODY.PEEK, so nothing is marked as seen; a mailbox is opened
for writing only where something is to be removed from it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from fetchd.clients.imap import ImapClient
from fetchd.contracts import (
    Credentials,
    Fetched,
    HeaderDigest,
    Removed,
    ServerFacts,
    Unavailable,
    Watch,
    unwatched,
)
from fetchd.errors import LocalProtocolError, MailboxUnavailable
from fetchd.policy.mailboxes import Mailbox, locate, select, unmatched
from fetchd.policy.plan import Listing, RemoteMessage
from fetchd.protocol.imap import commands
from fetchd.protocol.imap.types import MailboxStatus
from fetchd.sources.imap_bodies import Bodies, Line
from fetchd.sources.imap_listing import Lister, Place
from fetchd.sources.imap_login import Entrance, ImapAccess, enter
from fetchd.sources.imap_mark import read_mark
from fetchd.sources.imap_overview import Overview, ask_status, introduction, look_around
from fetchd.sources.imap_retiring import Retiring
from fetchd.sources.imap_team import Team
from fetchd.sources.login import certified_until
from fetchd.telemetry import Transcript


async def open_imap(
    access: ImapAccess,
    credentials: Credentials,
    spill_dir: Path,
    transcript: Transcript | None = None,
    watch: Watch = unwatched,
) -> "ImapSession":
    """Connect, encrypt, log in, and see which mailboxes there are."""
    entrance = await enter(access, credentials, transcript, watch)
    try:
        overview = await look_around(entrance.client, entrance.capabilities)
        return ImapSession(entrance, overview, access, spill_dir, credentials)
    except BaseException:
        entrance.client.stream.abort()
        raise


class ImapSession:
    """An open account; implements contracts.Session."""

    def __init__(
        self,
        entrance: Entrance,
        overview: Overview,
        access: ImapAccess,
        spill_dir: Path,
        credentials: Credentials,
    ) -> None:
        self.facts = _facts(entrance, overview, access)
        self.client: ImapClient = entrance.client
        self.capabilities = entrance.capabilities
        self.overview = overview
        self._access, self._spill_dir, self._credentials = access, spill_dir, credentials
        self._may_hire = access.connections > 1
        self._helpers: list[ImapClient] = []
        self._lister = Lister(entrance.client, entrance.capabilities)
        self._status: dict[bytes, MailboxStatus] = dict(overview.status)
        self._by_name = {mailbox.name: mailbox for mailbox in overview.mailboxes}
        self._current: Mailbox | None = None
        self._place = Place()
        self._bodies: Bodies | None = None
        self._line = Line(access.compress and "COMPRESS=DEFLATE" in entrance.capabilities)

    @property
    def in_progress(self) -> RemoteMessage | None:
        """The message whose answer is due first: where the line broke, if it breaks."""
        bodies = self._bodies.in_progress if self._bodies is not None else None
        message = bodies or self._lister.in_progress
        return message if message is not None and message.uid else None

    async def mailboxes(self) -> Sequence[str]:
        """What the patterns of the settings choose, and the STATUS of each."""
        chosen = select(self.overview.mailboxes, self._access.mailboxes)
        untold = [mailbox for mailbox in chosen if mailbox.wire not in self._status]
        absent = frozenset[bytes]()
        if untold:
            told, absent = await ask_status(self.client, self.capabilities, untold)
            self._status |= told
        for mailbox in self.overview.mailboxes:
            if mailbox.wire in absent:
                self._by_name.pop(mailbox.name, None)
        return [mailbox.name for mailbox in chosen if mailbox.wire not in absent]

    def role(self, mailbox: str) -> str | None:
        """As the server says, or as its name does."""
        there = self._by_name.get(mailbox)
        return there.role if there is not None else None

    async def absent(self, mailboxes: Iterable[str]) -> frozenset[str]:
        """Those that LIST does not name; where it names none at all, it is not believed."""
        return frozenset(mailboxes) - self._by_name.keys() if self._by_name else frozenset()

    # -- What is there -----------------------------------------------------------

    async def list(
        self, mailbox: str, unchanged: bytes | None = None, *, whole: bool = True
    ) -> Listing | None:
        """None, without a word to the server, where STATUS is what it was."""
        chosen, now = self._by_name.get(mailbox), datetime.now(UTC)
        if chosen is None:
            raise MailboxUnavailable(f"the server has no mailbox '{mailbox}' now")
        self._bodies = None
        status, mark = self._status.get(chosen.wire), read_mark(unchanged)
        if mark is not None and not mark.is_fresh(now, self._access.full_pass):
            mark = None
        if mark is not None and status is not None and mark.still_holds(status):
            return None
        self._current = None
        listing, self._place = await self._lister.list(chosen, status, None if whole else mark, now)
        self._current = chosen
        return listing

    def headers(self, messages: Sequence[RemoteMessage]) -> AsyncGenerator[HeaderDigest, None]:
        """Header digests by BODY.PEEK[HEADER]."""
        self._expect_open()
        return self._lister.headers(list(self._of_this_epoch(messages)))

    # -- Bodies ------------------------------------------------------------------

    async def fetch(
        self, messages: Iterable[RemoteMessage]
    ) -> AsyncGenerator[Fetched | Unavailable, None]:
        """Bodies in the order in which the server sends them; large ones in files."""
        self._expect_open()
        bodies = self._bodies = Bodies(
            self.client, self._line, self._spill_dir, self._access.max_message_size
        )
        wanted = iter(self._of_this_epoch(messages))
        async with aclosing(bodies.fetch(wanted)) as arrivals:
            async for arrival in arrivals:
                yield arrival
                if self._may_hire and self._line.is_slow:
                    break
            else:
                return
            self._may_hire = False  # quirk 69: whoever was refused does not ask again
            team = Team(arrivals, self._helper, self._access.connections - 1)
            async with aclosing(team.fetch(wanted)) as brought:
                async for arrival in brought:
                    yield arrival
        async with aclosing(bodies.fetch(team.returned)) as rest:
            async for arrival in rest:
                yield arrival

    @asynccontextmanager
    async def _helper(self) -> AsyncIterator[Bodies]:
        """Bodies by a connection of their own, on which the same mailbox is open."""
        async with self._access.door(), self._hired() as bodies:
            yield bodies

    @asynccontextmanager
    async def _hired(self) -> AsyncIterator[Bodies]:
        mailbox, place = self._expect_open(), Place()
        entrance = await enter(self._access, self._credentials, None, unwatched)
        client = entrance.client
        self._helpers.append(client)
        try:
            asked = introduction(entrance.capabilities)
            flight = await client.flight(*asked, commands.examine(mailbox.wire))
            for event in flight.events:
                place.hear(event)
            if not flight.completed[-1].ok or place.uidvalidity != self._place.uidvalidity:
                raise MailboxUnavailable(f"another connection does not see '{mailbox.name}'")
            line = Line(self._access.compress and "COMPRESS=DEFLATE" in entrance.capabilities)
            yield Bodies(client, line, self._spill_dir, self._access.max_message_size)
            await client.logout()
        finally:
            self._helpers.remove(client)
            client.stream.abort()

    # -- The end -----------------------------------------------------------------

    @property
    def _trash(self) -> Mailbox | None:
        to = self._access.retire_to
        return locate(self.overview.mailboxes, to) if to is not None else None

    def may_retire(self, mailbox: str) -> bool:
        """What was moved to `retire_to` stays there."""
        trash = self._trash
        return trash is None or trash.name != mailbox

    async def retire(self, messages: Sequence[RemoteMessage]) -> Removed:
        """Move or expunge them by UID; what the tagged OK confirms."""
        mailbox, to = self._expect_open(), self._access.retire_to
        retiring = Retiring(self.client, self.capabilities, mailbox, self._trash, to)
        asked = list(self._of_this_epoch(messages))
        removed = await retiring.retire(asked, self._place.uidvalidity)
        self._current = None  # open for writing now: to be listed again before anything else
        return removed

    async def keep_alive(self) -> None:
        """NOOP: RFC 9051 §5.4 lets a server hang up after thirty idle minutes."""
        await self.client.ask(commands.noop())

    async def close(self) -> frozenset[bytes]:
        """LOGOUT; what was removed, `retire` has said already."""
        await self.client.logout()
        return frozenset()

    async def abort(self) -> None:
        """Hang up."""
        for client in (self.client, *self._helpers):
            client.stream.abort()

    def _expect_open(self) -> Mailbox:
        if self._current is None:
            raise LocalProtocolError("no mailbox was listed before")
        return self._current

    def _of_this_epoch(self, messages: Iterable[RemoteMessage]) -> Iterator[RemoteMessage]:
        """These; a UID of another epoch would name a stranger."""
        for message in messages:
            if not message.uid.startswith(self._place.epoch):
                raise LocalProtocolError(f"{message.uid!r} is not of the mailbox that is open")
            yield message


def _facts(entrance: Entrance, overview: Overview, access: ImapAccess) -> ServerFacts:
    offered, to = entrance.capabilities, access.retire_to
    moves = "MOVE" in offered and to is not None
    return ServerFacts(
        capabilities=tuple(sorted(entrance.capabilities)),
        pipelining=True,
        implementation=overview.server,
        tls=entrance.client.stream.tls,
        certificate_until=certified_until(entrance.client.stream),
        can_remove=moves or bool({"UIDPLUS", "IMAP4REV2"} & offered),
        counts_changes=bool({"CONDSTORE", "QRESYNC"} & offered),
        unmatched=unmatched(overview.mailboxes, access.mailboxes),
        has_trash=to is None or locate(overview.mailboxes, to) is not None,
    )
