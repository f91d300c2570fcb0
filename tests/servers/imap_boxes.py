"""Mailboxes in memory, for the scripted IMAP server.

    Box([octets, Mail(octets, ("\\Seen",))], uids=[7, 4294967295])

A `Box` keeps what RFC 7162 wants kept: a MODSEQ for each message, and which UIDs
vanished when. `frozen_modseq` is the sin of quirk 49: flags change, MODSEQ does
not. `uidvalidity` None or 0 are sins too (quirk 31), and the server says them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.servers.mail import Mail, digest, mails

UIDVALIDITY = 1_600_000_000
DATE = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)  # of a message that was given none


@dataclass(slots=True)
class Message:
    """One message in one mailbox."""

    octets: bytes
    uid: int
    flags: set[str]
    date: datetime
    modseq: int

    @property
    def identity(self) -> int:
        """The same for identical octets in any mailbox: EMAILID, X-GM-MSGID."""
        return int(digest(self.octets)[:15], 16)


class Box:
    """One mailbox; messages in the order of their UIDs unless told otherwise."""

    def __init__(
        self,
        messages: Iterable[bytes | Mail] = (),
        *,
        uids: Sequence[int] = (),
        uidvalidity: int | None = UIDVALIDITY,
        attributes: Sequence[str] = (),
        read_only: bool = False,
        modseqs: bool = True,
        frozen_modseq: bool = False,
    ) -> None:
        """`attributes` are LIST's; `modseqs` False says NOMODSEQ."""
        self.messages: list[Message] = []
        self.vanished: list[tuple[int, int]] = []  # UID, and the MODSEQ of its end
        self.uidvalidity = uidvalidity
        self.uidnext = self.modseq = 1
        self.attributes = tuple(attributes)
        self.read_only, self.modseqs, self.frozen_modseq = read_only, modseqs, frozen_modseq
        for at, mail in enumerate(mails(messages)):
            self.add(mail, uid=uids[at] if uids else None)

    def add(self, mail: bytes | Mail, *, uid: int | None = None) -> Message:
        """A message arrives."""
        whole = mail if isinstance(mail, Mail) else Mail(mail)
        uid = self.uidnext if uid is None else uid
        self.uidnext = max(self.uidnext, uid + 1)
        message = Message(
            whole.octets, uid, set(whole.flags), whole.date or DATE, self._next_modseq()
        )
        self.messages.append(message)
        return message

    def remove(self, uids: Collection[int]) -> None:
        """Messages vanish."""
        gone = [m.uid for m in self.messages if m.uid in uids]
        if gone:
            modseq = self._next_modseq()
            self.vanished += [(uid, modseq) for uid in gone]
            self.messages = [m for m in self.messages if m.uid not in gone]

    def flag(self, message: Message, flags: Iterable[str]) -> None:
        """A message has other flags from now on."""
        if (new := set(flags)) != message.flags:
            message.flags = new
            if not self.frozen_modseq:
                message.modseq = self._next_modseq()

    def renumber(self, uidvalidity: int) -> None:
        """A new epoch: UIDs from 1, nothing known of what was."""
        self.uidvalidity, self.uidnext, self.vanished = uidvalidity, 1, []
        for message in self.messages:
            message.uid, self.uidnext = self.uidnext, self.uidnext + 1
            message.modseq = self._next_modseq()

    def _next_modseq(self) -> int:
        self.modseq += 1
        return self.modseq
