"""Messages, commits and archives for tests, and what stands in an archive afterwards."""

import hashlib
import random
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fetchd.archive.names import entry_name
from fetchd.archive.packing import Packed, pack
from fetchd.archive.store import Archive
from fetchd.contracts import (
    Body,
    Commit,
    Location,
    QueuedDelivery,
    Recorded,
    RemoteRecord,
    SegmentFacts,
    StoredMessage,
)
from fetchd.message import summarize
from tests import corpus

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)

Wanted = tuple[bytes, int, Location]


def odd_messages() -> list[bytes]:
    """One of every shape, an empty one, and an attachment too large for a shared frame."""
    rng = random.Random(7)
    shapes = [shape(rng, number) for number, shape in enumerate(corpus.SHAPES)]
    return [*shapes, b"", corpus.with_attachment(rng, 99, 900_000)]


def letters(*numbers: int) -> list[bytes]:
    return [b"Subject: letter %d\r\nFrom: a%d@x\r\n\r\nText.\r\n" % (n, n) for n in numbers]


def store(archive: Archive, spool: Path, *batches: Sequence[bytes]) -> Recorded:
    """One commit of these messages, each with its remote and one delivery."""
    packed = [packed_up(batch, spool) for batch in batches]
    return archive.append(packed, lambda places: commit_of(batches, places))


def packed_up(messages: Iterable[bytes], spool: Path) -> Packed:
    return pack([(name_of(data), 1_700_000_000, Body(len(data), data)) for data in messages], spool)


def commit_of(
    batches: Sequence[Sequence[bytes]], places: Sequence[Sequence[Location]] | None = None
) -> Commit:
    messages = [data for batch in batches for data in batch]
    located = [place for batch in places for place in batch] if places else [None] * len(messages)
    return Commit(
        messages=tuple(stored(data, at) for data, at in zip(messages, located, strict=True)),
        remotes=tuple(remote(data) for data in messages),
        deliveries=tuple(delivery(data) for data in messages),
        delivered=(("maildir", "earlier"),),
    )


def stored(data: bytes, location: Location | None) -> StoredMessage:
    return StoredMessage(sha256(data), len(data), location, summarize(data), NOW)


def remote(data: bytes) -> RemoteRecord:
    return RemoteRecord("work", "INBOX", uid_of(data), len(data) + 1, sha256(data), NOW, "rules")


def delivery(data: bytes) -> QueuedDelivery:
    uid = uid_of(data)
    return QueuedDelivery("maildir", sha256(data), "work", "INBOX", uid, NOW, uid.decode())


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def uid_of(data: bytes) -> bytes:
    return b"uid-" + sha256(data).hex()[:8].encode()


def name_of(data: bytes) -> str:
    return entry_name("work", "INBOX", uid_of(data), sha256(data))


def wanted(*recorded: Recorded) -> list[Wanted]:
    """What to `check` after these commits."""
    return [
        (m.digest, m.size, m.location)
        for one in recorded
        for m in one.commit.messages
        if m.location is not None
    ]


def octets(archive: Archive, recorded: Recorded, spool: Path) -> list[bytes]:
    """Every message of a commit, as the archive gives it."""
    bodies = [archive.body(place, size, spool) for _, size, place in wanted(recorded)]
    try:
        return [b"".join(body.chunks()) for body in bodies]
    finally:
        for body in bodies:
            body.discard()


def faults(archive: Archive, *recorded: Recorded) -> dict[bytes, str]:
    """What `check` finds wrong."""
    checked = dict(archive.check(wanted(*recorded)))
    assert checked.keys() == {digest for digest, _, _ in wanted(*recorded)}
    return {digest: fault for digest, fault in checked.items() if fault is not None}


def known(*recorded: Recorded, sealed: bool = False) -> dict[str, SegmentFacts]:
    """What the catalog would know after these commits, in order."""
    return {one.segment: SegmentFacts(one.end, sealed) for one in recorded}


def extracted(segment: Path, into: Path) -> dict[str, bytes]:
    """Name -> octets, as GNU tar extracts the segment, without a word."""
    into.mkdir()
    done = subprocess.run(
        ["tar", "--zstd", "-xf", segment, "-C", into], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return {
        str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()
    }


def flip(path: Path, offset: int) -> None:
    """Spoil one octet."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.chmod(0o600)
    path.write_bytes(data)
