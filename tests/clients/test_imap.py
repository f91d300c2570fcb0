"""The IMAP conversation: window, deadlines, COMPRESS, IDLE, and servers without end."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import pytest

from fetchd.clients import deflate, pace
from fetchd.clients.deflate import Deflate
from fetchd.clients.imap import WINDOW_COUNT, ImapClient
from fetchd.clients.pace import Pace
from fetchd.clients.stream import TlsMode, TlsSettings, open_stream
from fetchd.errors import ConnectionFailed, FetchdError, RemoteProtocolError, ServerUnavailable
from fetchd.protocol.imap import commands
from fetchd.protocol.imap.events import Completed
from fetchd.protocol.imap.rules import Command
from fetchd.protocol.imap.types import Exists, Fetched
from tests.servers.imap_boxes import Box
from tests.servers.scripted import HANG_UP, SILENCE, Answer, Drip, Endless
from tests.servers.scripted_imap import CAPABILITIES, ScriptedImap

PATIENCE = 30.0
MESSAGES = [b"Subject: %d\r\n\r\nbody %d\r\n" % (n, n) for n in range(1, 4)]
Work = Callable[[ImapClient], Awaitable[None]]


def converse(port: int, work: Work, timeout: float = PATIENCE) -> None:
    """One conversation behind the login."""

    async def main() -> None:
        stream = await open_stream("127.0.0.1", port, TlsSettings(TlsMode.NONE), PATIENCE)
        client = ImapClient(stream, PATIENCE)
        try:
            await client.greeting()
            assert (await client.ask(commands.login("me", "secret"))).ok
            client._timeout, client._pace = timeout, Pace(timeout)
            await work(client)
        finally:
            stream.abort()

    asyncio.run(main())


async def noop(client: ImapClient) -> None:
    await client.ask(commands.noop())


# -- The window -------------------------------------------------------------------------


def test_the_window_is_bounded_by_count_and_by_octets() -> None:
    async def work(client: ImapClient) -> None:
        for octets, most in ((0, WINDOW_COUNT), (5 << 20, 3), (100 << 20, 1)):
            under_way = 0
            async for _ in client.exchange((commands.noop(), octets) for _ in range(1000)):
                under_way = max(under_way, len(client.protocol.pending))
            assert under_way <= most

    with ScriptedImap({}) as server:
        converse(server.port, work)
        assert server.verbs().count("NOOP") == 3000


def test_an_abandoned_exchange_is_read_to_its_end_by_the_next() -> None:
    async def work(client: ImapClient) -> None:
        assert (await client.ask(commands.examine(b"INBOX"))).ok
        fetch = commands.fetch(b"1:3", ["BODY.PEEK[]"])
        answers = client.exchange([(fetch, 0)] * 20)
        await anext(answers)
        await answers.aclose()
        flight = await client.ask(commands.fetch(b"2", ["FLAGS"]))
        assert [e.uid for e in flight.events if isinstance(e, Fetched)] == [2]

    with ScriptedImap({"INBOX": MESSAGES}) as server:
        converse(server.port, work)


def test_what_was_sent_before_the_callers_iterator_failed_is_answered() -> None:
    def asks() -> object:
        yield commands.noop(), 0
        raise RuntimeError("the caller's")

    async def work(client: ImapClient) -> None:
        with pytest.raises(RuntimeError, match="the caller's"):
            async for _ in client.exchange(asks()):  # type: ignore[arg-type]
                pass
        await noop(client)

    with ScriptedImap({}) as server:
        converse(server.port, work, timeout=2.0)
        assert server.verbs() == ["LOGIN", "NOOP", "NOOP"]


# -- Deadlines and limits ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (SILENCE,                        ConnectionFailed,    "answer to NOOP within 0.2 s"),
        (HANG_UP,                        ConnectionFailed,    "hung up while we waited"),
        (Drip(b"x", 0.05),               ConnectionFailed,    "too slow"),
        (Drip(b"* OK still here\r\n", 0.12), ConnectionFailed, "too slow"),
        (Drip(b"* 1 FETCH (FLAGS ())\r\n", 0.15), ConnectionFailed, "too slow"),
        (Endless(b"x" * 65536),          RemoteProtocolError, "endless response"),
        (Endless(b"* LIST () {0}\r\n"),  RemoteProtocolError, "responses to one|unreadable|LIST"),
        ([b"* LIST (", Endless(b"{1}\r\nx ")], RemoteProtocolError, "literals without end"),
        (b"* 1 FETCH (BODY[] {4294967296}\r\n", RemoteProtocolError, "message of more than"),
        (b"* LIST () {4294967296}\r\n",  RemoteProtocolError, "literals without end"),
        (b"Z9 OK who?\r\n",              RemoteProtocolError, "answer to no command"),
    ],
)  # fmt: skip
def test_a_server_that_does_not_come_to_an_end_is_left(
    answer: Answer, kind: type[FetchdError], words: str
) -> None:
    with (
        ScriptedImap({}, answers={"NOOP": answer}) as server,
        pytest.raises(kind, match=words),
    ):
        converse(server.port, noop, timeout=0.2)


@pytest.mark.parametrize(
    ("limit", "words"), [("MAX_KEPT", "to one question"), ("MAX_EVENTS", "while we waited")]
)
def test_whole_responses_without_end_are_too_many(
    limit: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"fetchd.clients.imap.{limit}", 5000)
    with (
        ScriptedImap({}, answers={"NOOP": Endless(b"* 5 EXISTS\r\n" * 100)}) as server,
        pytest.raises(RemoteProtocolError, match=words),
    ):
        converse(server.port, noop)


# -- BYE --------------------------------------------------------------------------------------


def test_q71_the_first_bye_ends_the_session_with_its_own_words() -> None:
    async def work(client: ImapClient) -> None:
        flight = await client.flight(commands.noop())
        assert flight.ok  # what was answered before counts
        for _ in range(2):
            with pytest.raises(ServerUnavailable, match="turns us away: idle too long"):
                await noop(client)

    said = b"<tag> OK\r\n* BYE idle too long\r\n"
    with ScriptedImap({}, answers={"NOOP": said}) as server:
        converse(server.port, work)
        assert server.verbs().count("NOOP") == 1


# -- COMPRESS -----------------------------------------------------------------------------------


def packed(octets: bytes) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeeze.compress(octets) + squeeze.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 1000])
def test_q55_what_is_packed_comes_out_whole_however_it_is_cut(cut: int) -> None:
    octets = b"".join(b"* %d EXISTS\r\n" % n for n in range(500)) + bytes(3 << 20)
    whole = packed(octets)
    there, out = Deflate(whole[:5]), bytearray()
    while there.more:
        out += there.unpack()
    for at in range(5, len(whole), cut):
        out += there.unpack(whole[at : at + cut])
        while there.more:
            piece = there.unpack()
            assert len(piece) <= deflate.PIECE
            out += piece
    assert bytes(out) == octets
    assert zlib.decompressobj(-15).decompress(there.pack(b"A1 NOOP\r\n")) == b"A1 NOOP\r\n"


def bomb(gigabytes: int) -> bytes:
    """A literal of so many gigabytes, in a thousandth of that."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    said = squeeze.compress(b"* 1 FETCH (UID 1 BODY[] {%d}\r\n" % ((gigabytes << 30) - 1))
    said += b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(160))
    return said + squeeze.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (bomb(2),                      "inflates without end"),
        (packed(b" " * (17 << 20)),    "endless response"),
        (b"\xff\xff\xff",              "stream is broken"),
        (zlib.compress(b"* OK\r\n", wbits=-15), "ends before the session"),
        (packed(b"* OK hi\r\n"),       "within|too slow"),
    ],
)  # fmt: skip
def test_q55_a_packed_stream_that_is_none(said: bytes, words: str) -> None:
    peak = 0

    async def work(client: ImapClient) -> None:
        nonlocal peak
        assert await client.compress()
        async for events in client.exchange([(commands.noop(), 0)]):
            peak = max(peak, sum(len(getattr(event, "data", b"")) for event in events))

    answers = {"COMPRESS": [b"<tag> OK\r\n", said]}
    with (
        ScriptedImap({}, answers=answers) as server,
        pytest.raises((ConnectionFailed, RemoteProtocolError), match=words),
    ):
        converse(server.port, work, timeout=0.5)
    assert peak <= deflate.PIECE


