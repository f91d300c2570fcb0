"""Quirks 57, 58, 72 and 73: what may be removed, and what is sure to be gone."""

import re
from pathlib import Path

import pytest

from fetchd.contracts import Removed
from fetchd.errors import FetchdError, MailboxUnavailable, ServerUnavailable
from fetchd.sources.imap import ImapSession
from tests import corpus
from tests.pipeline.imap_home import ImapHome
from tests.servers.imap_boxes import Box
from tests.servers.imap_sins import Sins
from tests.servers.mail import Mail
from tests.servers.scripted import HANG_UP, Answer
from tests.servers.scripted_imap import CAPABILITIES, InTurn, ScriptedImap
from tests.sources.imap_opening import MESSAGES, visit, whole

BARE = ("IMAP4rev1", "AUTH=PLAIN", "SASL-IR")
UIDPLUS = (*BARE, "UIDPLUS")
MOVE = (*BARE, "MOVE")


async def retire_some(session: ImapSession) -> Removed:
    """The second and third of the mailbox."""
    listing = await whole(session)
    return await session.retire(listing.messages[1:3])


def others_mark(server: ScriptedImap) -> None:
    """Another client has marked a message, which is its business."""
    server.boxes[b"INBOX"].messages[0].flags.add("\\Deleted")


@pytest.mark.parametrize(
    ("capabilities", "retire_to", "gone", "left", "trash", "verbs"),
    [
        (CAPABILITIES, None,    {2, 3}, [1, 4, 5], 0, "UID STORE|UID EXPUNGE"),
        (UIDPLUS,      None,    {2, 3}, [1, 4, 5], 0, "UID STORE|UID EXPUNGE"),
        (BARE,         None,    set(),  [1, 2, 3, 4, 5], 0, "UID STORE"),  # never a plain EXPUNGE
        (CAPABILITIES, "Trash", {2, 3}, [1, 4, 5], 2, "UID MOVE"),
        (MOVE,         "Trash", {2, 3}, [1, 4, 5], 2, "UID MOVE"),
        (UIDPLUS,      "Trash", {2, 3}, [1, 4, 5], 2, "UID COPY|UID STORE|UID EXPUNGE"),
        (BARE,         "Trash", set(),  [1, 2, 3, 4, 5], 2, "UID COPY|UID STORE"),
    ],
)  # fmt: skip
def test_q57_q58_only_what_was_asked_for_goes(
    capabilities: tuple[str, ...], retire_to: str | None, gone: set[int], left: list[int],
    trash: int, verbs: str,
) -> None:  # fmt: skip
    boxes = {"INBOX": MESSAGES, "Trash": Box([], attributes=["\\Trash"])}
    on = {"SELECT": others_mark}
    with ScriptedImap(boxes, capabilities=capabilities, on=on) as server:
        removed = visit(server.port, retire_some, retire_to=retire_to)
        assert {int(uid.rpartition(b".")[2]) for uid in removed.uids} == gone
        assert [m.uid for m in server.boxes[b"INBOX"].messages] == left
        assert len(server.boxes[b"Trash"].messages) == trash
        said = server.verbs()
        assert said[said.index("SELECT") + 1 :] == ["UID FETCH", *verbs.split("|")]  # flags first


def test_q58_copyuid_may_come_untagged() -> None:
    boxes = {"INBOX": MESSAGES, "Trash": Box([b"x\r\n"] * 6)}
    with ScriptedImap(boxes, capabilities=UIDPLUS, sins=Sins(untagged_copyuid=True)) as server:
        removed = visit(server.port, retire_some, retire_to="Trash")
        assert [m.number for m in removed.moved.values()] == [7, 8]


@pytest.mark.parametrize(
    ("verb", "answer", "trash"),
    [
        ("UID COPY",    b"<tag> NO [TRYCREATE] no\r\n", 0),
        ("UID COPY",    b"<tag> NO [OVERQUOTA] full\r\n", 0),
        ("UID STORE",   b"<tag> NO no\r\n", 2),
        ("UID EXPUNGE", b"<tag> NO no\r\n", 2),
        ("UID COPY",    HANG_UP, 0),
        ("UID STORE",   HANG_UP, 2),
        ("UID EXPUNGE", HANG_UP, 2),
    ],
)  # fmt: skip
def test_q58_a_move_in_three_steps_never_loses(verb: str, answer: Answer, trash: int) -> None:
    boxes = {"INBOX": MESSAGES, "Trash": []}
    with ScriptedImap(boxes, capabilities=UIDPLUS, answers={verb: answer}) as server:
        with pytest.raises(FetchdError) as raised:
            visit(server.port, retire_some, retire_to="Trash")
        assert isinstance(raised.value, MailboxUnavailable) == (answer is not HANG_UP)
        assert len(server.boxes[b"INBOX"].messages) == 5
        assert len(server.boxes[b"Trash"].messages) == trash


