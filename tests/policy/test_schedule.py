"""What people write as a schedule, and when a clock on the wall makes it come true."""

from datetime import UTC, datetime, time, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetchd.policy import timing
from fetchd.policy.crontab import next_match
from fetchd.policy.local_time import after_quiet, wall
from fetchd.policy.schedule import Cron, Every, Hours, cron_of, hours_of
from fetchd.policy.timing import JITTER, Timing

BERLIN = ZoneInfo("Europe/Berlin")  # 02:00-03:00 left out on 2026-03-29, twice on 2026-10-25
HAVANA = ZoneInfo("America/Havana")  # 00:00-01:00 left out on 2026-03-08, twice on 2026-11-01
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # half an hour: 02:00 on 2026-10-04, 2026-04-05
APIA = ZoneInfo("Pacific/Apia")  # had no 2011-12-30
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
MONDAY = datetime(2026, 6, 1, tzinfo=UTC)


def local(text: str, zone: tzinfo) -> datetime:
    """A time of that zone, the first of two."""
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def told(at: datetime | None, zone: tzinfo) -> str:
    """As the clock there shows it; + is the second time."""
    if at is None:
        return "never"
    shown = at.astimezone(zone)
    return f"{shown:%m-%d %H:%M}" + "+" * shown.fold


def matches(line: str, after: str, zone: tzinfo, count: int) -> list[str]:
    at: datetime | None = local(after, zone)
    found = []
    for _ in range(count):
        assert at is not None
        at = next_match(cron_of(line), at, zone)
        found.append(told(at, zone))
    return found


# -- Crontab lines ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "minutes", "hours", "days", "months", "weekdays"),
    [
        ("5 4 3 2 1", {5}, {4}, {3}, {2}, {1}),
        ("*/20 8-9 1,15 jan-mar mon-wed", {0, 20, 40}, {8, 9}, {1, 15}, {1, 2, 3}, {1, 2, 3}),
        ("50/5 20/2 * dec sun", {50, 55}, {20, 22}, {*range(1, 32)}, {12}, {0}),
        ("0-10/5 0 * JAN,feb 7", {0, 5, 10}, {0}, {*range(1, 32)}, {1, 2}, {0}),
        ("0 0 * * 0,7", {0}, {0}, {*range(1, 32)}, {*range(1, 13)}, {0}),
        ("0 0 * * fri-sun", {0}, {0}, {*range(1, 32)}, {*range(1, 13)}, {5, 6, 0}),
        ("0 0 * * 5-7", {0}, {0}, {*range(1, 32)}, {*range(1, 13)}, {5, 6, 0}),
        ("0 0 * * */2", {0}, {0}, {*range(1, 32)}, {*range(1, 13)}, {0, 2, 4, 6}),
        ("@Weekly", {0}, {0}, {*range(1, 32)}, {*range(1, 13)}, {0}),
        ("@yearly", {0}, {0}, {1}, {1}, {*range(7)}),
    ],
)  # fmt: skip
def test_the_fields_of_a_line(
    line: str, minutes: set[int], hours: set[int], days: set[int], months: set[int],
    weekdays: set[int],
) -> None:  # fmt: skip
    cron = cron_of(line)
    found = (cron.minutes, cron.hours, cron.days, cron.months, cron.weekdays)
    assert found == tuple(tuple(sorted(f)) for f in (minutes, hours, days, months, weekdays))


