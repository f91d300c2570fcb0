"""The conversation: mechanisms against Dovecot, the window, and a transcript without secrets."""

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from fetchd.clients.pop3 import WINDOW_COUNT, WINDOW_OCTETS, Pop3Client
from fetchd.clients.stream import TlsMode, TlsSettings, open_stream
from fetchd.contracts import Credentials
from fetchd.errors import AuthenticationFailed, FetchdError, RemoteProtocolError
from fetchd.protocol.pop3 import BodyEnd, State
from fetchd.sources.pop3 import Pop3Access, open_pop3
from tests.servers.dovecot import Dovecot
from tests.servers.dovecot_config import MECHANISMS
from tests.servers.scripted_pop3 import HANG_UP, ScriptedPop3, Turns

PASSWORD = "tøp-secret-påssword"
MODES = {"implicit": TlsMode.IMPLICIT, "starttls": TlsMode.STARTTLS, "none": TlsMode.NONE}
AUTHS = ["auto", "user", *MECHANISMS]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot() as server:
        server.add_user("me", PASSWORD)
        yield server


def dovecot_access(dovecot: Dovecot, mode: TlsMode, auth: str) -> Pop3Access:
    return Pop3Access(
        host="127.0.0.1",
        port=dovecot.port.pop3s if mode is TlsMode.IMPLICIT else dovecot.port.pop3,
        tls=TlsSettings(mode, ca_file=dovecot.ca_file),
        auth=auth,
        allow_plaintext_auth=mode is TlsMode.NONE,
    )


def log_in(access: Pop3Access, password: str) -> list[str]:
    """Log in and out; the transcript."""
    lines: list[str] = []

    async def main() -> None:
        credentials = Credentials("me", password)
        session = await open_pop3(
            access, credentials, Path("/tmp"), lambda way, line: lines.append(f"{way}: {line}")
        )
        await session.close()

    try:
        asyncio.run(main())
    except FetchdError as error:
        lines.append(f"error: {error!r} {error.advice}")
        raise
    finally:
        assert_no_secret(lines, password)
    return lines


def assert_no_secret(lines: list[str], password: str) -> None:
    """Neither as it is nor in base64, nor anything that a password could be guessed from."""
    text = "\n".join(lines)
    for secret in (password, f"\0me\0{password}", f"me\0{password}"):
        encoded = base64.b64encode(secret.encode()).decode()
        assert secret not in text
        assert encoded.rstrip("=") not in text
    for line in lines:
        if line.startswith(("C: AUTH", "C: APOP", "C: PASS")):
            assert line.endswith(" ***")
        elif line.startswith(("C: ***", "S: + ")):
            assert line in ("C: ***", "S: + ***")


@pytest.mark.live
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("auth", AUTHS)
def test_each_mechanism_on_each_kind_of_line(dovecot: Dovecot, auth: str, mode: str) -> None:
    lines = log_in(dovecot_access(dovecot, MODES[mode], auth), PASSWORD)
    used = "scram-sha-256" if auth == "auto" else auth
    assert ("C: AUTH ***" in lines) == (used != "user")
    assert ("C: STLS" in lines) == (mode == "starttls")
    assert lines[-2:] == ["C: QUIT", "S: +OK Logging out."]


@pytest.mark.live
@pytest.mark.parametrize("auth", AUTHS)
def test_a_wrong_password_is_refused_and_not_shown(dovecot: Dovecot, auth: str) -> None:
    with pytest.raises(AuthenticationFailed, match="refuses the login"):
        log_in(dovecot_access(dovecot, TlsMode.IMPLICIT, auth), "wrong-påssword")


@pytest.mark.live
def test_a_user_unknown_to_scram_is_tried_once_more_and_not_oftener(dovecot: Dovecot) -> None:
    said = dovecot.log().count("unknown user")
    with pytest.raises(AuthenticationFailed):
        asyncio.run(
            open_pop3(
                dovecot_access(dovecot, TlsMode.IMPLICIT, "auto"),
                Credentials("nobody", PASSWORD),
                Path("/tmp"),
            )
        )
    assert dovecot.log().count("unknown user") <= said + 2


@pytest.mark.live
def test_two_thousand_messages_are_what_the_server_holds(dovecot: Dovecot, tmp_path: Path) -> None:
    dovecot.add_user("many", PASSWORD)
    dovecot.fill(
        "many", (b"Subject: %d\r\n\r\n%b\r\n" % (n, b".x\r\n" * (n % 700)) for n in range(2000))
    )

    async def main() -> list[bytes]:
        access = dovecot_access(dovecot, TlsMode.IMPLICIT, "plain")
        session = await open_pop3(access, Credentials("many", PASSWORD), tmp_path)
        listing = await session.list("INBOX")
        assert listing is not None
        digests = [
            hashlib.sha256(b"".join(one.body.chunks())).digest()
            async for one in session.fetch(listing.messages)
        ]
        await session.close()
        return digests

    assert asyncio.run(main()) == [hashlib.sha256(m).digest() for m in dovecot.served("many")]


