"""Which messages are missing, which flags stay, how names are put together elsewhere."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from fetchd.policy.restoring import (
    Copy,
    Present,
    Sighting,
    doubtful,
    kept_flags,
    missing,
    sizes_as_served,
    stood_at_once,
    target_path,
    wire_text,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def copy(name: str, size: int = 10, *, id_: str | None = None, header: str = "h") -> Copy:
    return Copy(name.encode(), size, f"<{name}>" if id_ is None else id_, header.encode(), "", NOW)


def there(size: int = 10, id_: str = "", header: str = "h") -> Present:
    return Present(size, id_, header.encode())


ROWS: dict[str, tuple[list[tuple[bytes, str]], int]] = {
    "one": ([(b"1.1", "stored")], 1),
    "two alike": ([(b"1.1", "stored"), (b"1.2", "stored")], 2),
    "two alike, all gone": ([(b"1.1", "gone"), (b"1.2", "gone")], 2),
    "renumbered": ([(b"1.1", "gone"), (b"1.2", "gone"), (b"2.1", "stored")], 1),
    "two alike, renumbered, gone": ([(b"1.1", "gone"), (b"1.2", "gone"), (b"2.9", "gone")], 2),
    "gone and come back": ([(b"1.1", "gone"), (b"1.5", "gone"), (b"1.9", "stored")], 1),
    "one retired, one stored": ([(b"1.1", "retired"), (b"1.2", "stored")], 2),
    "POP3, renumbered": ([(b"abc", "gone"), (b"x.y", "stored")], 1),
}


@pytest.mark.parametrize("case", ROWS)
def test_how_often_a_message_stood_there(case: str) -> None:
    rows, times = ROWS[case]
    one, other = copy("a"), copy("b")
    seen = [Sighting(uid, state, one) for uid, state in rows]
    assert stood_at_once([*seen, Sighting(b"1.7", "gone", other)]) == [one] * times + [other]


A, B = copy("a"), copy("b")
TWINS = [copy("x", 10, id_="<t>"), copy("y", 20, id_="<t>")]  # one header, two bodies
BARE = [copy("p", 10, id_=""), copy("q", 20, id_="")]
MISSING: dict[str, tuple[list[Copy], list[Present], list[Copy]]] = {
    "nothing there": ([A, B], [], [A, B]),
    "one there": ([A, B], [there(10, "<a>")], [B]),
    "another header": ([A], [there(10, "<a>", "other")], [A]),
    "another size is no other message": ([A], [there(99, "<a>")], []),
    "counted": ([A, A, A], [there(10, "<a>")], [A, A]),
    "more there than here": ([A], [there(10, "<a>")] * 3, []),
    "sizes tell twins apart": (TWINS, [there(20, "<t>")], TWINS[:1]),
    "whose size is told wrongly": (TWINS, [there(99, "<t>")], TWINS[1:]),
    "no id: by size": (BARE, [there(20)], BARE[:1]),
    "no id: another size is another message": (BARE, [there(21)], BARE),
    "no id: a size that the server makes": (BARE, [there(12)], BARE[1:]),
}


@pytest.mark.parametrize("case", MISSING)
def test_what_is_missing(case: str) -> None:
    copies, present, left = MISSING[case]
    assert missing(copies, present, {b"p": {10, 12}}) == left


def test_only_messages_without_id_and_with_that_header_are_doubtful() -> None:
    present = [there(12), there(10, header="else"), there(12, "<a>")]
    assert doubtful([A, *BARE, copy("z", 12, id_="")], present) == BARE


@pytest.mark.parametrize(
    ("octets", "sizes"),
    [
        (b"a\r\nb\r\n", {6}),
        (b"a\nb\r\n", {5, 6}),
        (b"a\r\nb", {4, 6}),
        (b"a\nb", {3, 4, 5, 6}),
        (b"a\r\r\nb\n", {6, 7, 5}),
        (b"", {0, 2}),
    ],
)
@pytest.mark.parametrize("cut", [1, 2, 3, 100])
def test_sizes_that_a_server_may_show(octets: bytes, sizes: set[int], cut: int) -> None:
    pieces = [octets[at : at + cut] for at in range(0, len(octets), cut)]
    assert sizes_as_served(pieces) == sizes


@pytest.mark.parametrize(
    ("flags", "permanent", "kept"),
    [
        ("\\Recent \\Seen mine", None, "\\Seen mine"),
        ("\\Seen \\Odd", None, "\\Seen"),
        ("\\Seen \\Flagged mine", ["\\seen", "\\*"], "\\Seen mine"),
        ("\\Seen Mine $Junk", ["\\Seen", "mine"], "\\Seen Mine"),
        ('a]b "c" ok', ["\\*"], "ok"),
        ("\\Seen", [], ""),
    ],
)
def test_flags(flags: str, permanent: Sequence[str] | None, kept: str) -> None:
    assert " ".join(kept_flags(flags, permanent)) == kept


@pytest.mark.parametrize(
    ("name", "into", "prefix", "delimiter", "wire"),
    [
        ("INBOX", "", "INBOX.", ".", "INBOX"),
        ("INBOX", "Old", "INBOX.", ".", "INBOX.Old.INBOX"),
        ("INBOX/sub", "", "INBOX.", ".", "INBOX.sub"),
        ("Work/a.b", "", "", ".", "Work.a_b"),
        ("Work/a%2Fb", "", "", "/", "Work/a_b"),
        ("Work/a%2Fb", "", "", ".", "Work.a/b"),
        ("a_b/c", "", "", "_", "a-b_c"),
        ("Work/deep", "", "", None, "Work_deep"),
        ("100%25!", "In/to", "", "/", "In/to/100%!"),
        ("odd\udcff%!", "", "", "/", "odd\ufffd"),
    ],
)
def test_names(name: str, into: str, prefix: str, delimiter: str | None, wire: str) -> None:
    assert wire_text(target_path(name, into), prefix, delimiter) == wire
