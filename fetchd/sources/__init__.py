"""Where mail comes from: an account of the settings as an open Session.

A protocol's module is imported when the first account asks for it. To add a
protocol, add a case to `open_session`.
"""

from collections.abc import Callable
from pathlib import Path

from fetchd.contracts import Credentials, Session
from fetchd.settings.model import Account

Transcript = Callable[[str, str], None]  # direction "C" or "S", a line without secrets
Watch = Callable[[str, str], None]  # connect, tls, capabilities or login is done; what it found


def _unwatched(_step: str, _found: str) -> None:
    """Nobody wants to know."""


async def open_session(
    account: Account,
    secret: str,
    spill_dir: Path,
    transcript: Transcript | None = None,
    watch: Watch = _unwatched,
    *,
    whole: bool = False,
) -> Session:
    """Connect and log in; bodies too large for memory will go to files in `spill_dir`.

    `whole`: nothing is known of what is there, so sizes may be asked for at once.

    The step that `watch` did not hear of is the one that failed.
    """
    from fetchd.clients.stream import TlsMode, TlsSettings
    from fetchd.sources.pop3 import Pop3Access, open_pop3

    tls = TlsSettings(
        mode=TlsMode(account.tls),
        ca_file=account.ca_file,
        fingerprint=account.fingerprint,
        client_certificate=account.client_certificate,
        min_tls=account.min_tls,
    )
    access = Pop3Access(
        host=account.host,
        port=account.port,
        tls=tls,
        auth=account.auth,
        allow_plaintext_auth=account.allow_plaintext_auth,
        connect_timeout=account.timeouts.connect.total_seconds(),
        read_timeout=account.timeouts.read.total_seconds(),
        max_message_size=account.max_message_size,
    )
    return await open_pop3(
        access, Credentials(account.username, secret), spill_dir, transcript, watch, whole=whole
    )
