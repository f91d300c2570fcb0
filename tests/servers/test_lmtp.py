"""Dovecot's LMTP, over TCP and a UNIX socket: an answer for each recipient, octets as sent."""

import smtplib
import ssl
from collections.abc import Callable, Iterator

import pytest

from tests.servers.dovecot import Dovecot

pytestmark = pytest.mark.live

BODY = b"Subject: one\r\n\r\nhello\r\n"


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot() as server:
        server.add_user("full", "secret", full="refuse")
        server.add_user("later", "secret", full="defer")
        yield server
        assert server.complaints() == []


def by_tcp(server: Dovecot) -> smtplib.LMTP:
    return smtplib.LMTP(server.host, server.lmtp_port)


def by_socket(server: Dovecot) -> smtplib.LMTP:
    return smtplib.LMTP(str(server.lmtp_socket))


ways = pytest.mark.parametrize("connect", [by_tcp, by_socket])


@ways
@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("plain", BODY),
        ("trace", b"Return-Path: <x@y>\r\nDelivered-To: me\r\nReceived: by z\r\n\r\nx\r\n"),
        ("bcc",   b"Bcc: you\r\nContent-Length: 3\r\n\r\nhello\r\n"),
        ("dots",  BODY + b".\r\n..\r\n.x\r\n"),
        ("eight", b"Subject: \xff\xfe\r\n\r\n\x80\xff\r\n"),
        ("cr",    BODY + b"a\rb\r\r\n\r\r\n"),
        ("long",  BODY + b"y" * 100_000 + b"\r\n"),
        ("blank", BODY + b"\r\n\r\n"),
        ("none",  b"\r\n"),
    ],
)  # fmt: skip
def test_octets_arrive_as_they_were_sent(
    dovecot: Dovecot, connect: Callable[[Dovecot], smtplib.LMTP], name: str, octets: bytes
) -> None:
    user = f"{name}.{connect.__name__}"
    dovecot.add_user(user, "secret")
    with connect(dovecot) as client:
        client.sendmail("a@b.example", user, octets)
    (arrival,) = dovecot.arrivals(user, 1)
    assert arrival.octets == octets
    assert (arrival.sender, arrival.recipient) == ("a@b.example", user)
    assert "with LMTP" in arrival.received


def test_each_recipient_has_an_answer_of_its_own(dovecot: Dovecot) -> None:
    dovecot.add_user("one", "secret")
    dovecot.add_user("two", "secret")
    with by_tcp(dovecot) as client:
        client.ehlo()
        client.mail("")
        answers = [client.rcpt(user)[0] for user in ("one", "full", "nobody", "later", "two")]
        assert answers == [250, 250, 550, 250, 250]
        assert client.data(BODY)[0] == 250
        assert [client.getreply()[0] for _ in range(3)] == [552, 452, 250]
    for user in ("one", "two"):
        assert [(a.sender, a.octets) for a in dovecot.arrivals(user, 1)] == [("", BODY)]
    assert dovecot.arrivals("full", 0) == dovecot.arrivals("later", 0) == []


def test_starttls(dovecot: Dovecot) -> None:
    context = ssl.create_default_context(cafile=dovecot.ca_file)
    dovecot.add_user("tls", "secret")
    with by_tcp(dovecot) as client:
        client.ehlo()
        client.starttls(context=context)
        client.sendmail("a@b.example", "tls", BODY)
    assert "with LMTPS" in dovecot.arrivals("tls", 1)[0].received
