"""The worker of a destination over connections, against a Carrier that does as it is told."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fetchd.catalog import outbox, reach
from fetchd.contracts import Outcome, Outgoing, Settled
from fetchd.errors import (
    AuthenticationFailed,
    CatalogError,
    ConnectionFailed,
    DeliveryRefused,
    RemoteProtocolError,
    ServerUnavailable,
)
from fetchd.pipeline import deliver, dispatch, pace
from fetchd.pipeline.lanes import Lanes, Waiting
from fetchd.pipeline.outcomes import Attempt
from tests.pipeline.carriers import START, Bench, Hang, Post, ScriptedCarrier, Settle

LONG = 20.0  # nothing here waits for so long
DOWN = ConnectionFailed("relay.example.org does not answer.")
BROKE = ConnectionFailed("The line broke.")
LATER = Settle(Outcome.DEFERRED, "451 4.7.1 Greylisted.")


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience is short where a test waits in vain."""
    monkeypatch.setattr(dispatch, "PATIENCE", 0.2)
    monkeypatch.setattr(dispatch, "LAST_CALL", 0.2)
    monkeypatch.setattr(deliver, "DRAIN", 0.2)


def run(
    post: Post, carrier: ScriptedCarrier, work: Callable[[Bench], Awaitable[None]], **others: Any
) -> None:
    """One process that does this."""

    async def main() -> None:
        async with post.at(carrier, **others) as bench:
            await work(bench)

    asyncio.run(main())


def sync(post: Post, carrier: ScriptedCarrier, *names: str) -> None:
    """A process that takes up what is due, and brings these."""

    async def work(bench: Bench) -> None:
        await bench.deliveries.put_overdue()
        if names:
            await bench.put(*names)
        await bench.settle()

    run(post, carrier, work)


# -- When all goes well ---------------------------------------------------------------


def test_fresh_mail_goes_out_over_one_connection(post: Post) -> None:
    carrier = ScriptedCarrier()
    sync(post, carrier, "a", "b", "c")
    assert carrier.carried == ["a", "b", "c"]
    assert (carrier.opened, carrier.closed) == (1, 1)
    assert set(post.states().values()) == {"delivered"}
    assert {row.owner for row in post.rows().values()} == {""}


def test_as_many_connections_as_allowed_and_no_more(post: Post) -> None:
    names = [f"m{number}" for number in range(12)]
    carrier = ScriptedCarrier({name: [Hang()] for name in names}, connections=3)

    async def work(bench: Bench) -> None:
        await bench.put(*names)
        await carrier.until(lambda: carrier.at_once == 3)
        carrier.answer.set()
        await bench.settle()

    run(post, carrier, work)
    assert sorted(carrier.carried) == sorted(names)
    assert carrier.most_at_once == carrier.opened == carrier.closed == 3


def test_a_batch_is_carried_at_once(post: Post) -> None:
    carrier = ScriptedCarrier(batch=3)
    sync(post, carrier, "a", "b", "c", "d")
    assert carrier.groups == [["a", "b", "c"], ["d"]]


def test_an_account_keeps_its_order_whatever_the_number_of_workers(post: Post) -> None:
    names = [f"m{number}" for number in range(6)]
    carrier = ScriptedCarrier({"m0": [Hang()]}, connections=2, in_order=True)

    async def work(bench: Bench) -> None:
        await bench.put(*names)
        await bench.put("other", account="else")
        await carrier.hanging.wait()
        await carrier.until(lambda: "other" in carrier.carried)
        assert carrier.carried == ["other"]
        carrier.answer.set()
        await bench.settle()

    run(post, carrier, work)
    assert carrier.carried == ["other", *names]


def test_an_account_with_much_mail_does_not_hold_up_another(post: Post) -> None:
    carrier = ScriptedCarrier({"m0": [Hang()]})

    async def work(bench: Bench) -> None:
        await bench.put(*(f"m{number}" for number in range(6)))
        await carrier.hanging.wait()
        await bench.put("other", account="else")
        carrier.answer.set()
        await bench.settle()

    run(post, carrier, work)
    assert carrier.carried.index("other") <= 2


