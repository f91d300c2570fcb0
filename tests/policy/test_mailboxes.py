"""The tables are the specification of how mailboxes are named and which are taken."""

import re
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.policy.mailboxes import (
    EVERYTHING,
    Mailbox,
    Offered,
    locate,
    name_mailboxes,
    path_of,
    select,
    unmatched,
)
from fetchd.policy.patterns import pattern
from fetchd.policy.roles import ROLES


def offered(text: str, delimiter: str | None = "/") -> list[Offered]:
    """'Sent:sent,hasnochildren|Foo': names with attributes; a '~' before one: not decodable."""
    found = []
    for word in text.split("|"):
        name, _, attributes = word.partition(":")
        wire = name.removeprefix("~").encode()
        words = frozenset(f"\\{a}" for a in attributes.split(",") if a)
        found.append(Offered(wire, None if name.startswith("~") else name, delimiter, words))
    return found


def names(mailboxes: Sequence[Mailbox]) -> str:
    return "|".join(m.name for m in mailboxes)


@pytest.mark.parametrize(
    ("listed", "delimiter", "prefixes", "expected"),
    [
        ("b|a|INBOX", "/", (), "INBOX|a|b"),
        ("inbox|Inbox|INBOX|a", "/", (), "INBOX|a"),  # one and the same (quirk 60)
        ("a|INBOX|a", "/", (), "INBOX|a"),
        ("A|All:all|INBOX", "/", (), "INBOX|All|A"),  # one download serves all labels
        ("A|Alle:allmail|Inbox:inbox", "/", (), "INBOX|Alle|A"),  # XLIST
        ("\u0131nbox|INBOX", "/", (), "INBOX|\u0131nbox"),  # a dotless i is another letter
        ("\u0131nbox/a", "/", (), "\u0131nbox/a"),
        ("INBOX|a.b|a", ".", (), "INBOX|a|a/b"),
        ("INBOX|a/b.c", ".", (), "INBOX|a%2Fb/c"),
        ("a/b|a%2Fb|100%", None, (), "100%|a%252Fb|a%2Fb"),
        ("a%!|a%25", "/", (), "a%25!|a%2525"),
        ("INBOX|INBOX.Sent|INBOX.a.b", ".", ("INBOX.",), "INBOX|Sent|a/b"),
        ("INBOX|Inbox.Sent", ".", ("INBOX.",), "INBOX|Sent"),
        ("INBOX|INBOX/Sent", "/", ("",), "INBOX|INBOX/Sent"),
        ("INBOX|INBOX/Sent", "/", (), "INBOX|INBOX/Sent"),  # no NAMESPACE: nothing is guessed
        ("INBOX|INBOX.Sent|Sent", ".", ("INBOX.",), "INBOX|INBOX/Sent|Sent"),
        ("INBOX|INBOX.INBOX|INBOX.", ".", ("INBOX.",), "INBOX|INBOX/|INBOX/INBOX"),
        ("INBOX.INBOX.a|INBOX.inbox", ".", ("INBOX.",), "INBOX/INBOX/a|INBOX/inbox"),
        ("INBOX.a|shared.a|INBOX.shared.a", ".", ("INBOX.",), "INBOX/shared/a|a|shared/a"),
        ("mail/a|b", "/", ("mail/", ""), "a|b"),
        ("INBOXES.a", ".", ("INBOX.",), "INBOXES/a"),
        ("INBOX|top:noselect|top/a|gone:nonexistent", "/", (), "INBOX|top/a"),
        ("INBOX:noselect|INBOX", "/", (), "INBOX"),  # a second namespace's parent of that name
        ("INBOX|~a&|~b&/c", "/", (), "INBOX|a&%!|b&/c%!"),
        ("INBOX|~INBOX.a&", ".", ("INBOX.",), "INBOX|a&%!"),
        ("", "/", (), ""),
    ],
)
def test_names(listed: str, delimiter: str | None, prefixes: Sequence[str], expected: str) -> None:
    named = name_mailboxes(offered(listed, delimiter), prefixes)
    assert names(named) == expected


