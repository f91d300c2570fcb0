"""The conversation: flights as the server allows, objections at any time, no secret shown."""

import asyncio
import base64
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from fetchd.clients.smtp import MAX_AUTH_LINE, SmtpClient
from fetchd.clients.smtp_transfer import BLOCK, ONE_FLIGHT, Envelope, Verdicts, transfer
from fetchd.clients.stream import Stream, TlsMode, TlsSettings, open_stream, open_unix_stream
from fetchd.errors import (
    AccountRefused,
    AuthenticationFailed,
    ConnectionFailed,
    FetchdError,
    LocalProtocolError,
    RemoteProtocolError,
    ServerUnavailable,
)
from fetchd.protocol.sasl import MECHANISMS, Login
from tests.servers.certificates import Authority
from tests.servers.scripted import server_context
from tests.servers.scripted_smtp import (
    FEATURES,
    HANG_UP,
    SILENCE,
    Deaf,
    Drip,
    Endless,
    Hold,
    InTurn,
    ScriptedSmtp,
    Taken,
    Turns,
)

PATIENCE = 30.0
SHORT = 0.3  # for what has to time out
PASSWORD = "tøp-secret-påssword"
MESSAGE = b"Subject: x\r\n\r\n.dot\r\ntext\r\n"
NO_TLS = TlsSettings(TlsMode.NONE)
T = TypeVar("T")
EVERYTHING = [FEATURES, ("PIPELINING", "SIZE"), ("CHUNKING",), ()]


def converse(
    server: ScriptedSmtp,
    talk: Callable[[SmtpClient], Awaitable[T]],
    *,
    patience: float = PATIENCE,
    final_wait: float = PATIENCE,
    lines: list[str] | None = None,
) -> T:
    """Connect, say hello, talk, and leave."""

    async def main() -> T:
        if server.path is not None:
            stream = await open_unix_stream(server.path, patience)
        else:
            stream = await open_stream("127.0.0.1", server.port, NO_TLS, patience)
        noted = None if lines is None else lambda way, line: lines.append(f"{way}: {line}")
        client = SmtpClient(stream, patience, noted, lmtp=server.lmtp, final_wait=final_wait)
        try:
            await client.greeting()
            await client.hello("me.example.org")
            async with asyncio.timeout(PATIENCE):
                return await talk(client)
        finally:
            await client.quit()

    return asyncio.run(main())


def sending(
    message: bytes = MESSAGE, *recipients: str, eight_bit: bool = False, utf8: bool = False
) -> Callable[[SmtpClient], Awaitable[Verdicts]]:
    envelope = Envelope("a@x", recipients or ("b@x",), len(message), eight_bit, utf8)
    return lambda client: transfer(client, envelope, lambda: iter((message,)))


def said(verdicts: Verdicts) -> dict[str, int]:
    return {one: reply.code for one, reply in verdicts.replies.items()}


# -- Flights -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "flights"),
    [
        (("PIPELINING", "CHUNKING"), ["MAIL RCPT RCPT BDAT", "QUIT"]),
        (("PIPELINING",), ["MAIL RCPT RCPT DATA", "[30 octets]", "QUIT"]),
        (("CHUNKING",), ["MAIL", "RCPT", "RCPT", "BDAT", "QUIT"]),
        ((), ["MAIL", "RCPT", "RCPT", "DATA", "[30 octets]", "QUIT"]),
    ],
)
@pytest.mark.parametrize("lmtp", [False, True])
def test_as_few_round_trips_as_the_server_allows(
    features: tuple, flights: list[str], lmtp: bool
) -> None:
    lines: list[str] = []
    with ScriptedSmtp(features=features, lmtp=lmtp) as server:
        verdicts = converse(server, sending(MESSAGE, "b@x", "c@x"), lines=lines)
    assert said(verdicts) == {"b@x": 250, "c@x": 250}
    assert server.accepted[0].octets == MESSAGE
    assert server.accepted[0].recipients == ("b@x", "c@x")
    found, flight = [], []
    for line in lines[3:]:
        if line.startswith("C: "):
            flight.append(line[3:] if line[3] == "[" else line[3:].split()[0])
        elif flight:
            found.append(" ".join(flight).replace(f"BDAT [{len(MESSAGE)} octets]", "BDAT"))
            flight = []
    assert found == flights