def test_lanes_serve_accounts_by_turns() -> None:
    lanes = Lanes(in_order=False)
    for number, account in enumerate("aaabbc"):
        lanes.add(Waiting(number, account, "", 0, START))
    assert [lanes.take(1)[0].id for _ in range(6)] == [0, 3, 5, 1, 4, 2]
    assert lanes.take(1) == []


def test_what_is_given_back_to_a_lane_comes_first_again() -> None:
    lanes = Lanes(in_order=False)
    for number in range(3):
        lanes.add(Waiting(number, "a", "", 0, START))
    lanes.give_back(lanes.take(2))
    assert [one.id for one in lanes.take(3)] == [0, 1, 2]


def test_no_more_messages_a_minute_than_allowed(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    carrier = ScriptedCarrier(per_minute=1, connections=2)
    real = pace.first_of
    leaps: list[float] = []
    taken: list[float] = []

    async def leap(events: Iterable[asyncio.Event], seconds: float) -> bool:
        """A pause of the pace passes at once, by its clock."""
        if 5.1 < seconds <= 60:
            leaps.append(seconds)
            return False
        return await real(events, seconds)

    monkeypatch.setattr(pace, "clock", lambda: asyncio.get_running_loop().time() + sum(leaps))
    monkeypatch.setattr(dispatch, "first_of", leap)
    monkeypatch.setattr(dispatch, "RATED", 1e6)
    spend = pace.Pace.spend

    def spent(self: pace.Pace, messages: int) -> None:
        taken.append(pace.clock())
        spend(self, messages)

    monkeypatch.setattr(pace.Pace, "spend", spent)
    sync(post, carrier, "a", "b", "c")
    assert sorted(carrier.carried) == ["a", "b", "c"]
    assert [later - sooner >= 60 for sooner, later in pairwise(taken)] == [True, True]


def test_a_pace_is_spent_by_what_goes_not_by_what_might(post: Post) -> None:
    async def main() -> tuple[float, float, float]:
        of_one, unlimited = pace.Pace(60), pace.Pace(None)
        first = of_one.pause()
        of_one.spend(3)
        unlimited.spend(100)
        return first, of_one.pause(), unlimited.pause()

    first, then, never = asyncio.run(main())
    assert (first, never) == (0, 0)
    assert 2 < then <= 3


# -- Who is slow, and who waits ----------------------------------------------------------


def test_a_destination_that_hangs_holds_up_neither_whoever_puts_nor_another(post: Post) -> None:
    hanging, other = ScriptedCarrier({"a": [Hang()]}), ScriptedCarrier()

    async def work(bench: Bench) -> None:
        await bench.put("a")
        await hanging.hanging.wait()
        await bench.put("b", "c")
        await bench.settle()  # returns, since patience ends
        assert sorted(other.carried) == ["a", "b", "c"]
        assert hanging.carried == []
        hanging.answer.set()
        await bench.settle()

    run(post, hanging, work, other=other)
    assert hanging.carried == ["a", "b", "c"]


def test_a_message_that_takes_long_leaves_other_connections_to_the_others(post: Post) -> None:
    carrier = ScriptedCarrier({"slow": [Hang()]}, connections=2)

    async def work(bench: Bench) -> None:
        await bench.put("slow")
        await carrier.hanging.wait()
        await bench.put("quick")
        await bench.settle()
        assert carrier.carried == ["quick"]
        carrier.answer.set()

    run(post, carrier, work)
    assert carrier.opened == 2


def test_what_comes_while_a_worker_takes_its_leave_finds_another(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "IDLE", 0.01)
    carrier = ScriptedCarrier()
    leaving, go = asyncio.Event(), asyncio.Event()

    async def work(bench: Bench) -> None:
        (desk,) = bench.deliveries._desks.values()
        assert isinstance(desk, dispatch.Dispatch)
        part = desk._part

        async def slowly(courier: Any) -> None:
            leaving.set()
            await go.wait()
            await part(courier)

        monkeypatch.setattr(desk, "_part", slowly)
        await bench.put("a")
        await leaving.wait()
        await bench.put("b")
        go.set()
        await bench.settle()
        assert carrier.carried == ["a", "b"]

    run(post, carrier, work)


# -- Lines that break -------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [BROKE, RemoteProtocolError("What?"), ServerUnavailable("421 4.4.2 Idle too long.")]
)
def test_a_line_gone_stale_is_replaced_once(post: Post, error: Exception) -> None:
    carrier = ScriptedCarrier({"b": [error]})
    sync(post, carrier, "a", "b")
    assert carrier.carried == ["a", "b"]
    assert carrier.opened == carrier.closed == 2
    assert post.rows()["b"].attempts == 1


