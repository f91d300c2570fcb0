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

A new field goes to the end of its row, with a default in `_read_...`; anything else
needs a new tag.
"""

import hashlib
import json
import struct
from datetime import datetime
from typing import Any

from fetchd.archive import compression
from fetchd.contracts import Commit, Location, QueuedDelivery, RemoteRecord, StoredMessage
from fetchd.instants import micros, moment
from fetchd.message import Summary
from fetchd.values import Struct

MAGIC = b"\x50\x2a\x4d\x18"
TAG = b"FDJ1"
HEAD = 8 + len(TAG) + 32
PAYLOAD_LIMIT = 1 << 28

_Place = tuple[str, str, datetime]  # account, mailbox, when it was seen or queued


class JournalEntry(Struct, frozen=True):
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
    """The compressed payload.

    Rows without keys, since this is written for every message: twice as fast.
    """
    commit = entry.commit
    places: dict[_Place, int] = {}
    plain = {
        "start": entry.start,
        "data": entry.data_check,
        "messages": [_message(m) for m in commit.messages],
        "remotes": [_remote(r, places) for r in commit.remotes],
        "deliveries": [_delivery(d, places) for d in commit.deliveries],
        "places": [[account, mailbox, micros(at)] for account, mailbox, at in places],
        "delivered": commit.delivered,
        "expired": [digest.hex() for digest in commit.expired],
    }
    # ensure_ascii also carries lone surrogates, which UTF-8 would refuse.
    return compression.compressed(json.dumps(plain, separators=(",", ":")).encode("ascii"))


def decode(payload: bytes, segment: str) -> JournalEntry:
    """What `encode` was given; its locations are in `segment`."""
    plain = json.loads(compression.decompressed(payload, PAYLOAD_LIMIT))
    places = [(account, mailbox, moment(at)) for account, mailbox, at in plain["places"]]
    commit = Commit(
        messages=tuple(_read_message(m, segment) for m in plain["messages"]),
        remotes=tuple(_read_remote(r, places) for r in plain["remotes"]),
        deliveries=tuple(_read_delivery(d, places) for d in plain["deliveries"]),
        delivered=tuple((destination, key) for destination, key in plain["delivered"]),
        expired=tuple(bytes.fromhex(digest) for digest in plain["expired"]),
    )
    return JournalEntry(plain["start"], plain["data"], commit)


def _number(places: dict[_Place, int], place: _Place) -> int:
    """What many rows have in common is written once."""
    return places.setdefault(place, len(places))


def _message(message: StoredMessage) -> list[Any]:
    place, summary = message.location, message.summary
    return [
        message.digest.hex(), message.size, place and [place.offset, place.length, place.inner],
        micros(message.internal_date), summary.message_id, summary.date, summary.sender,
        summary.recipients, summary.subject, summary.header_digest.hex(), summary.copy_key.hex(),
    ]  # fmt: skip


def _read_message(row: list[Any], segment: str) -> StoredMessage:
    digest, size, at, date, message_id, sent, sender, recipients, subject, header, copy = row
    return StoredMessage(
        digest=bytes.fromhex(digest),
        size=size,
        location=Location(segment, *at) if at else None,
        summary=Summary(
            message_id, sent, sender, recipients, subject, bytes.fromhex(header),
            bytes.fromhex(copy),
        ),
        internal_date=moment(date),
    )  # fmt: skip


def _remote(remote: RemoteRecord, places: dict[_Place, int]) -> list[Any]:
    row: list[Any] = [
        _number(places, (remote.account, remote.mailbox, remote.seen_at)), remote.uid.hex(),
        remote.size, remote.digest.hex(), remote.rules,
    ]  # fmt: skip
    # POP3 knows nothing of these.
    if remote.flags or remote.arrived or remote.object_id or remote.labels:
        arrived = remote.arrived and micros(remote.arrived)
        row += [remote.flags, arrived, remote.object_id, remote.labels]
    return row


def _read_remote(row: list[Any], places: list[_Place]) -> RemoteRecord:
    place, uid, size, digest, rules, *more = row
    account, mailbox, seen = places[place]
    flags, arrived, object_id, labels = more or ("", None, "", "")
    return RemoteRecord(
        account, mailbox, bytes.fromhex(uid), size, bytes.fromhex(digest), seen, rules, flags,
        None if arrived is None else moment(arrived), object_id, labels,
    )  # fmt: skip


def _delivery(delivery: QueuedDelivery, places: dict[_Place, int]) -> list[Any]:
    row: list[Any] = [
        delivery.destination, delivery.digest.hex(),
        _number(places, (delivery.account, delivery.mailbox, delivery.queued_at)),
        delivery.uid.hex(), delivery.key,
    ]  # fmt: skip
    if delivery.folder or delivery.label:  # only routes say so
        row += [delivery.folder, delivery.label]
    return row


def _read_delivery(row: list[Any], places: list[_Place]) -> QueuedDelivery:
    destination, digest, place, uid, key, *routed = row
    account, mailbox, queued = places[place]
    return QueuedDelivery(
        destination, bytes.fromhex(digest), account, mailbox, bytes.fromhex(uid), queued, key,
        *routed,
    )  # fmt: skip
