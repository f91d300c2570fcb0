"""`fetchd audit`: what should be here and is not is found, and what is explained is no fault."""

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests import corpus
from tests.cli.at_dovecot import PROTOCOLS, at_home, run
from tests.cli.test_commands import documented, is_told, paths
from tests.pipeline.home import Home
from tests.servers.dovecot import Dovecot
from tests.servers.mail import digest
from tests.servers.scripted_imap import ScriptedImap
from tests.servers.scripted_pop3 import HANG_UP, Answer, ScriptedPop3

MAILS = corpus.small(6, size=900)
LARGE = corpus.small(1, size=40_000, seed=9)[0]
KINDS = ("missing", "quarantined", "too_large", "not_wanted", "extra", "flags", "different")


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot() as server:
        yield server
        assert server.complaints() == []


def audited(here: Home, *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and by mailbox what is not zero."""
    ran = run(here, "audit", "--json", *words)
    (account,) = ran.document["accounts"]
    found = {}
    for mailbox in account["mailboxes"]:
        told = {key: [note["uid"] for note in mailbox[key]] for key in KINDS}
        told |= {key: mailbox[key] for key in ("on_server", "stored", "recognised", "unread")}
        found[mailbox["mailbox"]] = {key: value for key, value in told.items() if value}
        parts = ("missing", "quarantined", "too_large", "not_wanted")
        listed = mailbox["stored"] + mailbox["recognised"] + sum(len(mailbox[p]) for p in parts)
        assert listed == mailbox["on_server"]
    assert ran.document["ok"] == account["ok"] == (ran.code == 0)
    return ran.code, found


def remembered(here: Home) -> str:
    """Everything that the catalog says."""
    with closing(sqlite3.connect(here.data / "catalog.sqlite")) as db:
        return hashlib.sha256("\n".join(db.iterdump()).encode()).hexdigest()


def believe(here: Home, mail: bytes, *, column: str) -> None:
    """The catalog takes a message for damaged, or for expired."""
    with closing(sqlite3.connect(here.data / "catalog.sqlite")) as db, db:
        by = (bytes.fromhex(digest(mail)),)
        db.execute(f"UPDATE message SET {column} = 1 WHERE digest = ?", by)


@pytest.mark.live
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("deep", [(), ("--deep",)])
def test_what_is_not_here_is_missing_until_a_sync(
    dovecot: Dovecot, tmp_path: Path, protocol: str, deep: tuple[str, ...]
) -> None:
    user = f"missing-{protocol}{len(deep)}"
    here = at_home(tmp_path, dovecot, user, protocol)
    dovecot.fill(user, MAILS[:4])
    uids = ["1", "2", "3", "4"]
    if protocol == "pop3":
        uids = [uidl.decode() for uidl in dovecot.uidls(user)]
    assert audited(here, *deep) == (1, {"INBOX": {"on_server": 4, "missing": uids}})
    assert not here.data.exists()
    assert run(here, "sync").code == 0
    assert audited(here, *deep) == (0, {"INBOX": {"on_server": 4, "stored": 4}})
    dovecot.fill(user, MAILS[4:])
    code, found = audited(here, *deep)
    assert (code, found["INBOX"]["stored"], len(found["INBOX"]["missing"])) == (1, 4, 2)


@pytest.mark.live
def test_what_others_did_on_the_server_is_told_and_no_fault(
    dovecot: Dovecot, tmp_path: Path
) -> None:
    here = at_home(tmp_path, dovecot, "others", "imap", mailboxes=["*", "!Junk"])
    dovecot.fill("others", MAILS[:3])
    dovecot.fill("others", MAILS[3:4], mailbox="Old")
    dovecot.fill("others", MAILS[4:5], mailbox="Junk")
    run(here, "sync")
    with dovecot.client("others") as client:
        client.expunge("INBOX", [2])
        client.flag("INBOX", [3], add=["\\Flagged"])
        client.delete("Old")
    there, known = dovecot.served_imap("others"), remembered(here)
    code, found = audited(here)
    (gone,) = found.pop("Old")["extra"]
    assert (code, gone.endswith(".1")) == (0, True)
    assert found == {"INBOX": {"on_server": 2, "stored": 2, "extra": ["2"], "flags": ["3"]}}
    (account,) = run(here, "audit", "--json").document["accounts"]
    assert account["unchosen"] == ["Junk"]
    assert account["mailboxes"][0]["flags"] == [{"uid": "3", "here": "", "server": "\\Flagged"}]
    told = run(here, "audit").out
    assert "others: not chosen by the settings: Junk\n" in told
    assert "others, INBOX: 1 no longer on the server; what is stored stays\n" in told
    assert told.endswith("All that should be here is here.\n")
    assert (dovecot.served_imap("others"), remembered(here)) == (there, known)


@pytest.mark.live
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_renumbered_mailbox_is_recognised(
    dovecot: Dovecot, tmp_path: Path, protocol: str
) -> None:
    user = f"renumbered-{protocol}"
    here = at_home(tmp_path, dovecot, user, protocol)
    dovecot.fill(user, MAILS[:3])
    run(here, "sync")
    if protocol == "imap":
        dovecot.change_uidvalidity(user, "INBOX", 77)
    else:
        dovecot.renumber(user)
    assert audited(here) == (0, {"INBOX": {"on_server": 3, "recognised": 3}})
    assert "was renumbered" in run(here, "audit").out
    run(here, "sync")
    assert audited(here) == (0, {"INBOX": {"on_server": 3, "stored": 3}})


@pytest.mark.parametrize(
    ("happens", "words", "code", "found"),
    [
        (None, (), 0, {"stored": 3}),
        (None, ("--deep",), 0, {"stored": 3}),
        ("refused", (), 1, {"stored": 2, "quarantined": ["uid-2"]}),
        ("damaged", (), 1, {"stored": 2, "missing": ["uid-2"]}),
        ("expired", (), 0, {"stored": 2, "not_wanted": ["uid-2"]}),
        ("large", (), 0, {"on_server": 4, "stored": 3, "too_large": ["uid-4"]}),
        ("large, damaged", (), 1, {"on_server": 4, "stored": 2, "missing": ["uid-2"],
                                   "too_large": ["uid-4"]}),
        ("exchanged", (), 0, {"stored": 3}),  # the same uid and size: only a header tells
        ("exchanged", ("--deep",), 1, {"stored": 3, "different": ["uid-2"]}),
        ("resized", (), 1, {"stored": 2, "missing": ["uid-2"]}),
        ("without TOP", ("--deep",), 0, {"stored": 3, "unread": 3}),
    ],
)  # fmt: skip
def test_each_case_of_a_message(
    tmp_path: Path, happens: str | None, words: tuple[str, ...], code: int, found: dict[str, Any]
) -> None:
    with ScriptedPop3([*MAILS[:3], *([LARGE] if happens and "large" in happens else [])]) as server:
        if happens == "refused":
            server.answers["RETR 2"] = b"-ERR damaged here\r\n"
        here = Home(tmp_path, server.port, max_message_size=20_000)
        run(here, "sync")
        match happens:
            case "damaged" | "large, damaged":
                believe(here, MAILS[1], column="damaged")
            case "expired":
                believe(here, MAILS[1], column="expired")
            case "exchanged":
                server.messages[1] = MAILS[1].replace(b"Subject: ", b"Subjekt: ")
            case "resized":
                server.messages[1] = MAILS[1].replace(b"Subject: ", b"Subject: another ")
            case "without TOP":
                server.answers["TOP"] = b"-ERR unknown command\r\n"
        assert audited(here, *words) == (code, {"INBOX": {"on_server": 3, **found}})


def test_the_whole_is_listed_whatever_the_last_sync_remembers(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": MAILS[:2], "Sent": MAILS[2:3]}) as server:
        here = Home(tmp_path, server.port, protocol="imap")
        run(here, "sync")
        server.heard.clear()
        assert run(here, "sync").code == 0
        assert not [line for line in server.heard if line.startswith("UID FETCH")]
        server.heard.clear()
        assert audited(here)[0] == 0
        listings = [line for line in server.heard if line.startswith("UID FETCH")]
        assert len(listings) == 2
        assert all(line.startswith("UID FETCH 1:* (UID FLAGS") for line in listings)
        assert not {"SELECT", "UID STORE", "UID EXPUNGE"} & set(server.verbs())


def test_trouble_with_one_mailbox_keeps_no_other_from_being_looked_at(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": MAILS[:2], "Sent": MAILS[2:3]}) as server:
        here = Home(tmp_path, server.port, protocol="imap")
        run(here, "sync")
        server.answers[re.compile("EXAMINE INBOX")] = b"<tag> NO broken index\r\n"
        ran = run(here, "audit", "--json")
        inbox, sent = ran.document["accounts"][0]["mailboxes"]
        assert (ran.code, inbox["ok"], sent["ok"], sent["stored"]) == (1, False, True, 1)
        assert "broken index" in inbox["error"]["sentence"]
        told = run(here, "audit").out
        assert re.search(r"^work, INBOX: .*broken index", told, re.MULTILINE)
        assert "All that should be here" not in told


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (HANG_UP, r"hung up .*\n  Check host, port"),
        (b"-ERR [AUTH] no\r\n", r"refuses the login.*\n  Check username and password"),
    ],
)
def test_an_account_that_cannot_be_reached_is_told_and_the_others_are_audited(
    tmp_path: Path, answer: Answer, told: str
) -> None:
    with ScriptedPop3(MAILS[:2]) as server:
        here = Home(tmp_path, server.port, "good", "bad")
        run(here, "sync")
        server.answers["USER bad"] = answer
        ran = run(here, "audit")
        assert ran.code == 1
        assert re.search(r"^good +2 +2 .* INBOX$", ran.out, re.MULTILINE)
        assert re.search(rf"^bad: .*{told}", ran.out, re.MULTILINE)
        assert run(here, "audit", "good").code == 0
    unknown = run(here, "audit", "nobody")
    assert (unknown.code, "no account is called nobody" in unknown.err) == (2, True)


def test_many_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    with ScriptedPop3(corpus.small(12, size=400)) as server:
        here = Home(tmp_path, server.port)
        told = run(here, "audit")
        assert told.code == 1
        named = re.findall(r"^    (uid-\d+)  \S+ k?B  not fetched yet$", told.out, re.MULTILINE)
        assert named == [f"uid-{n}" for n in range(1, 11)]
        assert "work, INBOX: 12 missing\n" in told.out
        assert "    and 2 more; --json has them all\n" in told.out
        assert "12 messages should be here and are not.\n  'fetchd sync' fetches" in told.out


@pytest.mark.live
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_json_has_the_documented_keys(dovecot: Dovecot, tmp_path: Path, protocol: str) -> None:
    user = f"keys-{protocol}"
    here = at_home(tmp_path, dovecot, user, protocol, max_message_size=20_000)
    told = documented()["audit"]
    dovecot.fill(user, [*MAILS[:2], LARGE])
    deeds: list[Callable[[], object]] = [
        lambda: None,
        lambda: run(here, "sync"),
        lambda: dovecot.expunge(user, [1]),
        lambda: here.account.update(password="not it"),
    ]
    for deed in deeds:
        deed()
        document = run(here, "audit", "--json", "--deep").document
        assert {path for path in paths(document) if not is_told(path, told)} == set()
        assert document.keys() == {re.split(r"[.\[]", key)[0] for key in told}
