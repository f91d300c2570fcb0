"""Deliveries to be made, for tests."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from fetchd.contracts import Body, Outgoing

QUEUED = datetime(2026, 11, 2, 12, 0, 0, 700_000, tzinfo=UTC)


def outgoing(
    number: int,
    data: bytes | None = None,
    *,
    path: Path | None = None,
    key: str | None = None,
    doubtful: bool = False,
    account: str = "work",
    mailbox: str = "INBOX",
    flags: str = "",
    arrived: datetime | None = None,
) -> Outgoing:
    if data is None:
        data = b"Subject: number %d\r\n\r\nText.\r\n" % number
    body = Body(len(data), data) if path is None else Body(path.stat().st_size, path=path)
    return Outgoing(
        id=number,
        key=key or f"key-{number}",
        account=account,
        digest=hashlib.sha256(data).digest(),
        size=body.size,
        queued_at=QUEUED,
        attempts=int(doubtful),
        doubtful=doubtful,
        body=body,
        mailbox=mailbox,
        flags=flags,
        arrived=arrived,
    )
