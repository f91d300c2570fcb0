"""What the private Dovecot does, as dovecot.py and its users rely on it."""

import imaplib
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.servers.dovecot import Dovecot
from tests.servers.dovecot_config import CAPABILITIES
from tests.servers.mail import Mail, Served, digest

pytestmark = pytest.mark.live

BODY = b"Subject: one\r\n\r\nhello\r\n"
DATE = datetime(2020, 2, 29, 23, 59, 58, tzinfo=UTC)
ODD = [
    "a/b",
    "W\u00fcrfel & Co",
    "a.b",
    "..",
    "~x",
    "\u4e2d\u6587/\U0001f600",
    'q"u\\o',
    "x" * 200,
    "50%",
]


@pytest.fixture(scope="module")
def odd() -> Iterator[Dovecot]:
    """Slashes, any name, and two capabilities less."""
    with Dovecot(separator="/", odd_names=True, hide=("QRESYNC", "UIDPLUS")) as server:
        yield server
        assert server.complaints() == []


@pytest.fixture(scope="module")
def plain() -> Iterator[Dovecot]:
    with Dovecot(plaintext_auth=False, connections_per_user=2, prefix="INBOX.") as server:
        yield server


@pytest.mark.parametrize(
    ("stored", "served"),
    [
        (b"a\r\n",         b"a\r\n"),
        (b"a\n",           b"a\r\n"),         # a bare LF is a line end
        (b"a\rb\0\xff\r\n", b"a\rb\0\xff\r\n"),  # CR, NUL and 8 bits go through
        (b"a",             b"a\r\n"),         # POP3 ends the last line
        (b".a\r\n",        b".a\r\n"),
        (b"",              b"\r\n"),
    ],
)  # fmt: skip
def test_pop3_serves_what_the_file_holds(odd: Dovecot, stored: bytes, served: bytes) -> None:
    odd.add_user("pop", "secret")
    odd.expunge("pop")
    odd.fill("pop", [stored], newline="exact")
    assert odd.served("pop") == [served]


@pytest.mark.parametrize("mailbox", ["INBOX", *ODD])
def test_a_filled_mailbox_is_served_with_flags_and_dates(odd: Dovecot, mailbox: str) -> None:
    user = f"fill{['INBOX', *ODD].index(mailbox)}"
    odd.add_user(user, "secret")
    odd.fill(user, [Mail(BODY, ("\\Seen", "$Work", "\\Flagged"), DATE), BODY], mailbox=mailbox)
    odd.fill(user, [Mail(BODY, ("Other", "$Work"), DATE)], mailbox=mailbox)
    held = odd.served_imap(user)[mailbox]
    assert held[1] == Served(digest(BODY), frozenset({"\\Seen", "$Work", "\\Flagged"}), DATE)
    assert held[2].flags == frozenset()
    assert held[3].flags == {"Other", "$Work"}


def test_the_other_client_changes_what_it_is_told_to(odd: Dovecot) -> None:
    odd.add_user("other", "secret")
    with odd.client("other") as other:
        uid = other.append("INBOX", b"bare\rCR\r\n", ("\\Draft",), DATE)
        assert uid == 1
        assert other.octets("INBOX") == {1: b"bare\rCR\r\n"}
        other.create("there")
        other.copy("INBOX", [1], "there")
        other.flag("INBOX", [1], add=("\\Seen",), drop=("\\Draft",))
        other.move("INBOX", [1], "there")
        held = other.everything()
        assert held["INBOX"] == {}
        assert [m.flags for m in held["there"].values()] == [{"\\Draft"}, {"\\Seen"}]
        assert {m.date for m in held["there"].values()} == {DATE}
        other.expunge("there", [1])
        assert other.uids("there") == [2]
        other.rename("there", "gone/soon")
        assert "gone/soon" in other.mailboxes()
        other.delete("gone/soon")
        assert other.mailboxes() == ["INBOX"]
        with pytest.raises(RuntimeError, match="refused SELECT"):
            other.uids("there")


def test_uidvalidity_changes_and_uids_stay(odd: Dovecot) -> None:
    odd.add_user("epoch", "secret")
    odd.fill("epoch", [BODY, BODY], mailbox="a/b")
    with odd.client("epoch") as other:
        before = other.status("a/b", "UIDVALIDITY")
        odd.change_uidvalidity("epoch", "a/b", before + 5)
        assert other.status("a/b", "UIDVALIDITY") == before + 5
        assert other.uids("a/b") == [1, 2]


def test_sessions_are_counted_and_ended(odd: Dovecot) -> None:
    odd.add_user("counted", "secret")
    with odd.client("counted") as one, odd.client("counted"):
        assert odd.connections("counted") == 2
        odd.kick("counted")
        with pytest.raises((imaplib.IMAP4.abort, OSError)):
            one.mailboxes()
    odd.kick("counted")


def test_hidden_capabilities_are_not_said(odd: Dovecot) -> None:
    odd.add_user("caps", "secret")
    with imaplib.IMAP4(odd.host, odd.port.imap) as client:
        client.login("caps", "secret")
        said = set(client.capability()[1][-1].decode().split())
    assert said == set(CAPABILITIES.split()) - {"QRESYNC", "UIDPLUS"}
    with pytest.raises(ValueError, match="no NONSENSE to hide"), Dovecot(hide=["NONSENSE"]):
        pass


def test_what_it_says_unless_told_otherwise(plain: Dovecot) -> None:
    plain.add_user("tls", "secret")
    context = ssl.create_default_context(cafile=plain.ca_file)
    with imaplib.IMAP4_SSL(plain.host, plain.port.imaps, ssl_context=context) as client:
        client.login("tls", "secret")
        said = set(client.capability()[1][-1].decode().split())
        assert client.namespace()[1] == [b'(("INBOX." ".")) NIL NIL']
    assert said == set(CAPABILITIES.split())


def test_a_password_in_the_clear_is_refused_from_afar(plain: Dovecot) -> None:
    plain.add_user("far", "secret")
    with imaplib.IMAP4(plain.far_host, plain.port.imap) as client:
        assert "LOGINDISABLED" in client.capabilities
        with pytest.raises(imaplib.IMAP4.error, match="PRIVACYREQUIRED"):
            client.login("far", "secret")


def test_connections_of_a_user_are_limited(plain: Dovecot) -> None:
    plain.add_user("many", "secret")
    refused = pytest.raises(imaplib.IMAP4.error, match="Maximum number of connections")
    with plain.client("many"), plain.client("many"), refused:
        plain.client("many")


def test_a_program_that_is_logged_in_already(plain: Dovecot) -> None:
    plain.add_user("pre", "secret")
    command = plain.preauth_command("pre")
    done = subprocess.run(command, input=b"1 COMPRESS DEFLATE\r\n", capture_output=True, check=True)
    assert done.stdout.startswith(b"* PREAUTH ")
    assert b"\r\n1 OK " in done.stdout
