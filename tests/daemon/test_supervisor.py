"""One sync for each account at a time, in turn, ended when it hangs, tried again after trouble."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fetchd.catalog import halting, runs
from fetchd.daemon import judging, network, syncing
from fetchd.daemon import turns as turns_module
from fetchd.daemon.line import Why
from fetchd.errors import (
    AuthenticationFailed,
    BudgetSpent,
    ConnectionFailed,
    FetchdError,
    Scope,
    ServerUnavailable,
    SyncStalled,
    UsageError,
)
from fetchd.pipeline.errand import Errand
from fetchd.pipeline.report import Failure, RunReport
from fetchd.pipeline.snapshot import Doing
from fetchd.pipeline.tools import Tools
from fetchd.policy.retry import Schedule
from tests.daemon.in_loop import in_loop
from tests.daemon.supervised import endless, failing, hung, settings_of, supervised

QUICK = Schedule(timedelta(milliseconds=40), timedelta(milliseconds=80))
NEVER = Schedule(timedelta(hours=1), timedelta(hours=1))
DOWN = ConnectionFailed("no route", local=True)


@in_loop
async def test_what_is_asked_for_twice_before_it_begins_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        asked = [supervisor.request("a0", Why.SCHEDULE) for _ in range(3)]
        reports = await asyncio.gather(*asked)
        assert script.begun == ["a0"]
        assert all(report is reports[0] for report in reports)


@in_loop
async def test_one_account_is_never_synced_twice_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        script.syncs["a0"] = [endless]
        first = supervisor.request("a0", Why.SCHEDULE)
        await script.until(lambda: script.at_once == 1)
        assert supervisor.request("a0", Why.SCHEDULE) is first
        pushed = supervisor.request("a0", Why.PUSH)  # it may have come too late for the first
        supervisor.lines["a0"].stop.set()
        await pushed
        assert script.most == 1
        assert len(script.begun) >= 2


@in_loop
async def test_the_settings_limit_how_many_there_are_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = "[limits]\nconnections = 2\n"
    async with supervised(settings_of(tmp_path, 6, limits), monkeypatch) as (supervisor, script, _):
        await asyncio.gather(*(supervisor.request(f"a{n}", Why.SCHEDULE) for n in range(6)))
        assert sorted(script.begun) == [f"a{n}" for n in range(6)]
        assert script.most <= 2


@in_loop
async def test_what_a_person_asks_for_goes_ahead_of_all_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = "[limits]\nconnections = 1\n"
    async with supervised(settings_of(tmp_path, 9, limits), monkeypatch) as (supervisor, script, _):
        polls = [supervisor.request(f"a{n}", Why.SCHEDULE) for n in range(9)]
        await supervisor.request("a8", Why.OWNER)
        assert script.begun.index("a8") <= 1
        await asyncio.gather(*polls)
        assert len(script.begun) == 9


@in_loop
async def test_a_first_backup_lets_a_poll_go_first_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "QUANTUM", 0.05)
    limits = "[limits]\nconnections = 1\n"
    async with supervised(settings_of(tmp_path, 2, limits), monkeypatch) as (supervisor, script, _):
        script.syncs["a0"] = [endless]  # and then one that goes well at once
        backup = supervisor.request("a0", Why.OWNER)
        await script.until(lambda: script.at_once == 1)
        await supervisor.request("a1", Why.SCHEDULE)
        report = await backup
        assert script.begun == ["a0", "a1", "a0"]
        assert report.fetched > 0  # what it did before it let the other go first counts
        assert not report.stopped


@in_loop
async def test_a_sync_without_progress_is_ended_and_counted_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "GLANCE", 0.01)
    service = '[service]\nstalled = "200ms"\n'
    async with supervised(settings_of(tmp_path, 2, service), monkeypatch) as made:
        supervisor, script, _ = made
        script.syncs["a0"] = [hung]
        hanging = supervisor.request("a0", Why.SCHEDULE)
        assert (await supervisor.request("a1", Why.SCHEDULE)).ok
        report = await hanging
        assert isinstance(report.failures[0].error, SyncStalled)
        view = supervisor.lines["a0"].view(None)
        assert (view.stalled, view.failed_runs, view.doing) == (1, 1, Doing.BACKING_OFF)


@in_loop
async def test_who_gets_on_is_left_alone_however_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "GLANCE", 0.01)
    service = '[service]\nstalled = "200ms"\n'
    async with supervised(settings_of(tmp_path, 1, service), monkeypatch) as made:
        supervisor, script, _ = made
        script.syncs["a0"] = [endless]
        going = supervisor.request("a0", Why.SCHEDULE)
        await asyncio.sleep(0.6)
        assert not going.done()
        assert supervisor.lines["a0"].totals.stalled == 0


@in_loop
async def test_a_broken_line_is_tried_again_soon_and_the_schedule_waits_as_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "BROKEN", QUICK)
    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        script.syncs["a0"] = [failing(ConnectionFailed("cut")), failing(ConnectionFailed("cut"))]
        await supervisor.request("a0", Why.SCHEDULE)
        assert (await supervisor.request("a0", Why.SCHEDULE)).skipped
        assert supervisor.lines["a0"].view(None).failures == 1
        await script.until(lambda: len(script.begun) == 3)
        await script.until(lambda: supervisor.lines["a0"].failures == 0)
        assert supervisor.lines["a0"].view(None).doing is Doing.WAITING


@pytest.mark.parametrize(
    ("error", "waits"),
    [(ConnectionFailed("cut"), False), (ServerUnavailable("later"), True)],
)
def test_a_login_that_works_ends_the_wait_after_a_broken_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: FetchdError, *, waits: bool
) -> None:
    async def main() -> None:
        async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
            script.syncs["a0"] = [failing(error)]
            await supervisor.request("a0", Why.PUSH)
            supervisor.reached(supervisor.lines["a0"])
            assert (await supervisor.request("a0", Why.PUSH)).skipped is waits

    asyncio.run(main())


@in_loop
async def test_what_is_no_success_to_the_catalog_is_none_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deferred(errand: Errand, _tools: Tools) -> RunReport:
        return RunReport(errand.account, deferred=1)

    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        script.syncs["a0"] = [deferred]
        await supervisor.request("a0", Why.SCHEDULE)
        line = supervisor.lines["a0"]
        assert (line.failures, line.last_success) == (1, None)
        assert line.well.is_set()  # the server was reached all the same
        await supervisor.request("a0", Why.SCHEDULE)
        assert line.failures == 0
        assert line.last_success is not None


@in_loop
async def test_a_person_need_not_wait_for_what_was_put_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        wish = ServerUnavailable("later", wait=timedelta(hours=3))
        script.syncs["a0"] = [failing(wish)]
        await supervisor.request("a0", Why.PUSH)
        line = supervisor.lines["a0"]
        assert line.again_at is not None
        assert line.again_at - line.since >= timedelta(hours=3)  # type: ignore[operator]
        assert (await supervisor.request("a0", Why.PUSH)).skipped
        assert (await supervisor.request("a0", Why.OWNER)).ok
        assert (line.doing, line.again_at) == (Doing.WAITING, None)


@in_loop
async def test_a_refused_login_halts_the_account_until_the_settings_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        script.syncs["a0"] = [failing(AuthenticationFailed("wrong"), halted=True)]
        await supervisor.request("a0", Why.SCHEDULE)
        line = supervisor.lines["a0"]
        assert (line.doing, line.retry) == (Doing.HALTED, None)
        assert (await supervisor.request("a0", Why.PUSH)).skipped
        assert script.begun == ["a0"]
        await supervisor.apply(settings_of(tmp_path, full_pass='"2d"'))
        assert line.doing is Doing.WAITING
        assert (await supervisor.request("a0", Why.PUSH)).ok


@in_loop
async def test_a_halted_account_is_known_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path)
    async with supervised(settings, monkeypatch) as (_, _, tools):
        runs.begin(tools.storage.catalog, "a1", "imap", tools.now())
        halting.halt(tools.storage.catalog, "a1", "mark")
    async with supervised(settings, monkeypatch) as (supervisor, _, _):
        assert supervisor.lines["a1"].doing is Doing.HALTED
        assert supervisor.lines["a0"].doing is Doing.WAITING


@in_loop
async def test_a_lost_network_is_noticed_once_and_one_account_tries_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "FIRST_PROBE", 0.05)
    async with supervised(settings_of(tmp_path, 20), monkeypatch) as (supervisor, script, _):
        for number in range(20):
            script.syncs[f"a{number}"] = [failing(DOWN)] * 2
        for _ in range(2):
            for number in range(20):
                await supervisor.request(f"a{number}", Why.SCHEDULE)
        assert not supervisor.network.up
        assert len(script.begun) == 2  # two hosts, and no more
        script.syncs.clear()
        await script.until(lambda: supervisor.network.up)
        await script.until(lambda: len({*script.begun}) == 20)
        await script.until(lambda: not any(line.failures for line in supervisor.lines.values()))


@in_loop
async def test_one_host_without_a_name_server_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "BROKEN", NEVER)
    async with supervised(settings_of(tmp_path, 3), monkeypatch) as (supervisor, script, _):
        script.syncs["a0"] = [failing(DOWN)] * 5
        for _ in range(3):
            for name in ("a0", "a1", "a2"):
                await supervisor.request(name, Why.SCHEDULE)
        assert supervisor.network.up
        assert script.begun.count("a1") == 3


@in_loop
async def test_removed_accounts_end_and_new_ones_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(settings_of(tmp_path, 3), monkeypatch) as (supervisor, script, _):
        script.syncs["a2"] = [endless]
        going = supervisor.request("a2", Why.SCHEDULE)
        await script.until(lambda: script.at_once == 1)
        await supervisor.apply(settings_of(tmp_path, 2))
        assert (await going).fetched > 0
        await script.until(lambda: sorted(supervisor.lines) == ["a0", "a1"])
        await supervisor.apply(settings_of(tmp_path, 4))
        assert (await supervisor.request("a3", Why.SCHEDULE)).ok
        with pytest.raises(UsageError, match="no account is called nobody"):
            supervisor.require(["nobody"])


@in_loop
async def test_an_account_that_comes_back_waits_for_the_sync_it_had_when_it_went(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(settings_of(tmp_path, 2), monkeypatch) as (supervisor, script, _):
        released = asyncio.Event()

        async def slow(errand: Errand, _tools: Tools) -> RunReport:
            await released.wait()
            return RunReport(errand.account)

        script.syncs["a1"] = [slow]
        first = supervisor.request("a1", Why.SCHEDULE)
        await script.until(lambda: script.at_once == 1)
        await supervisor.apply(settings_of(tmp_path, 1))
        with pytest.raises(UsageError):
            supervisor.require(["a1"])
        await supervisor.apply(settings_of(tmp_path, 2))
        second = supervisor.request("a1", Why.OWNER)
        await asyncio.sleep(0.05)
        assert script.begun == ["a1"]
        released.set()
        assert (await first).ok
        assert (await second).ok
        assert script.begun == ["a1", "a1"]
        assert script.most == 1
        assert sorted(supervisor.lines) == ["a0", "a1"]


@in_loop
async def test_new_settings_do_not_end_what_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        script.syncs["a0"] = [endless]
        going = supervisor.request("a0", Why.SCHEDULE)
        await script.until(lambda: script.at_once == 1)
        await supervisor.apply(settings_of(tmp_path, full_pass='"3d"'))
        await asyncio.sleep(0.05)
        assert not going.done()
        assert script.at_once == 1


@in_loop
async def test_a_round_over_all_does_not_try_what_was_refused_but_a_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        await supervisor.request("a0", Why.OWNER)
        await supervisor.request("a0", Why.OWNER, by_name=True)
        assert [errand.asked for errand in script.errands] == [False, True]


@in_loop
async def test_each_wish_names_its_mailboxes_and_all_of_them_are_served_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        supervisor.request("a0", Why.SCHEDULE, among=("!Archive/**",))
        await supervisor.request("a0", Why.SCHEDULE, among=("Archive/**",))
        await supervisor.request("a0", Why.SCHEDULE, among=("Archive/**",))
        both, one = script.errands
        assert [both.is_due(name, None) for name in ("INBOX", "Archive/1")] == [True, True]
        assert [one.is_due(name, None) for name in ("INBOX", "Archive/1")] == [False, True]


@in_loop
async def test_what_concerns_the_whole_process_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_errand: Errand, _tools: Tools) -> RunReport:
        raise RuntimeError("the disk")

    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        script.syncs["a0"] = [broken]
        running = asyncio.create_task(supervisor.run())
        report = await supervisor.request("a0", Why.SCHEDULE)
        assert report.skipped
        with pytest.raises(RuntimeError, match="the disk"):
            await running


@in_loop
async def test_after_a_sleep_no_earlier_failure_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "BROKEN", NEVER)
    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        script.syncs["a0"] = [failing(ConnectionFailed("cut"))]
        await supervisor.request("a0", Why.SCHEDULE)
        supervisor.all_anew()
        await script.until(lambda: len(script.begun) == 2)
        await script.until(lambda: supervisor.lines["a0"].failures == 0)


@in_loop
async def test_a_sync_of_some_mailboxes_does_not_stand_for_those_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        script.syncs["a0"] = [endless]
        first = supervisor.request("a0", Why.SCHEDULE, among=("!Archive/**",))
        await script.until(lambda: script.at_once == 1)
        assert supervisor.request("a0", Why.SCHEDULE, among=("!Archive/**",)) is first
        nightly = supervisor.request("a0", Why.SCHEDULE, among=("Archive/**",))
        supervisor.lines["a0"].stop.set()
        await nightly
        seen = [errand.is_due("Archive/1", None) for errand in script.errands]
        assert seen[0] is False
        assert any(seen)


@in_loop
async def test_mailboxes_whose_time_comes_too_soon_for_the_provider_come_with_the_next_poll(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = '[budgets.h0]\npoll_floor = "10m"\n'
    async with supervised(settings_of(tmp_path, 1, budget), monkeypatch) as made:
        supervisor, script, _ = made
        await supervisor.request("a0", Why.SCHEDULE, among=("!Archive/**",))
        nightly = await supervisor.request("a0", Why.SCHEDULE, among=("Archive/**",))
        assert nightly.skipped
        supervisor.lines["a0"].begun -= 600
        for _ in range(2):
            await supervisor.request("a0", Why.SCHEDULE, among=("!Archive/**",))
            supervisor.lines["a0"].begun -= 600
        assert [one.is_due("Archive/1", None) for one in script.errands] == [False, True, False]


@in_loop
async def test_an_account_that_comes_back_while_its_last_sync_ends_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(errand: Errand, tools: Tools) -> RunReport:
        await goes_on.wait()
        return RunReport(errand.account)

    goes_on = asyncio.Event()
    async with supervised(settings_of(tmp_path, 2), monkeypatch) as (supervisor, script, _):
        script.syncs["a1"] = [deaf]
        last = supervisor.request("a1", Why.SCHEDULE)
        await script.until(lambda: script.at_once == 1)
        await supervisor.apply(settings_of(tmp_path, 1))
        await supervisor.apply(settings_of(tmp_path, 2))
        goes_on.set()
        await last
        await script.until(lambda: not script.at_once)
        await asyncio.sleep(0)
        assert sorted(supervisor.lines) == ["a0", "a1"]
        assert (await supervisor.request("a1", Why.SCHEDULE)).ok


@in_loop
async def test_an_account_put_right_by_new_settings_is_tried_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "BROKEN", NEVER)
    async with supervised(settings_of(tmp_path), monkeypatch) as (supervisor, script, _):
        script.syncs["a0"] = [failing(ConnectionFailed("no such host"))]
        await supervisor.request("a0", Why.SCHEDULE)
        await supervisor.request("a1", Why.SCHEDULE)
        await supervisor.apply(settings_of(tmp_path, full_pass='"2d"'))
        await script.until(lambda: supervisor.lines["a0"].failures == 0)
        assert script.begun == ["a0", "a1", "a0"]  # who fared well is in no hurry


@in_loop
async def test_a_pause_ends_with_the_budget_that_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pausing(errand: Errand, _tools: Tools) -> RunReport:
        report = RunReport(errand.account)
        now = datetime.now(UTC)
        report.pause(BudgetSpent("spent", until=now + timedelta(days=1), now=now))
        return report

    budget = '[budgets."h0"]\ndownload_per_day = "{}"'
    before = settings_of(tmp_path, more=budget.format("1MB"))
    async with supervised(before, monkeypatch) as (supervisor, script, _):
        script.syncs["a0"], script.syncs["a1"] = [pausing], [pausing]
        await asyncio.gather(*(supervisor.request(name, Why.SCHEDULE) for name in ("a0", "a1")))
        assert supervisor.lines["a0"].doing is Doing.PAUSED
        await supervisor.apply(before)
        assert supervisor.lines["a0"].doing is Doing.PAUSED
        await supervisor.apply(settings_of(tmp_path, more=budget.format("2MB")))
        await script.until(lambda: script.begun == ["a0", "a1", "a0"])
        assert supervisor.lines["a1"].doing is Doing.PAUSED  # its budget is what it was


@in_loop
@pytest.mark.parametrize("halted", [True, False], ids=["refused before", "hangs"])
async def test_one_that_finds_out_nothing_does_not_keep_the_network_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, halted: bool
) -> None:
    async def refused_before(errand: Errand, _tools: Tools) -> RunReport:
        report = RunReport(errand.account, skipped=True, halted=True)
        report.failures.append(Failure(Scope.ACCOUNT, errand.account, AuthenticationFailed("no")))
        return report

    monkeypatch.setattr(network, "FIRST_PROBE", 0.05)
    monkeypatch.setattr(network, "PATIENCE", 60.0 if halted else 0.05)
    async with supervised(settings_of(tmp_path, 3), monkeypatch) as (supervisor, script, _):
        for name in ("a0", "a1"):
            script.syncs[name] = [failing(DOWN)]
        await supervisor.request("a0", Why.SCHEDULE)
        script.syncs["a0"] = [refused_before if halted else hung]
        await supervisor.request("a1", Why.SCHEDULE)
        assert not supervisor.network.up
        await script.until(lambda: supervisor.network.up, 5.0)
        assert script.begun.count("a0") >= 2


@in_loop
async def test_a_hint_and_a_retry_leave_alone_what_only_a_person_may_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = '{ "Archive/**" = "manual", "Lists" = "6h" }'
    settings = settings_of(tmp_path, 1, mailbox_schedules=own)
    async with supervised(settings, monkeypatch) as (supervisor, script, _):
        for why in (Why.PUSH, Why.RETRY, Why.OWNER):
            await supervisor.request("a0", why)
        seen = [
            [name for name in ("INBOX", "Archive/1", "Lists") if errand.is_due(name, None)]
            for errand in script.errands
        ]
        assert seen == [["INBOX", "Lists"], ["INBOX", "Lists"], ["INBOX", "Archive/1", "Lists"]]
