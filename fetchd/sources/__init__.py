"""Where mail comes from: an account of the settings as an open Session.

A protocol's module is imported when the first account asks for it. To add a
protocol, add a case to `open_session`.
"""

from pathlib import Path
from typing import Any

from fetchd.contracts import Credentials, Session, Watch, unwatched
from fetchd.settings import Account, ImapAccount
from fetchd.telemetry import Transcript

__all__ = ["Transcript", "Watch", "open_session"]


async def open_session(
    account: Account,
    secret: str,
    spill_dir: Path,
    transcript: Transcript | None = None,
    watch: Watch = unwatched,
    *,
    whole: bool = False,
) -> Session:
    """Connect and log in; bodies too large for memory will go to files in `spill_dir`.

    `whole`: nothing is known of what is there, so sizes may be asked for at once.

    The step that `watch` did not hear of is the one that failed.
    """
    credentials = Credentials(account.username, secret)
    if isinstance(account, ImapAccount):
        from fetchd.sources.imap import open_imap
        from fetchd.sources.imap_login import ImapAccess

        wishes = ImapAccess(
            **_way(account),
            mailboxes=account.mailboxes,
            retire_to=account.retire_to,
            connections=account.connections,
            compress=account.compress,
            full_pass=account.full_pass,
        )
        return await open_imap(wishes, credentials, spill_dir, transcript, watch)
    from fetchd.sources.pop3 import open_pop3
    from fetchd.sources.pop3_login import Pop3Access

    access = Pop3Access(**_way(account))
    return await open_pop3(access, credentials, spill_dir, transcript, watch, whole=whole)


def _way(account: Account) -> dict[str, Any]:
    """What the settings say of the way to any server, as `login.Access` calls it."""
    from fetchd.clients.stream import TlsMode, TlsSettings

    return {
        "host": account.host,
        "port": account.port,
        "tls": TlsSettings(
            mode=TlsMode(account.tls),
            ca_file=account.ca_file,
            fingerprint=account.fingerprint,
            client_certificate=account.client_certificate,
            min_tls=account.min_tls,
        ),
        "auth": account.auth,
        "allow_plaintext_auth": account.allow_plaintext_auth,
        "connect_timeout": account.timeouts.connect.total_seconds(),
        "read_timeout": account.timeouts.read.total_seconds(),
        "max_message_size": account.max_message_size,
    }
