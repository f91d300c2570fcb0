"""What an adversary would try with IMAP: mirrors that lag, mailboxes that come back, servers
that only mark, a trash that nobody wants mirrored.

Each test is a story of several rounds, most on the scripted server, since what comes in
between is ours to choose; what Dovecot can do is done on Dovecot.
"""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fetchd.pipeline.committer import Committer
from fetchd.pipeline.round import sync_round
from fetchd.pipeline.storage import open_storage
from fetchd.pipeline.tools import Unwatched
from tests import corpus
from tests.pipeline.home import PASSWORD
from tests.pipeline.imap_home import ImapHome
from tests.pipeline.test_crash import round_in_child
from tests.servers.dovecot import Dovecot
from tests.servers.imap_boxes import Box
from tests.servers.scripted import HANG_UP
from tests.servers.scripted_imap import CAPABILITIES, RIGHT, InTurn, ScriptedImap

WITH_IDS = (*CAPABILITIES, "OBJECTID")
MARKS_ONLY = tuple(c for c in CAPABILITIES if c not in ("UIDPLUS", "MOVE"))
NONE = {"leave_on_server": "none"}


def mail(subject: str, body: str = "body") -> bytes:
    """One small message that no other resembles by its header."""
    return f"Message-ID: <{subject}@x>\r\nSubject: {subject}\r\n\r\n{body}\r\n".encode()


def mails(count: int) -> list[bytes]:
    """All of different sizes, as far as that goes."""
    return [mail(f"m{n}", "body " * (n + 1)) for n in range(count)]


def letters(home: ImapHome, mailbox: str) -> list[str]:
    """The letters of each file in the mirror of a mailbox."""
    return sorted(letters for _, letters in home.mirrored(mailbox).elements())


@contextmanager
def away(home: ImapHome) -> Iterator[None]:
    """The mirror cannot be written; what it had comes back."""
    place = home.folder / "elsewhere"
    if home.maildir.exists():
        home.maildir.rename(place)
    home.maildir.write_text("something else")
    yield
    home.maildir.unlink()
    if place.exists():
        place.rename(home.maildir)


# -- Mirrors -----------------------------------------------------------------------