def test_two_of_one_name_stay_apart() -> None:
    wires = [
        Offered(b"Entw&APw-rfe", "Entwürfe", "/"),
        Offered(b"Entw\xc3\xbcrfe", "Entwürfe", "/"),  # quirk 61: raw UTF-8
        Offered(b"Entw\xfcrfe", None, "/"),
        Offered(b"x/y", "x/y", "/"),
        Offered(b"x.y", "x.y", "."),  # of another namespace
        Offered(b"INBOX.x/y", None, "."),  # whose short name the one before last needs
    ]
    named = {m.wire: m.name for m in name_mailboxes(wires, ["INBOX."])}
    assert named == {
        b"Entw&APw-rfe": "Entwürfe",
        b"Entw\xc3\xbcrfe": "Entwürfe%!",
        b"Entw\xfcrfe": "Entw%FCrfe%!",
        b"x.y": "x/y",
        b"x/y": "x%2Fy%!",
        b"INBOX.x/y": "INBOX/x%2Fy%!",
    }


LETTERS = "aI/.%2F5!&"
WORDS = st.sampled_from(
    ["INBOX", "inbox", "INBOX.a", "INBOX/a", "a/INBOX", "a", "a.b", "%!", "%2F"]
)
TEXTS = WORDS | st.text(LETTERS, max_size=6)


@st.composite
def an_offer(draw: Callable[..., str]) -> Offered:
    text = draw(TEXTS)
    name = draw(st.sampled_from([text, None]) | TEXTS)  # what it decodes to may be anything
    delimiter = draw(st.sampled_from(["/", ".", None]))
    return Offered(text.encode(), name, delimiter)


@given(st.lists(an_offer(), max_size=9), st.lists(TEXTS, max_size=2), st.randoms())
def test_names_are_distinct_whatever_is_listed_in_whatever_order(
    listed: list[Offered], prefixes: list[str], random: Random
) -> None:
    named = name_mailboxes(listed, prefixes)
    assert len({m.name for m in named}) == len(named)
    assert {known_as(m.wire) for m in named} == {known_as(o.wire) for o in listed if o.wire}
    assert all((m.name == "INBOX") == (m.wire.upper() == b"INBOX") for m in named)
    assert all(m.path == path_of(m.name) for m in named)
    random.shuffle(listed)
    assert name_mailboxes(listed, prefixes) == named


def known_as(wire: bytes) -> bytes:
    return b"INBOX" if wire.upper() == b"INBOX" else wire


@given(st.text(LETTERS, min_size=1), st.sampled_from(["/", ".", None]))
def test_a_path_is_what_the_server_meant(name: str, delimiter: str | None) -> None:
    [mailbox] = name_mailboxes([Offered(b"w", f"x{name}", delimiter)])
    assert mailbox.path == tuple(f"x{name}".split(delimiter) if delimiter else [f"x{name}"])


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("INBOX|Sent:sent|a", {"INBOX": "Inbox", "Sent": "Sent"}),
        ("a:all|b:archive|c:flagged|d:important", {"a": "All", "b": "Archive", "c": "Flagged",
         "d": "Important"}),
        ("x:spam|y:starred|z:allmail", {"x": "Junk", "y": "Flagged", "z": "All"}),  # XLIST
        ("a:SENT", {"a": "Sent"}),
        ("a:sent|Sent", {"a": "Sent"}),  # quirk 59: the attribute wins
        ("a:sent|b:sent", {"a": "Sent", "b": "Sent"}),  # RFC 6154: several may be
        ("a:archive,all|Archive", {"a": "All", "Archive": "Archive"}),
        ("Sent Items|Sent|Gesendet", {"Sent": "Sent"}),  # one only where it is guessed
        ("Gesendete Objekte", {"Gesendete Objekte": "Sent"}),
        ("Trash:junk", {"Trash": "Junk"}),
        ("CORBEILLE", {"CORBEILLE": "Trash"}),
        ("E\u0301le\u0301ments envoye\u0301s", {"E\u0301le\u0301ments envoye\u0301s": "Sent"}),
        ("下書き|ゴミ箱", {"下書き": "Drafts", "ゴミ箱": "Trash"}),
        ("Черновики|Спам", {"Черновики": "Drafts", "Спам": "Junk"}),
        ("[Gmail]/Papierkorb|INBOX/Entwürfe", {"[Gmail]/Papierkorb": "Trash",
         "INBOX/Entwürfe": "Drafts"}),
        ("Projects/Archive", {}),
        ("INBOX/Archive|Archive", {"Archive": "Archive"}),
    ],
)  # fmt: skip
def test_roles(listed: str, expected: dict[str, str]) -> None:
    roles = {m.name: m.role for m in name_mailboxes(offered(listed)) if m.role}
    assert roles == {name: f"\\{role}" for name, role in expected.items()}


