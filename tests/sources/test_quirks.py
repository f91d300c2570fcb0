"""The POP3 lines of protocol-quirks.md, one test or more for each: q01 to q28.

On Dovecot where it can be brought to it, else on a scripted server.
"""

import asyncio
import hashlib
import re
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fetchd.clients.stream import TlsMode, TlsSettings
from fetchd.contracts import Credentials, Fetched, Unavailable
from fetchd.errors import (
    AccountRefused,
    ArchiveError,
    AuthenticationFailed,
    ConnectionFailed,
    FetchdError,
    LocalProtocolError,
    RemoteProtocolError,
    ServerUnavailable,
    TlsFailed,
)
from fetchd.message import header_digest, header_of
from fetchd.policy.plan import Listing
from fetchd.sources.pop3 import MAILBOX, Pop3Session, open_pop3
from tests.servers.certificates import Authority
from tests.servers.dovecot import Dovecot
from tests.servers.proxy import Proxy
from tests.servers.scripted_pop3 import (
    CAPABILITIES,
    HANG_UP,
    SILENCE,
    Drip,
    Endless,
    ScriptedPop3,
    Turns,
    server_context,
)
from tests.sources.opening import PASSWORD, access, bodies, content, opened, visit, whole

MESSAGES = [b"Subject: %d\r\n\r\nbody %d\r\n" % (n, n) for n in range(1, 5)]
HEADERS = [header_digest(header_of(m)).hex().encode() for m in MESSAGES]
NO_UIDL = {"UIDL": b"-ERR unknown command\r\n"}
BARE = {"capabilities": None, "answers": NO_UIDL}  # RFC 1939 as it was first understood


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot() as server:
        yield server


def maildrop(server: Dovecot, user: str, messages: list[bytes] = MESSAGES) -> dict[str, object]:
    """A user with mail; how to visit it."""
    server.add_user(user, PASSWORD)
    server.fill(user, messages)
    return {"port": server.port.pop3, "user": user}


def uids(port: int, **changes: object) -> list[bytes]:
    async def work(session: Pop3Session) -> list[bytes]:
        return [m.uid for m in (await whole(session)).messages]

    return visit(port, work, **changes)


def failure(server: ScriptedPop3, **changes: object) -> FetchdError:
    """What a visit that lists and fetches everything comes to."""
    with pytest.raises(FetchdError) as raised:
        visit(server.port, bodies, **changes)
    return raised.value


# -- 1 to 6: who is a message? ---------------------------------------------------


@pytest.mark.live
def test_q01_numbers_of_an_earlier_session_are_refused(dovecot: Dovecot) -> None:
    place = maildrop(dovecot, "q01")
    first = visit(work=whole, **place)
    dovecot.expunge("q01", [1])

    async def work(session: Pop3Session) -> list[bytes]:
        listing = await whole(session)
        with pytest.raises(LocalProtocolError, match="not listed in this session"):
            [one async for one in session.fetch(first.messages[1:2])]
        return [m.uid for m in listing.messages]

    assert visit(work=work, **place) == [m.uid for m in first.messages[1:]]


def test_q02_unique_ids_are_opaque_and_an_empty_one_is_none() -> None:
    tokens = [b"z" * 900, b"two words", b"\xff\xfe", b""]
    with ScriptedPop3(MESSAGES, uidls=tokens) as server:
        assert uids(server.port) == [*tokens[:3], b"header:" + HEADERS[3]]


@pytest.mark.live
def test_q03_messages_with_one_unique_id_are_told_apart_and_never_deleted() -> None:
    twins = [MESSAGES[0], MESSAGES[1], MESSAGES[1]]
    with Dovecot(uidl_format="%v") as server:
        place = maildrop(server, "q03", twins)

        async def work(session: Pop3Session) -> list[bytes | str]:
            listing = await whole(session)
            token = server.uidls("q03")[0]
            names = [b"%b\0%b" % (token, HEADERS[n]) for n in (0, 1, 1)]
            assert [m.uid for m in listing.messages] == [*names[:2], names[2] + b"\x002"]
            assert all(m.ambiguous for m in listing.messages)
            await session.retire(listing.messages)
            assert await session.close() == frozenset()
            return names

        first = visit(work=work, **place)
        assert first == visit(work=work, **place), "the names last"
        assert len(server.uidls("q03")) == 3


def test_q04_a_unique_id_given_out_again_shows_by_the_header() -> None:
    async def digests(session: Pop3Session) -> list[str]:
        listing = await whole(session)
        return [h.digest.hex() async for h in session.headers(listing.messages)]

    with ScriptedPop3([MESSAGES[0]], uidls=[b"a"]) as server:
        first = visit(server.port, digests)
        server.messages[0] = MESSAGES[1]
        assert uids(server.port) == [b"a"]
        assert [first, visit(server.port, digests)] == [[h.decode()] for h in HEADERS[:2]]