def test_what_was_flagged_while_the_mirror_was_away_has_its_flags_there(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": mails(3)}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        with away(here):
            assert here.sync().deferred == 3
        box = server.boxes[b"INBOX"]
        server.change(lambda _: [box.flag(m, ["\\Seen"]) for m in box.messages])  # type: ignore[func-returns-value]
        assert here.sync().ok
        assert letters(here, "INBOX") == ["S", "S", "S"]


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_what_vanished_while_the_mirror_was_away_does_not_stay_there(
    tmp_path: Path, rounds: int
) -> None:
    """Also where the vanishing was seen before the message could be delivered."""
    with ScriptedImap({"INBOX": mails(3)}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        with away(here):
            assert here.sync().deferred == 3
            server.change(lambda _: server.boxes[b"INBOX"].remove([1, 2]))
            for _ in range(rounds):
                assert not here.sync().ok
        report = here.sync()
        assert (report.ok, report.gone) == (True, 2)
        assert here.mirrored("INBOX").total() == 1
        assert here.believed().keys() == {"INBOX"}
        assert (len(here.believed()["INBOX"]), here.sync().gone) == (1, 0)


def test_a_mailbox_that_vanished_while_the_mirror_was_away_does_not_stay_there(
    tmp_path: Path,
) -> None:
    with ScriptedImap({"INBOX": [], "Work": mails(2)}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        with away(here):
            assert here.sync().deferred == 2
            server.change(lambda _: server.boxes.pop(b"Work"))
            assert not here.sync().ok
        assert here.sync().ok
        assert here.sync().ok
        assert here.mirrored("Work").total() == 0
        assert here.believed() == {}


def test_flags_that_change_while_a_line_is_picked_up_again_reach_the_mirror(
    tmp_path: Path,
) -> None:
    """The first message is put and not settled yet when the second listing has other flags."""
    first, second = mails(2)
    cut = {re.compile("BODY"): InTurn(RIGHT, HANG_UP)}
    with ScriptedImap({"INBOX": [first], "Work": [second]}, answers=cut) as server:
        box = server.boxes[b"INBOX"]
        server.on[re.compile("EXAMINE.*Work")] = lambda _: box.flag(box.messages[0], ["\\Seen"])
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().ok
        assert here.sync().ok
        assert letters(here, "INBOX") == ["S"]


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_mailbox_that_comes_back_under_its_name_is_mirrored_again(
    tmp_path: Path, rebuilt: bool
) -> None:
    with Dovecot(separator="/") as server:
        server.add_user("work", PASSWORD)
        server.fill("work", corpus.small(4), mailbox="Work")
        here = ImapHome(tmp_path, server.port.imap, "work")
        assert here.sync().ok
        with server.client("work") as other:
            other.rename("Work", "Play")
            assert here.sync().ok
            assert (here.mirrored("Work").total(), here.mirrored("Play").total()) == (0, 4)
            if rebuilt:
                here.rebuild()
            other.rename("Play", "Work")
        assert here.sync().ok
        assert (here.mirrored("Work").total(), here.mirrored("Play").total()) == (4, 0)
        assert here.sync().delivered == 0


def test_a_message_that_comes_back_without_a_telling_header_is_mirrored_again(
    tmp_path: Path,
) -> None:
    with ScriptedImap({"INBOX": [], "Work": [b"\r\nnothing above\r\n"]}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().fetched == 1
        work = server.boxes[b"Work"]
        server.change(lambda _: server.boxes.pop(b"Work"))
        assert here.sync().gone == 1
        server.change(lambda _: server.boxes.update({b"Work": work}))
        assert here.sync().ok
        assert here.mirrored("Work").total() == 1


def test_what_fetchd_took_from_the_server_stays_in_the_mirror_whatever_comes(
    tmp_path: Path,
) -> None:
    with ScriptedImap({"INBOX": mails(5)}) as server:
        here = ImapHome(tmp_path, server.port, "work", **NONE)
        assert here.sync().retired == 5
        for deed in (lambda: None, here.rebuild, lambda: None):
            deed()
            assert here.sync().ok
            assert here.mirrored("INBOX").total() == 5


def test_the_twin_of_what_fetchd_took_from_the_server_may_go_alone(tmp_path: Path) -> None:
    (one,) = mails(1)
    with ScriptedImap({"INBOX": [one]}) as server:
        here = ImapHome(tmp_path, server.port, "work", **NONE)
        assert here.sync().retired == 1
        here.account = {"protocol": "imap", "leave_on_server": {"newest": 5}}
        box = server.boxes[b"INBOX"]
        server.change(lambda _: box.add(one))
        assert here.sync().fetched == 1
        server.change(lambda _: box.flag(box.messages[0], ["\\Seen"]))
        assert here.sync().reflagged == 1
        assert letters(here, "INBOX") == ["", "S"]
        server.change(lambda _: box.remove([2]))
        assert here.sync().gone == 1
        assert letters(here, "INBOX") == [""]


def test_a_rebuild_and_a_renumbering_at_once_leave_each_file_to_its_message(
    tmp_path: Path,
) -> None:
    """With a window, where what is missing may have gone by our doing; let go, so fetched."""
    window = {"newest": 10}
    with ScriptedImap({"INBOX": mails(3)}) as server:
        here = ImapHome(tmp_path, server.port, "work", leave_on_server=window)
        here.archive_settings = {"keep": "delivered"}
        assert here.sync().delivered == 3
        box = server.boxes[b"INBOX"]
        server.change(lambda _: box.renumber(777))
        server.change(lambda _: box.flag(box.messages[0], ["\\Seen"]))
        here.rebuild()
        assert here.sync().ok
        assert letters(here, "INBOX") == ["", "", "S"]


def test_flags_that_change_after_a_rebuild_while_the_mirror_is_away_are_not_forgotten(
    tmp_path: Path,
) -> None:
    """What is delivered once more, and found there, still has the flags of before."""
    with ScriptedImap({"INBOX": mails(2)}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().delivered == 2
        here.rebuild()
        box = server.boxes[b"INBOX"]
        server.change(lambda _: box.flag(box.messages[0], ["\\Seen"]))
        with away(here):
            assert not here.sync().ok
        assert here.sync().ok
        assert letters(here, "INBOX") == ["", "S"]


def test_one_more_copy_of_what_was_moved_while_the_mirror_was_away_is_mirrored(
    tmp_path: Path,
) -> None:
    """Both look like the one that is missing: it has only one file to leave to them."""
    (one,) = mails(1)
    with ScriptedImap({"INBOX": [one]}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().delivered == 1
        box = server.boxes[b"INBOX"]
        with away(here):
            server.change(lambda _: (box.remove([1]), box.add(one)))  # type: ignore[func-returns-value]
            assert not here.sync().ok
            server.change(lambda _: box.add(one))
        for _ in range(2):
            assert here.sync().ok
        assert here.mirrored("INBOX").total() == 2


def test_a_trash_that_the_settings_do_not_take_is_not_mirrored(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": mails(5), "Trash": []}) as server:
        account = {**NONE, "retire_to": "Trash", "mailboxes": ["INBOX"]}
        here = ImapHome(tmp_path, server.port, "work", **account)
        assert here.sync().retired == 5
        assert here.mirrored("Trash").total() == 0
        assert here.believed() == {}


def test_what_keep_let_go_is_fetched_from_the_trash_for_the_mirror(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": mails(5), "Trash": []}) as server:
        account = {"leave_on_server": {"newest": 10}, "retire_to": "Trash"}
        here = ImapHome(tmp_path, server.port, "work", **account)
        here.archive_settings = {"keep": "delivered"}
        assert here.sync().delivered == 5
        here.account["leave_on_server"] = {"newest": 2}
        reports = [here.sync(confirm_retire=True) for _ in range(3)]
        assert [report.ok for report in reports] == [True] * 3, reports
        assert (reports[0].retired, sum(report.fetched for report in reports)) == (3, 3)
        assert here.mirrored("Trash").total() == 3


def test_a_rebuild_owes_nothing_of_what_keep_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that delivered it died before its journal heard of that."""
    with ScriptedImap({"INBOX": mails(2)}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        with monkeypatch.context() as patch:
            patch.setattr(Committer, "note_delivered", lambda *_: None)
            assert here.sync().delivered == 2
        here.archive_settings = {"keep": "delivered"}
        assert here.sync().ok
        here.rebuild()
        report = here.sync()
        assert (report.ok, report.delivered) == (True, 0), report.sentence()


# -- The server ----------------------------------------------------------------------


@pytest.mark.parametrize("read_only", [False, True])
def test_what_cannot_be_removed_costs_one_header_a_sync(tmp_path: Path, read_only: bool) -> None:
    box = Box(mails(50), read_only=read_only)
    capabilities = CAPABILITIES if read_only else MARKS_ONLY
    with ScriptedImap({"INBOX": box}, capabilities=capabilities) as server:
        here = ImapHome(tmp_path, server.port, "work", **NONE)
        here.sync()
        for _ in range(2):
            server.heard.clear()
            report = here.sync()
            assert (report.ok, report.fetched, report.confirmed) == (not read_only, 0, 50)
            asked = [line for line in server.heard if "BODY.PEEK[HEADER]" in line]
            assert asked == ["UID FETCH 1 (UID BODY.PEEK[HEADER])"]
        said = " ".join(report.notices) + report.sentence()
        assert "'INBOX'" in said
        assert ("marked as deleted" in said, "read only" in said) == (not read_only, read_only)


def test_where_the_oldest_header_cannot_be_had_the_others_are_looked_at(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": mails(5)}, capabilities=MARKS_ONLY) as server:
        here = ImapHome(tmp_path, server.port, "work", **NONE)
        here.sync()
        alone = re.compile(r"UID FETCH 1 \(UID BODY\.PEEK\[HEADER\]\)")
        server.answers[alone] = b"<tag> NO not that one\r\n"
        assert here.sync().confirmed == 5


def test_what_was_flagged_since_the_listing_stays(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": mails(4)}) as server:
        window = {"newest": 0, "flagged": "keep"}
        here = ImapHome(tmp_path, server.port, "work", leave_on_server=window)
        box = server.boxes[b"INBOX"]
        server.on["SELECT"] = lambda _: box.flag(box.messages[0], ["\\Flagged"])
        here.sync(confirm_retire=True)
        assert [m.uid for m in box.messages] == [1]


def test_a_stop_between_mailboxes_lists_no_more_of_them(tmp_path: Path) -> None:
    boxes = {f"box{n}": [mail(f"{n}")] for n in range(20)}
    with ScriptedImap(boxes) as server:
        here = ImapHome(tmp_path, server.port, "work")

        async def run() -> tuple[bool, bool]:
            stop, loop = asyncio.Event(), asyncio.get_running_loop()
            server.on[re.compile("BODY")] = lambda _: loop.call_soon_threadsafe(stop.set)  # type: ignore[assignment, return-value]
            settings = here.settings()
            with open_storage(settings) as storage:
                done = await sync_round(settings, (), storage, progress=Unwatched(), stop=stop)
            return done.reports[0].ok, done.reports[0].stopped

        assert asyncio.run(run()) == (True, True)
        assert server.verbs().count("EXAMINE") <= 2
        server.on.clear()
        here.sync()
        assert here.archived().total() == 20


@pytest.mark.parametrize("hidden", [(), ("QRESYNC",), ("QRESYNC", "CONDSTORE")])
def test_what_a_killed_sync_brought_and_then_vanished_is_missed(
    tmp_path: Path, hidden: tuple[str, ...]
) -> None:
    """It is younger than the mark of the last whole sync, and older than the next."""
    capabilities = [c for c in CAPABILITIES if c not in hidden]
    with ScriptedImap({"INBOX": mails(1)}, capabilities=capabilities) as server:
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().ok
        box = server.boxes[b"INBOX"]
        server.change(lambda _: box.add(mail("new")))
        last = 1
        while len(here.believed()["INBOX"]) == 1:
            assert round_in_child(here, last) == 0
            last += 1
        server.change(lambda _: box.remove([2]))
        assert here.sync().gone == 1
        assert here.believed()["INBOX"].keys() == {1}
        assert here.mirrored("INBOX").total() == 1


# -- What is said ---------------------------------------------------------------------


def test_a_plan_goes_on_past_a_mailbox_that_cannot_be_opened(tmp_path: Path) -> None:
    boxes = {"INBOX": mails(1), "Bad": mails(1), "Zed": mails(1)}
    refusal = {re.compile("EXAMINE.*Bad"): b"<tag> NO [NOPERM] not for you\r\n"}
    with ScriptedImap(boxes, answers=refusal) as server:
        here = ImapHome(tmp_path, server.port, "work")
        (plan,) = here.plan()
        assert plan.error is None
        fetched = {one.mailbox: len(one.fetch) for one in plan.mailboxes}
        assert fetched == {"INBOX": 1, "Bad": 0, "Zed": 1}
        (said,) = [notice for one in plan.mailboxes for notice in one.notices]
        assert said == "the mailbox 'Bad' cannot be opened: not for you"


def test_a_plan_foresees_that_what_is_found_in_one_more_mailbox_leaves_it(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": mails(3), "Work": []}, capabilities=WITH_IDS) as server:
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().fetched == 3
        here.account |= NONE
        server.change(lambda _: [server.boxes[b"Work"].add(m) for m in mails(3)])
        (plan,) = here.plan()
        assert sum(len(one.retire) for one in plan.mailboxes) == 6
        report = here.sync()
        assert (report.linked, report.retired) == (3, 6)


def test_the_brake_says_in_which_mailbox(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": mails(1), "Work": mails(60)}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        here.sync()
        here.account["leave_on_server"] = {"newest": 1}
        (notice,) = here.sync().notices
        assert notice.startswith("In 'Work' 59 of 60 messages would leave the server unexpectedly")
