"""Routes from a maildrop to where mail lies: a real sync, its files read by nobody of ours."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from pathlib import Path

import pytest

from fetchd.demo.server import PASSWORD, USERNAME, Maildrop, serve
from tests.pipeline.conftest import Mailbox
from tests.pipeline.home import HOST, Home
from tests.pipeline.home import PASSWORD as DOVECOT_PASSWORD
from tests.pipeline.test_forwarding import tables
from tests.servers.dovecot import Dovecot

NAMES = ("plain", "list", "spam", "big")
SIZE = {"big": 5_000}


def message(name: str) -> bytes:
    text = name * (SIZE.get(name, 20) // len(name))
    return f"From: {name}@example.net\r\nSubject: {name}\r\n\r\n{text}\r\n".encode()


@pytest.fixture
def drop() -> Iterator[Maildrop]:
    with serve([message(name) for name in NAMES]) as server:
        yield server


class Router(Home):
    """Accounts of one maildrop that deliver to `home`, a second Maildir, and routes."""

    def __init__(self, folder: Path, drop: Maildrop, routes: str, *users: str) -> None:
        super().__init__(folder, drop.port, *users, username=USERNAME, password=PASSWORD)
        self.other = folder / "Other"
        self.more = tables(other={"kind": "maildir", "path": str(self.other)}) + "\n" + routes


def lies(maildir: Path) -> dict[str, list[str]]:
    """Subjects by folder."""
    found: dict[str, list[str]] = {}
    for path in maildir.rglob("*"):
        if path.is_file() and path.parent.name in ("new", "cur"):
            folder = str(path.parent.parent.relative_to(maildir))
            subject = path.read_bytes().partition(b"Subject: ")[2].partition(b"\n")[0].decode()
            found.setdefault(folder, []).append(subject)
    return {folder: sorted(subjects) for folder, subjects in found.items()}


ALL = sorted(NAMES)
LIST_ELSEWHERE = '[[routes]]\nsubject = "list"\ndeliver_to = ["other"]'
COPY_AND_GO_ON = (
    '[[routes]]\nsender = "*@example.net"\naction = "copy"\ndeliver_to = ["other"]\n'
    'go_on = true\n[[routes]]\nsubject = "spam"\naction = "skip"'
)


@pytest.mark.parametrize(
    ("routes", "home", "other"),
    [
        ("", ALL, []),
        (LIST_ELSEWHERE, ["big", "plain", "spam"], ["list"]),
        ('[[routes]]\nsubject = "spam"\naction = "skip"', ["big", "list", "plain"], []),
        ('[[routes]]\nlarger = 4000\naction = "copy"\ndeliver_to = ["other"]', ALL, ["big"]),
        ('[[routes]]\naction = "skip"', [], []),
        (COPY_AND_GO_ON, ["big", "list", "plain"], ALL),
    ],
    ids=["none", "deliver", "skip", "copy", "skip all", "copy and go on"],
)  # fmt: skip
def test_mail_goes_where_routes_say(
    tmp_path: Path, drop: Maildrop, routes: str, home: list[str], other: list[str]
) -> None:
    here = Router(tmp_path, drop, routes)
    for _ in range(2):
        assert here.sync().ok
        assert lies(here.maildir).get(".", []) == home
        assert lies(here.other).get(".", []) == other
    assert here.archived().total() == len(NAMES)  # whatever routes say


FOLDERS = (
    '[[routes]]\nsubject = "list"\nfolder = "Lists/{account}"\n'
    '[[routes]]\nsubject = "spam"\nfolder = "Junk"'
)
SORTED = {".": ["big", "plain"], ".Lists.work": ["list"], ".Junk": ["spam"]}


def test_a_route_names_a_folder_in_a_maildir(tmp_path: Path, drop: Maildrop) -> None:
    here = Router(tmp_path, drop, FOLDERS)
    assert here.sync().ok
    assert lies(here.maildir) == SORTED


def test_a_rebuild_knows_the_folders_of_what_is_still_owed(tmp_path: Path, drop: Maildrop) -> None:
    here = Router(tmp_path, drop, FOLDERS)
    here.maildir.write_text("no Maildir")  # so nothing can be put there
    assert not here.sync().ok
    assert here.rebuild().deliveries == len(NAMES)
    here.maildir.unlink()
    here.more = here.more.replace(FOLDERS, "")  # what was decided stays
    here.sync()
    assert lies(here.maildir) == SORTED


def test_what_another_account_brought_before_is_a_duplicate(tmp_path: Path, drop: Maildrop) -> None:
    routes = '[[routes]]\nduplicate = true\naction = "skip"'
    here = Router(tmp_path, drop, routes, "first", "second")
    for account in here.users:
        assert here.round(account).ok
    assert lies(here.maildir) == {".": ALL}


def test_a_mirror_shows_what_is_there_whatever_routes_say(tmp_path: Path, drop: Maildrop) -> None:
    here = Router(tmp_path, drop, '[[routes]]\naction = "skip"')
    here.destination = {"layout": "mirror"}
    here.account["deliver_to"] = ["home", "other"]
    assert here.sync().ok
    assert sorted(chain.from_iterable(lies(here.maildir).values())) == ALL
    assert lies(here.other) == {}


@pytest.mark.live
@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_label_and_a_folder_reach_an_imap_server(
    tmp_path: Path, drop: Maildrop, dovecot: Dovecot, mailbox: Mailbox, rebuilt: bool
) -> None:
    user = mailbox([])
    routes = '[[routes]]\nsubject = "spam"\nfolder = "Junk"\nlabel = "$Junk"'
    here = Router(tmp_path, drop, routes)
    there = {
        "kind": "imap", "host": HOST, "port": dovecot.port.imap, "tls": "none",
        "allow_plaintext_auth": True, "username": user, "password": DOVECOT_PASSWORD,
    }  # fmt: skip
    here.more = tables(there=there) + "\n" + here.more
    here.account["deliver_to"] = ["there"]
    if rebuilt:  # while all is owed
        port = f"port = {dovecot.port.imap}"
        right, here.more = here.more, here.more.replace(port, "port = 1")
        assert not here.sync().ok
        here.rebuild()
        here.more = right.replace(routes, "")
        here.offset = timedelta(hours=1)
    assert here.sync().ok
    served = dovecot.served_imap(user)
    assert len(served["INBOX"]) == len(NAMES) - 1
    (junk,) = served["Junk"].values()
    assert "$Junk" in junk.flags
