"""What an adversary would try: clocks and settings that change, names used again, lost files.

Each test is a story of several rounds. The server is scripted, since the stories
need one whose unique-ids, sizes and answers are ours to choose.
"""

import asyncio
import mailbox
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fetchd.archive.packing import Packed
from fetchd.catalog import inventory as inventories
from fetchd.catalog import keeping, recording
from fetchd.contracts import Body, Commit, Fetched, Location, Recorded, RemoteRecord, StoredMessage
from fetchd.destinations import open_destination
from fetchd.errors import SettingsError
from fetchd.message import examine
from fetchd.pipeline import committer as committing
from fetchd.pipeline import fetch as fetching
from fetchd.pipeline import keep
from fetchd.pipeline.committer import Committed, Committer
from fetchd.pipeline.deliver import Deliveries
from fetchd.pipeline.owing import Origin, Owed
from fetchd.pipeline.round import sync_round
from fetchd.pipeline.storage import open_storage
from fetchd.pipeline.tools import Unwatched
from fetchd.policy.plan import RemoteMessage
from fetchd.settings import Settings, load
from tests import corpus
from tests.pipeline.home import Home
from tests.servers.scripted_pop3 import CAPABILITIES, HANG_UP, SILENCE, ScriptedPop3

DAY = timedelta(days=1)
NONE = {"leave_on_server": "none"}


def mail(subject: str, body: str = "body") -> bytes:
    """One small message that no other resembles by its header."""
    return f"Message-ID: <{subject}@x>\r\nSubject: {subject}\r\n\r\n{body}\r\n".encode()


class Renamed(Home):
    """A home whose one destination may change its name."""

    name = "home"

    def settings(self) -> Settings:
        self.account["deliver_to"] = ["home"]
        file = super().settings().path
        file.write_text(
            file.read_text()
            .replace("destinations.home", f"destinations.{self.name}")
            .replace('deliver_to = ["home"]', f'deliver_to = ["{self.name}"]')
        )
        return load(file, {})


def mails(count: int, *, prefix: str = "m") -> list[bytes]:
    return [mail(f"{prefix}{n}") for n in range(count)]


def put(server: ScriptedPop3, *messages: tuple[bytes, bytes]) -> None:
    for uid, message in messages:
        server.uidls.append(uid)
        server.messages.append(message)


def sql(here: Home, query: str) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(here.data / "catalog.sqlite")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


# -- The brake -------------------------------------------------------------------


def test_the_brake_does_not_give_way_by_itself(tmp_path: Path) -> None:
    """A clock that jumped ahead stays wrong for more than one round."""
    with ScriptedPop3(mails(50)) as server:
        here = Home(tmp_path, server.port, leave_on_server={"days": 7})
        assert here.sync().fetched == 50
        here.offset = 365 * DAY
        for _ in range(3):
            report = here.sync()
            assert (report.ok, report.retired, len(server.messages)) == (True, 0, 50)
            assert any("--confirm-retire" in notice for notice in report.notices)
        assert here.sync(confirm_retire=True).retired == 50


def test_a_round_that_decided_nothing_foresees_nothing(tmp_path: Path) -> None:
    """It looked at the server, and not at what may leave it: the next one must brake."""
    with ScriptedPop3(mails(50)) as server:
        here = Home(tmp_path, server.port, leave_on_server={"days": 7})
        here.sync()
        here.offset = 365 * DAY
        server.uidls[:] = [b"new-" + uid for uid in server.uidls]
        assert here.sync().retired == 0  # renumbered: nothing is decided
        assert here.sync().retired == 0  # braked
        assert len(server.messages) == 50


def test_renumbering_does_not_let_new_settings_pass_the_brake(tmp_path: Path) -> None:
    with ScriptedPop3(mails(50)) as server:
        here = Home(tmp_path, server.port)
        here.sync()
        here.account |= NONE
        server.uidls[:] = [b"new-" + uid for uid in server.uidls]
        report = here.sync()
        assert (report.adopted, report.retired) == (50, 0)
        report = here.sync()
        assert report.retired == 0
        assert any("--confirm-retire" in notice for notice in report.notices)


