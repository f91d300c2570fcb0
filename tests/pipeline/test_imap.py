"""IMAP accounts on a real Dovecot, from the settings file to archive and mirror."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.mail import with_lf
from tests import corpus
from tests.pipeline.home import PASSWORD
from tests.pipeline.imap_home import ImapHome
from tests.servers.dovecot import Dovecot
from tests.servers.mail import Contents, Mail, digest
from tests.servers.proxy import Proxy

ODD = (
    "INBOX", "Archive", "Archive/2024", "Archive/2024/一月", "a b",
    ' "quoted"', "R&D", "50% off", "100%2F",
    "dot.ted", "..", "x/../y", "~tilde", "[Gmail]/All", "back\\slash", "trailing ", "emoji 🎉🎊",
    "cur", "new", "tmp", ".hidden", "INBOX/sub", "inbox2", "*star", "q?mark", "a&b&-c",
    "Привет/мир", "(-dash)", "{3}", "名" * 40 + "/" + "字" * 26,
)  # fmt: skip
NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
FLAGS = ((), ("\\Seen",), ("\\Flagged", "\\Seen"), ("\\Answered",), ("\\Draft",), ("$Forwarded",))

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot(separator="/", odd_names=True) as dovecot:
        yield dovecot
        assert dovecot.complaints() == []


@pytest.fixture
def user(server: Dovecot) -> str:
    name = f"imap{next(_numbers)}"
    server.add_user(name, PASSWORD)
    return name


@pytest.fixture
def home(server: Dovecot, user: str, tmp_path: Path) -> Callable[..., ImapHome]:
    def make(**account: object) -> ImapHome:
        return ImapHome(tmp_path, server.port.imap, user, **account)

    return make


def numbered(messages: Sequence[bytes]) -> list[Mail]:
    """With flags and internal dates in turn."""
    return [
        Mail(octets, FLAGS[n % len(FLAGS)], NOW - timedelta(hours=n))
        for n, octets in enumerate(messages)
    ]


def lf_forms(served: Contents, messages: Sequence[bytes]) -> dict[str, str]:
    """Digest as served -> digest of what a Maildir holds."""
    forms = {digest(octets): digest(with_lf(octets)) for octets in messages}
    wanted = {one.digest for box in served.values() for one in box.values()}
    assert wanted <= forms.keys()
    return forms


def octets_of(server: Dovecot, user: str) -> list[bytes]:
    with server.client(user) as client:
        return [o for name in client.mailboxes() for o in client.octets(name).values()]


def test_thirty_mailboxes_with_odd_names_come_home_exactly(
    server: Dovecot, user: str, home: Callable[..., ImapHome]
) -> None:
    mails = numbered(corpus.realistic(270, total=3_000_000))
    for index, name in enumerate(ODD):
        server.fill(user, mails[index * 9 : (index + 1) * 9], mailbox=name)
    here = home()
    report = here.sync()
    served = server.served_imap(user)
    assert (report.ok, report.fetched, report.delivered) == (True, 270, 270)
    assert len([name for name, box in served.items() if box]) == 30
    here.agrees_with(served)
    here.mirrors(served, lf_forms(served, octets_of(server, user)))
    assert here.verify().damaged == ()

    again = here.sync()
    assert (again.ok, again.fetched, again.delivered, again.reflagged) == (True, 0, 0, 0)
    assert here.rebuild().damage == ()
    third = here.sync()
    assert (third.ok, third.fetched, third.delivered) == (True, 0, 0)
    here.agrees_with(served)


def test_mail_stays_unread_and_unrecent(
    server: Dovecot, user: str, home: Callable[..., ImapHome]
) -> None:
    server.fill(user, [Mail(m) for m in corpus.small(3)], part="new")
    assert home().sync().fetched == 3
    with server.client(user) as client:
        assert client.status("INBOX", "RECENT") == 3
        assert client.status("INBOX", "UNSEEN") == 3
    assert all(one.flags == frozenset() for one in server.served_imap(user)["INBOX"].values())


VARIANTS = {
    "QRESYNC": (),
    "CONDSTORE only": ("QRESYNC",),
    "neither": ("QRESYNC", "CONDSTORE"),
    "no LIST-STATUS": ("LIST-STATUS",),
    "old": (
        "QRESYNC", "CONDSTORE", "LIST-STATUS", "LIST-EXTENDED", "SPECIAL-USE", "NAMESPACE", "ID",
        "ENABLE", "ESEARCH", "UIDPLUS", "MOVE", "LITERAL+", "SASL-IR", "UNSELECT",
        "COMPRESS=DEFLATE", "IDLE", "NOTIFY",
    ),
}  # fmt: skip


@pytest.mark.parametrize("hidden", VARIANTS.values(), ids=VARIANTS.keys())
def test_what_another_client_does_is_followed(hidden: Sequence[str], tmp_path: Path) -> None:
    with Dovecot(separator="/", hide=hidden) as server:
        server.add_user("work", PASSWORD)
        server.fill("work", numbered(corpus.small(12)))
        server.fill("work", numbered(corpus.small(5, seed=9)), mailbox="Work")
        here = ImapHome(tmp_path, server.port.imap, "work")
        octets = octets_of(server, "work")
        assert here.sync().fetched == 17
        with server.client("work") as other:
            uids = other.uids("INBOX")
            other.flag("INBOX", uids[:2], add=["\\Flagged", "$Label1"], drop=["\\Seen"])
            other.move("INBOX", uids[2:4], "Work")
            other.expunge("INBOX", uids[4:6])
            other.copy("INBOX", uids[6:7], "Work")
            other.append("INBOX", octets[0] + b"more\r\n", ["\\Seen"], NOW)
        octets += octets_of(server, "work")
        report = here.sync()
        served = server.served_imap("work")
        assert (report.ok, report.gone) == (True, 4)
        here.agrees_with(served)
        here.mirrors(served, lf_forms(served, octets))
        with server.client("work") as other:
            other.rename("Work", "Play/Ground")
            other.flag("INBOX", other.uids("INBOX"), add=["\\Seen"])
        here.sync()
        served = server.served_imap("work")
        here.agrees_with(served)
        here.mirrors(served, lf_forms(served, octets))
        assert here.mirrored("Work").total() == 0
        last = here.sync()
        assert (last.fetched, last.delivered, last.gone, last.reflagged) == (0, 0, 0, 0)


def test_a_new_uidvalidity_costs_headers_and_repeats_nothing(
    server: Dovecot, user: str, home: Callable[..., ImapHome]
) -> None:
    server.fill(user, numbered(corpus.small(40)))
    here = home(leave_on_server={"newest": 50})
    assert here.sync().fetched == 40
    before = here.archived()
    files = here.mirrored("INBOX")
    for value in (777, 42, 777):  # the last one was there before
        server.change_uidvalidity(user, "INBOX", value)
        report = here.sync()
        assert (report.ok, report.fetched, report.adopted) == (True, 0, 40)
        assert (report.delivered, report.retired) == (0, 0)
        assert here.sync().adopted == 0
    assert (here.archived(), here.mirrored("INBOX")) == (before, files)
    with server.client(user) as other:  # a file delivered under the first uid still follows
        other.flag("INBOX", other.uids("INBOX"), add=["\\Flagged"])
    here.sync()
    assert all("F" in letters for _, letters in here.mirrored("INBOX"))


@pytest.mark.parametrize(
    ("hidden", "retire_to", "removed", "left", "trash"),
    [
        ((),                  None,      6, 0, 0),  # UID EXPUNGE
        ((),                  "\\Trash", 6, 0, 6),  # MOVE
        (("MOVE",),           "\\Trash", 6, 0, 6),  # COPY, UID EXPUNGE
        (("MOVE", "UIDPLUS"), None,      0, 6, 0),  # marked only: EXPUNGE would take others along
    ],
)  # fmt: skip
def test_leave_none(
    tmp_path: Path,
    hidden: Sequence[str],
    retire_to: str | None,
    removed: int,
    left: int,
    trash: int,
) -> None:
    with Dovecot(separator="/", hide=hidden) as server:
        server.add_user("work", PASSWORD)
        server.fill("work", numbered(corpus.small(6)))
        server.doveadm("mailbox", "create", "-u", "work", "Trash")
        account = {"retire_to": retire_to} if retire_to else {}
        here = ImapHome(tmp_path, server.port.imap, "work", leave_on_server="none", **account)
        here.destination = {}
        report = here.sync()
        assert (report.ok, report.fetched, report.retired) == (True, 6, removed)
        for _ in range(2):
            again = here.sync()
            assert (again.ok, again.delivered, again.retired) == (True, 0, 0)
        served = server.served_imap("work")
        assert (len(served["INBOX"]), len(served["Trash"])) == (left, trash)
        assert len(here.delivered()) == 6


def test_flagged_and_unread_mail_stays(
    server: Dovecot, user: str, home: Callable[..., ImapHome]
) -> None:
    flags = [("\\Seen",), ("\\Seen", "\\Flagged"), (), ("\\Seen",)]
    mails = [Mail(m, f) for m, f in zip(corpus.small(4), flags, strict=True)]
    server.fill(user, mails)
    window = {"newest": 0, "flagged": "keep", "unread": "keep"}
    report = home(leave_on_server=window).sync(confirm_retire=True)
    assert (report.ok, report.retired) == (True, 2)
    assert {one.flags for one in server.served_imap(user)["INBOX"].values()} == {
        frozenset({"\\Seen", "\\Flagged"}), frozenset(),
    }  # fmt: skip


def test_copies_in_many_mailboxes_are_stored_once_and_delivered_once_but_to_the_mirror(
    server: Dovecot, user: str, home: Callable[..., ImapHome]
) -> None:
    (message,) = corpus.small(1)
    for name in ("INBOX", "A", "B"):
        server.fill(user, [message], mailbox=name)
    here = home()
    here.destination = {}
    report = here.sync()
    assert (report.fetched, report.delivered) == (3, 1)
    assert here.archived().total() == 1


def test_a_mailbox_that_was_removed_keeps_its_mail_here(
    server: Dovecot, user: str, home: Callable[..., ImapHome]
) -> None:
    server.fill(user, corpus.small(3), mailbox="Gone")
    here = home()
    here.destination = {"layout": "mirror"}  # removed = "keep"
    here.sync()
    with server.client(user) as other:
        other.delete("Gone")
    report = here.sync()
    assert (report.ok, report.gone) == (True, 3)
    assert any("'Gone' with its 3 messages" in notice for notice in report.notices)
    assert here.believed() == {}
    assert here.archived().total() == here.mirrored("Gone").total() == 3
    assert here.sync().notices == []


def test_a_mailbox_that_is_listed_and_not_there_is_no_failure(
    server: Dovecot, user: str, home: Callable[..., ImapHome]
) -> None:
    server.fill(user, corpus.small(2), mailbox="Work")
    server.fill(user, corpus.small(1, seed=5), mailbox="Work/Now")
    here = home()
    assert here.sync().fetched == 3
    with server.client(user) as other:
        other.delete("Work")  # Dovecot goes on listing it because of what is below
    report = here.sync()
    assert (report.ok, report.fetched, report.gone) == (True, 0, 2)
    assert here.believed().keys() == {"Work/Now"}


def test_no_news_costs_three_flights(server: Dovecot, user: str, tmp_path: Path) -> None:
    for n in range(30):
        server.fill(user, corpus.small(1, seed=n), mailbox=f"box{n}")
    with Proxy("127.0.0.1", server.port.imap) as proxy:
        here = ImapHome(tmp_path, proxy.port, user, auth="plain")
        assert here.sync().fetched == 30
        before = proxy.flights
        assert here.sync().fetched == 0
        assert proxy.flights - before == 3  # login, LIST with STATUS, logout
