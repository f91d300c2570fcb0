"""Jobs that become due: through APScheduler, on clocks that are put forward."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fetchd.daemon.scheduler import Due, Job, Scheduler, jobs_of
from fetchd.policy.patterns import pattern, wanted
from fetchd.policy.schedule import Cron, Every, cron_of, hours_of
from fetchd.settings import load
from fetchd.zones import zone_of
from tests.daemon.hasty import Clocks, run, set_library_clock
from tests.settings.files import GOOD, IMAP, problems, written

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))
MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
FIVE = Job("home", Every(5 * MINUTE))


class Desk:
    """A scheduler, what became due, and when that was."""

    def __init__(self, clocks: Clocks) -> None:
        self.clocks = clocks
        self.due: list[Due] = []
        self.begun: list[datetime] = []
        self.maintained: list[datetime] = []
        self.scheduler = Scheduler(self._due, now=clocks.now, clock=clocks.seconds)

    def plan(self, *jobs: Job, maintenance: Cron | None = None, zone: str | None = None) -> None:
        self.scheduler.plan(jobs, maintenance, self._maintain, zone=zone)

    async def wait(self, how_long: timedelta) -> None:
        await asyncio.sleep(how_long.total_seconds())

    def _due(self, due: Due) -> None:
        self.due.append(due)
        self.begun.append(self.clocks.now())

    def _maintain(self) -> None:
        self.maintained.append(self.clocks.now())


Scene = Callable[[Desk], Coroutine[Any, Any, None]]
Play = Callable[[Scene], Desk]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Play:
    """Run a scene from MONDAY on, or from the time that a mark names."""

    def run_it(scene: Scene) -> Desk:
        begin = getattr(request, "param", MONDAY)
        clocks = Clocks(begin)
        set_library_clock(monkeypatch, clocks)
        desks: list[Desk] = []

        async def whole() -> None:
            desks.append(Desk(clocks))
            await scene(desks[0])
            desks[0].scheduler.stop()
            await asyncio.sleep(0.1)

        run(clocks, whole)
        return desks[0]

    return run_it


def test_an_interval_is_kept_for_a_day(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.plan(FIVE)
        desk.scheduler.start()
        await desk.wait(DAY)

    desk = play(scene)
    assert len(desk.due) == 288
    assert desk.due[0].at < MONDAY + MINUTE
    assert {(due.account, due.mailboxes) for due in desk.due} == {("home", ())}
    assert all(4.5 * MINUTE < b - a < 5.5 * MINUTE for a, b in pairwise(desk.begun))
    late = [begun - due.at for begun, due in zip(desk.begun, desk.due, strict=True)]
    assert timedelta(0) <= max(late) < 0.1 * SECOND
    assert min(late) > -0.001 * SECOND


@pytest.mark.parametrize("play", [datetime(2026, 3, 28, 12, tzinfo=UTC)], indirect=True)
def test_the_night_without_its_hour(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.plan(Job("home", cron_of("30 2 * * *"), zone="Europe/Berlin", jitter=timedelta(0)))
        desk.scheduler.start()
        await desk.wait(2 * DAY)

    assert [due.at for due in play(scene).due] == [
        datetime(2026, 3, 29, 1, tzinfo=UTC),
        datetime(2026, 3, 30, 0, 30, tzinfo=UTC),
    ]


@pytest.mark.parametrize("play", [datetime(2026, 10, 24, 22, tzinfo=UTC)], indirect=True)
def test_the_night_with_one_hour_twice(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        lines = {"moment": cron_of("30 2 * * *"), "beat": cron_of("*/30 2 * * *")}
        zone, jitter = "Europe/Berlin", timedelta(0)
        desk.plan(*(Job(name, line, (), jitter, None, zone) for name, line in lines.items()))
        desk.scheduler.start()
        await desk.wait(12 * HOUR)

    due = play(scene).due
    assert [one.at.hour * 60 + one.at.minute for one in due if one.account == "moment"] == [30]
    assert [one.at.hour * 60 + one.at.minute for one in due if one.account == "beat"] == [
        0, 30, 60, 90,
    ]  # fmt: skip


def test_nothing_begins_in_quiet_hours_and_all_of_it_once_at_their_end(play: Play) -> None:
    quiet = hours_of("22:00-06:30")
    jobs = [Job(f"a{n}", Every(10 * MINUTE), quiet=quiet, zone="UTC") for n in range(50)]

    async def scene(desk: Desk) -> None:
        desk.plan(*jobs)
        desk.scheduler.start()
        await desk.wait(22 * HOUR)
        assert desk.scheduler.next_at("a0") is not None
        in_time = len(desk.due)
        await desk.wait(8.5 * HOUR)
        assert len(desk.due) == in_time
        await desk.wait(MINUTE)
        assert len(desk.due) == in_time + 50
        assert len({due.account for due in desk.due[in_time:]}) == 50
        assert len({due.at for due in desk.due[in_time:]}) == 50

    desk = play(scene)
    assert desk.due[0].at >= MONDAY + 6.5 * HOUR  # it is night at the start too


def test_the_next_time_is_the_earliest_of_all_mailboxes(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.plan(Job("home", Every(DAY), ("!A",)), Job("home", cron_of("5 0 * * *"), ("A",)))
        desk.scheduler.start()
        soon = desk.scheduler.next_at("home")
        assert soon is not None
        assert soon < MONDAY + MINUTE
        await desk.wait(2 * MINUTE)
        later = desk.scheduler.next_at("home")
        assert later is not None
        assert desk.scheduler.next_at("nobody") is None

    assert [due.mailboxes for due in play(scene).due] == [("!A",)]


def test_the_next_time_is_known_before_the_start(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.plan(FIVE)
        due = desk.scheduler.next_at("home")
        assert due is not None
        assert MONDAY <= due < MONDAY + MINUTE

    assert not play(scene).due


def test_a_reload_lets_unchanged_jobs_keep_their_times(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        stays, goes = FIVE, Job("work", Every(HOUR))
        desk.plan(stays, goes)
        desk.scheduler.start()
        await desk.wait(7 * MINUTE)
        kept = desk.scheduler.next_at("home")
        desk.plan(Job("home", Every(5 * MINUTE)), Job("new", Every(HOUR)))
        assert desk.scheduler.next_at("home") == kept
        assert desk.scheduler.next_at("work") is None
        new = desk.scheduler.next_at("new")
        assert new is not None
        assert new - desk.clocks.now() < MINUTE
        desk.plan(Job("home", Every(2 * MINUTE)))  # changed: anew
        changed = desk.scheduler.next_at("home")
        assert changed is not None
        assert changed - desk.clocks.now() < MINUTE
        count = len(desk.due)
        await desk.wait(2 * HOUR)
        assert {due.account for due in desk.due[count:]} == {"home"}

    play(scene)


def test_a_job_that_is_given_twice_becomes_due_once(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.plan(FIVE, FIVE)
        desk.scheduler.start()
        await desk.wait(MINUTE)

    assert len(play(scene).due) == 1


def test_maintenance_has_its_own_line_and_zone(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.plan(maintenance=cron_of("30 3 * * *"), zone="Europe/Berlin")
        desk.scheduler.start()
        await desk.wait(2 * DAY)
        assert len(desk.maintained) == 2
        desk.plan(maintenance=cron_of("30 3 * * *"), zone="Europe/Berlin")
        await desk.wait(DAY)
        assert len(desk.maintained) == 3
        desk.plan(maintenance=cron_of("0 * * * *"))
        await desk.wait(3 * HOUR)
        assert len(desk.maintained) == 6
        desk.plan()
        await desk.wait(3 * HOUR)

    desk = play(scene)
    assert len(desk.maintained) == 6
    assert MONDAY + 1.5 * HOUR <= desk.maintained[0] < MONDAY + 1.5 * HOUR + MINUTE
    assert not desk.due


@pytest.mark.parametrize("told", [False, True], ids=["noticed by itself", "told"])
def test_what_a_sleep_has_missed_is_due_once_and_not_all_at_once(play: Play, told: bool) -> None:
    jobs = [Job(f"a{n}", Every(5 * MINUTE)) for n in range(100)]
    jobs += [Job(f"c{n}", cron_of("*/5 * * * *")) for n in range(100)]

    async def scene(desk: Desk) -> None:
        desk.plan(*jobs)
        desk.scheduler.start()
        await desk.wait(MINUTE)
        desk.clocks.jump(9 * HOUR)
        if told:
            desk.scheduler.rearm()
        woke, missed = desk.clocks.now(), len(desk.due)
        await desk.wait(5 * MINUTE)  # when a timer runs out it has to see for itself
        began = list(zip(desk.due[missed:], desk.begun[missed:], strict=True))
        assert max(at - due.at for due, at in began) < SECOND
        first = began[0][1]
        within = [due.account for due, at in began if at < first + MINUTE]
        assert len({at.replace(microsecond=0) for _, at in began if at < first + MINUTE}) > 40
        if told:
            assert first < woke + 2 * SECOND
            assert sorted(within) == sorted({job.account for job in jobs})  # each, and once
        await desk.wait(6 * MINUTE)
        for name in {job.account for job in jobs if isinstance(job.schedule, Every)}:
            runs = [due.at for due in desk.due[missed:] if due.account == name]
            assert min(b - a for a, b in pairwise(runs)) > 4.5 * MINUTE  # the beat is a new one

    play(scene)


def test_a_clock_put_back_silences_nothing(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.plan(FIVE, Job("line", cron_of("*/10 * * * *")), Job("once", cron_of("0 1 * * *")))
        desk.scheduler.start()
        await desk.wait(1.1 * HOUR)
        assert sum(due.account == "once" for due in desk.due) == 1
        desk.clocks.jump(-HOUR)
        desk.scheduler.rearm()
        count = len(desk.due)
        await desk.wait(HOUR + 10 * MINUTE)
        again = [due.account for due in desk.due[count:]]
        assert again.count("home") in (13, 14, 15)
        assert again.count("line") in (6, 7)
        assert "once" not in again  # its moment was already

    play(scene)


def test_a_loop_that_was_held_up_loses_nothing(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.plan(FIVE)
        desk.scheduler.start()
        await desk.wait(2 * MINUTE)
        count = len(desk.due)
        desk.clocks.monotonic += 1800  # both clocks went on, and nobody looked
        await desk.wait(SECOND)
        assert len(desk.due) == count + 1  # six were missed
        assert desk.begun[-1] - desk.due[-1].at > 20 * MINUTE  # and that is lateness
        await desk.wait(10 * MINUTE)
        assert len(desk.due) in (count + 3, count + 4)

    play(scene)


def test_what_fails_in_the_callback_stops_no_schedule(play: Play) -> None:
    told: list[dict[str, Any]] = []

    async def scene(desk: Desk) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

        def fail(due: Due) -> None:
            raise ZeroDivisionError

        scheduler = Scheduler(fail, now=desk.clocks.now, clock=desk.clocks.seconds)
        scheduler.plan([FIVE], None, lambda: None)
        scheduler.start()
        await desk.wait(16 * MINUTE)
        scheduler.stop()

    play(scene)
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError] * len(told)
    assert len(told) in (3, 4)


def test_nothing_is_due_after_a_stop(play: Play) -> None:
    async def scene(desk: Desk) -> None:
        desk.scheduler.stop()  # not started yet: no harm
        desk.plan(FIVE)
        desk.scheduler.start()
        await desk.wait(MINUTE)
        desk.scheduler.stop()
        desk.scheduler.stop()
        await desk.wait(HOUR)

    assert len(play(scene).due) == 1


NOON = [Job(name, cron_of("0 12 * * *"), (), timedelta(0), None, "UTC") for name in "abc"]


@pytest.mark.parametrize(
    "answer",
    [lambda scheduler: scheduler.stop(), lambda scheduler: scheduler.plan(NOON[:1], None, print)],
    ids=["stop", "reload"],
)
def test_a_stop_or_a_reload_holds_for_what_is_due_at_the_same_moment(
    play: Play, answer: Callable[[Scheduler], None]
) -> None:
    errors: list[object] = []
    begun: list[str] = []

    async def scene(desk: Desk) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))

        def due(one: Due) -> None:
            begun.append(one.account)
            answer(scheduler)

        scheduler = Scheduler(due, now=desk.clocks.now, clock=desk.clocks.seconds)
        scheduler.plan(NOON, None, print)
        scheduler.start()
        await desk.wait(DAY)
        scheduler.stop()

    play(scene)
    assert (begun, errors) == (["a"], [])


def test_two_thousand_accounts_are_planned_at_once_and_kept_in_time(play: Play) -> None:
    jobs = [Job(f"account{n}", Every(10 * SECOND)) for n in range(2000)]

    async def scene(desk: Desk) -> None:
        desk.plan(*jobs)
        desk.scheduler.start()
        await desk.wait(30 * SECOND)

    desk = play(scene)
    assert 5800 < len(desk.due) < 6200
    seconds = [0] * 31
    for due in desk.due:
        seconds[int((due.at - MONDAY) / SECOND)] += 1
    assert max(seconds) < 300  # 200 a second, and no herd


# -- From the settings -------------------------------------------------------------------


def jobs(folder: Path, account: str, service: str = "", protocol: str = IMAP) -> list[Job]:
    text = f"{protocol}{account}\n[service]\n{service}\n"
    return jobs_of(load(written(folder, text), {"FETCHD_SECRET": "s"}))


@pytest.mark.parametrize(
    ("account", "service", "protocol", "found"),
    [
        ("", "", IMAP, Every(5 * MINUTE)),
        ('schedule = "1h"', "", IMAP, Every(HOUR)),
        ("", 'schedule = "*/10 * * * *"', IMAP, cron_of("*/10 * * * *")),
        ('schedule = "idle"', "", IMAP, Every(15 * MINUTE)),  # the safety net
        ('schedule = "manual"', "", IMAP, None),
        ("", 'schedule = "manual"', GOOD, None),
        ("", 'schedule = "idle"', GOOD, Every(5 * MINUTE)),  # POP3 tells nothing by itself
    ],
)
def test_an_account_has_its_own_schedule_or_that_of_the_service(
    tmp_path: Path, account: str, service: str, protocol: str, found: Every | Cron | None
) -> None:
    assert [job.schedule for job in jobs(tmp_path, account, service, protocol)] == (
        [] if found is None else [found]
    )


def test_jitter_quiet_hours_and_zone_go_with_it(tmp_path: Path) -> None:
    service = 'jitter = "7s"\nquiet_hours = "22:00-06:00"\ntimezone = "Asia/Tokyo"'
    (job,) = jobs(tmp_path, "", service)
    assert job == Job(
        "my-work", Every(5 * MINUTE), (), 7 * SECOND, hours_of("22:00-06:00"), "Asia/Tokyo"
    )
    (own,) = jobs(tmp_path, 'quiet_hours = "12:00-13:00"', service)
    assert own.quiet == hours_of("12:00-13:00")


def test_each_mailbox_is_in_one_job_at_most(tmp_path: Path) -> None:
    schedules = (
        'mailbox_schedules = { "Archive/**" = "6h", "Archive/2026" = "manual", '
        '"Archive/Now" = "@daily", "\\\\Junk" = "1d" }'
    )
    found = jobs(tmp_path, schedules)
    main, archive, now, junk = found
    assert (main.schedule, archive.schedule) == (Every(5 * MINUTE), Every(6 * HOUR))
    assert (now.schedule, junk.schedule) == (cron_of("@daily"), Every(DAY))

    def whose(name: str, role: str | None = None) -> list[Job]:
        return [
            job for job in found
            if not job.mailboxes or wanted(name, role, [pattern(text) for text in job.mailboxes])
        ]  # fmt: skip

    assert whose("INBOX", "\\Inbox") == [main]
    assert whose("Archive") == whose("Archive/Old/Older") == [archive]
    assert whose("Archive/2026") == []  # only when somebody asks
    assert whose("Archive/Now") == [now]
    assert whose("Spam", "\\Junk") == whose("Archive/Spam", "\\Junk") == [junk]


def test_an_account_by_hand_may_have_a_mailbox_by_the_clock(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, 'schedule = "manual"\nmailbox_schedules = { INBOX = "5m" }')
    assert (job.mailboxes, job.schedule) == (("INBOX",), Every(5 * MINUTE))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{IMAP}mailbox_schedules = {{ "!INBOX" = "6h" }}\n', 'a pattern without "!"'),
        (f'{IMAP}[service]\njitter = "2h"\n', 'service.jitter: found "2h", allowed: an hour'),
    ],
)
def test_what_no_schedule_can_heed_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in problems(tmp_path, text, FETCHD_SECRET="s")


# -- Zones ---------------------------------------------------------------------------------


def test_this_machines_zone_is_what_tz_says(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        here, there = zone_of(None), zone_of("Europe/Berlin")
        for hours in range(0, 24 * 366, 7):
            at = MONDAY + hours * HOUR
            assert at.astimezone(here).isoformat() == at.astimezone(there).isoformat()
        twice = datetime(2026, 10, 25, 1, 30, tzinfo=UTC).astimezone(here)
        assert (twice.hour, twice.minute, twice.fold) == (2, 30, 1)
        assert twice.astimezone(UTC).hour == 1
        assert twice.tzname() == "CET"
    finally:
        monkeypatch.undo()
        time.tzset()
