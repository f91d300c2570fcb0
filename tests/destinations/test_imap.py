"""APPEND to servers that offer less, refuse, or break: what becomes of each message."""

import asyncio
import itertools
import re
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fetchd.contracts import Body, Settled
from fetchd.destinations import imap_courier, imap_sightings
from fetchd.destinations.imap_courier import ImapCourier
from fetchd.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    FetchdError,
    MailboxUnavailable,
    PlaintextRefused,
    ServerUnavailable,
)
from fetchd.values import replace
from tests.destinations.imap_sites import carry, letter, mail, outcomes, probed, site, visit
from tests.destinations.outgoing import QUEUED
from tests.servers import imap_talk
from tests.servers.imap_boxes import Box
from tests.servers.scripted import HANG_UP, SILENCE, Answer
from tests.servers.scripted_imap import CAPABILITIES, RIGHT, InTurn, Key, ScriptedImap

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
NO = b"<tag> NO [%b] not now\r\n"


def offered(*more: str, without: str = "") -> list[str]:
    return [*(c for c in CAPABILITIES if c not in without.split()), *more]


def stands(server: ScriptedImap, name: str = "INBOX") -> list[bytes]:
    """What is there, in order."""
    return [message.octets for message in server.boxes[name.encode()].messages]


def appends(server: ScriptedImap) -> list[str]:
    return [line for line in server.heard if line.startswith("APPEND")]


# -- What is told with a message ----------------------------------------------------------


def test_flags_and_date_are_those_of_the_source() -> None:
    with ScriptedImap({"INBOX": []}) as server:
        item = letter(1, flags="\\Seen \\Deleted $Forwarded", arrived=NOW)
        assert outcomes(carry(site(server.port), item)) == ["delivered"]
        (message,) = server.boxes[b"INBOX"].messages
        assert (message.flags, message.date) == ({"\\Seen", "$Forwarded"}, NOW)


@pytest.mark.parametrize(
    ("more", "flags"),
    [
        ({"flags": "drop"}, set()),
        ({"flags": "drop", "mark_seen": True}, {"\\Seen"}),
        ({"mark_seen": True}, {"\\Flagged", "\\Seen"}),
    ],
)
def test_flags_are_as_the_settings_want_them(more: dict[str, object], flags: set[str]) -> None:
    with ScriptedImap({"INBOX": []}) as server:
        carry(site(server.port, **more), letter(1, flags="\\Flagged"))
        assert server.boxes[b"INBOX"].messages[0].flags == flags


@pytest.mark.parametrize(
    ("received", "date"),
    [
        (b"Received: from a by b; Sun, 01 Mar 2026 12:30:15 +0000\r\n", NOW),
        (b"Date: Sun, 01 Mar 2026 13:30:15 +0100\r\n", NOW),
        (b"", QUEUED.replace(microsecond=0)),
    ],
)
def test_without_an_internal_date_the_message_tells_when_it_arrived(
    received: bytes, date: datetime
) -> None:
    with ScriptedImap({"INBOX": []}) as server:
        carry(site(server.port), letter(1, received + mail(1)))
        assert server.boxes[b"INBOX"].messages[0].date == date


SELECTED = b"* 0 EXISTS\r\n* OK [PERMANENTFLAGS (\\Seen $forwarded)] ok\r\n<tag> OK done\r\n"


def test_keywords_that_the_mailbox_does_not_keep_are_left_out_and_told() -> None:
    with ScriptedImap({"INBOX": []}, answers={"SELECT": SELECTED}) as server:
        (settled,) = carry(
            site(server.port), letter(1, flags="\\Seen $Forwarded mine", label="bills")
        )
        assert server.boxes[b"INBOX"].messages[0].flags == {"\\Seen", "$Forwarded"}
        assert (settled.outcome, "no keyword 'bills'" in settled.reply) == ("delivered", True)


