"""What an -ERR means; the logins' table is in tests/sources/test_quirks.py (q17 to q19)."""

from datetime import timedelta

import pytest

from fetchd.clients.refusals import (
    is_not_understood,
    is_passing,
    login_refusal,
    refusal,
    response_code,
)
from fetchd.errors import AccountRefused, AuthenticationFailed, FetchdError, ServerUnavailable


@pytest.mark.parametrize(
    ("text", "code", "passing", "unknown", "kind"),
    [
        # the server's words              its code     passing not understood  what it is
        ("", "", False, False, ServerUnavailable),
        ("[SYS/TEMP] x", "SYS/TEMP", True, False, ServerUnavailable),
        ("[sys/temp/disk]", "SYS/TEMP/DISK", True, False, ServerUnavailable),
        ("[SYS/PERM] x", "SYS/PERM", False, False, AccountRefused),
        ("[AUTH] unknown command", "AUTH", False, False, AuthenticationFailed),
        ("[IN-USE 3] x", "IN-USE", True, False, ServerUnavailable),
        ("see [SYS/PERM]", "", False, False, ServerUnavailable),  # only at the beginning
        ("unknown command", "", False, True, ServerUnavailable),
        ("Unknown or unimplemented command", "", False, True, ServerUnavailable),
        ("Unrecognized command.", "", False, True, ServerUnavailable),
        ("command not implemented", "", False, True, ServerUnavailable),
        ("Logon failure: unknown user name or bad password.", "", False, False, ServerUnavailable),
        ("Mailbox is locked by another session", "", True, False, ServerUnavailable),
        ("Disconnected: internal error", "", True, False, ServerUnavailable),
        ("no such message", "", False, False, ServerUnavailable),
    ],
)
def test_words(text: str, code: str, passing: bool, unknown: bool, kind: type[FetchdError]) -> None:
    assert response_code(text) == code
    assert is_passing(text) == passing
    assert is_not_understood(text) == unknown
    error = refusal(text, "STAT failed")
    assert type(error) is kind
    assert str(error) == (f"STAT failed: {text}" if text else "STAT failed")


@pytest.mark.parametrize(
    ("text", "wait", "crowded"),
    [
        ("[IN-USE] Do you have another POP session running?", None, False),
        ("[SYS/TEMP] Too many simultaneous connections.", None, True),
        ("Maximum number of connections from user+IP exceeded", None, True),
        ("Too many open connections from your address", None, True),
        ("Connection limit reached", None, True),
        ("Too many messages in the mailbox, try again later", None, False),
        ("Server busy. Suggested Backoff Time: 1500 milliseconds", timedelta(seconds=1.5), False),
        ("[SYS/TEMP] try again in 90 seconds", timedelta(seconds=90), False),
        ("[LOGIN-DELAY] wait 2 minutes", timedelta(minutes=2), False),
        ("try again in 9 hours", timedelta(minutes=5), False),  # so long we do not believe it
        ("Account exceeded command or bandwidth limits. (Failure)", None, False),
    ],
)
def test_what_a_server_that_has_enough_of_us_wants(
    text: str, wait: timedelta | None, crowded: bool
) -> None:
    for error in (refusal(text, "no"), login_refusal(text, "no")):
        assert isinstance(error, ServerUnavailable)
        assert (error.wait, error.crowded) == (wait, crowded)
