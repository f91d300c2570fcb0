"""Quirks 29 to 37: which message is which, and what a listing can be believed."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from fetchd.errors import LocalProtocolError, MailboxUnavailable
from fetchd.message import header_digest, header_of
from fetchd.policy.plan import Listing, RemoteMessage
from fetchd.sources.imap import ImapSession
from tests import corpus
from tests.pipeline.imap_home import ImapHome
from tests.servers.imap_boxes import Box
from tests.servers.imap_sins import Sins
from tests.servers.mail import Mail
from tests.servers.scripted import HANG_UP
from tests.servers.scripted_imap import CAPABILITIES, InTurn, ScriptedImap
from tests.sources.imap_opening import MESSAGES, bodies, numbers, visit, whole

OLD = ("IMAP4rev1", "AUTH=PLAIN", "SASL-IR", "UIDPLUS")
CONDSTORE = (*OLD, "ENABLE", "CONDSTORE", "LIST-EXTENDED", "LIST-STATUS")


@pytest.mark.parametrize("capabilities", [CAPABILITIES, CONDSTORE, OLD])
def test_q29_what_was_last_is_not_fetched_again(
    capabilities: tuple[str, ...], tmp_path: Path
) -> None:
    with ScriptedImap({"INBOX": corpus.small(3)}, capabilities=capabilities) as server:
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().fetched == 3
        assert here.sync().fetched == 0
        server.change(lambda s: s.boxes[b"INBOX"].remove({3}))
        report = here.sync()
        assert (report.ok, report.fetched, report.gone) == (True, 0, 1)
        assert not any(":*" in line and "1:*" not in line for line in server.heard)


def renumber_backwards(server: ScriptedImap) -> None:
    box = server.boxes[b"INBOX"]
    box.messages.reverse()
    box.renumber(7)


def test_q30_a_new_epoch_costs_headers_and_purges_nothing(tmp_path: Path) -> None:
    mails = corpus.small(6)
    with ScriptedImap({"INBOX": mails}) as server:
        here = ImapHome(tmp_path, server.port, "work", leave_on_server={"newest": 1})
        here.sync(confirm_retire=False)
        left = len(server.boxes[b"INBOX"].messages)
        stored = here.archived()
        server.change(renumber_backwards)
        server.heard.clear()
        report = here.sync()
        assert (report.ok, report.fetched, report.adopted) == (True, 0, left)
        assert (report.retired, report.delivered) == (0, 0)
        assert not any("BODY.PEEK[]" in line for line in server.heard)
        assert here.archived() == stored


def test_q30_a_line_that_breaks_among_the_headers_is_picked_up_again(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": corpus.small(4)}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        here.sync()
        server.change(renumber_backwards)
        server.answers[re.compile("HEADER")] = InTurn(HANG_UP)
        assert here.sync().adopted == 4


@pytest.mark.parametrize("value", [None, 0])
def test_q31_without_uidvalidity_headers_identify_and_nothing_is_removed(
    value: int | None,
) -> None:
    async def names(session: ImapSession) -> list[bytes]:
        listing = await whole(session)
        assert listing.epoch == b""
        with pytest.raises(MailboxUnavailable, match="do not last"):
            await session.retire(listing.messages)
        return [m.uid for m in listing.messages]

    with ScriptedImap({"INBOX": Box(MESSAGES, uidvalidity=value)}) as server:
        first = visit(server.port, names)
        server.boxes[b"INBOX"].renumber(value)  # type: ignore[arg-type]
        assert visit(server.port, names) == first
        assert first == [b"header:" + header_digest(header_of(m)).hex().encode() for m in MESSAGES]
        assert visit(server.port, bodies) == MESSAGES
        assert "UID EXPUNGE" not in server.verbs()


def test_q31_an_old_value_that_returns_is_another_epoch(tmp_path: Path) -> None:
    """Restored from a backup: the same UIDVALIDITY, the UIDs given to other messages."""
    first, second = corpus.small(4), corpus.small(4, seed=77)
    with ScriptedImap({"INBOX": Box(first, uidvalidity=5)}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().fetched == 4
        server.boxes[b"INBOX"] = Box(corpus.small(1, seed=78), uidvalidity=6)
        assert here.sync().fetched == 1
        server.boxes[b"INBOX"] = Box(second, uidvalidity=5)
        report = here.sync()
        assert (report.ok, report.fetched) == (True, 4)
        assert here.archived().total() == 9


def test_q32_uids_are_unsigned(tmp_path: Path) -> None:
    uids = [1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]
    with ScriptedImap({"INBOX": Box(MESSAGES, uids=uids, uidvalidity=2**32 - 1)}) as server:
        assert visit(server.port, numbers) == uids
        assert visit(server.port, bodies) == MESSAGES
        here = ImapHome(tmp_path, server.port, "work")
        assert (here.sync().fetched, here.sync().fetched) == (5, 0)
        assert here.believed()["INBOX"].keys() == set(uids)


def test_q33_sparse_uids_are_never_walked() -> None:
    uids = [5, 900_000, 2_000_000_000, 4_000_000_000, 4_000_000_002]
    with ScriptedImap({"INBOX": Box(MESSAGES, uids=uids)}) as server:
        assert visit(server.port, bodies) == MESSAGES
        assert server.verbs().count("UID FETCH") == 2
        assert "UID SEARCH" not in server.verbs()


@pytest.mark.parametrize("said", [None, 1, 4, 9999])
def test_q34_uidnext_may_be_absent_or_stale(said: int | None, tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": corpus.small(5)}, sins=Sins(uidnext=said)) as server:
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().fetched == 5
        server.change(lambda s: s.boxes[b"INBOX"].add(corpus.small(1, seed=9)[0]) and None)
        assert here.sync().fetched == 1
        server.change(lambda s: s.boxes[b"INBOX"].remove({1, 6}))
        assert here.sync().gone == 2
        assert here.believed()["INBOX"].keys() == {2, 3, 4, 5}


def test_q35_what_failed_stays_pending_below_what_came_later(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": corpus.small(4)}, sins=Sins(bodies={2: b"NIL"})) as server:
        here = ImapHome(tmp_path, server.port, "work")
        report = here.sync()
        assert (report.ok, report.fetched) == (False, 3)
        server.change(lambda s: s.boxes[b"INBOX"].add(corpus.small(1, seed=9)[0]) and None)
        assert here.sync().fetched == 1
        server.sins = Sins()
        here.offset += timedelta(days=2)  # the quarantine is over
        report = here.sync()
        assert (report.ok, report.fetched) == (True, 1)
        assert here.believed()["INBOX"].keys() == {1, 2, 3, 4, 5}


def news(server: ScriptedImap) -> None:
    """Another client expunges, appends and flags in the middle of our session."""
    box = server.boxes[b"INBOX"]
    if len(box.messages) == len(MESSAGES):
        box.flag(box.messages[4], {"\\Seen"})
        box.remove({1})
        box.add(b"Subject: late\r\n\r\nlate\r\n")


@pytest.mark.parametrize("capabilities", [CAPABILITIES, OLD])
@pytest.mark.parametrize("at", [re.compile(r"UID FETCH 1:\*"), re.compile("BODY")])
def test_q36_numbers_that_change_under_us_change_no_message(
    at: re.Pattern[str], capabilities: tuple[str, ...]
) -> None:
    async def work(session: ImapSession) -> dict[int, bytes]:
        listing = await whole(session)
        arrivals = [one async for one in session.fetch(listing.messages)]
        return {one.remote.number: b"".join(one.body.chunks()) for one in arrivals}  # type: ignore[union-attr]

    with ScriptedImap({"INBOX": MESSAGES}, on={at: news}, capabilities=capabilities) as server:
        found = visit(server.port, work)
        assert {n: MESSAGES[n - 1] for n in range(2, 6)}.items() <= found.items()
        assert not any(line.startswith(("FETCH", "STORE", "SEARCH")) for line in server.heard)


def test_q36_unsolicited_flags_between_all_answers_are_no_answer() -> None:
    besides = {"*": b"* 2 FETCH (FLAGS (\\Seen))\r\n* 3 FETCH (UID 3 FLAGS (\\Flagged))\r\n"}

    async def work(session: ImapSession) -> tuple[Listing, list[bytes | str]]:
        return await whole(session), await bodies(session)

    with ScriptedImap({"INBOX": MESSAGES}, sins=Sins(unsolicited=besides)) as server:
        listing, octets = visit(server.port, work)
        assert octets == MESSAGES
        assert [m.size for m in listing.messages] == [len(m) for m in MESSAGES]
        assert all(m.arrived is not None for m in listing.messages)


@pytest.mark.parametrize(
    ("lacking", "check"),
    [
        ({"FLAGS"}, lambda m: (m.flags, m.ambiguous) == ("", True)),  # might be flagged
        ({"RFC822"}, lambda m: (m.size, m.ambiguous) == (0, False)),
        ({"INTERNALDATE"}, lambda m: (m.arrived, m.ambiguous) == (None, False)),
    ],
)
def test_q37_what_is_told_in_part_is_listed_and_comes_home(
    lacking: set[str], check: Callable[[RemoteMessage], bool]
) -> None:
    mails = [Mail(m, ("\\Flagged",)) for m in MESSAGES]
    with ScriptedImap({"INBOX": mails}, sins=Sins(lacking={3: lacking})) as server:
        listing = visit(server.port, whole)
        assert [m.number for m in listing.messages] == [1, 2, 3, 4, 5]
        assert check(listing.messages[2])
        assert [m.flags for m in listing.messages if m.number != 3] == ["\\Flagged"] * 4
        assert visit(server.port, bodies) == MESSAGES


def test_q37_what_was_told_in_part_is_asked_for_once_more() -> None:
    short = b"* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n<tag> OK\r\n"
    answers = {re.compile(r"UID FETCH 1:\*"): InTurn(short)}
    box = Box([Mail(m, ("\\Seen",)) for m in MESSAGES[:2]])
    with ScriptedImap({"INBOX": box}, answers=answers) as server:
        listing = visit(server.port, whole)
        assert not listing.complete  # the other one was left out
        assert [(m.number, m.size) for m in listing.messages] == [(2, len(MESSAGES[1]))]


def test_q37_a_listing_without_a_uid_is_nobodys_and_proves_no_absence() -> None:
    with ScriptedImap({"INBOX": MESSAGES}, sins=Sins(lacking={3: {"UID"}})) as server:
        listing = visit(server.port, whole)
        assert [m.number for m in listing.messages] == [1, 2, 4, 5]
        assert not listing.complete


def test_q37_bodies_come_in_any_order_and_without_their_uids() -> None:
    sins = Sins(backwards=True)
    with ScriptedImap({"INBOX": MESSAGES}, sins=sins) as server:

        async def work(session: ImapSession) -> list[bytes]:
            listing = await whole(session)
            server.sins = Sins(backwards=True, lacking={n: {"UID"} for n in (2, 4)})
            arrivals = [one async for one in session.fetch(listing.messages)]
            found = {one.remote.number: b"".join(one.body.chunks()) for one in arrivals}  # type: ignore[union-attr]
            return [found[n] for n in sorted(found)]

        assert visit(server.port, work) == MESSAGES


def test_messages_of_another_epoch_are_refused() -> None:
    async def work(session: ImapSession) -> None:
        await whole(session)
        with pytest.raises(LocalProtocolError):
            [one async for one in session.fetch([RemoteMessage(b"42.1", 9, 1)])]
        with pytest.raises(LocalProtocolError):
            await session.retire([RemoteMessage(b"42.1", 9, 1)])

    with ScriptedImap({"INBOX": MESSAGES}) as server:
        visit(server.port, work)
        assert "UID STORE" not in server.verbs()
