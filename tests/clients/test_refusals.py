"""What an -ERR means; the logins' table is in tests/sources/test_quirks.py (q17 to q19)."""

import pytest

from fetchd.clients.refusals import is_not_understood, is_passing, refusal, response_code
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