@pytest.mark.parametrize(
    ("top", "kind", "asked"),
    [
        (None, b"header:", 4),
        (b"-ERR unknown command\r\n", b"content:", 1),  # and is asked no more
        (b"-ERR no\r\n", b"content:", 4),
    ],
)
def test_q05_without_uidl_the_header_names_and_without_top_the_content(
    top: bytes | None, kind: bytes, asked: int
) -> None:
    answers = NO_UIDL | ({"TOP": top} if top else {})
    with ScriptedPop3(MESSAGES, capabilities=None, answers=answers) as server:

        async def work(session: Pop3Session) -> tuple[list[bytes], bytes]:
            listing = await whole(session)
            assert not session.facts.unique_ids
            assert listing.complete
            assert not any(m.ambiguous for m in listing.messages)
            assert await session.list(MAILBOX, listing.digest) is None
            return [m.uid for m in listing.messages], listing.digest

        names, digest = visit(server.port, work)
        assert server.verbs().count("TOP") <= 2 * asked
        assert visit(server.port, work) == (names, digest)
        digests = HEADERS if kind == b"header:" else [
            hashlib.sha256(m).hexdigest().encode() for m in MESSAGES
        ]  # fmt: skip
        assert names == [kind + digest for digest in digests]
        assert visit(server.port, bodies) == MESSAGES


def test_q05_identical_messages_without_uidl_are_numbered_and_ambiguous() -> None:
    with ScriptedPop3([MESSAGES[0], MESSAGES[0], MESSAGES[1]], **BARE) as server:
        listing = visit(server.port, whole)
        one, two = (b"header:" + h for h in HEADERS[:2])
        assert [m.uid for m in listing.messages] == [one, one + b"\x002", two]
        assert [m.ambiguous for m in listing.messages] == [True, True, False]


@pytest.mark.parametrize("code", [b"[SYS/TEMP] disk", b"mailbox is locked", b"try again later"])
@pytest.mark.parametrize("verb", ["STAT", "UIDL", "LIST"])
def test_q05_a_listing_refused_for_now_is_no_missing_uidl(verb: str, code: bytes) -> None:
    with ScriptedPop3(MESSAGES, answers={verb: b"-ERR " + code + b"\r\n"}) as server:
        assert isinstance(failure(server), ServerUnavailable)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        # the server's words                             the uids; "4" is what its header names
        ({"STAT": b"+OK 5 100\r\n"}, "u1 u2 u3 u4"),  # counts one that it does not list
        ({"STAT": b"+OK\r\n"}, "u1 u2 u3 u4"),  # counts nothing
        ({"UIDL": b"+OK\r\n4 u4\r\n2 u2\r\n1 u1\r\n.\r\n"}, "u1 u2 3 u4"),  # one is missing
        ({"UIDL": b"+OK\r\n1 u1\r\n2 u2\r\n3 u3\r\n3 u9\r\n.\r\n"}, "u1 u2 u9 4"),  # one twice
        ({"UIDL": b"+OK\r\n1 u1\r\n2 u2\r\nx\r\n4 u4\r\n.\r\n"}, "u1 u2 3 u4"),  # one garbled
        ({"LIST": b"+OK\r\n1 29\r\n2 29\r\n.\r\n"}, "u1 u2 u3 u4"),  # truncated
        ({"LIST": b"-ERR no\r\n"}, "u1 u2 u3 u4"),  # refused
    ],
)
def test_q06_contradictory_listings_lose_nothing_and_prove_no_absence(
    changed: dict[str, bytes], found: str
) -> None:
    answers = {"UIDL": b"+OK\r\n1 u1\r\n2 u2\r\n3 u3\r\n4 u4\r\n.\r\n"} | changed
    with ScriptedPop3(MESSAGES, answers=answers) as server:
        listing = visit(server.port, whole)
        names = {f"{n}".encode(): b"header:" + h for n, h in enumerate(HEADERS, 1)}
        assert [m.uid for m in listing.messages] == [
            names.get(one, one) for one in found.encode().split()
        ]
        assert not listing.complete
        assert [m.ambiguous for m in listing.messages] == [one.isdigit() for one in found.split()]
        assert visit(server.port, bodies) == MESSAGES


def test_q06_lines_out_of_order_are_taken_by_their_numbers() -> None:
    answers = {"UIDL": b"+OK\r\n3 c\r\n1 a\r\n4 d\r\n2 b\r\n.\r\n"}
    with ScriptedPop3(MESSAGES, answers=answers) as server:
        listing = visit(server.port, whole)
        assert [(m.number, m.uid) for m in listing.messages] == [
            (1, b"a"), (2, b"b"), (3, b"c"), (4, b"d"),
        ]  # fmt: skip
        assert listing.complete


# -- 7 to 11: octets ---------------------------------------------------------------


def test_q07_odd_spaces_and_bare_line_feeds_are_read() -> None:
    odd = {
        "greeting": b"+OK\n",
        "CAPA": b"+OK\nTOP\nUIDL \n.\n",
        "USER": b"+OK\n",
        "PASS": b"+OK\n",
        "STAT": b"+OK  4  100 \n",
        "UIDL": b"+OK\n1   a \n 2 b\n3\tc\n4 d\t\n.\n",
        "LIST": b"+OK\n1  29 \n2 29\n3 29\n4 29\n.\n",
    }
    with ScriptedPop3(MESSAGES, answers=odd) as server:
        listing = visit(server.port, whole)
        assert [(m.uid, m.size) for m in listing.messages] == [
            (b"a", 29), (b"b", 29), (b"c", 29), (b"d", 29),
        ]  # fmt: skip


DOTTED = [
    b".Subject: a dot that Dovecot does not stuff\r\n",
    b"Subject: dots\r\n\r\n.\r\n..\r\n...\r\n.a\r\n \r\n.\r\n",
    b"Subject: bare LF\r\n\r\na\n.\nb\n..\nc\r\n",
    b"Subject: bare CR\r\n\r\na\r.\rb\r\r\n.\r\n",
    b"Subject: NUL and 8 bit\r\n\r\n\0\xff\xfe\0\r\n" + b"x" * 20_000 + b"\r\n",
]


