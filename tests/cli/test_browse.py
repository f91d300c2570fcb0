"""`fetchd browse`: what is on the server is shown, and what is chosen there comes home."""

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fetchd.catalog import leases, recording
from fetchd.catalog.database import Catalog
from tests import corpus
from tests.cli.at_dovecot import PROTOCOLS, at_home, run
from tests.cli.test_commands import documented, is_told, paths
from tests.pipeline.home import Home
from tests.servers.dovecot import Dovecot
from tests.servers.mail import Mail, digest
from tests.servers.scripted_imap import CAPABILITIES, ScriptedImap
from tests.servers.scripted_pop3 import HANG_UP, ScriptedPop3

MAILS = corpus.small(7, size=900)
LARGE = corpus.small(1, size=40_000, seed=9)[0]
ODD = "Würfel & 筆"


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot() as server:
        yield server
        assert server.complaints() == []


def in_box(protocol: str) -> tuple[str, ...]:
    """POP3 has one mailbox, which needs no name."""
    return ("INBOX",) if protocol == "imap" else ()


def subjects(mails: list[bytes]) -> list[str]:
    return [re.search(rb"^Subject: (.*)\r$", m, re.MULTILINE)[1].decode() for m in mails]


# -- What is there -----------------------------------------------------------------


@pytest.mark.live
def test_the_mailboxes_with_what_they_hold_and_what_is_here(
    dovecot: Dovecot, tmp_path: Path
) -> None:
    here = at_home(tmp_path, dovecot, "boxes", "imap", mailboxes=["*", "!Junk"])
    dovecot.fill("boxes", MAILS[:3])
    dovecot.fill("boxes", MAILS[3:5], mailbox=ODD)
    dovecot.fill("boxes", MAILS[5:6], mailbox="Junk")
    before = run(here, "browse", "boxes", "--json").document["mailboxes"]
    assert run(here, "sync").code == 0
    after = run(here, "browse", "boxes", "--json").document["mailboxes"]
    octets = [sum(map(len, some)) for some in (MAILS[:3], MAILS[5:6], MAILS[3:5])]
    keys = ("mailbox", "role", "on_server", "stored", "chosen", "octets")
    assert [tuple(one[key] for key in keys) for one in after] == [
        ("INBOX", "\\Inbox", 3, 3, True, octets[0]),
        ("Junk", "\\Junk", 1, 0, False, octets[1]),
        (ODD, None, 2, 2, True, octets[2]),
    ]
    assert [one["stored"] for one in before] == [0, 0, 0]
    told = run(here, "browse", "boxes")
    assert re.search(rf"^ +2 +\S+ kB +2  yes +{ODD}$", told.out, re.MULTILINE)


@pytest.mark.live
@pytest.mark.parametrize("hidden", ["STATUS=SIZE", "LIST-STATUS"])
def test_a_server_that_tells_less_of_mailboxes(hidden: str, tmp_path: Path) -> None:
    """Dovecot has both; without the first there are no octets, without either STATUS is asked."""
    hide = ("STATUS=SIZE",) if hidden == "STATUS=SIZE" else ("STATUS=SIZE", "LIST-STATUS")
    with Dovecot(hide=hide) as server:
        here = at_home(tmp_path, server, "less", "imap")
        server.fill("less", MAILS[:2])
        (inbox,) = run(here, "browse", "less", "--json").document["mailboxes"]
        assert (inbox["on_server"], inbox["octets"]) == (2, None)


