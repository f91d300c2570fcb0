from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fetchd.archive.names import LIMIT, encoded, entry_name, origin_of, part_of

DIGEST = bytes(range(32))


@given(st.binary(max_size=300))
@example(b"")
@example(b"..")
@example(b"a" * LIMIT)
@example(b"a" * (LIMIT - 1) + b"/")
@example(b"%~" + b"0" * 32)
def test_a_part_is_safe_and_reversible_or_shortened(part: bytes) -> None:
    text = encoded(part)
    assert text.isascii()
    assert text.isprintable()
    assert 0 < len(text) <= LIMIT
    assert not set('/\\:*?"<>|~') & set(text.replace("%~", ""))
    assert text not in (".", "..")
    assert text[0] not in ".- "
    assert text[-1] not in ". "
    assert part_of(text) == (None if "%~" in text else part)
    assert "%~" not in text or len(part) > LIMIT // 3


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_different_parts_have_different_names(one: bytes, other: bytes) -> None:
    assert (encoded(one) == encoded(other)) == (one == other)


@given(st.text(max_size=100), st.text(max_size=100), st.binary(max_size=100))
@example("..", "../../etc", b"/passwd")
@example("a\udce4", "b", b"\xff")
def test_an_entry_never_leaves_the_folder_and_tells_where_it_came_from(
    account: str, mailbox: str, uid: bytes
) -> None:
    if any(0xD800 <= ord(c) < 0xDC80 or 0xDCFF < ord(c) < 0xE000 for c in account + mailbox):
        return  # not what any decoder of ours makes
    name = entry_name(account, mailbox, uid, DIGEST)
    path = PurePosixPath(name)
    assert len(path.parts) == 3
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert all(len(part) <= 255 for part in path.parts)
    if "%~" not in name:
        assert origin_of(name, DIGEST) == (account, mailbox, uid)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (b"INBOX",     "INBOX"),
        (b"",          "%"),
        (b"a/b",       "a%2Fb"),
        (b".hidden",   "%2Ehidden"),
        (b"..",        "%2E%2E"),
        (b"-rf",       "%2Drf"),
        (b"end.",      "end%2E"),
        (b"CON",       "%43ON"),      # reserved on Windows, with any extension
        (b"nul.txt",   "%6Eul.txt"),
        (b"console",   "console"),
        (b"100%",      "100%25"),
        (b"a\0b\n",    "a%00b%0A"),
        (b"\xc3\xbc",  "%C3%BC"),
    ],
)  # fmt: skip
def test_encoding(part: bytes, text: str) -> None:
    assert encoded(part) == text
    assert part_of(text) == part


@pytest.mark.parametrize(
    "name",
    [
        "work/INBOX/7-000102030405.eml.bak",   # not ours
        "work/7-000102030405.eml",
        "/work/INBOX/7-000102030405.eml",
        "work/INBOX/7-ffffffffffff.eml",       # of another message
        entry_name("work", "x" * 300, b"7", DIGEST),
    ],
)  # fmt: skip
def test_no_origin_is_made_up(name: str) -> None:
    assert origin_of(name, DIGEST) is None
