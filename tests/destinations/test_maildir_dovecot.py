"""Dovecot serves what was delivered into a Maildir: in the right mailbox, with its flags."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fetchd.contracts import Outcome, Outgoing, Settled
from fetchd.destinations.maildir import MaildirSession
from fetchd.values import replace
from tests.destinations.outgoing import outgoing
from tests.servers.dovecot import Dovecot
from tests.servers.processes import own_by_mail_user

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot(separator="/", odd_names=True) as server:
        yield server
        assert server.complaints() == []


def deliver(path: Path, *items: Outgoing, **how: Any) -> list[Settled]:
    async def main() -> list[Settled]:
        session = MaildirSession(path, **how)
        await session.put(items)
        settled = await session.settle()
        await session.close()
        return settled

    settled = asyncio.run(main())
    for made in path.glob("**/*"):  # as root we write what the mail user is to serve
        if made.owner() != path.parent.owner():
            own_by_mail_user(made)
    own_by_mail_user(path)
    return settled


MAILBOXES = ["INBOX", "A", "A/B c", "a.b", "..", "Würfel & Co", "中文/😀", "~x", "INBOX/Sent"]


@pytest.mark.parametrize(
    ("template", "route", "name"),
    [
        ("", "", "INBOX"),
        ("Fetched", "", "Fetched"),
        ("{mailbox}", "", "{}"),
        ("{account}/{mailbox}", "", "work@example.org/{}"),
        ("Fetched", "Lists/a.b", "Lists/a.b"),
    ],
)
def test_dovecot_shows_each_message_where_it_was_wanted(
    server: Dovecot, template: str, route: str, name: str
) -> None:
    user = f"user-{len(template)}-{len(route)}"
    server.add_user(user, "secret")
    items = [
        replace(
            outgoing(n, mailbox=box, account="work@example.org", flags="\\Seen" * (n % 2)),
            folder=route,
        )
        for n, box in enumerate(MAILBOXES)
    ]
    settled = deliver(server.maildir(user), *items, folder=template, keep_flags=True)
    assert {one.outcome for one in settled} == {Outcome.DELIVERED}
    served = {name: box for name, box in server.served_imap(user).items() if box}
    wanted: dict[str, list[tuple[bool, bytes]]] = {}
    for n, item in enumerate(items):
        wanted.setdefault(name.format(item.mailbox), []).append((n % 2 == 1, item.digest.hex()))
    found = {
        box: sorted(("\\Seen" in one.flags, one.digest) for one in messages.values())
        for box, messages in served.items()
    }
    assert found == {box: sorted(messages) for box, messages in wanted.items()}


@pytest.mark.parametrize(
    ("how", "flags", "served"),
    [
        ({}, "\\Seen \\Flagged", set()),
        ({"mark_seen": True}, "\\Flagged", {"\\Seen"}),
        ({"keep_flags": True}, "\\Answered \\Draft $Work", {"\\Answered", "\\Draft"}),
        ({"keep_flags": True, "mark_seen": True}, "\\Flagged", {"\\Seen", "\\Flagged"}),
    ],
)
def test_dovecot_shows_the_flags(
    server: Dovecot, how: dict[str, bool], flags: str, served: set[str]
) -> None:
    user = f"flags-{len(how)}-{len(flags)}"
    server.add_user(user, "secret")
    deliver(server.maildir(user), outgoing(1, flags=flags), folder="Kept/Here", **how)
    [one] = server.served_imap(user)["Kept/Here"].values()
    assert {flag for flag in one.flags if flag != "\\Recent"} == served


def test_what_is_in_doubt_is_found_where_dovecot_moved_it(server: Dovecot) -> None:
    user = "reader"
    server.add_user(user, "secret")
    box = server.maildir(user)
    box.chmod(0o700)  # as whoever makes a Maildir does; else Dovecot copies and renames
    items = [outgoing(n, mailbox="A/B") for n in range(6)]
    deliver(box, *items[:4], folder="{mailbox}")
    with server.client(user) as reader:
        uids = reader.uids("A/B")
        reader.flag("A/B", uids[:2], add=["\\Seen", "$Mine"])
        reader.create("Elsewhere")
        reader.move("A/B", uids[1:3], "Elsewhere")
        reader.rename("A/B", "Kept")
    settled = deliver(box, *(replace(one, doubtful=True) for one in items), folder="{mailbox}")
    replies = {one.id: one.reply for one in settled}
    assert replies == dict.fromkeys(range(4), "found there") | {4: "", 5: ""}
    served = server.served_imap(user)
    counts = {name: len(messages) for name, messages in served.items() if messages}
    assert counts == {"Kept": 2, "Elsewhere": 2, "A/B": 2}
