"""Every command: its JSON has the keys that docs/json.md tells, its text says the same."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import MESSAGES, Ran, Run
from tests.pipeline.home import Home
from tests.servers.scripted_pop3 import HANG_UP, ScriptedPop3

DOCUMENT = Path(__file__).parents[2] / "docs" / "json.md"


def documented() -> dict[str, set[str]]:
    """By command, the keys as paths: `accounts[].fetched`."""
    sections = DOCUMENT.read_text().split("\n## ")
    common = set(re.findall(r"^\| `([^|]*)` \|", sections[0], re.MULTILINE))
    assert common == {"error.sentence", "error.advice"}
    return {
        section.split("\n")[0]: {
            key
            for row in re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
            for key in re.findall(r"`([^`]*)`", row)
        }
        for section in sections[1:]
    }


def paths(value: Any, path: str = "") -> Iterator[str]:
    """The paths of a document, to the leaves."""
    match value:
        case dict():
            for key, below in value.items():
                yield from paths(below, f"{path}.{key}" if path else key)
        case list():
            for below in value:
                yield from paths(below, f"{path}[]")
        case _:
            yield path


def is_told(path: str, told: set[str]) -> bool:
    """Whether the documentation has this path, or one with a `*` for one of its names."""
    return any(re.fullmatch(re.escape(key).replace(r"\*", r"[^.\[]+"), path) for key in told)


@pytest.fixture
def synced(run: Run) -> Ran:
    return run("sync", "--json")


@pytest.fixture
def damaged(here: Home, synced: Ran) -> None:
    (segment,) = here.data.glob("archive/*/*/*.tar.zst")
    octets = bytearray(segment.read_bytes())
    octets[400] ^= 0xFF
    segment.write_bytes(octets)


CASES = {
    "sync": ["sync"],
    "plan": ["plan"],
    "status": ["status"],
    "history": ["history"],
    "check": ["check"],
    "list": ["list", "--limit", "2"],
    "show": ["show", "1"],
    "export": ["export", "--format", "eml", "OUT"],
    "deliveries": ["deliveries", "--state", "delivered"],
    "verify": ["verify"],
    "rebuild": ["rebuild"],
    "deliveries retry": ["deliveries", "retry", "--all"],
}


@pytest.mark.parametrize("command", CASES)
def test_json_has_the_documented_keys(run: Run, here: Home, synced: Ran, command: str) -> None:
    words = [word.replace("OUT", str(here.folder / "out")) for word in CASES[command]]
    ran = run(*words, "--json")
    assert (ran.code, ran.err.count("Traceback")) == (0, 0)
    told = documented()[command]
    assert {path for path in paths(ran.document) if not is_told(path, told)} == set()
    tops = {re.split(r"[.\[]", key)[0] for key in told}
    assert ran.document.keys() == tops


def test_json_of_failures_has_the_documented_keys(
    run: Run, here: Home, server: ScriptedPop3
) -> None:
    server.answers["RETR 2"] = b"-ERR no such octets\r\n"
    here.destination["path"] = str(here.folder / "absent" / "Maildir")
    first = run("sync", "--json")
    server.answers["greeting"] = HANG_UP
    for command, words in {
        "sync": ["sync"],
        "plan": ["plan"],
        "status": ["status"],
        "history": ["history"],
        "check": ["check"],
        "deliveries": ["deliveries"],
    }.items():
        ran = run(*words, "--json")
        told = documented()[command]
        assert {path for path in paths(ran.document) if not is_told(path, told)} == set()
    told = documented()["sync"]
    assert {path for path in paths(first.document) if not is_told(path, told)} == set()
    (account,) = first.document["accounts"]
    assert (first.code, account["quarantined"], account["deferred"]) == (1, 1, len(MESSAGES) - 1)
    dropped = run("deliveries", "drop", "1", "--json")
    assert dropped.document == {"dropped": 1}


def test_json_of_damage_has_the_documented_keys(run: Run, here: Home, damaged: None) -> None:
    for command, words in {
        "verify": ["verify"],
        "show": ["show", "1"],
        "export": ["export", "--format", "mbox", str(here.folder / "mbox")],
    }.items():
        ran = run(*words, "--json")
        told = documented()[command]
        assert ran.code == 1
        assert {path for path in paths(ran.document) if not is_told(path, told)} == set()


def test_what_a_sync_did_is_what_every_command_says(run: Run, synced: Ran) -> None:
    count = len(MESSAGES)
    (account,) = synced.document["accounts"]
    assert (account["fetched"], account["delivered"], account["ok"]) == (count, count, True)
    (status,) = run("status", "--json").document["accounts"]
    assert (status["messages"], status["on_server"], status["waiting"]) == (count, count, 0)
    assert status["last_success"] is not None
    (last,) = run("history", "--json").document["runs"]
    assert (last["outcome"], last["fetched"]) == ("ok", count)
    assert len(run("list", "--limit", "0", "--json").document["messages"]) == count
    assert run("verify", "--json").document["checked"] == count
    again = run("sync", "--json").document["accounts"][0]
    assert (again["fetched"], again["delivered"], again["on_server"]) == (0, 0, count)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("sync", r"^work: nothing new \(12 on the server\)$"),
        ("plan", r"^work, INBOX: 12 messages on the server\n  nothing to do$"),
        ("status", r"^work +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(.*\) +12 .* ok$"),
        ("status", r"^home +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(.*\) +0 +0 +0 +12 +0  ok$"),
        ("history", r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  work .* ok +12 "),
        ("check", r"^  ok      logged in as work "),
        ("check", r"^  warning password and mail travel unencrypted$"),
        ("list --limit 3", r"^The newest 3; --limit 0 shows all\.$"),
        ("list --from ada --subject minutes", r" Minutes of meeting 0$"),
        ("show 1", r"^Digest:    SHA-256 [0-9a-f]{64}$"),
        ("show 1", r"^Seen:      work, INBOX, uid uid-1: stored"),
        ("show 1", r"^Delivery:  1 to home, delivered$"),
        ("show 1 --header", r"\AReceived: from "),
        ("deliveries --state delivered", r"^ *12 .* delivered +1 "),
        ("deliveries", r"^No deliveries\.$"),
        ("verify", r"^12 messages \(.* kB\) read: all whole$"),
        ("rebuild", r"^12 messages in 1 segment, 12 uids, 12 deliveries"),
    ],
)
def test_people_are_told(run: Run, synced: Ran, words: str, shown: str) -> None:
    ran = run(*words.split())
    assert ran.code == 0
    assert re.search(shown, ran.out, re.MULTILINE)


def test_a_message_is_found_by_number_and_by_digest(run: Run, synced: Ran) -> None:
    by_number = run("show", "3", "--json").document
    by_digest = run("show", by_number["digest"][:20], "--json").document
    assert by_digest == by_number
    unclear = run("show", "")
    assert unclear.code == 2
    assert "may mean any of these 12 messages" in unclear.err


def test_an_account_never_synced_is_shown(run: Run) -> None:
    ran = run("status")
    assert re.search(r"^work +never .* never synced$", ran.out, re.MULTILINE)


def test_deliveries_are_retried_and_dropped(run: Run, here: Home) -> None:
    path = here.folder / "absent" / "Maildir"
    here.destination["path"] = str(path)
    assert run("sync").code == 1
    waiting = run("deliveries")
    assert re.search(
        r"^12 x .* cannot be made or is gone\. Create or mount", waiting.out, re.MULTILINE
    )
    status = run("status").out
    assert re.search(r"^home +never +0 +12 +0 +0 +0  ok$", status, re.MULTILINE)
    assert "destination home: " in status
    assert run("deliveries", "drop", "1", "2").out == "2 deliveries dropped.\n"
    for stranger in ("--destination", "--account"):
        unknown = run("deliveries", "retry", stranger, "nobody")
        assert (unknown.code, "is called nobody" in unknown.err) == (2, True)
    again = run("deliveries", "drop", "1", "3")
    assert (again.code, "1 of these 2 deliveries are not open" in again.err) == (2, True)
    retried = run("deliveries", "retry", "--destination", "home")
    assert retried.out == "9 deliveries will be tried at the next sync.\n"
    path.parent.mkdir()
    assert run("sync").code == 0
    assert len(list((path / "new").iterdir())) == 9
    assert run("deliveries").out == "No deliveries.\n"


def test_damage_is_named_by_message(run: Run, damaged: None) -> None:
    ran = run("verify")
    assert ran.code == 1
    assert re.search(r"^damaged: message 1 \(work\)\n  from .*: Minutes", ran.out, re.MULTILINE)
    assert "damaged" in run("list", "--limit", "0").out
    shown = run("show", "1")
    assert (shown.code, "Verified:  DAMAGED" in shown.out) == (1, True)
    assert "fetchd verify" in shown.err
    assert run("sync").code == 0
    assert run("verify").code == 0


def test_where_there_is_nothing_it_is_said(run: Run, here: Home) -> None:
    for words in (["verify"], ["rebuild"]):
        ran = run(*words)
        assert (ran.code, "There is no archive in" in ran.err) == (1, True)
    assert run("list").out == "No messages.\n"
    assert run("history").out == "No runs yet.\n"
    assert not here.data.exists()