def test_a_message_at_which_lines_break_stops_no_other(post: Post) -> None:
    carrier = ScriptedCarrier({"poison": [BROKE] * 9})
    sync(post, carrier, "a", "poison", "b", "c")
    assert carrier.carried == ["a", "b", "c"]
    row = post.rows()["poison"]
    assert (row.state, row.attempts) == ("deferred", 1)
    assert row.reply.startswith("The line broke. ")


def test_a_message_that_breaks_a_batch_is_found_out(post: Post) -> None:
    carrier = ScriptedCarrier({"poison": [BROKE] * 9}, batch=4)
    sync(post, carrier, "a", "poison", "b", "c")
    assert carrier.groups[0] == ["a", "poison", "b", "c"]
    assert carrier.carried == ["a", "b", "c"]
    assert post.rows()["poison"].state == "deferred"


def test_lines_that_break_at_message_after_message_say_that_it_is_the_destination(
    post: Post,
) -> None:
    names = [f"m{number}" for number in range(8)]
    carrier = ScriptedCarrier({name: [BROKE] for name in names})
    sync(post, carrier, *names)
    assert carrier.carried == []
    assert carrier.opened == carrier.closed == dispatch.BREAKS
    assert set(post.states().values()) == {"deferred"}


def test_poison_that_once_broke_line_after_line_does_not_hold_up_what_comes_later(
    post: Post,
) -> None:
    carrier = ScriptedCarrier({"poison": [BROKE] * 99, "a": [BROKE], "b": [BROKE]})

    async def work(bench: Bench) -> None:
        await bench.put("poison", "a", "b")
        await bench.settle()
        assert carrier.opened == dispatch.BREAKS
        post.later(hours=1)
        await bench.overdue()

    run(post, carrier, work)
    assert carrier.carried == ["a", "b"]
    assert post.rows()["poison"].attempts == 2


def test_a_refusal_raised_is_about_its_message(post: Post) -> None:
    carrier = ScriptedCarrier({"a": [DeliveryRefused("550 No.")]})
    sync(post, carrier, "a", "b")
    assert post.states() == {"a": "failed", "b": "delivered"}


# -- A destination out of reach -----------------------------------------------------------


def test_all_that_waits_is_put_off_with_words_and_not_tried_before_its_time(post: Post) -> None:
    down = ScriptedCarrier({"open": [DOWN] * 99}, connections=2)
    sync(post, down, "a", "b", "c")
    assert down.attempts <= 2
    first = post.rows()
    assert {(row.state, row.attempts, row.owner) for row in first.values()} == {("deferred", 1, "")}
    assert all(row.reply.startswith("relay.example.org does not") for row in first.values())
    assert all(row.not_before > post.now for row in first.values())
    assert post.alerts() == []

    post.later(seconds=10)
    tried = down.attempts
    sync(post, down, "d")  # too early
    assert down.attempts == tried
    assert post.rows()["d"].not_before == first["a"].not_before

    post.later(seconds=40)
    up = ScriptedCarrier(connections=2)
    sync(post, up)
    assert sorted(up.carried) == ["a", "b", "c", "d"]


def test_each_failure_in_a_row_puts_the_next_attempt_off_for_longer(post: Post) -> None:
    waits = []
    sync(post, ScriptedCarrier({"open": [DOWN]}), "a")
    for _ in range(4):
        due = post.rows()["a"].not_before
        waits.append(due - post.now)
        post.now = due
        sync(post, ScriptedCarrier({"open": [DOWN]}))
    assert all(later > 1.5 * sooner for sooner, later in pairwise(waits))


def test_a_peer_gets_the_time_that_it_asked_for(post: Post) -> None:
    busy = ServerUnavailable("Not now.", wait=timedelta(hours=3))
    sync(post, ScriptedCarrier({"open": [busy]}), "a")
    assert post.rows()["a"].not_before == post.now + timedelta(hours=3)
    post.later(hours=2.9)
    carrier = ScriptedCarrier()
    sync(post, carrier)
    assert carrier.attempts == 0
    post.later(hours=0.2)
    sync(post, carrier)
    assert carrier.carried == ["a"]


