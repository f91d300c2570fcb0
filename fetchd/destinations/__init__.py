"""Where mail goes: one module per kind, on our disk or over connections.

What is on our disk is a `contracts.DeliverySession`, which takes many messages and makes
them durable together; everything else a `contracts.Carrier`. To add a kind: a module with
its session or carrier, its settings class, one case below, and an entry in
`tests/contracts/test_destination.py` or `test_carrier.py`.
"""

from fetchd.clients.meter import Meter
from fetchd.contracts import Carrier, DeliverySession
from fetchd.settings import (
    CommandDestination,
    Destination,
    ImapDestination,
    LmtpDestination,
    MaildirDestination,
    MboxDestination,
    SmtpDestination,
)


def open_destination(
    settings: Destination, instance: str, meter: Meter | None = None
) -> DeliverySession | Carrier:
    """The destination of these settings; nothing is touched before the first delivery.

    `instance` is this fetchd's own name, by which it knows mail that it has sent. `meter`
    counts the octets of lines to an IMAP server.
    """
    match settings:
        case MaildirDestination(layout="flat"):
            from fetchd.destinations.maildir import MaildirSession

            return MaildirSession(
                settings.path, settings.newline, folder=settings.folder or "",
                keep_flags=settings.flags == "keep", mark_seen=settings.mark_seen,
            )  # fmt: skip
        case MaildirDestination():
            from fetchd.destinations.mirror import MirrorSession

            return MirrorSession(settings.path, settings.newline, settings.removed)
        case MboxDestination():
            from fetchd.destinations.mbox import MboxSession

            return MboxSession(settings)
        case CommandDestination():
            from fetchd.destinations.command import CommandCarrier

            return CommandCarrier(settings)
        case ImapDestination():
            from fetchd.destinations.imap import ImapCarrier

            return ImapCarrier(settings, meter=meter)
        case LmtpDestination() | SmtpDestination():
            from fetchd.destinations.smtp import SmtpCarrier

            return SmtpCarrier(settings, instance)