def test_the_mailbox_is_not_opened_for_what_every_mailbox_keeps() -> None:
    """Else other programs would no longer see what is new (\\Recent)."""
    with ScriptedImap({"INBOX": []}) as server:
        carry(site(server.port), letter(1, flags="\\Seen"))
        assert not {"SELECT", "EXAMINE"} & set(server.verbs())
        carry(site(server.port), letter(2, label="bills"))
        assert server.boxes[b"INBOX"].messages[1].flags == {"bills"}
        assert server.verbs().index("UNSELECT") > server.verbs().index("SELECT")


def test_a_label_is_a_label_where_the_server_has_them() -> None:
    gmail = offered("X-GM-EXT-1", without="MULTIAPPEND")
    with ScriptedImap({"INBOX": []}, capabilities=gmail) as server:
        settled = carry(site(server.port), letter(1, label="bills"), letter(2))
        assert outcomes(settled) == ["delivered"] * 2
        assert (stands(server), stands(server, "bills")) == ([mail(1), mail(2)], [mail(1)])
        server.answers["UID COPY"] = NO % b"LIMIT"
        (settled_too,) = carry(site(server.port), letter(3, label="bills"))
        assert (settled_too.outcome, stands(server)[2:]) == ("delivered", [mail(3)])
        assert "no label 'bills'" in settled_too.reply


# -- Which mailbox ------------------------------------------------------------------------


def test_each_message_goes_to_its_mailbox_which_is_created_once() -> None:
    with ScriptedImap({"INBOX": []}) as server:
        settled = carry(
            site(server.port, mailbox="All/{account}/{mailbox}"),
            letter(1, account="work", mailbox="INBOX"),
            letter(2, account="home", mailbox="A/B"),
            letter(3, account="work", mailbox="INBOX", folder="Lists"),
            letter(4, account="work", mailbox="INBOX"),
            letter(5, folder="INBOX"),
        )
        assert outcomes(settled) == ["delivered"] * 5
        assert [one.id for one in settled] == [1, 2, 3, 4, 5]
        assert stands(server, "All/work/INBOX") == [mail(1), mail(4)]
        assert stands(server, "All/home/A/B") == [mail(2)]
        assert (stands(server, "Lists"), stands(server)) == ([mail(3)], [mail(5)])
        created = [line for line in server.heard if line.startswith(("CREATE", "SUBSCRIBE"))]
        names = ("All/work/INBOX", "All/home/A/B", "Lists")
        assert created == [f"{verb} {name}" for name in names for verb in ("CREATE", "SUBSCRIBE")]


def test_a_role_leads_to_the_mailbox_that_has_it() -> None:
    boxes = {"INBOX": [], "Ablage": Box(attributes=["\\Archive"])}
    with ScriptedImap(boxes) as server:
        assert outcomes(carry(site(server.port, mailbox="\\Archive"), letter(1))) == ["delivered"]
        assert stands(server, "Ablage") == [mail(1)]
    with ScriptedImap({"INBOX": []}, capabilities=offered("CREATE-SPECIAL-USE")) as server:
        carry(site(server.port, mailbox="\\Archive"), letter(1))
        assert "CREATE Archive (USE (\\Archive))" in server.heard
        assert stands(server, "Archive") == [mail(1)]
        (settled,) = carry(site(server.port, mailbox="\\All"), letter(2))
        assert settled.outcome == "deferred"
        assert "has no mailbox for \\All" in settled.reply


def test_inbox_is_there_even_if_the_server_does_not_list_it() -> None:
    listed = b'* LIST () "/" Other\r\n<tag> OK done\r\n'
    with ScriptedImap({"INBOX": []}, answers={re.compile(r'LIST "" "?\*'): listed}) as server:
        assert outcomes(carry(site(server.port), letter(1))) == ["delivered"]
        assert "CREATE" not in server.verbs()