@pytest.mark.parametrize(
    ("line", "either", "rhythm"),
    [
        ("0 4 1 * mon", True, False),
        ("0 4 1 * *", False, False),
        ("0 4 * * mon", False, False),
        ("0 4 */2 * mon", False, False),  # crontab(5): what contains a star restricts nothing
        ("0 4 1 * */2", False, False),
        ("*/10 4 * * *", False, True),
        ("0 * * * *", False, True),
        ("0 */2 1 * fri", True, True),
        ("0,10,20 2-4 * * *", False, False),
    ],
)
def test_stars_say_more_than_numbers(line: str, either: bool, rhythm: bool) -> None:
    cron = cron_of(line)
    assert (cron.either, cron.rhythm) == (either, rhythm)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "five fields"),
        ("* * * *", "five fields"),
        ("* * * * * *", "five fields"),
        ("@reboot", "five fields"),
        ("60 * * * *", "0 to 59 in the field of the minute"),
        ("* 24 * * *", "0 to 23 in the field of the hour"),
        ("* * 0 * *", "1 to 31 in the field of the day"),
        ("* * * 13 *", "1 to 12 or jan to dec in the field of the month"),
        ("* * * * 8", "0 to 7 or sun to sat in the field of the weekday"),
        ("* * * * monday", "0 to 7 or sun to sat"),
        ("-1 * * * *", "0 to 59"),
        ("1- * * * *", "0 to 59"),
        ("٣ * * * *", "0 to 59"),
        ("*/0 * * * *", "a step from 1 to 59"),
        ("*/60 * * * *", "a step from 1 to 59"),
        ("*/ * * * *", "a step from 1 to 59"),
        ("30-10 * * * *", "a range that begins before it ends in the field of the minute"),
        ("1,,2 * * * *", "0 to 59"),
        ("0 0 30 feb *", "a day that the month has"),
        ("0 0 31 4,6 *", "a day that the month has"),
    ],
)
def test_a_wrong_line_is_told_what_is_allowed(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        cron_of(line)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("* * * * *", ["06-01 00:01", "06-01 00:02"]),
        ("*/10 8-20 * * mon-fri", ["06-01 08:00", "06-01 08:10"]),
        ("0 0 * * *", ["06-02 00:00", "06-03 00:00"]),
        ("59 23 31 * *", ["07-31 23:59", "08-31 23:59"]),  # June has none
        ("0 4 13 * fri", ["06-05 04:00", "06-12 04:00", "06-13 04:00"]),  # either
        ("0 4 */31 * mon", ["06-01 04:00", "02-01 04:00"]),  # both: the first, if a Monday
        ("0 0 29 2 *", ["02-29 00:00", "02-29 00:00"]),
        ("0 12 31 feb mon", ["02-01 12:00", "02-08 12:00"]),
        ("30 6,18 1 jan,jul *", ["07-01 06:30", "07-01 18:30", "01-01 06:30"]),
    ],
)
def test_a_line_comes_true(line: str, found: list[str]) -> None:
    assert matches(line, "2026-06-01 00:00", UTC, len(found)) == found


def test_leap_days_are_found_over_a_century_that_lacks_one() -> None:
    cron = cron_of("0 0 29 2 *")
    found = next_match(cron, datetime(2096, 3, 1, tzinfo=UTC), UTC)
    assert found == datetime(2104, 2, 29, tzinfo=UTC)
    both = cron_of("0 0 29 2 */6")  # on a Saturday or Sunday
    found = next_match(both, datetime(2026, 1, 1, tzinfo=UTC), UTC)
    assert found == datetime(2032, 2, 29, tzinfo=UTC)


def test_what_never_comes_is_never() -> None:
    assert next_match(Cron("", (0,), (0,), (30,), (2,), (1,)), MONDAY, UTC) is None


# -- The nights in which the clocks are changed ----------------------------------------


