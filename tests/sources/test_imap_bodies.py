"""Quirks 38 to 41 and 74: bodies that do not come, or not as they were announced."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fetchd.contracts import Fetched, Unavailable
from fetchd.errors import (
    ConnectionFailed,
    FetchdError,
    RemoteProtocolError,
    ServerUnavailable,
)
from fetchd.sources.imap import ImapSession
from tests import corpus
from tests.pipeline.imap_home import ImapHome
from tests.servers.dovecot import Dovecot
from tests.servers.imap_boxes import Box
from tests.servers.imap_sins import EMPTY_BODY, NIL_BODY, Sins, wrong_size
from tests.servers.mail import Mail, digest
from tests.servers.scripted import HANG_UP, Answer
from tests.servers.scripted_imap import CAPABILITIES, ScriptedImap
from tests.sources.imap_opening import MESSAGES, bodies, failure, opened, visit, whole
from tests.sources.opening import PASSWORD, content


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot() as server:
        yield server


@pytest.mark.live
def test_q38_bodies_are_peeked_at(dovecot: Dovecot) -> None:
    dovecot.add_user("q38", PASSWORD)
    dovecot.fill("q38", MESSAGES, part="new")
    lines: list[str] = []
    assert visit(dovecot.port.imap, bodies, user="q38", transcript=lines) == MESSAGES
    assert not any("RFC822 " in line or "BODY[]" in line for line in lines if line[0] == "C")
    with dovecot.client("q38") as other:
        assert (other.status("INBOX", "UNSEEN"), other.status("INBOX", "RECENT")) == (5, 5)


@pytest.mark.parametrize(
    ("sins", "said"),
    [
        (Sins(bodies={3: NIL_BODY}), "OK and hands nothing over"),
        (Sins(bodies={3: EMPTY_BODY}), "came empty"),
        (Sins(refused=[3]), "NO and hands nothing over"),
        (Sins(lacking={3: {"BODY"}}), "OK and hands nothing over"),
    ],
)
def test_q39_a_poison_message_is_tried_alone_and_keeps_no_other(sins: Sins, said: str) -> None:
    with ScriptedImap({"INBOX": MESSAGES}, sins=sins) as server:
        found = visit(server.port, bodies)
        assert sorted(one for one in found if isinstance(one, bytes)) == [
            *MESSAGES[:2], *MESSAGES[3:],
        ]  # fmt: skip
        (reason,) = (one for one in found if isinstance(one, str))
        assert said in reason
        assert "UID FETCH 3 (UID BODY.PEEK[])" in server.heard


def test_q39_a_poison_message_is_quarantined_reported_and_tried_again(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": corpus.small(5)}, sins=Sins(refused=[3])) as server:
        here = ImapHome(tmp_path, server.port, "work")
        report = here.sync()
        assert (report.ok, report.fetched, len(report.aside)) == (False, 4, 1)
        assert here.believed()["INBOX"].keys() == {1, 2, 4, 5}


def test_q39_twenty_refusals_in_a_row_are_the_servers_trouble() -> None:
    many = [b"Subject: %d\r\n\r\nx\r\n" % n for n in range(40)]
    with ScriptedImap({"INBOX": many}, sins=Sins(refused=range(1, 41))) as server:
        assert isinstance(failure(server.port), ServerUnavailable)


@pytest.mark.parametrize(
    "code",
    [b"[UNAVAILABLE] later", b"[THROTTLED] wait", b"User is authenticated but not connected"],
)
def test_q39_a_refusal_that_is_the_servers_is_no_messages_fault(code: bytes) -> None:
    answers = {re.compile("BODY"): b"<tag> NO " + code + b"\r\n"}
    with ScriptedImap({"INBOX": MESSAGES}, answers=answers) as server:
        assert isinstance(failure(server.port), ServerUnavailable)
        assert len([line for line in server.heard if "BODY" in line]) == 1


@pytest.mark.live
def test_q39_what_dovecot_cannot_read_keeps_no_other(tmp_path: Path) -> None:
    with Dovecot() as server:
        server.add_user("work", PASSWORD)
        server.fill("work", corpus.small(5))

        async def work(session: ImapSession) -> list[bytes | str]:
            listing = await whole(session)
            damaged = sorted((server.maildir("work") / "cur").iterdir())[2]
            damaged.unlink()
            damaged.mkdir()  # reading it fails
            return [content(one) async for one in session.fetch(listing.messages)]

        found = visit(server.port.imap, work, user="work")
        assert [isinstance(one, str) for one in found].count(True) <= 1
        assert len([one for one in found if isinstance(one, bytes)]) == 4


def expunged(server: ScriptedImap) -> None:
    server.boxes[b"INBOX"].remove({2, 3})


@pytest.mark.parametrize("capabilities", [CAPABILITIES, ("IMAP4rev1", "AUTH=PLAIN")])
def test_q39_what_somebody_expunged_meanwhile_is_no_failure(
    capabilities: tuple[str, ...], tmp_path: Path
) -> None:
    on = {re.compile("BODY"): expunged}
    with ScriptedImap({"INBOX": corpus.small(5)}, on=on, capabilities=capabilities) as server:
        here = ImapHome(tmp_path, server.port, "work")
        report = here.sync()
        assert (report.ok, report.fetched, report.aside) == (True, 3, set())
        assert here.sync().ok
        assert here.believed()["INBOX"].keys() == {1, 4, 5}


@pytest.mark.live
def test_q39_what_somebody_expunged_on_dovecot_is_no_failure(dovecot: Dovecot) -> None:
    dovecot.add_user("gone", PASSWORD)
    dovecot.fill("gone", MESSAGES)

    async def work(session: ImapSession) -> list[bytes | str]:
        listing = await whole(session)
        with dovecot.client("gone") as other:
            other.expunge("INBOX", [2, 4])
        return [content(one) async for one in session.fetch(listing.messages)]

    assert visit(dovecot.port.imap, work, user="gone") == MESSAGES[::2]


def test_q39_what_is_listed_and_never_told_of_again_is_told_to_the_owner() -> None:
    """No expunge was announced: an answer without it is no proof."""
    answers = {re.compile("UID FETCH 3 "): b"<tag> OK nothing\r\n"}
    with ScriptedImap({"INBOX": MESSAGES}, sins=Sins(bodies={3: NIL_BODY}), answers=answers) as s:
        found = visit(s.port, bodies)
        assert len(found) == 5
        assert any(isinstance(one, str) for one in found)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (wrong_size(10, MESSAGES[2]), "literal of another size|answer to no command"),
        (wrong_size(len(MESSAGES[2]) + 3, MESSAGES[2]), "another size|within|hung up"),
        (wrong_size(4 << 30, b"x"), "message of more than"),
        (wrong_size(10**30, b"x"), "message of more than|end"),
        (b"{x}\r\n", "hands nothing over"),
    ],
)
def test_q40_a_literal_of_the_wrong_size_ends_the_session(said: Answer, words: str) -> None:
    with ScriptedImap({"INBOX": MESSAGES[:3]}, sins=Sins(bodies={3: said})) as server:

        async def work(session: ImapSession) -> list[Fetched | Unavailable]:
            listing = await whole(session)
            arrivals = session.fetch(listing.messages)
            found = [await anext(arrivals), await anext(arrivals)]
            if "hands nothing" in words:
                last = await anext(arrivals)
                assert isinstance(last, Unavailable)
                return [*found, last]
            with pytest.raises((ConnectionFailed, RemoteProtocolError), match=words):
                await anext(arrivals)
            assert session.in_progress == listing.messages[2]
            return found

        found = visit(server.port, work, read_timeout=1.0)
        assert [content(one) for one in found[:2]] == MESSAGES[:2]


def test_q40_a_message_at_which_the_session_ends_is_set_aside_alone(tmp_path: Path) -> None:
    sins = Sins(bodies={3: [b"{99}\r\nshort", HANG_UP]})
    with ScriptedImap({"INBOX": corpus.small(5)}, sins=sins) as server:
        here = ImapHome(tmp_path, server.port, "work")
        report = here.sync()
        assert (report.ok, report.fetched) == (False, 4)
        assert report.aside == {("INBOX", b"1600000000.3")}


@pytest.mark.parametrize("size", [1, 10_000_000])
def test_q41_a_size_that_is_not_what_comes_is_only_a_size(size: int) -> None:
    with ScriptedImap({"INBOX": MESSAGES}, sins=Sins(sizes={2: size, 4: size})) as server:
        assert visit(server.port, bodies) == MESSAGES


def test_q63_what_the_owner_finds_too_large_is_never_asked_for() -> None:
    box = Box([*MESSAGES[:2], b"Subject: big\r\n\r\n" + b"x" * 5000 + b"\r\n"])
    with ScriptedImap({"INBOX": box}) as server:
        found = visit(server.port, bodies, max_message_size=1000)
        assert found[:2] == MESSAGES[:2]
        assert "max_message_size" in str(found[2])
        assert [line for line in server.heard if "BODY" in line] == [
            "UID FETCH 1:2 (UID BODY.PEEK[])"
        ]


ODD = [
    b"Subject: nul\r\n\r\na\0b\r\n",
    b"Subject: bare cr and lf\r\n\r\na\rb\nc\r\n",
    b"Subject: \xff\xfe 8-bit \xc3\r\n\r\nx\r\n",
    b"Subject: long\r\n\r\n" + b"x" * 12_000 + b"\r\n",
    b"Subject: no last line end\r\n\r\nx",
    b"no header at all",
    b"\r\n",
    b") FLAGS (\\Seen))\r\n* 9 FETCH (UID 9 BODY[] {1}\r\nA1 OK done\r\n",
]


def test_q74_octets_are_kept_as_they_came(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": ODD}) as server:
        assert visit(server.port, bodies) == ODD
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().fetched == len(ODD)
        assert here.archived() == {digest(m): 1 for m in ODD}


def test_bodies_of_all_sizes_are_exact_and_large_ones_lie_in_files(tmp_path: Path) -> None:
    sizes = [0, 1, 2, 1 << 16, (1 << 20) + 7, 6 << 20]
    mails = [Mail(b"S: %d\r\n\r\n" % n + b"y" * n) for n in sizes]

    async def main(port: int) -> None:
        async with opened(port, spill_dir=tmp_path) as session:
            listing = await whole(session)
            async for one in session.fetch(listing.messages):
                assert isinstance(one, Fetched)
                expected = mails[one.remote.number - 1].octets
                assert b"".join(one.body.chunks()) == expected
                assert (one.body.path is not None) == (len(expected) > 4 << 20)
                one.body.discard()

    with ScriptedImap({"INBOX": mails}) as server:
        asyncio.run(main(server.port))
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    sins = Sins(bodies={1: [b"{9000000}\r\n" + b"z" * (5 << 20), HANG_UP]})

    async def work(session: ImapSession) -> None:
        listing = await whole(session)
        with pytest.raises(FetchdError):
            [one async for one in session.fetch(listing.messages)]

    with ScriptedImap({"INBOX": [b"x" * (9 << 20)]}, sins=sins) as server:
        visit(server.port, work, spill_dir=tmp_path)
        assert list(tmp_path.iterdir()) == []
