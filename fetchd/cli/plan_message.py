"""`fetchd plan --message`: why an archived message goes where it goes, printed."""

from collections.abc import Sequence
from typing import Any

from fetchd.catalog.delivered import Trace
from fetchd.catalog.search import MessageRow
from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.fates import delivery, fate, place
from fetchd.cli.messages import document
from fetchd.cli.show import the_one
from fetchd.cli.words import instant
from fetchd.errors import UsageError
from fetchd.pipeline.explaining import Explained, Goal, explain
from fetchd.pipeline.storage import open_storage
from fetchd.settings import Settings


def plan_message(
    settings: Settings, wanted: str, names: Sequence[str], *, details: bool, json: bool
) -> bool:
    """Print the decision for each place where the message was seen, or those of `names`."""
    if details:
        raise UsageError("--all goes not with --message, which tells everything")
    with open_storage(settings, read_only=True) as storage:
        require(settings, storage.catalog, names)
        row = the_one(storage.catalog, wanted)
        places = explain(settings, storage, row, names)
    if json:
        output.emit(
            {"message": document(row), "places": [_document(one, row.digest) for one in places]}
        )
        return True
    output.say(f"message {row.id}, {row.digest.hex()[:12]}: {row.subject}")
    if not places:
        whose = f" in {' or '.join(names)}" if names else " by any account"
        output.say(f"  not seen{whose} now; 'fetchd show {row.id}' says where it went")
    for one in places:
        _tell(one, row)
    return True


# -- For programs -----------------------------------------------------------------


def _document(one: Explained, digest: bytes) -> dict[str, Any]:
    return {
        "account": one.seen.account,
        "mailbox": one.seen.mailbox,
        "uid": _uid(one),
        "state": one.seen.state,
        "in_settings": one.in_settings,
        "duplicate": one.duplicate,
        "routes": list(one.trail),
        "goes_to": [_goal(goal, digest) for goal in one.goals],
        "went_to": [delivery(trace) for trace in one.others],
    }


def _goal(goal: Goal, digest: bytes) -> dict[str, Any]:
    handed, trace = goal.handed, goal.trace
    return {
        "destination": handed.destination,
        "folder": handed.folder,
        "label": handed.label,
        "route": handed.route,
        "mirror": goal.mirror,
        "spared": goal.spared,
        "copy": trace is not None and trace.digest != digest,
        "delivery": delivery(trace) if trace is not None else None,
    }


def _uid(one: Explained) -> str:
    return one.seen.uid.decode("utf-8", "backslashreplace")


# -- For people -------------------------------------------------------------------


def _tell(one: Explained, row: MessageRow) -> None:
    output.say(f"{one.seen.account}, {one.seen.mailbox}, uid {_uid(one)}:")
    if not one.in_settings:
        output.say("  this account is not in the settings: it goes nowhere any more")
    for sentence in one.trail:
        output.say(f"  {sentence}")
    if one.in_settings and not one.goals:
        output.say("  goes nowhere")
    for goal in one.goals:
        _tell_goal(goal, one.seen.account, row.digest)
    for trace in one.others:
        where = place(trace.destination, trace.folder, trace.label)
        output.say(f"  was for {where}, as the settings were then: {_told(trace)}")


def _tell_goal(goal: Goal, account: str, digest: bytes) -> None:
    handed, trace = goal.handed, goal.trace
    route = f" by route '{handed.route}'" if handed.route else ""
    output.say(f"  goes to {place(handed.destination, handed.folder, handed.label)}{route}")
    if trace is not None:
        as_copy = "a copy of it: " if trace.digest != digest else ""
        output.say(f"    {as_copy}{_told(trace)}")
        return
    sends = f"'fetchd redeliver {account} --to {handed.destination}' sends it"
    if goal.spared:
        output.say("    spared: it was there before the account was added (first_sync)")
    else:
        output.say("    never owed there: it was recognised, or the settings were others then")
    if not goal.mirror:
        output.say(f"    {sends}")


def _told(trace: Trace) -> str:
    at = f" at {instant(trace.settled_at)}" if trace.settled_at else ""
    return f"delivery {trace.id}{at}: {fate(trace)}"