def test_what_waits_for_delivery_does_not_pass_the_brake_later(tmp_path: Path) -> None:
    with ScriptedPop3(mails(15)) as server:
        here = Home(tmp_path, server.port)
        here.sync()
        here.maildir.rename(tmp_path / "aside")
        here.maildir.write_text("not a folder")
        put(server, *((b"later-%d" % n, mail(f"later{n}")) for n in range(45)))
        here.sync()
        here.account |= NONE
        here.sync()  # 15 could go, 45 wait
        here.maildir.unlink()
        (tmp_path / "aside").rename(here.maildir)
        for _ in range(3):
            here.sync()
        assert len(server.messages) >= 45  # a change of settings that takes 60 asks


# -- Unique-ids given out again ---------------------------------------------------


@pytest.mark.parametrize("leave", ["forever", {"days": 7}])
def test_a_unique_id_that_came_to_mean_another_message(tmp_path: Path, leave: object) -> None:
    """Servers that number their mail do it anew after a repair or a move to another host."""
    new = mail("new", "another body, of another size")
    with ScriptedPop3([mail("old")], uidls=[b"1"]) as server:
        here = Home(tmp_path, server.port, leave_on_server=leave)
        here.sync()
        server.messages[:] = [new]
        here.offset = 8 * DAY
        for _ in range(3):
            here.sync()
        here.holds([mail("old"), new])


def test_a_unique_id_reused_after_a_removal_of_which_we_never_heard(tmp_path: Path) -> None:
    """+OK to QUIT was lost, the message is gone, and the next one gets its name."""
    new = mail("new")
    with ScriptedPop3([mail("old")], uidls=[b"1"], answers={"QUIT": HANG_UP}) as server:
        here = Home(tmp_path, server.port, **NONE)
        here.sync()
        del server.answers["QUIT"]
        server.messages[:] = [new]
        for _ in range(3):
            here.sync()
        here.holds([mail("old"), new])
        assert server.messages == []


def test_a_reused_unique_id_whose_message_would_not_come_at_first(tmp_path: Path) -> None:
    """Whatever becomes of the fetching, the new message must not pass for the old one."""
    new = mail("new")
    with ScriptedPop3([mail("old")], uidls=[b"1"], answers={"QUIT": HANG_UP}) as server:
        here = Home(tmp_path, server.port, **NONE)
        here.sync()
        del server.answers["QUIT"]
        server.messages[:] = [new]
        server.answers["RETR 1"] = b"-ERR not now\r\n"
        here.sync()
        del server.answers["RETR 1"]
        for _ in range(3):
            here.sync()
        here.holds([mail("old"), new])
        assert server.messages == []


def test_a_header_that_many_messages_have_proves_nothing(tmp_path: Path) -> None:
    """A device writes the same few lines each time, without date or Message-ID."""
    old, new = b"Subject: scan\r\n\r\none\r\n", b"Subject: scan\r\n\r\ntwo\r\n"
    with ScriptedPop3([mail("first"), old], uidls=[b"1", b"2"]) as server:
        here = Home(tmp_path, server.port)
        here.sync()
        server.messages[1], server.uidls[1] = new, b"3"
        here.sync()
        here.holds([mail("first"), old, new])


def test_a_unique_id_reused_after_a_rebuild(tmp_path: Path) -> None:
    """The segments say what was fetched, and must not make us believe that it is still there."""
    new = mail("new")
    with ScriptedPop3([mail("old")], uidls=[b"1"]) as server:
        here = Home(tmp_path, server.port, **NONE)
        assert here.sync().retired == 1
        here.rebuild()
        put(server, (b"1", new))
        for _ in range(3):
            here.sync()
        here.holds([mail("old"), new])
        assert server.messages == []


# -- Octets that are not there -----------------------------------------------------


