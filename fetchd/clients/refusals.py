"""What an -ERR means: whether to wait, to ask the owner, or to try another way.

Response codes decide where there are any (RFC 2449 §8, RFC 3206). Without them
the words are read, and in doubt the trouble is taken for a passing one: waiting
harms nobody, while a password called wrong stops an account.

To treat one more refusal, add a case to `refusal` or a word to a pattern.
"""

import re
from datetime import timedelta

from fetchd.errors import AccountRefused, AuthenticationFailed, FetchdError, ServerUnavailable

LONGEST_WAIT = timedelta(minutes=5)  # of a server's own hint (quirk 69)

_CODE = re.compile(r"\[([A-Za-z/-]+)[^\]]*\]")
_PASSING = re.compile(
    r"lock|busy|in use|too many|too often|too soon|try (?:it )?again|temporar|later|unavailable"
    r"|internal|timed? ?out|timeout|rate limit|limit exceeded|maintenance|already|not connected"
    r"|server error|system error|shutting down"
    # Gmail, whose budgets are spent: "Account exceeded command or bandwidth limits"
    r"|exceeded \w+(?: or \w+)? limits?|bandwidth|throttl|back ?off",
    re.IGNORECASE,
)
_CROWDED = re.compile(
    r"too many (?:\w+ )?(?:connections?|sessions?|logins?)|too many simultaneous"
    r"|(?:maximum|max\.?|limit) (?:number )?(?:of |on )?(?:\w+ )?connections?"
    r"|connections? limit",
    re.IGNORECASE,
)
# Exchange: "Suggested Backoff Time: 299923 Milliseconds"; others: "try again in 30 seconds"
_HINT = re.compile(
    r"(?:back ?off|retry|try again|wait)[^0-9]{0,40}([0-9]{1,9})\s*(ms|milli|s|m|h)", re.IGNORECASE
)
_UNITS = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
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
    return bool(_PASSING.search(text)) or is_crowded(text)


def is_not_understood(text: str) -> bool:
    """Whether the server does not know the command, rather than refusing it."""
    return not response_code(text) and bool(_NOT_UNDERSTOOD.search(text))


def is_crowded(text: str) -> bool:
    """Whether the server finds us too many: fewer connections would do."""
    return bool(_CROWDED.search(text))


def hint(text: str) -> timedelta | None:
    """How long the server wants to be left alone, as far as its words say so."""
    found = _HINT.search(text)
    if found is None:
        return None
    return min(timedelta(seconds=int(found[1]) * _UNITS[found[2].lower()]), LONGEST_WAIT)


def refusal(text: str, what: str, *, wait: timedelta | None = None) -> FetchdError:
    """The error for an -ERR to anything but a login; `wait`: LOGIN-DELAY as announced."""
    sentence = f"{what}: {text}" if text else what
    code = response_code(text)  # RFC 2449 §8: what is more special begins alike
    if code.startswith("LOGIN-DELAY"):
        return ServerUnavailable(sentence, wait=wait or hint(text))
    if code.startswith("SYS/PERM"):
        return AccountRefused(sentence)
    if code.startswith("AUTH"):
        return not_authenticated(text, sentence, coded=True)
    return ServerUnavailable(sentence, wait=hint(text), crowded=is_crowded(text))


def login_refusal(
    text: str, what: str, *, wait: timedelta | None = None, coded: bool = False
) -> FetchdError:
    """The error for an -ERR to a login. `coded`: the server announced AUTH-RESP-CODE,
    so whatever lacks [AUTH] is not about the password (RFC 3206 §6)."""
    if coded or response_code(text) or is_passing(text):
        return refusal(text, what, wait=wait)
    return not_authenticated(text, f"{what}: {text}" if text else what)


def not_authenticated(text: str, sentence: str, *, coded: bool = False) -> FetchdError:
    """The login was refused; where the words are about TLS, the advice is too.

    `coded`: by a response code that leaves no doubt.
    """
    if _WANTS_TLS.search(text):
        advice = 'Set tls = "starttls" or "implicit": the server wants an encrypted line.'
        return AuthenticationFailed(sentence, advice=advice)
    return AuthenticationFailed(sentence, certain=coded)
