"""The private Cyrus: it serves what it was given, under either of its namespaces."""

import imaplib
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.lacking import lacking
from tests.servers.cyrus import Cyrus, cyrus_available
from tests.servers.mail import Mail, Served, digest

BODY = b"Subject: one\r\n\r\nhello\r\n"
DATE = datetime(2020, 2, 29, 23, 59, 58, tzinfo=UTC)


@pytest.fixture(scope="module", params=[(".", "INBOX."), ("/", "")], ids=["dots", "slashes"])
def cyrus(request: pytest.FixtureRequest) -> Iterator[Cyrus]:
    if reason := cyrus_available():
        lacking(reason)
    separator, prefix = request.param
    with Cyrus(separator=separator, prefix=prefix) as server:
        server.inner = f"{prefix}W\u00fcrfel{separator}innen"  # type: ignore[attr-defined]
        yield server


def test_what_is_put_there_is_served_also_after_a_restart(cyrus: Cyrus) -> None:
    cyrus.add_user("work", "secret")
    cyrus.fill("work", [Mail(BODY, ("\\Seen", "$Work"), DATE)] * 2, mailbox=cyrus.inner)
    served = Served(digest(BODY), frozenset({"\\Seen", "$Work"}), DATE)
    assert cyrus.served_imap("work")[cyrus.inner] == {1: served, 2: served}
    cyrus.stop()
    cyrus.start()
    held = cyrus.served_imap("work")
    assert held["INBOX"] == {}
    assert held[cyrus.inner] == {1: served, 2: served}


def test_it_has_what_dovecot_lacks(cyrus: Cyrus) -> None:
    cyrus.add_user("tls", "secret")
    context = ssl.create_default_context(cafile=cyrus.ca_file)
    with imaplib.IMAP4(cyrus.host, cyrus.port.imap) as client:
        client.starttls(context)
        client.login("tls", "secret")
        said = client.capability()[1][-1].decode().split()
    assert {"OBJECTID", "QRESYNC", "MOVE", "COMPRESS=DEFLATE", "SPECIAL-USE"} <= set(said)


def test_only_the_right_password_enters(cyrus: Cyrus) -> None:
    cyrus.add_user("shut", "secret")
    context = ssl.create_default_context(cafile=cyrus.ca_file)
    with imaplib.IMAP4_SSL(cyrus.host, cyrus.port.imaps, ssl_context=context) as client:
        with pytest.raises(imaplib.IMAP4.error, match="authentication failure"):
            client.login("shut", "wrong")
        client.login("shut", "secret")
