"""What every destination over connections promises (contracts.Carrier), against each of them.

A new kind adds one line to `KINDS`: a context that gives a carrier and how to read back
what has arrived there.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from fetchd.contracts import Carrier, Courier, Outcome
from fetchd.destinations.command import CommandCarrier
from fetchd.settings import CommandDestination
from tests.destinations.imap_sites import site
from tests.destinations.outgoing import outgoing
from tests.destinations.smtp_sites import carrier as smtp_carrier
from tests.servers.scripted_imap import ScriptedImap
from tests.servers.scripted_smtp import ScriptedSmtp

T = TypeVar("T")

PATIENCE = 30.0
PROGRAM = (
    "import os, pathlib, sys;"
    "pathlib.Path(sys.argv[1], os.environ['FETCHD_DELIVERY']).write_bytes(sys.stdin.buffer.read())"
)
TEXTS = [b"Subject: number %d\r\n\r\nText.\r\n" % number for number in range(4)]


@dataclass(frozen=True)
class Place:
    carrier: Carrier
    arrived: Callable[[], list[bytes]]


@contextmanager
def _smtp(_folder: Path, *, lmtp: bool) -> Iterator[Place]:
    with ScriptedSmtp(lmtp=lmtp) as server:
        yield Place(smtp_carrier(server), lambda: [one.octets for one in server.accepted])


@contextmanager
def _imap(_folder: Path) -> Iterator[Place]:
    with ScriptedImap({"INBOX": []}) as server:
        inbox = server.account.boxes[b"INBOX"]
        yield Place(site(server.port), lambda: [mail.octets for mail in inbox.messages])


@contextmanager
def _command(folder: Path) -> Iterator[Place]:
    settings = CommandDestination(
        kind="command", command=(sys.executable, "-c", PROGRAM, str(folder)), newline="crlf"
    )
    yield Place(CommandCarrier(settings), lambda: [path.read_bytes() for path in folder.iterdir()])


KINDS = {
    "smtp": lambda folder: _smtp(folder, lmtp=False),
    "lmtp": lambda folder: _smtp(folder, lmtp=True),
    "imap": _imap,
    "command": _command,
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with request.param(tmp_path) as opened:
        yield opened


def with_courier(place: Place, work: Callable[[Courier], Awaitable[T]]) -> T:
    async def main() -> T:
        async with asyncio.timeout(PATIENCE):
            courier = await place.carrier.open()
            try:
                return await work(courier)
            finally:
                await courier.close()

    return asyncio.run(main())


def test_it_is_a_carrier_with_terms(place: Place) -> None:
    assert isinstance(place.carrier, Carrier)
    terms = place.carrier.terms
    assert terms.connections >= 1
    assert terms.batch >= 1
    assert terms.schedule.give_up_after is not None


def test_each_message_has_one_outcome_and_arrives_with_its_octets(place: Place) -> None:
    async def work(courier: Courier) -> list[tuple[int, Outcome]]:
        found = []
        for number in range(4):
            settled = await courier.carry([outgoing(number)])
            found += [(one.id, one.outcome) for one in settled]
        return found

    outcomes = with_courier(place, work)
    assert outcomes == [(number, Outcome.DELIVERED) for number in range(4)]
    arrived = sorted(octets[octets.index(b"Subject:") :] for octets in place.arrived())
    assert arrived == TEXTS


def test_as_many_as_a_batch_are_taken_at_once(place: Place) -> None:
    batch = [outgoing(number) for number in range(min(4, place.carrier.terms.batch))]
    settled = with_courier(place, lambda courier: courier.carry(batch))
    assert {one.id for one in settled} == {one.id for one in batch}
    assert len(place.arrived()) == len(batch)


def test_nothing_is_in_doubt_before_and_behind_a_message(place: Place) -> None:
    async def work(courier: Courier) -> tuple[bool, bool]:
        before = courier.in_doubt
        await courier.carry([outgoing(1)])
        return before, courier.in_doubt

    assert with_courier(place, work) == (False, False)


def test_two_connections_stand_side_by_side(place: Place) -> None:
    async def main() -> list[Outcome]:
        async with asyncio.timeout(PATIENCE):
            couriers = [await place.carrier.open() for _ in range(2)]
            carried = await asyncio.gather(
                *(courier.carry([outgoing(i)]) for i, courier in enumerate(couriers))
            )
            for courier in couriers:
                await courier.close()
            return [one.outcome for settled in carried for one in settled]

    assert asyncio.run(main()) == [Outcome.DELIVERED] * 2
    assert len(place.arrived()) == 2


def test_closing_twice_harms_nobody(place: Place) -> None:
    async def work(courier: Courier) -> None:
        await courier.close()

    with_courier(place, work)


def test_a_probe_sends_nothing_and_tells_its_steps(place: Place) -> None:
    heard: dict[str, str] = {}
    asyncio.run(place.carrier.probe(heard.__setitem__))
    assert heard
    assert place.arrived() == []
