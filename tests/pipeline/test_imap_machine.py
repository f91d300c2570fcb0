"""Two clients do whatever they like in an account, and fetchd follows exactly.

A round is a few random deeds of either client and then one sync; after each, the
catalog, the archive and the mirror must be what the server has, as an independent
reader sees it. Between the deeds the server may also be renumbered, the sync may be
cut off in the middle, and the catalog may be rebuilt from the archive.
"""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from benchmarks.mail import with_lf
from fetchd.pipeline.account import SESSIONS
from tests import corpus
from tests.pipeline.home import PASSWORD
from tests.pipeline.imap_home import ImapHome
from tests.servers.dovecot import Dovecot
from tests.servers.mail import digest
from tests.servers.other_client import OtherClient
from tests.servers.proxy import Proxy

ROUNDS = 50
NAMES = ("INBOX", "Work", "Work/Now", "测试", "R&D")
FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "$Forwarded", "Label")
MESSAGES = tuple(corpus.small(40, size=700, seed=77))
FORMS = {digest(octets): digest(with_lf(octets)) for octets in MESSAGES}
HIDDEN = ((), ("QRESYNC",), ("QRESYNC", "CONDSTORE"))

assert SESSIONS > 1  # a cut line is picked up again within a sync

_numbers = itertools.count()
_servers: dict[tuple[str, ...], Dovecot] = {}


@pytest.fixture(scope="module", autouse=True)
def servers() -> Iterator[None]:
    for hidden in HIDDEN:
        _servers[hidden] = Dovecot(separator="/", hide=hidden)
        _servers[hidden].start()
    yield
    for server in _servers.values():
        server.close()
    _servers.clear()


picks = st.lists(st.integers(0, 11), min_size=1, max_size=3)  # positions in a mailbox


class TwoClients(RuleBasedStateMachine):
    """Deeds on the server; `sync` compares."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clients: list[OtherClient] = []

    @initialize(hidden=st.sampled_from(HIDDEN))
    def begin(self, hidden: tuple[str, ...]) -> None:
        self.server = _servers[hidden]
        self.user = f"machine{next(_numbers)}"
        self.server.add_user(self.user, PASSWORD)
        self.clients = [self.server.client(self.user) for _ in range(2)]
        self.home = ImapHome(Path(self.folder.name), self.server.port.imap, self.user)
        self.epoch = 1_000
        self.renumbered: set[str] = set()

    def uids(self, mailbox: str, positions: list[int]) -> list[int]:
        there = self.clients[0].uids(mailbox)
        return sorted({there[p % len(there)] for p in positions}) if there else []

    def mailbox(self, number: int) -> str:
        names = sorted(self.clients[0].mailboxes())
        return names[number % len(names)]

    @rule(
        who=st.integers(0, 1), where=st.integers(0, 9), flags=st.sets(st.sampled_from(FLAGS)),
        message=st.sampled_from(MESSAGES),
    )  # fmt: skip
    def append(self, who: int, where: int, flags: set[str], message: bytes) -> None:
        self.clients[who].append(self.mailbox(where), message, sorted(flags))

    @rule(who=st.integers(0, 1), where=st.integers(0, 9), which=picks,
          add=st.sets(st.sampled_from(FLAGS)), drop=st.sets(st.sampled_from(FLAGS)))  # fmt: skip
    def flag(self, who: int, where: int, which: list[int], add: set[str], drop: set[str]) -> None:
        mailbox = self.mailbox(where)
        uids = self.uids(mailbox, which)
        self.clients[who].flag(mailbox, uids, add=sorted(add), drop=sorted(drop - add))

    @rule(who=st.integers(0, 1), where=st.integers(0, 9), to=st.integers(0, 9), which=picks,
          keep=st.booleans())  # fmt: skip
    def carry(self, who: int, where: int, to: int, which: list[int], keep: bool) -> None:
        source, target = self.mailbox(where), self.mailbox(to)
        client = self.clients[who]
        uids = self.uids(source, which)
        if keep or source == target:
            client.copy(source, uids, target)
        else:
            client.move(source, uids, target)

    @rule(who=st.integers(0, 1), where=st.integers(0, 9), which=picks)
    def expunge(self, who: int, where: int, which: list[int]) -> None:
        mailbox = self.mailbox(where)
        self.clients[who].expunge(mailbox, self.uids(mailbox, which))

    @rule(who=st.integers(0, 1), name=st.sampled_from(NAMES[1:]))
    def create_or_delete(self, who: int, name: str) -> None:
        there = self.clients[who].mailboxes()
        if name not in there and "/" in name and "Work" not in there:
            return
        if name not in there:
            self.clients[who].create(name)
        elif not any(other.startswith(name + "/") for other in there):
            # Else Dovecot goes on listing it, and nobody can open it; see test_imap.py.
            self.clients[who].delete(name)

    @rule(who=st.integers(0, 1), name=st.sampled_from(NAMES[1:]), to=st.sampled_from(NAMES[1:]))
    def rename(self, who: int, name: str, to: str) -> None:
        there = self.clients[who].mailboxes()
        above = {name, to} & {"Work", "Work/Now"}
        if name in there and to not in there and not above:
            self.clients[who].rename(name, to)

    @rule(where=st.integers(0, 9))
    def renumber(self, where: int) -> None:
        self.epoch += 1
        mailbox = self.mailbox(where)
        self.server.change_uidvalidity(self.user, mailbox, self.epoch)
        self.renumbered.add(mailbox)

    @precondition(lambda self: (self.home.data / "catalog.sqlite").exists())
    @rule()
    def rebuild(self) -> None:
        self.home.rebuild()

    @rule(after=st.integers(200, 40_000))
    def cut(self, after: int) -> None:
        """The line breaks somewhere; whatever that left behind, the next sync is right."""
        with Proxy("127.0.0.1", self.server.port.imap, cut_after=after) as proxy:
            self.home.port = proxy.port
            self.home.sync()
        self.home.port = self.server.port.imap

    @rule()
    def sync(self) -> None:
        report = self.home.sync()
        assert report.ok, report.sentence()
        served = self.server.served_imap(self.user)
        # Renumbered and empty at once is not believed before mail has come there.
        doubtful = {name for name in self.renumbered if name in served and not served[name]}
        self.renumbered = doubtful
        for name in doubtful:
            del served[name]
        self.home.agrees_with(served, but=doubtful)
        self.home.mirrors(served, FORMS)  # DUMP
        again = self.home.sync()
        assert (again.fetched, again.delivered, again.gone, again.reflagged) == (0, 0, 0, 0)

    def teardown(self) -> None:
        try:
            if self.clients:
                self.sync()
        finally:
            for client in self.clients:
                client.__exit__(None, None, None)
            self.folder.cleanup()


TwoClients.TestCase.settings = settings(
    max_examples=4,
    stateful_step_count=ROUNDS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestTwoClients = TwoClients.TestCase