@pytest.mark.live
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_pages_together_are_the_mailbox_newest_first(
    dovecot: Dovecot, tmp_path: Path, protocol: str
) -> None:
    user = f"pages-{protocol}"
    here = at_home(tmp_path, dovecot, user, protocol)
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    dovecot.fill(user, [Mail(m, date=begin + timedelta(days=n)) for n, m in enumerate(MAILS)])
    browse = ("browse", user, *in_box(protocol), "--limit", "3", "--json", "--page")
    pages = [run(here, *browse, str(n)).document for n in (1, 2, 3)]
    shown = [message for page in pages for message in page["messages"]]
    assert [len(page["messages"]) for page in pages] == [3, 3, 1]
    assert {(p["on_server"], p["found"], p["pages"]) for p in pages} == {(7, 7, 3)}
    assert [message["subject"] for message in shown] == subjects(MAILS)[::-1]
    uids = [str(n) for n in range(7, 0, -1)]
    if protocol == "pop3":
        uids = [uidl.decode() for uidl in reversed(dovecot.uidls(user))]
    assert [message["uid"] for message in shown] == uids
    beyond = run(here, *browse, "4")
    assert (beyond.code, beyond.document["error"]["advice"]) == (2, "The last one is 3.")


@pytest.mark.live
def test_what_arrived_last_is_first_whatever_its_uid(dovecot: Dovecot, tmp_path: Path) -> None:
    here = at_home(tmp_path, dovecot, "late", "imap")
    days = (20, 5, 12)
    dates = [datetime(2026, 1, day, 9, tzinfo=UTC) for day in days]
    dovecot.fill("late", [Mail(m, date=d) for m, d in zip(MAILS, dates, strict=False)])
    shown = run(here, "browse", "late", "INBOX", "--json").document["messages"]
    assert [one["uid"] for one in shown] == ["1", "3", "2"]
    assert shown[0]["date"] == "2026-01-20T09:00:00Z"


@pytest.mark.live
def test_flags_are_told_and_not_changed(dovecot: Dovecot, tmp_path: Path) -> None:
    here = at_home(tmp_path, dovecot, "flags", "imap")
    flags = ("\\Flagged", "\\Answered", "$Work")
    dovecot.fill("flags", [Mail(MAILS[0], flags=("\\Flagged", "\\Answered")), MAILS[1]])
    with dovecot.client("flags") as client:
        client.flag("INBOX", [1], add=["$Work"])
    before = dovecot.served_imap("flags")
    ran = run(here, "browse", "flags", "INBOX", "--json")
    assert set(ran.document["messages"][1]["flags"]) == set(flags)
    told = run(here, "browse", "flags", "inbox").out
    assert re.search(r"^1 .* FR \$Work +no ", told, re.MULTILINE)
    assert dovecot.served_imap("flags") == before


def test_pop3_headers_come_for_the_page_alone(tmp_path: Path) -> None:
    with ScriptedPop3(MAILS) as server:
        here = Home(tmp_path, server.port)
        assert run(here, "browse", "work", "--limit", "2").code == 0
        assert [line for line in server.heard if line.startswith("TOP")] == ["TOP 7 0", "TOP 6 0"]
        assert not {"RETR", "DELE"} & set(server.verbs())