def test_a_person_may_have_it_tried_at_once_also_by_a_process_that_runs(post: Post) -> None:
    carrier = ScriptedCarrier({"open": [DOWN]})

    async def work(bench: Bench) -> None:
        await bench.put("a")
        await bench.settle()
        await bench.overdue()
        assert carrier.attempts == 1
        reach.forgive(bench.storage.catalog, "relay")
        outbox.retry(bench.storage.catalog, destination="relay")
        await bench.overdue()

    run(post, carrier, work)
    assert carrier.carried == ["a"]


def test_a_refused_login_alerts_the_owner_until_it_works_again(post: Post) -> None:
    refused = AuthenticationFailed("relay.example.org refuses the password.")
    sync(post, ScriptedCarrier({"open": [refused]}), "a")
    (alert,) = post.alerts()
    assert (alert.kind, alert.subject, alert.times) == ("destination", "relay", 1)
    assert alert.sentence == "relay.example.org refuses the password."
    post.later(minutes=5)
    sync(post, ScriptedCarrier({"open": [refused]}))
    assert post.alerts()[0].times == 2
    post.later(minutes=5)
    sync(post, ScriptedCarrier())
    assert post.states() == {"a": "delivered"}
    assert post.alerts() == []


@pytest.mark.parametrize("error", [DOWN, ServerUnavailable("421 Too many connections.")])
def test_a_server_that_takes_fewer_connections_gets_all_over_those(
    post: Post, error: Exception
) -> None:
    names = [f"m{number}" for number in range(6)]
    carrier = ScriptedCarrier({"m0": [Hang()]}, connections=3)

    async def work(bench: Bench) -> None:
        await bench.put("m0")
        await carrier.hanging.wait()
        carrier.faults["open"] = [error] * 2
        await bench.put(*names[1:])
        await carrier.until(lambda: len(carrier.faults["open"]) < 2)
        carrier.answer.set()
        await bench.settle()

    run(post, carrier, work)
    assert sorted(carrier.carried) == names
    assert {(row.state, row.attempts) for row in post.rows().values()} == {("delivered", 1)}


# -- Giving up, doubt, recipients -----------------------------------------------------------


def test_what_was_put_off_for_five_days_fails_and_alerts(post: Post) -> None:
    sync(post, ScriptedCarrier({"a": [LATER]}), "a")
    for _ in range(3):
        post.later(days=1)
        sync(post, ScriptedCarrier({"a": [LATER]}))
        assert post.states() == {"a": "deferred"}
    post.later(days=2)
    sync(post, ScriptedCarrier({"a": [LATER]}))
    row = post.rows()["a"]
    assert (row.state, row.reply) == ("failed", "No success in 5 days: 451 4.7.1 Greylisted.")
    (alert,) = post.alerts()
    assert (alert.kind, alert.subject) == ("delivery failed", "relay")
    carrier = ScriptedCarrier()
    post.later(days=1)
    sync(post, carrier)
    assert carrier.attempts == 0


def test_what_could_not_even_be_tried_for_five_days_fails_too(post: Post) -> None:
    sync(post, ScriptedCarrier({"open": [DOWN]}), "a")
    for _ in range(4):
        post.later(days=1.3)
        sync(post, ScriptedCarrier({"open": [DOWN]}))
    assert post.rows()["a"].state == "failed"
    assert post.rows()["a"].reply.startswith("No success in 5 days: relay.example.org")


def test_a_lost_answer_is_remembered_as_doubt(post: Post) -> None:
    lost = Settle(Outcome.DEFERRED, "The answer is lost.", doubtful=True)
    sync(post, ScriptedCarrier({"a": [lost], "b": [LATER]}), "a", "b")
    assert {name: row.doubtful for name, row in post.rows().items()} == {"a": True, "b": False}
    post.later(hours=1)
    carrier = ScriptedCarrier()
    sync(post, carrier)
    assert carrier.letters[0].doubtful


