"""Figures, instants and tables as people read and write them."""

from datetime import UTC, datetime, timedelta

import pytest

from fetchd.cli import output
from fetchd.cli.words import ago, counted, iso, octets, since, span
from fetchd.errors import UsageError

NOW = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_951, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (3_400_000, "3.4 MB"),
        (128 << 20, "134 MB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_octets(count: int, shown: str) -> None:
    assert octets(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (0.04, "0.0 s"),
        (0.4, "0.4 s"),
        (9.9, "9.9 s"),
        (10, "10 s"),
        (60, "1 min"),
        (3 * 3600 + 59, "3 h"),
        (14 * 86400, "14 d"),
    ],
)
def test_span(seconds: float, shown: str) -> None:
    assert span(timedelta(seconds=seconds)) == shown


def test_counted() -> None:
    assert [counted(n, "delivery") for n in (0, 1, 2_000)] == [
        "0 deliveries",
        "1 delivery",
        "2,000 deliveries",
    ]


def test_ago() -> None:
    assert ago(NOW, NOW) == "just now"
    assert ago(NOW - timedelta(hours=3), NOW) == "3 h ago"
    assert ago(NOW + timedelta(minutes=5), NOW) == "in 5 min"


def test_iso() -> None:
    assert iso(NOW) == "2026-11-25T12:30:00Z"
    assert iso(None) is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("7d", NOW - timedelta(days=7)),
        ("12h", NOW - timedelta(hours=12)),
        ("2 w", NOW - timedelta(weeks=2)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2026-11-01T18:30Z", datetime(2026, 11, 1, 18, 30, tzinfo=UTC)),
        ("2026-11-01T18:30+08:00", datetime(2026, 11, 1, 10, 30, tzinfo=UTC)),
    ],
)
def test_since(text: str, meant: datetime) -> None:
    assert since(text, NOW) == meant


def test_days_begin_at_midnight_here() -> None:
    today = NOW.astimezone().replace(hour=0, minute=0)
    assert since("today", NOW) == today
    assert since("Yesterday", NOW) == today - timedelta(days=1)
    assert since(f"{today:%Y-%m-%d}", NOW) == today


@pytest.mark.parametrize("text", ["", "soon", "7", "7y", "2026-02-30", "999999w", "0001-01-01"])
def test_what_is_no_date_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(UsageError, match="is no date") as caught:
        since(text, NOW)
    assert "yesterday" in caught.value.advice


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("Grüße", 5), ("会议", 4), ("e\u0301", 1), ("", 0)],
)
def test_width(text: str, columns: int) -> None:
    assert output.width(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abc..."),
        ("会议安排", 7, "会议..."),
        ("ab", 0, "..."),
    ],
)
def test_shortened(text: str, columns: int, shown: str) -> None:
    assert output.shortened(text, columns) == shown


def test_a_table_is_aligned_whatever_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(
        ("N", "NAME", "END"), [("1", "会议", "x"), ("20", "abc\x1b[m", "yy")], right=("N",)
    )
    assert capsys.readouterr().out.splitlines() == [
        " N  NAME       END",
        " 1  会议       x",
        "20  abc\\x1b[m  yy",
    ]
