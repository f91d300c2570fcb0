"""Folder names of a mirror; that Dovecot reads them so is shown in test_mirror_dovecot.py."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.destinations.mirror_names import (
    LIMIT,
    account_folder,
    mailbox_folder,
    removed_folder,
)
from fetchd.policy.mailboxes import Offered, name_mailboxes
from fetchd.protocol.imap.names import decode


@pytest.mark.parametrize(
    ("mailbox", "folder"),
    [
        ("INBOX", ""),
        ("Sent", ".Sent"),
        ("inbox", ".inbox"),  # nested or not, it is not the INBOX
        ("A/B c/D", ".A.B c.D"),
        ("INBOX/Sent", ".INBOX.Sent"),
        ("Wurfel & Co", ".Wurfel &- Co"),
        ("Würfel", ".W&APw-rfel"),
        ("中文/😀", ".&Ti1lhw-.&2D3eAA-"),
        ("a.b", r".a\2eb"),
        ("../../x", r".\2e\2e.\2e\2e.x"),
        ("a\\b", r".a\5cb"),
        (r"a\2eb", r".a\5c2eb"),
        ("~x/y~/~~z", r".\7ex.y~.\7e~z"),
        ("a%2Fb", ".a%2Fb"),  # a slash in a level
        ("a%252Fb", ".a%252Fb"),  # a percent sign, 2F
        ("%2525", ".%25"),
        ("%2525!", ".%2525!"),
        ("50%", ".50%"),
        (" a ", ". a "),
        ("tab\t\x01", ".tab&AAkAAQ-"),
        ("nul\0", ".nul&AAA-"),
        ("line\n", ".line&AAo-"),
        ("", ".%!"),
        ("/", ".%!.%!"),
        ("a//b", ".a.%!.b"),
        ("Entw%FCrfe%!", ".Entw%FCrfe%!"),
        ("%2525FC%!", ".%2525FC%!"),
        ("a%2Fb%!", ".a%2Fb%!"),
        ("a/%!", ".a.%!%!"),
        ("lone\ud800", ".lone&2AA-"),  # cannot come from a server; still no trouble
        ("cur", ".cur"),
    ],
)
def test_a_mailbox_has_this_folder(mailbox: str, folder: str) -> None:
    assert mailbox_folder(mailbox) == folder


@pytest.mark.parametrize(
    "mailbox", ["中" * 200, "x" * 255, "/".join(["level"] * 50), "\x01" * 150, "." * 90]
)
def test_a_long_name_is_shortened_at_a_whole_character(mailbox: str) -> None:
    folder, other = mailbox_folder(mailbox), mailbox_folder(f"{mailbox}y")
    assert folder != other
    for one in (folder, other, removed_folder(mailbox), removed_folder(f"{mailbox}y")):
        assert LIMIT - 8 < len(one) <= LIMIT
        assert re.search(r"%![0-9a-f]{32}$", one)
        assert decode(one.encode()) is not None
    assert len({folder, other, removed_folder(mailbox)}) == 3


def test_a_short_name_is_never_taken_for_a_long_one() -> None:
    assert mailbox_folder("x" * 254) == "." + "x" * 254
    shortened = mailbox_folder("x" * 255)
    [impostor] = name_mailboxes([Offered(b"?", shortened[1:], "/")])
    assert mailbox_folder(impostor.name) != shortened


def test_the_servers_own_removed_gives_way_to_what_was_removed() -> None:
    assert mailbox_folder("Removed/a") == ".Removed.a" == removed_folder("a")
    assert mailbox_folder("Removed/a", trash=True) == ".%!Removed.a"
    assert mailbox_folder("a/Removed", trash=True) == ".a.Removed"
    assert removed_folder("INBOX") == ".Removed.INBOX"
    assert removed_folder("Removed") == ".Removed.Removed"


@pytest.mark.parametrize(
    ("account", "folder"),
    [
        ("work", "work"),
        ("me@example.org", "me@example.org"),
        ("a/b", "a%2Fb"),
        ("..", "%2E%2E"),
        (".x", "%2Ex"),
        ("büro", "b%C3%BCro"),
        ("", "%"),
        ("\udcfc", "%ED%B3%BC"),
    ],
)
def test_an_account_has_this_folder(account: str, folder: str) -> None:
    assert account_folder(account) == folder


def test_long_accounts_differ() -> None:
    one, two = account_folder("x" * 300), account_folder("x" * 301)
    assert one != two
    assert max(len(one), len(two)) <= LIMIT


PIECES = ["%", "!", "2F", "25", "FC", ".", "/", "\\", "2e", "~", "a", "Removed", "\xfc", "中" * 90]
WIRE = st.lists(st.sampled_from([p.encode() for p in PIECES] + [b"\xfc", b"&", b"\x00"])).map(
    b"".join
)


@given(st.sets(WIRE, min_size=2, max_size=6), st.sampled_from(["/", ".", None]), st.booleans())
def test_mailboxes_of_an_account_never_share_a_folder(
    wires: set[bytes], delimiter: str | None, trash: bool
) -> None:
    named = name_mailboxes(Offered(wire, decode(wire), delimiter) for wire in wires)
    folders = [mailbox_folder(m.name, trash=trash) for m in named]
    if trash:
        folders += [removed_folder(m.name) for m in named]
    assert len(set(folders)) == len(folders)
    for folder in folders:
        assert len(folder) <= LIMIT
        assert not folder or re.fullmatch(r"\.(?!\.*$)[ -.0-~]+", folder)