def test_recipients_who_have_it_are_handed_back_at_the_next_attempt(post: Post) -> None:
    done = ("bob@example.org", '"eve x"@example.org')
    some = Settle(Outcome.DEFERRED, "450 Fay is full.", done=done)
    sync(post, ScriptedCarrier({"a": [some, LATER]}), "a")
    for _ in range(2):
        post.later(hours=1)
        carrier = ScriptedCarrier({"a": [LATER]})
        sync(post, carrier)
        assert [one.done for one in carrier.letters] == [done]


def test_what_the_owner_drops_while_it_is_under_way_is_not_owed_again(post: Post) -> None:
    carrier = ScriptedCarrier({"a": [Hang()]})

    async def work(bench: Bench) -> None:
        await bench.put("a")
        await carrier.hanging.wait()
        (id_,) = [row.id for row in outbox.listing(bench.storage.catalog)]
        outbox.drop(bench.storage.catalog, [id_])
        outbox.settle(bench.storage.catalog, [_deferred(id_)], post.now, {})

    run(post, carrier, work)
    assert post.states() == {"a": "dropped"}


def _deferred(id_: int) -> Any:
    from fetchd.contracts import Settled

    return Settled(id_, Outcome.DEFERRED, "later")


# -- The end --------------------------------------------------------------------------------


def test_a_stop_finishes_what_is_under_way_and_leaves_the_rest(post: Post) -> None:
    carrier = ScriptedCarrier({"a": [Hang()]})

    async def work(bench: Bench) -> None:
        await bench.put("a", "b", "c")
        await carrier.hanging.wait()
        settling = asyncio.create_task(bench.settle(last=True))
        await asyncio.sleep(0)
        bench.stop.set()
        carrier.answer.set()
        await settling

    run(post, carrier, work)
    assert carrier.carried == ["a"]
    rows = post.rows()
    assert {name: (row.state, row.owner) for name, row in rows.items()} == {
        "a": ("delivered", ""), "b": ("pending", ""), "c": ("pending", ""),
    }  # fmt: skip


