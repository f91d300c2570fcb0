"""What `fetchd check` finds at an account's server, and what that means for the settings.

A session ends by QUIT without DELE, by LOGOUT, or by hanging up where even QUIT would
remove mail. What a server's announcements mean is a pure function (`consequences`), so
each of them can be tested as a row.

To tell one more thing about a server, add a function to `consequences`.
"""

import re
import ssl
import tempfile
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fetchd.contracts import ServerFacts, Session
from fetchd.errors import FetchdError, TlsFailed
from fetchd.pipeline.findings import Finding, Level
from fetchd.pipeline.untouched import untouched
from fetchd.policy.plan import Listing
from fetchd.settings import Account
from fetchd.sources import enter

EXPIRY_WARNING = timedelta(days=14)
USUAL_INTERVAL = 300  # seconds between two polls of systemd/fetchd-sync.timer

# As sources.open_session tells them to `watch`, with the name for people.
_STEPS = {
    "password": "password",
    "connect": "connection",
    "tls": "TLS",
    "capabilities": "capabilities",
    "login": "login",
}
_VALID_UNTIL = re.compile(r"valid until (.+)$")  # as sources.pop3_login reports it to `watch`


async def check_account(account: Account) -> list[Finding]:
    """Secret, connection, login, listing, and what the server's announcements mean."""
    subject = f"account {account.name}"
    heard: dict[str, str] = {}
    findings: list[Finding] = []
    try:
        session = await enter(account, Path(tempfile.gettempdir()), watch=heard.__setitem__)
        listings = await _look(session)
    except FetchdError as error:
        findings += _heard(subject, account, heard)
        failed = Finding(
            Level.ERROR, subject, f"{_failed_step(account, heard, error)}: {error}", error.advice
        )
        return [*findings, failed]
    findings += _heard(subject, account, heard)
    for listing in listings:
        findings += _listed(subject, account, listing)
    return findings + list(consequences(account, session.facts))


async def _look(session: Session) -> list[Listing]:
    """What is there, and a farewell that removes nothing."""
    async with untouched(session):
        found = [await session.list(mailbox) for mailbox in await session.mailboxes()]
    return [listing for listing in found if listing is not None]


def _failed_step(account: Account, heard: Collection[str], error: FetchdError) -> str:
    """The first step that was not heard of; with implicit TLS that is within connecting."""
    if isinstance(error, TlsFailed):
        return "TLS"
    for step, name in _STEPS.items():
        if step not in heard and not (step == "tls" and account.tls == "none"):
            return name
    return "listing"


def _heard(subject: str, account: Account, heard: dict[str, str]) -> Iterator[Finding]:
    """What went well, in order."""
    if "connect" in heard:
        yield Finding(Level.OK, subject, f"connected to {heard['connect']}")
    if "tls" in heard:
        yield _tls(subject, heard["tls"])
    elif "login" in heard:
        yield Finding(
            Level.WARNING,
            subject,
            "password and mail travel unencrypted",
            'Use tls = "implicit" or "starttls" unless the server is on this machine.',
        )
    if "capabilities" in heard:
        announced = heard["capabilities"] or "none (the server knows no CAPA)"
        yield Finding(Level.OK, subject, f"capabilities: {announced}")
    if "login" in heard:
        yield Finding(Level.OK, subject, f"logged in as {account.username} ({heard['login']})")


def _tls(subject: str, found: str) -> Finding:
    sentence = f"TLS: {found}"
    expiry = _VALID_UNTIL.search(found)
    if expiry:
        left = datetime.fromtimestamp(ssl.cert_time_to_seconds(expiry[1]), UTC) - datetime.now(UTC)
        if left < EXPIRY_WARNING:
            advice = "Ask the provider to renew it; without, syncs will fail from then on."
            return Finding(Level.WARNING, subject, f"{sentence}, in {left.days} days", advice)
    return Finding(Level.OK, subject, sentence)


def _listed(subject: str, account: Account, listing: Listing) -> Iterator[Finding]:
    octets = sum(message.size for message in listing.messages)
    place = f"{listing.mailbox}: " if account.protocol == "imap" else ""
    found = f"{len(listing.messages):,} messages, {octets:,} octets on the server"
    yield Finding(Level.OK, subject, place + found)
    if not listing.complete:
        yield Finding(
            Level.WARNING,
            subject,
            "the server's listings contradict each other",
            "Nothing is removed from the server while that is so; what is listed is fetched.",
        )
    limit = account.max_message_size
    large = sum(limit is not None and message.size > limit for message in listing.messages)
    if large:
        yield Finding(
            Level.WARNING,
            subject,
            f"{large:,} of them are larger than max_message_size and stay on the server",
            "Raise max_message_size to fetch them.",
        )


