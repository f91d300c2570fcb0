"""Quirks 65 to 71, and every way in: mechanisms, kinds of line, and what is never shown."""

import asyncio
import base64
import re
import ssl
from collections.abc import Iterator

import pytest

from fetchd.clients.stream import TlsMode, TlsSettings
from fetchd.contracts import Credentials
from fetchd.errors import (
    AccountRefused,
    AuthenticationFailed,
    ConnectionFailed,
    FetchdError,
    RemoteProtocolError,
    ServerUnavailable,
    TlsFailed,
)
from fetchd.sources.imap import ImapSession, open_imap
from tests.servers.certificates import Authority
from tests.servers.dovecot import Dovecot
from tests.servers.dovecot_config import MECHANISMS
from tests.servers.imap_sins import Sins
from tests.servers.scripted import HANG_UP, SILENCE, Answer, Endless, Turns, server_context
from tests.servers.scripted_imap import CAPABILITIES, InTurn, ScriptedImap
from tests.sources.imap_opening import MESSAGES, access, bodies, visit

PASSWORD = "tøp-secret-påssword"
QUOTED = 'a "b\\c{3} (x) * %'
MODES = {"implicit": TlsMode.IMPLICIT, "starttls": TlsMode.STARTTLS, "none": TlsMode.NONE}
SASL, LOGIN = "AUTHENTICATE", "LOGIN"
LATER, NOT_US, OWNER = ServerUnavailable, AuthenticationFailed, AccountRefused
BROKEN, NOT_IMAP = ConnectionFailed, RemoteProtocolError
AUTHS = ["auto", "login-command", *MECHANISMS]


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot() as server:
        server.add_user("me", PASSWORD)
        server.add_user("quoted", QUOTED)
        yield server


@pytest.fixture(scope="module")
def without_sasl_ir() -> Iterator[Dovecot]:
    with Dovecot(hide=["SASL-IR"]) as server:
        server.add_user("me", PASSWORD)
        yield server


async def nothing(_session: ImapSession) -> None:
    """Log in, and out."""
    await _session.close()


def log_in(port: int, secret: str = PASSWORD, **changes: object) -> list[str]:
    """The transcript, which shows no secret, whatever came of it."""
    lines: list[str] = []
    try:
        visit(port, nothing, secret=secret, transcript=lines, **changes)
    except FetchdError as error:
        lines.append(f"error: {error!r} {error.advice}")
        raise
    finally:
        assert_no_secret(lines, secret)
    return lines


def assert_no_secret(lines: list[str], secret: str) -> None:
    text = "\n".join(lines)
    for shown in (secret, f"\0me\0{secret}"):
        assert shown not in text
        assert base64.b64encode(shown.encode()).decode().rstrip("=") not in text
    for line in lines:
        if line.startswith(("C: AUTH", "C: LOGIN")):
            assert line.endswith(" ***")
        elif line.startswith(("C: ***", "S: + ")):
            assert line in ("C: ***", "S: + ***")


def way(server: Dovecot, mode: str) -> dict[str, object]:
    tls = TlsSettings(MODES[mode], ca_file=server.ca_file)
    return {"port": server.port.imaps if mode == "implicit" else server.port.imap, "tls": tls}


def visited(server: Dovecot, mode: str, secret: str = PASSWORD, **changes: object) -> list[str]:
    place = way(server, mode) | changes
    port = place.pop("port")
    assert isinstance(port, int)
    return log_in(port, secret, **place)


@pytest.mark.live
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("auth", AUTHS)
def test_each_mechanism_on_each_kind_of_line(dovecot: Dovecot, auth: str, mode: str) -> None:
    lines = visited(dovecot, mode, auth=auth)
    assert ("C: LOGIN ***" in lines) == (auth == "login-command")
    assert ("C: STARTTLS" in lines) == (mode == "starttls")
    assert "C: LOGOUT" in lines
    answers = lines.count("C: ***")
    strong = auth in ("auto", "scram-sha-256", "scram-sha-1")
    assert answers == (2 if strong or auth == "login" else 1 if auth == "cram-md5" else 0)


@pytest.mark.live
@pytest.mark.parametrize("auth", ["plain", "scram-sha-256", "auto"])
def test_without_sasl_ir_the_first_response_waits(without_sasl_ir: Dovecot, auth: str) -> None:
    lines = visited(without_sasl_ir, "none", auth=auth)
    assert lines.count("C: ***") == (1 if auth == "plain" else 3)


