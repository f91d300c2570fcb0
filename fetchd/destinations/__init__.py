"""Where mail goes: one module per kind, each a `contracts.DeliverySession`.

To add a kind: a module with its session, its settings class, one case below,
and an entry in `tests/contracts/test_destination.py`.
"""

from fetchd.contracts import DeliverySession
from fetchd.settings.model import Destination


def open_destination(name: str, settings: Destination) -> DeliverySession:
    """The destination of [destinations.NAME]; nothing is touched before the first `put`."""
    match settings.kind, settings.layout:
        case "maildir", "flat":
            from fetchd.destinations.maildir import MaildirSession

            return MaildirSession(settings.path, settings.newline)
        case "maildir", "mirror":
            from fetchd.destinations.mirror import MirrorSession

            return MirrorSession(settings.path, settings.newline, settings.removed)