def test_q55_empty_blocks_for_ever_are_silence() -> None:
    async def work(client: ImapClient) -> None:
        assert await client.compress()
        await noop(client)

    empty = b"\x00\x00\x00\xff\xff"
    answers = {"COMPRESS": [b"<tag> OK\r\n", Drip(empty, 0.1)]}
    with (
        ScriptedImap({}, answers=answers) as server,
        pytest.raises(ConnectionFailed, match="too slow"),
    ):
        converse(server.port, work, timeout=0.2)


def test_q55_compress_refused_goes_on_as_before() -> None:
    async def work(client: ImapClient) -> None:
        assert not await client.compress()
        assert not client.compressed
        await noop(client)

    with ScriptedImap({}) as server:
        converse(server.port, work)


def test_q55_compress_waits_until_nothing_is_under_way() -> None:
    async def work(client: ImapClient) -> None:
        asks: list[Command] = [commands.noop(), commands.compress(), commands.noop()]
        done: list[str] = []
        async for events in client.exchange((command, 0) for command in asks):
            done += [event.command.verb for event in events if isinstance(event, Completed)]
            if done == ["NOOP"]:
                assert [c.verb for c in client.protocol.pending.values()] in ([], ["COMPRESS"])
        assert done == ["NOOP", "COMPRESS", "NOOP"]

    with ScriptedImap({}, answers={"COMPRESS": b"<tag> NO not now\r\n"}) as server:
        converse(server.port, work)


