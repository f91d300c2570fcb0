"""Who may connect when: caps, order, and nobody starved."""

import asyncio
from collections.abc import Callable

import pytest

from fetchd.daemon import turns as turns_module
from fetchd.daemon.turns import Place, Turns
from fetchd.errors import ServerUnavailable
from tests.daemon.in_loop import in_loop


def never() -> None:
    raise AssertionError("nobody waits")


async def granted(task: "asyncio.Task[Place]") -> bool:
    for _ in range(5):
        await asyncio.sleep(0)
    return task.done()


def taking(
    turns: Turns, host: str, rank: int = 0, yield_: Callable[[], None] = never
) -> "asyncio.Task[Place]":
    return asyncio.create_task(turns.take(host, rank, yield_))


@in_loop
async def test_no_more_than_so_many_at_once_and_at_one_host() -> None:
    turns = Turns(places=3, per_host=2)
    first, second, third = (taking(turns, "a") for _ in range(3))
    other, late = taking(turns, "b"), taking(turns, "c")
    assert [await granted(t) for t in (first, second, third, other, late)] == [
        True, True, False, True, False,
    ]  # fmt: skip
    assert (turns.held, turns.waiting) == (3, 2)
    turns.give_back(first.result())
    assert await granted(third)
    assert not await granted(late)
    turns.give_back(other.result())
    assert await granted(late)


@in_loop
async def test_the_lower_rank_goes_first_and_equals_in_their_order() -> None:
    turns = Turns(places=1, per_host=1)
    holder = await turns.take("x", 0, lambda: None)
    waiting = {name: taking(turns, name, rank) for name, rank in (("a", 2), ("b", 1), ("c", 1))}
    await granted(waiting["a"])
    order = []
    place = holder
    for _ in range(3):
        turns.give_back(place)
        await granted(waiting["a"])
        [name] = [n for n, t in waiting.items() if t.done() and n not in order]
        order.append(name)
        place = waiting[name].result()
    assert order == ["b", "c", "a"]


@in_loop
async def test_who_gives_up_waiting_leaves_the_place_to_others() -> None:
    turns = Turns(places=1, per_host=1)
    holder = await turns.take("a", 0, lambda: None)
    gone, next_one = taking(turns, "b"), taking(turns, "b")
    await granted(gone)
    gone.cancel()
    await asyncio.wait({gone})
    turns.give_back(holder)
    turns.give_back(holder)
    assert await granted(next_one)
    assert (turns.held, turns.waiting) == (1, 0)


@in_loop
async def test_a_long_holder_is_asked_once_when_somebody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns_module, "QUANTUM", 0.05)
    turns = Turns(places=2, per_host=2)
    asked: list[str] = []
    both = asyncio.Event()

    def ask_young() -> None:
        asked.append("young")
        both.set()

    await turns.take("a", 0, lambda: asked.append("old"))
    await asyncio.sleep(0.06)
    assert asked == []
    young = await turns.take("b", 0, ask_young)
    waiting = taking(turns, "c")
    await granted(waiting)
    assert asked == ["old"]
    another = taking(turns, "d")
    await asyncio.wait_for(both.wait(), 2)
    assert asked == ["old", "young"]
    turns.give_back(young)
    assert await granted(waiting)
    assert not await granted(another)


@in_loop
async def test_only_who_stands_in_the_way_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "QUANTUM", 0.0)
    turns = Turns(places=10, per_host=1)
    asked: list[str] = []
    await turns.take("a", 0, lambda: asked.append("a"))
    await turns.take("b", 0, lambda: asked.append("b"))
    await granted(taking(turns, "b", 1))
    assert asked == ["b"]


@in_loop
async def test_more_places_are_given_at_once() -> None:
    turns = Turns(places=1, per_host=1)
    await turns.take("a", 0, lambda: None)
    waiting = taking(turns, "b")
    assert not await granted(waiting)
    turns.resize(2, 1)
    assert await granted(waiting)


@in_loop
async def test_a_spare_place_is_only_what_nobody_waits_for() -> None:
    turns = Turns(places=2, per_host=2)
    async with turns.spare("a"):
        assert turns.held == 1
        await turns.take("a", 0, lambda: None)
        waiting = taking(turns, "a")
        await granted(waiting)
        with pytest.raises(ServerUnavailable):
            async with turns.spare("b"):
                raise AssertionError
    assert await granted(waiting)
