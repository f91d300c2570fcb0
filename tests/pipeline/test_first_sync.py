"""Mail that was there before the account was added is archived, and not sent on by itself.

The destination is a Maildir that is told so, since what is owed does not depend on kinds.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from benchmarks import mail
from fetchd.demo.server import PASSWORD, USERNAME, Maildrop, serve
from tests.pipeline.conftest import Mailbox
from tests.pipeline.home import Home
from tests.pipeline.test_crash import round_in_child
from tests.servers.dovecot import Dovecot
from tests.servers.mail import Mail

LONG_AGO = timedelta(days=30)
SOON = timedelta(minutes=5)


def letter(number: int, age: timedelta = LONG_AGO) -> bytes:
    at = format_datetime(datetime.now(UTC) - age)
    return (
        f"Received: from a.example by b.example; {at}\r\nMessage-ID: <{number}@example.net>\r\n"
        f"Subject: {number}\r\n\r\nText {number}.\r\n"
    ).encode()


OLD = [letter(number) for number in range(6)]


def new(number: int) -> bytes:
    """What arrives behind the beginning of the first sync."""
    return letter(number, -SOON)


@pytest.fixture
def drop() -> Iterator[Maildrop]:
    with serve(OLD) as server:
        yield server


def home(folder: Path, drop: Maildrop, **account: object) -> Home:
    here = Home(folder, drop.port, username=USERNAME, password=PASSWORD, **account)
    here.destination = {"first_sync": "archive"}
    return here


def holds(here: Home, *, archived: list[bytes], sent: list[bytes]) -> None:
    assert here.archived() == mail.Expected.of(archived).crlf
    assert here.delivered() == mail.Expected.of(sent).lf


def test_old_mail_is_archived_and_not_sent_and_new_mail_is(tmp_path: Path, drop: Maildrop) -> None:
    here = home(tmp_path, drop)
    report = here.sync()
    (notice,) = report.notices
    assert notice.startswith("6 of 'INBOX' were there before this account was added")
    assert "'home'" in notice
    holds(here, archived=OLD, sent=[])
    drop.messages.append(new(7))
    assert here.sync().notices == []
    holds(here, archived=[*OLD, new_of(drop)], sent=[new_of(drop)])


def new_of(drop: Maildrop) -> bytes:
    return drop.messages[-1]


@pytest.mark.parametrize("said_by", ["account", "destination"])
def test_old_mail_is_sent_where_the_owner_says_so(
    tmp_path: Path, drop: Maildrop, said_by: str
) -> None:
    here = home(tmp_path, drop)
    if said_by == "account":
        here.account["first_sync"] = "deliver"
    else:
        here.destination["first_sync"] = "deliver"
    assert here.sync().notices == []
    holds(here, archived=OLD, sent=OLD)


def test_an_account_may_spare_a_destination_that_would_take_all(
    tmp_path: Path, drop: Maildrop
) -> None:
    here = home(tmp_path, drop, first_sync="archive")
    here.destination = {}
    here.sync()
    holds(here, archived=OLD, sent=[])


# From the moment in which the first run is written down; a rebuild knows what was archived.
BEGUN, ARCHIVED = range(14, 36, 3), range(26, 36, 3)


@pytest.mark.parametrize(
    ("step", "rebuilt"),
    [*((step, False) for step in BEGUN), *((step, True) for step in ARCHIVED)],
)
def test_a_first_sync_that_was_killed_spares_the_old_all_the_same(
    tmp_path: Path, drop: Maildrop, step: int, rebuilt: bool
) -> None:
    here = home(tmp_path, drop)
    assert round_in_child(here, step) == 0
    drop.messages.append(new(7))
    if rebuilt:
        here.rebuild()
    assert here.sync().ok
    holds(here, archived=[*OLD, new_of(drop)], sent=[new_of(drop)])


def test_a_rebuild_sends_no_old_mail(tmp_path: Path, drop: Maildrop) -> None:
    here = home(tmp_path, drop)
    here.sync()
    drop.messages.append(new(7))
    here.sync()
    (here.data / "catalog.sqlite").unlink()
    here.rebuild()
    here.sync()
    holds(here, archived=[*OLD, new_of(drop)], sent=[new_of(drop)])


def test_a_new_message_is_sent_however_old_its_author_says_it_is(
    tmp_path: Path, drop: Maildrop
) -> None:
    here = home(tmp_path, drop)
    here.sync()
    drop.messages.append(b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: x\r\n\r\nx\r\n")
    here.sync()
    holds(here, archived=[*OLD, new_of(drop)], sent=[new_of(drop)])


@pytest.mark.live
def test_imap_and_a_mailbox_that_appears_later(
    dovecot: Dovecot, mailbox: Mailbox, tmp_path: Path
) -> None:
    user = mailbox([])
    dated = [Mail(one, date=datetime.now(UTC) - LONG_AGO) for one in OLD]
    dovecot.fill(user, dated)
    here = Home(tmp_path, dovecot.port.imap, user, protocol="imap")
    here.destination = {"first_sync": "archive"}
    assert here.sync().ok
    holds(here, archived=OLD, sent=[])
    fresh = [Mail(new(n), date=datetime.now(UTC) + SOON) for n in (7, 8)]
    moved = letter(9)
    dovecot.fill(user, fresh[:1])
    dovecot.fill(user, [*fresh[1:], Mail(moved, date=datetime.now(UTC) - LONG_AGO)],
                 mailbox="Later")  # fmt: skip
    assert here.sync().ok
    sent = [one.octets for one in fresh]
    holds(here, archived=[*OLD, *sent, moved], sent=sent)