@pytest.mark.parametrize(
    ("line", "zone", "after", "found"),
    [
        # The hour that is left out: a moment comes once, as the clocks are changed.
        ("30 2 * * *", BERLIN, "2026-03-28 03:00", ["03-29 03:00", "03-30 02:30"]),
        ("0 2 * * *", BERLIN, "2026-03-28 03:00", ["03-29 03:00", "03-30 02:00"]),
        ("0,20,40 2 * * *", BERLIN, "2026-03-29 00:00", ["03-29 03:00", "03-30 02:00"]),
        ("30 2,3 * * *", BERLIN, "2026-03-29 00:00", ["03-29 03:00", "03-29 03:30", "03-30 02:30"]),
        ("0 3 * * *", BERLIN, "2026-03-29 00:00", ["03-29 03:00", "03-30 03:00"]),
        ("0 2,3 * * *", BERLIN, "2026-03-29 00:00", ["03-29 03:00", "03-30 02:00"]),
        ("30 2 29 3 *", BERLIN, "2026-01-01 00:00", ["03-29 03:00", "03-29 02:30"]),
        ("@daily", HAVANA, "2026-03-07 12:00", ["03-08 01:00", "03-09 00:00"]),
        ("15 2 * * *", LORD_HOWE, "2026-10-03 12:00", ["10-04 02:30", "10-05 02:15"]),
        ("0 6 30 12 *", APIA, "2011-12-01 00:00", ["12-31 00:00", "12-30 06:00"]),
        # A beat has nothing there, and goes on.
        ("*/30 * * * *", BERLIN, "2026-03-29 01:00", ["03-29 01:30", "03-29 03:00", "03-29 03:30"]),
        ("*/30 2 * * *", BERLIN, "2026-03-29 01:00", ["03-30 02:00", "03-30 02:30"]),
        # The hour that comes twice: a moment comes the first time only.
        ("30 2 * * *", BERLIN, "2026-10-25 00:00", ["10-25 02:30", "10-26 02:30"]),
        ("0 3 * * *", BERLIN, "2026-10-25 00:00", ["10-25 03:00", "10-26 03:00"]),
        ("15,45 2 * * *", BERLIN, "2026-10-25 02:20", ["10-25 02:45", "10-26 02:15"]),
        ("30 2 25 10 *", BERLIN, "2026-10-25 00:00", ["10-25 02:30", "10-25 02:30"]),
        ("@daily", HAVANA, "2026-10-31 12:00", ["11-01 00:00", "11-02 00:00"]),
        ("45 1 * * *", LORD_HOWE, "2026-04-05 00:00", ["04-05 01:45", "04-06 01:45"]),
        # A beat goes on through both.
        (
            "*/30 2 * * *", BERLIN, "2026-10-25 00:00",
            ["10-25 02:00", "10-25 02:30", "10-25 02:00+", "10-25 02:30+", "10-26 02:00"],
        ),
        (
            "0 * * * *", BERLIN, "2026-10-25 01:00",
            ["10-25 02:00", "10-25 02:00+", "10-25 03:00"],
        ),
        (
            "*/30 2 25 10 *", BERLIN, "2026-10-25 02:50",
            ["10-25 02:00+", "10-25 02:30+", "10-25 02:00"],
        ),
        (
            "*/15 1 * * *", LORD_HOWE, "2026-04-05 01:20",
            ["04-05 01:30", "04-05 01:45", "04-05 01:30+", "04-05 01:45+", "04-06 01:00"],
        ),
    ],
)  # fmt: skip
def test_when_the_clocks_are_changed(line: str, zone: tzinfo, after: str, found: list[str]) -> None:
    assert matches(line, after, zone, len(found)) == found


def test_a_moment_that_passed_does_not_come_again_in_the_second_hour() -> None:
    second = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # 02:10 for the second time
    assert told(next_match(cron_of("30 2 * * *"), second, BERLIN), BERLIN) == "10-26 02:30"
    assert told(next_match(cron_of("0 3 * * *"), second, BERLIN), BERLIN) == "10-25 03:00"


ZONES = [BERLIN, HAVANA, LORD_HOWE, ZoneInfo("America/New_York"), ZoneInfo("Asia/Kolkata"), UTC]
LINES = ["*/10 * * * *", "30 * * * *", "0 */3 * * *", "*/20 1-3 * * *", "7 2 * * mon", "* 0 1 * *"]


def by_trying(cron: Cron, after: datetime, zone: tzinfo) -> datetime:
    """Each minute, as cron itself does it; for what is a beat."""
    at = after.replace(second=0, microsecond=0)
    while True:
        at += MINUTE
        shown = wall(at, zone)
        if shown.minute in cron.minutes and shown.hour in cron.hours:
            days = shown.day in cron.days, shown.isoweekday() % 7 in cron.weekdays
            if any(days) if cron.either else all(days):
                return at


