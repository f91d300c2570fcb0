"""Commits to record: small, numbered, all alike."""

import hashlib
from datetime import UTC, datetime

from fetchd.contracts import (
    Commit,
    Location,
    QueuedDelivery,
    Recorded,
    RemoteRecord,
    StoredMessage,
)
from fetchd.message import Summary

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
SEGMENT = "2026/11/A.tar.zst"


def digest(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def stored(number: int, segment: str | None = SEGMENT) -> StoredMessage:
    key = hashlib.sha256(b"header %d" % number).digest()
    summary = Summary(f"<{number}@x>", "", f"a{number}@x", "b@x", f"Subject {number}", key, key)
    place = Location(segment, number * 100, 100, 512) if segment else None
    return StoredMessage(digest(number), 1000 + number, place, summary, NOW)


def remote(number: int, account: str = "home", mailbox: str = "INBOX") -> RemoteRecord:
    uid = b"uid-%d" % number
    return RemoteRecord(account, mailbox, uid, 1010 + number, digest(number), NOW, "rules")


def queued(number: int, destination: str = "maildir") -> QueuedDelivery:
    uid = b"uid-%d" % number
    return QueuedDelivery(destination, digest(number), "home", "INBOX", uid, NOW, f"key-{number}")


def recorded(*numbers: int, deliver: bool = True, segment: str = SEGMENT) -> Recorded:
    commit = Commit(
        messages=tuple(stored(n, segment) for n in numbers),
        remotes=tuple(remote(n) for n in numbers),
        deliveries=tuple(queued(n) for n in numbers) if deliver else (),
    )
    return Recorded(segment, (max(numbers) + 1) * 100, commit)


def facts(commit: Commit) -> Recorded:
    return Recorded(SEGMENT, 0, commit)
