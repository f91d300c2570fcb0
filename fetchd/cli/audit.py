"""`fetchd audit`: server against archive, as a table with what is amiss below it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.words import counted, octets
from fetchd.errors import FetchdError
from fetchd.pipeline.auditing import AccountAudit, MailboxAudit, audit_accounts
from fetchd.pipeline.storage import open_storage
from fetchd.settings import Settings
from fetchd.values import asdict

FIRST = 10  # of each kind that people are shown; --json has all
_KINDS = (
    ("missing", "missing"),
    ("quarantined", "quarantined"),
    ("different", "not what is stored under their uid"),
    ("too_large", "larger than max_message_size: 'fetchd browse --fetch' fetches single ones"),
    ("not_wanted", "let go by archive.keep"),
    ("extra", "no longer on the server; what is stored stays"),
)


def audit(settings: Settings, names: Sequence[str], *, deep: bool, json: bool) -> bool:
    """Print what these accounts, or all, have and lack; whether nothing is lacking."""
    require(settings, None, names)
    with open_storage(settings, read_only=True) as storage:
        audits = asyncio.run(audit_accounts(settings, names, storage, deep=deep))
    well = all(one.ok for one in audits)
    if json:
        output.emit({"ok": well, "deep": deep, "accounts": [_document(one) for one in audits]})
    else:
        _tell_table(audits, deep=deep)
        for one in audits:
            _tell_account(one)
        _tell_verdict(audits, deep=deep)
    return well


def _document(one: AccountAudit) -> dict[str, Any]:
    return {
        "account": one.account,
        "ok": one.ok,
        "error": _error(one.error),
        "unchosen": list(one.unchosen),
        "mailboxes": [
            {
                "mailbox": mailbox.mailbox,
                "ok": mailbox.ok,
                "error": _error(mailbox.error),
                "on_server": mailbox.on_server,
                "stored": mailbox.stored,
                "recognised": mailbox.recognised,
                **{key: [asdict(note) for note in getattr(mailbox, key)] for key, _ in _KINDS},
                "flags": [asdict(note) for note in mailbox.flags],
                "unread": mailbox.unread,
                "notices": list(mailbox.notices),
            }
            for mailbox in one.mailboxes
        ],
    }


def _error(error: FetchdError | None) -> dict[str, str] | None:
    return {"sentence": str(error), "advice": error.advice} if error is not None else None


def _tell_table(audits: Sequence[AccountAudit], *, deep: bool) -> None:
    figures = ["ON SERVER", "STORED", "MISSING", "QUARANTINED", "TOO LARGE", "NOT WANTED"]
    figures += ["EXTRA", "FLAGS", *(["DIFFERENT"] if deep else [])]
    rows = [
        [one.account, *(f"{count:,}" for count in _counts(mailbox, deep=deep)), mailbox.mailbox]
        for one in audits
        for mailbox in one.mailboxes
        if mailbox.error is None
    ]
    if rows:
        output.table(["ACCOUNT", *figures, "MAILBOX"], rows, right=figures)


def _counts(mailbox: MailboxAudit, *, deep: bool) -> list[int]:
    return [
        mailbox.on_server,
        mailbox.stored + mailbox.recognised,
        len(mailbox.missing),
        len(mailbox.quarantined),
        len(mailbox.too_large),
        len(mailbox.not_wanted),
        len(mailbox.extra),
        len(mailbox.flags),
        *([len(mailbox.different)] if deep else []),
    ]


def _tell_account(one: AccountAudit) -> None:
    _tell_error(one.account, one.error)
    for mailbox in one.mailboxes:
        _tell_mailbox(one.account, mailbox)
    if one.unchosen:
        output.say(f"{one.account}: not chosen by the settings: {', '.join(one.unchosen)}")


def _tell_mailbox(account: str, mailbox: MailboxAudit) -> None:
    place = f"{account}, {mailbox.mailbox}"
    _tell_error(place, mailbox.error)
    for notice in mailbox.notices:
        output.say(f"{place}: {notice}")
    if mailbox.recognised:
        output.say(f"{place}: {mailbox.recognised:,} stored, and not known there yet")
    for key, title in _KINDS:
        notes = getattr(mailbox, key)
        if notes:
            output.say(f"{place}: {len(notes):,} {title}")
        for note in notes[:FIRST]:
            output.say(f"    {note.uid}  {octets(note.size)}  {note.reason}")
        if len(notes) > FIRST:
            output.say(f"    and {len(notes) - FIRST:,} more; --json has them all")
    if mailbox.flags:
        output.say(f"{place}: {len(mailbox.flags):,} with other flags than at the last sync")
    if mailbox.unread:
        output.say(
            f"{place}: the server gave no header of {mailbox.unread:,}, so they are unproven"
        )


def _tell_error(place: str, error: FetchdError | None) -> None:
    if error is not None:
        output.say(f"{place}: {error}")
        if error.advice:
            output.say(f"  {error.advice}")


def _tell_verdict(audits: Sequence[AccountAudit], *, deep: bool) -> None:
    mailboxes = [mailbox for one in audits for mailbox in one.mailboxes]
    lacking = sum(len(m.missing) + len(m.quarantined) for m in mailboxes)
    different = sum(len(m.different) for m in mailboxes)
    failed = any(one.error for one in audits) or any(m.error for m in mailboxes)
    if lacking:
        output.say(f"{counted(lacking, 'message')} should be here and {_are(lacking)} not.")
        output.say("  'fetchd sync' fetches what is missing, and tries what was refused when due.")
    if different:
        output.say(
            f"{counted(different, 'message')} on the server {_are(different)} not what is stored "
            "under that uid."
        )
        output.say("  'fetchd browse' shows what is there, 'fetchd list' what is stored.")
    if not (lacking or different or failed):
        compared = ", by the header too" if deep else ""
        output.say(f"All that should be here is here{compared}.")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