def pauses(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set once a worker waits for its turn."""
    paused, pause = asyncio.Event(), pace.Pace.pause

    def noted(self: pace.Pace) -> float:
        if seconds := pause(self):
            paused.set()
        return seconds

    monkeypatch.setattr(pace.Pace, "pause", noted)
    return paused


def test_a_stop_ends_a_wait_for_the_pace(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "PATIENCE", LONG)
    monkeypatch.setattr(deliver, "DRAIN", LONG)
    carrier, paused = ScriptedCarrier(per_minute=1), pauses(monkeypatch)

    async def work(bench: Bench) -> None:
        await bench.put("a", "b")
        settling = asyncio.create_task(bench.settle())
        await paused.wait()
        bench.stop.set()
        async with asyncio.timeout(LONG / 2):
            await settling
            await bench.deliveries.close()

    run(post, carrier, work)
    assert carrier.carried == ["a"]
    assert post.rows()["b"].owner == ""


def test_closing_does_not_wait_for_the_pace(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "DRAIN", LONG)
    carrier, paused = ScriptedCarrier(per_minute=1), pauses(monkeypatch)

    async def work(bench: Bench) -> None:
        await bench.put("a", "b")
        await paused.wait()
        async with asyncio.timeout(LONG / 2):
            await bench.deliveries.close()

    run(post, carrier, work)
    assert post.states() == {"a": "delivered", "b": "pending"}


def test_closing_hangs_up_keeps_what_is_in_doubt_and_lets_go_of_the_rest(post: Post) -> None:
    carrier = ScriptedCarrier({"a": [Hang()]})

    async def work(bench: Bench) -> None:
        await bench.put("a", "b")
        await carrier.hanging.wait()

    run(post, carrier, work)
    assert (carrier.opened, carrier.closed) == (1, 1)
    rows = post.rows()
    assert rows["a"].owner
    assert rows["b"].owner == ""
    heir = ScriptedCarrier()
    sync(post, heir)
    assert {one.id: one.doubtful for one in heir.letters} == {1: True, 2: False}


def test_a_catalog_that_cannot_be_written_is_told_and_nobody_waits(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "PATIENCE", LONG)
    full = CatalogError("The disk is full.")
    carrier = ScriptedCarrier(connections=2)

    def settle(*_args: object) -> None:
        raise full

    async def work(bench: Bench) -> None:
        monkeypatch.setattr(outbox, "settle", settle)
        async with asyncio.timeout(LONG / 2):
            await bench.put("a", "b", "c")
            with pytest.raises(CatalogError, match="full"):
                await bench.settle()
            await bench.put("d")
            with pytest.raises(CatalogError, match="full"):
                await bench.settle()

    run(post, carrier, work)
    assert len(carrier.carried) <= 2  # one for each connection
    assert carrier.opened == carrier.closed


def test_two_processes_never_carry_the_same(post: Post) -> None:
    sync(post, ScriptedCarrier({"open": [DOWN]}), *(f"m{number}" for number in range(20)))
    post.later(hours=1)
    one, two = ScriptedCarrier(connections=2), ScriptedCarrier(connections=2)

    async def main() -> None:
        async with post.at(one) as first, post.at(two) as second:
            await asyncio.gather(first.overdue(), second.overdue())

    asyncio.run(main())
    assert sorted(one.carried + two.carried) == sorted(post.states())
    assert set(post.states().values()) == {"delivered"}


def test_whoever_shares_a_transaction_that_fails_hears_of_it(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settle(*_args: object) -> None:
        raise CatalogError("The disk is full.")

    async def work(bench: Bench) -> None:
        (desk,) = bench.deliveries._desks.values()
        assert isinstance(desk, dispatch.Dispatch)
        monkeypatch.setattr(outbox, "settle", settle)
        attempt = Attempt("work", "key", 0, START)
        records = [desk._outcomes.record([_deferred(n)], {n: attempt}) for n in range(3)]
        ended = await asyncio.gather(*records, return_exceptions=True)
        assert [type(one) for one in ended] == [CatalogError] * 3

    run(post, ScriptedCarrier(), work)


# -- When the settings change -------------------------------------------------------------


def test_what_is_handed_to_a_desk_that_was_replaced_goes_by_the_new_one(post: Post) -> None:
    new = ScriptedCarrier()

    async def work(bench: Bench) -> None:
        desks = bench.deliveries._desks
        stale = desks["relay"]
        await bench.deliveries.replace({"relay": new})
        desks["relay"], fresh = stale, desks["relay"]  # as for whoever had looked it up before
        await bench.put("a")
        await stale.put_stored([])
        desks["relay"] = fresh
        await bench.overdue()

    run(post, ScriptedCarrier(), work)
    assert new.carried == ["a"]
    assert post.states() == {"a": "delivered"}


def test_destinations_may_come_and_go_while_what_is_due_is_handed_in(post: Post) -> None:
    async def work(bench: Bench) -> None:
        await asyncio.gather(
            bench.deliveries.put_overdue(), bench.deliveries.replace({"new": ScriptedCarrier()})
        )

    run(post, ScriptedCarrier(), work)


class SlowDisk:
    """A destination on a disk at which a put takes a while (contracts.DeliverySession)."""

    def __init__(self) -> None:
        self.putting, self.goes_on = asyncio.Event(), asyncio.Event()
        self.told: list[str] = []
        self._put: list[Outgoing] = []

    async def put(self, outgoing: Sequence[Outgoing]) -> None:
        self.putting.set()
        await self.goes_on.wait()
        self._put += outgoing
        self.told.append("put")

    async def settle(self) -> Sequence[Settled]:
        self.told.append("settled")
        done, self._put = self._put, []
        return [Settled(one.id, Outcome.DELIVERED) for one in done]

    async def close(self) -> None:
        self.told.append("closed")


def test_a_disk_that_is_replaced_in_the_middle_of_a_put_is_settled_first(post: Post) -> None:
    async def work(bench: Bench) -> None:
        old: Any = SlowDisk()
        deliveries = bench.deliveries
        await deliveries.replace({"relay": old})
        putting = asyncio.create_task(bench.put("a"))
        await old.putting.wait()
        replacing = asyncio.create_task(deliveries.replace({"relay": ScriptedCarrier()}))
        await asyncio.sleep(0)
        old.goes_on.set()
        await asyncio.gather(putting, replacing)
        assert old.told == ["put", "settled", "closed"]

    run(post, ScriptedCarrier(), work)
    assert post.states() == {"a": "delivered"}