@pytest.mark.live
def test_q08_dots_come_back_as_they_were_sent(dovecot: Dovecot) -> None:
    place = maildrop(dovecot, "q08", DOTTED)
    assert visit(work=bodies, **place) == dovecot.served("q08")


def test_q08_a_dot_between_bare_line_feeds_ends_nothing() -> None:
    wire = b"a\n.\nb\r.\r\n..stuffed\r\n.unstuffed\r\n"
    with ScriptedPop3([b"x\r\n"], answers={"RETR": b"+OK\r\n" + wire + b".\r\n"}) as server:
        assert visit(server.port, bodies) == [b"a\n.\nb\r.\r\n.stuffed\r\n.unstuffed\r\n"]


@pytest.mark.live
def test_q08_a_first_line_of_one_dot_is_not_taken_for_an_empty_message(dovecot: Dovecot) -> None:
    place = maildrop(dovecot, "q08-first", [b".\r\nSubject: x\r\n\r\nlost?\r\n", MESSAGES[0]])

    async def work(session: Pop3Session) -> str | bytes:
        arrivals = session.fetch((await whole(session)).messages)
        refused = content(await anext(arrivals))
        with pytest.raises(RemoteProtocolError, match="not a POP3 reply"):
            await anext(arrivals)
        return refused

    assert visit(work=work, **place) == "came empty, though listed with 24 octets"


@pytest.mark.live
def test_q09_a_missing_last_line_end_is_the_servers_business(dovecot: Dovecot) -> None:
    place = maildrop(dovecot, "q09", [b"Subject: x\r\n\r\nno end", b"", b"a"])
    fetched = visit(work=bodies, **place)
    assert fetched == dovecot.served("q09")
    assert fetched[0] == b"Subject: x\r\n\r\nno end\r\n"


@pytest.mark.parametrize("size", [0, 1, 10**6, 10**9])
def test_q10_a_listed_size_proves_nothing(size: int) -> None:
    answers = {
        "LIST": b"+OK\r\n" + b"".join(b"%d %d\r\n" % (n, size) for n in range(1, 5)) + b".\r\n"
    }
    with ScriptedPop3(MESSAGES, answers=answers) as server:
        assert visit(server.port, bodies) == MESSAGES


def test_q10_ten_gigabytes_announced_are_not_asked_for() -> None:
    answers = {
        "LIST": b"+OK\r\n1 10000000000\r\n2 9\r\n3 9\r\n4 9\r\n.\r\n",
        "RETR 2": b"+OK 10000000000 octets\r\n" + MESSAGES[1] + b".\r\n",
    }
    with ScriptedPop3(MESSAGES, answers=answers) as server:
        refused, *rest = visit(server.port, bodies)
        assert refused == "announced with 10000000000 octets: nobody's mail"
        assert rest == MESSAGES[1:]
        assert "RETR 1" not in server.heard


def test_q11_top_may_be_refused_truncated_or_give_everything() -> None:
    long = b"Subject: x\r\n\r\n" + b"y" * 100_000 + b"\r\n"
    answers = {
        "TOP 1 0": b"-ERR no such message\r\n",
        "TOP 2 0": b"+OK\r\n" + MESSAGES[1] + b".\r\n",  # the body, too
        "TOP 3 0": b"+OK\r\nSubject: 3\r\n.\r\n",  # without the empty line
    }
    with ScriptedPop3([*MESSAGES[:3], long], answers=answers) as server:

        async def work(session: Pop3Session) -> dict[int, bytes]:
            listing = await whole(session)
            return {h.remote.number: h.digest async for h in session.headers(listing.messages)}

        digests = visit(server.port, work)
        assert {n: d.hex().encode() for n, d in digests.items()} == {
            2: HEADERS[1], 3: HEADERS[2], 4: header_digest(header_of(long)).hex().encode(),
        }  # fmt: skip
        assert visit(server.port, bodies) == [*MESSAGES[:3], long]
        assert "TOP" not in server.verbs()[-5:], "bodies come by RETR"


# -- 12 to 16: leaving ---------------------------------------------------------------


@pytest.mark.live
def test_q12_what_was_deleted_is_gone_only_after_quit(dovecot: Dovecot) -> None:
    place = maildrop(dovecot, "q12")

    async def work(session: Pop3Session, quits: bool) -> frozenset[bytes]:
        listing = await whole(session)
        await session.retire(listing.messages[:2])
        if not quits:
            await session.abort()
            return frozenset()
        return await session.close()

    before = uids(**place)
    visit(work=lambda s: work(s, quits=False), **place)
    assert dovecot.uidls("q12") == before
    assert visit(work=lambda s: work(s, quits=True), **place) == frozenset(before[:2])
    assert dovecot.uidls("q12") == before[2:]


async def retire_all(session: Pop3Session) -> frozenset[bytes]:
    await session.retire((await whole(session)).messages)
    return await session.close()


def test_q13_rset_is_never_sent() -> None:
    with ScriptedPop3(MESSAGES) as server:
        assert visit(server.port, retire_all) == {b"uid-1", b"uid-2", b"uid-3", b"uid-4"}
        assert visit(server.port, bodies) == []
        assert "RSET" not in server.verbs()