def test_imap_headers_come_for_the_page_alone(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": MAILS}) as server:
        here = Home(tmp_path, server.port, protocol="imap")
        assert run(here, "browse", "work", "INBOX", "--limit", "2").code == 0
        bodies = [line for line in server.heard if "BODY" in line]
        assert bodies == ["UID FETCH 6:7 (UID BODY.PEEK[HEADER])"]
        assert not {"SELECT", "UID STORE", "UID EXPUNGE"} & set(server.verbs())


def test_a_server_without_top_shows_what_is_here_of_its_messages(tmp_path: Path) -> None:
    unknown = b"-ERR unknown command\r\n"
    with ScriptedPop3(MAILS[:2], capabilities=["UIDL", "USER"], answers={"TOP": unknown}) as server:
        here = Home(tmp_path, server.port)
        bare = run(here, "browse", "work", "--json").document["messages"]
        assert [one["subject"] for one in bare] == ["", ""]
        run(here, "sync")
        told = run(here, "browse", "work", "--json").document["messages"]
        assert [one["subject"] for one in told] == subjects(MAILS[:2])[::-1]


@pytest.mark.live
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("synced", [False, True])
def test_a_search_finds_what_is_stored_and_what_is_not(
    dovecot: Dovecot, tmp_path: Path, protocol: str, *, synced: bool
) -> None:
    user = f"search-{protocol}-{synced}".lower()
    here = at_home(tmp_path, dovecot, user, protocol)
    dovecot.fill(user, MAILS[:4])
    if synced:
        run(here, "sync")
    dovecot.fill(user, MAILS[4:])
    for at in (1, 5):
        word = subjects(MAILS)[at].split()[0].upper()
        fitting = [s for s in reversed(subjects(MAILS)) if word.lower() in s]
        found = run(here, "browse", user, *in_box(protocol), "--search", word, "--json").document
        assert [one["subject"] for one in found["messages"]] == fitting
        assert (found["found"], found["on_server"]) == (len(fitting), 7)
    nothing = run(here, "browse", user, *in_box(protocol), "--search", "no such words")
    assert (nothing.code, nothing.out) == (0, "No message fits.\n")


def test_stored_says_what_became_of_each(tmp_path: Path) -> None:
    with ScriptedPop3([*MAILS[:4], LARGE]) as server:
        server.answers["RETR 2"] = b"-ERR damaged here\r\n"
        here = Home(tmp_path, server.port, max_message_size=20_000)
        run(here, "sync")
        server.messages.append(MAILS[4])
        server.uidls.append(b"uid-6")
        with closing(Catalog(here.data / "catalog.sqlite")) as catalog, catalog.transaction() as db:
            for column, mail in (("damaged", MAILS[2]), ("expired", MAILS[3])):
                by = (bytes.fromhex(digest(mail)),)
                db.execute(f"UPDATE message SET {column} = 1 WHERE digest = ?", by)
        shown = run(here, "browse", "work", "--json").document["messages"]
        assert {one["uid"]: (one["stored"], one["reason"]) for one in shown} == {
            "uid-1": ("yes", ""),
            "uid-2": ("quarantined", "damaged here"),
            "uid-3": ("damaged", ""),
            "uid-4": ("expired", ""),
            "uid-5": ("too_large", ""),
            "uid-6": ("no", ""),
        }
        told = run(here, "browse", "work").out
        assert "uid-2 is quarantined: damaged here\n" in told
        assert re.search(r"^uid-5 .* kB  too large ", told, re.MULTILINE)


@pytest.mark.parametrize("happens", ["it is another one", "it was gone and is back"])
def test_a_uid_that_meant_something_else_before_is_not_stored(tmp_path: Path, happens: str) -> None:
    with ScriptedPop3(MAILS[:2]) as server:
        here = Home(tmp_path, server.port)
        run(here, "sync")
        if happens == "it is another one":
            server.messages[1] = LARGE
        else:
            uid, mail = server.uidls.pop(), server.messages.pop()
            run(here, "sync")
            server.uidls.append(uid)
            server.messages.append(mail)
        first, second = run(here, "browse", "work", "--json").document["messages"]
        assert (first["uid"], first["stored"], second["stored"]) == ("uid-2", "no", "yes")
        # By its header the one is known again, and the other is not.
        done = run(here, "browse", "work", "--fetch", "uid-2", "--json").document
        became = "fetched" if happens == "it is another one" else "stored"
        assert (done["messages"][0]["became"], done["ok"]) == (became, True)
        assert run(here, "browse", "work", "--json").document["messages"][0]["stored"] == "yes"


# -- By hand -----------------------------------------------------------------------


@pytest.mark.live
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_chosen_comes_home_and_nothing_else(
    dovecot: Dovecot, tmp_path: Path, protocol: str
) -> None:
    user = f"hand-{protocol}"
    here = at_home(tmp_path, dovecot, user, protocol, max_message_size=20_000)
    dovecot.fill(user, [*MAILS, LARGE])
    there = dovecot.served_imap(user)
    shown = run(here, "browse", user, *in_box(protocol), "--json").document["messages"]
    large, chosen = shown[0]["uid"], shown[3]["uid"]
    fetch = ("browse", user, *in_box(protocol), "--fetch", large, "--fetch", chosen)
    ran = run(here, *fetch)
    assert ran.code == 0
    assert re.fullmatch(
        rf"{large}: fetched \(.* kB\)\n{chosen}: fetched \(.* B\)\n2 deliveries made\n", ran.out
    )
    here.holds([LARGE, MAILS[4]])
    again = run(here, *fetch, "--json").document
    assert [one["became"] for one in again["messages"]] == ["stored", "stored"]
    assert (again["ok"], again["delivered"]) == (True, 0)
    assert run(here, "history").out == "No runs yet.\n"
    with closing(Catalog(here.data / "catalog.sqlite", read_only=True)) as catalog:
        assert catalog.rows("SELECT lease_owner FROM account") == [("",)]
    # The next sync looks as if nobody had been here, and brings the rest.
    assert here.sync().fetched == 6
    here.holds([*MAILS, LARGE])
    assert dovecot.served_imap(user) == there
    assert run(here, "audit").code == 0


@pytest.mark.live
def test_a_mailbox_that_the_settings_leave_out_can_be_fetched_from(
    dovecot: Dovecot, tmp_path: Path
) -> None:
    here = at_home(tmp_path, dovecot, "junk", "imap", mailboxes=["*", "!\\Junk"])
    dovecot.fill("junk", MAILS[:2], mailbox="Junk")
    done = run(here, "browse", "junk", "\\Junk", "--fetch", "2", "--json").document
    assert (done["mailbox"], done["ok"]) == ("Junk", True)
    here.holds(MAILS[1:2])
    assert (here.sync().fetched, here.sync().notices) == (0, [])


@pytest.mark.live
def test_a_uid_is_taken_as_plan_writes_it_too(dovecot: Dovecot, tmp_path: Path) -> None:
    here = at_home(tmp_path, dovecot, "whole", "imap")
    dovecot.fill("whole", MAILS[:2])
    (account,) = run(here, "plan", "--json").document["accounts"]
    uid = account["mailboxes"][0]["fetch"][1]["uid"]
    assert uid.endswith(".2")
    assert run(here, "browse", "whole", "INBOX", "--fetch", uid).code == 0
    here.holds(MAILS[1:2])


def test_what_another_mailbox_has_brought_is_not_fetched_again(tmp_path: Path) -> None:
    """RFC 8474: one EMAILID, the same octets; only a mirror has a copy of it in each mailbox."""
    boxes = {"INBOX": MAILS[:2], "Work": MAILS[1:2]}
    with ScriptedImap(boxes, capabilities=(*CAPABILITIES, "OBJECTID")) as server:
        here = Home(tmp_path, server.port, protocol="imap", mailboxes=["INBOX"])
        run(here, "sync")
        server.heard.clear()
        done = run(here, "browse", "work", "Work", "--fetch", "1", "--json").document
        assert (done["messages"][0]["became"], done["delivered"]) == ("stored", 0)
        assert not [line for line in server.heard if "BODY" in line]
        (shown,) = run(here, "browse", "work", "Work", "--json").document["messages"]
        assert shown["stored"] == "yes"
        here.holds(MAILS[:2])


def test_what_was_refused_before_is_asked_for_again(tmp_path: Path) -> None:
    with ScriptedPop3(MAILS[:3]) as server:
        server.answers["RETR 2"] = b"-ERR damaged here\r\n"
        here = Home(tmp_path, server.port)
        run(here, "sync")
        refused = run(here, "browse", "work", "--fetch", "uid-2")
        assert (refused.code, refused.out) == (1, "uid-2: would not come: damaged here\n")
        run(here, "sync")  # in vain again: from now on a sync waits before the next try
        assert here.plan()[0].mailboxes[0].quarantined
        del server.answers["RETR 2"]
        assert run(here, "browse", "work", "--fetch", "uid-2").code == 0
        here.holds(MAILS[:3])


def test_what_keep_let_go_is_fetched_and_not_delivered_again(tmp_path: Path) -> None:
    with ScriptedPop3(MAILS[:1]) as server:
        here = Home(tmp_path, server.port)
        here.archive_settings = {"keep": "delivered"}
        run(here, "sync")
        (shown,) = run(here, "browse", "work", "--json").document["messages"]
        assert shown["stored"] == "expired"
        done = run(here, "browse", "work", "--fetch", "uid-1", "--json").document
        assert (done["messages"][0]["became"], done["delivered"]) == ("fetched", 0)
        assert run(here, "show", shown["digest"], "--header").code == 0


@pytest.mark.parametrize(
    ("answers", "uids", "code", "told"),
    [
        ({}, ["uid-9"], 1, r"uid-9: the server has no such uid\n"),
        ({}, ["uid-9", "uid-1"], 1, r"uid-9: .* no such uid\nuid-1: fetched .*\n1 delivery made\n"),
        ({"RETR 2": b"-ERR no\r\n"}, ["uid-2", "uid-1"], 1, r"uid-2: would .*: no\nuid-1: fet.*\n"),
        ({"RETR": HANG_UP}, ["uid-2"], 1, r"uid-2: did not come: .* hung up .*\n  Check .*\n"),
    ],
)
def test_what_would_not_come_is_told_and_fails(
    tmp_path: Path, answers: dict[str, object], uids: list[str], code: int, told: str
) -> None:
    with ScriptedPop3(MAILS[:3]) as server:
        server.answers |= answers
        here = Home(tmp_path, server.port)
        ran = run(here, "browse", "work", *(word for uid in uids for word in ("--fetch", uid)))
        assert (ran.code, ran.err.count("Traceback")) == (code, 0)
        assert re.match(told, ran.out, re.DOTALL)


def test_what_cannot_be_delivered_fails_and_waits_for_a_sync(tmp_path: Path) -> None:
    with ScriptedPop3(MAILS[:1]) as server:
        here = Home(tmp_path, server.port)
        path = here.folder / "absent" / "Maildir"
        here.destination["path"] = str(path)
        ran = run(here, "browse", "work", "--fetch", "uid-1")
        assert ran.code == 1
        assert re.match(r"uid-1: fetched .*\nhome: .* cannot be made or is gone", ran.out)
        path.parent.mkdir()
        assert run(here, "sync").code == 0
        assert len(list((path / "new").iterdir())) == 1


def test_while_another_process_syncs_nothing_is_fetched(tmp_path: Path) -> None:
    with ScriptedPop3(MAILS[:1]) as server:
        here = Home(tmp_path, server.port)
        here.data.mkdir()
        with closing(Catalog(here.data / "catalog.sqlite")) as catalog:
            now = datetime.now(UTC)
            leases.acquire(catalog, "work", now + timedelta(minutes=1), now)
            busy = run(here, "browse", "work", "--fetch", "uid-1")
            assert (busy.code, server.heard) == (1, [])
            assert re.match(r"fetchd: Process \d+ has been syncing account work since", busy.err)
            assert run(here, "browse", "work").code == 0  # looking needs no lease
        assert run(here, "browse", "work", "--fetch", "uid-1").code == 0


def test_a_committer_that_dies_does_so_with_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_more: object) -> dict[tuple[str, str], int]:
        raise ZeroDivisionError

    with ScriptedPop3(MAILS[:1]) as server:
        here = Home(tmp_path, server.port)
        run(here, "sync")
        server.messages.append(MAILS[1])
        server.uidls.append(b"uid-2")
        monkeypatch.setattr(recording, "record", broken)
        with pytest.raises(ZeroDivisionError):
            run(here, "browse", "work", "--fetch", "uid-2")
        monkeypatch.undo()
        # It had reached the archive, so the next start knows it; its delivery is a sync's.
        assert "is stored already" in run(here, "browse", "work", "--fetch", "uid-2").out
        assert run(here, "sync").code == 0
        here.holds(MAILS[:2])