@settings(max_examples=60, deadline=None)
@given(
    line=st.sampled_from([line for line in LINES if cron_of(line).rhythm]),
    zone=st.sampled_from(ZONES),
    change=st.sampled_from(["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-10-04"]),
    offset=st.integers(-36 * 60, 36 * 60),
)
def test_a_beat_is_what_trying_every_minute_finds(
    line: str, zone: tzinfo, change: str, offset: int
) -> None:
    after = datetime.fromisoformat(change).replace(tzinfo=UTC) + offset * MINUTE
    assert next_match(cron_of(line), after, zone) == by_trying(cron_of(line), after, zone)


@pytest.mark.parametrize("zone", ZONES, ids=str)
@pytest.mark.parametrize("line", ["30 2 * * *", "0 0 * * *", "45 1 * * *", "0 12 * * *"])
def test_a_daily_moment_comes_once_on_each_day_of_a_year(line: str, zone: tzinfo) -> None:
    at: datetime | None = local("2026-01-01 12:30", zone)
    days = []
    for _ in range(365):
        assert at is not None
        at = next_match(cron_of(line), at, zone)
        assert at is not None
        days.append(wall(at, zone).date())
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))


# -- Quiet hours ------------------------------------------------------------------------

NIGHT, NOON = hours_of("22:00-06:30"), hours_of("12:00 - 13:00")


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("22:00-06:30", Hours(time(22), time(6, 30))),
        (" 9:05 - 17:00 ", Hours(time(9, 5), time(17))),
        ("00:00-23:59", Hours(time(0), time(23, 59))),
    ],
)
def test_hours(text: str, hours: Hours) -> None:
    assert hours_of(text) == hours


@pytest.mark.parametrize("text", ["", "22-6", "24:00-06:00", "22:60-06:00", "22:00", "٢2:00-06:00"])
def test_wrong_hours(text: str) -> None:
    with pytest.raises(ValueError, match='hours such as "22:00-06:00"'):
        hours_of(text)


def test_hours_without_length() -> None:
    with pytest.raises(ValueError, match="begin and end at different times"):
        hours_of("06:00-06:00")


@pytest.mark.parametrize(
    ("quiet", "at", "found"),
    [
        (NIGHT, "2026-06-01 21:59", "06-01 21:59"),
        (NIGHT, "2026-06-01 22:00", "06-02 06:30"),
        (NIGHT, "2026-06-01 23:59", "06-02 06:30"),
        (NIGHT, "2026-06-02 00:00", "06-02 06:30"),
        (NIGHT, "2026-06-02 06:29", "06-02 06:30"),
        (NIGHT, "2026-06-02 06:30", "06-02 06:30"),
        (NOON, "2026-06-01 11:59", "06-01 11:59"),
        (NOON, "2026-06-01 12:00", "06-01 13:00"),
        (NOON, "2026-06-01 13:00", "06-01 13:00"),
        (None, "2026-06-01 12:00", "06-01 12:00"),
        (NIGHT, "2026-03-28 23:00", "03-29 06:30"),  # an hour shorter
        (NIGHT, "2026-10-24 23:00", "10-25 06:30"),  # an hour longer
        (hours_of("01:00-02:30"), "2026-03-29 01:10", "03-29 03:00"),  # ends while left out
        (hours_of("02:30-05:00"), "2026-03-29 01:59", "03-29 01:59"),  # begins while left out
        (hours_of("02:30-05:00"), "2026-03-29 03:00", "03-29 05:00"),
        (hours_of("23:00-02:30"), "2026-10-25 00:10", "10-25 02:30"),
        (hours_of("23:00-03:00"), "2026-10-25 02:10", "10-25 03:00"),
        (hours_of("02:45-02:15"), "2026-03-29 01:50", "03-30 02:15"),  # all but half an hour
    ],
)
def test_quiet_hours_end_as_the_clock_on_the_wall_says(
    quiet: Hours | None, at: str, found: str
) -> None:
    assert told(after_quiet(local(at, BERLIN), quiet, BERLIN), BERLIN) == found


