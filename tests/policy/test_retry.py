"""When what failed is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from fetchd.policy.retry import MAILDIR, RELAY, Schedule, after_deferral, retry_at

NOW = datetime(2030, 1, 31, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("attempts", "age", "jitter", "schedule", "minutes"),
    [
        (1, 0 * DAY, 0, MAILDIR, 1),
        (2, 0 * DAY, 0, MAILDIR, 2),
        (1, 0 * DAY, 0.5, MAILDIR, 1.1),
        (10, 0 * DAY, 0, MAILDIR, 360),
        (10_000, 900 * DAY, 0, MAILDIR, 360),  # a disk has no end of patience
        (1, 0 * DAY, 0, RELAY, 0.5),
        (3, 0 * DAY, 0, RELAY, 2),
        (9, 4 * DAY, 0, RELAY, 128),
        (30, 4 * DAY, 0, RELAY, 240),
        (30, 4.9 * DAY, 0, RELAY, None),  # the next one would be too late
        (9, 5 * DAY, 0, RELAY, None),
        (3, 9 * DAY, 0, RELAY, 2),  # the machine was off: it has hardly been tried
        (4, 9 * DAY, 0, RELAY, None),
    ],
)
def test_after_deferral(
    attempts: int, age: timedelta, jitter: float, schedule: Schedule, minutes: float | None
) -> None:
    wanted = None if minutes is None else NOW + timedelta(minutes=minutes)
    assert after_deferral(attempts, NOW - age, NOW, jitter, schedule) == wanted


def test_quarantine() -> None:
    assert [retry_at(n, NOW, 0.5) for n in (1, 2)] == [NOW, NOW]  # in the very next rounds
    assert retry_at(3, NOW, 0) == NOW + timedelta(minutes=15)
    assert retry_at(4, NOW, 0) == NOW + timedelta(minutes=30)
    assert retry_at(99, NOW, 0) == NOW + DAY
