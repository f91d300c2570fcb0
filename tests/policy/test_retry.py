"""When what failed is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from fetchd.errors import DeliveryDeferred, DeliveryRefused
from fetchd.policy.retry import MAILDIR, RELAY, Again, GiveUp, Schedule, after_failure, retry_at

NOW = datetime(2030, 1, 31, tzinfo=UTC)
LATER, NEVER = DeliveryDeferred("disk full"), DeliveryRefused("no such user")
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("error", "attempts", "age", "jitter", "schedule", "minutes"),
    [
        (LATER, 1, 0 * DAY, 0, MAILDIR, 1),
        (LATER, 2, 0 * DAY, 0, MAILDIR, 2),
        (LATER, 1, 0 * DAY, 0.5, MAILDIR, 1.1),
        (LATER, 10, 0 * DAY, 0, MAILDIR, 360),
        (LATER, 10_000, 900 * DAY, 0, MAILDIR, 360),
        (NEVER, 1, 0 * DAY, 0, MAILDIR, None),
        (LATER, 9, 4 * DAY, 0, RELAY, 256),
        (LATER, 9, 5 * DAY, 0, RELAY, None),
    ],
)
def test_after_failure(
    error: DeliveryDeferred, attempts: int, age: timedelta, jitter: float, schedule: Schedule,
    minutes: float | None,
) -> None:  # fmt: skip
    result = after_failure(error, attempts, NOW - age, NOW, jitter, schedule)
    if minutes is None:
        assert isinstance(result, GiveUp)
        assert str(error) in result.reason
    else:
        assert result == Again(NOW + timedelta(minutes=minutes))


def test_quarantine() -> None:
    assert [retry_at(n, NOW, 0.5) for n in (1, 2)] == [NOW, NOW]  # in the very next rounds
    assert retry_at(3, NOW, 0) == NOW + timedelta(minutes=15)
    assert retry_at(4, NOW, 0) == NOW + timedelta(minutes=30)
    assert retry_at(99, NOW, 0) == NOW + DAY