def test_what_a_lost_segment_held_is_fetched_again_and_not_removed_before(tmp_path: Path) -> None:
    """Its messages were adopted under other names later: facts without octets."""
    messages = mails(5)
    with ScriptedPop3(messages) as server:
        here = Home(tmp_path, server.port, leave_on_server={"days": 7})
        here.archive_settings = {"segment_size": "1KB"}
        here.sync()
        segment = min(here.data.glob("archive/*/*/*.tar.zst"))
        server.uidls[:] = [b"new-" + uid for uid in server.uidls]
        assert here.sync().adopted == 5
        segment.unlink()
        here.rebuild()
        here.offset = 8 * DAY
        for _ in range(3):
            here.sync(confirm_retire=True)
        assert here.archived().total() == len(messages)


def test_a_delivery_waits_for_octets_that_come_again(tmp_path: Path) -> None:
    """Bits rot while the Maildir is full; the server still has the message."""
    with ScriptedPop3(corpus.small(5)) as server:
        served = list(server.messages)
        here = Home(tmp_path, server.port)
        here.maildir.write_text("not a folder")
        assert here.sync().deferred == 5
        (segment,) = here.data.glob("archive/*/*/*.tar.zst")
        octets = bytearray(segment.read_bytes())
        octets[2000] ^= 0xFF
        segment.write_bytes(octets)
        here.maildir.unlink()
        here.sync()
        here.verify()
        for _ in range(2):
            here.sync()
        assert here.delivered().total() == len(served)
        assert here.sync().ok


def test_damage_found_beside_a_sync_is_not_forgotten(tmp_path: Path) -> None:
    """`fetchd verify` runs while a sync is between its listing and its last word."""
    with ScriptedPop3(mails(3)) as server:
        here = Home(tmp_path, server.port)
        here.sync()
        with open_storage(here.settings()) as storage:
            state = inventories.mailbox_state(storage.catalog, "work", "INBOX")
            (digest,) = storage.catalog.rows("SELECT digest FROM message LIMIT 1")[0]
            keeping.mark_damaged(storage.catalog, [digest])
            inventories.save_mailbox_state(storage.catalog, "work", "INBOX", state)
        assert here.sync().fetched == 1


# -- Two at the same mail -----------------------------------------------------------


def batch(messages: Sequence[bytes], prefix: bytes) -> list[Fetched]:
    return [
        Fetched(RemoteMessage(b"%b%d" % (prefix, n), len(m), n), Body(len(m), m))
        for n, m in enumerate(messages, 1)
    ]


