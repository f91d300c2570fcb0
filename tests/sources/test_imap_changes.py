"""Quirks 48 to 50: what has changed, as the server counts it, and what that is worth."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from fetchd.policy.plan import Listing
from fetchd.sources.imap import ImapSession
from tests import corpus
from tests.pipeline.home import PASSWORD
from tests.pipeline.imap_home import ImapHome
from tests.servers.dovecot import Dovecot
from tests.servers.imap_boxes import Box
from tests.servers.imap_sins import Sins
from tests.servers.mail import Mail
from tests.servers.proxy import Proxy
from tests.servers.scripted_imap import CAPABILITIES, ScriptedImap
from tests.sources.imap_opening import MESSAGES, visit, whole

CONDSTORE = tuple(word for word in CAPABILITIES if word != "QRESYNC")
PLAIN = ("IMAP4rev1", "AUTH=PLAIN", "SASL-IR", "LIST-EXTENDED", "LIST-STATUS")


def box() -> Box:
    return Box([Mail(m, ("\\Seen",)) for m in corpus.small(20)])


def flag_and_remove(server: ScriptedImap) -> None:
    inbox = server.boxes[b"INBOX"]
    inbox.flag(inbox.messages[2], ["\\Flagged"])
    inbox.remove({1})
    inbox.add(corpus.small(1, seed=99)[0])


def asked(server: ScriptedImap) -> list[str]:
    return [line for line in server.heard if line.startswith(("EXAMINE", "UID FETCH"))]


@pytest.mark.parametrize(
    ("capabilities", "sins", "in_full"),
    [
        (CAPABILITIES, Sins(), False),
        (CONDSTORE,    Sins(), True),  # nobody says what vanished
        (PLAIN,        Sins(), True),
        (CAPABILITIES, Sins(silent_enable=True), True),  # 50: iCloud
        (CAPABILITIES, Sins(vanished_besides=b"500:4294967295"), True),  # 50
        (CAPABILITIES, Sins(vanished_besides=b"500:900"), False),
        (CAPABILITIES, Sins(minus_one=True), True),  # 48: Zoho
        (CAPABILITIES, Sins(bare_codes=True), False),  # 48: Gmail
    ],
)  # fmt: skip
def test_q48_q50_what_happened_is_followed(
    capabilities: Sequence[str], sins: Sins, in_full: bool, tmp_path: Path
) -> None:
    with ScriptedImap({"INBOX": box()}, sins=sins, capabilities=capabilities) as server:
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().fetched == 20
        server.change(flag_and_remove)
        server.heard.clear()
        report = here.sync()
        assert (report.ok, report.fetched, report.gone, report.reflagged) == (True, 1, 1, 1)
        listings = [line for line in asked(server) if "1:*" in line]
        assert in_full == any("CHANGEDSINCE" not in line for line in listings)
        believed = here.believed()["INBOX"]
        assert believed.keys() == set(range(2, 22))
        assert believed[3][1] == {"\\Flagged"}
        last = here.sync()
        assert (last.fetched, last.gone, last.reflagged) == (0, 0, 0)


def test_q48_a_mailbox_without_modseq_is_compared_in_bulk(tmp_path: Path) -> None:
    """STATUS says HIGHESTMODSEQ 0 as before: that means nothing."""
    counting = Box(corpus.small(3, seed=3))
    inbox = Box([Mail(m, ("\\Seen",)) for m in corpus.small(5)], modseqs=False)
    with ScriptedImap({"INBOX": inbox, "A": counting}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().fetched == 8
        server.change(lambda s: s.boxes[b"INBOX"].flag(s.boxes[b"INBOX"].messages[1], ["\\Draft"]))
        server.heard.clear()
        report = here.sync()
        assert (report.ok, report.fetched, report.reflagged) == (True, 0, 1)
        assert here.believed()["INBOX"][2][1] == {"\\Draft"}
        assert [line.split()[1] for line in asked(server) if line[0] == "E"] == ["INBOX"]


def test_q49_flags_that_change_uncounted_are_found_by_the_full_pass(tmp_path: Path) -> None:
    inbox = Box([Mail(m, ("\\Seen",)) for m in corpus.small(5)], frozen_modseq=True)
    with ScriptedImap({"INBOX": inbox}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        here.sync()
        server.change(lambda s: s.boxes[b"INBOX"].flag(s.boxes[b"INBOX"].messages[1], ["\\Draft"]))
        assert here.sync().reflagged == 0
        here.account["full_pass"] = "1ms"  # the last one is longer ago
        assert here.sync().reflagged == 1


def test_q49_a_count_that_went_back_is_not_believed(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": box()}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        here.sync()

        def restore(s: ScriptedImap) -> None:
            inbox = s.boxes[b"INBOX"]
            inbox.modseq = 2
            for message in inbox.messages:
                message.modseq = 1
            inbox.flag(inbox.messages[4], ["\\Answered"])
            inbox.messages[5].flags = {"\\Deleted"}

        server.change(restore)
        report = here.sync()
        assert (report.ok, report.fetched, report.reflagged) == (True, 0, 2)
        assert here.believed()["INBOX"][6][1] == {"\\Deleted"}


def test_q50_enable_comes_before_any_mailbox_is_opened() -> None:
    with ScriptedImap({"INBOX": MESSAGES}) as server:
        visit(server.port, whole)
        verbs = server.verbs()
        assert verbs.index("ENABLE") < verbs.index("EXAMINE")


@pytest.mark.live
def test_a_delta_asks_for_nothing_but_what_changed(tmp_path: Path) -> None:
    with Dovecot(separator="/") as server:
        server.add_user("work", PASSWORD)
        server.fill("work", [Mail(m, ("\\Seen",)) for m in corpus.small(2000, size=300)])
        with Proxy("127.0.0.1", server.port.imap) as proxy:
            here = ImapHome(tmp_path, proxy.port, "work")
            here.destination = {}
            assert here.sync().fetched == 2000
            before = proxy.octets
            assert here.sync().fetched == 0
            idle = proxy.octets - before
            with server.client("work") as other:
                other.flag("INBOX", [7, 8], add=["\\Flagged"])
                other.expunge("INBOX", [9])
            before = proxy.octets
            report = here.sync()
            assert (report.ok, report.fetched, report.gone, report.reflagged) == (True, 0, 1, 2)
            # EXAMINE says about 600 octets of itself, a whole listing would say 200,000.
            assert proxy.octets - before - idle < 1500


@pytest.mark.live
def test_a_delta_is_two_commands_in_one_flight() -> None:
    with Dovecot(separator="/") as server:
        server.add_user("work", PASSWORD)
        server.fill("work", MESSAGES)
        lines: list[str] = []

        async def listing(session: ImapSession, digest: bytes | None) -> Listing | None:
            await session.mailboxes()
            return await session.list("INBOX", digest, whole=digest is None)

        first = visit(server.port.imap, lambda s: listing(s, None), user="work", secret=PASSWORD)
        assert first is not None
        with server.client("work") as other:
            other.flag("INBOX", [2], add=["\\Flagged"])
            other.expunge("INBOX", [4])
        delta = visit(
            server.port.imap, lambda s: listing(s, first.digest), user="work", secret=PASSWORD,
            transcript=lines,
        )  # fmt: skip
        assert delta is not None
        assert (delta.delta, delta.total) == (True, 4)
        assert [(m.number, m.flags) for m in delta.messages] == [(2, "\\Flagged")]
        assert [uid.rpartition(b".")[2] for uid in delta.vanished] == [b"4"]
        said = [line for line in lines if re.match("C: (EXAMINE|SELECT|UID|STATUS)", line)]
        assert [line.split()[1] for line in said] == ["EXAMINE", "UID"]
        assert "CHANGEDSINCE" in said[1]
        assert "VANISHED" in said[1]