@pytest.mark.parametrize(
    ("answers", "confirmed"),
    [
        ({"QUIT": b"-ERR some deleted messages not removed\r\n"}, set()),
        ({"QUIT": HANG_UP}, set()),
        ({"QUIT": b"what?\r\n"}, set()),
        ({"DELE 2": b"-ERR\r\n"}, {b"uid-1", b"uid-3", b"uid-4"}),
        ({"DELE 2": b"-ERR\r\n", "QUIT": b"+OK\r\n"}, {b"uid-1", b"uid-3", b"uid-4"}),
    ],
)
def test_q14_only_what_dele_and_quit_confirmed_is_gone(answers: dict, confirmed: set) -> None:
    with ScriptedPop3(MESSAGES, answers=answers) as server:
        assert visit(server.port, retire_all) == confirmed


@pytest.mark.parametrize(
    ("said", "days"),
    [("EXPIRE 0", 0), ("EXPIRE 30 USER", 30), ("EXPIRE NEVER", None), ("TOP", None),
     ("EXPIRE 99999999999999", 100_000)],
)  # fmt: skip
def test_q15_expire_is_kept_with_the_account(said: str, days: int | None) -> None:
    with ScriptedPop3(inside=(*CAPABILITIES, said)) as server:

        async def facts(session: Pop3Session) -> int | None:
            return session.facts.expire_days

        assert visit(server.port, facts) == days


def test_q15_what_the_server_deletes_by_itself_is_kept_even_if_too_large() -> None:
    large = b"Subject: x\r\n\r\n" + b"y" * 1000 + b"\r\n"
    answers = {"LIST": b"+OK\r\n1 100\r\n.\r\n"}
    with ScriptedPop3([large], answers=answers) as server:
        said = "larger than max_message_size (200 octets)"
        assert visit(server.port, bodies, max_message_size=200) == [said]
        server.inside = (*CAPABILITIES, "EXPIRE 0")
        assert visit(server.port, bodies, max_message_size=200) == [large]


@pytest.mark.parametrize(
    ("greeting", "said", "partial"),
    [
        (b"+OK Gpop ready for requests from 192.0.2.1 a1mb1\r\n", CAPABILITIES, True),
        (b"+OK ready\r\n", (*CAPABILITIES, "X-GOOGLE-RICO"), True),
        (b"+OK ready\r\n", CAPABILITIES, False),
    ],
)
def test_q16_gmail_shows_a_part_and_what_is_absent_is_not_gone(
    greeting: bytes, said: tuple[str, ...], partial: bool
) -> None:
    with ScriptedPop3(MESSAGES, capabilities=said, answers={"greeting": greeting}) as server:

        async def work(session: Pop3Session) -> tuple[bool, bool]:
            return session.facts.partial_listings, (await whole(session)).partial

        assert visit(server.port, work, user="recent:me@gmail.com") == (partial, partial)
        assert "USER recent:me@gmail.com" in server.heard


# -- 17 to 19: what an -ERR means -------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "extra", "kind", "wait"),
    [
        # the reply to PASS                     announced            what it is          seconds
        ("[IN-USE] locked", (), ServerUnavailable, None),  # q17
        ("[in-use/x] locked", (), ServerUnavailable, None),  # RFC 2449 §8: subcodes
        ("[LOGIN-DELAY] too soon", ("LOGIN-DELAY 300",), ServerUnavailable, 300),  # q18
        ("[LOGIN-DELAY] too soon", ("LOGIN-DELAY 900 USER",), ServerUnavailable, 900),
        ("[LOGIN-DELAY] too soon", (), ServerUnavailable, None),
        ("[SYS/TEMP] disk", (), ServerUnavailable, None),  # q19
        ("[SYS/PERM] account closed", (), AccountRefused, None),
        ("[AUTH] wrong password", ("AUTH-RESP-CODE",), AuthenticationFailed, None),
        ("wrong password", (), AuthenticationFailed, None),
        ("wrong password", ("AUTH-RESP-CODE",), ServerUnavailable, None),  # RFC 3206 §6
        ("", (), AuthenticationFailed, None),
        ("maildrop already locked", (), ServerUnavailable, None),
        ("too many connections, try again later", (), ServerUnavailable, None),
        ("User is authenticated but not connected.", (), ServerUnavailable, None),
    ],
)
def test_q17_q18_q19_refused_logins_are_sorted(
    text: str, extra: tuple[str, ...], kind: type[FetchdError], wait: int | None
) -> None:
    said = (*CAPABILITIES, *extra)
    answer = f"-ERR {text}".strip().encode() + b"\r\n"
    with ScriptedPop3(capabilities=said, answers={"PASS": answer}) as server:
        error = failure(server)
        assert type(error) is kind
        assert text in str(error)
        if isinstance(error, ServerUnavailable):
            assert error.wait == (timedelta(seconds=wait) if wait else None)
        assert server.verbs().count("PASS") == 1, "a refused password is not said twice"


def test_q18_the_delay_may_differ_after_the_login() -> None:
    said = (*CAPABILITIES, "LOGIN-DELAY 900 USER")
    with ScriptedPop3(capabilities=said, inside=(*CAPABILITIES, "LOGIN-DELAY 60")) as server:

        async def delay(session: Pop3Session) -> int | None:
            return session.facts.login_delay

        assert visit(server.port, delay) == 60


