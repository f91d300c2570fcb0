"""How commands say where a message goes, and what became of that."""

from typing import Any

from fetchd.catalog.delivered import Trace
from fetchd.cli.words import iso


def place(destination: str, folder: str, label: str) -> str:
    """home, folder Lists/python, label work."""
    told = [destination]
    if folder:
        told.append(f"folder {folder}")
    if label:
        told.append(f"label {label}" if " " not in label else f"labels {label}")
    return ", ".join(told)


def fate(one: Trace) -> str:
    """deferred, may have arrived (bob@example.org has it already): 451 try later."""
    if one.state == "delivered":
        return one.state + (f": {one.last_reply}" if one.last_reply else "")
    told = one.state
    if one.doubtful:
        told += ", may have arrived"
    if one.done:
        told += f" ({' and '.join(one.done)} {'has' if len(one.done) == 1 else 'have'} it already)"
    return told + (f": {one.last_reply}" if one.last_reply else "")


def delivery(one: Trace) -> dict[str, Any]:
    """One delivery with stable keys."""
    return {
        "id": one.id,
        "destination": one.destination,
        "account": one.account,
        "state": one.state,
        "folder": one.folder,
        "label": one.label,
        "attempts": one.attempts,
        "doubtful": one.doubtful,
        "done": list(one.done),
        "last_reply": one.last_reply,
        "queued_at": iso(one.queued_at),
        "settled_at": iso(one.settled_at),
    }
