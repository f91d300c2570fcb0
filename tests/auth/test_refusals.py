"""What an issuer's no becomes: to wait, to log in again, or to mend the settings."""

from datetime import timedelta
from typing import Any

import pytest

from fetchd.auth.endpoint import Answer
from fetchd.auth.refusals import refused
from fetchd.errors import (
    AuthenticationFailed,
    FetchdError,
    Remedy,
    RemoteProtocolError,
    ServerUnavailable,
)

LOGIN = "fetchd login work"


def refusal(status: int, host: str = "login.example.org", **body: Any) -> FetchdError:
    return refused(Answer(status, body, host), "work: the token cannot be renewed", LOGIN)


@pytest.mark.parametrize(
    ("status", "body", "kind", "told", "advice"),
    [
        (400, {"error": "invalid_grant"}, AuthenticationFailed, "expired or was revoked", LOGIN),
        (400, {"error": "access_denied"}, AuthenticationFailed, "declined", LOGIN),
        (401, {"error": "invalid_client"}, AuthenticationFailed, "invalid_client", "client_secret"),
        (400, {"error": "invalid_scope"}, AuthenticationFailed, "invalid_scope", "scopes"),
        (400, {"error": "of_their_own"}, AuthenticationFailed, "of_their_own", LOGIN),
        (400, {"error": "temporarily_unavailable"}, ServerUnavailable, "cannot say now", ""),
        (429, {"error": "invalid_request"}, ServerUnavailable, "cannot say now", ""),
        (429, {}, ServerUnavailable, "status 429", ""),
        (503, {}, ServerUnavailable, "status 503", ""),
        (500, {"error": "invalid_grant"}, ServerUnavailable, "cannot say now", ""),
        (200, {}, RemoteProtocolError, "status 200 and no JSON", "token_endpoint"),
        (302, {}, RemoteProtocolError, "not followed", "token_endpoint"),
        (404, {}, RemoteProtocolError, "status 404", "token_endpoint"),
        (400, {"error": ["x"]}, RemoteProtocolError, "no JSON", "token_endpoint"),
    ],
)
def test_what_the_codes_mean(
    status: int, body: dict[str, Any], kind: type[FetchdError], told: str, advice: str
) -> None:
    error = refusal(status, **body)
    assert type(error) is kind
    assert told in str(error)
    assert advice in error.advice
    assert (error.remedy is Remedy.WAIT) == (kind is not AuthenticationFailed)


@pytest.mark.parametrize(
    ("body", "certain"),
    [
        ({"error": "invalid_grant"}, True),
        ({"error": "access_denied"}, True),
        ({"error": "invalid_grant", "error_description": "AADSTS50173: x"}, True),
        ({"error": "invalid_client"}, False),  # its secret may be put right in a file
        ({"error": "invalid_grant", "error_description": "AADSTS50053: locked"}, False),
    ],
)
def test_what_only_a_new_login_ends_is_certain(body: dict[str, Any], certain: bool) -> None:
    error = refusal(400, **body)
    assert isinstance(error, AuthenticationFailed)
    assert error.certain is certain


@pytest.mark.parametrize(
    ("number", "told", "advice"),
    [
        (50173,   "password was changed",   LOGIN),
        (700082,  "not used for too long",  LOGIN),
        (50076,   "second factor",          LOGIN),
        (65001,   "consent is missing",     LOGIN),
        (90094,   "administrator's consent", "administrator"),
        (7000222, "client_secret has expired", "new one"),
        (700016,  "no such client",         "tenant"),
        (53003,   "conditional access",     "administrator"),
    ],
)  # fmt: skip
def test_microsofts_numbers_in_words(number: int, told: str, advice: str) -> None:
    said = f"AADSTS{number}: Something long. Trace ID: 1-2 Correlation ID: 3 Timestamp: 2026-11-25"
    error = refusal(400, error="invalid_grant", error_description=said)
    assert isinstance(error, AuthenticationFailed)
    assert told in str(error)
    assert f"AADSTS{number}" in str(error)
    assert advice in error.advice
    assert "Trace" not in error.whole


def test_googles_seven_days_are_named() -> None:
    error = refusal(400, "oauth2.googleapis.com", error="invalid_grant")
    assert "seven days" in error.advice
    assert "Testing" in error.advice
    assert "seven days" not in refusal(400, error="invalid_grant").advice


def test_the_servers_wish_to_be_left_alone_is_kept() -> None:
    answer = Answer(503, {}, "h", timedelta(seconds=90))
    error = refused(answer, "x", LOGIN)
    assert isinstance(error, ServerUnavailable)
    assert error.wait == timedelta(seconds=90)


def test_what_an_issuer_says_is_bearable() -> None:
    error = refusal(400, error="invalid_grant", error_description="\x1b[2J" + "x" * 100_000)
    assert len(str(error)) < 500
    assert "\x1b" not in str(error)
