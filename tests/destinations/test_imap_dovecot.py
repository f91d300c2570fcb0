"""APPEND to a real server: octets, flags, dates, names, quota, and lines cut anywhere."""

import asyncio
import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fetchd.contracts import Body, Outgoing, Settled
from fetchd.destinations.imap_courier import ImapCourier
from fetchd.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    FetchdError,
    MailboxUnavailable,
    TlsFailed,
)
from fetchd.message import examine
from fetchd.values import replace
from tests import corpus
from tests.destinations.imap_sites import (
    PASSWORD,
    carry,
    letter,
    mail,
    outcomes,
    probed,
    site,
    visit,
)
from tests.pipeline.test_imap import ODD
from tests.servers.dovecot import Dovecot
from tests.servers.mail import Served, digest
from tests.servers.proxy import Proxy

pytestmark = pytest.mark.live

NOW = datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)
FLAGS = ("", "\\Seen", "\\Flagged \\Seen", "\\Answered", "\\Draft", "$Forwarded \\Seen")
QUOTA = """
protocol imap {
  mail_plugins = $mail_plugins imap_zlib quota
}
plugin {
  quota = count:User
  quota_vsizes = yes
  quota_rule = *:storage=20K
}
"""
READ_ONLY = """
protocol imap {
  mail_plugins = $mail_plugins imap_zlib acl
}
plugin {
  acl = vfile:%s
}
"""

_numbers = itertools.count()


@pytest.fixture(scope="module")
def slashed() -> Iterator[Dovecot]:
    with Dovecot(separator="/", odd_names=True) as server:
        yield server
        assert server.complaints() == []


@pytest.fixture(scope="module")
def dotted() -> Iterator[Dovecot]:
    with Dovecot(separator=".", prefix="INBOX.", odd_names=True) as server:
        yield server
        assert server.complaints() == []


@pytest.fixture
def user(slashed: Dovecot, dotted: Dovecot) -> str:
    name = f"append{next(_numbers)}"
    for server in (slashed, dotted):
        server.add_user(name, PASSWORD)
    return name


def items(count: int, seed: int = 1, **more: object) -> list[Outgoing]:
    """Deliveries of mail as people have it, with flags and dates in turn."""
    octets = corpus.realistic(count, total=1_500_000, seed=seed)
    return [
        letter(n, data, flags=FLAGS[n % len(FLAGS)], arrived=NOW - timedelta(hours=n), **more)
        for n, data in enumerate(octets, 1)
    ]


def as_served(item: Outgoing) -> Served:
    """What another client has to find; Dovecot makes every line end a CRLF."""
    data = b"".join(item.body.chunks())
    assert item.arrived is not None
    return Served(digest(data), frozenset(item.flags.split()), item.arrived.replace(microsecond=0))


def plain(made: list[Outgoing]) -> list[Outgoing]:
    """Without those whose octets Dovecot itself changes: line ends, and NUL."""
    return [
        one
        for one in made
        if not re.search(rb"\0|(?<!\r)\n|\r(?!\n)|[^\n]\Z", one.body.data or b"")
    ]


@pytest.fixture
def found(slashed: Dovecot, user: str) -> Callable[..., list[Served]]:
    def look(mailbox: str = "INBOX", server: Dovecot | None = None) -> list[Served]:
        with (server or slashed).client(user) as client:
            if mailbox not in client.mailboxes():
                return []
            return [one for _, one in sorted(client.served(mailbox).items())]

    return look


# -- The same there as here -------------------------------------------------------------------


@pytest.mark.parametrize("hide", [(), ("MULTIAPPEND",), ("LITERAL+",)])
def test_octets_flags_dates_and_order_are_kept(hide: tuple[str, ...]) -> None:
    whole = plain(items(60))
    assert len(whole) > 40
    with Dovecot(hide=hide) as server:
        server.add_user("me", PASSWORD)
        settled = carry(site(server.port.imap, "me"), *whole)
        assert outcomes(settled) == ["delivered"] * len(whole)
        with server.client("me") as client:
            there = [one for _, one in sorted(client.served("INBOX").items())]
    assert there == [as_served(one) for one in whole]


def test_what_was_delivered_is_new_to_the_next_program(
    slashed: Dovecot, user: str, found: Callable[..., list[Served]]
) -> None:
    """\\Recent is not taken off it, not by keywords and not by a look for doubtful ones."""
    carry(
        site(slashed.port.imap, user),
        letter(1),
        letter(2, flags="mine"),
        letter(3, doubtful=True),
    )
    with slashed.client(user) as client:
        assert client.status("INBOX", "RECENT") == 3
    assert len(found()) == 3