def test_who_has_the_same_mail_as_another_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One account compresses what both have fetched; the other has nothing to do, and is first."""
    here = Home(tmp_path, 1)
    claimed, go_on = threading.Event(), threading.Event()
    pack = committing.pack

    def slow(entries: Sequence[tuple[str, int, Body]], spool: Path) -> Packed:
        if entries:
            claimed.set()
            go_on.wait(10)
        return pack(entries, spool)

    monkeypatch.setattr(committing, "pack", slow)

    async def both() -> list[Committed]:
        with open_storage(here.settings()) as storage:
            committer = Committer(storage, lambda: datetime.now(UTC))
            running = asyncio.create_task(committer.run())
            first = asyncio.create_task(
                committer.commit(Origin("a", "INBOX", "", ()), batch(mails(3), b"a"))
            )
            await asyncio.to_thread(claimed.wait, 10)
            second = asyncio.create_task(
                committer.commit(Origin("b", "INBOX", "", ()), batch(mails(3), b"b"))
            )
            await asyncio.wait({second}, timeout=0.2)  # it may come to grief already
            go_on.set()
            try:
                return await asyncio.gather(first, second)
            finally:
                running.cancel()

    assert [len(done.messages) for done in asyncio.run(both())] == [3, 3]
    assert here.archived().total() == 3
    assert sql(here, "SELECT count(*) FROM remote_message") == [(6,)]


def test_lookalikes_of_one_commit_are_put_once(tmp_path: Path) -> None:
    one, other = mail("one"), b"Received: from elsewhere\r\n" + mail("one")
    here = Home(tmp_path, 1)
    here.destination = {"duplicates": "skip"}
    owed = (Owed("home", skip_duplicates=True),)

    async def both() -> None:
        settings = here.settings()
        with open_storage(settings) as storage:
            committer = Committer(storage, lambda: datetime.now(UTC))
            session = open_destination(settings.destinations["home"], "instance")
            deliveries = Deliveries(
                storage, committer, {"home": session}, lambda: datetime.now(UTC), asyncio.Event()
            )
            commits = [
                asyncio.create_task(
                    committer.commit(Origin(name, "INBOX", "", owed), batch([message], b"u"))
                )
                for name, message in (("a", one), ("b", other))
            ]
            while len(committer._waiting) < 2:  # noqa: ASYNC110 - both in one group
                await asyncio.sleep(0)
            running = asyncio.create_task(committer.run())
            for done in await asyncio.gather(*commits):
                await deliveries.put_fresh(done)
                await deliveries.settle()
            await deliveries.close()
            running.cancel()

    asyncio.run(both())
    assert here.delivered().total() == 1


def test_lookalikes_of_one_batch_leave_nothing_behind(tmp_path: Path) -> None:
    one = mail("one")
    with ScriptedPop3([one, b"Received: from elsewhere\r\n" + one]) as server:
        here = Home(tmp_path, server.port)
        here.destination = {"duplicates": "skip"}
        report = here.sync()
        assert (report.ok, report.fetched, report.delivered) == (True, 2, 1)
        assert here.delivered().total() == 1
        assert list(here.maildir.glob("tmp/*")) == []


# -- Clocks and numbers beyond reason ------------------------------------------------


def test_a_login_delay_does_not_outlast_a_clock_that_was_ahead(tmp_path: Path) -> None:
    with ScriptedPop3(mails(1), inside=[*CAPABILITIES, "LOGIN-DELAY 60"]) as server:
        here = Home(tmp_path, server.port)
        here.offset = 365 * DAY
        here.sync()
        here.offset = timedelta()
        here.sync()
        here.offset = timedelta(minutes=5)
        assert not here.sync().skipped


def test_a_quarantine_does_not_outlast_a_clock_that_was_ahead(tmp_path: Path) -> None:
    with ScriptedPop3(mails(2), answers={"RETR 2": b"-ERR broken\r\n"}) as server:
        here = Home(tmp_path, server.port)
        here.offset = 365 * DAY
        for _ in range(3):
            here.sync()
        del server.answers["RETR 2"]
        here.offset = 2 * DAY
        assert here.sync().fetched == 1


def test_absurd_sizes_harm_one_account_at_most(tmp_path: Path) -> None:
    listing = b"".join(b"%d 999999999999999999\r\n" % n for n in range(1, 13))
    with (
        ScriptedPop3(mails(12), answers={"LIST": b"+OK\r\n" + listing + b".\r\n"}) as server,
    ):
        here = Home(tmp_path, server.port)
        assert here.sync().quarantined == 12


@pytest.mark.parametrize(
    ("account", "archive"),
    [
        ({"leave_on_server": {"days": 4_000_000}}, {}),
        ({}, {"keep": "4000000d"}),
    ],
)
def test_a_time_span_beyond_the_calendar_is_refused(
    tmp_path: Path, account: dict[str, object], archive: dict[str, object]
) -> None:
    here = Home(tmp_path, 1, **account)
    here.archive_settings = archive
    with pytest.raises(SettingsError):
        here.settings()


def test_a_plan_takes_nothing_from_a_server_that_keeps_nothing(tmp_path: Path) -> None:
    """EXPIRE 0: what was handed over is deleted at QUIT (RFC 2449 §6.7); a plan stores nothing."""
    unknown = b"-ERR unknown command\r\n"
    with ScriptedPop3(
        mails(2), capabilities=["USER", "EXPIRE 0"], answers={"UIDL": unknown, "TOP": unknown}
    ) as server:
        here = Home(tmp_path, server.port)
        (plan,) = here.plan()
        assert len(plan.mailboxes[0].fetch) == 2
        assert not {"RETR", "QUIT"} <= set(server.verbs())


def test_a_committer_that_dies_does_not_leave_the_round_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug there must end the process with its own words, not hang it."""

    def broken(*_args: object, **_more: object) -> dict[tuple[str, str], int]:
        raise ZeroDivisionError

    monkeypatch.setattr(recording, "record", broken)
    monkeypatch.setattr(fetching, "BATCH_MESSAGES", 1)
    with ScriptedPop3(mails(3), answers={"RETR 3": SILENCE}) as server:
        here = Home(tmp_path, server.port)

        async def run() -> None:
            settings = here.settings()
            with open_storage(settings) as storage:
                round_ = sync_round(
                    settings, (), storage, progress=Unwatched(), stop=asyncio.Event()
                )
                await asyncio.wait_for(round_, 10)

        with pytest.raises(ZeroDivisionError):
            asyncio.run(run())


