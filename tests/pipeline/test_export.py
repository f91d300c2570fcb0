"""Messages copied out of an archive: exact, once, resumable, never over something else."""

import hashlib
import mailbox as mailboxes
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetchd.catalog import search
from fetchd.contracts import Body
from fetchd.destinations.mboxrd import entry, quoted, restored
from fetchd.errors import DeliveryDeferred, UsageError
from fetchd.pipeline.export import ExportReport, Form, export
from fetchd.pipeline.export_mbox import MboxWriter
from fetchd.pipeline.exported import Exported, Place
from fetchd.pipeline.storage import open_storage
from fetchd.values import replace
from tests import corpus
from tests.pipeline.home import Home
from tests.servers.scripted_pop3 import ScriptedPop3

FORMS: tuple[Form, ...] = ("eml", "mbox", "maildir")
ENTRY = re.compile(rb"^From ([0-9a-f]{64})@fetchd\.invalid [^\n]*\n", re.MULTILINE)
NOW = datetime(2026, 11, 5, 9, 8, 7, tzinfo=UTC)


def mail() -> list[bytes]:
    """Odd and ordinary mail, one of it above the spill size, one in two accounts."""
    return [
        *corpus.realistic(40, total=2_000_000),
        *corpus.large(1, size=1_500_000),
        b"From: a@example.org\r\n\r\nFrom here on\r\n>From there\r\n>>From\r\nFromage\r\n",
    ]


def sent(message: bytes) -> bytes:
    """As POP3 hands it over: the last line is ended (quirk 9)."""
    return message if message.endswith(b"\r\n") else message + b"\r\n"


@pytest.fixture
def server() -> Iterator[ScriptedPop3]:
    with ScriptedPop3(mail()) as scripted:
        yield scripted


@pytest.fixture
def here(tmp_path: Path, server: ScriptedPop3) -> Home:
    """Two accounts on one mailbox, synced: every message is in both."""
    made = Home(tmp_path, server.port, "work", '"play/../x"', deliver_to=[])
    assert made.round().ok
    return made


Export = Callable[..., ExportReport]


@pytest.fixture
def run(here: Home) -> Export:
    def exported(form: Form, path: Path, account: str = "", limit: int = -1) -> ExportReport:
        with open_storage(here.settings(), read_only=True) as storage:
            rows = search.messages(storage.catalog, account=account, limit=limit)
            return export(storage, rows, form, path, account=account)

    return exported


def expected(server: ScriptedPop3) -> Counter[bytes]:
    return Counter(hashlib.sha256(sent(message)).digest() for message in server.messages)


def found(form: Form, path: Path) -> Counter[bytes]:
    """The digests of the exact octets that an export stands for."""
    if form == "eml":
        files = [file.read_bytes() for file in path.rglob("*.eml")]
        return Counter(hashlib.sha256(octets).digest() for octets in files)
    if form == "maildir":
        files = [file.read_bytes() for file in (path / "new").iterdir()]
        keys = [file.name.split(".")[1] for file in (path / "new").iterdir()]
        return Counter(
            digest
            for octets, key in zip(files, keys, strict=True)
            for digest in [bytes.fromhex(key)]
            if digest in (_sha(octets), _sha(octets.replace(b"\n", b"\r\n")))
        )
    octets = path.read_bytes()
    starts = [*ENTRY.finditer(octets)]
    ends = [*(match.start() for match in starts[1:]), len(octets)]
    return Counter(
        bytes.fromhex(match[1].decode())
        for match, end in zip(starts, ends, strict=True)
        if restored(octets[match.end() : end], bytes.fromhex(match[1].decode())) is not None
    )


