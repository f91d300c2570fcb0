"""The proof of a mirror: Dovecot serves it as it served the original.

The mirror's path is a user's home and the account is called Maildir, so that the
account's folder is just where Dovecot looks for that user's mail.
"""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fetchd.contracts import Change, Outcome
from fetchd.destinations.mirror import MirrorSession
from fetchd.policy.mailboxes import Offered, name_mailboxes
from tests.destinations.outgoing import outgoing
from tests.servers.dovecot import Dovecot
from tests.servers.mail import Contents, Mail, Served, wire_name
from tests.servers.processes import own_by_mail_user

pytestmark = pytest.mark.live

ACCOUNT = "Maildir"
ODD = [
    "INBOX", "A", "A/B c/D", "INBOX/Sent", "a.b", "..", ".", "a\\b", r"a\2eb", "~x/~y",
    "Wurfel & Co", "Würfel", "中文/😀", "e\u0301\u00e9", 'q"u*o%', "50%", "%25", " a ", "x-",
    "\u202e", "\ufffd", "中" * 60, "x" * 254, "Removed", "Removed/x", "new", "\x7f",
]  # fmt: skip
FLAGS = (
    (), ("\\Seen",), ("\\Flagged", "\\Draft"), ("\\Answered", "\\Seen"),
    ("\\Deleted", "\\Draft", "\\Flagged", "\\Answered", "\\Seen"),
)  # fmt: skip
BODIES = (b"Subject: 1\r\n\r\ntext\r\n", b"A: b\r\n\r\nbare\rCR, 8 bits \xff, NUL \0\r\n", b"x\r\n")


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot(separator="/", odd_names=True) as server:
        yield server
        assert server.complaints() == []


Messages = dict[tuple[str, int], tuple[str, Mail]]  # by mailbox and UID: its key, itself


def fill(server: Dovecot, user: str) -> Messages:
    """Three messages in each mailbox of a new user; all of them as the server has them."""
    server.add_user(user, "secret")
    dates = [datetime(2001 + n, 2, 3, 4, 5, 6 + n, tzinfo=UTC) for n in range(3)]
    for at, mailbox in enumerate(ODD):
        mails = [
            Mail(BODIES[n], FLAGS[(at + n) % len(FLAGS)], date) for n, date in enumerate(dates)
        ]
        server.fill(user, mails, mailbox=mailbox)
    messages: Messages = {}
    with server.client(user) as client:
        for mailbox, held in client.everything().items():
            octets = client.octets(mailbox)
            for uid, served in held.items():
                mail = Mail(octets[uid], tuple(served.flags), served.date)
                messages[mailbox, uid] = (f"key-{len(messages)}", mail)
    return messages


def names(messages: Messages) -> Mapping[str, str]:
    """What fetchd calls these mailboxes."""
    offered = [Offered(wire_name(name), name, "/") for name in {name for name, _ in messages}]
    by_wire = {one.wire: one.name for one in name_mailboxes(offered)}
    return {one.name: by_wire[one.wire] for one in offered if one.name is not None}


def deliver(session: MirrorSession, messages: Messages) -> None:
    called = names(messages)
    items = [
        outgoing(
            number,
            mail.octets,
            key=key,
            account=ACCOUNT,
            mailbox=called[mailbox],
            flags=" ".join(mail.flags),
            arrived=mail.date,
        )
        for number, ((mailbox, _), (key, mail)) in enumerate(messages.items())
    ]

    async def work() -> None:
        await session.put(items)
        assert {one.outcome for one in await session.settle()} == {Outcome.DELIVERED}
        await session.close()

    asyncio.run(work())


def hand_over(home: Path) -> None:
    """As root we write what the mail user is to serve."""
    for path in home.glob("**/*"):
        if path.owner() != home.owner():
            own_by_mail_user(path)


def alike(contents: Contents) -> dict[str, list[Served]]:
    """Without UIDs, which a mirror does not keep, and without what is empty."""
    held = {name: sorted(box.values(), key=repr) for name, box in contents.items()}
    return {name: box for name, box in held.items() if box}


@pytest.mark.parametrize("newline", ["lf", "crlf"])
def test_dovecot_serves_the_same_names_flags_dates_and_octets(
    server: Dovecot, newline: str
) -> None:
    original, copy = f"original-{newline}", f"copy-{newline}"
    messages = fill(server, original)
    server.add_user(copy, "secret")
    home = server.directory / "mail" / copy
    deliver(MirrorSession(home, newline), messages)
    hand_over(home)
    served = alike(server.served_imap(copy))
    assert served == alike(server.served_imap(original))
    assert served.keys() == {*ODD}


@pytest.mark.parametrize("removed", ["trash", "remove"])
def test_dovecot_serves_what_was_followed(server: Dovecot, removed: str) -> None:
    original, copy = f"followed-{removed}", f"follower-{removed}"
    messages = fill(server, original)
    server.add_user(copy, "secret")
    home = server.directory / "mail" / copy
    deliver(MirrorSession(home, removed=removed), messages)
    hand_over(home)
    with server.client(copy) as reader:  # whose keywords are letters in the file names
        for mailbox in reader.mailboxes():
            reader.flag(mailbox, reader.uids(mailbox), add=["$Mine"], drop=["\\Deleted"])

    changes = _change_all(server, original, messages)
    asyncio.run(MirrorSession(home, removed=removed).follow(changes))
    hand_over(home)

    served = alike(server.served_imap(copy))
    expected = alike(server.served_imap(original))
    if removed == "trash":
        expected = {
            f"%!{name}" if name.startswith("Removed") else name: box
            for name, box in expected.items()
        }
        aside = {name: box for name, box in served.items() if name.split("/")[0] == "Removed"}
        assert {f"Removed/{name}" for name in ODD if len(name) < 200} < aside.keys()
        assert {len(box) for box in aside.values()} == {1}
        assert len(aside) == len(ODD)
        served = {name: box for name, box in served.items() if name not in aside}
    assert all("$Mine" in one.flags for box in served.values() for one in box)
    without = {
        name: sorted((one._replace(flags=one.flags - {"$Mine"}) for one in box), key=repr)
        for name, box in served.items()
    }
    assert without == expected


def _change_all(server: Dovecot, user: str, messages: Messages) -> list[Change]:
    """Another client removes some and flags the others; what fetchd is to follow."""
    called, changes = names(messages), []
    with server.client(user) as other:
        for mailbox in other.mailboxes():
            uids = other.uids(mailbox)
            other.expunge(mailbox, uids[:1])
            other.flag(mailbox, uids[1:2], add=["\\Answered"], drop=["\\Seen", "\\Draft"])
            other.flag(mailbox, uids[2:], add=["\\Flagged"], drop=["\\Deleted"])
        now = other.everything()
    for (mailbox, uid), (key, _) in messages.items():
        served = now[mailbox].get(uid)
        flags = " ".join(served.flags) if served else None
        changes.append(Change(key, ACCOUNT, called[mailbox], flags))
    return changes
