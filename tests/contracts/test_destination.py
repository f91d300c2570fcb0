"""What every destination promises (contracts.DeliverySession), against each of them.

A new destination adds one line to `KINDS`: how to open a session on a place
below `tmp_path`, and how to read back what is there.
"""

import asyncio
import mailbox
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from fetchd.contracts import Change, DeliverySession, Outcome, Settled
from fetchd.destinations import open_destination
from fetchd.settings import MaildirDestination, MboxDestination
from tests.destinations.outgoing import outgoing

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    open: Callable[[], DeliverySession]
    held: Callable[[], list[bytes]]


def _maildir(newline: str, layout: str, **more: str) -> Callable[[Path], Place]:
    def place(tmp_path: Path) -> Place:
        path = tmp_path / "Maildir"
        settings = MaildirDestination(
            kind="maildir", path=path, newline=newline, layout=layout, **more
        )
        return Place(lambda: open_destination(settings, "instance"), lambda: _read(path))

    return place


def _read(path: Path) -> list[bytes]:
    """All there is in every Maildir at or below the path."""
    boxes = [mailbox.Maildir(cur.parent, create=False) for cur in path.glob("**/cur")]
    return sorted(box.get_bytes(key) for box in boxes for key in box.iterkeys())


def _mbox(tmp_path: Path) -> Place:
    path = tmp_path / "mbox"
    settings = MboxDestination(kind="mbox", path=path)
    return Place(lambda: open_destination(settings, "instance"), lambda: _entries(path))


def _entries(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    with closing(mailbox.mbox(path, create=False)) as box:
        return sorted(box.get_bytes(key) for key in box.iterkeys())


KINDS = {
    "maildir-lf": _maildir("lf", "flat"),
    "maildir-crlf": _maildir("crlf", "flat"),
    "maildir-folders": _maildir("lf", "flat", folder="{account}/{mailbox}", flags="keep"),
    "mirror-lf": _maildir("lf", "mirror"),
    "mirror-crlf-trash": _maildir("crlf", "mirror", removed="trash"),
    "mbox": _mbox,
}


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return request.param(tmp_path)


def with_session(place: Place, work: Callable[[DeliverySession], Awaitable[T]]) -> T:
    async def main() -> T:
        session = place.open()
        try:
            return await work(session)
        finally:
            await session.close()

    return asyncio.run(main())


def test_every_message_put_is_settled_once_as_delivered(place: Place) -> None:
    async def work(session: DeliverySession) -> list[Settled]:
        await session.put([outgoing(1), outgoing(2)])
        await session.put([outgoing(3)])
        return await session.settle()

    settled = with_session(place, work)
    assert {one.id: one.outcome for one in settled} == dict.fromkeys((1, 2, 3), Outcome.DELIVERED)
    assert len(settled) == len(place.held()) == 3


def test_a_session_settles_as_often_as_wanted(place: Place) -> None:
    async def work(session: DeliverySession) -> list[int]:
        ids = []
        for number in range(3):
            await session.put([outgoing(number)])
            ids += [one.id for one in await session.settle()]
        return ids + [one.id for one in await session.settle()]

    assert with_session(place, work) == [0, 1, 2]


def test_what_was_not_settled_is_given_up_by_close(place: Place) -> None:
    with_session(place, lambda session: session.put([outgoing(1)]))
    assert place.held() == []


def test_a_doubtful_delivery_that_never_happened_is_made(place: Place) -> None:
    async def work(session: DeliverySession) -> list[Settled]:
        await session.put([outgoing(1, doubtful=True)])
        return await session.settle()

    assert [one.outcome for one in with_session(place, work)] == [Outcome.DELIVERED]
    assert len(place.held()) == 1


def test_a_doubtful_delivery_that_happened_is_not_repeated(place: Place) -> None:
    async def work(session: DeliverySession, doubtful: bool) -> list[Settled]:
        await session.put([outgoing(1, doubtful=doubtful)])
        return await session.settle()

    for doubtful in (False, True, True):
        settled = with_session(place, lambda s, d=doubtful: work(s, d))
        assert [one.outcome for one in settled] == [Outcome.DELIVERED]
    assert len(place.held()) == 1


def test_an_impossible_key_fails_and_harms_no_other(place: Place) -> None:
    async def work(session: DeliverySession) -> list[Settled]:
        await session.put([outgoing(1, key="../../x"), outgoing(2)])
        return await session.settle()

    outcomes = {one.id: one.outcome for one in with_session(place, work)}
    assert outcomes == {1: Outcome.FAILED, 2: Outcome.DELIVERED}


def test_flags_and_mailbox_make_no_difference_to_that(place: Place) -> None:
    async def work(session: DeliverySession, doubtful: bool) -> list[Settled]:
        await session.put(
            [
                outgoing(n, flags="\\Seen" * (n % 2), mailbox=f"Box {n % 3}", doubtful=doubtful)
                for n in range(9)
            ]
        )
        return await session.settle()

    for doubtful in (False, True):
        settled = with_session(place, lambda s, d=doubtful: work(s, d))
        assert {one.id: one.outcome for one in settled} == dict.fromkeys(
            range(9), Outcome.DELIVERED
        )
    assert len(place.held()) == 9


def test_what_was_never_delivered_is_followed_without_a_word(place: Place) -> None:
    async def work(session: DeliverySession) -> None:
        await session.put([outgoing(1)])
        await session.settle()
        for flags in ("\\Seen", None):
            await session.follow([Change("key-7", "work", "INBOX", flags)] * 2)
            await session.follow([Change("key-7", "home", "Elsewhere", flags)])

    with_session(place, work)
    assert len(place.held()) == 1


def test_nothing_put_is_nothing_settled_and_nothing_touched(place: Place, tmp_path: Path) -> None:
    assert with_session(place, lambda session: session.settle()) == []
    assert list(tmp_path.iterdir()) == []
