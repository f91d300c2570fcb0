"""Names of mailboxes and flags: pure tables."""

import pytest

from fetchd.destinations.imap_places import (
    Place,
    Wish,
    has_keywords,
    is_template,
    place_for,
    wanted_flags,
)
from fetchd.errors import MailboxUnavailable


@pytest.mark.parametrize(
    ("text", "account", "mailbox", "path"),
    [
        ("INBOX", "work", "Sent", ("INBOX",)),
        ("inbox", "", "", ("INBOX",)),
        ("inbox/Lists", "", "", ("INBOX", "Lists")),
        ("\\inbox", "", "", ("INBOX",)),
        ("Kept/2024", "", "", ("Kept", "2024")),
        ("{account}", "work", "Sent", ("work",)),
        ("All/{account}/{mailbox}", "work", "A/B", ("All", "work", "A", "B")),
        ("{account}-{mailbox}", "work", "A/B", ("work-A", "B")),
        ("All/{account}", "a/b", "", ("All", "a/b")),
        ("All/{account}", "100%2F", "", ("All", "100%2F")),
        ("{account}", "{mailbox}", "Sent", ("{mailbox}",)),
        ("All/{mailbox}", "", "a%2Fb", ("All", "a/b")),
        ("All/{mailbox}", "", "50%25!", ("All", "50%!")),
        ("All/{mailbox}", "", "caf%E9%!", ("All", "caf%E9")),
        ("{mailbox}/{account}", "work", "caf%E9%!", ("caf%E9", "work")),
        ("All/{mailbox}", "", "", ("All", "INBOX")),
        ("{mailbox}", "", "INBOX", ("INBOX",)),
        ("{account}", "evil\r\nA1 DELETE x\0", "", ("evil__A1 DELETE x_",)),
        ("All/{mailbox}", "", "a//b", ("All", "a", "_", "b")),
        ("{account}", "", "", ("_",)),
    ],
)
def test_a_template_becomes_levels(
    text: str, account: str, mailbox: str, path: tuple[str, ...]
) -> None:
    assert place_for(text, account, mailbox) == Place(path)


def test_a_role_is_a_place_of_its_own() -> None:
    assert place_for("\\archive") == Place(role="\\Archive")
    assert place_for("\\Spam") == Place(role="\\Junk")
    with pytest.raises(MailboxUnavailable, match=r"'\\Archives' is no role") as raised:
        place_for("\\Archives")
    assert "Archive" in raised.value.advice


def test_what_depends_on_the_message_is_a_template() -> None:
    assert is_template("a/{mailbox}")
    assert not is_template("INBOX")


@pytest.mark.parametrize(
    ("wish", "flags", "keyword", "wanted"),
    [
        (Wish(), "\\Answered \\Seen $Forwarded", "", ("\\Answered", "\\Seen", "$Forwarded")),
        (Wish(), "\\Deleted \\Recent \\deleted \\Flagged", "", ("\\Flagged",)),
        (Wish(seen=True), "\\seen", "", ("\\Seen",)),
        (Wish(seen=True), "", "", ("\\Seen",)),
        (Wish(keep=False), "\\Flagged work", "", ()),
        (Wish(keep=False, seen=True), "\\Flagged", "bills", ("\\Seen", "bills")),
        (Wish(), "Bills", "bills", ("bills",)),
        (Wish(), "a(b \\Weird {3} ok", "", ("ok",)),
    ],
)
def test_flags_that_are_wanted(
    wish: Wish, flags: str, keyword: str, wanted: tuple[str, ...]
) -> None:
    assert wanted_flags(wish, flags, keyword) == wanted


def test_keywords_are_told_from_flags() -> None:
    assert has_keywords(("\\Seen", "work"))
    assert not has_keywords(("\\Seen",))