@pytest.mark.live
def test_q19_dovecot_refuses_a_wrong_password(dovecot: Dovecot) -> None:
    dovecot.add_user("q19", "another")
    with pytest.raises(AuthenticationFailed, match="refuses the login"):
        visit(dovecot.port.pop3, whole, user="q19")


# -- 20 to 25: the beginning of a session -------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    return server_context(authority.issue())


def starttls(authority: Authority, **changes: object) -> dict[str, object]:
    tls = TlsSettings(TlsMode.STARTTLS, ca_file=authority.ca_file)
    return {"tls": tls, "allow_plaintext_auth": False} | changes


def test_q20_capabilities_are_asked_behind_stls_and_behind_the_login(
    authority: Authority, context: ssl.SSLContext
) -> None:
    inside = ("UIDL", "EXPIRE 7")
    with ScriptedPop3(capabilities=("USER",), inside=inside, stls=context) as server:

        async def facts(session: Pop3Session) -> tuple[str, ...]:
            return session.facts.capabilities

        assert visit(server.port, facts, **starttls(authority)) == inside
        assert server.verbs() == ["STLS", "CAPA", "USER", "PASS", "CAPA"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"-ERR no\r\n", TlsFailed),  # refused, perhaps by somebody in between
        (b"+OK\r\n+OK injected\r\n", RemoteProtocolError),
        (b"+OK\r\n+O", RemoteProtocolError),
        (b"+OK ready\r\n" + b"-ERR plain text\r\n" * 9, RemoteProtocolError),
    ],
)
@pytest.mark.parametrize("auth", ["auto", "plain", "scram-sha-256", "apop"])
def test_q20_nothing_is_said_on_a_line_that_did_not_become_encrypted(
    authority: Authority, answer: bytes, kind: type[FetchdError], auth: str
) -> None:
    said = (*CAPABILITIES, "SASL PLAIN SCRAM-SHA-256")
    with ScriptedPop3(capabilities=said, answers={"STLS": answer}) as server:
        assert isinstance(failure(server, **starttls(authority, auth=auth)), kind)
        assert server.heard == ["STLS"]


def test_q21_without_pipelining_each_command_waits_for_the_last() -> None:
    said = ("TOP", "UIDL", "USER")
    with ScriptedPop3(MESSAGES, capabilities=said) as server:
        assert longest_flight(server) == 1


def test_q21_with_pipelining_the_login_and_quit_still_stand_alone() -> None:
    with ScriptedPop3(MESSAGES) as server:
        assert longest_flight(server) == len(MESSAGES)


def longest_flight(server: ScriptedPop3) -> int:
    """The most commands under way at once; none may be beside those that stand alone."""
    unanswered, longest = [], 0

    def note(direction: str, line: str) -> None:
        nonlocal longest
        if direction == "C":
            unanswered.append(line)
            longest = max(longest, len(unanswered))
            alone = [one for one in unanswered if one.split()[0] in ("USER", "PASS", "QUIT")]
            assert not alone or len(unanswered) == 1
        elif unanswered and not line.startswith("["):
            body = unanswered[0].startswith("RETR")
            if not body or line == ".":
                unanswered.pop(0)

    async def main() -> None:
        session = await open_pop3(
            access(server.port), Credentials("me", PASSWORD), Path("/tmp"), note
        )
        assert await bodies(session) == MESSAGES
        await session.close()

    asyncio.run(main())
    assert not unanswered
    return longest


STAMP = b"<1896.697170952@dbc.mtview.ca.us>"  # RFC 1939 §7


@pytest.mark.parametrize(
    ("greeting", "auth", "said"),
    [
        (STAMP, "apop", "APOP mrose c4c9334bac560ecc979e58001b3e22fb"),  # RFC 1939 §7
        (STAMP, "auto", "USER mrose"),  # never by itself
        (b"no stamp", "apop", None),
        (b"<no-at-sign>", "apop", None),
        (b"<a@b\xff\xfe>", "apop", None),  # CVE-2007-1558
        (b"<a@@b>", "apop", None),
        (b"<a b@c>", "apop", None),
    ],
)
def test_q22_apop_only_when_told_and_only_for_a_true_timestamp(
    greeting: bytes, auth: str, said: str | None
) -> None:
    answers = {"greeting": b"+OK POP3 server ready " + greeting + b"\r\n"}
    with ScriptedPop3(answers=answers) as server:

        async def main() -> None:
            credentials = Credentials("mrose", "tanstaaf")
            session = await open_pop3(access(server.port, auth=auth), credentials, Path("/tmp"))
            await session.abort()

        if said is None:
            with pytest.raises(AuthenticationFailed, match="no APOP"):
                asyncio.run(main())
            assert server.verbs() == ["CAPA"]
        else:
            asyncio.run(main())
            assert server.heard[1] == said


@pytest.mark.live
def test_q22_a_server_that_wants_tls_first_is_understood() -> None:
    with Dovecot(plaintext_auth=False, extra="login_trusted_networks =\n") as server:
        place = maildrop(server, "q22")
        tls = TlsSettings(TlsMode.STARTTLS, ca_file=server.ca_file)
        assert len(visit(work=bodies, tls=tls, allow_plaintext_auth=False, **place)) == 4


def test_q22_user_refused_on_a_plaintext_line_names_the_remedy() -> None:
    refused = b"-ERR [AUTH] Plaintext authentication disallowed on non-secure connections.\r\n"
    with ScriptedPop3(answers={"USER": refused}) as server:
        error = failure(server)
        assert isinstance(error, AuthenticationFailed)
        assert error.advice.startswith("Set tls =")
        assert "PASS" not in server.verbs()