@pytest.mark.parametrize(
    "said", [b"<tag> NO [ALREADYEXISTS] is there\r\n", b"<tag> NO Mailbox exists\r\n"]
)
def test_a_mailbox_that_is_there_unlisted_takes_mail(said: bytes) -> None:
    hidden = b'* LIST () "/" INBOX\r\n<tag> OK done\r\n'
    answers: dict[Key, Answer | InTurn] = {re.compile(r'LIST "" "?\*'): hidden, "CREATE": said}
    with ScriptedImap({"INBOX": [], "Kept": []}, answers=answers) as server:
        assert outcomes(carry(site(server.port, mailbox="Kept"), letter(1))) == ["delivered"]


@pytest.mark.parametrize(
    "answers",
    [
        {"CREATE": NO % b"LIMIT"},
        {re.compile("APPEND Shut"): NO % b"NOPERM"},
        {re.compile("APPEND Shut"): b"<tag> NO [READ-ONLY] look only\r\n"},
        {re.compile("APPEND Shut"): NO % b"TRYCREATE"},
    ],
)
def test_a_mailbox_that_takes_nothing_does_not_stop_the_others(
    answers: dict[Key, Answer | InTurn],
) -> None:
    with ScriptedImap({"INBOX": []}, answers=answers) as server:
        settled = carry(
            site(server.port), letter(1, folder="Shut"), letter(2), letter(3, folder="Shut")
        )
        assert outcomes(settled) == ["deferred", "delivered", "deferred"]
        assert "'Shut'" in settled[0].reply
        assert "tries again" in settled[0].reply
        assert len(appends(server)) <= 3


@pytest.mark.parametrize(
    "said",
    [
        RIGHT,
        NO % b"TRYCREATE",
        NO % b"NONEXISTENT",
        b"<tag> NO Mailbox doesn't exist: Kept\r\n",
    ],
)
def test_a_mailbox_that_vanishes_meanwhile_is_made_again(said: bytes | None) -> None:
    times = itertools.count()

    def remove(server: ScriptedImap) -> None:
        if next(times) == 0:
            del server.boxes[b"Kept"]

    boxes: dict[str | bytes, list[bytes]] = {"INBOX": [], "Kept": []}
    with ScriptedImap(boxes, on={"APPEND": remove}, answers={"APPEND": InTurn(said)}) as server:
        settled = carry(site(server.port, mailbox="Kept"), letter(1))
        assert outcomes(settled) == ["delivered"]
        assert stands(server, "Kept") == [mail(1)]
        assert server.heard.count("CREATE Kept") == 1


# -- Batches and refusals -------------------------------------------------------------------


@pytest.mark.parametrize("lacking", ["", "MULTIAPPEND", "LITERAL+", "MULTIAPPEND LITERAL+"])
def test_octets_and_order_are_kept_whatever_the_server_offers(lacking: str) -> None:
    many = [letter(n) for n in range(1, 8)]
    with ScriptedImap({"INBOX": []}, capabilities=offered(without=lacking)) as server:
        assert outcomes(carry(site(server.port), *many)) == ["delivered"] * 7
        assert stands(server) == [mail(n) for n in range(1, 8)]
        assert len(appends(server)) == (7 if "MULTIAPPEND" in lacking else 1)


def test_a_batch_is_bounded_in_messages_and_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap_courier, "BATCH_MESSAGES", 3)
    monkeypatch.setattr(imap_courier, "BATCH_OCTETS", 1200)
    sizes = [10, 10, 10, 10, 900, 2000, 10]
    items = [letter(n, mail(n, size)) for n, size in enumerate(sizes)]
    with ScriptedImap({"INBOX": []}) as server:
        assert outcomes(carry(site(server.port), *items)) == ["delivered"] * 7
        assert [line.count("{") for line in appends(server)] == [3, 2, 1, 1]


