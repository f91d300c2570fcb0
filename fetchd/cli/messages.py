"""Stored messages as a person asks for them: the filter that commands share, and `fetchd list`."""

from datetime import UTC, datetime
from typing import Any

from fetchd.catalog import search
from fetchd.catalog.database import Catalog
from fetchd.catalog.search import MessageRow
from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.words import instant, iso, octets, since
from fetchd.pipeline.storage import data_paths
from fetchd.settings import Settings
from fetchd.values import Struct

COLUMN = 40  # of the sender, on a terminal or not


class Filter(Struct, frozen=True):
    """What was asked for, in the person's words; empty: everything."""

    account: str = ""
    since: str = ""
    sender: str = ""
    subject: str = ""

    def find(self, settings: Settings, catalog: Catalog, limit: int = -1) -> list[MessageRow]:
        """Newest first; no limit below zero."""
        require(settings, catalog, [self.account] if self.account else [])
        begin = since(self.since, datetime.now(UTC)) if self.since else None
        return search.messages(
            catalog,
            account=self.account,
            since=begin,
            sender=self.sender,
            subject=self.subject,
            limit=limit,
        )


def list_messages(settings: Settings, asked: Filter, limit: int, *, json: bool) -> bool:
    """Print what fits."""
    with Catalog(data_paths(settings).catalog, read_only=True) as catalog:
        found = asked.find(settings, catalog, limit + 1 if limit else -1)
    shown = found[:limit] if limit else found
    if json:
        output.emit({"messages": [document(row) for row in shown], "more": len(found) > len(shown)})
        return True
    if not shown:
        output.say("No messages.")
        return True
    rows = [
        (
            str(row.id),
            instant(row.internal_date),
            octets(row.size),
            output.shortened(row.sender, COLUMN),
            _mark(row) + row.subject,
        )
        for row in shown
    ]
    output.table(("ID", "DATE", "SIZE", "FROM", "SUBJECT"), rows, right=("ID", "SIZE"))
    if len(found) > len(shown):
        output.say(f"The newest {limit}; --limit 0 shows all.")
    return True


def document(row: MessageRow) -> dict[str, Any]:
    """One message with stable keys."""
    return {
        "id": row.id,
        "digest": row.digest.hex(),
        "size": row.size,
        "internal_date": iso(row.internal_date),
        "message_id": row.message_id,
        "date": row.date,
        "from": row.sender,
        "to": row.recipients,
        "subject": row.subject,
        "damaged": row.damaged,
        "expired": row.expired,
        "verified_at": iso(row.verified_at),
        "segment": row.location.segment if row.location else None,
    }


def _mark(row: MessageRow) -> str:
    if row.damaged:
        return "(damaged) "
    return "(expired) " if row.location is None else ""
