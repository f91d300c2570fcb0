"""A message as an e-mail: made by RFC 5322, and carried through one of our destinations.

It passes neither archive nor outbox: nothing that is wrong with them keeps it back, and a
destination that refuses it makes no new trouble. While a destination is out of reach, and so
perhaps itself the trouble, its letters wait until it may be tried again. The letter says that
a program wrote it (Auto-Submitted, RFC 3834), so that no vacation answers.

The octets are ASCII whatever they say, so that every server takes them. The same message has
the same Message-ID and the same key: a Maildir takes no repetition of it.
"""

import asyncio
import hashlib
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path

from fetchd.alerting.message import Message
from fetchd.contracts import Body, Outcome, Outgoing
from fetchd.destinations import open_destination
from fetchd.errors import ChannelFailed
from fetchd.pipeline.one_letter import addresses, carry_one, is_whole
from fetchd.pipeline.storage import instance_of
from fetchd.settings import Destination

ACCOUNT, MAILBOX = "alerts", "INBOX"  # what folder templates are filled with


class DestinationChannel:
    """Letters to one destination."""

    def __init__(self, destination: str, settings: Destination, data_dir: Path) -> None:
        self.name = f"destination {destination}"
        self.destination = destination
        self._settings, self._data_dir = settings, data_dir

    async def send(self, message: Message) -> None:
        """Carry it there now."""
        sender, recipients = addresses(self._settings)
        octets = letter(message, sender, recipients)
        outgoing = Outgoing(
            id=1, key=message.key, account=ACCOUNT, digest=hashlib.sha256(octets).digest(),
            size=len(octets), queued_at=message.at, attempts=0,
            doubtful=True,  # nobody knows of it but the place itself
            body=Body(len(octets), octets), mailbox=MAILBOX,
        )  # fmt: skip
        instance = await asyncio.to_thread(self._instance)
        where = open_destination(self._settings, instance)
        settled = await carry_one(where, outgoing)
        if settled.outcome is not Outcome.DELIVERED:
            raise ChannelFailed(settled.reply or f"The letter was {settled.outcome}.")

    def _instance(self) -> str:
        """Ours, by which a server that sends the letter back to us is found out."""
        return instance_of(self._data_dir) if self._data_dir.is_dir() else "test"


def letter(message: Message, sender: str, recipients: tuple[str, ...]) -> bytes:
    """The octets, with CRLF."""
    made = EmailMessage(policy=SMTP)
    ours = sender if _fits(sender) else "fetchd@localhost"
    made["From"] = f"fetchd <{ours}>"
    to = [one for one in recipients if _fits(one)]
    made["To"] = ", ".join(to) if to else "undisclosed-recipients:;"
    made["Subject"] = message.subject
    made["Date"] = format_datetime(_whole_second(message.at))
    made["Message-ID"] = f"<fetchd.{message.key}@{_domain(sender)}>"
    made["Auto-Submitted"] = "auto-generated"
    made["X-Fetchd-Alert"] = str(message.about)
    made.set_content(message.text, charset="utf-8", cte="quoted-printable")
    return made.as_bytes()


def _fits(address: str) -> bool:
    """Whether it may stand in a header that every server takes."""
    return is_whole(address) and address.isascii()


def _domain(sender: str) -> str:
    """What may stand in a Message-ID."""
    domain = sender.rpartition("@")[2]
    plain = domain.isascii() and domain.replace("-", "").replace(".", "").isalnum()
    return domain if plain else "fetchd.invalid"


def _whole_second(at: datetime) -> datetime:
    return at.replace(microsecond=0)