def test_q58_a_break_behind_the_copy_is_mended_by_the_next_sync(tmp_path: Path) -> None:
    boxes = {"INBOX": corpus.small(3), "Trash": []}
    answers = {"UID STORE": InTurn(HANG_UP)}
    with ScriptedImap(boxes, capabilities=UIDPLUS, answers=answers) as server:
        here = ImapHome(tmp_path, server.port, "work", leave_on_server="none", retire_to="Trash")
        here.sync()
        here.sync()
        assert server.boxes[b"INBOX"].messages == []
        kept = {m.octets for m in server.boxes[b"Trash"].messages}
        assert kept == set(corpus.small(3))
        assert here.archived().total() == 3


def test_q72_a_mailbox_that_is_read_only_is_told_and_not_fetched_again(tmp_path: Path) -> None:
    inbox = Box(corpus.small(3), read_only=True)
    with ScriptedImap({"INBOX": inbox, "A": corpus.small(1, seed=8)}) as server:
        here = ImapHome(tmp_path, server.port, "work", leave_on_server="none")
        report = here.sync()
        assert (report.ok, report.fetched, report.retired) == (False, 4, 1)
        assert "read only" in str(report.failures[0].error)
        assert here.sync().fetched == 0
        assert len(inbox.messages) == 3


def test_renumbered_between_listing_and_removing_nothing_is_removed() -> None:
    on = {"SELECT": lambda s: s.boxes[b"INBOX"].renumber(9)}
    with (
        ScriptedImap({"INBOX": MESSAGES}, on=on) as server,  # type: ignore[arg-type]
        pytest.raises(MailboxUnavailable, match="renumbered"),
    ):
        visit(server.port, retire_some)
    assert len(server.boxes[b"INBOX"].messages) == 5


def test_q73_at_gmail_what_leaves_a_label_stays_in_all_mail_until_it_leaves_there(
    tmp_path: Path,
) -> None:
    mails = corpus.small(4)
    boxes = {"INBOX": mails[:2], "[Gmail]/All Mail": Box(mails, attributes=["\\All"])}
    with ScriptedImap(boxes, capabilities=(*CAPABILITIES, "X-GM-EXT-1")) as server:
        here = ImapHome(tmp_path, server.port, "work", leave_on_server="none", mailboxes=["INBOX"])
        report = here.sync()
        assert (report.ok, report.fetched, report.retired) == (True, 2, 2)
        assert len(server.boxes[b"[Gmail]/All Mail"].messages) == 4


@pytest.mark.parametrize("name", [b" lead", b"trail ", b"a  b", b"a^b"])
def test_q73_odd_labels_are_read_as_they_are(name: bytes, tmp_path: Path) -> None:
    with ScriptedImap({b"INBOX": [], name: corpus.small(2)}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        assert (here.sync().fetched, here.sync().fetched) == (2, 0)


def test_what_is_marked_and_cannot_be_expunged_is_not_marked_again(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": corpus.small(3)}, capabilities=BARE) as server:
        here = ImapHome(tmp_path, server.port, "work", leave_on_server="none")
        for _ in range(3):
            assert here.sync().retired == 0
        assert server.verbs().count("UID STORE") == 1
        assert not any(re.fullmatch("EXPUNGE|CLOSE", verb) for verb in server.verbs())


def test_a_refusal_that_is_the_servers_ends_the_visit() -> None:
    answers = {"SELECT": b"<tag> NO [UNAVAILABLE] later\r\n"}
    with (
        ScriptedImap({"INBOX": [Mail(m) for m in MESSAGES]}, answers=answers) as server,
        pytest.raises(ServerUnavailable),
    ):
        visit(server.port, retire_some)