TREE = name_mailboxes(
    offered("INBOX|INBOX/x|Archive|Archive/25|Archive/25/01|Junk:junk|Junk/old|Sent:sent|a*b|!c|é")
)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (EVERYTHING, names(TREE)),
        (["**"], names(TREE)),
        (["*/**"], names(TREE)),
        (["INBOX"], "INBOX"),
        (["inbox", "Inbox/*"], "INBOX|INBOX/x"),
        (["archive"], ""),
        (["Archive"], "Archive"),
        (["Archive/*"], "Archive/25"),
        (["Archive/**"], "Archive|Archive/25|Archive/25/01"),
        (["Archive/**/01"], "Archive/25/01"),
        (["**/01"], "Archive/25/01"),
        (["**/25/**"], "Archive/25|Archive/25/01"),
        (["*/*"], "Archive/25|INBOX/x|Junk/old"),
        (["*/??"], "Archive/25"),
        (["A*e"], "Archive"),
        (["?*?*?*?*?*?"], "Archive"),
        (["*", "!Junk", "Archive/**"], names(TREE).replace("|Junk|", "|")),  # as in the README
        (["*", "!Junk/**"], names(TREE).replace("|Junk|Junk/old|", "|")),
        (["!*", "Sent"], "Sent"),
        (["!**", "Sent", "!Sent"], ""),
        (["!Archive/**", "!INBOX/**", "Archive"], "!c|Archive|Junk|Junk/old|Sent|a*b|é"),
        (["Sent", "!Junk"], "Sent"),
        (["\\Sent", "\\JUNK"], "Junk|Sent"),
        (["\\spam"], "Junk"),
        (["\\Inbox"], "INBOX"),
        (["*", "!\\Junk"], names(TREE).replace("|Junk|", "|")),
        (["a\\*b"], "a*b"),
        (["a\\?b"], ""),
        (["\\!c"], "!c"),
        (["e\u0301"], "é"),  # however it was typed
        ([], ""),
    ],
)
def test_select(patterns: Sequence[str], expected: str) -> None:
    assert sorted(names(select(TREE, patterns)).split("|")) == sorted(expected.split("|"))


def test_what_is_selected_keeps_its_order() -> None:
    assert names(select(TREE, ["Sent", "Archive", "INBOX"])) == "INBOX|Archive|Sent"


def test_patterns_that_speak_of_nothing_are_named() -> None:
    assert unmatched(TREE, ["*", "!Spam", "Archiv/**", "\\Trash", "Sent"]) == (
        "!Spam", "Archiv/**", "\\Trash",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", 'a role such as "\\\\Sent"'),
        ("!", "a mailbox such as"),
        ("\\Snet", '"\\\\Sent"'),
        ("!\\Sent/x", "a role"),
        ("a\\b", "before one of"),
        ("a\\", "before one of"),
        ("a\\/b", "before one of"),
        ("a**", "as a whole level"),
        ("a/**b", "as a whole level"),
        ("a/***", "as a whole level"),
    ],
)
def test_what_is_no_pattern(text: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=re.escape(allowed)):
        pattern(text)


@pytest.mark.parametrize("text", ["\\**a", "a\\\\*", "*\\*", "ro*/\\\\", "!!x"])
def test_what_is_a_pattern(text: str) -> None:
    assert pattern(text).text == text


def test_no_pattern_is_slow() -> None:
    # With backtracking either of these would not end in a lifetime.
    assert not pattern("*a" * 30 + "b").fits("a" * 3000, None)
    assert not pattern("**/a/" * 30 + "b").fits("/".join("a" * 1500), None)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("Sent", "Sent"),
        ("sent", None),
        ("\\sent", "Sent"),
        ("inbox", "INBOX"),
        ("Archive/25", "Archive/25"),
        ("\\Trash", None),
        ("a*b", "a*b"),  # a name, not a pattern
        ("*", None),
    ],
)
def test_locate(wanted: str, expected: str | None) -> None:
    found = locate(TREE, wanted)
    assert (found and found.name) == expected


def test_of_several_with_a_role_the_least_deep_is_located() -> None:
    several = name_mailboxes(offered("A/B:trash|Z:trash|Y:trash"))
    found = locate(several, "\\Trash")
    assert found
    assert found.name == "Y"


def test_every_role_can_be_asked_for() -> None:
    assert {pattern(role).role for role in ROLES} == set(ROLES)
