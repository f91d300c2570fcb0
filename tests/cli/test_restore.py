"""`fetchd restore` as a person and a program meet it: its words, its keys, its exit codes."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.at_dovecot import run
from tests.cli.conftest import spawn
from tests.cli.test_commands import documented, is_told, paths
from tests.pipeline.restore_home import RestoreHome
from tests.servers.imap_boxes import Box
from tests.servers.mail import Mail
from tests.servers.scripted import SILENCE
from tests.servers.scripted_imap import CAPABILITIES, ScriptedImap

MAIL = [
    Mail(b"Message-ID: <%d@a>\r\nSubject: number %d\r\n\r\n%b\r\n" % (n, n, b"x" * n), ("mine",))
    for n in (1, 2, 3000)
]
LIMITED = [*CAPABILITIES, "APPENDLIMIT=1000"]
SELECTED = b"* 0 EXISTS\r\n* OK [PERMANENTFLAGS (\\Seen)] ok\r\n<tag> OK done\r\n"


@pytest.fixture
def target() -> Iterator[ScriptedImap]:
    with ScriptedImap({"INBOX": []}, capabilities=LIMITED) as server:
        yield server


@pytest.fixture
def archived(tmp_path: Path, target: ScriptedImap) -> RestoreHome:
    with ScriptedImap({"INBOX": MAIL, "Sent": MAIL[:1]}) as source:
        here = RestoreHome(tmp_path, (source.port, "any"), (target.port, "any"))
        here.archive()
    return here


def test_the_plan_and_what_came_of_it(archived: RestoreHome, target: ScriptedImap) -> None:
    target.answers["SELECT"] = SELECTED
    planned = run(archived, "restore", "old", "--to", "new", "--dry-run")
    assert planned.out.splitlines() == [
        "INBOX: 2 messages to put back (87 B), 1 cannot be put back",
        "  too large: message 3, number 3000: 3,048 octets; the server takes 1,000 (APPENDLIMIT)",
        "Sent: to be created, 1 message to put back (43 B)",
        "3 messages to put back (130 B), 0 there already, at new",
    ]
    done = run(archived, "restore", "--from-account", "old", "--to", "new")
    assert done.out.splitlines() == [
        "INBOX: 2 messages put back (87 B), 1 cannot be put back, 2 flags not kept by the server",
        "  too large: message 3, number 3000: 3,048 octets; the server takes 1,000 (APPENDLIMIT)",
        "Sent: new, 1 message put back (43 B), 1 flag not kept by the server",
        "3 messages put back (130 B), 0 there already, at new",
    ]
    again = run(archived, "restore", "old", "--to", "new", "--mailbox", "Sent")
    assert again.out.splitlines() == ["Sent: 1 there already"]
    assert (planned.code, done.code, again.code) == (1, 1, 0)


def test_json_has_the_documented_keys(archived: RestoreHome, target: ScriptedImap) -> None:
    target.boxes[b"INBOX"].add(MAIL[0])
    target.answers["CREATE"] = b"<tag> NO [LIMIT] too many\r\n"
    ran = run(archived, "restore", "old", "--to", "new", "--json")
    told = documented()["restore"]
    assert {path for path in paths(ran.document) if not is_told(path, told)} == set()
    assert ran.document.keys() == {re.split(r"[.\[]", key)[0] for key in told}
    inbox, sent = ran.document["mailboxes"]
    assert (inbox["put"], inbox["present"], len(inbox["troubles"])) == (1, 1, 1)
    assert "too many" in sent["failure"]["sentence"]
    target.answers["APPEND"] = b"<tag> NO [UNAVAILABLE] later\r\n"
    target.boxes[b"INBOX"] = Box()
    failed = run(archived, "restore", "old", "--to", "new", "--json")
    assert {path for path in paths(failed.document) if not is_told(path, told)} == set()
    assert "later" in failed.document["failure"]["sentence"]
    assert (ran.code, failed.code) == (1, 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "new"], "say whose mail is to be put back"),
        (["old"], "Missing option '--to'"),
        (["old", "--from-account", "new", "--to", "new"], "are two accounts"),
        (["old", "--to", "nowhere"], "no account is called nowhere"),
        (["nobody", "--to", "new"], "no account is called nobody"),
        (["old", "--to", "new", "--mailbox", "Absent"], "no archived mailbox of account old"),
        (["old", "--to", "new", "--since", "soon"], "'soon' is no date"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_sentence(
    archived: RestoreHome, target: ScriptedImap, words: list[str], said: str
) -> None:
    ran = run(archived, "restore", *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert target.heard == []


def test_nothing_archived_is_nothing_to_put_back(archived: RestoreHome) -> None:
    ran = run(archived, "restore", "new", "--to", "new")
    assert (ran.code, ran.out) == (0, "Nothing is archived of account new.\n")


def test_a_signal_ends_it_behind_what_is_in_flight(
    archived: RestoreHome, target: ScriptedImap
) -> None:
    """SIGTERM comes while the server thinks about the first mailbox's APPEND."""
    child = None

    def interrupt(_server: ScriptedImap) -> None:
        assert child is not None
        child.send_signal(signal.SIGTERM)
        assert child.stderr is not None
        while b"restore.stopping" not in child.stderr.readline():
            pass

    target.on[re.compile("APPEND INBOX")] = interrupt
    child = spawn(archived, "restore", "old", "--to", "new")
    with child:
        assert child.stdout is not None
        said = child.stdout.read().decode()
    assert child.returncode == 1
    assert said.endswith("Stopped before the end, as asked; the next restore goes on from here.\n")
    assert [len(box.messages) for box in target.boxes.values()] == [2]
    target.on.clear()
    assert run(archived, "restore", "old", "--to", "new", "--mailbox", "Sent").code == 0


def test_a_server_that_falls_silent_is_told(archived: RestoreHome, target: ScriptedImap) -> None:
    archived.account["timeouts"] = {"connect": "5s", "read": "200ms"}
    target.answers["LIST"] = SILENCE
    ran = run(archived, "restore", "old", "--to", "new")
    assert ran.code == 1
    assert "new: " in ran.out
    assert "within 0.2 s" in ran.out
