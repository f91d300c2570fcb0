"""Places that are shared: in turn, and given back whatever happens."""

import asyncio
from datetime import timedelta

from fetchd.auth.preset import Caps
from fetchd.pipeline.purse import Purse
from fetchd.pipeline.tools import MemoryBudget


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_memory_is_given_in_turn_and_one_that_is_larger_than_all_goes_alone() -> None:
    async def main() -> None:
        budget, order = MemoryBudget(100), list[str]()

        async def take(name: str, octets: int) -> None:
            async with budget.take(octets):
                order.append(name)
                await asyncio.sleep(0.01)
                order.append(f"/{name}")

        await asyncio.gather(take("a", 60), take("b", 500), take("c", 10))
        assert order == ["a", "/a", "b", "/b", "c", "/c"]

    asyncio.run(main())


def test_who_is_cancelled_twice_gives_back_all_the_same() -> None:
    async def main() -> None:
        budget = MemoryBudget(100)

        async def take() -> None:
            async with budget.take(100):
                await asyncio.Event().wait()

        for _ in range(3):
            holder, waiter = asyncio.create_task(take()), asyncio.create_task(take())
            await settled()
            for task in (waiter, holder):
                task.cancel()
                task.cancel()
            await asyncio.wait({holder, waiter})
        async with asyncio.timeout(1), budget.take(100):
            pass

    asyncio.run(main())


def test_a_budget_that_was_raised_lets_in_who_waits() -> None:
    async def main() -> None:
        purse = Purse("host", "Host", Caps(connections=1))
        entered = list[int]()

        async def connect(number: int) -> None:
            async with purse.connection():
                entered.append(number)
                await asyncio.Event().wait()

        tasks = [asyncio.create_task(connect(number)) for number in range(3)]
        await settled()
        assert entered == [0]
        purse.allow(Caps(connections=2, poll_floor=timedelta(minutes=1)))
        await settled()
        assert entered == [0, 1]
        tasks[0].cancel()
        await settled()
        assert entered == [0, 1, 2]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(main())