@pytest.mark.live
@pytest.mark.parametrize("auth", AUTHS)
def test_a_wrong_password_is_refused_and_not_shown(dovecot: Dovecot, auth: str) -> None:
    with pytest.raises(AuthenticationFailed, match="refuses the login"):
        visited(dovecot, "implicit", "wrong-påssword", auth=auth)


@pytest.mark.live
@pytest.mark.parametrize("auth", ["auto", "login-command", "plain", "cram-md5", "login"])
def test_a_password_full_of_specials_is_right(dovecot: Dovecot, auth: str) -> None:
    visited(dovecot, "none", QUOTED, user="quoted", auth=auth)


@pytest.mark.parametrize("secret", ["a\r\nA9 LOGOUT", "a\0b"])
def test_a_password_cannot_end_the_command(secret: str) -> None:
    with ScriptedImap({}) as server:
        with pytest.raises(AuthenticationFailed, match="line break or NUL"):
            visit(server.port, nothing, secret=secret)
        assert server.heard == []


@pytest.mark.parametrize(
    ("offered", "auth", "refusals", "tried", "refused"),
    [
        # offered, auth, its refusals, what is tried, what it comes to
        ("SASL-IR AUTH=PLAIN",                     "auto", [], [SASL], None),
        ("AUTH=PLAIN",                             "auto", [], [LOGIN], None),
        ("",                                       "auto", [], [LOGIN], None),
        ("LOGINDISABLED AUTH=PLAIN",               "auto", [], [SASL], None),
        ("LOGINDISABLED",                          "auto", [], [], NOT_US),
        ("LOGINDISABLED",                          "login-command", [], [], NOT_US),
        ("LOGINDISABLED AUTH=LOGIN",               "auto", [], [SASL], None),
        ("SASL-IR AUTH=PLAIN",                     "auto", [b"NO [EXPIRED] no"], [SASL], NOT_US),
        ("SASL-IR AUTH=PLAIN", "auto", [b"BAD Unknown command"], [SASL, LOGIN], None),
        ("SASL-IR AUTH=PLAIN", "auto", [b"NO [UNAVAILABLE] later"], [SASL], LATER),
        ("SASL-IR AUTH=PLAIN", "auto", [b"NO [CONTACTADMIN] us"], [SASL], OWNER),
        ("AUTH=SCRAM-SHA-1 AUTH=PLAIN SASL-IR",    "auto", [b"NO no"], [SASL, SASL], None),
        ("AUTH=SCRAM-SHA-1 AUTH=PLAIN SASL-IR",    "auto", [b"NO [INUSE] x"], [SASL], LATER),
    ],
)  # fmt: skip
def test_q66_what_is_tried(
    offered: str, auth: str, refusals: list[bytes], tried: list[str], refused: type | None
) -> None:
    capabilities = ("IMAP4rev1", *offered.split())
    left = list(refusals)

    def answer(server: ScriptedImap) -> None:
        server.answers.pop("AUTHENTICATE", None)
        if left:
            server.answers["AUTHENTICATE"] = b"<tag> " + left.pop(0) + b"\r\n"

    with ScriptedImap({}, capabilities=capabilities, on={"AUTHENTICATE": answer}) as server:
        if refused is None:
            log_in(server.port, "simple", auth=auth)
        else:
            with pytest.raises(refused):
                log_in(server.port, "simple", auth=auth)
        assert [v for v in server.verbs() if v in ("AUTHENTICATE", "LOGIN")] == tried


@pytest.mark.parametrize(
    ("outside", "inside", "asked"),
    [
        (("IMAP4rev1", "AUTH=PLAIN", "IDLE"), ("IMAP4rev1", "ID"), 1),  # told with neither: asked
        (("IMAP4rev1", "AUTH=PLAIN"), CAPABILITIES, 1),
    ],
)
def test_q66_capabilities_are_those_after_the_login(
    outside: tuple[str, ...], inside: tuple[str, ...], asked: int
) -> None:
    async def work(session: ImapSession) -> frozenset[str]:
        return session.capabilities

    with ScriptedImap({}, capabilities=outside, inside=inside) as server:
        assert visit(server.port, work) == {word.upper() for word in inside}
        assert server.verbs().count("CAPABILITY") == asked


# -- 65: before and after the line is encrypted -------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def tls(authority: Authority) -> ssl.SSLContext:
    return server_context(authority.issue())


def starttls(authority: Authority) -> TlsSettings:
    return TlsSettings(TlsMode.STARTTLS, ca_file=authority.ca_file)


