"""What the private Postfix does, as postfix.py and its users rely on it."""

import os
import signal
import smtplib
import ssl
from collections.abc import Callable, Iterator

import pytest

from tests.lacking import lacking
from tests.servers.postfix import Postfix, postfix_available
from tests.servers.processes import alive_in

BODY = b"Subject: one\r\n\r\nhello\r\n"
MECHANISMS = {"PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"}
KEEP = {"cleanup_replace_stray_cr_lf": "no"}
EVERYTHING = {
    "PIPELINING", "SIZE", "STARTTLS", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8",
    "CHUNKING", "VRFY", "ETRN",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _there() -> None:
    if reason := postfix_available():
        lacking(reason)


@pytest.fixture(scope="module")
def postfix(_there: None) -> Iterator[Postfix]:
    with Postfix() as server:
        yield server
        assert server.complaints() == []


def plain(server: Postfix) -> smtplib.SMTP:
    client = smtplib.SMTP(server.host, server.port)
    client.ehlo()
    return client


def starttls(server: Postfix) -> smtplib.SMTP:
    client = smtplib.SMTP(server.host, server.submission_port)
    client.starttls(context=ssl.create_default_context(cafile=server.ca_file))
    client.ehlo()
    return client


def implicit(server: Postfix) -> smtplib.SMTP:
    context = ssl.create_default_context(cafile=server.ca_file)
    client = smtplib.SMTP_SSL(server.host, server.tls_port, context=context)
    client.ehlo()
    return client


secure = pytest.mark.parametrize("connect", [starttls, implicit])

# -- Octets -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("plain",     BODY),
        ("trace",     b"Return-Path: <x@y>\r\nDelivered-To: me\r\nReceived: by z\r\n\r\nx\r\n"),
        ("dropped",   b"Bcc: you\r\nContent-Length: 3\r\nResent-Bcc: you\r\n\r\nhello\r\n"),
        ("dots",      BODY + b".\r\n..\r\n.x\r\n"),
        ("eight",     b"Subject: \xff\xfe\r\n\r\n\x80\xff\r\n"),
        ("nul",       BODY + b"a\0b\r\n\0\r\n"),
        ("long",      b"X: " + b"x" * 5000 + b"\r\n\r\n" + b"y" * 100_000 + b"\r\n"),
        ("from",      BODY + b"From me\r\n>From me\r\n"),
        ("blank",     BODY + b"\r\n\r\n\r\n"),
        ("header",    b"Subject: nothing below\r\n"),
        ("big",       BODY + b"z" * 70 * 100_000 + b"\r\n"),
    ],
)  # fmt: skip
def test_octets_arrive_as_they_were_sent(postfix: Postfix, name: str, octets: bytes) -> None:
    address = postfix.add_user(name)
    with plain(postfix) as client:
        client.sendmail("a@b.example", address, octets)
    (arrival,) = postfix.arrivals(name, 1)
    assert arrival.octets == octets
    assert (arrival.sender, arrival.recipient) == ("a@b.example", f"{name}@example.org")
    assert "with ESMTP " in arrival.received


@pytest.mark.parametrize(
    ("extra", "sent", "arrived"),
    [
        ({},   b"Subject: one\n\na\nb\r\n", b"Subject: one\r\n\r\na\r\nb\r\n"),
        ({},   BODY + b"a\rb\r\r\n",       BODY + b"a b\r\n"),
        (KEEP, BODY + b"a\rb\r\r\n",       BODY + b"a\rb\r\n"),
    ],
)  # fmt: skip
def test_a_bare_lf_ends_a_line_and_a_bare_cr_is_lost(
    extra: dict[str, str], sent: bytes, arrived: bytes
) -> None:
    with Postfix(extra=extra) as server, plain(server) as client:
        client.sendmail("a@b.example", server.address("me"), sent)
        assert server.arrivals("me", 1)[0].octets == arrived


def test_each_recipient_gets_one_and_in_order(postfix: Postfix) -> None:
    both = [postfix.add_user(name) for name in ("first", "second")]
    for number in range(3):
        with plain(postfix) as client:
            client.sendmail("", both, b"Subject: %d\r\n\r\n" % number)
        for name in ("first", "second"):
            arrivals = postfix.arrivals(name, number + 1)
            assert arrivals[-1].octets == b"Subject: %d\r\n\r\n" % number
            assert arrivals[-1].sender == ""


def test_an_address_that_is_not_ascii(postfix: Postfix) -> None:
    address = postfix.add_user("w\u00fcrfel")
    with plain(postfix) as client:
        client.mail("a@b.example", ["smtputf8", "body=8bitmime"])
        assert client.rcpt(address)[0] == 250
        assert client.data(BODY)[0] == 250
    (arrival,) = postfix.arrivals("w\u00fcrfel", 1)
    assert "with UTF8SMTP " in arrival.received
    assert arrival.recipient == address


