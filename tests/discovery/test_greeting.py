"""Greeting real servers without a login, and a server that says other things."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fetchd.discovery.greeting import greet
from fetchd.discovery.probing import AT_ONCE, Attempt, answers, those_that_answer
from fetchd.errors import ConnectionFailed, FetchdError, TlsFailed
from tests.lacking import lacking
from tests.servers.certificates import Authority
from tests.servers.dovecot import Dovecot, dovecot_available

WAYS = [
    ("imap", "implicit", "imaps"),
    ("imap", "starttls", "imap"),
    ("pop3", "implicit", "pop3s"),
    ("pop3", "starttls", "pop3"),
]


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    if reason := dovecot_available():
        lacking(reason)
    with Dovecot() as server:
        yield server


@pytest.mark.parametrize(("protocol", "tls", "port"), WAYS)
def test_a_server_says_what_it_can_do(dovecot: Dovecot, protocol: str, tls: str, port: str) -> None:
    number = getattr(dovecot.port, port)
    greeted = asyncio.run(greet(protocol, "localhost", number, tls, ca_file=dovecot.ca_file))
    assert "Dovecot" in greeted.text
    assert greeted.tls.startswith("TLSv1.3")
    assert ("IDLE" if protocol == "imap" else "UIDL") in greeted.capabilities


@pytest.mark.parametrize(("protocol", "tls", "port"), WAYS)
def test_an_unknown_authority_is_no_server_to_trust(
    dovecot: Dovecot, tmp_path: Path, protocol: str, tls: str, port: str
) -> None:
    other = Authority(tmp_path).ca_file
    number = getattr(dovecot.port, port)
    with pytest.raises(TlsFailed):
        asyncio.run(greet(protocol, "localhost", number, tls, ca_file=other))
    # Nor is it found by probing, which trusts the system's authorities.
    assert not asyncio.run(answers(Attempt(protocol, "localhost", number, tls)))


def test_a_pinned_certificate_is_trusted(dovecot: Dovecot) -> None:
    pin = dovecot.certificate.fingerprint
    greeted = asyncio.run(
        greet("imap", "localhost", dovecot.port.imaps, "implicit", fingerprint=pin)
    )
    assert greeted.tls


def test_the_other_protocol_is_an_error_in_words(dovecot: Dovecot) -> None:
    with pytest.raises(FetchdError) as raised:
        asyncio.run(
            greet("imap", "localhost", dovecot.port.pop3s, "implicit", ca_file=dovecot.ca_file)
        )
    assert raised.value.whole


def test_a_server_that_says_nothing_costs_the_patience() -> None:
    async def try_it(port: int) -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(ConnectionFailed, match="within"):
            await greet("imap", "127.0.0.1", port, "none", patience=0.3)
        return loop.time() - begun

    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert asyncio.run(try_it(silent.getsockname()[1])) < 3


def test_no_more_than_a_few_are_tried_at_once_and_their_order_stays() -> None:
    at_once = [0, 0]

    async def slow(attempt: Attempt) -> bool:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await asyncio.sleep(0.001)
        at_once[0] -= 1
        return attempt.port % 2 == 0

    tried = [Attempt("imap", "x", number, "implicit") for number in range(20)]
    found = asyncio.run(those_that_answer(tried, slow))
    assert [one.port for one in found] == list(range(0, 20, 2))
    assert at_once[1] == AT_ONCE
