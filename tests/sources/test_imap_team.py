"""Several connections for one mailbox: each message once, whoever breaks or is refused."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fetchd.contracts import Body, Fetched
from fetchd.errors import ConnectionFailed
from fetchd.policy.plan import RemoteMessage
from fetchd.sources import imap_bodies
from fetchd.sources.imap import ImapSession
from fetchd.sources.imap_team import Team
from tests.pipeline.imap_home import ImapHome
from tests.servers.proxy import Proxy
from tests.servers.scripted import HANG_UP, SILENCE, Answer
from tests.servers.scripted_imap import RIGHT, InTurn, ScriptedImap
from tests.sources.imap_opening import opened, visit, whole
from tests.sources.opening import PATIENCE, content

MANY = [b"Subject: %d\r\n\r\n%b\r\n" % (n, b"y" * 20_000) for n in range(300)]


@pytest.fixture(autouse=True)
def _slow_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any line is slow, and known to be so at once."""
    monkeypatch.setattr(imap_bodies, "SLOW_LINE", 1 << 60)
    monkeypatch.setattr(imap_bodies, "PROBE", 1 << 16)
    monkeypatch.setattr(imap_bodies, "BATCH_OCTETS", 1 << 17)
    monkeypatch.setattr("fetchd.clients.imap.WINDOW_OCTETS", 1 << 18)


@pytest.fixture
def server() -> Iterator[ScriptedImap]:
    with ScriptedImap({"INBOX": MANY}) as scripted:
        yield scripted


async def slowly(session: ImapSession) -> list[bytes]:
    """All bodies; a pause at each lets the others have their turn."""
    listing = await whole(session)
    found: list[bytes] = []
    async for one in session.fetch(listing.messages):
        data = content(one)
        assert isinstance(data, bytes)
        found.append(data)
        await asyncio.sleep(0)
    assert session.in_progress is None
    await session.close()
    return found


@pytest.mark.parametrize("connections", [1, 2, 4])
def test_each_message_comes_once_by_so_many(server: ScriptedImap, connections: int) -> None:
    with Proxy(server.host, server.port, delay=0.002) as proxy:
        found = visit(proxy.port, slowly, connections=connections)
    assert sorted(found) == sorted(MANY)
    assert server.connections == connections
    assert server.verbs().count("ID") == connections
    assert server.verbs().count("LIST") == 1
    asked = [line for line in server.heard if "BODY" in line]
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        ("greeting",     b"* BYE [LIMIT] too many connections\r\n"),
        ("greeting",     HANG_UP),
        ("greeting",     SILENCE),
        ("AUTHENTICATE", b"<tag> NO [LIMIT] too many\r\n"),
        ("AUTHENTICATE", b"<tag> NO [AUTHENTICATIONFAILED] odd\r\n"),
        ("EXAMINE",      b"<tag> NO not twice\r\n"),
        ("EXAMINE",      b"* OK [UIDVALIDITY 5] other\r\n<tag> OK\r\n"),
        ("EXAMINE",      SILENCE),
    ],
)  # fmt: skip
def test_q69_a_helper_refused_is_no_error_and_is_not_asked_again(
    server: ScriptedImap, verb: str, answer: Answer
) -> None:
    server.answers[verb] = InTurn(RIGHT, answer)

    async def work(session: ImapSession) -> list[bytes]:
        async with asyncio.timeout(PATIENCE):  # whoever takes nothing is not waited for
            return await slowly(session)

    found = visit(server.port, work, read_timeout=10 * PATIENCE)
    assert sorted(found) == sorted(MANY)
    assert server.connections == 2


@pytest.mark.parametrize("cut", [100, 1000, 30_000, 100_000, 777_777])
def test_a_helper_that_breaks_gives_back_what_it_had_not_brought(
    server: ScriptedImap, cut: int
) -> None:
    async def work(session: ImapSession) -> list[bytes]:
        proxy.cut_after = cut  # of the connections to come
        return await slowly(session)

    with Proxy(server.host, server.port) as proxy:
        found = visit(proxy.port, work, max_message_size=None)
        assert sorted(found) == sorted(MANY)
        assert proxy.connections == 2


def test_what_came_whole_counts_where_the_first_line_breaks(
    server: ScriptedImap, tmp_path: Path
) -> None:
    with Proxy(server.host, server.port, cut_after=2_000_000) as proxy:

        async def work(session: ImapSession) -> list[bytes]:
            proxy.cut_after = None
            listing = await whole(session)
            found: list[bytes] = []

            async def collect() -> None:
                async for one in session.fetch(listing.messages):
                    assert isinstance(one, Fetched)
                    found.append(b"".join(one.body.chunks()))

            with pytest.raises(ConnectionFailed):
                await collect()
            assert session.in_progress is not None
            return found

        found = visit(proxy.port, work)
        assert len(found) == len(set(found)) >= 80
        assert set(found) <= set(MANY)


def test_what_came_whole_behind_the_break_is_not_lost() -> None:
    def one(number: int) -> Fetched:
        return Fetched(RemoteMessage(b"1.%d" % number, 1, number), Body(1, b"x"))

    async def main() -> None:
        asked, broken, brought = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def own() -> AsyncGenerator[Fetched, None]:
            await asked.wait()
            broken.set()
            raise ConnectionFailed("the line broke")
            yield

        class Helper:
            async def fetch(self, _: object) -> AsyncGenerator[Fetched, None]:
                yield one(1)
                await broken.wait()
                for _ in range(5):  # until that is known
                    await asyncio.sleep(0)
                yield one(2)
                yield one(3)
                brought.set()
                await asyncio.Event().wait()

        @asynccontextmanager
        async def hire() -> AsyncIterator[Helper]:
            yield Helper()

        arrivals = Team(own(), hire, 1).fetch(iter(()))  # type: ignore[arg-type]
        found = [await anext(arrivals)]
        asked.set()
        await brought.wait()
        found += [await anext(arrivals), await anext(arrivals)]
        assert [arrival.remote.number for arrival in found] == [1, 2, 3]
        with pytest.raises(ConnectionFailed, match="the line broke"):
            await anext(arrivals)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_all_connections_end_with_the_fetch_and_with_the_session(server: ScriptedImap) -> None:
    async def main(*, abort: bool) -> None:
        async with opened(server.port) as session:
            listing = await whole(session)
            arrivals = session.fetch(listing.messages)
            for _ in range(40):
                await anext(arrivals)
            if abort:
                await session.abort()
            await arrivals.aclose()
            assert session._helpers == []
            assert len(asyncio.all_tasks()) == 1
            if not abort:  # and the first is fit for use
                (one,) = [one async for one in session.fetch(listing.messages[7:8])]
                assert content(one) == MANY[7]

    for abort in (False, True):
        asyncio.run(main(abort=abort))


def test_a_sync_with_helpers_is_like_any_other(server: ScriptedImap, tmp_path: Path) -> None:
    here = ImapHome(tmp_path, server.port, "work", connections=3)
    here.destination = {}
    report = here.sync()
    assert (report.ok, report.fetched) == (True, len(MANY))
    assert here.archived().total() == len(MANY)
    assert here.sync().fetched == 0
