"""Which mechanism carries a token, by what the server offers; what a refusal of one becomes."""

from datetime import timedelta

import pytest

from fetchd.contracts import Credentials
from fetchd.destinations.smtp_login import _methods as smtp
from fetchd.errors import AccountRefused, AuthenticationFailed, FetchdError, ServerUnavailable
from fetchd.protocol.sasl import Login
from fetchd.sources.imap_login import _methods as imap
from fetchd.sources.login import no_way, of_token
from fetchd.sources.pop3_login import _methods as pop3

LOGIN = Login("me", "token")
BOTH = ["XOAUTH2", "OAUTHBEARER"]


@pytest.mark.parametrize(
    ("auth", "offered", "tried"),
    [
        ("auto",        "PLAIN XOAUTH2 OAUTHBEARER",  BOTH),
        ("auto",        "OAUTHBEARER PLAIN",          ["OAUTHBEARER"]),
        ("auto",        "XOAUTH2",                    ["XOAUTH2"]),
        ("auto",        "PLAIN SCRAM-SHA-256",        []),  # a token is never sent as a password
        ("oauthbearer", "XOAUTH2",                    ["OAUTHBEARER"]),
        ("xoauth2",     "",                           ["XOAUTH2"]),
    ],
)  # fmt: skip
def test_what_is_tried_with_a_token(auth: str, offered: str, tried: list[str]) -> None:
    words = offered.split()
    capabilities = frozenset(f"AUTH={word}" for word in words) | {"IMAP4REV1", "SASL-IR"}
    assert imap(auth, capabilities, LOGIN, token=True) == tried
    assert smtp(auth, tuple(words), token=True) == tried
    if words:
        assert pop3(auth, {"SASL": offered}, token=True) == tried


def test_a_pop3_server_that_tells_no_mechanisms_is_asked_all_the_same() -> None:
    assert pop3("auto", {}, token=True) == BOTH


def test_a_password_is_never_tried_as_a_token() -> None:
    capabilities = frozenset({"AUTH=XOAUTH2", "AUTH=PLAIN"})
    assert not set(BOTH) & set(imap("auto", capabilities, LOGIN, token=False))
    assert not set(BOTH) & set(pop3("auto", {"SASL": "PLAIN XOAUTH2"}, token=False))
    assert not set(BOTH) & set(smtp("auto", ("PLAIN", "XOAUTH2"), token=False))


@pytest.mark.parametrize(
    "passing",
    [
        ServerUnavailable("User is authenticated but not connected.", wait=timedelta(seconds=9)),
        AccountRefused("ask the administrator"),
    ],
)
def test_what_is_not_about_the_token_stays_what_it_is(passing: FetchdError) -> None:
    """Quirk 68: "authenticated but not connected" passes by itself."""
    assert of_token(passing, "status 400") is passing


def test_a_refused_token_is_no_wrong_password() -> None:
    error = of_token(AuthenticationFailed("x refuses the login: NO"), "status 401")
    assert isinstance(error, AuthenticationFailed)
    assert str(error) == "x refuses the login: NO (status 401)"
    assert "app password" not in error.advice


def test_a_server_without_tokens_is_told_as_such() -> None:
    error = no_way("x:993", Credentials("me", "t", token=True), "for passwords")
    assert "takes no tokens" in str(error)
    assert error.advice != "for passwords"
    assert no_way("x:993", Credentials("me", "p"), "for passwords").advice == "for passwords"