def test_q65_what_was_said_before_tls_counts_for_nothing(
    authority: Authority, tls: ssl.SSLContext
) -> None:
    bare = ("IMAP4rev1", "STARTTLS", "LOGINDISABLED")
    with ScriptedImap(
        {"INBOX": MESSAGES}, starttls=tls, capabilities=bare, secure=CAPABILITIES,
        inside=CAPABILITIES,
    ) as server:  # fmt: skip
        assert visit(server.port, bodies, auth="auto", tls=starttls(authority)) == MESSAGES
        assert server.verbs()[:3] == ["STARTTLS", "CAPABILITY", "AUTHENTICATE"]


def test_q65_plaintext_behind_the_answer_is_an_attack(
    authority: Authority, tls: ssl.SSLContext
) -> None:
    answers = {"STARTTLS": b"<tag> OK\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN EVIL\r\n"}
    with ScriptedImap({}, starttls=tls, answers=answers) as server:
        with pytest.raises(RemoteProtocolError, match="plaintext"):
            log_in(server.port, tls=starttls(authority))
        assert "AUTHENTICATE" not in server.verbs()


@pytest.mark.parametrize("answer", [b"<tag> NO no TLS today\r\n", b"<tag> BAD what\r\n"])
def test_q65_starttls_refused_ends_it(authority: Authority, answer: bytes) -> None:
    with ScriptedImap({}, answers={"STARTTLS": answer}) as server:
        with pytest.raises(TlsFailed, match="refuses STARTTLS"):
            log_in(server.port, tls=starttls(authority))
        assert server.verbs() == ["STARTTLS"]


def test_q65_preauth_on_a_plaintext_line_is_left(authority: Authority) -> None:
    with ScriptedImap({"INBOX": MESSAGES}, preauth=True) as server:
        with pytest.raises(TlsFailed, match="logged us in already"):
            log_in(server.port, tls=starttls(authority))
        assert server.heard == []


def test_q65_preauth_is_welcome_where_the_line_is_as_it_should_be(
    authority: Authority, tls: ssl.SSLContext
) -> None:
    implicit = TlsSettings(TlsMode.IMPLICIT, ca_file=authority.ca_file)
    for settings, context in ((implicit, tls), (TlsSettings(TlsMode.NONE), None)):
        with ScriptedImap({"INBOX": MESSAGES}, preauth=True, tls=context) as server:
            assert visit(server.port, bodies, tls=settings) == MESSAGES
            assert "AUTHENTICATE" not in server.verbs()


# -- 67: mechanisms that end badly --------------------------------------------------------


@pytest.mark.parametrize(("auth", "answer"), [("xoauth2", ""), ("oauthbearer", "AQ==")])
def test_q67_the_error_of_a_token_is_answered_and_then_heard(auth: str, answer: str) -> None:
    offered = ("IMAP4rev1", "SASL-IR", f"AUTH={auth.upper()}")
    refusal = b"<tag> NO [AUTHENTICATIONFAILED] expired\r\n"
    turns = Turns((b"+ \r\n", b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n", refusal))
    with ScriptedImap({}, capabilities=offered, answers={"AUTHENTICATE": turns}) as server:
        with pytest.raises(AuthenticationFailed, match="expired"):
            log_in(server.port, "a-token", auth=auth)
        assert server.heard[-1] == answer


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ((b"<tag> OK\r\n",), "did not prove its identity"),
        ((b"+ cj14\r\n", b"<tag> OK\r\n"), "SCRAM"),
        ((b"+ \r\n",) * 20, "does not come to an end|SCRAM"),
        ((b"what?\r\n",), "answer to no command|what"),
    ],
)
def test_q67_a_server_that_cheats_at_scram_is_found_out(
    turns: tuple[bytes, ...], words: str
) -> None:
    offered = ("IMAP4rev1", "SASL-IR", "AUTH=SCRAM-SHA-256")
    with (
        ScriptedImap({}, capabilities=offered, answers={"AUTHENTICATE": Turns(turns)}) as server,
        pytest.raises(RemoteProtocolError, match=words),
    ):
        log_in(server.port, auth="scram-sha-256")


def test_q67_ok_without_the_servers_signature_is_no_login() -> None:
    offered = ("IMAP4rev1", "SASL-IR", "AUTH=SCRAM-SHA-256")
    with (
        ScriptedImap({}, capabilities=offered, sins=Sins(unproved_scram=True)) as server,
        pytest.raises(RemoteProtocolError, match="did not prove"),
    ):
        log_in(server.port, auth="scram-sha-256")


