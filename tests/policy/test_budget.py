"""What is left of a budget, and when there is more: tables with the clock as an argument."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.policy.budget import (
    GREAT,
    ROLLING,
    Span,
    What,
    admits,
    frees_at,
    room_at,
    span_of,
    spent,
)

NOW = datetime(2030, 3, 31, 12, 30, tzinfo=UTC)
HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
DOWN, LOGINS = What.DOWNLOAD, What.LOGINS


def hours(*pairs: tuple[int, int]) -> list[Span]:
    """(hours ago, amount), each of a whole hour."""
    begin = NOW.replace(minute=0)
    return [Span(begin - ago * HOUR, amount) for ago, amount in pairs]


def at(ago: int) -> datetime:
    """When a span of so many hours ago counts no longer."""
    return NOW.replace(minute=0) - ago * HOUR + DAY + HOUR


@pytest.mark.parametrize(
    ("spans", "counts"),
    [
        ([], 0),
        (hours((0, 5)), 5),
        (hours((0, 5), (23, 7)), 12),
        (hours((24, 7)), 7),  # its last minutes are within 24 hours yet
        (hours((25, 7)), 0),
        (hours((-10, 7)), 7),  # the clock was ahead for hours: it may be true
        (hours((-48, 7)), 0),  # for days: it is not
    ],
)
def test_what_counts(spans: list[Span], counts: int) -> None:
    assert spent(DOWN, spans, NOW) == counts


@pytest.mark.parametrize(
    ("spans", "limit", "when"),
    [
        (hours((0, 5)), 6, NOW),
        (hours((0, 6)), 6, at(0)),
        (hours((20, 3), (2, 3)), 6, at(20)),  # the older one is enough
        (hours((20, 1), (2, 9)), 6, at(2)),
        (hours((24, 9)), 6, at(24)),
        ([], 0, NOW + DAY),  # a budget of nothing
    ],
)
def test_when_there_is_more(spans: list[Span], limit: int, when: datetime) -> None:
    assert frees_at(DOWN, spans, NOW, limit) == when


@pytest.mark.parametrize(
    ("limit", "so_far", "size", "expected"),
    [
        (None, 10**15, 10**15, True),
        (100, 0, 100, True),
        (100, 60, 40, True),
        (100, 60, 41, False),
        (100, 100, 0, True),  # nothing fits into nothing
        (100, 101, 0, False),
        (100, 49, 5000, True),  # larger than a day's budget: once half of that is free
        (100, 50, 5000, False),
        (100, 49, 51, True),
        (100, 50, 51, False),
        (0, 0, 1, False),
    ],
)
def test_what_may_be_asked_for(limit: int | None, so_far: int, size: int, expected: bool) -> None:
    assert admits(limit, so_far, size) is expected


@pytest.mark.parametrize(
    ("what", "now", "begin"),
    [
        (DOWN, NOW, NOW.replace(minute=0)),
        (LOGINS, NOW + timedelta(seconds=42), NOW),
        (DOWN, NOW.astimezone(), NOW.replace(minute=0)),
    ],
)
def test_spans_begin_with_the_hour_and_the_minute(
    what: What, now: datetime, begin: datetime
) -> None:
    assert span_of(what, now) == begin


SPANS = st.lists(
    st.builds(
        lambda ago, amount: Span(span_of(DOWN, NOW - timedelta(minutes=ago)), amount),
        st.integers(0, 3000),
        st.integers(0, 100),
    ),
    max_size=30,
)


@given(SPANS, st.integers(1, 200), st.integers(0, 400))
def test_whatever_was_spent_a_message_is_admitted_when_it_was_promised(
    spans: list[Span], limit: int, size: int
) -> None:
    when = room_at(DOWN, spans, NOW, limit, size)
    assert NOW <= when <= NOW + ROLLING[DOWN].memory
    assert admits(limit, spent(DOWN, spans, when), size)


@given(SPANS, st.integers(1, 200))
def test_no_day_has_more_than_its_budget(spans: list[Span], limit: int) -> None:
    """Each octet of the last 24 hours is among what counts, however the span lies."""
    really = [span for span in spans if span.since + HOUR > NOW - DAY]
    assert spent(DOWN, spans, NOW) >= sum(span.amount for span in really)
    assert not (spent(DOWN, spans, NOW) >= limit and admits(limit, spent(DOWN, spans, NOW), 1))


def test_a_great_message_leaves_room_for_polls() -> None:
    assert admits(100, int(100 * (1 - GREAT)) - 1, 10**9)