def test_apop_and_oauth_do_not_show_in_a_transcript() -> None:
    stamped = {
        "greeting": b"+OK <1@x>\r\n",
        "AUTH": Turns((b"+ \r\n", b"+ e30=\r\n", b"-ERR [AUTH]\r\n")),
    }
    with ScriptedPop3(answers=stamped) as server:
        for auth in ("apop", "xoauth2", "oauthbearer"):
            access = Pop3Access(
                "127.0.0.1", server.port, TlsSettings(TlsMode.NONE), auth, allow_plaintext_auth=True
            )
            if auth == "apop":
                assert "C: APOP ***" in log_in(access, PASSWORD)
            else:
                with pytest.raises(AuthenticationFailed):
                    log_in(access, PASSWORD)


@pytest.mark.parametrize(
    ("auth", "turns", "words"),
    [
        ("scram-sha-256", (b"+OK\r\n",), "did not prove its identity"),
        ("scram-sha-256", (b"+ cj14\r\n", b"+OK\r\n"), "SCRAM"),
        ("login", (b"+ \r\n",) * 20, "does not come to an end"),
        ("login", (b"+ \r\n", b"what?\r\n"), "not a POP3 reply"),
    ],
)
def test_a_server_that_cheats_at_auth_is_found_out(auth: str, turns: tuple, words: str) -> None:
    with ScriptedPop3(answers={"AUTH": Turns(turns)}) as server:
        access = Pop3Access(
            "127.0.0.1", server.port, TlsSettings(TlsMode.NONE), auth, allow_plaintext_auth=True
        )
        with pytest.raises(RemoteProtocolError, match=words):
            log_in(access, PASSWORD)


@pytest.mark.parametrize(
    ("said", "answers", "heard", "refused"),
    [
        # announced    the server's refusals               what is tried             in the end
        ("SASL PLAIN", {}, ["AUTH"], False),
        ("SASL PLAIN", {"AUTH": b"-ERR [AUTH] no\r\n"}, ["AUTH"], True),
        ("SASL PLAIN", {"AUTH": b"-ERR unknown command\r\n"}, ["AUTH", "USER", "PASS"], False),
        ("SASL SCRAM-SHA-1 PLAIN", {"AUTH": b"-ERR [AUTH] no\r\n"}, ["AUTH", "AUTH"], True),
        ("SASL SCRAM-SHA-1", {"AUTH": b"-ERR [AUTH] no\r\n"}, ["AUTH", "USER", "PASS"], False),
        ("SASL SCRAM-SHA-1 PLAIN", {"AUTH": b"-ERR [SYS/TEMP] no\r\n"}, ["AUTH"], True),
        ("SASL SCRAM-SHA-1 PLAIN", {"AUTH": [b"-ERR [AUTH] no\r\n", HANG_UP]}, ["AUTH"], True),
        ("SASL CRAM-MD5 DIGEST-MD5", {}, ["USER", "PASS"], False),
        ("USER", {"PASS": b"-ERR no\r\n"}, ["USER", "PASS"], True),
        ("USER", {"USER": b"-ERR no such user\r\n"}, ["USER"], True),
    ],
)
def test_what_auto_tries(said: str, answers: dict, heard: list[str], refused: bool) -> None:
    with ScriptedPop3(capabilities=(said,), answers=answers) as server:
        access = Pop3Access(
            "127.0.0.1", server.port, TlsSettings(TlsMode.NONE), allow_plaintext_auth=True
        )
        # Also where it hung up after refusing: the refusal is what is told.
        outcome = pytest.raises(FetchdError, match="refuses the login")
        with outcome if refused else nullcontext():
            log_in(access, PASSWORD)
        assert [v for v in server.verbs() if v in ("AUTH", "USER", "PASS")] == heard


# -- The window ---------------------------------------------------------------------


def converse(server: ScriptedPop3, sizes: list[int]) -> tuple[int, int]:
    """Ask for as many messages; the most commands and octets that were under way."""
    most = [0, 0]

    async def main() -> None:
        stream = await open_stream("127.0.0.1", server.port, TlsSettings(TlsMode.NONE), PATIENCE)
        client = Pop3Client(stream, PATIENCE)
        await client.greeting()
        client.protocol.state = State.TRANSACTION
        client.pipelining = True
        done = 0
        async for events in client.exchange(("RETR", b"1", size) for size in sizes):
            done += sum(isinstance(event, BodyEnd) for event in events)
            waiting = sizes[done : done + len(client.protocol.pending)]
            most[0] = max(most[0], len(waiting))
            most[1] = max(most[1], sum(waiting))
        assert done == len(sizes)
        stream.abort()

    asyncio.run(main())
    return most[0], most[1]


def test_the_window_is_bounded_by_count_and_refilled() -> None:
    with ScriptedPop3([b"x\r\n"]) as server:
        count, _ = converse(server, [3] * (3 * WINDOW_COUNT))
        assert 1 < count <= WINDOW_COUNT


def test_the_window_is_bounded_by_octets_but_lets_one_large_pass() -> None:
    with ScriptedPop3([b"x\r\n"]) as server:
        large = WINDOW_OCTETS // 4
        assert converse(server, [large] * 20)[1] <= WINDOW_OCTETS
        converse(server, [2 * WINDOW_OCTETS, 5, 2 * WINDOW_OCTETS])


def test_full_buffers_in_both_directions_do_not_block() -> None:
    """2,000 commands against a server that reads no more while its own answers are not read."""
    with ScriptedPop3([b"x" * 100_000 + b"\r\n"]) as server:
        converse(server, [1] * WINDOW_COUNT)