@pytest.mark.parametrize("features", EVERYTHING)
@pytest.mark.parametrize("size", [0, 1, BLOCK, ONE_FLIGHT, ONE_FLIGHT + 1, 3 * ONE_FLIGHT + 12_345])
def test_octets_arrive_as_they_are_whatever_their_number(features: tuple, size: int) -> None:
    line = b".leading dot\r\n..two\r\n\r\nplain text of a line\r\n"
    message = (line * (size // len(line) + 1))[:size].removesuffix(b"\r")
    whole = message if not message or message.endswith(b"\r\n") else message + b"\r\n"
    pieces = [message[at : at + 9_999] for at in range(0, len(message), 9_999)]

    async def talk(client: SmtpClient) -> None:
        for _ in range(2):
            envelope = Envelope("a@x", ("b@x",), len(whole))
            verdicts = await transfer(client, envelope, lambda: iter(pieces))
            assert said(verdicts) == {"b@x": 250}

    with ScriptedSmtp(features=features) as server:
        converse(server, talk)
    assert [one.octets == whole for one in server.accepted] == [True, True]


@pytest.mark.parametrize("features", [("PIPELINING", "CHUNKING"), ("PIPELINING",)])
def test_a_large_file_is_sent_in_bounded_memory(features: tuple, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * 78 + b"\r\n")
    with path.open("ab") as file:
        for _ in range(300):
            file.write((b"." + b"y" * 97 + b"\r\n") * 1000)  # 30 MB

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                yield piece

    async def talk(client: SmtpClient) -> int:
        envelope = Envelope("a@x", ("b@x",), path.stat().st_size)
        tracemalloc.start()
        try:
            verdicts = await transfer(client, envelope, pieces)
            return tracemalloc.get_traced_memory()[1] if said(verdicts) else 0
        finally:
            tracemalloc.stop()

    with Drain(features) as server:
        assert 0 < converse(server, talk) < 16 << 20


class Drain(ScriptedSmtp):
    """Counts a message's octets instead of keeping them."""

    def __init__(self, features: tuple) -> None:
        super().__init__(features=features)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 x\r\n")
        while not (line := await reader.readline()).startswith(b"QUIT"):
            if line.startswith(b"DATA"):
                writer.write(b"354 go\r\n")
                while await reader.readline() != b".\r\n":
                    pass
            elif line.startswith(b"BDAT"):
                await reader.readexactly(int(line.split()[1]))
            lines = [b"250-x\r\n", *(b"250-%b\r\n" % one.encode() for one in self.features)]
            writer.write(b"".join(lines) + b"250 x\r\n" if line[:4] == b"EHLO" else b"250 x\r\n")


@pytest.mark.parametrize(
    ("features", "arguments"),
    [
        (FEATURES, "SIZE=26 BODY=8BITMIME SMTPUTF8"),
        (("SIZE",), "SIZE=26"),
        (("8BITMIME",), "BODY=8BITMIME"),
        ((), ""),
    ],
)
def test_parameters_go_where_they_are_offered(features: tuple, arguments: str) -> None:
    with ScriptedSmtp(features=features) as server:
        converse(server, sending(MESSAGE, eight_bit=True, utf8=True))
    assert server.accepted[0].arguments == f"MAIL FROM:<a@x> {arguments}".rstrip()


@pytest.mark.parametrize("features", EVERYTHING)
def test_what_was_begun_is_reset_before_the_next(features: tuple) -> None:
    refusals = {"RCPT": InTurn(b"550 no\r\n")}

    async def talk(client: SmtpClient) -> list[Verdicts]:
        return [await sending()(client) for _ in range(3)]

    with ScriptedSmtp(features=features, answers=refusals) as server:
        found = converse(server, talk)
    assert [said(one) for one in found] == [{"b@x": 550}, {"b@x": 250}, {"b@x": 250}]
    assert server.verbs().count("RSET") == 1
    assert len(server.accepted) == 2


def test_a_server_that_wants_a_message_for_nobody_gets_not_an_octet_of_it() -> None:
    lines: list[str] = []

    async def talk(client: SmtpClient) -> list[Verdicts]:
        return [await sending()(client) for _ in range(2)]

    answers = {"RCPT": InTurn(b"550 no\r\n")}
    with ScriptedSmtp(features=("PIPELINING",), answers=answers, eager=True) as server:
        first, second = converse(server, talk, lines=lines)
    assert [line for line in lines if line.startswith("C: [")] == [
        "C: [3 octets]",
        "C: [30 octets]",
    ]
    assert (said(first), said(second)) == ({"b@x": 550}, {"b@x": 250})
    assert [one.octets for one in server.accepted] == [MESSAGE]


def test_over_lmtp_such_a_server_is_left() -> None:
    async def talk(client: SmtpClient) -> Verdicts:
        verdicts = await sending()(client)
        with pytest.raises(ConnectionFailed, match="given up"):
            await sending()(client)
        return verdicts

    answers = {"RCPT": b"550 no\r\n"}
    with ScriptedSmtp(lmtp=True, features=("PIPELINING",), answers=answers, eager=True) as server:
        assert said(converse(server, talk)) == {"b@x": 550}
    assert not server.accepted


def test_a_socket_of_this_machine_is_a_line_too(tmp_path: Path) -> None:
    with ScriptedSmtp(lmtp=True, path=tmp_path / "lmtp") as server:
        assert said(converse(server, sending())) == {"b@x": 250}


# -- Objections --------------------------------------------------------------------

LARGE = (b"x" * 998 + b"\r\n") * 20_000  # more than the system's buffers hold


@pytest.mark.parametrize("rest", [Deaf(), HANG_UP])
@pytest.mark.parametrize("reply", [b"552 5.3.4 too big\r\n", b"421 4.3.0 no more\r\n"])
def test_a_refusal_in_the_middle_ends_the_sending(rest: object, reply: bytes) -> None:
    async def talk(client: SmtpClient) -> Verdicts:
        verdicts = await sending(LARGE)(client)
        with pytest.raises(FetchdError, match="ends the session"):
            await sending()(client)
        return verdicts

    with ScriptedSmtp(features=(), answers={"octets": [reply, rest]}) as server:
        verdicts = converse(server, talk)
    assert said(verdicts) == {"b@x": int(reply[:3])}
    assert verdicts.lost is None


@pytest.mark.parametrize(
    ("happens", "roomy"),
    [
        (lambda stream: stream.data_received(b"552 too big\r\n"), False),
        (lambda stream: stream.resume_writing(), True),
        (lambda stream: stream.eof_received(), False),
        (lambda stream: stream.connection_lost(None), True),
    ],
)
def test_whoever_waits_for_room_hears_what_the_peer_says(
    happens: Callable[[Stream], None], roomy: bool
) -> None:
    async def main() -> bool:
        stream = Stream("x", 25)
        stream.pause_writing()
        waiting = asyncio.create_task(stream.room(PATIENCE))
        await asyncio.sleep(0)
        assert not waiting.done()
        happens(stream)
        return await waiting

    assert asyncio.run(main()) is roomy


def test_room_that_comes_back_wakes_no_reader() -> None:
    """To whom nothing to read would mean that the peer has hung up."""

    async def main() -> bytes:
        stream = Stream("x", 25)
        reading = asyncio.create_task(stream.read(PATIENCE))
        await asyncio.sleep(0)
        stream.pause_writing()
        stream.resume_writing()
        await asyncio.sleep(0)
        stream.data_received(b"x")
        return await reading

    assert asyncio.run(main()) == b"x"


@pytest.mark.parametrize("features", [("PIPELINING", "CHUNKING"), ("CHUNKING",)])
def test_after_a_refused_chunk_no_more_are_sent(features: tuple) -> None:
    refusing = {"BDAT": InTurn(None, b"452 4.3.1 no space\r\n")}

    async def talk(client: SmtpClient) -> list[dict[str, int]]:
        return [said(await sending(LARGE)(client)), said(await sending()(client))]

    with ScriptedSmtp(features=features, answers=refusing) as server:
        assert converse(server, talk) == [{"b@x": 452}, {"b@x": 250}]
    assert server.verbs().count("BDAT") < len(LARGE) // BLOCK
    assert [one.octets for one in server.accepted] == [MESSAGE]


@pytest.mark.parametrize("features", [("PIPELINING", "CHUNKING"), ()])
def test_a_peer_that_takes_no_more_is_left_with_nothing_in_doubt(features: tuple) -> None:
    key = "BDAT" if features else "octets"
    with (
        ScriptedSmtp(features=features, answers={key: Deaf()}) as server,
        pytest.raises(ConnectionFailed, match="did not give room"),
    ):
        converse(server, sending(LARGE), patience=SHORT)
    assert not server.accepted


def test_a_peer_that_takes_octets_too_slowly_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fetchd.clients.pace.MIN_RATE", 1e12)
    monkeypatch.setattr("fetchd.clients.pace.PATIENCE", 0)
    with (
        ScriptedSmtp(features=()) as server,
        pytest.raises(ConnectionFailed, match="takes less than"),
    ):
        converse(server, sending(LARGE))


def test_the_answer_to_a_message_has_more_time_than_others() -> None:
    """In which nobody may be sure: `in_doubt` says so."""
    doubts: list[bool] = []

    class Late:
        async def say(self, talk: object) -> None:
            await asyncio.sleep(4 * SHORT)
            doubts.append(clients[0].in_doubt)
            talk.writer.write(b"250 at last\r\n")

    clients: list[SmtpClient] = []

    async def talk(client: SmtpClient) -> Verdicts:
        clients.append(client)
        doubts.append(client.in_doubt)
        verdicts = await sending()(client)
        doubts.append(client.in_doubt)
        return verdicts

    with ScriptedSmtp(answers={".": Taken(Late())}) as server:
        assert said(converse(server, talk, patience=SHORT)) == {"b@x": 250}
    assert doubts == [False, True, False]


@pytest.mark.parametrize("features", EVERYTHING)
@pytest.mark.parametrize("fault", [HANG_UP, SILENCE, b"garbage\r\n"])
def test_a_lost_answer_to_a_message_is_told_as_such(features: tuple, fault: object) -> None:
    async def talk(client: SmtpClient) -> Verdicts:
        verdicts = await sending()(client)
        with pytest.raises(ConnectionFailed):
            await sending()(client)
        return verdicts

    with ScriptedSmtp(features=features, answers={".": Taken(fault)}) as server:
        verdicts = converse(server, talk, patience=SHORT, final_wait=SHORT)
    assert isinstance(verdicts.lost, ConnectionFailed | RemoteProtocolError)
    assert not verdicts.replies
    assert server.copies("b@x") == 1


def test_lmtp_tells_whose_answer_was_lost() -> None:
    answers = {". c@x": Taken(HANG_UP)}
    with ScriptedSmtp(lmtp=True, answers=answers) as server:
        verdicts = converse(server, sending(MESSAGE, "b@x", "c@x", "d@x"))
    assert said(verdicts) == {"b@x": 250}
    assert verdicts.lost is not None


def test_lmtp_that_closes_among_its_answers_leaves_the_others_in_doubt() -> None:
    answers = {". c@x": [b"421 4.3.0 bye\r\n", HANG_UP]}
    with ScriptedSmtp(lmtp=True, answers=answers) as server:
        verdicts = converse(server, sending(MESSAGE, "b@x", "c@x", "d@x"))
    assert said(verdicts) == {"b@x": 250, "c@x": 421}
    assert isinstance(verdicts.lost, ServerUnavailable)


@pytest.mark.parametrize("features", EVERYTHING)
@pytest.mark.parametrize("farewell", [b"421 4.4.2 idle\r\n", b"554 5.4.2 idle\r\n", b""])
def test_what_is_said_between_two_messages_is_not_about_the_next(
    features: tuple, farewell: bytes
) -> None:
    """It is hung up, and known for sure that nothing was sent."""

    hold = Hold()  # so that the answer comes alone

    async def talk(client: SmtpClient) -> None:
        assert said(await sending()(client)) == {"b@x": 250}
        hold.go_on.set()
        while not client.stream.ended:  # noqa: ASYNC110
            await asyncio.sleep(0)
        with pytest.raises((ConnectionFailed, ServerUnavailable, AccountRefused)):
            await sending()(client)

    with ScriptedSmtp(
        features=features, answers={".": Taken(b"250 ok\r\n", hold, farewell, HANG_UP)}
    ) as server:
        converse(server, talk)
    assert len(server.accepted) == 1


@pytest.mark.parametrize("features", EVERYTHING)
def test_421_to_mail_is_about_the_session(features: tuple) -> None:
    with (
        ScriptedSmtp(features=features, answers={"MAIL": [b"421 busy\r\n", HANG_UP]}) as server,
        pytest.raises(ServerUnavailable, match="ends the session: 421 busy"),
    ):
        converse(server, sending())


@pytest.mark.parametrize("features", EVERYTHING)
def test_421_behind_it_is_an_answer_to_all(features: tuple) -> None:
    answers = {"RCPT TO:<c@x>": [b"421 too many\r\n", HANG_UP]}
    with ScriptedSmtp(features=features, answers=answers) as server:
        verdicts = converse(server, sending(MESSAGE, "b@x", "c@x", "d@x"))
    assert said(verdicts) == {"b@x": 421, "c@x": 421, "d@x": 421}
    assert not server.accepted


def test_a_refused_rset_ends_the_session() -> None:
    async def talk(client: SmtpClient) -> None:
        await sending()(client)
        await sending()(client)

    answers = {"RCPT": b"550 no\r\n", "RSET": b"500 what?\r\n"}
    with (
        ScriptedSmtp(answers=answers) as server,
        pytest.raises(RemoteProtocolError, match="RSET was refused"),
    ):
        converse(server, talk)


@pytest.mark.parametrize("features", EVERYTHING)
@pytest.mark.parametrize("size", [10, 2 * ONE_FLIGHT])
def test_a_message_that_is_not_fit_is_never_ended(features: tuple, size: int) -> None:
    message = b"x" * 78 + b"\r\n"
    message = message * (size // 80) + b"a\n.\nMAIL FROM:<evil@x>\r\n"
    with (
        ScriptedSmtp(features=features) as server,
        pytest.raises(LocalProtocolError, match="alone"),
    ):
        converse(server, sending(message))
    assert not server.accepted


@pytest.mark.parametrize("size", [10, 2 * ONE_FLIGHT])
def test_a_body_that_cannot_be_read_leaves_no_half_message(size: int) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x" * 78 + b"\r\n"
        yield (b"x" * 78 + b"\r\n") * (size // 80)
        raise FileNotFoundError(2, "gone")

    with ScriptedSmtp(features=()) as server:
        envelope = Envelope("a@x", ("b@x",), size)
        with pytest.raises(FileNotFoundError):
            converse(server, lambda client: transfer(client, envelope, pieces))
    assert not server.accepted


# -- Getting in --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "error", "words"),
    [
        ({"greeting": b"554 5.7.1 go away\r\n"}, AccountRefused, "turns us away: 554 5.7.1 go"),
        ({"greeting": b"421 4.3.2 later\r\n"}, ServerUnavailable, "turns us away: 421 4.3.2"),
        ({"greeting": b"+OK pop\r\n"}, RemoteProtocolError, "not an SMTP reply"),
        ({"greeting": HANG_UP}, ConnectionFailed, "hung up while we waited for a greeting"),
        ({"greeting": SILENCE}, ConnectionFailed, "did not give a greeting within"),
        ({"greeting": Endless(b"220-x\r\n")}, RemoteProtocolError, "endless reply"),
        ({"greeting": Endless(b"x")}, RemoteProtocolError, "endless line"),
        ({"greeting": Drip(b"220-x\r\n", 0.1)}, ConnectionFailed, "is too slow"),
        ({"EHLO": b"450 busy\r\n"}, ServerUnavailable, "refuses our greeting"),
        ({"EHLO": b"550 no\r\n", "HELO": b"550 no\r\n"}, AccountRefused, "refuses our greeting"),
        ({"EHLO": [b"421 bye\r\n", HANG_UP]}, ServerUnavailable, "ends the session: 421 bye"),
        ({"EHLO": HANG_UP}, ConnectionFailed, "an answer to EHLO"),
        ({"EHLO": Endless(b"250-x\r\n")}, RemoteProtocolError, "endless reply"),
    ],
)  # fmt: skip
def test_a_server_that_does_not_let_us_in(answers: dict, error: type, words: str) -> None:
    with ScriptedSmtp(answers=answers) as server, pytest.raises(error, match=words):
        converse(server, sending(), patience=SHORT)


def test_a_server_of_another_age_gets_helo() -> None:
    with ScriptedSmtp(features=None) as server:
        assert said(converse(server, sending())) == {"b@x": 250}
    assert server.verbs()[:2] == ["EHLO", "HELO"]


def test_after_starttls_the_server_is_asked_again(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = server_context(authority.issue())
    tls = TlsSettings(TlsMode.STARTTLS, ca_file=authority.ca_file)

    async def talk(client: SmtpClient) -> tuple[bool, bool]:
        before = client.features.pipelining
        await client.start_tls(tls, PATIENCE)
        await client.hello("me")
        await sending()(client)
        return before, client.features.pipelining

    with ScriptedSmtp(features=(), secure=("PIPELINING",), starttls=context) as server:
        assert converse(server, talk) == (False, True)
    assert len(server.accepted) == 1


def test_what_was_put_behind_the_answer_to_starttls_is_an_attack(tmp_path: Path) -> None:
    context = server_context(Authority(tmp_path).issue())
    injected = {"STARTTLS": b"220 go\r\n250 EVIL\r\n"}
    with (
        ScriptedSmtp(starttls=context, answers=injected) as server,
        pytest.raises(RemoteProtocolError, match="plaintext after STARTTLS"),
    ):
        converse(server, lambda client: client.start_tls(NO_TLS, PATIENCE))


@pytest.mark.parametrize("name", ["PLAIN", "LOGIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2"])
@pytest.mark.parametrize("secret", [PASSWORD, PASSWORD * 40])
def test_each_mechanism_lets_us_in_and_shows_nothing(name: str, secret: str) -> None:
    lines: list[str] = []

    async def talk(client: SmtpClient) -> int:
        mechanism = MECHANISMS[name](Login("me", secret))
        return (await client.authenticate(name, mechanism)).code

    with ScriptedSmtp(password=secret) as server:
        assert converse(server, talk, lines=lines) == 235
    assert all(len(line) + 2 <= MAX_AUTH_LINE for line in server.heard if line.startswith("AUTH"))
    text = "\n".join(lines)
    for shown in (secret, f"\0me\0{secret}", f"me\0{secret}", "me"):
        assert base64.b64encode(shown.encode()).decode().rstrip("=") not in text
    assert secret not in text
    assert "C: AUTH ***" in lines
    assert all(line == "S: 334 ***" for line in lines if line.startswith("S: 334"))


@pytest.mark.parametrize(
    ("name", "turns", "words"),
    [
        ("SCRAM-SHA-256", (b"235 ok\r\n",), "did not prove its identity"),
        ("SCRAM-SHA-256", (b"334 cj14\r\n", b"501 given up\r\n"), "SCRAM"),
        ("LOGIN", (b"334 \r\n",) * 20, "does not come to an end"),
        ("LOGIN", (b"334 \r\n", b"what?\r\n"), "not an SMTP reply"),
    ],
)
def test_a_server_that_cheats_at_auth_is_found_out(name: str, turns: tuple, words: str) -> None:
    async def talk(client: SmtpClient) -> None:
        await client.authenticate(name, MECHANISMS[name](Login("me", PASSWORD)))

    with (
        ScriptedSmtp(answers={"AUTH": Turns(turns)}) as server,
        pytest.raises(RemoteProtocolError, match=words),
    ):
        converse(server, talk)
    assert ("*" in server.heard) == (words in ("SCRAM", "does not come to an end"))


def test_a_refusal_that_asks_for_a_login_is_one_of_the_login() -> None:
    with (
        ScriptedSmtp(answers={"EHLO": b"530 5.7.0 log in\r\n", "HELO": b"530 no\r\n"}) as server,
        pytest.raises(AuthenticationFailed),
    ):
        converse(server, sending())


def test_quit_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fetchd.clients.smtp.QUIT_PATIENCE", SHORT)
    with ScriptedSmtp(answers={"QUIT": SILENCE}) as server:
        assert said(converse(server, sending())) == {"b@x": 250}