BEARER = "dXNlcj1tZQFhdXRoPUJlYXJlciBzd29yZGZpc2gBAQ=="  # user=me, Bearer swordfish


@pytest.mark.parametrize("go_ahead", [b"+ \r\n", b"+\r\n", b"+ \n"])  # q24, too
def test_q23_xoauth2_waits_for_the_go_ahead(go_ahead: bytes) -> None:
    with ScriptedPop3(answers={"AUTH": Turns((go_ahead, b"+OK\r\n"))}) as server:
        assert visit(server.port, bodies, auth="xoauth2") == []
        assert server.heard[1:3] == ["AUTH XOAUTH2", BEARER]


@pytest.mark.parametrize(("auth", "last"), [("xoauth2", ""), ("oauthbearer", "AQ==")])
def test_q23_an_error_challenge_is_answered_and_then_refused(auth: str, last: str) -> None:
    turns = Turns((b"+ \r\n", b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n", b"-ERR [AUTH] no\r\n"))
    with ScriptedPop3(answers={"AUTH": turns}) as server:
        assert isinstance(failure(server, auth=auth), AuthenticationFailed)
        assert server.heard[1] == f"AUTH {auth.upper()}"
        assert server.heard[3] == last


def test_q23_a_long_initial_response_is_not_put_on_the_line() -> None:
    with ScriptedPop3(answers={"AUTH": Turns((b"+ \r\n", b"+OK\r\n"))}) as server:
        assert visit(server.port, bodies, auth="plain", user="u" * 300) == []
        assert server.heard[1] == "AUTH PLAIN"


@pytest.mark.parametrize(
    "greeting",
    [
        b"+OK\r\n",
        b"+OK \xff\xfe 8-bit\r\n",
        b"+OK ready\r\n*** No spam! ***\r\n\r\nUse of this system is monitored.\r\n",
    ],
)
def test_q24_odd_greetings_are_tolerated(greeting: bytes) -> None:
    with ScriptedPop3(MESSAGES, answers={"greeting": greeting}) as server:
        assert visit(server.port, bodies) == MESSAGES


@pytest.mark.parametrize(
    ("greeting", "kind", "words"),
    [
        (b"220 mail.example.org ESMTP\r\n", RemoteProtocolError, "not a POP3 reply"),
        (b"SSH-2.0-OpenSSH_9\r\n", RemoteProtocolError, "not a POP3 reply"),
        (b"\x00" * 10_000, RemoteProtocolError, "endless line"),
        (b"+OK\r\n" + b"blah\r\n" * 100, RemoteProtocolError, "endless greeting"),
        (b"-ERR [SYS/TEMP] come later\r\n", ServerUnavailable, "turns us away"),
        (b"-ERR [SYS/PERM] closed\r\n", AccountRefused, "turns us away"),
        ([b"+O", HANG_UP], ConnectionFailed, "hung up while we waited for a greeting"),
        ([b"+OK\r\n", HANG_UP], ConnectionFailed, "hung up|cut the connection"),
    ],
)
def test_q24_what_greets_otherwise_is_named(
    greeting: bytes, kind: type[FetchdError], words: str
) -> None:
    with ScriptedPop3(answers={"greeting": greeting}) as server:
        error = failure(server)
        assert type(error) is kind
        assert re.search(words, str(error))
        assert "\n" not in str(error)
        assert error.advice


@pytest.mark.parametrize("answer", [b"+OK\r\n", b"-ERR no\r\n"])
def test_q25_utf8_is_asked_for_before_the_name_and_may_be_refused(answer: bytes) -> None:
    said = (*CAPABILITIES, "UTF8 USER")
    with ScriptedPop3(MESSAGES, capabilities=said, answers={"UTF8": answer}) as server:
        assert visit(server.port, bodies, user="jürgen") == MESSAGES
        assert server.heard[1:3] == ["UTF8", "USER jürgen"]


# -- 26 to 28: limits, patience, order ----------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"STAT": [b"+OK ", Endless(b"9" * 4096)]}, "endless line"),
        ({"UIDL": [b"+OK\r\n", Endless(b"1 a\r\n" * 4096)]}, "endless listing"),
        ({"UIDL": [b"+OK\r\n1 ", Endless(b"a" * (1 << 18))]}, "endless listing"),
        ({"RETR 1": [b"+OK ", Endless(b"x" * 4096)]}, "endless line"),
    ],
)
def test_q26_nothing_is_endless(answers: dict, words: str) -> None:
    with ScriptedPop3(MESSAGES, answers=answers) as server:
        error = failure(server)
        assert isinstance(error, RemoteProtocolError)
        assert words in str(error)


def test_q26_an_absurd_count_is_not_believed() -> None:
    answers = {"STAT": b"+OK 99999999999999999999999 1\r\n"}
    with ScriptedPop3(MESSAGES, answers=answers) as server:
        assert visit(server.port, bodies) == MESSAGES


