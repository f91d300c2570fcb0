"""A token: what the issuer gave, for whom, and until when.

Nothing of it shows itself. Times are those of the wall clock, since they outlive processes
and machines that sleep; a clock that was set back makes a token look as if it came from the
future, and then it is renewed.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fetchd.errors import RemoteProtocolError
from fetchd.values import Struct

MARGIN = timedelta(minutes=5)  # a login, and the clocks of two machines
LONGEST = timedelta(days=3650)  # who promises more promises nothing
_ACCESS = re.compile(r"[\x21-\x7e]{1,16384}")  # RFC 6750 §2.1, and more: what SASL can carry
_REFRESH = re.compile(r"[\x20-\x7e]{1,16384}")  # RFC 6749, appendix A.17


class Token(Struct, frozen=True):
    """`client` and `endpoint` say to whom the refresh token may be shown again.

    `expires_at` None: the issuer did not say. `refresh_expires_at` few issuers say.
    """

    access: str
    obtained_at: datetime
    client: str
    endpoint: str
    username: str
    expires_at: datetime | None = None
    refresh: str = ""
    refresh_expires_at: datetime | None = None
    scope: str = ""
    granted_at: datetime | None = None  # when the owner last logged in

    def __repr__(self) -> str:
        return f"Token(username={self.username!r}, expires_at={self.expires_at})"

    def is_due(self, now: datetime) -> bool:
        """Whether it is to be renewed before it is used."""
        if now < self.obtained_at - MARGIN:
            return True
        if self.expires_at is None:
            return False
        life = self.expires_at - self.obtained_at
        return now >= self.expires_at - min(MARGIN, life / 10)


class TokenState(Struct, frozen=True):
    """When a token ends, without a word of it. `renews`: it can be renewed without the owner."""

    expires_at: datetime | None
    refresh_expires_at: datetime | None
    obtained_at: datetime
    granted_at: datetime
    renews: bool


def state_of(token: Token) -> TokenState:
    """What may be shown."""
    return TokenState(
        token.expires_at,
        token.refresh_expires_at,
        token.obtained_at,
        token.granted_at or token.obtained_at,
        bool(token.refresh),
    )


def token_from(
    answer: Mapping[str, Any],
    what: str,
    *,
    client: str,
    endpoint: str,
    username: str,
    before: Token | None = None,
) -> Token:
    """The token of an answer (RFC 6749 §5.1); `before` is the one that it renews.

    An issuer that gives no new refresh token lets the old one go on (RFC 6749 §6).
    """
    now = datetime.now(UTC)
    access = answer.get("access_token")
    kind = str(answer.get("token_type", "bearer"))
    if not isinstance(access, str) or not _ACCESS.fullmatch(access) or kind.lower() != "bearer":
        advice = "Check token_endpoint; fetchd uses bearer tokens."
        raise RemoteProtocolError(f"{what}: the answer holds no bearer token", advice=advice)
    refresh = answer.get("refresh_token")
    renewed = isinstance(refresh, str) and _REFRESH.fullmatch(refresh)
    old = before.refresh if before is not None else ""
    ends = _ends(answer.get("refresh_expires_in", answer.get("refresh_token_expires_in")), now)
    scope = answer.get("scope")
    return Token(
        access=access,
        obtained_at=now,
        client=client,
        endpoint=endpoint,
        username=username,
        expires_at=_ends(answer.get("expires_in"), now),
        refresh=str(refresh) if renewed else old,
        refresh_expires_at=ends or (before.refresh_expires_at if before and not renewed else None),
        scope=scope[:4096] if isinstance(scope, str) else "",
        granted_at=before.granted_at or before.obtained_at if before is not None else now,
    )


def _ends(seconds: object, now: datetime) -> datetime | None:
    """Some issuers write the number as text; nothing and nonsense say nothing."""
    try:
        span = timedelta(seconds=float(str(seconds)))
    except (ValueError, OverflowError):
        return None
    return now + min(span, LONGEST) if span > timedelta() else None
