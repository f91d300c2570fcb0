"""The journal: after the data of each commit, what the commit made true.

It is a zstd *skippable frame* (RFC 8878 §3.1.2), so tar and zstd pass over it:
magic, size, the tag FDJ1, a digest, and the payload: compressed JSON. Beside the
commit the payload says where in the segment its data began and their CRC-32, so
that a torn write is told from a whole one without decoding; the frames have
checksums of their own beside it.

The digest is SHA-256 of the segment's name and the payload. The name has 80 random
bits, so no message can hold a journal that would count when a spoilt frame makes us
look for the next one inside of it. Hence a segment keeps its name; it may move to
another folder, since the journal speaks of "this segment" only.

New fields need a default in `decode`; anything else needs a new tag.
"""

import hashlib
import json
import struct
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fetchd.archive import compression
from fetchd.contracts import Commit, Location, QueuedDelivery, RemoteRecord, StoredMessage
from fetchd.message import Summary

MAGIC = b"\x50\x2a\x4d\x18"
TAG = b"FDJ1"
HEAD = 8 + len(TAG) + 32
PAYLOAD_LIMIT = 1 << 28


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """A commit, and the data in front of it that it vouches for."""

    start: int
    data_check: int
    commit: Commit


def frame(entry: JournalEntry, segment: str) -> bytes:
    """The whole skippable frame, for the segment of that path."""
    payload = encode(entry)
    rest = TAG + _digest(payload, segment) + payload
    return MAGIC + struct.pack("<I", len(rest)) + rest


def unframe(octets: bytes, segment: str) -> JournalEntry | None:
    """The entry of a whole skippable frame; None when it is not an intact journal."""
    payload = octets[HEAD:]
    if octets[8:12] != TAG or _digest(payload, segment) != octets[12:HEAD]:
        return None
    return decode(payload, segment)


def _digest(payload: bytes, segment: str) -> bytes:
    state = hashlib.sha256(segment.rpartition("/")[2].encode())
    state.update(payload)
    return state.digest()


def encode(entry: JournalEntry) -> bytes:
    """The compressed payload."""
    commit = entry.commit
    plain = {
        "start": entry.start,
        "data": entry.data_check,
        "messages": [_message(m) for m in commit.messages],
        "remotes": [_remote(r) for r in commit.remotes],
        "deliveries": [_delivery(d) for d in commit.deliveries],
        "delivered": commit.delivered,
        "expired": [digest.hex() for digest in commit.expired],
    }
    # ensure_ascii also carries lone surrogates, which UTF-8 would refuse.
    return compression.compressed(json.dumps(plain, separators=(",", ":")).encode("ascii"))


def decode(payload: bytes, segment: str) -> JournalEntry:
    """What `encode` was given; its locations are in `segment`."""
    plain = json.loads(compression.decompressed(payload, PAYLOAD_LIMIT))
    commit = Commit(
        messages=tuple(_read_message(m, segment) for m in plain["messages"]),
        remotes=tuple(_read_remote(r) for r in plain["remotes"]),
        deliveries=tuple(_read_delivery(d) for d in plain["deliveries"]),
        delivered=tuple((destination, key) for destination, key in plain["delivered"]),
        expired=tuple(bytes.fromhex(digest) for digest in plain["expired"]),
    )
    return JournalEntry(plain["start"], plain["data"], commit)


def _message(message: StoredMessage) -> dict[str, Any]:
    place, summary = message.location, message.summary
    return {
        "digest": message.digest.hex(),
        "size": message.size,
        "at": place and [place.offset, place.length, place.inner],
        "date": message.internal_date.isoformat(),
        "id": summary.message_id,
        "sent": summary.date,
        "from": summary.sender,
        "to": summary.recipients,
        "subject": summary.subject,
        "header": summary.header_digest.hex(),
        "copy": summary.copy_key.hex(),
    }


def _read_message(plain: dict[str, Any], segment: str) -> StoredMessage:
    summary = Summary(
        message_id=plain["id"],
        date=plain["sent"],
        sender=plain["from"],
        recipients=plain["to"],
        subject=plain["subject"],
        header_digest=bytes.fromhex(plain["header"]),
        copy_key=bytes.fromhex(plain["copy"]),
    )
    return StoredMessage(
        digest=bytes.fromhex(plain["digest"]),
        size=plain["size"],
        location=Location(segment, *plain["at"]) if plain["at"] else None,
        summary=summary,
        internal_date=datetime.fromisoformat(plain["date"]),
    )


def _remote(remote: RemoteRecord) -> dict[str, Any]:
    return {
        "account": remote.account,
        "mailbox": remote.mailbox,
        "uid": remote.uid.hex(),
        "size": remote.size,
        "digest": remote.digest.hex(),
        "seen": remote.seen_at.isoformat(),
        "rules": remote.rules,
    }


def _read_remote(plain: dict[str, Any]) -> RemoteRecord:
    return RemoteRecord(
        account=plain["account"],
        mailbox=plain["mailbox"],
        uid=bytes.fromhex(plain["uid"]),
        size=plain["size"],
        digest=bytes.fromhex(plain["digest"]),
        seen_at=datetime.fromisoformat(plain["seen"]),
        rules=plain.get("rules", ""),
    )


def _delivery(delivery: QueuedDelivery) -> dict[str, Any]:
    return {
        "destination": delivery.destination,
        "digest": delivery.digest.hex(),
        "account": delivery.account,
        "mailbox": delivery.mailbox,
        "uid": delivery.uid.hex(),
        "queued": delivery.queued_at.isoformat(),
        "key": delivery.key,
    }


def _read_delivery(plain: dict[str, Any]) -> QueuedDelivery:
    return QueuedDelivery(
        destination=plain["destination"],
        digest=bytes.fromhex(plain["digest"]),
        account=plain["account"],
        mailbox=plain["mailbox"],
        uid=bytes.fromhex(plain["uid"]),
        queued_at=datetime.fromisoformat(plain["queued"]),
        key=plain["key"],
    )