SIZES = [10, 900, 20, 30, 2000, 40]
LARGE = re.compile(r"APPEND .*\{2\d\d\d\+?\}")
OVER = re.compile(r"APPEND .*\{(?:9|2\d)\d\d\+?\}")
F, D, OK = "failed", "deferred", "delivered"
REFUSALS: dict[str, tuple[dict[Key, Answer | InTurn], list[str], str]] = {
    "too big": ({LARGE: NO % b"TOOBIG"}, [OK, OK, OK, OK, F, OK], "too large"),
    "too big in words": (
        {LARGE: b"<tag> NO Message too large.\r\n"},
        [OK, OK, OK, OK, F, OK],
        "too large",
    ),
    "never": ({LARGE: NO % b"CANNOT"}, [OK, OK, OK, OK, F, OK], "for good"),
    "BAD": ({LARGE: b"<tag> BAD bare LF\r\n"}, [OK, OK, OK, OK, F, OK], "for good"),
    "BAD for now": (
        {LARGE: b"<tag> BAD server busy\r\n"},
        [OK, OK, OK, OK, D, OK],
        "not take it now",
    ),
    "NO": ({LARGE: b"<tag> NO something\r\n"}, [OK, OK, OK, OK, D, OK], "not take it now"),
    "limit": ({LARGE: NO % b"LIMIT"}, [OK, OK, OK, OK, D, OK], "not take it now"),
    "no room": ({OVER: NO % b"OVERQUOTA"}, [OK, D, OK, OK, D, OK], "no room"),
    "no room in words": (
        {OVER: b"<tag> NO You exceeded your mail quota.\r\n"},
        [OK, D, OK, OK, D, OK],
        "no room",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("lacking", ["", "MULTIAPPEND"])
def test_what_is_refused_is_found_out_and_the_rest_is_delivered(case: str, lacking: str) -> None:
    answers, expected, sentence = REFUSALS[case]
    items = [letter(n, mail(n, size)) for n, size in enumerate(SIZES)]
    capabilities = offered(without=lacking)
    with ScriptedImap({"INBOX": []}, answers=answers, capabilities=capabilities) as server:
        settled = carry(site(server.port), *items)
        assert outcomes(settled) == expected
        assert sentence in settled[4].reply
        there = [item.body.data for item, one in zip(items, expected, strict=True) if one == OK]
        assert stands(server) == there


def test_a_full_mailbox_is_not_sent_everything_only_to_hear_it_again() -> None:
    items = [letter(n, mail(n, 100 + n)) for n in range(30)]
    with ScriptedImap({"INBOX": []}, answers={"APPEND": NO % b"OVERQUOTA"}) as server:

        async def twice(courier: ImapCourier) -> list[Settled]:
            first = await courier.carry(items)
            return [*first, *await courier.carry([replace(one, id=one.id + 100) for one in items])]

        settled = visit(site(server.port), twice)
        assert outcomes(settled) == [D] * 60
        assert all("Make room there." in one.reply for one in settled)
        assert sum(line.count("{") for line in appends(server)) < 60


def test_room_is_believed_in_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap_courier, "NO_ROOM_FOR", 0.0)
    answers = {"APPEND": InTurn(NO % b"OVERQUOTA")}
    with ScriptedImap({"INBOX": []}, answers=answers) as server:

        async def twice(courier: ImapCourier) -> list[Settled]:
            return [*await courier.carry([letter(1)]), *await courier.carry([letter(2)])]

        assert outcomes(visit(site(server.port), twice)) == [D, OK]


@pytest.mark.parametrize("kind", ["APPENDLIMIT=950", "APPENDLIMIT"])
def test_what_is_larger_than_appendlimit_is_not_sent(kind: str) -> None:
    said = {"STATUS": b"* STATUS INBOX (APPENDLIMIT 950)\r\n<tag> OK done\r\n"}
    answers = said if kind == "APPENDLIMIT" else {}
    capabilities = offered(kind, without="LIST-STATUS")
    with ScriptedImap({"INBOX": []}, capabilities=capabilities, answers=answers) as server:
        settled = carry(site(server.port), letter(1, mail(1, 2000)), letter(2))
        assert outcomes(settled) == [F, OK]
        assert "at most 950 octets" in settled[0].reply
        assert not any(LARGE.search(line) for line in server.heard)
        assert probed(site(server.port))["append"].startswith("messages of up to 950 octets")


def test_nul_octets_need_binary() -> None:
    item = letter(1, mail(1, fill=b"\0"))
    with ScriptedImap({"INBOX": []}) as server:
        (settled,) = carry(site(server.port), item)
        assert (settled.outcome, "NUL" in settled.reply, appends(server)) == (F, True, [])
    taken = {"APPEND": b"<tag> OK done\r\n"}
    with ScriptedImap({"INBOX": []}, capabilities=offered("BINARY"), answers=taken) as server:
        assert outcomes(carry(site(server.port), item)) == [OK]
        assert "~{" in appends(server)[0]


def test_what_cannot_be_read_or_is_not_what_was_stored_is_not_sent(tmp_path: Path) -> None:
    gone = letter(1, body=Body(10, path=tmp_path / "gone"))
    other = letter(2, body=Body(len(mail(3)), mail(3)))
    empty = letter(3, b"")
    with ScriptedImap({"INBOX": []}) as server:
        settled = carry(site(server.port), gone, other, empty, letter(4))
        assert outcomes(settled) == [D, D, F, OK]
        assert "cannot be read" in settled[0].reply
        assert "fetchd verify" in settled[1].reply
        assert stands(server) == [mail(4)]


def test_a_body_in_a_file_goes_out_as_it_is(tmp_path: Path) -> None:
    data = mail(1, 3_000_000)
    (tmp_path / "body").write_bytes(data)
    item = letter(
        1,
        data,
    )
    with ScriptedImap({"INBOX": []}) as server:
        carry(site(server.port), replace(item, body=Body(len(data), path=tmp_path / "body")))
        assert stands(server) == [data]


# -- The account as a whole -------------------------------------------------------------------


@pytest.mark.parametrize("code", [b"UNAVAILABLE", b"INUSE", b"THROTTLED"])
def test_a_server_that_wants_to_be_left_alone_is(code: bytes) -> None:
    with ScriptedImap({"INBOX": []}, answers={"APPEND": NO % code}) as server:
        with pytest.raises(ServerUnavailable):
            carry(site(server.port), letter(1), letter(2))
        assert len(appends(server)) == 1


def test_what_was_accepted_before_is_told_and_the_next_call_raises() -> None:
    answers = {"APPEND": InTurn(RIGHT, NO % b"UNAVAILABLE")}
    capabilities = offered(without="MULTIAPPEND")
    with ScriptedImap({"INBOX": []}, answers=answers, capabilities=capabilities) as server:

        async def work(courier: ImapCourier) -> Sequence[Settled]:
            settled = await courier.carry([letter(n) for n in (1, 2, 3)])
            with pytest.raises(ServerUnavailable):
                await courier.carry([letter(4)])
            return settled

        settled = visit(site(server.port), work)
        assert outcomes(settled) == [OK, D, D]
        assert len(appends(server)) == 2


def test_a_wrong_password_is_the_owners_to_mend() -> None:
    answers = {"AUTHENTICATE": NO % b"AUTHENTICATIONFAILED", "LOGIN": NO % b"AUTHENTICATIONFAILED"}
    with ScriptedImap({"INBOX": []}, answers=answers) as server:
        with pytest.raises(AuthenticationFailed):
            carry(site(server.port), letter(1))
        with pytest.raises(AuthenticationFailed):
            probed(site(server.port))


def test_no_password_goes_over_a_plaintext_line_unless_told_to() -> None:
    with ScriptedImap({"INBOX": []}) as server:
        with pytest.raises(PlaintextRefused):
            carry(site(server.port, allow_plaintext_auth=False), letter(1))
        assert server.heard == []


# -- Broken lines --------------------------------------------------------------------------


class Deaf:
    """A server whose answer to APPEND is lost; what it was given may have been taken."""

    def __init__(self, *, taken: bool) -> None:
        self.taken, self.done = taken, threading.Event()

    def __call__(self, server: ScriptedImap) -> None:
        """Take the one message that the test sends, by hand, before the line is cut."""
        if self.taken and not self.done.is_set():
            server.boxes[b"INBOX"].add(mail(1))
        self.done.set()


@pytest.mark.parametrize("taken", [True, False])
def test_a_lost_answer_leaves_a_doubt_that_the_next_attempt_settles(*, taken: bool) -> None:
    cut = {"APPEND": InTurn(HANG_UP)}
    with ScriptedImap({"INBOX": []}, answers=cut, on={"APPEND": Deaf(taken=taken)}) as server:
        carrier = site(server.port)

        async def work(courier: ImapCourier) -> Sequence[Settled]:
            settled = await courier.carry([letter(1)])
            with pytest.raises(ConnectionFailed):
                await courier.carry([letter(2)])
            return settled

        (settled,) = visit(carrier, work)
        assert outcomes([settled]) == ["deferred?"]
        (again,) = carry(carrier, letter(1, doubtful=True))
        assert (again.outcome, again.reply == "found there") == (OK, taken)
        assert stands(server) == [mail(1)]


def test_a_server_that_says_bye_in_place_of_an_answer_leaves_a_doubt() -> None:
    bye = {"APPEND": [b"* BYE shutting down\r\n", HANG_UP]}
    with ScriptedImap({"INBOX": []}, answers=bye) as server:
        (settled,) = carry(site(server.port), letter(1))
        assert outcomes([settled]) == ["deferred?"]
        assert "shutting down" in settled.reply


def test_a_server_that_never_answers_leaves_a_doubt() -> None:
    with ScriptedImap({"INBOX": []}, answers={"APPEND": SILENCE}) as server:
        (settled,) = carry(site(server.port, read=0.2), letter(1))
        assert outcomes([settled]) == ["deferred?"]


def test_in_doubt_is_while_the_answer_is_due() -> None:
    with ScriptedImap({"INBOX": []}, answers={"APPEND": SILENCE}) as server:

        async def work(courier: ImapCourier) -> None:
            assert not courier.in_doubt
            carrying = asyncio.create_task(courier.carry([letter(1)]))
            while not courier.in_doubt:
                assert not carrying.done()
                await asyncio.sleep(0)
            carrying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await carrying
            with pytest.raises(ConnectionFailed):
                await courier.carry([letter(2)])

        visit(site(server.port), work)


@pytest.mark.parametrize("idle", [False, True])
def test_a_line_that_breaks_before_all_was_sent_accepts_nothing(*, idle: bool) -> None:
    """It died while nobody looked, or the server hangs up where it should ask for the octets."""
    capabilities = offered(without="LITERAL+ MULTIAPPEND")
    answers: dict[Key, Answer | InTurn] = {"NOOP": HANG_UP} if idle else {}
    with ScriptedImap({"INBOX": []}, capabilities=capabilities, answers=answers) as server:

        async def work(courier: ImapCourier) -> None:
            assert outcomes(await courier.carry([letter(1)])) == [OK]
            if not idle:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(imap_talk.Talk, "_literal_refusal", _hang_up)
                    with pytest.raises(ConnectionFailed):
                        await courier.carry([letter(2)])
            for _ in range(2):
                with pytest.raises(ConnectionFailed):
                    await courier.carry([letter(2)])

        visit(site(server.port), work)
        assert stands(server) == [mail(1)]


def _hang_up(_self: imap_talk.Talk, _so_far: bytes, _size: int, *, unasked: bool) -> bytes:
    """In place of `+`."""
    raise ConnectionResetError(unasked)


def test_a_message_at_which_lines_break_does_not_stop_the_others() -> None:
    """All of the broken batch are in doubt, and then go one by one, each where it can."""
    poison = 3
    pattern = re.compile(r"APPEND .*\{2\d\d\d\+?\}")
    items = [letter(n, mail(n, 2000 if n == poison else n)) for n in range(1, 7)]
    with ScriptedImap({"INBOX": []}, answers={pattern: HANG_UP}) as server:
        carrier = site(server.port)
        assert outcomes(carry(carrier, *items)) == ["deferred?"] * 6
        settled = carry(carrier, *(replace(item, doubtful=True) for item in items))
        assert outcomes(settled) == [OK, OK, "deferred?", D, D, D]
        left = [replace(item, doubtful=True) for item in items[2:]]
        fresh = letter(9)
        assert outcomes(carry(carrier, left[0], fresh))[1] == OK
    assert mail(9) in stands(server)


# -- What may be there already ---------------------------------------------------------------


def test_what_was_put_before_a_crash_is_found_and_not_put_again() -> None:
    with ScriptedImap({"INBOX": [mail(1), mail(2)]}) as server:
        items = [letter(n, doubtful=True) for n in (1, 2, 3)]
        settled = carry(site(server.port), *items)
        assert [one.reply == "found there" for one in settled] == [True, True, False]
        assert stands(server) == [mail(1), mail(2), mail(3)]
        assert server.verbs().count("EXAMINE") == 1


def test_without_a_message_id_header_and_size_decide() -> None:
    bare, longer = mail(1, 10, message_id=""), mail(1, 11, message_id="")
    lines = bare.replace(b"\r\n", b"\n")
    with ScriptedImap({"INBOX": [bare]}) as server:
        settled = carry(
            site(server.port), letter(1, lines, doubtful=True), letter(2, longer, doubtful=True)
        )
        assert [one.reply == "found there" for one in settled] == [True, False]
        assert stands(server) == [bare, longer]


def test_two_deliveries_of_the_same_octets_are_two_messages() -> None:
    with ScriptedImap({"INBOX": [mail(1)]}) as server:
        same = [letter(n, mail(1), account=f"a{n}", doubtful=True) for n in (1, 2)]
        settled = carry(site(server.port), *same)
        assert outcomes(settled) == [OK, OK]
        assert [one.reply == "found there" for one in settled].count(True) == 1
        assert stands(server) == [mail(1), mail(1)]


def test_what_this_session_put_or_found_stands_for_no_other_delivery() -> None:
    with ScriptedImap({"INBOX": [mail(1)]}) as server:

        async def work(courier: ImapCourier) -> list[Settled]:
            first = await courier.carry([letter(1, doubtful=True)])
            again = await courier.carry([letter(2, mail(1), doubtful=True)])
            third = await courier.carry([letter(3, mail(1), doubtful=True)])
            return [*first, *again, *third]

        settled = visit(site(server.port), work)
        assert [one.reply == "found there" for one in settled] == [True, False, False]
        assert stands(server) == [mail(1)] * 3


@pytest.mark.parametrize("refused", [False, True])
def test_in_a_large_mailbox_the_old_is_searched_and_the_new_is_listed_once(
    monkeypatch: pytest.MonkeyPatch, *, refused: bool
) -> None:
    monkeypatch.setattr(imap_sightings, "NEWEST", 10)
    answers = {"UID SEARCH": b"<tag> BAD what?\r\n"} if refused else {}
    there = [mail(n) for n in range(100)]
    with ScriptedImap({"INBOX": there}, answers=answers) as server:

        async def work(courier: ImapCourier) -> list[Settled]:
            old = await courier.carry([letter(n, doubtful=True) for n in (5, 95, 200)])
            return [*old, *await courier.carry([letter(n, doubtful=True) for n in (96, 200, 300)])]

        settled = visit(site(server.port), work)
        found = [one.reply == "found there" for one in settled]
        # The second 200 is another delivery: what this session put is not the one in doubt.
        assert found == [True, True, False, True, False, False]
        assert len(stands(server)) == 103
        listed = [line.split()[2] for line in server.heard if "RFC822.SIZE" in line]
        assert listed == ["91:*", *(["1:90"] if refused else ["6"]), "101:*"]
        searches = [line for line in server.heard if line.startswith("UID SEARCH UID 1:90 ")]
        assert len(searches) == (1 if refused else 2)


def test_search_hits_are_compared_before_they_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Message-ID alone makes no message: another draft of it may be there."""
    monkeypatch.setattr(imap_sightings, "NEWEST", 5)
    draft = mail(1).replace(b"Subject: 1", b"Subject: one")
    with ScriptedImap({"INBOX": [draft, *(mail(n) for n in range(10, 30))]}) as server:
        (settled,) = carry(site(server.port), letter(1, doubtful=True))
        assert (settled.outcome, settled.reply == "found there") == (OK, False)
        assert stands(server)[-1] == mail(1)


def test_a_mailbox_that_is_another_now_is_looked_at_anew() -> None:
    """UIDVALIDITY changed within the session: what was known of it is about other messages."""

    def change(server: ScriptedImap) -> None:
        server.boxes[b"INBOX"] = Box([mail(2)], uidvalidity=99)

    boxes = {"INBOX": [mail(n) for n in range(10, 20)]}
    with ScriptedImap(boxes, on={"NOOP": change}) as server:

        async def work(courier: ImapCourier) -> list[Settled]:
            first = await courier.carry([letter(1, doubtful=True)])
            return [*first, *await courier.carry([letter(2, doubtful=True)])]

        settled = visit(site(server.port), work)
        assert [one.reply == "found there" for one in settled] == [False, True]


@pytest.mark.parametrize("count", [1, 40])
def test_no_look_is_taken_where_nothing_is_in_doubt(count: int) -> None:
    with ScriptedImap({"INBOX": [mail(1)]}) as server:
        assert (
            outcomes(carry(site(server.port), *(letter(n) for n in range(count)))) == [OK] * count
        )
        assert not {"EXAMINE", "UID FETCH", "UID SEARCH"} & set(server.verbs())


# -- Probe --------------------------------------------------------------------------------


def test_a_probe_changes_nothing_and_says_what_it_found() -> None:
    with ScriptedImap({"INBOX": [mail(1)]}) as server:
        found = probed(site(server.port))
        assert list(found) == ["password", "connect", "capabilities", "login", "mailbox", "append"]
        assert found["mailbox"] == "INBOX"
        assert found["append"].startswith("messages of any size, 50 at once")
        assert "not there yet" in probed(site(server.port, mailbox="Kept"))["mailbox"]
        assert "{account}" in probed(site(server.port, mailbox="a/{account}"))["mailbox"]
        assert server.boxes.keys() == {b"INBOX"}
        assert not {"APPEND", "CREATE", "SUBSCRIBE", "UID STORE", "CLOSE"} & set(server.verbs())


@pytest.mark.parametrize(
    ("answers", "mailbox", "error"),
    [
        ({"SELECT": NO % b"NOPERM"}, "INBOX", MailboxUnavailable),
        ({"SELECT": b"<tag> OK [READ-ONLY] look only\r\n"}, "INBOX", MailboxUnavailable),
        ({}, "\\All", MailboxUnavailable),
        ({"SELECT": NO % b"UNAVAILABLE"}, "INBOX", ServerUnavailable),
    ],
)
def test_a_probe_says_what_is_wrong(
    answers: dict[Key, Answer | InTurn], mailbox: str, error: type[FetchdError]
) -> None:
    with ScriptedImap({"INBOX": []}, answers=answers) as server:
        with pytest.raises(error) as raised:
            probed(site(server.port, mailbox=mailbox))
        assert str(raised.value)
        assert raised.value.advice


def test_terms_are_those_of_a_mailbox() -> None:
    terms = site(1, max_connections=3, max_per_minute=60, give_up_after="2d").terms
    assert (terms.connections, terms.per_minute, terms.in_order) == (3, 60, True)
    assert terms.batch == imap_courier.BATCH_MESSAGES
    assert terms.schedule.give_up_after == timedelta(days=2)