def test_q26_a_long_line_is_no_endless_one() -> None:
    answers = {"STAT": b"+OK 4 100 " + b"x" * 7000 + b"\r\n", "RETR 1": b"+OK\r\n" + MESSAGES[0]
               + b"z" * 100_000 + b"\r\n.\r\n"}  # fmt: skip
    with ScriptedPop3(MESSAGES, answers=answers) as server:
        assert visit(server.port, bodies) == [
            MESSAGES[0] + b"z" * 100_000 + b"\r\n", *MESSAGES[1:],
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("at", "part", "words"),
    [
        ("greeting", SILENCE, "a greeting within 0.3 s"),
        ("CAPA", SILENCE, "an answer to CAPA within 0.3 s"),
        ("PASS", SILENCE, "an answer to PASS within 0.3 s"),
        ("RETR 2", [b"+OK\r\nhalf", SILENCE], "an answer to RETR within 0.3 s"),
        ("greeting", Drip(b"+", 0.05), "too slow"),
        ("RETR 2", [b"+OK\r\n", Drip(b"x", 0.05)], "too slow"),
        ("UIDL", [b"+OK\r\n", Drip(b"1", 0.05)], "too slow"),
    ],
)
def test_q27_every_wait_has_an_end(at: str, part: object, words: str) -> None:
    with ScriptedPop3(MESSAGES, answers={at: part}) as server:
        error = failure(server, read_timeout=0.3)
        assert isinstance(error, ConnectionFailed)
        assert words in str(error)


@pytest.mark.live
def test_q27_a_session_is_kept_alive(dovecot: Dovecot) -> None:
    place = maildrop(dovecot, "q27")

    async def work(session: Pop3Session) -> list[bytes | str]:
        await session.keep_alive()
        return await bodies(session)

    assert visit(work=work, **place) == dovecot.served("q27")


@pytest.mark.live
def test_q28_what_arrives_meanwhile_is_for_the_next_session(dovecot: Dovecot) -> None:
    place = maildrop(dovecot, "q28")

    async def work(session: Pop3Session) -> int:
        before = await whole(session)
        dovecot.fill("q28", [b"Subject: late\r\n\r\n"])
        after = await whole(session)
        assert before == after
        return len(after.messages)

    assert visit(work=work, **place) == 4
    assert len(uids(**place)) == 5


def test_an_unchanged_listing_that_stat_contradicts_is_looked_at() -> None:
    with ScriptedPop3(MESSAGES) as server:
        digest = visit(server.port, whole).digest

        async def work(session: Pop3Session) -> Listing | None:
            return await session.list(MAILBOX, digest)

        assert visit(server.port, work) is None
        server.answers["STAT"] = b"+OK 5 100\r\n"
        listing = visit(server.port, work)
        assert listing is not None
        assert not listing.complete


def test_q28_a_message_in_the_middle_renames_no_other() -> None:
    with ScriptedPop3(MESSAGES[:2], uidls=[b"a", b"b"]) as server:
        first = visit(server.port, whole)
        server.messages.insert(1, MESSAGES[2])
        server.uidls.insert(1, b"new")
        second = visit(server.port, whole)
        assert [m.uid for m in second.messages] == [b"a", b"new", b"b"]
        assert first.digest != second.digest


# -- What follows from several of them ------------------------------------------------------


@pytest.mark.parametrize("faults", [{"RETR 2": HANG_UP}, {"RETR 2": [b"+OK\r\nhalf", HANG_UP]}])
def test_the_message_at_which_the_line_broke_is_known(faults: dict) -> None:
    with ScriptedPop3(MESSAGES, answers=faults) as server:

        async def work(session: Pop3Session) -> int:
            listing = await whole(session)
            assert session.in_progress is None
            arrivals = session.fetch(listing.messages)
            assert (await anext(arrivals)).remote.number == 1
            with pytest.raises(ConnectionFailed):
                await anext(arrivals)
            assert session.in_progress is not None
            return session.in_progress.number

        assert visit(server.port, work) == 2


def test_a_refused_message_is_left_out_and_the_others_come() -> None:
    answers = {"RETR 2": b"-ERR it is damaged\r\n", "RETR 4": b"-ERR\r\n"}
    with ScriptedPop3(MESSAGES, answers=answers) as server:
        assert visit(server.port, bodies) == [
            MESSAGES[0], "it is damaged", MESSAGES[2], "refused without a word",
        ]  # fmt: skip


def test_refusing_one_after_another_is_trouble_of_the_server() -> None:
    answers = {"RETR": b"-ERR [SYS/TEMP] quota of the day is used up\r\n"}
    with ScriptedPop3(MESSAGES * 10, answers=answers) as server:
        error = failure(server)
        assert isinstance(error, ServerUnavailable)
        assert "20 messages in a row: [SYS/TEMP] quota" in str(error)


def test_what_is_too_large_is_not_asked_for_and_keeps_its_place() -> None:
    large = b"Subject: x\r\n\r\n" + b"y" * 1000 + b"\r\n"
    with ScriptedPop3([large, MESSAGES[0], large, large]) as server:

        async def work(session: Pop3Session) -> list[tuple[int, bool]]:
            listing = await whole(session)
            return [
                (one.remote.number, isinstance(one, Unavailable) and one.oversize)
                async for one in session.fetch(listing.messages)
            ]

        places = visit(server.port, work, max_message_size=500)
        assert places == [(1, True), (2, False), (3, True), (4, True)]
        assert [line for line in server.heard if line.startswith("RETR")] == ["RETR 2"]