# -- Letting go ------------------------------------------------------------------------


def test_compaction_does_not_revive_what_left_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedPop3(corpus.small(30, size=20_000)) as server:
        here = Home(tmp_path, server.port, deliver_to=[], **NONE)
        here.archive_settings = {"keep": "90d", "segment_size": "1MiB"}
        assert here.sync().retired == 30
        here.offset = 60 * DAY
        put(server, (b"young", mail("young")))
        assert here.sync().retired == 1
        (before,) = here.data.glob("archive/*/*/*.tar.zst")
        monkeypatch.setattr(keep, "WORTH_SEALING", 1)
        here.archive_settings = {"keep": "90d", "segment_size": "1KB"}
        put(server, (b"other", mail("other")))
        assert here.sync().retired == 1  # seals the segment
        here.offset = 100 * DAY
        here.sync()
        assert not before.exists()  # compacted
        report = here.sync()
        assert report.notices == []
        assert sql(here, "SELECT DISTINCT state FROM remote_message") == [("retired",)]


def test_damage_in_a_segment_to_be_compacted_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One spoilt message must not fail every round from then on, nor be thrown away."""
    with ScriptedPop3(corpus.small(30, size=20_000)) as server:
        here = Home(tmp_path, server.port, deliver_to=[])
        here.archive_settings = {"keep": "90d"}
        here.sync()
        here.offset = 60 * DAY
        put(server, (b"young", mail("young")), (b"other", mail("other")))
        here.sync()
        (segment,) = here.data.glob("archive/*/*/*.tar.zst")
        (offset,) = sql(here, "SELECT max(frame_offset) FROM message")[0]
        octets = bytearray(segment.read_bytes())
        octets[offset + 30] ^= 0xFF
        segment.write_bytes(octets)
        server.messages.clear()
        server.uidls.clear()
        here.archive_settings = {"keep": "90d", "segment_size": "1KB"}
        here.offset = 100 * DAY
        for n in range(3):
            put(server, (b"%d" % n, mail(f"{n}")))
            assert here.sync().ok
        assert segment.exists()


def test_a_catalog_from_a_backup_finds_what_compaction_moved(tmp_path: Path) -> None:
    with ScriptedPop3(corpus.small(30, size=20_000)) as server:
        here = Home(tmp_path, server.port, deliver_to=[])
        here.archive_settings = {"keep": "90d", "segment_size": "100KB"}
        here.sync()
        here.offset = 60 * DAY
        here.archive_settings = {"keep": "90d"}
        put(server, (b"young", mail("young")))
        here.sync()
        backup = (here.data / "catalog.sqlite").read_bytes()
        here.archive_settings = {"keep": "90d", "segment_size": "1KB"}
        put(server, (b"other", mail("other")))
        here.sync()
        here.offset = 100 * DAY
        here.sync()
        assert here.archived().total() == 2
        (here.data / "catalog.sqlite").write_bytes(backup)
        report = here.sync()
        assert (report.ok, here.verify().damaged) == (True, ())
        assert here.archived().total() == 2


def test_a_spool_that_is_at_rest_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What servers still list is carried over once, not at every round."""
    monkeypatch.setattr(keep, "WORTH_SEALING", 2000)
    with ScriptedPop3(mails(100)) as server:
        here = Home(tmp_path, server.port)
        here.archive_settings = {"keep": "delivered"}
        for _ in range(3):
            here.sync()
        before = sorted(here.data.glob("archive/*/*/*.tar.zst"))
        for _ in range(2):
            here.sync()
        assert sorted(here.data.glob("archive/*/*/*.tar.zst")) == before


