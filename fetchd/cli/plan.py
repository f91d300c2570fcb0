"""`fetchd plan`: what a sync would do now, printed."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.words import counted, octets
from fetchd.pipeline.planning import AccountPlan, MailboxPlan, Planned, plan_round
from fetchd.pipeline.storage import open_storage
from fetchd.settings import Settings

FIRST = 10  # of each kind that are shown without --all
_KINDS = (
    ("fetch", "to fetch"),
    ("adopt", "to recognise by the header"),
    ("gone", "gone from the server"),
    ("quarantined", "set aside"),
    ("retire", "to remove from the server"),
    ("held", "held back by the brake"),
    ("waiting", "to remove later"),
)


def plan(settings: Settings, names: Sequence[str], *, details: bool, json: bool) -> bool:
    """Print the plans of these accounts, or of all; whether each could be made."""
    require(settings, None, names)
    with open_storage(settings, read_only=True) as storage:
        plans = asyncio.run(plan_round(settings, names, storage))
    if json:
        output.emit({"accounts": [_document(one) for one in plans]})
    else:
        for one in plans:
            _tell(one, None if details else FIRST)
    return all(one.error is None for one in plans)


def _document(one: AccountPlan) -> dict[str, Any]:
    error = one.error and {"sentence": str(one.error), "advice": one.error.advice}
    return {
        "account": one.account,
        "error": error,
        "mailboxes": [
            {
                "mailbox": mailbox.mailbox,
                "on_server": mailbox.on_server,
                "unchanged": mailbox.unchanged,
                **{key: _messages(getattr(mailbox, key)) for key, _ in _KINDS},
                "notices": list(mailbox.notices),
            }
            for mailbox in one.mailboxes
        ],
    }


def _messages(planned: Planned) -> list[dict[str, Any]]:
    return [{"uid": _uid(m.uid), "size": m.size, "reason": m.reason} for m in planned]


def _uid(uid: bytes) -> str:
    return uid.decode("utf-8", "backslashreplace")


def _tell(one: AccountPlan, limit: int | None) -> None:
    if one.error is not None:
        output.say(f"{one.account}: {one.error}")
        if one.error.advice:
            output.say(f"  {one.error.advice}")
    for mailbox in one.mailboxes:
        _tell_mailbox(one.account, mailbox, limit)


def _tell_mailbox(account: str, mailbox: MailboxPlan, limit: int | None) -> None:
    held = counted(mailbox.on_server, "message")
    output.say(f"{account}, {mailbox.mailbox}: {held} on the server")
    kinds = [(getattr(mailbox, key), title) for key, title in _KINDS]
    if not any(planned for planned, _ in kinds):
        output.say("  nothing to do")
    for planned, title in kinds:
        if planned:
            size = octets(sum(message.size for message in planned))
            output.say(f"  {len(planned):,} {title} ({size})")
        for message in planned[:limit]:
            output.say(f"    {_uid(message.uid)}  {octets(message.size)}  {message.reason}")
        if limit is not None and len(planned) > limit:
            output.say(f"    and {len(planned) - limit:,} more; --all shows them")
    for notice in mailbox.notices:
        output.say(f"  {notice}")
