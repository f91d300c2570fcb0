import hashlib
import os
import resource
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fetchd.archive import compression, packing
from fetchd.archive.packing import GROUP, pack
from fetchd.archive.store import Archive
from fetchd.contracts import Body, Commit, Location
from fetchd.errors import ArchiveError
from tests import corpus
from tests.archive.samples import packed_up

ROOT = Path(__file__).parents[2]
LARGE = 100_000_000
ROOM = 40_000_000  # octets of memory that storing and reading LARGE may take


def test_small_messages_share_frames_and_large_ones_have_their_own(spool: Path) -> None:
    small, large = b"s" * 3_000, os.urandom(GROUP)
    packed = packed_up([small] * 100 + [large] + [small] * 2, spool)
    frames = [place.frame for place in packed.places]
    assert frames == sorted(frames)
    assert frames.count(frames[100]) == 1
    assert frames[101] == frames[102] == frames[100] + 1
    assert frames[:100].count(0) > 50
    for frame in packed.frames[:2]:
        content = compression.decompressed(b"".join(frame.pieces()))
        assert len(content) <= GROUP
        assert len(content) % 512 == 0


@pytest.mark.parametrize("real", [999, 1_001, 999_999, 1_000_001, 3_000_000])
def test_a_body_that_is_not_as_long_as_it_says_is_refused(spool: Path, real: int) -> None:
    path = spool / "body"
    path.write_bytes(bytes(real))
    said = 1_000 if real < 2_000 else 1_000_000
    with pytest.raises(ArchiveError, match=r"changed in .* before it was stored"):
        pack([("a/b/c.eml", 1, Body(said, path=path))], spool)
    assert list(spool.iterdir()) == [path]


def test_a_large_frame_spills_into_an_unnamed_file(spool: Path) -> None:
    packed = packed_up([os.urandom(packing.SPILL + 1)], spool)
    assert packed.frames[0].file is not None
    assert list(spool.iterdir()) == []
    packed.discard()
    packed.discard()


def test_memory_does_not_depend_on_the_size_of_a_message(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.archive.test_packing", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) < ROOM


def store_and_read_large(tmp_path: Path) -> None:
    """Print how much the peak grew by storing, giving back and checking a large message."""
    spool, path = tmp_path / "spool", tmp_path / "large"
    spool.mkdir()
    block = corpus.base64_lines(os.urandom(750_000))
    with path.open("wb") as file:
        while file.tell() < LARGE:
            file.write(block)
    size = path.stat().st_size
    digest = digest_of(path)
    before = peak()
    placed: list[Location] = []

    def commit_of(places: object) -> Commit:
        assert isinstance(places, list)
        placed.extend(places[0])
        return Commit()

    with closing(Archive(tmp_path / "archive")) as archive:
        archive.append([pack([("a/b/c.eml", 1, Body(size, path=path))], spool)], commit_of)
        body = archive.body(placed[0], size, spool)
        assert body.path is not None
        assert digest_of(body.path) == digest
        assert list(archive.check([(digest, size, placed[0])])) == [(digest, None)]
        assert len(list(archive.replay())) == 1
    print(peak() - before)


def digest_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    store_and_read_large(Path(sys.argv[1]))
