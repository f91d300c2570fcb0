"""What a NO, a BAD or a BYE of an IMAP server means (RFC 5530, quirks 68 to 70)."""

from datetime import timedelta

import pytest

from fetchd.clients.imap_refusals import (
    hint,
    is_nonexistent,
    is_not_understood,
    login_refusal,
    mailbox_refusal,
    server_refusal,
)
from fetchd.errors import (
    AccountRefused,
    AuthenticationFailed,
    MailboxUnavailable,
    Remedy,
    Scope,
    ServerUnavailable,
)
from fetchd.protocol.imap.types import Code

LATER, PASS, OWNER = ServerUnavailable, AuthenticationFailed, AccountRefused
BOX = MailboxUnavailable


@pytest.mark.parametrize(
    ("code", "text", "login", "server", "mailbox"),
    [
        # code, the server's words: and what it is to a login, to the server, of a mailbox
        ("AUTHENTICATIONFAILED", "no",                                         PASS,  PASS,  PASS),
        ("EXPIRED",              "change it",                                  PASS,  PASS,  PASS),
        ("AUTHORIZATIONFAILED",  "not as him",                                 OWNER, OWNER, OWNER),
        ("CONTACTADMIN",         "call us",                                    OWNER, OWNER, OWNER),
        ("PRIVACYREQUIRED",      "",                                           PASS,  PASS,  BOX),
        ("UNAVAILABLE",          "backend down",                               LATER, LATER, LATER),
        ("INUSE",                "locked",                                     LATER, LATER, BOX),
        ("LIMIT",                "SELECT rate limit hit",                      LATER, LATER, LATER),
        ("OVERQUOTA",            "Account exceeded bandwidth limits.",         LATER, LATER, LATER),
        ("THROTTLED",            "",                                           LATER, LATER, LATER),
        ("SERVERBUG",            "Internal error occurred.",                   LATER, LATER, BOX),
        ("ALERT",                "Too many simultaneous connections.",         LATER, LATER, LATER),
        ("ALERT",                "Application-specific password required",     PASS,  LATER, BOX),
        ("ALERT",                "Invalid credentials (Failure)",              PASS,  LATER, BOX),
        ("WEBALERT",             "Web login required.",                        PASS,  LATER, BOX),
        ("NONEXISTENT",          "Unknown Mailbox",                            PASS,  LATER, BOX),
        ("NOPERM",               "Permission denied",                          PASS,  LATER, BOX),
        (None,                   "LOGIN failed.",                              PASS,  LATER, BOX),
        (None,                   "",                                           PASS,  LATER, BOX),
        (None,                   "User is authenticated but not connected.",   LATER, LATER, LATER),
        (None,                   "Temporary authentication failure",           LATER, LATER, BOX),
        (None,                   "Mailbox is locked",                          LATER, LATER, BOX),
        (None,                   "Server Unavailable. 15",                     LATER, LATER, BOX),
        (None,                   "Too many connections from your IP",          LATER, LATER, LATER),
        ("ALERT",                "Account exceeded command or bandwidth limits. (Failure)",
                                                                               LATER, LATER, LATER),
    ],
)  # fmt: skip
def test_what_it_is(code: str | None, text: str, login: type, server: type, mailbox: type) -> None:
    given = Code(code) if code else None
    for refusal, kind in (
        (login_refusal, login), (server_refusal, server), (mailbox_refusal, mailbox)
    ):  # fmt: skip
        error = refusal(given, text, "it says no")
        assert type(error) is kind, refusal
        assert str(error) == (f"it says no: {text}" if text else "it says no")


@pytest.mark.parametrize(
    ("kind", "scope", "remedy"),
    [
        (LATER, Scope.ACCOUNT, Remedy.WAIT),
        (PASS, Scope.ACCOUNT, Remedy.OWNER),
        (OWNER, Scope.ACCOUNT, Remedy.OWNER),
        (BOX, Scope.MAILBOX, Remedy.WAIT),
    ],
)
def test_what_it_means(kind: type, scope: Scope, remedy: Remedy) -> None:
    assert (kind.scope, kind.remedy) == (scope, remedy)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Request is throttled. Suggested Backoff Time: 29992 Milliseconds", 29.992),
        ("Suggested Backoff Time: 299923 Milliseconds", 299.923),
        ("Suggested Backoff Time: 999999999 Milliseconds", 300),
        ("try again in 30 seconds", 30),
        ("Retry after 90s", 90),
        ("please wait 2 minutes", 120),
        ("wait 6 minutes", 300),
        ("retry in 2 hours", 300),
        ("Try again later", None),
        ("4 messages could not be fetched", None),
        ("", None),
    ],
)
def test_q69_a_hint_is_honoured_for_at_most_five_minutes(text: str, seconds: float | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert hint(text) == expected
    error = server_refusal(Code("THROTTLED"), text, "x")
    assert isinstance(error, ServerUnavailable)
    assert error.wait == expected
    assert text in str(error), "and recorded as it was said"


@pytest.mark.parametrize(
    ("code", "text", "unknown", "nonexistent"),
    [
        (None, "Unknown command.", True, False),
        (None, "Unsupported authentication mechanism.", True, False),
        (None, "unsupported mechanism", True, False),
        (None, "Command not recognized", True, False),
        ("CANNOT", "Unknown command.", False, False),
        ("NONEXISTENT", "no", False, True),
        (None, "Mailbox doesn't exist: Gone", False, True),
        (None, "Unknown Mailbox: Gone (Failure)", False, True),
        (None, "Internal error", False, False),
    ],
)
def test_words(code: str | None, text: str, unknown: bool, nonexistent: bool) -> None:
    given = Code(code) if code else None
    assert is_not_understood(given, text) == unknown
    assert is_nonexistent(given, text) == nonexistent


@pytest.mark.parametrize(
    ("code", "text", "crowded"),
    [
        ("ALERT", "Too many simultaneous connections. (Failure)", True),
        ("LIMIT", "Rate limit hit", True),
        ("THROTTLED", "", True),
        ("UNAVAILABLE", "Maximum number of connections from user+IP exceeded", True),
        ("OVERQUOTA", "Account exceeded command or bandwidth limits.", False),
        ("UNAVAILABLE", "backend down", False),
        ("INUSE", "locked", False),
    ],
)
def test_when_fewer_connections_would_do(code: str, text: str, crowded: bool) -> None:
    error = login_refusal(Code(code), text, "no")
    assert isinstance(error, ServerUnavailable)
    assert error.crowded is crowded