def test_a_spool_lets_go_of_copies_that_were_not_delivered_as_such(tmp_path: Path) -> None:
    one = mail("one")
    with ScriptedPop3([one, b"Received: from elsewhere\r\n" + one]) as server:
        here = Home(tmp_path, server.port)
        here.destination = {"duplicates": "skip"}
        here.archive_settings = {"keep": "delivered"}
        here.sync()
        here.sync()
        assert sql(here, "SELECT count(*) FROM message WHERE expired = 0") == [(0,)]


def test_a_rebuild_knows_the_age_of_each_message(tmp_path: Path) -> None:
    """A compaction writes old and young into one commit; `keep` counts from each one's own day."""
    here = Home(tmp_path, 1)
    here.settings()
    old, young = (datetime(2026, 1, 1, tzinfo=UTC) + n * DAY for n in (0, 80))
    stored, records = [], []
    for n, seen in enumerate((old, young)):
        digest, summary, _ = examine([mail(f"m{n}")])
        at = Location("2026/01/" + "0" * 26 + ".tar.zst", 0, 100, 512 * n)
        stored.append(StoredMessage(digest, 50, at, summary, old))
        records.append(RemoteRecord("work", "INBOX", b"%d" % n, 50, digest, seen))
    commit = Commit(messages=tuple(stored), remotes=tuple(records))
    with open_storage(here.settings()) as storage:
        recording.record(storage.catalog, [Recorded(at.segment, 1000, commit)], replay=True)
        assert keeping.expirable(storage.catalog, old + DAY) == [stored[0].digest]


# -- What the owner is told --------------------------------------------------------------


def test_a_broken_line_counts_the_mailbox_once(tmp_path: Path) -> None:
    answers: Any = {"RETR 3": HANG_UP}
    with ScriptedPop3(mails(5), answers=answers) as server:
        here = Home(tmp_path, server.port)
        assert here.sync().on_server == 5


def test_mail_owed_to_a_destination_that_is_no_more_is_not_passed_over(tmp_path: Path) -> None:
    with ScriptedPop3(mails(3)) as server:
        here = Renamed(tmp_path, server.port, **NONE)
        here.maildir.write_text("not a folder")
        here.sync()
        here.name = "house"
        report = here.sync()
        assert len(server.messages) == 3
        told = [*report.notices, report.sentence()]
        assert any("'home'" in sentence or " home " in sentence for sentence in told)


def test_a_message_that_turns_out_too_large_is_no_failure(tmp_path: Path) -> None:
    """max_message_size is the owner's wish, also where a server lists too little."""
    big = mail("big", "x" * 5000)
    listing = b"+OK\r\n1 100\r\n.\r\n"
    with ScriptedPop3([big], answers={"LIST": listing}) as server:
        here = Home(tmp_path, server.port, max_message_size=1000)
        report = here.sync()
        assert (report.ok, report.fetched) == (True, 0)
        assert any("max_message_size" in notice for notice in report.notices)


def test_what_came_first_is_put_first_however_large_it_is(tmp_path: Path) -> None:
    """Batches are prepared side by side; a small one must not overtake."""
    octets = [mail(f"m{number}", "x" * 400_000) for number in range(15)]
    with ScriptedPop3(octets) as server:
        here = Home(tmp_path, server.port)
        here.destination = {"kind": "mbox", "path": str(tmp_path / "mbox")}
        here.sync()
    with closing(mailbox.mbox(tmp_path / "mbox", create=False)) as box:
        subjects = [str(one["subject"]) for one in box]
    assert subjects == [f"m{number}" for number in range(15)]
