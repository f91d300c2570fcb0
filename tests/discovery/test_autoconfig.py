"""Autoconfiguration files, those of good will and the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.discovery.autoconfig import MOST_SERVERS, Named, is_host, read_autoconfig
from tests.discovery.world import autoconfig

ADDRESS = "me@example.org"
GOOD = ("imap", "imap.example.org", 993, "SSL")


def test_servers_are_read_with_their_tls_and_user_name() -> None:
    file = autoconfig(
        GOOD, ("pop3", "pop.example.org", 110, "STARTTLS"), ("smtp", "smtp.example.org", 465, "SSL")
    )
    assert read_autoconfig(file, ADDRESS) == [
        Named("imap", "imap.example.org", 993, "implicit", ADDRESS),
        Named("pop3", "pop.example.org", 110, "starttls", ADDRESS),
        Named("smtp", "smtp.example.org", 465, "implicit", ADDRESS),
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("%EMAILADDRESS%", ADDRESS),
        ("%EMAILLOCALPART%", "me"),
        ("%EMAILLOCALPART%.%EMAILDOMAIN%", "me.example.org"),
        ("fixed", "fixed"),
        ("", ADDRESS),
        ("%UNKNOWN%", ADDRESS),
        ("a\nb", ADDRESS),
        ("x" * 300, ADDRESS),
    ],
)
def test_placeholders_stand_for_the_address(written: str, read: str) -> None:
    (found,) = read_autoconfig(autoconfig(GOOD, username=written), ADDRESS)
    assert found.username == read


def test_the_host_may_have_the_domain_in_it() -> None:
    (found,) = read_autoconfig(autoconfig(("imap", "Mail.%EMAILDOMAIN%.", 993, "SSL")), ADDRESS)
    assert found.host == "mail.example.org"


@pytest.mark.parametrize(
    "server",
    [
        ("imap", "imap.example.org", 143, "plain"),
        ("imap", "imap.example.org", 143, ""),
        ("exchange", "imap.example.org", 443, "SSL"),
        ("imap", "imap example", 993, "SSL"),
        ("imap", "", 993, "SSL"),
        ("imap", "-x.example.org", 993, "SSL"),
        ("imap", "imap.example.org", 0, "SSL"),
        ("imap", "imap.example.org", 99999, "SSL"),
        ("imap", "imap.example.org/x", 993, "SSL"),
        ("imap", "me@imap.example.org", 993, "SSL"),
    ],
)
def test_what_is_no_server_with_tls_is_passed_over(server: tuple[str, str, int, str]) -> None:
    assert read_autoconfig(autoconfig(server, GOOD), ADDRESS) == read_autoconfig(
        autoconfig(GOOD), ADDRESS
    )


_LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>"""


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"<html><body>Not found</body></html>",
        b"<clientConfig>",
        b"\xff\xfe\x00",
        b"<?xml version='1.0' encoding='nonsense'?><clientConfig/>",
        b"<clientConfig/>",
        _LAUGHS + autoconfig(GOOD),
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + autoconfig(GOOD),
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + autoconfig(GOOD),
        b"<a>" * 5000,
    ],
)
def test_no_file_and_no_trick_names_a_server(octets: bytes) -> None:
    assert read_autoconfig(octets, ADDRESS) == []


def test_a_namespace_and_comments_do_no_harm() -> None:
    file = autoconfig(GOOD).replace(b"<clientConfig ", b"<clientConfig xmlns='urn:x' ")
    file = file.replace(b"<hostname>", b"<!-- here --><hostname>")
    assert [one.host for one in read_autoconfig(file, ADDRESS)] == ["imap.example.org"]


def test_no_more_servers_are_read_than_somebody_may_need() -> None:
    many = [("imap", f"imap{number}.example.org", 993, "SSL") for number in range(100)]
    assert len(read_autoconfig(autoconfig(*many), ADDRESS)) == MOST_SERVERS


@given(st.data())
def test_a_garbled_file_names_proper_servers_or_none(data: st.DataObject) -> None:
    good = bytearray(autoconfig(GOOD, ("pop3", "pop.example.org", 110, "STARTTLS")))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(good) - 1))
        good[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    for one in read_autoconfig(bytes(good), ADDRESS):
        assert is_host(one.host)
        assert 0 < one.port < 65536
        assert one.tls in ("implicit", "starttls")
        assert one.username.isprintable()


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("imap.example.org", True),
        ("localhost", True),
        ("xn--mnchen-3ya.de", True),
        ("Imap.Example", False),
        ("a..b", False),
        ("a.", False),
        ("", False),
        ("x" * 64, False),
        (".".join(["abc"] * 70), False),
    ],
)
def test_host_names(text: str, right: bool) -> None:
    assert is_host(text) is right
