"""Everything that can go wrong in fetchd, sorted by how far the harm spreads.

Two facts matter to whoever catches an error, and every class states both:

`scope`    the largest thing that cannot go on: one message, its mailbox, the
           account, or the whole process. The loop that owns that thing catches
           it; every other loop lets it pass.
`remedy`   what ends the trouble: waiting, a person, or nothing at all.

An error's text is one sentence for the person who runs fetchd: what happened
and, in `advice`, what to do. No module outside this one defines an exception.
"""

from datetime import datetime, timedelta
from enum import IntEnum, StrEnum


class Scope(IntEnum):
    """Ordered: a wider scope is a greater number."""

    MESSAGE = 1
    MAILBOX = 2
    ACCOUNT = 3
    PROCESS = 4


class Remedy(StrEnum):
    """What ends the trouble."""

    WAIT = "wait"  # the same attempt may succeed later
    OWNER = "owner"  # nothing changes until a person acts
    NONE = "none"  # the same attempt will always fail


class FetchdError(Exception):
    """Base of every error raised on purpose; raise one of its children.

    `advice` says what to do about it, in the imperative; the class has a
    general one and a raiser that knows more passes its own.
    """

    scope: Scope = Scope.PROCESS
    remedy: Remedy = Remedy.OWNER
    advice: str = ""

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        super().__init__(message)
        if advice is not None:
            self.advice = advice

    @property
    def whole(self) -> str:
        """The sentence and what to do, as one text."""
        return joined(str(self), self.advice)


def joined(sentence: str, advice: str) -> str:
    """An error's sentence, which may lack its full stop, and its advice."""
    ended = sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
    return f"{ended} {advice}".strip()


# -- Our own setup and our own disk -------------------------------------------


class SettingsError(FetchdError):
    """The settings are absent, unreadable or contradict themselves. Exit code 2.

    `problems` holds one readable line (or block) for each thing that is wrong.
    """

    def __init__(self, *problems: str, advice: str | None = None) -> None:
        super().__init__("\n".join(problems), advice=advice)
        self.problems = problems


class UsageError(FetchdError):
    """The command line asks for something that is not there. Exit code 2."""


class WrongUser(UsageError):
    """Root was about to write into a folder of somebody else."""


class ServiceManagerFailed(FetchdError):
    """systemd does not take or start our units, or their files cannot be written."""


class SecretUnavailable(FetchdError):
    """A password could not be had from where the settings say it is."""

    scope = Scope.ACCOUNT


class ArchiveError(FetchdError):
    """The archive cannot keep its promise now: disk full, read-only, lost mount."""

    remedy = Remedy.WAIT
    advice = "Free space or repair the permissions of the data folder, then sync again."


class ArchiveDamaged(FetchdError):
    """Stored octets are not what was stored; the text names the segment or message."""

    advice = "Run 'fetchd verify' to see what is affected, and restore the file from a backup."


class MessageNotStored(FetchdError):
    """The archive does not hold these octets (never had them, or `keep` let them expire)."""

    scope = Scope.MESSAGE


class CatalogError(FetchdError):
    """The catalog cannot be opened, read or written."""

    remedy = Remedy.WAIT
    advice = "Free space or repair the permissions of the data folder, then sync again."


class CatalogTooNew(CatalogError):
    """A later fetchd wrote this catalog."""

    remedy = Remedy.OWNER
    advice = "Install the fetchd that wrote it, or a later one."


class ServiceError(FetchdError):
    """A service cannot begin here, or cannot be reached and asked."""


class Relayed(FetchdError):
    """What went wrong in the service, as it told another process of fetchd."""

    def __init__(self, message: str, *, scope: Scope, remedy: Remedy, advice: str) -> None:
        super().__init__(message, advice=advice)
        self.scope, self.remedy = scope, remedy


class CannotListen(FetchdError):
    """An address that the settings want listened at is taken, or none of this machine's."""


class AccountBusy(FetchdError):
    """Another process holds the lease of this account and is alive."""

    scope = Scope.ACCOUNT
    remedy = Remedy.WAIT
    advice = "Wait until the other sync has ended."


# -- The network and the peer --------------------------------------------------


class ConnectionFailed(FetchdError):
    """No usable connection: name, route, timeout or early close.

    `local`: it is this machine's own network that is missing, whatever the server.
    """

    scope = Scope.ACCOUNT
    remedy = Remedy.WAIT
    advice = "Check host, port and network; fetchd tries again by itself."
    local = False

    def __init__(self, message: str, *, advice: str | None = None, local: bool = False) -> None:
        super().__init__(message, advice=advice)
        self.local = local


