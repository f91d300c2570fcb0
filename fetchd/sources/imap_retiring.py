"""Taking messages away from a mailbox: moved to a trash, or expunged by UID, or only marked.

The mailbox is opened for writing; should it have another UIDVALIDITY than the listing
had, or not let itself be written (quirk 72), nothing is done. A plain EXPUNGE would take
what others have marked along (quirk 57), so without UIDPLUS a message is marked as
\\Deleted and stays, which counts as not removed. What the tagged OK confirms is removed:
RFC 4315 §2.1 and RFC 6851 §3.3 promise no less.

MOVE is one step. Without it COPY comes first, and only what was copied is expunged, so
a line that breaks in between leaves a message twice and never none (quirk 58).
"""

from collections.abc import Iterable, Sequence

from fetchd.clients.imap import ImapClient
from fetchd.clients.imap_refusals import mailbox_refusal
from fetchd.contracts import Removed
from fetchd.errors import MailboxUnavailable
from fetchd.policy.mailboxes import Mailbox
from fetchd.policy.plan import RemoteMessage
from fetchd.protocol.imap import commands
from fetchd.protocol.imap.events import Completed
from fetchd.protocol.imap.rules import Command
from fetchd.protocol.imap.sequence import write_sets
from fetchd.protocol.imap.types import Code, CopyUid, Fetched, Status
from fetchd.sources.imap_listing import Place, joined
from fetchd.values import replace

SET_OCTETS = 900  # of one command: below the 1,000 octets that any server takes (quirk 46)
_LEAST_SET = 100  # octets, however long the name of the trash
_DELETED = "\\Deleted"


class Retiring:
    """The removal of some messages from one mailbox."""

    def __init__(
        self,
        client: ImapClient,
        capabilities: frozenset[str],
        mailbox: Mailbox,
        trash: Mailbox | None,
        wanted_trash: str | None,
    ) -> None:
        self._client, self._mailbox, self._trash = client, mailbox, trash
        self._wanted_trash = wanted_trash
        self._copies: list[CopyUid] = []
        self._moves = "MOVE" in capabilities
        self._expunges = "UIDPLUS" in capabilities or "IMAP4REV2" in capabilities

    async def retire(self, messages: Sequence[RemoteMessage], uidvalidity: int) -> Removed:
        """Those that are gone now."""
        certain = [m for m in messages if not m.ambiguous and self._worth_asking(m)]
        if not certain:
            return Removed()
        self._find_trash()
        if not uidvalidity:
            raise MailboxUnavailable(
                f"nothing can be removed from '{self._mailbox.name}': its UIDs do not last",
                advice='Set leave_on_server = "forever", or ask the provider.',
            )
        await self._open(uidvalidity)
        certain = await self._as_listed(certain)
        removed: set[bytes] = set()
        name = 2 * len(self._trash.wire) if self._trash is not None else 0  # each octet escaped
        for uids in write_sets((m.number for m in certain), max(_LEAST_SET, SET_OCTETS - name)):
            if await self._remove(uids):
                removed |= _named(certain, uids)
        to = self._trash.name if self._trash is not None else ""
        return Removed(frozenset(removed), to, self._moved(certain))

    async def _as_listed(self, messages: Sequence[RemoteMessage]) -> list[RemoteMessage]:
        """Without those whose flags have changed since: they may be ones to keep now."""
        told: dict[int, str] = {}
        for uids in write_sets((m.number for m in messages), SET_OCTETS):
            flight = await self._client.ask(commands.fetch(uids, ["FLAGS"]))
            for event in flight.events:
                match event:
                    case Fetched(uid=int(uid), flags=tuple(flags)):
                        told[uid] = joined(flags)
        return [m for m in messages if told.get(m.number, m.flags) == m.flags]

    def _moved(self, messages: Iterable[RemoteMessage]) -> dict[bytes, RemoteMessage]:
        """What they are called now (RFC 4315 §3); where nothing was said, they are strangers."""
        by_number = {message.number: message for message in messages}
        return {
            message.uid: replace(message, uid=b"%d.%d" % (code.uidvalidity, new), number=new)
            for code in self._copies
            if code.source.count == code.destination.count <= len(by_number)
            for old, new in zip(code.source, code.destination, strict=True)
            if (message := by_number.get(old)) is not None
        }

    def _worth_asking(self, message: RemoteMessage) -> bool:
        """Not again what is marked already and cannot be expunged."""
        may_go = self._expunges or (self._moves and self._wanted_trash is not None)
        return may_go or _DELETED not in message.flags.split()

    def _find_trash(self) -> None:
        if self._wanted_trash is None:
            return
        if self._trash is None:
            raise MailboxUnavailable(
                f"retire_to names '{self._wanted_trash}', and the server has no such mailbox",
                advice="Create it there, or name another one in retire_to.",
            )

    async def _open(self, uidvalidity: int) -> None:
        flight = await self._client.ask(commands.select(self._mailbox.wire))
        place = Place()
        for event in (*flight.events, *flight.completed):
            place.hear(event)
        what = f"the mailbox '{self._mailbox.name}' cannot be opened for writing"
        if not flight.ok:
            refused = flight.completed[0]
            raise mailbox_refusal(refused.code, refused.text, what)
        if place.read_only:
            raise MailboxUnavailable(
                f"{what}: the server lets it be read only",
                advice='Ask the provider, or set leave_on_server = "forever".',
            )
        if place.uidvalidity != uidvalidity:
            raise MailboxUnavailable(f"{what}: it was renumbered meanwhile")

    async def _remove(self, uids: bytes) -> bool:
        """Whether the server confirmed that these are gone."""
        if self._trash is not None:
            if self._moves:
                await self._step(commands.move(uids, self._trash.wire), "move to the trash")
                return True
            await self._step(commands.copy(uids, self._trash.wire), "copy to the trash")
        await self._step(commands.store(uids, "+FLAGS", [_DELETED]), "mark as deleted")
        if not self._expunges:
            return False
        await self._step(commands.expunge(uids), "expunge")
        return True

    async def _step(self, command: Command, what: str) -> None:
        flight = await self._client.ask(command)
        (answer,) = flight.completed
        for event in (*flight.events, answer):  # untagged it comes with MOVE (quirk 58)
            match event:
                case Status(code=Code(value=CopyUid() as told)):
                    self._copies.append(told)
                case Completed(code=Code(value=CopyUid() as told)):
                    self._copies.append(told)
        if not answer.ok and answer.code is not None and answer.code.name == "OVERQUOTA":
            raise MailboxUnavailable(  # about the trash, and no reason to fetch no more
                f"the server does not {what} in '{self._mailbox.name}': {answer.text}",
                advice="Make room on the server.",
            )
        if not answer.ok:
            sentence = f"the server does not {what} in '{self._mailbox.name}'"
            raise mailbox_refusal(answer.code, answer.text, sentence)


def _named(messages: Iterable[RemoteMessage], uids: bytes) -> set[bytes]:
    """Those of the messages that a set of UIDs, one of ours, speaks of."""
    ranges = [part.partition(b":") for part in uids.split(b",")]
    bounds = [(int(low), int(high or low)) for low, _, high in ranges]
    return {m.uid for m in messages if any(low <= m.number <= high for low, high in bounds)}