# -- 68 to 71: turned away ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "kind", "words"),
    [
        ({"LIST": b"<tag> BAD User is authenticated but not connected.\r\n"}, LATER, "connected"),
        ({"LIST": b"<tag> NO [THROTTLED] slowly\r\n"}, LATER, "slowly"),
        ({"EXAMINE": b"<tag> NO [UNAVAILABLE] down\r\n"}, LATER, "down"),
        ({"greeting": b"* BYE [UNAVAILABLE] Too many connections\r\n"}, LATER, "away: Too many"),
        ({"greeting": [b"* BYE [ALERT] simultaneous\r\n", HANG_UP]}, LATER, "simultaneous"),
        ({SASL: [b"* BYE Too many login failures\r\n", HANG_UP]}, LATER, "login failures"),
        ({SASL: [b"<tag> NO [AUTHENTICATIONFAILED] no\r\n* BYE bye\r\n", HANG_UP]}, NOT_US, "no"),
        ({SASL: [b"* BYE bye\r\n<tag> NO [EXPIRED] wrong\r\n", HANG_UP]}, NOT_US, "wrong"),
        ({SASL: b"<tag> NO [EXPIRED] change it\r\n"}, NOT_US, "change it"),
        ({SASL: b"<tag> NO [AUTHORIZATIONFAILED] him?\r\n"}, OWNER, "him"),
        ({"EXAMINE": [b"* BYE [UNAVAILABLE] shutting down\r\n", HANG_UP]}, LATER, "shutting down"),
        ({re.compile("BODY"): [b"* BYE over\r\n", HANG_UP]}, LATER, "over"),
        ({re.compile("BODY"): Endless(b"* BYE and again\r\n")}, LATER, "and again"),
        ({"greeting": HANG_UP}, BROKEN, "hung up"),
        ({"greeting": SILENCE}, BROKEN, "greeting within"),
        ({"greeting": b"220 mail.example.org ESMTP\r\n"}, NOT_IMAP, "220"),
    ],
)  # fmt: skip
def test_q68_to_q71_how_a_server_turns_us_away(
    answers: dict[str, Answer], kind: type[FetchdError], words: str
) -> None:
    with (
        ScriptedImap({"INBOX": MESSAGES}, answers=answers) as server,
        pytest.raises(kind, match=words),
    ):
        visit(server.port, bodies, read_timeout=1.0)


@pytest.mark.parametrize("then", [HANG_UP, [b"* BYE and do not come back\r\n", HANG_UP]])
def test_q71_a_server_that_leaves_after_a_refusal_has_refused(then: Answer) -> None:
    offered = ("IMAP4rev1", "SASL-IR", "AUTH=SCRAM-SHA-1", "AUTH=PLAIN")
    answers = {SASL: InTurn(b"<tag> NO wrong password\r\n", then)}
    with (
        ScriptedImap({}, capabilities=offered, answers=answers) as server,
        pytest.raises(AuthenticationFailed, match="wrong password"),
    ):
        log_in(server.port, auth="auto")


def test_q68_a_namespace_refused_is_done_without() -> None:
    with ScriptedImap({"INBOX": MESSAGES}, answers={"NAMESPACE": b"<tag> BAD what\r\n"}) as server:
        assert visit(server.port, bodies) == MESSAGES


def test_q71_a_bye_for_ever_after_logout_does_not_keep_us() -> None:
    with ScriptedImap({}, answers={"LOGOUT": Endless(b"* BYE bye\r\n")}) as server:
        log_in(server.port)


def test_netease_is_told_who_we_are_before_anything_else() -> None:
    with ScriptedImap({"INBOX": MESSAGES}, sins=Sins(id_first=True)) as server:
        assert visit(server.port, bodies) == MESSAGES
        said = next(line for line in server.heard if line.startswith("ID"))
        assert '"name" "fetchd"' in said


@pytest.mark.live
def test_a_session_that_the_administrator_ends_says_why(dovecot: Dovecot) -> None:
    dovecot.fill("me", MESSAGES)

    async def main() -> None:
        session = await open_imap(
            access(dovecot.port.imap), Credentials("me", PASSWORD), dovecot.directory
        )
        dovecot.kick("me")
        with pytest.raises((ServerUnavailable, ConnectionFailed)):
            await bodies(session)
        await session.close()

    asyncio.run(main())
