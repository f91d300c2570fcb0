"""What was spent is remembered by hours and minutes, from process to process, and not for ever."""

import threading
from datetime import timedelta
from pathlib import Path

from fetchd.catalog import spending
from fetchd.catalog.database import Catalog
from fetchd.policy.budget import Span, What, span_of, spent
from tests.catalog.samples import NOW

MINE, YOURS = "imap://me@gmail", "imap://you@gmail"
HOUR = timedelta(hours=1)


def test_what_is_spent_within_an_hour_is_one_span(catalog: Catalog) -> None:
    spending.spend(catalog, MINE, [(What.DOWNLOAD, 3), (What.UPLOAD, 1)], NOW)
    told = spending.spend(catalog, MINE, [(What.DOWNLOAD, 4)], NOW)
    assert told == spending.of(catalog, MINE)
    assert told[What.DOWNLOAD] == (Span(span_of(What.DOWNLOAD, NOW), 7),)
    assert told[What.UPLOAD] == (Span(span_of(What.UPLOAD, NOW), 1),)
    assert told[What.LOGINS] == ()


def test_spans_are_in_order_and_purses_apart(catalog: Catalog) -> None:
    for ago in (1, 3, 2):
        spending.spend(catalog, MINE, [(What.DOWNLOAD, ago)], NOW - ago * HOUR)
    spending.spend(catalog, YOURS, [(What.DOWNLOAD, 9)], NOW)
    told = spending.of(catalog, MINE)[What.DOWNLOAD]
    assert [span.amount for span in told] == [3, 2, 1]
    assert spent(What.DOWNLOAD, told, NOW) == 6


def test_nothing_spent_is_nothing_written(catalog: Catalog) -> None:
    spending.spend(catalog, MINE, [(What.DOWNLOAD, 0)], NOW)
    assert catalog.rows("SELECT * FROM spending") == []


def test_what_counts_no_longer_is_swept(catalog: Catalog) -> None:
    for days in (20, 9, 2):
        spending.spend(catalog, MINE, [(What.DOWNLOAD, 1)], NOW - days * 24 * HOUR)
    spending.spend(catalog, YOURS, [], NOW)  # by whoever comes next
    left = [span.since for span in spending.of(catalog, MINE)[What.DOWNLOAD]]
    assert left == [span_of(What.DOWNLOAD, NOW - 48 * HOUR)]


def test_a_clock_that_was_wrong_for_a_moment_makes_nobody_forget(catalog: Catalog) -> None:
    spending.spend(catalog, MINE, [(What.DOWNLOAD, 5)], NOW)
    for wrong in (NOW + 100 * HOUR, NOW - 100_000 * HOUR):
        spending.spend(catalog, MINE, [(What.DOWNLOAD, 1)], wrong)
    assert spent(What.DOWNLOAD, spending.of(catalog, MINE)[What.DOWNLOAD], NOW) == 5


def test_two_processes_forget_nothing_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"

    def spend() -> None:
        with Catalog(path) as own:
            for _ in range(50):
                spending.spend(own, MINE, [(What.LOGINS, 1)], NOW)

    Catalog(path).close()
    threads = [threading.Thread(target=spend) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Catalog(path) as catalog:
        assert spent(What.LOGINS, spending.of(catalog, MINE)[What.LOGINS], NOW) == 100


def test_what_a_later_fetchd_counts_is_no_error(catalog: Catalog) -> None:
    with catalog.transaction() as db:
        db.execute("INSERT INTO spending VALUES (?, 'searches', 1, 1)", (MINE,))
    assert set(spending.of(catalog, MINE)) == set(What)
