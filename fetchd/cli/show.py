"""`fetchd show`: one stored message, its header or its exact octets."""

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Any

from fetchd.catalog import delivered, search
from fetchd.catalog.database import Catalog
from fetchd.catalog.search import MessageRow
from fetchd.cli import output
from fetchd.cli.fates import delivery, fate, place
from fetchd.cli.messages import document
from fetchd.cli.words import instant, iso, octets
from fetchd.errors import FetchdError, UsageError
from fetchd.message import HEADER_LIMIT, header_of
from fetchd.pipeline.storage import Storage, open_storage
from fetchd.pipeline.stored import stored_body
from fetchd.settings import Settings

_FOLDED = re.compile(rb"\r?\n[ \t]+")
Fields = list[tuple[str, str]]


def show(settings: Settings, wanted: str, *, raw: bool, header: bool, json: bool) -> bool:
    """Print what is asked for of the one message that `wanted` means."""
    if raw and (header or json):
        raise UsageError("--raw goes with neither --header nor --json")
    if raw and sys.stdout.isatty():
        raise UsageError(
            "--raw writes the exact octets, which may hold commands that a terminal obeys",
            advice=f"Send them to a file or program: fetchd show {wanted} --raw > message.eml",
        )
    with open_storage(settings, read_only=True) as storage:
        row = the_one(storage.catalog, wanted)
        if raw:
            return _write_raw(storage, row)
        fields, trouble = _header(storage, row)
        if json:
            output.emit(_document(storage, row, fields, trouble))
        else:
            if not header:
                _describe(storage, row)
            for name, value in fields:
                output.say(f"{name}: {value}" if name else value)
            if trouble is not None:
                output.complain(f"fetchd: {trouble}")
                output.complain(f"  {trouble.advice}")
    return trouble is None or (row.expired and not header)


def the_one(catalog: Catalog, wanted: str) -> MessageRow:
    """The message that a person means by a number or a digest's beginning."""
    found = search.by_id(catalog, wanted)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"no message has the number {wanted} or a digest that begins so",
            advice="'fetchd list' shows the messages with their numbers.",
        )
    lines = [f"{row.id}  {row.digest.hex()[:16]}  {row.subject}" for row in found]
    raise UsageError(
        "\n".join([f"{wanted} may mean any of these {len(found)} messages:", *lines]),
        advice="Give the number, or more of the digest.",
    )


def _write_raw(storage: Storage, row: MessageRow) -> bool:
    with stored_body(storage, row) as body:
        for chunk in body.chunks():
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    return True


def _header(storage: Storage, row: MessageRow) -> tuple[Fields, FetchdError | None]:
    """The header's fields, or why they cannot be had."""
    try:
        with stored_body(storage, row) as body:
            head = next(body.chunks(HEADER_LIMIT), b"")
    except FetchdError as error:
        return [], error
    return list(_fields(header_of(head))), None


def _fields(header: bytes) -> Iterator[tuple[str, str]]:
    """Unfolded and decoded (RFC 2047); what is no field is shown with an empty name."""
    for line in _FOLDED.sub(b" ", header).splitlines():
        name, colon, value = line.partition(b":")
        if not colon or not name.strip():
            name, value = b"", line
        yield _text(name).strip(), _decoded(_text(value).strip())


def _text(raw: bytes) -> str:
    """Raw 8-bit headers are UTF-8 (RFC 6532) or GB18030; else the octets are shown."""
    for charset in ("utf-8", "gb18030"):
        with suppress(UnicodeDecodeError):
            return raw.decode(charset)
    return raw.decode("ascii", "backslashreplace")


def _decoded(text: str) -> str:
    if "=?" in text:
        with suppress(LookupError, ValueError, HeaderParseError):
            return str(make_header(decode_header(text)))
    return text


def _document(
    storage: Storage, row: MessageRow, fields: Fields, trouble: FetchdError | None
) -> dict[str, Any]:
    return {
        **document(row),
        "seen": [
            {
                "account": seen.account,
                "mailbox": seen.mailbox,
                "uid": seen.uid.decode("utf-8", "backslashreplace"),
                "state": seen.state,
                "first_seen": iso(seen.first_seen),
            }
            for seen in search.sightings(storage.catalog, row.digest)
        ],
        "deliveries": [delivery(one) for one in delivered.of_message(storage.catalog, row.digest)],
        "header": [list(field) for field in fields],
        "unreadable": None if trouble is None else str(trouble),
    }


def _describe(storage: Storage, row: MessageRow) -> None:
    """What fetchd knows of it, above its header."""
    verified = instant(row.verified_at) if row.verified_at else "not since it was stored"
    facts = {
        "Number": str(row.id),
        "Digest": f"SHA-256 {row.digest.hex()}",
        "Size": f"{row.size:,} octets ({octets(row.size)})",
        "Date": instant(row.internal_date),
        "Stored in": row.location.segment if row.location else "nowhere any more (expired)",
        "Verified": "DAMAGED" if row.damaged else verified,
    }
    for name, value in facts.items():
        output.say(f"{name + ':':11}{value}")
    for seen in search.sightings(storage.catalog, row.digest):
        uid = seen.uid.decode("utf-8", "backslashreplace")
        output.say(
            f"{'Seen:':11}{seen.account}, {seen.mailbox}, uid {uid}: "
            f"{seen.state}, first {instant(seen.first_seen)}"
        )
    for one in delivered.of_message(storage.catalog, row.digest):
        where = place(one.destination, one.folder, one.label)
        output.say(f"{'Delivery:':11}{one.id} to {where}, {fate(one)}")
    output.say()