# -- Logins -------------------------------------------------------------------------------


@secure
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_who_is_logged_in_may_send_anywhere(
    postfix: Postfix, connect: Callable[[Postfix], smtplib.SMTP], mechanism: str
) -> None:
    name = f"{connect.__name__}-{mechanism}".lower()
    to = [postfix.add_user(name), f"{name}@elsewhere.example"]
    with connect(postfix) as client:
        assert set(client.esmtp_features["auth"].split()) == MECHANISMS
        client.esmtp_features["auth"] = mechanism
        client.login(postfix.user, postfix.password)
        client.sendmail("a@b.example", to, BODY)
    for address in to:
        (arrival,) = postfix.arrivals(address, 1)
        assert (arrival.recipient, arrival.octets) == (address, BODY)
        assert "with ESMTPSA " in arrival.received


@secure
def test_only_the_right_password_enters(
    postfix: Postfix, connect: Callable[[Postfix], smtplib.SMTP]
) -> None:
    with connect(postfix) as client:
        client.esmtp_features["auth"] = "PLAIN"  # smtplib would try all
        with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
            client.login(postfix.user, "wrong")
        client.mail("a@b.example")
        assert client.rcpt(postfix.address("me"))[0] == 554
        client.rset()
        client.login(postfix.user, postfix.password)


def test_no_login_without_tls(postfix: Postfix) -> None:
    with smtplib.SMTP(postfix.host, postfix.submission_port) as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features
        assert client.mail("a@b.example")[0] == 530
    with plain(postfix) as client:
        assert "auth" not in client.esmtp_features


# -- Refusals -----------------------------------------------------------------------------


def test_unknown_users_and_other_domains_are_refused(postfix: Postfix) -> None:
    with plain(postfix) as client:
        client.mail("a@b.example")
        code, text = client.rcpt("nobody@example.org")
        assert (code, text[:5]) == (550, b"5.1.1")
        assert b"User unknown" in text
        assert client.rcpt("me@elsewhere.example")[0] == 554


def test_a_user_and_a_reply_are_known_at_once(postfix: Postfix) -> None:
    def rcpt() -> int:
        with plain(postfix) as client:
            client.mail("a@b.example")
            return client.rcpt(postfix.address("late"))[0]

    answers = [rcpt()]
    postfix.add_user("late")
    answers.append(rcpt())
    postfix.reply("late", "450 4.2.0 greylisted")
    answers.append(rcpt())
    postfix.reply("late", "552 5.2.2 full")
    answers.append(rcpt())
    postfix.reply("late", None)
    answers.append(rcpt())
    assert answers == [550, 250, 450, 552, 250]


@pytest.mark.parametrize(
    "words", [(), ("8BITMIME",), ("SMTPUTF8",), ("CHUNKING",), ("PIPELINING", "STARTTLS", "SIZE")]
)
def test_what_is_discarded_is_not_offered(words: tuple[str, ...]) -> None:
    with Postfix(discard=words) as server, plain(server) as client:
        assert {word.upper() for word in client.esmtp_features} == EVERYTHING - set(words)


def test_content_is_refused() -> None:
    extra = {"header_checks": "regexp:{{/^X-Spam:/ REJECT we want none}}"}
    with Postfix(message_size_limit=5000, extra=extra) as server, plain(server) as client:
        for octets, answer in ((b"x" * 6000, 552), (b"X-Spam: yes\r\n\r\n", 550), (BODY, 250)):
            client.mail("a@b.example")
            client.rcpt(server.address("me"))
            assert client.data(octets)[0] == answer


def test_a_refused_size_clings_to_the_session_until_it_is_reset() -> None:
    with Postfix(message_size_limit=5000) as server, plain(server) as client:
        assert client.esmtp_features["size"] == "5000"
        assert client.mail("a@b.example", ["SIZE=5001"])[0] == 552
        assert client.mail("a@b.example")[0] == 552
        client.rset()
        assert client.mail("a@b.example")[0] == 250


# -- Running ------------------------------------------------------------------------------


def test_mail_and_ports_survive_a_restart_and_nothing_runs_on() -> None:
    with Postfix() as server:
        for count in (1, 2):
            with plain(server) as client:
                client.sendmail("a@b.example", server.address("me"), BODY)
            server.wait_for("me", count)
            group, port = server._process.pid, server.port  # type: ignore[union-attr]
            if count == 2:
                os.kill(group, signal.SIGKILL)  # its children are alive still
            server.stop()
            assert not alive_in(group)
            server.start()
            assert server.port == port
    assert not server.directory.exists()


def test_it_says_what_has_not_arrived(postfix: Postfix) -> None:
    with pytest.raises(AssertionError, match=r"0 of 1 arrived:\n(?s:.*) postfix/"):
        postfix.wait_for("never", 1, timeout=0)
