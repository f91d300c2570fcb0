"""What an -ERR means: whether to wait, to ask the owner, or to try another way.

Response codes decide where there are any (RFC 2449 §8, RFC 3206). Without them
the words are read, and in doubt the trouble is taken for a passing one: waiting
harms nobody, while a password called wrong stops an account.

To treat one more refusal, add a case to `refusal` or a word to a pattern.
"""

import re
from datetime import timedelta

from fetchd.errors import AccountRefused, AuthenticationFailed, FetchdError, ServerUnavailable

_CODE = re.compile(r"\[([A-Za-z/-]+)[^\]]*\]")
_PASSING = re.compile(
    r"lock|busy|in use|too many|too often|too soon|try (?:it )?again|temporar|later|unavailable"
    r"|internal|timed? ?out|timeout|rate limit|limit exceeded|maintenance|already|not connected"
    r"|server error|system error|shutting down",
    re.IGNORECASE,
)
_WANTS_TLS = re.compile(r"plain ?text|unencrypted|non-secure|STLS|TLS|SSL", re.IGNORECASE)
_NOT_UNDERSTOOD = re.compile(
    r"(?:un(?:known|recogni[sz]ed|supported|implemented)|invalid|bad|illegal)"
    r" (?:or \S+ )?(?:pop3? )?(?:command|keyword|verb|mechanism|auth)"
    r"|not (?:implemented|supported|recogni[sz]ed|understood)|syntax",
    re.IGNORECASE,
)


def response_code(text: str) -> str:
    """The response code at the beginning of a reply (RFC 2449 §8), "" without one."""
    found = _CODE.match(text)
    return found[1].upper() if found else ""


def is_passing(text: str) -> bool:
    """Whether the same question may be answered another time."""
    code = response_code(text)
    if code:
        return code.startswith(("IN-USE", "LOGIN-DELAY", "SYS/TEMP"))
    return bool(_PASSING.search(text))


def is_not_understood(text: str) -> bool:
    """Whether the server does not know the command, rather than refusing it."""
    return not response_code(text) and bool(_NOT_UNDERSTOOD.search(text))


def refusal(text: str, what: str, *, wait: timedelta | None = None) -> FetchdError:
    """The error for an -ERR to anything but a login; `wait`: LOGIN-DELAY as announced."""
    sentence = f"{what}: {text}" if text else what
    code = response_code(text)  # RFC 2449 §8: what is more special begins alike
    if code.startswith("LOGIN-DELAY"):
        return ServerUnavailable(sentence, wait=wait)
    if code.startswith("SYS/PERM"):
        return AccountRefused(sentence)
    if code.startswith("AUTH"):
        return not_authenticated(text, sentence)
    return ServerUnavailable(sentence)


def login_refusal(
    text: str, what: str, *, wait: timedelta | None = None, coded: bool = False
) -> FetchdError:
    """The error for an -ERR to a login. `coded`: the server announced AUTH-RESP-CODE,
    so whatever lacks [AUTH] is not about the password (RFC 3206 §6)."""
    if coded or response_code(text) or is_passing(text):
        return refusal(text, what, wait=wait)
    return not_authenticated(text, f"{what}: {text}" if text else what)


def not_authenticated(text: str, sentence: str) -> FetchdError:
    """The login was refused; where the words are about TLS, the advice is too."""
    if _WANTS_TLS.search(text):
        advice = 'Set tls = "starttls" or "implicit": the server wants an encrypted line.'
        return AuthenticationFailed(sentence, advice=advice)
    return AuthenticationFailed(sentence)
