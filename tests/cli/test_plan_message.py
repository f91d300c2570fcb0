"""`fetchd plan --message`: the decision of a sync, told without one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import MESSAGES, Run
from tests.cli.test_commands import documented, is_told, paths
from tests.pipeline.home import Home
from tests.servers.scripted_pop3 import HANG_UP, ScriptedPop3

TRACE = b"Received: from elsewhere by here; Thu, 26 Nov 2026 09:00:00 +0000\r\n"
TWICE = (*MESSAGES[:4], TRACE + MESSAGES[0], MESSAGES[1])  # a copy, and the same octets again
FIRST, COPY, SECOND = "1", "5", "2"  # their numbers in the archive, which has five

RELAY = """
[destinations.relay]
kind = "smtp"
host = "127.0.0.1"
port = 9
tls = "none"
recipients = ["me@example.org"]
address = "me@example.org"
"""
LISTS = '[destinations.lists]\nkind = "maildir"\npath = "Lists"\n'
IMAP = """
[destinations.box]
kind = "imap"
host = "127.0.0.1"
port = 9
tls = "none"
allow_plaintext_auth = true
username = "me"
password = "secret"
"""
MIRROR = '[destinations.mirror]\nkind = "maildir"\nlayout = "mirror"\npath = "Mirror"\n'


@pytest.fixture
def server() -> Iterator[ScriptedPop3]:
    with ScriptedPop3(TWICE) as scripted:
        yield scripted


@pytest.fixture
def here(tmp_path: Path, server: ScriptedPop3) -> Home:
    return Home(tmp_path, server.port, timeouts={"connect": "30s", "read": "30s"})


def places(run: Run, message: str, *words: str) -> list[dict[str, Any]]:
    ran = run("plan", "--message", message, "--json", *words)
    assert ran.code == 0
    told = documented()["plan --message"]
    assert {path for path in paths(ran.document) if not is_told(path, told)} == set()
    found: list[dict[str, Any]] = ran.document["places"]
    return found


def goals(place: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(one["destination"], one["folder"], one["label"]) for one in place["goes_to"]}


ROUTES = {
    "none": "",
    "a folder": """
        [[routes]]
        name = "minutes"
        subject = "minutes*"
        deliver_to = ["lists"]
        folder = "Minutes"
        [[routes]]
        sender = "nobody@example.org"
        action = "skip"
        """,
    "copies are left out": '[[routes]]\nduplicate = true\naction = "skip"\n',
    "copies go elsewhere": '[[routes]]\nduplicate = true\ndeliver_to = ["lists"]\n',
    "two folders": """
        [[routes]]
        action = "copy"
        deliver_to = ["lists"]
        folder = "A"
        go_on = true
        [[routes]]
        action = "copy"
        deliver_to = ["lists"]
        folder = "B"
        """,
    "by size": '[[routes]]\nlarger = "1kB"\ndeliver_to = ["lists"]\n',
    "a relay": '[[routes]]\naction = "copy"\ndeliver_to = ["relay"]\n',
}


@pytest.mark.parametrize("routes", ROUTES)
@pytest.mark.parametrize("duplicates", ["deliver", "skip"])
@pytest.mark.parametrize("mirror", [False, True])
def test_it_tells_what_the_sync_did(
    run: Run, here: Home, routes: str, duplicates: str, mirror: bool
) -> None:
    here.more = RELAY + LISTS + MIRROR + ROUTES[routes]
    here.destination["duplicates"] = duplicates
    here.account["deliver_to"] = ["home", "mirror"] if mirror else ["home"]
    assert run("sync").code == 0
    explained: set[int] = set()
    for message in "12345":
        for place in places(run, message):
            spared = {one["destination"] for one in place["goes_to"] if one["spared"]}
            assert spared == ({"relay"} if routes == "a relay" else set())
            made = [one for one in place["goes_to"] if one["destination"] not in spared]
            assert all(one["delivery"]["state"] == "delivered" for one in made)
            for one in made:
                if not one["copy"]:
                    sent = one["delivery"]
                    assert (one["folder"], one["label"]) == (sent["folder"], sent["label"])
            assert place["went_to"] == []
            explained |= {one["delivery"]["id"] for one in made}
    recorded = run("deliveries", "--state", "delivered", "--json").document["deliveries"]
    assert explained == {one["id"] for one in recorded}


def test_no_server_is_asked(run: Run, server: ScriptedPop3, here: Home) -> None:
    assert run("sync").code == 0
    server.answers["greeting"] = HANG_UP
    server.heard.clear()
    ran = run("plan", "work", "--message", FIRST)
    assert (ran.code, server.heard) == (0, [])
    assert re.search(
        r"^work, INBOX, uid uid-1:\n  goes to home\n    delivery 1 at \S+ \S+: delivered$",
        ran.out, re.MULTILINE,
    )  # fmt: skip


def test_a_copy_is_one_only_for_what_came_later(run: Run, here: Home) -> None:
    here.more = ROUTES["copies are left out"]
    assert run("sync").code == 0
    for message, expected in {
        FIRST: [False],
        COPY: [True],
        SECOND: [False, True],
        "3": [False],
    }.items():
        assert [one["duplicate"] for one in places(run, message)] == expected
    told = run("plan", "--message", COPY).out
    assert "  route 'route 1' fits: it is a duplicate; skips it\n  goes nowhere\n" in told


def test_of_twins_in_one_batch_the_later_is_the_copy(
    run: Run, server: ScriptedPop3, here: Home
) -> None:
    server.messages[:], server.uidls[:] = [MESSAGES[0]] * 2, [b"9", b"10"]
    here.more = ROUTES["copies are left out"]
    assert run("sync").code == 0
    found = {one["uid"]: one for one in places(run, FIRST)}
    assert {uid: one["duplicate"] for uid, one in found.items()} == {"9": False, "10": True}
    assert [len(found[uid]["goes_to"]) for uid in ("9", "10")] == [1, 0]
    assert found["9"]["goes_to"][0]["delivery"]["state"] == "delivered"
    assert found["10"]["went_to"] == []


def test_a_skipped_copy_is_told_with_the_delivery_of_the_other(run: Run, here: Home) -> None:
    here.destination["duplicates"] = "skip"
    assert run("sync").code == 0
    (place,) = places(run, COPY)
    (goal,) = place["goes_to"]
    assert (goal["copy"], goal["delivery"]["id"]) == (True, 1)
    assert "    a copy of it: delivery 1 at " in run("plan", "--message", COPY).out


def test_what_was_recognised_is_told_with_its_delivery(
    run: Run, server: ScriptedPop3, here: Home
) -> None:
    server.messages[:], server.uidls[:] = MESSAGES[:1], [b"old"]
    assert run("sync").code == 0
    server.uidls[:] = [b"new"]
    (account,) = run("sync", "--json").document["accounts"]
    assert account["adopted"] == 1
    found = {one["uid"]: one for one in places(run, FIRST)}
    assert {uid: one["state"] for uid, one in found.items()} == {"old": "gone", "new": "stored"}
    for one in found.values():
        assert [goal["delivery"]["id"] for goal in one["goes_to"]] == [1]
        assert one["went_to"] == []


def test_old_mail_is_spared_until_it_is_sent_by_hand(run: Run, here: Home) -> None:
    here.more = RELAY
    here.account["deliver_to"] = ["home", "relay"]
    assert run("sync").code == 0
    told = run("plan", "--message", FIRST).out
    assert (
        "  goes to relay\n"
        "    spared: it was there before the account was added (first_sync)\n"
        "    'fetchd redeliver work --to relay' sends it\n"
    ) in told


def test_after_a_rebuild_the_date_says_what_is_old(run: Run, here: Home) -> None:
    here.more = RELAY
    here.account["deliver_to"] = ["home", "relay"]
    assert run("sync").code == 0
    assert run("rebuild").code == 0
    assert run("history", "--json").document["runs"] == []
    (place,) = places(run, FIRST)
    assert {one["destination"]: one["spared"] for one in place["goes_to"]} == {
        "home": False,
        "relay": True,
    }


def test_a_mirror_is_no_matter_of_routes(run: Run, here: Home) -> None:
    here.more = MIRROR + '[[routes]]\nname = "all"\nsubject = "*"\n'
    here.account["deliver_to"] = ["home", "mirror"]
    assert run("sync").code == 0
    (place,) = places(run, FIRST)
    assert [sentence.rpartition("; ")[2] for sentence in place["routes"]] == ["delivers to home"]
    told = {one["destination"]: (one["mirror"], one["route"]) for one in place["goes_to"]}
    assert told == {"home": (False, "all"), "mirror": (True, "")}


def test_a_mirror_gets_nothing_by_hand(run: Run, here: Home) -> None:
    assert run("sync").code == 0
    here.more = MIRROR
    here.account["deliver_to"] = ["home", "mirror"]
    told = run("plan", "--message", FIRST).out
    assert "  goes to mirror\n    never owed there: " in told
    assert "fetchd redeliver" not in told


def test_what_has_no_date_and_came_with_the_first_run_is_old(
    run: Run, server: ScriptedPop3, here: Home
) -> None:
    server.messages[:], server.uidls[:] = [b"Subject: undated\r\n\r\nhello\r\n"], [b"uid-1"]
    here.more = RELAY
    here.account["deliver_to"] = ["relay"]
    assert run("sync").code == 0  # the relay would refuse the connection
    server.messages.append(b"Subject: also undated\r\n\r\nhello\r\n")
    server.uidls.append(b"uid-2")
    run("sync")
    spared = {number: places(run, number)[0]["goes_to"][0]["spared"] for number in "12"}
    assert spared == {"1": True, "2": False}
    (new,) = places(run, "2")
    assert new["goes_to"][0]["delivery"]["state"] == "deferred"


def test_settings_that_changed_are_told_beside_what_was_done(run: Run, here: Home) -> None:
    here.more = ROUTES["a folder"] + LISTS
    assert run("sync").code == 0
    here.more = LISTS
    told = run("plan", "--message", FIRST).out
    assert (
        "  goes to home\n"
        "    never owed there: it was recognised, or the settings were others then\n"
        "    'fetchd redeliver work --to home' sends it\n"
    ) in told
    assert re.search(
        r"^  was for lists, folder Minutes, as the settings were then: delivery 1 ",
        told, re.MULTILINE,
    )  # fmt: skip
    (place,) = places(run, FIRST)
    assert [one["destination"] for one in place["went_to"]] == ["lists"]


def test_routes_are_told_in_order_up_to_the_last_looked_at(run: Run, here: Home) -> None:
    here.more = LISTS + (
        '[[routes]]\nname = "big"\nlarger = "1GB"\ndeliver_to = ["lists"]\n'
        '[[routes]]\nname = "all"\ndeliver_to = ["lists"]\nfolder = "Of/{account}"\n'
        '[[routes]]\nname = "never"\naction = "skip"\n'
    )
    assert run("sync").code == 0
    (place,) = places(run, FIRST)
    size = len(MESSAGES[0])
    assert place["routes"] == [
        f"route 'big' does not fit: size {size} is not larger than 1000000000",
        "route 'all' fits: it has no condition; delivers to lists, folder Of/work",
    ]
    (goal,) = place["goes_to"]
    assert (goal["folder"], goal["route"], goal["mirror"]) == ("Of/work", "all", False)


def test_folder_label_and_what_keeps_it_are_told(run: Run, here: Home) -> None:
    here.more = IMAP + (
        '[[routes]]\ndeliver_to = ["box"]\nfolder = "Old/{mailbox}"\nlabel = "kept"\n'
    )
    assert run("sync").code == 1  # nobody listens there
    (place,) = places(run, FIRST)
    assert goals(place) == {("box", "Old/INBOX", "kept")}
    where = r"box, folder Old/INBOX, label kept"
    assert re.search(
        rf"^  goes to {where} by route 'route 1'\n    delivery 1.*: deferred: .*127\.0\.0\.1",
        run("plan", "--message", FIRST).out, re.MULTILINE,
    )  # fmt: skip
    shown = run("show", FIRST).out
    assert re.search(rf"^Delivery:  1 to {where}, deferred: ", shown, re.MULTILINE)


def test_it_is_narrowed_to_an_account(run: Run, here: Home) -> None:
    here.users = ("work", "private")
    for account in here.users:
        assert run("sync", account).code == 0
    assert [one["account"] for one in places(run, FIRST)] == ["work", "private"]
    assert [one["account"] for one in places(run, FIRST, "--account", "private")] == ["private"]
    assert [one["account"] for one in places(run, FIRST, "work")] == ["work"]


def test_an_account_that_has_left_the_settings_owes_nothing(run: Run, here: Home) -> None:
    assert run("sync").code == 0
    here.users = ("other",)
    (place,) = places(run, FIRST, "--account", "work")
    assert (place["in_settings"], place["goes_to"]) == (False, [])
    assert [one["state"] for one in place["went_to"]] == ["delivered"]
    assert "this account is not in the settings" in run("plan", "--message", FIRST).out
    elsewhere = run("plan", "other", "--message", FIRST)
    assert elsewhere.out.endswith("  not seen in other now; 'fetchd show 1' says where it went\n")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--message", "99"], 2, "no message has the number 99"),
        (["--message", ""], 2, "may mean any of these 5 messages"),
        (["--message", "1", "--account", "nobody"], 2, "no account is called nobody"),
        (["--message", "1", "--all"], 2, "--all goes not with --message"),
    ],
)
def test_what_cannot_be_told_is_said(
    run: Run, here: Home, words: list[str], code: int, sentence: str
) -> None:
    assert run("sync").code == 0
    ran = run("plan", *words)
    assert (ran.code, ran.out) == (code, "")
    assert sentence in ran.err


def test_without_its_octets_there_is_nothing_to_decide_by(run: Run, here: Home) -> None:
    here.archive_settings["keep"] = "delivered"
    assert run("sync").code == 0
    ran = run("plan", "--message", FIRST)
    assert (ran.code, "are not in the archive any more" in ran.err) == (1, True)