def test_a_large_message_in_a_file_arrives_as_it_is(
    slashed: Dovecot, user: str, found: Callable[..., list[Served]], tmp_path: Path
) -> None:
    (data,) = corpus.large(1, size=12_000_000)
    file = tmp_path / "body"
    file.write_bytes(data)
    item = replace(letter(1, data), body=Body(len(data), path=file))
    assert outcomes(carry(site(slashed.port.imap, user), letter(2), item)) == ["delivered"] * 2
    assert [one.digest for one in found()] == [digest(mail(2)), digest(data)]


def test_nul_goes_as_literal8(
    slashed: Dovecot, user: str, found: Callable[..., list[Served]]
) -> None:
    """What Dovecot makes of it (it has no place for a NUL) is found again all the same."""
    item = letter(1, mail(1, fill=b"\0"))
    carrier = site(slashed.port.imap, user)
    assert outcomes(carry(carrier, item)) == ["delivered"]
    (again,) = carry(carrier, replace(item, doubtful=True))
    assert again.reply == "found there"
    assert len(found()) == 1


# -- Names --------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["slashed", "dotted"])
def test_each_source_mailbox_has_its_own_there(
    layout: str, slashed: Dovecot, dotted: Dovecot, user: str
) -> None:
    server = slashed if layout == "slashed" else dotted
    accounts = ("work", "a/b", "Würfel & Co.")
    made = [
        letter(n, account=account, mailbox=name)
        for n, (account, name) in enumerate(itertools.product(accounts, ODD))
    ]
    carrier = site(server.port.imap, user, mailbox="All/{account}/{mailbox}")
    settled = [one for at in range(0, len(made), 50) for one in carry(carrier, *made[at : at + 50])]
    assert outcomes(settled) == ["delivered"] * len(made)
    there = {name for name, box in server.served_imap(user).items() if box}
    assert len(there) == len(made)
    clear = [name for name in ODD if "%" not in name]  # which fetchd would write otherwise
    if layout == "slashed":
        assert {f"All/work/{name}" for name in clear} <= there
    else:
        dots = (name.replace(".", "_").replace("/", ".") for name in clear)
        assert {f"INBOX.All.work.{name}" for name in dots} <= there
    again = [
        one
        for at in range(0, len(made), 50)
        for one in carry(carrier, *(replace(m, doubtful=True) for m in made[at : at + 50]))
    ]
    assert {one.reply for one in again} == {"found there"}


@pytest.mark.parametrize("mailbox", ["\\Archive", "\\Sent"])
@pytest.mark.parametrize("layout", ["slashed", "dotted"])
def test_a_role_leads_to_its_mailbox(
    mailbox: str, layout: str, slashed: Dovecot, dotted: Dovecot, user: str
) -> None:
    server = slashed if layout == "slashed" else dotted
    carrier = site(server.port.imap, user, mailbox=mailbox)
    assert outcomes(carry(carrier, letter(1))) == ["delivered"]
    assert outcomes(carry(carrier, letter(2))) == ["delivered"]
    name = mailbox.removeprefix("\\")
    (there,) = [n for n, box in server.served_imap(user).items() if len(box) == 2]
    assert there == (f"INBOX.{name}" if layout == "dotted" else name)
    assert probed(carrier)["mailbox"] == name


def test_a_new_mailbox_is_subscribed(slashed: Dovecot, user: str) -> None:
    carry(site(slashed.port.imap, user, mailbox="Kept/new"), letter(1))
    assert "Kept/new" in slashed.doveadm("mailbox", "list", "-s", "-u", user).splitlines()


# -- What is refused -------------------------------------------------------------------------


def test_a_full_mailbox_defers_what_does_not_fit_and_takes_the_rest() -> None:
    sizes = [100, 30_000, 200, 40_000, 300]
    made = [letter(n, mail(n, size)) for n, size in enumerate(sizes)]
    with Dovecot(extra=QUOTA) as server:
        server.add_user("me", PASSWORD)
        settled = carry(site(server.port.imap, "me"), *made)
        assert outcomes(settled) == ["delivered", "deferred", "delivered", "deferred", "delivered"]
        assert "no room" in settled[1].reply.lower()
        assert len(server.served_imap("me")["INBOX"]) == 3


@pytest.fixture
def shut() -> Iterator[Dovecot]:
    """A server on which a mailbox "Shut" may be looked at and read, no more."""
    with tempfile.TemporaryDirectory() as acls:
        rule = Path(acls, "Shut")
        rule.write_text("owner lr\n")
        rule.chmod(0o644)
        rule.parent.chmod(0o755)
        with Dovecot(separator="/", extra=READ_ONLY % acls) as server:
            server.add_user("me", PASSWORD)
            server.fill("me", [mail(9)], mailbox="Shut")
            yield server


