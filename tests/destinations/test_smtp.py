"""Delivery by SMTP and LMTP: who has the message, who has not, and what is told of it."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from fetchd.clients.smtp_transfer import Verdicts
from fetchd.contracts import Body, Outcome, Settled
from fetchd.destinations.smtp import SmtpCarrier, SmtpCourier
from fetchd.destinations.smtp_login import own_name
from fetchd.destinations.smtp_outcome import LONGEST_REPLY, Tally, is_passing
from fetchd.errors import (
    AccountRefused,
    AuthenticationFailed,
    ConnectionFailed,
    DeliveryDeferred,
    DeliveryRefused,
    PlaintextRefused,
    SecretUnavailable,
    ServerUnavailable,
    TlsFailed,
)
from fetchd.protocol.smtp_replies import Reply
from fetchd.settings import SmtpDestination
from fetchd.settings.destination import PASSING
from fetchd.values import replace
from tests.destinations.outgoing import outgoing
from tests.destinations.smtp_sites import (
    BOB,
    EVE,
    FAY,
    PATIENCE,
    WAYS,
    carried,
    carrier,
    carry,
    one,
)
from tests.servers.certificates import Authority
from tests.servers.scripted import server_context
from tests.servers.scripted_smtp import HANG_UP, Hold, InTurn, ScriptedSmtp, Taken

PASSWORD = "tøp-secret-påssword"
NO_USER = b"550 5.1.1 no such user\r\n"
LATER = b"450 4.2.0 not now\r\n"
TEXT = b"Subject: number 1\r\n\r\nText.\r\n"


# -- Outcomes ----------------------------------------------------------------------


@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("lmtp", [False, True])
def test_a_message_arrives_with_its_octets(ways: tuple, lmtp: bool) -> None:
    with ScriptedSmtp(features=ways, lmtp=lmtp) as server:
        settled = carry(carrier(server, BOB, EVE), outgoing(1), outgoing(2))
    assert [each.outcome for each in settled] == [Outcome.DELIVERED] * 2
    assert all(each.reply.startswith("250 2.0.0") and not each.done for each in settled)
    assert [mail.recipients for mail in server.accepted] == [(BOB, EVE)] * 2
    assert server.accepted[0].octets.endswith(TEXT)
    assert server.accepted[0].sender == ("" if lmtp else BOB)
    assert server.connections == 1


@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize(
    ("key", "reply", "outcome"),
    [
        ("MAIL", LATER, "deferred"), ("MAIL", b"552 5.3.4 too big\r\n", "failed"),
        ("RCPT", LATER, "deferred"), ("RCPT", NO_USER, "failed"),
        ("RCPT", b"421 4.7.0 too many\r\n", "deferred"),
        ("RCPT", b"550 5.7.1 greylisted, try again\r\n", "deferred"),
        (".", b"451 4.3.0 oops\r\n", "deferred"), (".", b"554 5.6.0 spam\r\n", "failed"),
        (".", b"421 4.3.0 bye\r\n", "deferred"),
    ],
)  # fmt: skip
def test_a_refusal_of_the_message_is_its_outcome(
    ways: tuple, lmtp: bool, key: str, reply: bytes, outcome: str
) -> None:
    with ScriptedSmtp(features=ways, lmtp=lmtp, answers={key: reply}) as server:
        settled = carry(carrier(server), outgoing(1))
    assert one(settled) == (outcome, reply.decode().strip())
    assert not settled[0].doubtful
    assert not server.accepted


@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("lmtp", [False, True])
def test_whoever_has_it_does_not_get_it_again(ways: tuple, lmtp: bool) -> None:
    answers = {f"RCPT TO:<{EVE}>": InTurn(LATER, NO_USER), f"RCPT TO:<{FAY}>": InTurn(LATER)}
    with ScriptedSmtp(features=ways, lmtp=lmtp, answers=answers) as server:
        site = carrier(server, BOB, EVE, FAY)
        (first,) = carry(site, outgoing(1))
        assert first.outcome is Outcome.DEFERRED
        assert first.reply == f"{BOB} has it, not yet for {EVE}, {FAY}: 450 4.2.0 not now"
        assert first.done == (BOB,)
        (second,) = carry(site, replace(outgoing(1), done=first.done))
        assert second.outcome is Outcome.FAILED
        assert second.reply == f"{BOB}, {FAY} have it, not for {EVE}: 550 5.1.1 no such user"
        assert second.done == (BOB, FAY)
        (third,) = carry(site, replace(outgoing(1), done=second.done))
        assert third.outcome is Outcome.DELIVERED
    assert [server.copies(each) for each in (BOB, EVE, FAY)] == [1, 1, 1]


def test_lmtp_answers_for_each_behind_the_message_too() -> None:
    answers = {f". {EVE}": InTurn(b"452 4.2.2 full\r\n"), f". {FAY}": b"550 5.2.1 closed\r\n"}
    with ScriptedSmtp(lmtp=True, answers=answers) as server:
        site = carrier(server, BOB, EVE, FAY)
        (first,) = carry(site, outgoing(1))
        assert (first.outcome, first.done) == (Outcome.DEFERRED, (BOB,))
        assert f"{EVE}: 452 4.2.2 full" in first.reply
        assert f"{FAY}: 550 5.2.1 closed" in first.reply
        (second,) = carry(site, replace(outgoing(1), done=first.done))
    assert (second.outcome, second.done) == (Outcome.FAILED, (BOB, EVE))


def test_what_everybody_has_is_delivered_without_a_word() -> None:
    with ScriptedSmtp() as server:
        settled = carry(carrier(server), replace(outgoing(1), done=(BOB,)))
    assert one(settled) == ("delivered", "All recipients have it already.")
    assert "MAIL" not in server.verbs()


@pytest.mark.parametrize("ways", WAYS)
def test_a_lost_answer_leaves_the_delivery_in_doubt(ways: tuple) -> None:
    async def main() -> list[Settled]:
        courier = await carrier(server).open()
        settled = await courier.carry([outgoing(1)])
        with pytest.raises(ConnectionFailed):
            await courier.carry([outgoing(2)])
        await courier.close()
        return list(settled)

    with ScriptedSmtp(features=ways, answers={".": Taken(HANG_UP)}) as server:
        (settled,) = asyncio.run(main())
    assert (settled.outcome, settled.doubtful) == (Outcome.DEFERRED, True)
    assert settled.reply.endswith("the message may have arrived")
    assert "hung up while we waited for an answer to the message" in settled.reply


def test_in_doubt_are_only_those_without_an_answer() -> None:
    with ScriptedSmtp(lmtp=True, answers={f". {EVE}": Taken(HANG_UP)}) as server:
        (settled,) = carry(carrier(server, BOB, EVE), outgoing(1))
    assert (settled.outcome, settled.doubtful, settled.done) == (Outcome.DEFERRED, True, (BOB,))
    assert settled.reply.startswith(f"{BOB} has it, not yet for {EVE}: ")


@pytest.mark.parametrize(
    ("key", "reply", "error", "words"),
    [
        ("MAIL", b"421 4.3.2 busy\r\n", ServerUnavailable, "ends the session: 421 4.3.2 busy"),
        ("MAIL", b"454 4.7.0 no TLS\r\n", ServerUnavailable, "takes no mail from us: 454"),
        ("MAIL", b"530 5.7.0 log in\r\n", AuthenticationFailed, "takes no mail from us: 530"),
        ("RCPT", b"530 5.7.0 log in\r\n", AuthenticationFailed, "takes no mail from us: 530"),
        ("MAIL", HANG_UP, ConnectionFailed, "hung up"),
        ("RCPT", HANG_UP, ConnectionFailed, "hung up"),
        ("DATA", HANG_UP, ConnectionFailed, "hung up"),
        ("octets", HANG_UP, ConnectionFailed, "hung up"),
    ],
)  # fmt: skip
def test_what_is_about_the_server_is_raised(key: str, reply: Any, error: type, words: str) -> None:
    large = outgoing(1, b"Subject: x\r\n\r\n" + b"x" * 2_000_000)
    answers = {key: reply}
    with ScriptedSmtp(features=(), answers=answers) as server, pytest.raises(error, match=words):
        carry(carrier(server, BOB, EVE), large)
    assert not server.accepted


def test_a_message_larger_than_the_server_takes_is_not_even_begun() -> None:
    with ScriptedSmtp(features=("SIZE 100",)) as server:
        outcome, reply = one(carry(carrier(server), outgoing(1, b"x" * 100)))
    assert outcome == "failed"
    assert "takes messages of at most 100 octets, and this one has" in reply
    assert "MAIL" not in server.verbs()


def test_what_cannot_be_sent_is_told_with_what_to_do() -> None:
    with ScriptedSmtp(features=()) as server:
        site = carrier(server, eight_bit="defer")
        outcome, reply = one(carry(site, outgoing(1, b"Subject: x\r\n\r\n\xff\r\n")))
        assert (outcome, "8BITMIME" in reply) == ("deferred", True)
        looped = b"X-Fetchd-Trace: x\r\n" + b"Received: by x\r\n" * 60 + TEXT
        assert one(carry(carrier(server), outgoing(1, looped)))[0] == "failed"
    assert "MAIL" not in server.verbs()


def test_a_body_that_is_gone_is_tried_again_later(tmp_path: Path) -> None:
    gone = replace(outgoing(1), body=Body(5, path=tmp_path / "gone"))
    with ScriptedSmtp() as server:
        settled = carry(carrier(server), gone, outgoing(2))
    assert [each.outcome for each in settled] == [Outcome.DEFERRED, Outcome.DELIVERED]


@pytest.mark.parametrize("ways", WAYS)
def test_eight_bit_octets_are_announced(ways: tuple) -> None:
    with ScriptedSmtp(features=ways) as server:
        carry(carrier(server), outgoing(1, b"Subject: x\r\n\r\nna\xc3\xafve\r\n"), outgoing(2))
    assert [mail.arguments.endswith("BODY=8BITMIME") for mail in server.accepted] == [True, False]


def test_a_domain_beyond_ascii_goes_as_its_a_labels() -> None:
    with ScriptedSmtp(features=()) as server:
        (settled,) = carry(carrier(server, "bob@bücher.example"), outgoing(1))
    assert settled.outcome is Outcome.DELIVERED
    assert server.accepted[0].recipients == ("bob@xn--bcher-kva.example",)


def test_an_address_beyond_ascii_needs_a_server_that_takes_it() -> None:
    with ScriptedSmtp(features=("8BITMIME", "SMTPUTF8")) as server:
        assert one(carry(carrier(server, "jürgen@example.org"), outgoing(1)))[0] == "delivered"
    assert server.accepted[0].arguments.endswith("SMTPUTF8")


@pytest.mark.parametrize("lmtp", [False, True])
def test_an_address_that_the_server_cannot_be_told_makes_all_mail_wait(lmtp: bool) -> None:
    """It is the settings' fault, or the server's: no message fails for it."""
    with ScriptedSmtp(features=("8BITMIME",), lmtp=lmtp) as server:
        with pytest.raises(AccountRefused, match=r"SMTPUTF8, without which jürgen@") as told:
            carry(carrier(server, BOB, "jürgen@example.org"), outgoing(1))
        assert "ASCII local part" in told.value.advice
    assert not server.accepted


def test_several_letters_are_settled_up_to_where_the_line_broke() -> None:
    async def main() -> list[Settled]:
        courier = await carrier(server).open()
        return list(await courier.carry([outgoing(1), outgoing(2), outgoing(3)]))

    answers = {"MAIL": InTurn(None, [b"421 enough\r\n", HANG_UP])}
    with ScriptedSmtp(answers=answers) as server:
        settled = asyncio.run(main())
    assert [str(each.outcome) for each in settled] == ["delivered", "deferred", "deferred"]
    assert not any(each.doubtful for each in settled)


# -- The fallback ------------------------------------------------------------------


@pytest.mark.parametrize("ways", WAYS)
@pytest.mark.parametrize("key", ["RCPT TO:<bob>", ". bob"])
def test_the_fallback_gets_what_is_refused_for_good(ways: tuple, key: str) -> None:
    with ScriptedSmtp(lmtp=True, features=ways, answers={key: NO_USER}) as server:
        site = carrier(server, "ann", "bob", fallback_recipient="post")
        (settled,) = carry(site, outgoing(1))
    assert settled.outcome is Outcome.DELIVERED
    assert settled.reply == (
        "ann: 250 2.0.0 ok; bob: 550 5.1.1 no such user; post instead: 250 2.0.0 ok"
    )
    assert [server.copies(each) for each in ("ann", "bob", "post")] == [1, 0, 1]
    assert server.connections == 1


def test_the_fallback_gets_one_copy_for_all_who_are_refused() -> None:
    answers = {"RCPT TO:<ann>": NO_USER, "RCPT TO:<bob>": NO_USER}
    with ScriptedSmtp(lmtp=True, answers=answers) as server:
        site = carrier(server, "ann", "bob", fallback_recipient="post")
        assert one(carry(site, outgoing(1)))[0] == "delivered"
        assert server.copies("post") == 1
        site = carrier(server, "ann", "post", fallback_recipient="post")
        assert one(carry(site, outgoing(2)))[0] == "delivered"
        assert server.copies("post") == 2, "it was a recipient itself"


@pytest.mark.parametrize(
    ("there", "outcome", "words", "doubtful"),
    [
        (LATER, "deferred", "bob: 550 5.1.1 no such user; post instead: 450 4.2.0 not now", False),
        (NO_USER, "failed", "post instead: 550 5.1.1 no such user", False),
        ([b"421 bye\r\n", HANG_UP], "deferred", "post instead: 421 bye", False),
    ],
)
def test_what_becomes_of_the_fallback_is_the_outcome(
    there: Any, outcome: str, words: str, doubtful: bool
) -> None:
    answers = {"RCPT TO:<bob>": NO_USER, "RCPT TO:<post>": there}
    with ScriptedSmtp(lmtp=True, answers=answers) as server:
        (settled,) = carry(carrier(server, "ann", "bob", fallback_recipient="post"), outgoing(1))
    assert (str(settled.outcome), settled.doubtful) == (outcome, doubtful)
    assert words in settled.reply
    assert settled.done == ("ann",)
    assert [server.copies(each) for each in ("ann", "bob", "post")] == [1, 0, 0]


def test_a_fallback_that_cannot_be_asked_is_asked_next_time() -> None:
    answers = {"RCPT TO:<bob>": NO_USER, "MAIL": InTurn(None, HANG_UP)}
    with ScriptedSmtp(lmtp=True, features=(), answers=answers) as server:
        site = carrier(server, "ann", "bob", fallback_recipient="post")
        (first,) = carry(site, outgoing(1))
        assert (first.outcome, first.done) == (Outcome.DEFERRED, ("ann",))
        (second,) = carry(site, replace(outgoing(1), done=first.done))
    assert second.outcome is Outcome.DELIVERED
    assert [server.copies(each) for each in ("ann", "bob", "post")] == [1, 0, 1]


@pytest.mark.parametrize("reply", [LATER, b"552 5.3.4 too big\r\n"])
def test_the_fallback_is_not_for_what_is_about_the_message(reply: bytes) -> None:
    with ScriptedSmtp(lmtp=True, answers={"MAIL": reply}) as server:
        carry(carrier(server, "bob", fallback_recipient="post"), outgoing(1))
    assert server.verbs().count("MAIL") == 1


# -- Words -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "passing"),
    [
        ("450 4.2.0 x", True), ("550 5.7.1 Greylisted for 5 minutes", True),
        ("554 5.7.1 TRY AGAIN later", True), ("550 4.7.1 rejected", True),
        ("550 5.1.1 no such user", False), ("550 user 4.2 unknown", False),
        ("554 temporarily unavailable", True), ("552 quota", False), ("500 ?", False),
    ],
)  # fmt: skip
def test_some_refusals_pass_all_the_same(reply: str, passing: bool) -> None:
    code, _, text = reply.partition(" ")
    assert is_passing(Reply(int(code), (text,)), PASSING) is passing


def test_brackets_in_a_pattern_are_brackets() -> None:
    reply = Reply(550, ("[192.0.2.1] listed",))
    assert is_passing(reply, ["550 [192.0.2.1]*"])
    assert not is_passing(reply, ["550 [129.]*"])


def test_a_reply_as_long_as_a_page_is_told_in_short() -> None:
    tally = Tally(())
    tally.count([BOB], Verdicts(Reply(250), {BOB: Reply(550, ("x" * 9000,))}))
    reply = tally.settled(1).reply
    assert len(reply) == LONGEST_REPLY
    assert reply.endswith("…")


def test_mail_refused_decides_for_all_even_if_the_line_broke_then() -> None:
    tally = Tally(())
    tally.count([BOB], Verdicts(Reply(550, ("no",)), {}, ConnectionFailed("lost")))
    assert tally.settled(1) == Settled(1, Outcome.FAILED, "550 no")


# -- Getting in, and asking ------------------------------------------------------------


def heard(site: SmtpCarrier, what: str = "open") -> list[tuple[str, str]]:
    steps: list[tuple[str, str]] = []

    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            if what == "probe":
                await site.probe(lambda *step: steps.append(step))
            else:
                await (await site.open(lambda *step: steps.append(step))).close()

    asyncio.run(main())
    return steps


def test_each_step_is_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = server_context(authority.issue())
    with ScriptedSmtp(starttls=context, secure=("AUTH PLAIN LOGIN", "PIPELINING")) as server:
        site = carrier(
            server, BOB, EVE, tls="starttls", ca_file=authority.ca_file, username="me",
            password=PASSWORD, sender="me@example.org",
        )  # fmt: skip
        steps = heard(site, "probe")
        assert heard(site)[-1] == ("login", "PLAIN")
    assert [step for step, _ in steps] == [
        "resolve", "password", "connect", "tls", "capabilities", "login", "sender", "recipient",
        "recipient",
    ]  # fmt: skip
    told = dict(steps)
    assert told["resolve"] == "127.0.0.1"
    assert told["capabilities"] == "AUTH PIPELINING"
    assert told["sender"] == "<me@example.org>: 250 2.1.0 ok"
    assert told["recipient"] == f"{EVE}: 250 2.1.5 ok"
    assert server.verbs()[-4:] != ["DATA"]
    assert not {"DATA", "BDAT"} & set(server.verbs())
    assert "RSET" in server.verbs()


@pytest.mark.parametrize(
    ("answers", "error", "words"),
    [
        ({f"RCPT TO:<{EVE}>": NO_USER}, DeliveryRefused, f"takes no mail for {EVE}: 550 5.1.1"),
        ({f"RCPT TO:<{EVE}>": LATER}, DeliveryDeferred, f"no mail for {EVE} for now: 450 4.2.0"),
        ({"RCPT TO:<post@x.org>": NO_USER}, DeliveryRefused, "no mail for post@x.org"),
        ({"MAIL": b"553 5.1.8 no\r\n"}, DeliveryRefused, "no mail from <bob@example.org>: 553"),
        ({"MAIL": b"530 5.7.0 log in\r\n"}, AuthenticationFailed, "takes no mail from us: 530"),
        ({"greeting": b"554 no\r\n"}, AccountRefused, "turns us away"),
    ],
)
def test_a_probe_says_who_is_refused(answers: dict, error: type, words: str) -> None:
    with ScriptedSmtp(lmtp=True, answers=answers) as server:
        site = carrier(server, BOB, EVE, fallback_recipient="post@x.org", sender=BOB)
        with pytest.raises(error, match=words) as caught:
            heard(site, "probe")
    assert caught.value.advice


@pytest.mark.parametrize(
    ("more", "sender"),
    [
        ({}, BOB), ({"sender": "null"}, ""), ({"sender": "original"}, BOB),
        ({"sender": "x@y.org"}, "x@y.org"), ({"address": "z@y.org"}, "z@y.org"),
    ],
)  # fmt: skip
def test_a_probe_asks_as_the_sender_that_mail_will_have(more: dict, sender: str) -> None:
    with ScriptedSmtp() as server:
        heard(carrier(server, **more), "probe")
    assert f"MAIL FROM:<{sender}>" in server.heard


@pytest.mark.parametrize(
    ("offered", "refusals", "tried", "error"),
    [
        ("AUTH PLAIN", [], ["PLAIN"], None),
        ("AUTH LOGIN", [], ["LOGIN"], None),
        ("AUTH=LOGIN", [], ["LOGIN"], None),
        ("AUTH SCRAM-SHA-256 PLAIN", [], ["SCRAM-SHA-256"], None),
        ("AUTH SCRAM-SHA-1 PLAIN", [b"535 5.7.8 no\r\n"], ["SCRAM-SHA-1", "PLAIN"], None),
        ("AUTH PLAIN LOGIN", [b"504 5.5.4 what?\r\n"], ["PLAIN", "LOGIN"], None),
        ("AUTH PLAIN LOGIN", [b"535 5.7.8 no\r\n"], ["PLAIN"], AuthenticationFailed),
        ("AUTH PLAIN LOGIN", [b"454 4.7.0 later\r\n"], ["PLAIN"], ServerUnavailable),
        ("AUTH SCRAM-SHA-1 PLAIN", [b"454 4.7.0 no\r\n"], ["SCRAM-SHA-1"], ServerUnavailable),
        ("AUTH PLAIN", [b"550 5.7.0 too many logins, later\r\n"], ["PLAIN"], ServerUnavailable),
        ("AUTH CRAM-MD5 XOAUTH2", [], [], AuthenticationFailed),
        ("8BITMIME", [], [], AuthenticationFailed),
    ],
)
def test_what_auto_tries(offered: str, refusals: list, tried: list, error: type | None) -> None:
    answers = {"AUTH": InTurn(*refusals)} if refusals else {}
    with ScriptedSmtp(features=(offered,), password=PASSWORD, answers=answers) as server:
        site = carrier(server, username="me", password=PASSWORD, allow_plaintext_auth=True)
        if error is None:
            assert heard(site)[-1] == ("login", tried[-1])
        else:
            with pytest.raises(error):
                heard(site)
    assert [line.split()[1] for line in server.heard if line.startswith("AUTH")] == tried


def test_no_password_goes_in_the_clear() -> None:
    with ScriptedSmtp(features=("AUTH PLAIN",)) as server:
        with pytest.raises(PlaintextRefused):
            heard(carrier(server, username="me", password=PASSWORD))
        assert not server.heard
        heard(carrier(server))  # nobody logs in: nothing is lost


def test_a_socket_of_this_machine_takes_a_password(tmp_path: Path) -> None:
    with ScriptedSmtp(lmtp=True, features=("AUTH PLAIN",), path=tmp_path / "lmtp") as server:
        steps = heard(carrier(server, username="me", password=PASSWORD), "probe")
    assert steps[1] == ("connect", str(tmp_path / "lmtp"))
    assert ("login", "PLAIN") in steps
    server.path.unlink()
    with pytest.raises(ConnectionFailed, match="lmtp is not there") as caught:
        heard(carrier(server))
    assert "server is running" in caught.value.advice


def test_no_secret_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with ScriptedSmtp(features=("AUTH PLAIN",), answers={"AUTH": b"535 no\r\n"}) as server:
        site = carrier(
            server, username="me", password=PASSWORD, allow_plaintext_auth=True,
            transcript=lambda way, line: lines.append(f"{way} {line}"),
        )  # fmt: skip
        with pytest.raises(AuthenticationFailed) as caught:
            heard(site)
    shown = "\n".join(lines) + repr(caught.value) + "".join(capsys.readouterr())
    assert PASSWORD not in shown
    assert "AG1lA" not in shown  # base64 of NUL me NUL
    assert "C AUTH ***" in lines


def test_a_password_is_read_once_and_again_when_it_serves_no_longer(tmp_path: Path) -> None:
    """A token that expired, say."""
    source = tmp_path / "password"
    source.write_text("old")
    source.chmod(0o600)

    async def main() -> None:
        for _ in range(2):
            await (await site.open()).close()
        source.write_text("new")
        await (await site.open()).close()

    refusal = InTurn(None, None, b"535 5.7.8 expired\r\n")
    with ScriptedSmtp(features=("AUTH PLAIN",), answers={"AUTH": refusal}) as server:
        site = carrier(server, username="me", password_file=source, allow_plaintext_auth=True)
        asyncio.run(main())
    passwords = [line.split()[2] for line in server.heard if line.startswith("AUTH")]
    assert len(passwords) == 4
    assert passwords[0] == passwords[1] == passwords[2] != passwords[3]


def test_a_password_that_cannot_be_had_is_told_before_anything_else() -> None:
    with ScriptedSmtp() as server:
        site = carrier(
            server, username="me", password_env="NOT_SET", allow_plaintext_auth=True, environ={}
        )
        with pytest.raises(SecretUnavailable, match="NOT_SET is not in the environment"):
            heard(site)
    assert server.connections == 0


def test_starttls_that_is_not_there_ends_the_attempt(tmp_path: Path) -> None:
    context = server_context(Authority(tmp_path).issue())
    refused = {"STARTTLS": b"454 4.7.0 not now\r\n"}
    for more, error, words in (
        ({}, TlsFailed, "offers no STARTTLS"),
        ({"starttls": context, "answers": refused}, ServerUnavailable, "STARTTLS for now: 454"),
        ({"starttls": context, "answers": {"STARTTLS": b"502 no\r\n"}}, TlsFailed, "refuses"),
    ):
        with ScriptedSmtp(**more) as server, pytest.raises(error, match=words):
            heard(carrier(server, tls="starttls", username="me", password=PASSWORD))
        assert "AUTH" not in server.verbs()


def test_a_certificate_that_is_not_to_be_trusted_ends_the_attempt(tmp_path: Path) -> None:
    certificate = Authority(tmp_path).issue_self_signed()
    with ScriptedSmtp(tls=server_context(certificate), features=()) as server:
        with pytest.raises(TlsFailed, match="self-signed"):
            heard(carrier(server, tls="implicit"))
        heard(carrier(server, tls="implicit", fingerprint=certificate.fingerprint))


@pytest.mark.parametrize(
    ("machine", "address", "name"),
    [
        ("mail.example.org", "192.0.2.1", "mail.example.org"),
        ("laptop", "192.0.2.1", "[192.0.2.1]"),
        ("localhost.localdomain", "192.0.2.1", "[192.0.2.1]"),
        ("my_host.example.org", "192.0.2.1", "[192.0.2.1]"),
        ("evil\r\nMAIL.example.org", "192.0.2.1", "[192.0.2.1]"),
        ("x" * 64 + ".org", "192.0.2.1", "[192.0.2.1]"),
        ("laptop", "2001:db8::1", "[IPv6:2001:db8::1]"),
        ("laptop", "fe80::1%eth0", "[IPv6:fe80::1]"),
        ("laptop", "", "localhost"),
    ],
)  # fmt: skip
def test_we_call_ourselves_by_a_name_or_by_our_address(
    machine: str, address: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda: machine)
    assert own_name.__wrapped__(address) == name


def test_a_name_of_the_settings_goes_first() -> None:
    with ScriptedSmtp() as server:
        heard(carrier(server, helo="other.example.org"))
        heard(carrier(server, helo=None))
    names = [line for line in server.heard if line.startswith("EHLO")]
    assert names == ["EHLO other.example.org", f"EHLO {own_name('127.0.0.1')}"]


# -- SRS ---------------------------------------------------------------------------


def test_a_sender_is_rewritten_with_the_secret_of_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "srs"
    secret.write_text("tops3cret\n")
    secret.chmod(0o600)
    message = b"Return-Path: <ann@far.example>\r\n" + TEXT
    with ScriptedSmtp() as server:
        more = {"sender": "original", "srs_domain": "fwd.example.org"}
        carry(carrier(server, srs_secret_file=secret, **more), outgoing(1, message))
        carry(carrier(server, srs_secret="tops3cret", **more), outgoing(1, message))
        carry(carrier(server, srs_secret="another", **more), outgoing(1, message))
        secret.chmod(0o644)
        with pytest.raises(SecretUnavailable, match="readable by others"):
            carry(carrier(server, srs_secret_file=secret, **more), outgoing(1, message))
        with pytest.raises(SecretUnavailable, match="cannot be read"):
            carry(carrier(server, srs_secret_file=tmp_path / "x", **more), outgoing(1, message))
    first, second, third = (mail.sender for mail in server.accepted)
    assert first.startswith("SRS0=")
    assert first.endswith("=far.example=ann@fwd.example.org")
    assert first == second != third


# -- Many at once ------------------------------------------------------------------


def test_many_connections_share_the_work() -> None:
    async def main() -> list[Settled]:
        site = carrier(server)
        found = await asyncio.gather(
            *(carried(site, *(outgoing(n) for n in range(at, 60, 4))) for at in range(4))
        )
        return [each for some in found for each in some]

    with ScriptedSmtp() as server:
        settled = asyncio.run(main())
    assert {each.outcome for each in settled} == {Outcome.DELIVERED}
    assert len(server.accepted) == 60
    assert carrier(server).terms.connections == 4
    assert not carrier(server).terms.in_order


def test_whoever_stops_in_the_middle_leaves_no_half_message() -> None:
    hold = Hold()

    async def main() -> None:
        courier = await carrier(server).open()
        large = outgoing(1, b"Subject: x\r\n\r\n" + (b"x" * 998 + b"\r\n") * 20_000)
        carrying = asyncio.create_task(courier.carry([large]))
        await asyncio.to_thread(hold.reached.wait, PATIENCE)
        carrying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await carrying
        hold.go_on.set()
        with pytest.raises(ConnectionFailed):
            await courier.carry([outgoing(2)])
        await courier.close()

    with ScriptedSmtp(features=(), answers={"octets": hold}) as server:
        asyncio.run(main())
    assert not server.accepted


def test_the_environment_is_the_process_own_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SMTP_PASSWORD", PASSWORD)
    with ScriptedSmtp(features=("AUTH PLAIN",)) as server:
        more = {"username": "me", "password_env": "SMTP_PASSWORD", "allow_plaintext_auth": True}
        assert heard(carrier(server, **more))[-1] == ("login", "PLAIN")


def test_the_settings_say_how_long_the_answer_to_a_message_is_waited_for() -> None:
    with ScriptedSmtp() as server:
        site = SmtpCarrier(
            SmtpDestination(
                kind="smtp", host="127.0.0.1", port=server.port, tls="none", recipients=(BOB,),
                timeouts={"final": "20m"},
            ),
            "instance",
        )  # fmt: skip

        async def wait() -> float:
            courier = await site.open()
            assert isinstance(courier, SmtpCourier)
            await courier.close()
            return courier._client.final_wait

        assert asyncio.run(wait()) == 1200