def test_large_bodies_are_in_files_that_nobody_else_can_read(tmp_path: Path) -> None:
    large = b"Subject: x\r\n\r\n" + b"y" * (5 << 20) + b"\r\n"
    with ScriptedPop3([large, MESSAGES[0]]) as server:

        async def work(session: Pop3Session) -> None:
            listing = await whole(session)
            one, two = [f async for f in session.fetch(listing.messages)]
            assert isinstance(one, Fetched)
            assert one.body.path is not None
            assert one.body.path.parent == tmp_path
            assert one.body.path.stat().st_mode & 0o777 == 0o600
            assert one.body.size == len(large)
            assert b"".join(one.body.chunks()) == large
            assert isinstance(two, Fetched)
            assert two.body.data == MESSAGES[0]
            one.body.discard()

        visit(server.port, work, spill_dir=tmp_path)
        assert not list(tmp_path.iterdir())


def test_a_body_that_breaks_off_leaves_no_file(tmp_path: Path) -> None:
    answers = {"RETR 1": [b"+OK\r\n" + b"x" * (5 << 20), HANG_UP]}
    with ScriptedPop3(MESSAGES, answers=answers) as server:
        assert isinstance(failure(server, spill_dir=tmp_path), ConnectionFailed)
        assert not list(tmp_path.iterdir())


def test_a_body_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    large = b"Subject: x\r\n\r\n" + b"y" * (5 << 20) + b"\r\n"
    with ScriptedPop3([large]) as server:
        error = failure(server, spill_dir=tmp_path / "gone")
        assert isinstance(error, ArchiveError)
        assert str(error) == f"cannot write to {tmp_path / 'gone'}: No such file or directory"


def test_an_abandoned_fetch_harms_nothing_that_follows() -> None:
    large = b"Subject: x\r\n\r\n" + b"y" * (1 << 20) + b"\r\n"
    with ScriptedPop3([MESSAGES[0], *[large] * 8]) as server:

        async def work(session: Pop3Session) -> frozenset[bytes]:
            listing = await whole(session)
            arrivals = session.fetch(listing.messages)
            await anext(arrivals)
            await arrivals.aclose()
            assert session.in_progress is not None, "answers are still owed"
            await session.retire(listing.messages[:1])
            return await session.close()

        assert visit(server.port, work) == {b"uid-1"}


@pytest.mark.live
def test_an_unchanged_listing_is_not_looked_at(dovecot: Dovecot) -> None:
    place = maildrop(dovecot, "unchanged")

    async def work(session: Pop3Session, digest: bytes) -> bool:
        return await session.list(MAILBOX, digest) is None

    digest = visit(work=whole, **place).digest
    assert visit(work=lambda s: work(s, digest), **place)
    assert not visit(work=lambda s: work(s, b"other"), **place)
    dovecot.expunge("unchanged", [2])
    assert not visit(work=lambda s: work(s, digest), **place)


def test_round_trips_are_few() -> None:
    """Greeting, CAPA, USER, PASS, CAPA with STAT and UIDL, LIST, all bodies, QUIT."""
    with ScriptedPop3(MESSAGES) as server:

        async def work(session: Pop3Session) -> None:
            assert await bodies(session) == MESSAGES
            await session.close()

        visit(server.port, work)
        assert server.verbs() == [
            "CAPA", "USER", "PASS", "CAPA", "STAT", "UIDL", "LIST",
            "RETR", "RETR", "RETR", "RETR", "QUIT",
        ]  # fmt: skip


def test_opening_is_told_step_by_step() -> None:
    with ScriptedPop3(MESSAGES, answers={"PASS": b"-ERR [AUTH]\r\n"}) as server:
        steps: list[str] = []

        async def main() -> None:
            credentials = Credentials("me", PASSWORD)
            await open_pop3(
                access(server.port), credentials, Path("/tmp"), None, lambda s, _: steps.append(s)
            )

        with pytest.raises(AuthenticationFailed):
            asyncio.run(main())
        assert steps == ["connect", "capabilities"]


def test_a_tls_server_where_plain_words_were_expected_is_named(context: ssl.SSLContext) -> None:
    with ScriptedPop3(tls=context) as server:
        error = failure(server, read_timeout=0.3)
        assert isinstance(error, ConnectionFailed)
        assert "a greeting within 0.3 s" in str(error)
        assert 'tls = "implicit"' in error.advice


@pytest.mark.parametrize("tenth", range(11))
def test_a_line_cut_anywhere_gives_whole_messages_and_one_kind_of_error(tenth: int) -> None:
    with ScriptedPop3(MESSAGES) as server, Proxy("127.0.0.1", server.port) as proxy:
        assert visit(proxy.port, bodies) == MESSAGES
        whole_session = proxy.octets
        for cut in range(tenth, whole_session, 11):
            proxy.cut_after = cut
            came, error = asyncio.run(until_the_cut(proxy.port))
            assert came == MESSAGES[: len(came)]
            assert isinstance(error, ConnectionFailed)


async def until_the_cut(port: int) -> tuple[list[bytes | str], FetchdError | None]:
    came: list[bytes | str] = []
    try:
        async with opened(port) as session:
            listing = await whole(session)
            async for one in session.fetch(listing.messages):
                came.append(content(one))  # noqa: PERF401 - what came before the error counts
            await session.keep_alive()
    except FetchdError as error:
        return came, error
    return came, None


def test_sessions_do_not_share_anything() -> None:
    async def main() -> list[list[bytes | str]]:
        async def one() -> list[bytes | str]:
            async with opened(server.port) as session:
                return await bodies(session)

        return await asyncio.gather(*(one() for _ in range(20)))

    with ScriptedPop3(MESSAGES) as server:
        assert asyncio.run(main()) == [MESSAGES] * 20
