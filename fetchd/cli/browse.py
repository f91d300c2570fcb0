"""`fetchd browse`: what is on a server now, page by page, and fetching some of it by hand."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fetchd.cli import output
from fetchd.cli.accounts import require
from fetchd.cli.stopping import stoppable
from fetchd.cli.words import counted, instant, iso, octets
from fetchd.errors import UsageError
from fetchd.pipeline.browsing import (
    Asked,
    MailboxSeen,
    MessageSeen,
    Page,
    Stored,
    browse_mailboxes,
    browse_messages,
)
from fetchd.pipeline.by_hand import Became, ByHand, Outcome, fetch_by_hand
from fetchd.pipeline.errand import errands
from fetchd.pipeline.storage import open_storage
from fetchd.settings import Settings

COLUMN = 30  # of the sender
_LETTERS = {"\\Draft": "D", "\\Flagged": "F", "\\Answered": "R", "\\Seen": "S", "\\Deleted": "T"}
_STORED = {Stored.TOO_LARGE: "too large"}


def browse(settings: Settings, account: str, mailbox: str, asked: Asked, *, json: bool) -> bool:
    """Print the mailboxes of an IMAP account, or a page of messages."""
    require(settings, None, [account])
    with open_storage(settings, read_only=True) as storage:
        (errand,) = errands(settings, [account], storage)
        if errand.protocol == "imap" and not mailbox:
            mailboxes = asyncio.run(browse_mailboxes(errand, storage))
            page = None
        else:
            mailboxes = []
            page = asyncio.run(browse_messages(errand, mailbox, storage, asked))
    if json:
        output.emit(_document(account, mailboxes, page))
    elif page is None:
        _tell_mailboxes(mailboxes)
    else:
        _tell_page(page, asked, flags=errand.protocol == "imap")
    return True


def bring(
    settings: Settings, account: str, mailbox: str, uids: Sequence[str], *, json: bool
) -> bool:
    """Fetch these messages now and say what became of each; whether all are here."""
    require(settings, None, [account])
    if settings.accounts[account].protocol == "imap" and not mailbox:
        raise UsageError(
            "--fetch needs the mailbox that the uids are of",
            advice=f"Write: fetchd browse {account} INBOX --fetch {uids[0]}",
        )
    done = asyncio.run(_bring(settings, account, mailbox, uids))
    if json:
        output.emit(_done_document(account, done))
    else:
        _tell_done(done)
    return done.ok


async def _bring(settings: Settings, account: str, mailbox: str, uids: Sequence[str]) -> ByHand:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    with stoppable(lambda: loop.call_soon_threadsafe(stop.set)), open_storage(settings) as storage:
        return await fetch_by_hand(settings, account, mailbox, uids, storage, stop=stop)


# -- What is there -----------------------------------------------------------------


def _document(account: str, mailboxes: Sequence[MailboxSeen], page: Page | None) -> dict[str, Any]:
    return {
        "account": account,
        "mailboxes": [
            {
                "mailbox": one.name,
                "role": one.role,
                "on_server": one.messages,
                "octets": one.octets,
                "stored": one.stored,
                "chosen": one.chosen,
            }
            for one in mailboxes
        ],
        "mailbox": page.mailbox if page else None,
        "on_server": page.on_server if page else None,
        "found": page.found if page else None,
        "page": page.number if page else None,
        "pages": page.pages if page else None,
        "messages": [_message(one) for one in page.messages] if page else [],
    }


def _message(one: MessageSeen) -> dict[str, Any]:
    return {
        "uid": one.uid,
        "size": one.size,
        "date": iso(one.at),
        "from": one.sender,
        "to": one.recipients,
        "subject": one.subject,
        "message_id": one.message_id,
        "flags": list(one.flags),
        "labels": list(one.labels),
        "stored": str(one.stored),
        "reason": one.reason,
        "digest": one.digest.hex() if one.digest else None,
    }


def _tell_mailboxes(mailboxes: Sequence[MailboxSeen]) -> None:
    head = ("MESSAGES", "SIZE", "STORED", "CHOSEN", "ROLE", "MAILBOX")
    rows = [
        (
            "-" if one.messages is None else f"{one.messages:,}",
            "-" if one.octets is None else octets(one.octets),
            f"{one.stored:,}",
            "yes" if one.chosen else "no",
            (one.role or "").removeprefix("\\"),
            one.name,
        )
        for one in mailboxes
    ]
    output.table(head, rows, right=("MESSAGES", "SIZE", "STORED"))


def _tell_page(page: Page, asked: Asked, *, flags: bool) -> None:
    if not page.messages:
        output.say("No message fits." if page.on_server else "No messages.")
        return
    head = ["UID", "DATE", "SIZE", "FLAGS", "STORED", "FROM", "SUBJECT"]
    rows = [
        [
            one.uid,
            instant(one.at) if one.at else "-",
            octets(one.size),
            _letters(one.flags),
            _STORED.get(one.stored, str(one.stored)),
            output.shortened(one.sender, COLUMN),
            one.subject,
        ]
        for one in page.messages
    ]
    if not flags:  # POP3 knows none
        for row in (head, *rows):
            del row[3]
    output.table(head, rows, right=("SIZE",))
    for one in page.messages:
        if one.reason:
            output.say(f"{one.uid} is quarantined: {one.reason}")
    fitting = f", {page.found:,} with '{asked.search}'" if asked.search else ""
    more = f"; --page {page.number + 1} shows the next" if page.number < page.pages else ""
    output.say(
        f"{page.mailbox}: {counted(page.on_server, 'message')}{fitting}, "
        f"page {page.number} of {page.pages}{more}"
    )


def _letters(flags: Sequence[str]) -> str:
    """As in a Maildir's file names; keywords as they are."""
    letters = "".join(sorted(_LETTERS[flag] for flag in flags if flag in _LETTERS))
    return " ".join(filter(None, (letters, *(flag for flag in flags if flag not in _LETTERS))))


# -- What was fetched --------------------------------------------------------------


def _done_document(account: str, done: ByHand) -> dict[str, Any]:
    report = done.report
    return {
        "account": account,
        "mailbox": done.mailbox,
        "ok": done.ok,
        "messages": [
            {
                "uid": one.uid,
                "became": str(one.became),
                "size": one.size,
                "digest": one.digest.hex() if one.digest else None,
                "reason": one.reason,
            }
            for one in done.outcomes
        ],
        "delivered": report.delivered,
        "deferred": report.deferred,
        "failed": report.failed,
        "troubles": report.troubles,
        "advice": report.advice(),
    }


def _tell_done(done: ByHand) -> None:
    for one in done.outcomes:
        output.say(f"{one.uid}: {_told(one)}")
    report = done.report
    if report.delivered:
        output.say(f"{counted(report.delivered, 'delivery')} made")
    for destination, said in report.troubles.items():
        output.say(f"{destination}: {said}")
    if advice := report.advice():
        output.say(f"  {advice}")


def _told(one: Outcome) -> str:
    match one.became:
        case Became.FETCHED:
            return f"fetched ({octets(one.size)})"
        case Became.STORED if one.digest is not None:
            return f"is stored already: fetchd show {one.digest.hex()[:12]}"
        case Became.REFUSED:
            return f"would not come: {one.reason}"
        case Became.FAILED:
            return f"did not come: {one.reason}"
    return one.reason