@pytest.mark.parametrize(
    ("minute", "found"),
    [(10, "10-25 02:30+"), (29, "10-25 02:30+"), (30, "10-25 02:30+"), (59, "10-25 02:59+")],
)
def test_hours_that_come_twice_are_quiet_twice(minute: int, found: str) -> None:
    second = datetime(2026, 10, 25, 1, minute, tzinfo=UTC)
    assert told(after_quiet(second, hours_of("23:00-02:30"), BERLIN), BERLIN) == found


# -- Timing -----------------------------------------------------------------------------


def every(seconds: float, **more: timedelta | Hours | None) -> Timing:
    return Timing("home", Every(timedelta(seconds=seconds)), UTC, **more)  # type: ignore[arg-type]


def runs(timing_: Timing, now: datetime, count: int) -> list[datetime]:
    """Each begun exactly when it was due."""
    first = timing.first(timing_, now)
    assert first is not None
    found = [first]
    while len(found) < count:
        at = timing.following(timing_, first, found[-1], found[-1])
        assert at is not None
        found.append(at)
    return found


def test_an_interval_begins_within_a_minute_and_keeps_its_beat() -> None:
    found = runs(every(300), MONDAY, 1000)
    assert MONDAY <= found[0] < MONDAY + MINUTE
    ways = [later - earlier for earlier, later in pairwise(found)]
    assert all(270 * SECOND < way < 330 * SECOND for way in ways)
    assert len(set(ways)) > 900  # jitter there is
    assert abs((found[-1] - found[0]) - 999 * 300 * SECOND) < 30 * SECOND  # and adds up to none


@pytest.mark.parametrize(
    ("interval", "jitter", "at_most"),
    [
        (10, None, 1),
        (300, None, 30),
        (86400, None, 60),
        (300, timedelta(0), 0),
        (300, 100 * SECOND, 100),
        (300, HOUR, 150),  # half the way, lest two come too close
    ],
)
def test_jitter_of_an_interval(interval: int, jitter: timedelta | None, at_most: int) -> None:
    found = runs(every(interval, jitter=jitter), MONDAY, 400)
    late = [at - (found[0] + n * interval * SECOND) for n, at in enumerate(found)][1:]
    assert all(timedelta(0) <= one <= at_most * SECOND for one in late)
    assert max(late) >= 0.95 * at_most * SECOND


@pytest.mark.parametrize(("line", "jitter", "at_most"), [
    ("*/10 * * * *", None, JITTER),
    ("*/10 * * * *", timedelta(0), timedelta(0)),
    ("*/10 * * * *", 4 * MINUTE, 4 * MINUTE),
    ("*/10 * * * *", HOUR, 5 * MINUTE),
    ("* * * * *", HOUR, 30 * SECOND),
])  # fmt: skip
def test_jitter_of_a_line_leaves_no_moment_out(
    line: str, jitter: timedelta | None, at_most: timedelta
) -> None:
    cron = cron_of(line)
    start = MONDAY - 25 * SECOND  # what came before was put off by less
    moment: datetime | None = start
    late = []
    for at in runs(Timing("home", cron, UTC, jitter), start, 300):
        assert moment is not None
        moment = next_match(cron, moment, UTC)
        assert moment is not None
        late.append(at - moment)
    assert all(timedelta(0) <= one <= at_most for one in late)
    assert max(late) >= 0.95 * at_most


