"""One private Dovecot for the tests of a worker; each test has a user of its own."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.pipeline.home import PASSWORD, Home
from tests.servers.dovecot import Dovecot

_numbers = itertools.count()


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot() as server:
        yield server
        assert server.complaints() == []


Mailbox = Callable[[Sequence[bytes]], str]


@pytest.fixture
def mailbox(dovecot: Dovecot) -> Mailbox:
    """Makes a user with these messages."""

    def make(messages: Sequence[bytes]) -> str:
        user = f"user{next(_numbers)}"
        dovecot.add_user(user, PASSWORD)
        dovecot.fill(user, messages)
        return user

    return make


@pytest.fixture
def home(dovecot: Dovecot, tmp_path: Path) -> Callable[..., Home]:
    """Makes a home whose accounts are these users."""

    def make(*users: str, **account: object) -> Home:
        return Home(tmp_path, dovecot.port.pop3, *users, **account)

    return make