# -- What it means ---------------------------------------------------------------


def consequences(account: Account, facts: ServerFacts) -> Iterator[Finding]:
    """What the server's announcements mean for this account's settings."""
    subject = f"account {account.name}"
    for found in (_expiry, _login_delay, _names, _previews, _parts, _removal, _trash, _counting):
        finding = found(subject, account, facts)
        if finding is not None:
            yield finding
    for pattern in facts.unmatched:
        advice = "Compare with 'fetchd browse', which lists the mailboxes there are."
        sentence = f"no mailbox fits '{pattern}' of mailboxes"
        yield Finding(Level.WARNING, subject, sentence, advice)


def _expiry(subject: str, account: Account, facts: ServerFacts) -> Finding | None:
    """RFC 2449 §6.7."""
    days, leave = facts.expire_days, account.leave_on_server
    if days is None or leave == "none":
        return None
    if days == 0:
        return Finding(
            Level.WARNING,
            subject,
            "the server removes every message once it was fetched (EXPIRE 0), "
            "whatever leave_on_server says",
            'Set leave_on_server = "none" to agree with it; what was fetched is in the archive.',
        )
    if not isinstance(leave, str) and leave.days is not None and leave.days <= timedelta(days=days):
        return Finding(Level.OK, subject, f"the server removes messages after {days} days (EXPIRE)")
    return Finding(
        Level.WARNING,
        subject,
        f"the server removes messages after {days} days (EXPIRE), sooner than leave_on_server asks",
        f"Sync more often than every {days} days; what was fetched stays in the archive.",
    )


def _login_delay(subject: str, account: Account, facts: ServerFacts) -> Finding | None:
    """RFC 2449 §6.5."""
    seconds = facts.login_delay
    if not seconds:
        return None
    level = Level.WARNING if seconds > USUAL_INTERVAL else Level.OK
    return Finding(
        level,
        subject,
        f"the server wants {seconds} s between two logins (LOGIN-DELAY)",
        f"Let the timer run no more often than every {seconds} s: earlier syncs skip this account.",
    )


def _names(subject: str, account: Account, facts: ServerFacts) -> Finding | None:
    if facts.unique_ids:
        return None
    if facts.can_preview:
        return Finding(
            Level.WARNING,
            subject,
            "the server has no UIDL: messages are recognised by their headers (TOP)",
            "Messages with the same header and size count as one and are never removed.",
        )
    return Finding(
        Level.WARNING,
        subject,
        "the server has neither UIDL nor TOP: every sync reads every message whole",
        'Set leave_on_server = "none" so that little stays there to be read.',
    )


def _previews(subject: str, account: Account, facts: ServerFacts) -> Finding | None:
    if facts.can_preview or not facts.unique_ids:
        return None
    return Finding(
        Level.WARNING,
        subject,
        "the server has no TOP: should it renumber the mailbox, everything is fetched again",
        "Nothing to do; what comes again is stored only once.",
    )


def _parts(subject: str, account: Account, facts: ServerFacts) -> Finding | None:
    if not facts.partial_listings:
        return None
    return Finding(
        Level.OK, subject, "the server shows a part of the mailbox at a time; sync asks repeatedly"
    )


def _removal(subject: str, account: Account, facts: ServerFacts) -> Finding | None:
    """RFC 4315: a plain EXPUNGE would take what others have marked along."""
    if facts.can_remove or account.leave_on_server == "forever":
        return None
    return Finding(
        Level.WARNING,
        subject,
        "the server cannot remove single messages (no UIDPLUS): they are only marked as deleted",
        "Name a mailbox in retire_to if it knows MOVE, or expunge there by another program.",
    )


def _trash(subject: str, account: Account, facts: ServerFacts) -> Finding | None:
    if facts.has_trash:
        return None
    return Finding(
        Level.ERROR,
        subject,
        "the mailbox that retire_to names is not there: nothing can be removed",
        "Create it on the server, or name another one.",
    )


def _counting(subject: str, account: Account, facts: ServerFacts) -> Finding | None:
    if facts.counts_changes:
        return None
    return Finding(
        Level.OK,
        subject,
        "the server does not count changes (no CONDSTORE): every sync compares all flags",
    )
