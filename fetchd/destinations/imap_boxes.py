"""The mailboxes of an IMAP destination: found, created where absent, and what each takes.

A mailbox is opened only where something in it has to be known: in one that is open for
writing, \\Recent (RFC 3501 §2.3.2) is taken off what waits there, and other programs no
longer see that it is new. What LIST does not name is created and subscribed, once; INBOX
is there whatever LIST says (RFC 9051 §5.1).
"""

from dataclasses import dataclass

from fetchd.destinations.imap_places import Place
from fetchd.destinations.imap_sightings import Sightings
from fetchd.errors import MailboxUnavailable
from fetchd.policy.mailboxes import Mailbox, locate
from fetchd.policy.restoring import kept_flags
from fetchd.policy.roles import INBOX
from fetchd.sources.imap_upload import ImapTarget, Refusal, Terms

_NOT_OURS = ("\\All", "\\Flagged", "\\Important")  # views of other mailboxes (RFC 6154 §2)
_MAKE_IT = "Create it there, or let this login write to it; fetchd tries again."


@dataclass(slots=True)
class Box:
    """One mailbox, as far as this session knows it."""

    place: Place
    mailbox: Mailbox
    sightings: Sightings
    limit: int | None  # octets of one message; None: it does not say
    permanent: tuple[str, ...] | None = None
    asked: bool = False  # for `permanent`
    made_again: bool = False
    room: int | None = None  # a message of so many octets was over quota
    room_until: float = 0.0  # and that is believed until then


class Boxes:
    """Those that mail went to in this session."""

    def __init__(self, target: ImapTarget) -> None:
        self._target = target
        self._open: dict[Place, Box] = {}

    async def open(self, place: Place) -> Box:
        """The mailbox, there for sure; MailboxUnavailable where that cannot be brought about."""
        if place not in self._open:
            mailbox, there = self.find(place)
            if not there:
                await self._create(place, mailbox)
            limit = await self._target.limit(mailbox)
            sightings = Sightings(self._target, mailbox)
            self._open[place] = Box(place, mailbox, sightings, limit)
        return self._open[place]

    def find(self, place: Place) -> tuple[Mailbox, bool]:
        """What it is called there, and whether it is there."""
        if place.role is None:
            mailbox, there = self._target.place(place.path)
            return mailbox, there or place.path == (INBOX,)
        found = locate(self._target.session.overview.mailboxes, place.role)
        if found is not None:
            return found, True
        if place.role in _NOT_OURS:
            raise MailboxUnavailable(
                f"{self._target.where} has no mailbox for {place.role}, and none can be made",
                advice="Name a mailbox instead of the role.",
            )
        return self._target.place((place.role.removeprefix("\\"),))

    async def inspect(self, mailbox: Mailbox) -> Terms:
        """Open it as if to write there; MailboxUnavailable where that is not to be had."""
        try:
            terms = await self._target.terms(mailbox)
        except MailboxUnavailable as error:
            raise advised(error) from error
        await self._target.leave()
        return terms

    async def kept(self, box: Box, flags: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the flags that the mailbox keeps; it is asked once."""
        if not box.asked:
            box.permanent, box.asked = (await self.inspect(box.mailbox)).permanent, True
        return kept_flags(" ".join(flags), box.permanent)

    async def make_again(self, box: Box, refusal: Refusal) -> None:
        """Somebody removed it meanwhile; MailboxUnavailable if that is not all."""
        if box.made_again:
            raise MailboxUnavailable(
                f"the mailbox '{box.mailbox.name}' takes no mail: {refusal.text}", advice=_MAKE_IT
            )
        box.made_again = True
        await self._create(box.place, box.mailbox)

    def forget(self, place: Place) -> None:
        """Look at it anew when it is wanted again."""
        self._open.pop(place, None)

    async def _create(self, place: Place, mailbox: Mailbox) -> None:
        try:
            await self._target.create(mailbox, place.role)
        except MailboxUnavailable as error:
            raise advised(error) from error


def advised(error: MailboxUnavailable) -> MailboxUnavailable:
    """The same, with what to do about it."""
    return MailboxUnavailable(str(error), advice=error.advice or _MAKE_IT)