class TlsFailed(ConnectionFailed):
    """The TLS handshake failed, or the certificate is not one to trust."""

    remedy = Remedy.OWNER
    advice = "Check the host name and the certificate; see ca_file and fingerprint in the README."


class ProtocolError(FetchdError):
    """Somebody broke the protocol. Raise one of the two children."""

    scope = Scope.ACCOUNT


class LocalProtocolError(ProtocolError):
    """We were about to break it: a bug in fetchd."""

    remedy = Remedy.NONE
    advice = "This is a bug in fetchd; please report it."


class RemoteProtocolError(ProtocolError):
    """The server broke it, or a limit; carries the octets that prove it."""

    remedy = Remedy.WAIT
    advice = "Check that host and port name a server of this protocol and that tls is right."

    def __init__(self, complaint: str, evidence: bytes = b"", *, advice: str | None = None) -> None:
        shown = f"{complaint}: {repr(evidence[:60])[1:]}" if evidence else complaint
        super().__init__(shown, advice=advice)
        self.evidence = evidence


class SyncStalled(FetchdError):
    """A sync made no progress for so long that it was ended."""

    scope = Scope.ACCOUNT
    remedy = Remedy.WAIT
    advice = "fetchd tries again by itself; see service.stalled if the server is that slow."


class PlaintextRefused(FetchdError):
    """The settings forbid a password on the line as it is."""

    scope = Scope.ACCOUNT
    advice = 'Use tls = "implicit" or "starttls", or set allow_plaintext_auth = true.'


class AuthenticationFailed(FetchdError):
    """The server knows us and says no.

    `certain`: by a response code, and not by words that may mean something else. `tried` is
    a fingerprint of what was refused, so that it is not tried again.
    """

    scope = Scope.ACCOUNT
    advice = "Check username and password, and whether the provider wants an app password."

    def __init__(self, message: str, *, advice: str | None = None, certain: bool = False) -> None:
        super().__init__(message, advice=advice)
        self.certain = certain
        self.tried = ""


class ServerUnavailable(FetchdError):
    """The server asks us to come later: [IN-USE], [LOGIN-DELAY], [SYS/TEMP] and kin.

    `wait` is the server's own hint, if it gave one. `crowded`: there are too many
    connections, or too much at once; fewer would do.
    """

    scope = Scope.ACCOUNT
    remedy = Remedy.WAIT
    advice = "Nothing to do: fetchd tries again by itself."

    def __init__(
        self,
        message: str,
        *,
        wait: timedelta | None = None,
        crowded: bool = False,
        advice: str | None = None,
    ) -> None:
        super().__init__(message, advice=advice)
        self.wait = wait
        self.crowded = crowded


class BudgetSpent(ServerUnavailable):
    """What the provider allows is used up; ours to keep, before the provider makes us.

    What has come so far is kept, and after `until` there is more.
    """

    advice = "Nothing to do: fetchd goes on by itself when the budget allows it."

    def __init__(self, message: str, *, until: datetime, now: datetime) -> None:
        super().__init__(message, wait=until - now)
        self.until = until


class AccountRefused(FetchdError):
    """The server refuses this account until a person acts: [SYS/PERM] and kin."""

    scope = Scope.ACCOUNT
    advice = "Ask the provider what is wrong with the account."
    certain = True
    tried = ""  # as AuthenticationFailed has it


# -- What the server holds -------------------------------------------------------


class MailboxUnavailable(FetchdError):
    """This mailbox cannot be listed or thinned now; others still can."""

    scope = Scope.MAILBOX
    remedy = Remedy.WAIT


class MessageUnavailable(FetchdError):
    """The server lists this message and then refuses to hand it over."""

    scope = Scope.MESSAGE
    remedy = Remedy.WAIT


# -- Delivery --------------------------------------------------------------------


class DeliveryDeferred(FetchdError):
    """The destination cannot take the message now (4yz, EX_TEMPFAIL, disk full)."""

    scope = Scope.MESSAGE
    remedy = Remedy.WAIT


class DeliveryRefused(FetchdError):
    """The destination will never take the message (5yz)."""

    scope = Scope.MESSAGE
    remedy = Remedy.NONE


# -- Alerts ----------------------------------------------------------------------


class ChannelFailed(FetchdError):
    """A channel of [alerts] did not take a message; what it was to tell stays owed."""

    remedy = Remedy.WAIT
    advice = "fetchd tries again by itself; 'fetchd alerts test' tries it now."
