"""What every session promises (contracts.Session), against each kind of server.

A new protocol or server adds one line to `KINDS`: a context in which `MESSAGES`
are served, which gives a way to open a session and to see what is left.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from pydantic import SecretStr

from fetchd.contracts import Credentials, Fetched, Session, Unavailable
from fetchd.demo import server as demo
from fetchd.errors import AuthenticationFailed, LocalProtocolError, PlaintextRefused
from fetchd.message import header_digest, header_of
from fetchd.policy.plan import Listing
from fetchd.settings import Account, ImapAccount, Pop3Account
from fetchd.sources import open_session
from fetchd.values import replace
from tests.lacking import lacking
from tests.servers.cyrus import Cyrus, cyrus_available
from tests.servers.dovecot import Dovecot

T = TypeVar("T")

MESSAGES = [
    b"Subject: %d\r\nMessage-ID: <%d@x>\r\n\r\n.dot\r\n\xff %b\r\n" % (n, n, b"y" * (n * 1000))
    for n in range(1, 8)
]


@dataclass(frozen=True)
class Place:
    """An account with MESSAGES; `held` is what the server has."""

    account: Account
    secret: str
    held: Callable[[], list[bytes]]


@contextmanager
def _dovecot() -> Iterator[Place]:
    with Dovecot() as server:
        server.add_user("me", "secret")
        server.fill("me", MESSAGES)
        account = Pop3Account(
            protocol="pop3",
            host="localhost",
            port=server.port.pop3s,
            username="me",
            password=SecretStr("secret"),
            ca_file=server.ca_file,
        )
        yield Place(account, "secret", lambda: server.served("me"))


@contextmanager
def _dovecot_imap(*hidden: str) -> Iterator[Place]:
    with Dovecot(hide=hidden) as server:
        server.add_user("me", "secret")
        server.fill("me", MESSAGES)
        yield _imap(server)


def _dovecot_old() -> AbstractContextManager[Place]:
    """As a server of twenty years ago, but for UIDPLUS: without it nothing can be removed."""
    return _dovecot_imap(
        "QRESYNC", "CONDSTORE", "LIST-STATUS", "LIST-EXTENDED", "SPECIAL-USE", "NAMESPACE", "ID",
        "ENABLE", "ESEARCH", "MOVE", "LITERAL+", "SASL-IR", "UNSELECT", "COMPRESS=DEFLATE",
    )  # fmt: skip


@contextmanager
def _cyrus() -> Iterator[Place]:
    if reason := cyrus_available():
        lacking(reason)
    with Cyrus() as server:
        server.add_user("me", "secret")
        server.fill("me", MESSAGES)
        yield _imap(server)


def _imap(server: Dovecot | Cyrus) -> Place:
    def held() -> list[bytes]:
        with server.client("me") as other:
            return list(other.octets("INBOX").values())

    account = ImapAccount(
        protocol="imap",
        host="localhost",
        port=server.port.imaps,
        username="me",
        password=SecretStr("secret"),
        ca_file=server.ca_file,
    )
    return Place(account, "secret", held)


@contextmanager
def _demo() -> Iterator[Place]:
    with demo.serve(MESSAGES) as drop:
        account = Pop3Account(
            protocol="pop3",
            host="127.0.0.1",
            port=drop.port,
            tls="none",
            username=demo.USERNAME,
            password=SecretStr(demo.PASSWORD),
            allow_plaintext_auth=True,
        )
        yield Place(account, demo.PASSWORD, lambda: list(drop.messages))


Kind = Callable[[], AbstractContextManager[Place]]
KINDS: list[Kind] = [pytest.param(_dovecot, id="dovecot", marks=pytest.mark.live)]
KINDS += [pytest.param(_demo, id="demo")]
KINDS += [pytest.param(_dovecot_imap, id="imap-dovecot", marks=pytest.mark.live)]
KINDS += [pytest.param(_dovecot_old, id="imap-dovecot-old", marks=pytest.mark.live)]
KINDS += [pytest.param(_cyrus, id="imap-cyrus", marks=pytest.mark.live)]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with request.param() as one:
        yield one


def with_session(place: Place, work: Callable[[Session], Awaitable[T]], spill: Path) -> T:
    async def main() -> T:
        session = await open_session(
            place.account, Credentials(place.account.username, place.secret), spill
        )
        try:
            return await work(session)
        finally:
            await session.abort()

    return asyncio.run(main())


async def listing_of(session: Session) -> Listing:
    (mailbox,) = await session.mailboxes()
    listing = await session.list(mailbox)
    assert listing is not None
    assert listing.mailbox == mailbox
    return listing


def test_a_listing_names_every_message_once_and_lasts(place: Place, tmp_path: Path) -> None:
    first = with_session(place, listing_of, tmp_path)
    assert first.complete
    assert len({m.uid for m in first.messages}) == len(MESSAGES)
    assert [m.size for m in first.messages] == [len(m) for m in MESSAGES]
    again = with_session(place, listing_of, tmp_path)
    assert replace(again, digest=b"") == replace(first, digest=b"")
    if place.account.protocol == "pop3":  # IMAP's has the time in it
        assert again.digest == first.digest


def test_an_unchanged_listing_is_none(place: Place, tmp_path: Path) -> None:
    async def work(session: Session) -> None:
        (mailbox,) = await session.mailboxes()
        unchanged = await session.list(mailbox, digest)
        # Where changes are not counted, flags may be others: only a listing can tell.
        assert (unchanged is None) == session.facts.counts_changes
        assert await session.list(mailbox, b"other") is not None

    digest = with_session(place, listing_of, tmp_path).digest
    with_session(place, work, tmp_path)


def test_bodies_come_whole_and_in_the_order_asked(place: Place, tmp_path: Path) -> None:
    order = [4, 0, 6, 5]

    async def work(session: Session) -> list[bytes]:
        listing = await listing_of(session)
        wanted = [listing.messages[n] for n in order]
        arrivals = [one async for one in session.fetch(wanted)]
        if place.account.protocol == "pop3":  # an IMAP server may answer in any order
            assert [one.remote for one in arrivals] == wanted
        arrivals.sort(key=lambda one: wanted.index(one.remote))
        assert session.in_progress is None
        assert all(isinstance(one, Fetched) for one in arrivals)
        return [b"".join(one.body.chunks()) for one in arrivals]

    assert with_session(place, work, tmp_path) == [MESSAGES[n] for n in order]


def test_header_digests_are_those_of_the_bodies(place: Place, tmp_path: Path) -> None:
    async def work(session: Session) -> list[bytes]:
        listing = await listing_of(session)
        return [h.digest async for h in session.headers(listing.messages)]

    assert with_session(place, work, tmp_path) == [header_digest(header_of(m)) for m in MESSAGES]


def test_nothing_asked_is_nothing_done(place: Place, tmp_path: Path) -> None:
    async def work(session: Session) -> frozenset[bytes]:
        await listing_of(session)
        assert [one async for one in session.fetch([])] == []
        assert [one async for one in session.headers([])] == []
        await session.retire([])
        await session.keep_alive()
        return await session.close()

    assert with_session(place, work, tmp_path) == frozenset()
    assert len(place.held()) == len(MESSAGES)


def test_what_is_retired_is_gone_when_close_says_so(place: Place, tmp_path: Path) -> None:
    async def work(session: Session) -> bool:
        listing = await listing_of(session)
        removed = await session.retire(listing.messages[2:5])
        return removed.uids | await session.close() == {m.uid for m in listing.messages[2:5]}

    assert with_session(place, work, tmp_path)
    assert place.held() == MESSAGES[:2] + MESSAGES[5:]


def test_abort_removes_nothing_but_what_was_confirmed(place: Place, tmp_path: Path) -> None:
    async def work(session: Session) -> list[bytes]:
        messages = (await listing_of(session)).messages
        removed = await session.retire(messages)
        await session.abort()
        return [o for m, o in zip(messages, MESSAGES, strict=True) if m.uid not in removed.uids]

    left = with_session(place, work, tmp_path)
    assert place.held() == left


def test_an_abandoned_fetch_does_not_disturb_what_follows(place: Place, tmp_path: Path) -> None:
    async def work(session: Session) -> bytes:
        listing = await listing_of(session)
        arrivals = session.fetch(listing.messages)
        await anext(arrivals)
        await arrivals.aclose()
        (again,) = [one async for one in session.fetch(listing.messages[3:4])]
        assert isinstance(again, Fetched)
        return b"".join(again.body.chunks())

    assert with_session(place, work, tmp_path) == MESSAGES[3]


def test_messages_of_another_session_are_refused(place: Place, tmp_path: Path) -> None:
    async def work(session: Session) -> None:
        with pytest.raises(LocalProtocolError):
            [one async for one in session.fetch(listing.messages)]

    listing = with_session(place, listing_of, tmp_path)
    with_session(place, work, tmp_path)


def test_what_the_owner_finds_too_large_is_unavailable(place: Place, tmp_path: Path) -> None:
    async def work(session: Session) -> list[bool]:
        listing = await listing_of(session)
        arrivals = [one async for one in session.fetch(listing.messages)]
        return [isinstance(one, Unavailable) and one.oversize for one in arrivals]

    account = place.account.model_copy(update={"max_message_size": 4500})
    limited = Place(account, place.secret, place.held)
    assert with_session(limited, work, tmp_path) == [False] * 4 + [True] * 3


def test_facts_are_told(place: Place, tmp_path: Path) -> None:
    async def work(session: Session) -> None:
        assert session.facts.unique_ids
        assert session.facts.can_preview
        assert session.facts.pipelining
        told = "UIDL" if place.account.protocol == "pop3" else "IMAP4REV1"
        assert told in session.facts.capabilities
        assert bool(session.facts.tls) == (place.account.tls == "implicit")

    with_session(place, work, tmp_path)


def test_a_wrong_password_is_the_owners_business(place: Place, tmp_path: Path) -> None:
    with pytest.raises(AuthenticationFailed):
        asyncio.run(
            open_session(place.account, Credentials(place.account.username, "wrong"), tmp_path)
        )


def test_no_password_goes_over_a_plaintext_line_unless_allowed(
    place: Place, tmp_path: Path
) -> None:
    account = place.account.model_copy(update={"tls": "none", "allow_plaintext_auth": False})
    with pytest.raises(PlaintextRefused, match="allow_plaintext_auth = true"):
        asyncio.run(open_session(account, Credentials(account.username, place.secret), tmp_path))
