"""What a session costs in flights and octets, COMPRESS at work, and lines that break anywhere."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from fetchd.errors import ConnectionFailed, FetchdError, RemoteProtocolError
from fetchd.sources import imap_bodies
from fetchd.sources.imap import ImapSession
from fetchd.sources.imap_bodies import Line
from tests import corpus
from tests.pipeline.imap_home import ImapHome
from tests.servers.dovecot import Dovecot
from tests.servers.mail import digest
from tests.servers.proxy import Proxy
from tests.servers.scripted_imap import CAPABILITIES, ScriptedImap
from tests.sources.imap_opening import MESSAGES, bodies, opened, visit, whole
from tests.sources.opening import PASSWORD, content

# -- Flights ----------------------------------------------------------------------------


@pytest.mark.live
@pytest.mark.parametrize(
    ("hidden", "auth", "most"),
    [
        ((),                         "plain", 3),  # login, overview, LOGOUT
        ((),                         "auto",  5),  # SCRAM takes two more
        (("LIST-STATUS",),           "plain", 4),
        (("LIST-STATUS",),           "auto",  6),
        (("SASL-IR",),               "auto",  6),
        (("SASL-IR",),               "login-command", 3),
    ],
)  # fmt: skip
def test_a_poll_of_thirty_unchanged_mailboxes(
    hidden: tuple[str, ...], auth: str, most: int, tmp_path: Path
) -> None:
    with Dovecot(separator="/", hide=hidden) as server:
        server.add_user("work", "open sesame")
        for n, message in enumerate(corpus.small(30)):
            server.fill("work", [message], mailbox=f"box{n}")
        with Proxy("127.0.0.1", server.port.imap) as proxy:
            here = ImapHome(tmp_path, proxy.port, "work", auth=auth)
            here.destination = {}
            assert here.sync().fetched == 30
            before = proxy.flights
            report = here.sync()
            assert (report.ok, report.fetched, report.on_server) == (True, 0, 30)
            assert proxy.flights - before <= most


def test_a_first_sync_of_many_messages_is_pipelined() -> None:
    many = [b"Subject: %d\r\n\r\nx\r\n" % n for n in range(2000)]
    with ScriptedImap({"INBOX": many}) as server, Proxy(server.host, server.port) as proxy:
        assert len(visit(proxy.port, bodies)) == 2000
        assert len([line for line in server.heard if "BODY" in line]) <= 24
        assert proxy.flights <= 30


# -- COMPRESS ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot() as server:
        server.add_user("me", PASSWORD)
        server.fill("me", corpus.realistic(300, total=24 << 20))
        yield server


@pytest.mark.live
@pytest.mark.parametrize(
    ("slow", "compress", "packs"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_q55_bodies_are_packed_where_the_line_is_slow(
    dovecot: Dovecot, slow: bool, compress: bool, packs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap_bodies, "SLOW_LINE", 1 << 60 if slow else 0)
    monkeypatch.setattr(imap_bodies, "PROBE", 1 << 18)
    monkeypatch.setattr("fetchd.clients.imap.WINDOW_OCTETS", 1 << 20)
    monkeypatch.setattr(imap_bodies, "BATCH_OCTETS", 1 << 18)
    lines: list[str] = []

    async def work(session: ImapSession) -> int:
        listing = await whole(session)
        octets = 0
        async for one in session.fetch(listing.messages):
            data = content(one)
            assert isinstance(data, bytes)
            octets += len(data)
            found.append(digest(data))
        assert session.client.compressed == packs
        return octets

    found: list[str] = []
    with Proxy("127.0.0.1", dovecot.port.imap) as proxy:
        octets = visit(proxy.port, work, compress=compress, transcript=lines)
        assert sorted(found) == sorted(
            one.digest for one in dovecot.served_imap("me")["INBOX"].values()
        )
        assert (proxy.octets < octets * 0.9) == packs
    assert lines.count("C: COMPRESS DEFLATE") == packs


@pytest.mark.parametrize(
    ("may", "octets", "waited", "asked"),
    [
        (True,  imap_bodies.PROBE - 1, 1e9, False),  # too little to tell
        (True,  8 << 20,               0.9, False),
        (True,  8 << 20,               1.1, True),
        (False, 8 << 20,               1e9, False),
    ],
)  # fmt: skip
def test_q55_a_slow_line_is_asked_about_once(
    may: bool, octets: int, waited: float, asked: bool
) -> None:
    line = Line(may, octets, waited)
    assert (line.wants_compressing, line.wants_compressing) == (asked, False)


# -- Lines that break ------------------------------------------------------------------------


async def as_far_as_it_goes(port: int) -> list[bytes]:
    """The whole bodies that came before the line broke."""
    found: list[bytes] = []
    try:
        async with opened(port) as session:
            listing = await whole(session)
            async for one in session.fetch(listing.messages):
                data = content(one)
                assert isinstance(data, bytes)
                found.append(data)
            await session.close()
    except (ConnectionFailed, RemoteProtocolError):
        assert len(found) <= len(MESSAGES)
    return found


@pytest.mark.parametrize("capabilities", [CAPABILITIES, ("IMAP4rev1", "AUTH=PLAIN")])
def test_a_line_that_breaks_anywhere_keeps_each_whole_body(capabilities: tuple[str, ...]) -> None:
    async def main() -> None:
        async with Proxy(server.host, server.port).serve() as proxy:
            assert await as_far_as_it_goes(proxy.port) == MESSAGES
            total, most = proxy.octets, 0
            for cut in range(0, total + 1, 13):
                proxy.cut_after = cut
                found = await asyncio.wait_for(as_far_as_it_goes(proxy.port), 20)
                assert found == MESSAGES[: len(found)]
                assert len(found) >= most
                most = len(found)
            assert most == len(MESSAGES)

    with ScriptedImap({"INBOX": MESSAGES}, capabilities=capabilities) as server:
        asyncio.run(main())


def test_what_broke_off_is_brought_by_the_next_session(tmp_path: Path) -> None:
    mails = corpus.small(12)
    with ScriptedImap({"INBOX": mails}) as server, Proxy(server.host, server.port) as proxy:
        here = ImapHome(tmp_path, proxy.port, "work")
        fetched = 0
        for cut in (300, 1500, 6_000, 12_000, 20_000):
            proxy.cut_after = cut
            fetched += here.sync().fetched
        proxy.cut_after = None
        assert fetched < 24
        report = here.sync()
        assert (report.ok, fetched + report.fetched) == (True, 12)
        assert here.archived().total() == 12
        asked = [line for line in server.heard if "BODY.PEEK[]" in line]
        assert len(asked) > 2
        assert here.verify().damaged == ()


def test_nothing_is_left_of_a_session_that_is_hung_up() -> None:
    async def main() -> None:
        async with opened(server.port) as session:
            listing = await whole(session)
            arrivals = session.fetch(listing.messages)
            await anext(arrivals)
            await session.abort()
            with pytest.raises(FetchdError):
                [one async for one in arrivals]
            await session.close()

    with ScriptedImap({"INBOX": [b"x" * 300_000] * 30}) as server:
        asyncio.run(main())