def test_a_mailbox_that_may_only_be_read_defers_and_the_others_go_on(shut: Dovecot) -> None:
    settled = carry(site(shut.port.imap, "me"), letter(1, folder="Shut"), letter(2))
    assert outcomes(settled) == ["deferred", "delivered"]
    assert "'Shut'" in settled[0].reply
    with pytest.raises(MailboxUnavailable, match="Shut"):
        probed(site(shut.port.imap, "me", mailbox="Shut"))
    assert len(shut.served_imap("me")["Shut"]) == 1


def test_a_wrong_password_and_an_unknown_certificate_are_told(slashed: Dovecot, user: str) -> None:
    with pytest.raises(AuthenticationFailed):
        carry(site(slashed.port.imap, user, "wrong"), letter(1))
    with pytest.raises(TlsFailed):
        carry(site(slashed.port.imaps, user, tls="implicit"), letter(1))
    secure = site(
        slashed.port.imap, user, tls="starttls", ca_file=slashed.ca_file,
        allow_plaintext_auth=False, host="localhost",
    )  # fmt: skip
    assert "tls" in probed(secure)
    assert outcomes(carry(secure, letter(1))) == ["delivered"]


# -- Broken lines -----------------------------------------------------------------------------


def test_a_line_cut_anywhere_puts_nothing_twice(slashed: Dovecot, user: str) -> None:
    """At each octet of the server's in turn; what is deferred is tried once more."""
    made = [letter(n, mail(n, 50 * n), folder=f"Box{n % 2}") for n in range(1, 7)]
    wanted = Counter(item.digest.hex() for item in made)
    with Proxy(slashed.host, slashed.port.imap) as proxy:
        carry(site(proxy.port, user), *made)
        whole, doubts = proxy.octets, 0
        for cut in range(whole - 400, whole, 7):
            slashed.add_user(f"{user}-{cut}", PASSWORD)
            carrier = site(proxy.port, f"{user}-{cut}")
            proxy.cut_after = cut
            try:
                settled = carry(carrier, *made)
            except ConnectionFailed:
                settled = [Settled(item.id, "deferred") for item in made]  # type: ignore[arg-type]
            proxy.cut_after = None
            doubts += sum(one.doubtful for one in settled)
            left = [
                replace(item, doubtful=True)
                for item, one in zip(made, settled, strict=True)
                if one.outcome == "deferred"
            ]
            if left:
                assert outcomes(carry(carrier, *left)) == ["delivered"] * len(left)
            boxes = slashed.served_imap(f"{user}-{cut}").values()
            assert Counter(one.digest for box in boxes for one in box.values()) == wanted, cut
        assert doubts  # some cuts were between the last octet and the answer


def test_what_was_put_before_the_process_died_is_found(
    slashed: Dovecot, user: str, found: Callable[..., list[Served]]
) -> None:
    made = items(40)
    carry(site(slashed.port.imap, user), *made[:25])
    settled = carry(site(slashed.port.imap, user), *(replace(m, doubtful=True) for m in made))
    assert [one.reply == "found there" for one in settled] == [True] * 25 + [False] * 15
    assert len(found()) == 40


def test_a_server_that_restarts_between_two_calls_is_noticed_with_nothing_accepted() -> None:
    with Dovecot() as server:
        server.add_user("me", PASSWORD)

        async def work(courier: ImapCourier) -> None:
            assert outcomes(await courier.carry([letter(1)])) == ["delivered"]
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(server.start)
            for _ in range(2):
                with pytest.raises(FetchdError):
                    await courier.carry([letter(2)])

        carrier = site(server.port.imap, "me")
        visit(carrier, work)
        assert outcomes(carry(carrier, letter(2))) == ["delivered"]
        assert len(server.served_imap("me")["INBOX"]) == 2


def test_several_connections_at_once_put_each_message_once(slashed: Dovecot, user: str) -> None:
    """All create the same mailbox at the same moment."""
    carrier = site(slashed.port.imap, user, mailbox="Kept/{account}", max_connections=4)

    async def main() -> list[list[Settled]]:
        couriers = [await carrier.open() for _ in range(4)]
        try:
            return await asyncio.gather(
                *(
                    courier.carry([letter(10 * n + m, account="work") for m in range(5)])
                    for n, courier in enumerate(couriers)
                )
            )
        finally:
            for courier in couriers:
                await courier.close()

    for settled in asyncio.run(main()):
        assert outcomes(settled) == ["delivered"] * 5
    assert len(slashed.served_imap(user)["Kept/work"]) == 20


def test_no_arrival_date_is_taken_from_the_message(slashed: Dovecot, user: str) -> None:
    data = b"Received: from a by b; Sun, 01 Mar 2026 12:30:15 +0000\r\n" + mail(1)
    carry(site(slashed.port.imap, user), letter(1, data))
    with slashed.client(user) as client:
        (one,) = client.served("INBOX").values()
    assert one.date == examine([data])[2] == NOW