@pytest.mark.live
def test_from_a_renumbered_mailbox_nothing_is_fetched_before_a_sync(
    dovecot: Dovecot, tmp_path: Path
) -> None:
    here = at_home(tmp_path, dovecot, "renumbered", "imap")
    dovecot.fill("renumbered", MAILS[:3])
    run(here, "sync")
    dovecot.change_uidvalidity("renumbered", "INBOX", 77)
    fetch = ("browse", "renumbered", "INBOX", "--fetch", "2")
    refused = run(here, *fetch)
    assert (refused.code, "was renumbered" in refused.err) == (1, True)
    assert "Run 'fetchd sync renumbered' first" in refused.err
    assert run(here, "sync").code == 0
    assert "is stored already" in run(here, *fetch).out


@pytest.mark.parametrize("words", [(), ("--fetch", "uid-1")])
def test_a_server_that_deletes_at_quit_is_left_without_one(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """EXPIRE 0 (RFC 2449 §6.7)."""
    with ScriptedPop3(MAILS[:2], capabilities=["USER", "UIDL", "TOP", "EXPIRE 0"]) as server:
        here = Home(tmp_path, server.port)
        assert run(here, "browse", "work", *words).code == 0
        assert not {"QUIT", "DELE"} & set(server.verbs())


# -- What is asked wrongly ---------------------------------------------------------


@pytest.mark.live
@pytest.mark.parametrize(
    ("protocol", "words", "told"),
    [
        ("imap", "browse nobody", r"no account is called nobody\n  The settings have: wrong-imap"),
        ("imap", "browse wrong-imap Sendt", r"has no mailbox 'Sendt' .*\n  There is Sent\. "),
        ("imap", "browse wrong-imap \\Drafts", r"has no mailbox '\\Drafts'"),
        ("imap", "browse wrong-imap Sendt --fetch 1", r"has no mailbox 'Sendt' .*\n  There is Sen"),
        ("imap", "browse wrong-imap --fetch 1", r"--fetch needs the mailbox .*\n  .* INBOX --fet"),
        ("imap", "browse wrong-imap INBOX --page 2", r"there is no page 2\n  The last one is 1"),
        ("pop3", "browse wrong-pop3 Sent", r"has no mailbox 'Sent'"),
        ("pop3", "browse wrong-pop3 --page 0", r"Invalid value for '--page'"),
    ],
)
def test_what_is_asked_wrongly_is_told(
    dovecot: Dovecot, tmp_path: Path, protocol: str, words: str, told: str
) -> None:
    here = at_home(tmp_path, dovecot, f"wrong-{protocol}", protocol)
    if protocol == "imap" and not dovecot.maildir(f"wrong-{protocol}", "Sent").exists():
        dovecot.fill("wrong-imap", [], mailbox="Sent")
    ran = run(here, *words.split())
    assert (ran.code, ran.out) == (2, "")
    assert re.search(told, ran.err)


@pytest.mark.live
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("words", [(), ("--fetch", "1")])
def test_a_login_that_fails_is_told(
    dovecot: Dovecot, tmp_path: Path, protocol: str, words: tuple[str, ...]
) -> None:
    here = at_home(tmp_path, dovecot, "strange", protocol, password="not it")
    ran = run(here, "browse", "strange", *in_box(protocol), *words)
    assert (ran.code, ran.out) == (1, "")
    assert re.match(r"fetchd: .* refuses the login.*\n  Check username and password", ran.err)


@pytest.mark.live
def test_json_has_the_documented_keys(dovecot: Dovecot, tmp_path: Path) -> None:
    here = at_home(tmp_path, dovecot, "keys", "imap")
    dovecot.fill("keys", MAILS[:2])
    for section, words in {
        "browse": [("browse", "keys"), ("browse", "keys", "INBOX")],
        "browse --fetch": [("browse", "keys", "INBOX", "--fetch", "1", "--fetch", "9")],
    }.items():
        told = documented()[section]
        for one in words:
            document = run(here, *one, "--json").document
            assert {path for path in paths(document) if not is_told(path, told)} == set()
            assert document.keys() == {re.split(r"[.\[]", key)[0] for key in told}
