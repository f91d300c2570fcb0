import io
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.archive import tarentry
from fetchd.archive.names import entry_name

DIGEST = bytes(32)
NAMES = [
    "a/b/c.eml",
    "a/" + "b" * 97,                            # a name of 99 octets
    "a/" + "b" * 98,                            # exactly 100
    "p" * 90 + "/" + "b" * 90,                  # needs the prefix
    "p" * 155 + "/" + "b" * 100,                # the prefix is full
    "p" * 156 + "/" + "b" * 100,                # one more: pax
    "p" * 20 + "/" + "b" * 101,
    entry_name("ü" * 100, "日本" * 100, b"/" * 200, DIGEST),
]  # fmt: skip


def entry(name: str, data: bytes, mtime: int = 1_700_000_000) -> bytes:
    return tarentry.header(name, mtime, len(data)) + data + tarentry.padding(len(data))


def joined(pieces: Iterator[bytes]) -> bytes:
    return b"".join(pieces)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("name", NAMES)
def test_python_reads_what_we_write(name: str) -> None:
    data = b"Subject: x\r\n\r\n\0\xff"
    with tarfile.open(fileobj=io.BytesIO(entry(name, data))) as tar:
        (member,) = tar.getmembers()
        file = tar.extractfile(member)
        assert file is not None
        assert (member.name, file.read()) == (name, data)
        assert (member.mode, member.uid, member.gid) == (0o600, 0, 0)
        assert member.mtime == 1_700_000_000
        assert member.pax_headers.keys() <= {"path", "size"}


def test_gnu_tar_lists_and_extracts_without_a_word(tmp_path: Path) -> None:
    files = {name: b"%d" % number * number * 300 for number, name in enumerate(NAMES)}
    archive = tmp_path / "all.tar"
    archive.write_bytes(b"".join(entry(name, data) for name, data in files.items()))
    done = subprocess.run(["tar", "-xf", archive, "-C", tmp_path], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


@pytest.mark.parametrize("mtime", [-(10**12), -1, 0, 1, 10**12])
def test_tar_has_no_complaint_about_any_date(tmp_path: Path, mtime: int) -> None:
    archive = tmp_path / "one.tar"
    archive.write_bytes(entry("one", b"x", mtime))
    done = subprocess.run(["tar", "-xf", archive, "-C", tmp_path], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert 0 <= (tmp_path / "one").stat().st_mtime <= time.time()


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 10**12])
def test_the_size_of_giants(size: int) -> None:
    head = tarentry.header("a/b/c.eml", 0, size)
    with tarfile.open(fileobj=io.BytesIO(head)) as tar:
        member = tar.next()
        assert member is not None
        assert (member.name, member.size) == ("a/b/c.eml", size)
    listed = subprocess.run(["tar", "-tvf", "-"], input=head, capture_output=True, check=False)
    assert str(size).encode() in listed.stdout
    assert tarentry.announces(head[-tarentry.BLOCK :], size)
    assert len(head) == (512 if size < 8**11 else 3 * 512)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=1500)), max_size=6),
    st.integers(1, 2000),
)
def test_what_was_written_is_read_back_however_it_is_cut(
    messages: list[tuple[str, bytes]], size: int
) -> None:
    content = b"".join(entry(name, data) for name, data in messages)
    found = list(tarentry.entries(cut(content, size), joined))
    assert [(one.name, data) for one, data in found] == messages
    for one, data in found:
        assert content[one.inner : one.inner + one.size] == data
        assert tarentry.announces(content[one.inner - 512 : one.inner], one.size)


def changed(octets: bytes, at: int, new: bytes) -> bytes:
    """With the checksum made right again."""
    block = bytearray(octets[:512])
    block[at : at + len(new)] = new
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + octets[512:]


@pytest.mark.parametrize(
    "content",
    [
        b"x" * 512,                                             # no header
        bytes(512),                                             # the end-of-archive marker
        entry("a", b"abc")[:-1],                                # padding is missing
        entry("a", b"abc")[:513],                               # octets are missing
        entry("a", b"abc") + b"x",                              # something follows
        changed(entry("a", b"abc"), 124, b"-0000000003"),       # numbers that only int() takes
        changed(entry("a", b"abc"), 124, b"0000000_003"),
        changed(entry("a", b"abc"), 136, b"          1"),
        changed(entry("a", b"abc"), 0, b"\xff"),                # a name that is not ASCII
        changed(entry(NAMES[-1], b"")[512:], 156, b"x"),        # pax records that are none
        changed(entry("a", b"0 path=x\n"), 156, b"x"),          # a record of no length
        changed(entry("a", b"99 path=x\n"), 156, b"x"),         # and of too much
        changed(entry("a", b"x" * 70_000), 156, b"x"),          # an endless pax header
    ],
)  # fmt: skip
def test_what_is_not_a_tar_of_ours_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        list(tarentry.entries(iter((content,)), joined))
