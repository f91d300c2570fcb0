"""What an issuer's no means, in words: wait, log in again, or mend the settings.

The codes of RFC 6749 §5.2 decide, and within them Microsoft's AADSTS numbers. What passes
by itself must not look like a wrong password, and what ends only by a new login says so:
it is `certain`, so that the account is halted, and its owner told, at once.
To explain one more number, add a row to _MICROSOFT.

https://learn.microsoft.com/entra/identity-platform/reference-error-codes
https://developers.google.com/identity/protocols/oauth2#expiration
"""

import re

from fetchd.auth.endpoint import Answer
from fetchd.errors import (
    AuthenticationFailed,
    FetchdError,
    RemoteProtocolError,
    ServerUnavailable,
)
from fetchd.telemetry import printable

_LONGEST = 240  # characters of the issuer's own words
_PASSING = {"temporarily_unavailable", "server_error", "slow_down"}
_LOG_IN = {
    "invalid_grant", "interaction_required", "consent_required", "login_required",
    "mfa_required", "access_denied", "expired_token", "authorization_declined",
}  # fmt: skip
_CLIENT = {"invalid_client", "unauthorized_client", "invalid_request", "unsupported_grant_type"}
_AADSTS = re.compile(r"AADSTS(\d{4,9})")

_CONSENT = "An administrator of the organisation has to allow this client (admin consent)."
# number -> what happened, and what to do where logging in again is not it
_MICROSOFT = {
    50011: ("the redirect is not registered", 'Register http://localhost, "Mobile and desktop".'),
    50020: ("this user is not of that organisation", "Set tenant, or log in as another user."),
    50034: ("there is no such user there", "Check username and tenant."),
    50053: ("the account is locked after too many wrong attempts", "Wait, then log in again."),
    50055: ("the password has expired", ""),
    50057: ("the account is disabled", "Ask the organisation's administrator."),
    50058: ("the session has ended", ""),
    50076: ("a second factor (MFA) is wanted", ""),
    50078: ("the second factor (MFA) has expired", ""),
    50079: ("a second factor (MFA) has to be set up", ""),
    50105: ("the user may not use this client", "Ask the organisation's administrator."),
    50133: ("the session was revoked or the password changed", ""),
    50158: ("another check (conditional access) is wanted", ""),
    50173: ("the password was changed or the sessions revoked", ""),
    53000: ("the organisation wants a device that it manages", _CONSENT),
    53003: ("the organisation's rules (conditional access) forbid it", _CONSENT),
    65001: ("the consent is missing or was taken back", ""),
    65004: ("the user did not consent", ""),
    70000: ("the grant does not cover what is asked for, or has expired", ""),
    70008: ("the token has expired: it was not used for too long", ""),
    70043: ("the organisation ends sessions after a time, and it is over", ""),
    90072: ("this user is not of that organisation", "Set tenant, or log in as another user."),
    90094: ("an administrator's consent is needed", _CONSENT),
    90095: ("an administrator's consent is needed", _CONSENT),
    135010: ("the account was renamed or removed", "Check username."),
    700016: ("there is no such client in that organisation", "Check client_id and tenant."),
    700082: ("the token has expired: it was not used for too long", ""),
    700084: ("the token's lifetime is over", ""),
    7000112: ("the client is disabled", "Enable the application where it was registered."),
    7000215: ("the client_secret is wrong", "Use the secret's value, not its id."),
    7000218: ("a client_secret is wanted", 'Set one, or allow "public client flows" for it.'),
    7000222: ("the client_secret has expired", "Make a new one where it was registered."),
}  # fmt: skip

GOOGLE_TESTING = (
    'A Google client whose consent screen is in "Testing" gives tokens for seven days: '
    'publish it to "In production" where it was registered.'
)


def refused(answer: Answer, what: str, command: str) -> FetchdError:
    """The error for this answer; `what` begins its sentence, `command` logs in again."""
    code = _text(answer.body.get("error"))
    if code in _PASSING or answer.status == 429 or answer.status >= 500:
        said = _said(answer) or f"status {answer.status}"
        return ServerUnavailable(f"{what}: {answer.host} cannot say now: {said}", wait=answer.wait)
    if not code:
        return _no_answer(answer, what)
    number = _AADSTS.search(_text(answer.body.get("error_description")))
    known = _MICROSOFT.get(int(number[1])) if number else None
    if number and known is not None:
        return _explained(what, f"{known[0]} (AADSTS{number[1]})", known[1], command)
    if code in _LOG_IN:
        return _ended(answer, what, code, command)
    if code == "invalid_scope":
        advice = "Check scopes, and which of them the client is registered for."
        return AuthenticationFailed(f"{what}: {_said(answer)}", advice=advice)
    advice = "Check client_id, client_secret and the endpoints of oauth2."
    if code not in _CLIENT:
        advice = f"Run: {command}"
    return AuthenticationFailed(f"{what}: {_said(answer)}", advice=advice)


def _explained(what: str, words: str, advice: str, command: str) -> FetchdError:
    sentence = f"{what}: {words}"
    if advice:
        return AuthenticationFailed(sentence, advice=advice)
    return AuthenticationFailed(sentence, advice=f"Run: {command}", certain=True)


def _ended(answer: Answer, what: str, code: str, command: str) -> FetchdError:
    """The grant is over: it ran out, the owner took it back, or the password changed."""
    advice = f"Run: {command}"
    if code == "access_denied" or code == "authorization_declined":
        return AuthenticationFailed(f"{what}: it was declined", advice=advice, certain=True)
    if answer.host.endswith("googleapis.com"):
        advice = f"{advice}. {GOOGLE_TESTING}"
    sentence = f"{what}: it has expired or was revoked ({_said(answer)})"
    return AuthenticationFailed(sentence, advice=advice, certain=True)


def _no_answer(answer: Answer, what: str) -> FetchdError:
    """Perhaps a network that wants a login of its own, so it passes."""
    if 300 <= answer.status < 400:
        sentence = f"{what}: {answer.host} wants to send us to another place, which is not followed"
    else:
        sentence = f"{what}: {answer.host} answers with status {answer.status} and no JSON"
    return RemoteProtocolError(sentence, advice="Check token_endpoint, and the network between.")


def _said(answer: Answer) -> str:
    """The issuer's words, made bearable: Microsoft adds trace ids and the time."""
    code = _text(answer.body.get("error"))
    words = _text(answer.body.get("error_description"))
    words = re.split(r"\s*Trace ID:", words)[0].strip()
    said = f"{code}: {words}" if words and words != code else code
    return said[:_LONGEST]


def _text(found: object) -> str:
    return printable(" ".join(found[:4096].split())) if isinstance(found, str) else ""