# -- IDLE -----------------------------------------------------------------------------------------


def test_q51_idle_ends_by_done_when_its_time_is_over() -> None:
    async def work(client: ImapClient) -> None:
        assert (await client.ask(commands.examine(b"INBOX"))).ok
        heard = [events async for events in client.idle(0.2)]
        assert heard == [[]]  # it had begun
        await client.settle()
        await noop(client)

    with ScriptedImap({"INBOX": MESSAGES}) as server:
        converse(server.port, work)
        assert server.heard[-3:] == ["IDLE", "DONE", "NOOP"]


def test_q52_idle_tells_whatever_the_server_says() -> None:
    async def work(client: ImapClient) -> None:
        assert (await client.ask(commands.examine(b"INBOX"))).ok
        news = client.idle(PATIENCE)
        assert await anext(news) == []
        server.change(lambda s: s.boxes[b"INBOX"].add(MESSAGES[0]) and None)
        while Exists(4) not in await anext(news):
            pass  # a read may bring a part of what was said
        await news.aclose()
        await noop(client)

    with ScriptedImap({"INBOX": Box(MESSAGES)}, capabilities=CAPABILITIES) as server:
        converse(server.port, work)


def test_a_long_silence_before_the_news_is_not_slowness() -> None:
    timeout = 0.1

    async def work(client: ImapClient) -> None:
        news = client.idle(PATIENCE)
        assert await anext(news) == []
        first = asyncio.ensure_future(anext(news))
        await asyncio.sleep(2 * pace.PATIENCE * timeout)  # more than an answer would be given
        server.change(lambda s: s.boxes[b"INBOX"].add(MESSAGES[0]) and None)
        said = await first
        while Exists(4) not in said:
            said = await anext(news)  # a read may bring a part of what was said
        await news.aclose()

    async def select_and_work(client: ImapClient) -> None:
        assert (await client.ask(commands.examine(b"INBOX"))).ok
        client._timeout, client._pace = timeout, Pace(timeout)
        await work(client)

    with ScriptedImap({"INBOX": Box(MESSAGES)}, capabilities=CAPABILITIES) as server:
        converse(server.port, select_and_work)


@pytest.mark.parametrize("said", [b"<tag> BAD what\r\n", b"<tag> NO not here\r\n"])
def test_q52_idle_refused_ends_at_once(said: bytes) -> None:
    async def work(client: ImapClient) -> None:
        assert [events async for events in client.idle(PATIENCE)] in ([], [[]])
        await noop(client)

    with ScriptedImap({}, answers={"IDLE": said}) as server:
        converse(server.port, work)