def _sha(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


@pytest.mark.parametrize("form", FORMS)
def test_everything_is_out_once_and_the_second_export_finds_it(
    run: Export, server: ScriptedPop3, tmp_path: Path, form: Form
) -> None:
    target, count = tmp_path / "out", len(server.messages)
    first = run(form, target, "work")
    assert (first.ok, first.written, first.present) == (True, count, 0)
    assert first.octets == sum(len(sent(message)) for message in server.messages)
    assert found(form, target) == expected(server)
    before = {file: file.stat().st_mtime_ns for file in target.rglob("*")}
    second = run(form, target, "work")
    assert (second.ok, second.written, second.present) == (True, 0, count)
    assert found(form, target) == expected(server)
    assert {file: file.stat().st_mtime_ns for file in target.rglob("*")} == before


@pytest.mark.parametrize("form", FORMS)
def test_a_part_first_and_then_the_rest(
    run: Export, server: ScriptedPop3, tmp_path: Path, form: Form
) -> None:
    target, count = tmp_path / "out", len(server.messages)
    assert run(form, target, "work", limit=10).written == 10
    rest = run(form, target, "work")
    assert (rest.written, rest.present) == (count - 10, 10)
    assert found(form, target) == expected(server)


def test_files_are_named_safely_and_of_the_asked_account(
    run: Export, server: ScriptedPop3, tmp_path: Path
) -> None:
    one, both = tmp_path / "one", tmp_path / "both"
    run("eml", one, "play/../x")
    assert [folder.name for folder in one.iterdir()] == ["play%2F..%2Fx"]
    assert run("eml", both).written == len(server.messages)
    assert sorted(folder.name for folder in both.iterdir()) == ["play%2F..%2Fx", "work"]
    for folder in both.glob("*/*"):
        assert folder.name == "INBOX"
        assert found("eml", folder) == expected(server)
    assert not [path for path in both.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("form", ["eml", "maildir"])
def test_files_have_the_date_of_the_message_and_are_private(
    run: Export, here: Home, tmp_path: Path, form: Form
) -> None:
    run(form, tmp_path / "out", "work")
    with open_storage(here.settings(), read_only=True) as storage:
        dates = sorted(
            int(row.internal_date.timestamp()) for row in search.messages(storage.catalog)
        )
    files = [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert sorted(int(file.stat().st_mtime) for file in files) == dates
    assert {file.stat().st_mode & 0o077 for file in files} == {0}


def test_mbox_is_read_by_a_stranger(run: Export, server: ScriptedPop3, tmp_path: Path) -> None:
    run("mbox", tmp_path / "mbox")
    read = mailboxes.mbox(tmp_path / "mbox", create=False)
    assert len(read) == len(server.messages)
    assert all("@fetchd.invalid" in message.get_from() for message in read)
    read.close()


@pytest.mark.parametrize("form", FORMS)
def test_what_is_damaged_is_told_and_the_rest_comes(
    run: Export, here: Home, server: ScriptedPop3, tmp_path: Path, form: Form
) -> None:
    (segment,) = here.data.glob("archive/*/*/*.tar.zst")
    octets = bytearray(segment.read_bytes())
    octets[len(octets) // 2] ^= 0xFF
    segment.write_bytes(octets)
    report = run(form, tmp_path / "out", "work")
    assert not report.ok
    assert report.damaged
    assert report.written + len(report.damaged) == len(server.messages)
    lost = Counter(one.digest for one in report.damaged)
    assert found(form, tmp_path / "out") + lost == expected(server)


def test_what_lies_where_another_message_should_is_damage(here: Home, tmp_path: Path) -> None:
    with open_storage(here.settings(), read_only=True) as storage:
        row, *_ = search.messages(storage.catalog)
        other = replace(row, digest=_sha(b"other"))  # frame and size are right, the octets are not
        report = export(storage, [other], "eml", tmp_path / "out")
    assert (report.written, [one.digest for one in report.damaged]) == (0, [other.digest])


def test_nothing_is_overwritten(run: Export, server: ScriptedPop3, tmp_path: Path) -> None:
    target = tmp_path / "out"
    run("eml", target, "work")
    first, second, *_ = sorted(target.rglob("*.eml"))
    first.write_bytes(b"mine")
    second.unlink()
    second.symlink_to(tmp_path / "nowhere")
    report = run("eml", target, "work")
    assert (report.ok, set(report.conflicts)) == (False, {first, second})
    assert first.read_bytes() == b"mine"
    assert second.is_symlink()


@pytest.mark.parametrize("text", [b"From me@example.org Thu Nov  5 09:08:07 2026\n\n\n", b"mine"])
def test_an_mbox_of_others_is_left_alone(run: Export, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "mbox").write_bytes(text)
    with pytest.raises(UsageError, match="not an mbox that fetchd began"):
        run("mbox", tmp_path / "mbox")
    assert (tmp_path / "mbox").read_bytes() == text


def test_an_mbox_that_was_cut_anywhere_in_its_last_entry_is_made_whole(tmp_path: Path) -> None:
    bodies = [b"From: a\r\n\r\none\r\n", b"From: b\r\n\r\nFrom two\r\n\r\n"]
    target = tmp_path / "mbox"
    write(target, *bodies)
    whole = target.read_bytes()
    begin = [*ENTRY.finditer(whole)][1].start()
    for cut in range(begin, len(whole)):
        target.write_bytes(whole[:cut])
        write(target, *bodies)
        assert target.read_bytes() == whole


def test_two_exports_do_not_write_one_mbox(tmp_path: Path) -> None:
    with (
        MboxWriter(tmp_path / "mbox"),
        pytest.raises(UsageError, match="another process is writing"),
        MboxWriter(tmp_path / "mbox"),
    ):
        raise AssertionError("two at once")


def write(path: Path, *bodies: bytes) -> None:
    with MboxWriter(path) as writer:
        for body in bodies:
            place = Place("work", "INBOX", b"1")
            message = Exported(_sha(body), len(body), NOW, (place,))
            if not writer.has(message):
                writer.put(message, Body(len(body), data=body))
        writer.finish()


PIECES = st.sampled_from([b"From ", b"From", b">", b"\r\n", b"\n", b"\r", b"F", b"x", b"\0", b" "])


@given(st.lists(PIECES, max_size=24).map(b"".join))
def test_any_octets_can_be_had_back_from_an_mbox(octets: bytes) -> None:
    text = b"".join(entry(Body(len(octets), data=octets)))
    assert restored(text, _sha(octets)) == octets
    assert text.endswith(b"\n\n")
    assert not re.search(rb"^From ", text, re.MULTILINE)


@given(st.lists(PIECES, max_size=24))
def test_quoting_does_not_depend_on_where_chunks_are_cut(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    expected = re.sub(rb"(?m)^(>*From )", rb">\1", whole)
    assert b"".join(quoted(pieces)) == b"".join(quoted([whole])) == expected


@pytest.mark.parametrize(
    ("form", "target", "told"),
    [
        ("eml", "absent/out", "absent is no folder"),
        ("mbox", "absent/out", "absent is no folder"),
        ("maildir", "absent/out", "absent is no folder"),
    ],
)
def test_the_place_must_be_there(
    run: Export, tmp_path: Path, form: Form, target: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        run(form, tmp_path / target)


@pytest.mark.parametrize("form", FORMS)
def test_a_place_that_is_something_else_is_told(run: Export, tmp_path: Path, form: Form) -> None:
    target = tmp_path / "out"
    if form == "mbox":
        target.mkdir()
    else:
        target.write_text("a file")
    with pytest.raises(DeliveryDeferred) as caught:
        run(form, target)
    assert str(target) in str(caught.value)
    assert "export again" in caught.value.advice
    assert target.is_dir() == (form == "mbox")


@pytest.mark.parametrize("form", ["eml", "mbox"])
def test_a_disk_that_fills_up_leaves_whole_messages_alone(
    run: Export, server: ScriptedPop3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    target = tmp_path / "out"
    real, calls = os.fsync, iter(range(1000))

    def full(descriptor: int) -> None:
        if next(calls) == 4:
            raise OSError(28, "No space left on device")
        real(descriptor)

    limits = {"eml": "export_eml", "mbox": "export_mbox"}
    monkeypatch.setattr(f"fetchd.pipeline.{limits[form]}.BATCH_OCTETS", 100_000)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DeliveryDeferred, match="No space left"):
        run(form, target, "work")
    monkeypatch.undo()
    partly = found(form, target)
    assert not partly - expected(server)
    assert not [path for path in target.rglob("*") if path.name.startswith(".")]
    assert run(form, target, "work").ok
    assert found(form, target) == expected(server)
