"""Killed at every step of an IMAP sync: what the next start makes of it.

As test_crash.py does for POP3: a round runs in a forked child that kills itself just
before its n-th step, for every n there is; then it runs undisturbed, and the laws must
hold. Tried are the first round, rounds that follow what another client did, and such as
take everything from the server. Afterwards every message is once in the
archive and once in the mirror for each place where it is, or was until fetchd took it
away, with the flags of the server; and the round after that finds nothing to do.
"""

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.mail import with_lf
from tests import corpus
from tests.pipeline.imap_home import ImapHome, letters
from tests.pipeline.test_crash import round_in_child
from tests.servers.imap_boxes import Box
from tests.servers.mail import Contents, Mail, Served, digest
from tests.servers.scripted_imap import CAPABILITIES, ScriptedImap

MESSAGES = corpus.small(7, size=600, seed=5)
FORMS = {digest(octets): digest(with_lf(octets)) for octets in MESSAGES}
NONE: dict[str, object] = {"leave_on_server": "none"}
TO_TRASH: dict[str, object] = {"retire_to": "Trash"}
SLICES = 4  # the points are divided between as many tests

Files = Counter[tuple[str, str]]  # digest and letters


@dataclass(frozen=True)
class Story:
    """What another client does after a first sync, and the settings.

    `taken`: fetchd empties INBOX and Work, whose files stay in the mirror.
    """

    deeds: Callable[[ScriptedImap], None] | None
    earlier: Callable[[ScriptedImap], None] | None = None  # followed by a sync of its own
    account: dict[str, object] = field(default_factory=dict)
    capabilities: tuple[str, ...] = CAPABILITIES
    taken: bool = False


def boxes() -> dict[str, Box]:
    """A message with flags, and one that is in two mailboxes."""
    inbox = [Mail(MESSAGES[0], ("\\Seen",)), *(Mail(m) for m in MESSAGES[1:4])]
    return {"INBOX": Box(inbox), "Work": Box([MESSAGES[3], MESSAGES[4]]), "Trash": Box()}


def another_client(server: ScriptedImap) -> None:
    """Flags, an expunge, a move, a copy, new mail."""
    inbox, work = server.boxes[b"INBOX"], server.boxes[b"Work"]
    first, second, third, fourth = inbox.messages
    inbox.flag(first, ["\\Flagged"])
    inbox.flag(second, ["\\Answered", "\\Seen"])
    work.add(Mail(third.octets, ("\\Seen",)))
    work.add(fourth.octets)
    inbox.remove([third.uid])
    work.remove([work.messages[1].uid])
    inbox.add(MESSAGES[5])
    work.add(Mail(MESSAGES[6], ("\\Flagged",)))


def renumbered(server: ScriptedImap) -> None:
    """And all of that besides."""
    another_client(server)
    server.boxes[b"INBOX"].renumber(777)


def work_vanishes(server: ScriptedImap) -> None:
    """For a time; with the deeds it is back, under its name and with its UIDs."""
    server.boxes.pop(b"Work")


def flagged(server: ScriptedImap) -> None:
    """And nothing else."""
    box = server.boxes[b"Work"]
    box.flag(box.messages[0], ["\\Flagged"])


WITH_IDS = (*CAPABILITIES, "OBJECTID")
WITHOUT_MOVE = tuple(c for c in CAPABILITIES if c != "MOVE")
STORIES = {
    "first": Story(None),
    "follow": Story(another_client),
    "follow by EMAILID": Story(another_client, capabilities=WITH_IDS),
    "renumbered": Story(renumbered),
    "back again": Story(flagged, work_vanishes),
    "expunge": Story(another_client, account=NONE, taken=True),
    "move": Story(another_client, account=NONE | TO_TRASH, taken=True),
    "copy": Story(another_client, account=NONE | TO_TRASH, capabilities=WITHOUT_MOVE, taken=True),
}


def served(server: ScriptedImap) -> Contents:
    return {
        name.decode(): {
            m.uid: Served(digest(m.octets), frozenset(m.flags), m.date) for m in box.messages
        }
        for name, box in server.boxes.items()
    }


def files_of(contents: Contents) -> dict[str, Files]:
    """What the mirror of these holds."""
    return {
        name: Counter((FORMS[one.digest], letters(one.flags)) for one in box.values())
        for name, box in contents.items()
    }


def prepared(folder: Path, story: Story) -> None:
    """A home that has had its first sync, in front of the deeds."""
    with ScriptedImap(boxes(), capabilities=story.capabilities) as server:
        here = ImapHome(folder, server.port, "work")
        assert here.sync().ok
        if story.earlier is not None:
            server.change(story.earlier)
            assert here.sync().ok


@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
def test_a_kill_at_any_step_loses_and_repeats_nothing(
    tmp_path: Path, story: Story, part: int
) -> None:
    before = tmp_path / "before"
    before.mkdir()
    if story.deeds is not None:
        prepared(before, story)
    killed, last = 0, 1 + part
    while killed_at(last, before, tmp_path / str(last), story):
        killed += 1
        last += SLICES
    assert killed > 10


def killed_at(last: int, before: Path, folder: Path, story: Story) -> bool:
    """One kill, and what comes after it; False where the round has fewer steps."""
    shutil.copytree(before, folder)
    with ScriptedImap(boxes(), capabilities=story.capabilities) as server:
        if story.deeds is not None:
            server.change(story.deeds)
        expected = files_of(served(server))
        here = ImapHome(folder, server.port, "work", **story.account)
        if round_in_child(here, last):
            return False
        after = [here.sync() for _ in range(3)]  # in the second, the trash is followed
        assert [report.ok for report in after] == [True] * 3, (last, after)
        assert (after[2].fetched, after[2].delivered, after[2].retired) == (0, 0, 0), last
        contents = served(server)
        here.agrees_with(contents)
        assert here.archived() == Counter(set(here.archived())), last
        if story.taken:
            assert not contents["INBOX"]
            assert not contents["Work"]
            expected["Trash"] = files_of(contents)["Trash"]
        for name, files in expected.items():
            assert here.mirrored(name) == files, (last, name)
    shutil.rmtree(folder)
    return True