def test_accounts_are_spread_over_the_minute() -> None:
    begun = [timing.first(Timing(f"account{n}", Every(HOUR), UTC), MONDAY) for n in range(2000)]
    per_second = [0] * 60
    for at in begun:
        assert at is not None
        per_second[(at - MONDAY) // SECOND] += 1
    assert min(per_second) > 10
    assert max(per_second) < 70


def test_the_same_question_has_the_same_answer_and_another_account_another() -> None:
    home, work = every(300), Timing("work", Every(5 * MINUTE), UTC)
    assert timing.first(home, MONDAY) == timing.first(home, MONDAY)
    assert timing.first(home, MONDAY) != timing.first(work, MONDAY)


def test_what_was_missed_is_left_out() -> None:
    late = MONDAY + 1000 * SECOND
    at = timing.following(every(300, jitter=timedelta(0)), MONDAY, MONDAY + 300 * SECOND, late)
    assert at == MONDAY + 1200 * SECOND
    cron = Timing("home", cron_of("*/5 * * * *"), UTC, timedelta(0))
    assert timing.following(cron, MONDAY, MONDAY, late) == MONDAY + 1200 * SECOND


def test_what_falls_into_quiet_hours_comes_once_at_their_end_and_spread() -> None:
    night = hours_of("22:00-06:00")
    evening = MONDAY + 21 * HOUR
    for schedule in (Every(10 * MINUTE), cron_of("*/10 * * * *"), cron_of("0 3 * * *")):
        first_runs = set()
        for name in ("a", "b", "c"):
            begun = runs(Timing(name, schedule, UTC, None, night), evening, 40)
            assert not any(night.have(at.time()) for at in begun)
            ended = MONDAY + 30 * HOUR
            at_end = [at for at in begun if ended <= at < ended + MINUTE]
            assert len(at_end) == 1
            first_runs.add(at_end[0])
        assert len(first_runs) == 3


def test_quiet_hours_end_with_no_second_sync_close_behind() -> None:
    night = hours_of("22:00-06:00")
    for n in range(50):
        begun = runs(Timing(f"n{n}", Every(5 * MINUTE), UTC, None, night), MONDAY + 21 * HOUR, 30)
        assert min(later - earlier for earlier, later in pairwise(begun)) >= 2.5 * MINUTE


@pytest.mark.parametrize(
    ("schedule", "due", "last", "now", "found"),
    [
        # The machine slept, or the clock was put forward: once, soon.
        ("5m", "12:05", "12:00", "15:00", "soon"),
        ("30 2 * * *", "02:30", None, "08:00", "soon"),
        # Nothing became due.
        ("5m", "12:05", "12:00", "12:03", "12:05"),
        ("30 14 * * *", "14:30", None, "14:00", "14:30"),
        # What was missed is on its way, and the clock is noticed once more.
        ("5m", "12:01", None, "12:00", "12:01"),
        ("30 2 * * *", "08:01", None, "08:00", "08:01"),
        # Back by an hour: an interval counts from now, a beat by the new clock.
        ("5m", "12:05", "12:00", "11:00", "soon"),
        ("*/10 * * * *", "12:10", "12:00", "11:02", "11:10"),
        # Back by a little: no harm.
        ("5m", "12:05", "12:00", "11:59", "12:05"),
        # A moment that was is not repeated, unless the clock was wrong before.
        ("30 2 * * *", "1d 02:30", "02:30", "01:31", "1d 02:30"),
        ("30 12 * * *", "1d 12:30", "12:30", "02:00", "12:30"),
    ],
)
def test_once_the_clock_was_set(
    schedule: str, due: str, last: str | None, now: str, found: str
) -> None:
    def at(text: str) -> datetime:
        day, _, clock = text.rpartition("d ")
        begin = MONDAY + timedelta(days=int(day or 0))
        return begin + int(clock[:2]) * HOUR + int(clock[3:]) * MINUTE

    timed = Every(5 * MINUTE) if schedule == "5m" else cron_of(schedule)
    home = Timing("home", timed, UTC, timedelta(0))
    again = timing.rearmed(home, at(due), None if last is None else at(last), at(now))
    if found == "soon":
        assert again == timing.soon(home, at(now))
        assert at(now) <= again < at(now) + MINUTE
    else:
        assert again == at(found)


def test_a_clock_that_is_set_in_quiet_hours_wakes_nobody() -> None:
    home = every(300, quiet=hours_of("22:00-06:00"))
    at = timing.rearmed(home, MONDAY + 5 * HOUR, None, MONDAY + 23 * HOUR)
    assert at == MONDAY + 30 * HOUR + timing.spread("home", MINUTE)
    assert timing.rearmed(home, at, None, MONDAY + 25 * HOUR) == at
