"""No space left, on each disk in turn: exit 1 with a sentence, and all is well once there is room.

A small tmpfs stands for the disk; where it cannot be mounted (no root, no right to
mount) the test says so.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import mail
from tests import corpus
from tests.faults.command import Command
from tests.servers.scripted_pop3 import ScriptedPop3

MAIL = corpus.realistic(60, total=3_000_000)
SMALL = "size=1m"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", SMALL, "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted here: it takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def grow(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


@pytest.mark.parametrize("place", ["archive", "catalog", "Maildir"])
def test_a_full_disk_loses_nothing_and_heals(tmp_path: Path, disk: Path, place: str) -> None:
    with ScriptedPop3(MAIL) as server:
        expected = mail.Expected.of(
            m if m.endswith(b"\r\n") else m + b"\r\n" for m in server.messages
        )
        fetchd = Command(tmp_path, server.port, leave_on_server="none")
        fetchd.write()
        occupy(fetchd, disk, place)
        said = fetchd("sync")
        assert said.code == 1, said.words
        assert "full" in said.words.lower()
        grow(disk)
        for _ in range(3):
            healed = fetchd("sync")
        assert healed.code == 0, healed.words
        assert server.messages == []
        assert mail.in_archive(fetchd.data) == expected.crlf
        assert mail.in_maildir(fetchd.maildir) == expected.lf


def occupy(fetchd: Command, disk: Path, place: str) -> None:
    """Put one part of fetchd's world on the small disk."""
    match place:
        case "archive":
            fetchd.data.mkdir(mode=0o700)
            (fetchd.data / "archive").symlink_to(disk)
        case "catalog":
            # All of the data folder but the archive, which has room.
            fetchd.data.symlink_to(disk)
            for part in ("archive", "spool"):
                (fetchd.folder / part).mkdir()
                (disk / part).symlink_to(fetchd.folder / part)
            (disk / "ballast").write_bytes(bytes(900_000))
        case "Maildir":
            fetchd.maildir.symlink_to(disk)


def test_the_helper_can_tell(disk: Path) -> None:
    """The disk of these tests really is as small as it should be."""
    with pytest.raises(OSError, match="No space"):
        (disk / "much").write_bytes(os.urandom(2_000_000))
