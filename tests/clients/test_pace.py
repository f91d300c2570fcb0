"""How slowly a server may speak: the credit of one answer, read by read."""

import pytest

from fetchd.clients.pace import MIN_RATE, Pace


@pytest.mark.parametrize(
    ("reads", "too_slow"),
    [
        # (seconds waited, octets) of each read; a read timeout of 60 s gives 180 s
        ([], False),
        ([(60, 1)] * 3, False),  # a tarpit
        ([(50, 1)] * 4, True),  # a drip
        ([(1, MIN_RATE)] * 10_000, False),  # a GSM call
        ([(1, MIN_RATE // 2)] * 359, False),
        ([(1, MIN_RATE // 2)] * 361, True),  # half of the least
        ([(0.001, 30 << 20), *[(50, 1)] * 4], True),  # what came fast buys no slowness later
        ([(50, 1)] * 3 + [(1, 100_000)] + [(50, 1)] * 3, False),  # one hitch, then another
    ],
)
def test_credit(reads: list[tuple[float, int]], too_slow: bool) -> None:
    pace = Pace(60)
    for waited, octets in reads:
        pace.note(waited, octets)
    assert pace.too_slow == too_slow
    pace.restart()
    assert not pace.too_slow
