"""Quirks 42 to 47, 54 and 59 to 64: what is asked of odd servers, and what their mailboxes are."""

import asyncio
import re
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fetchd.contracts import Credentials
from fetchd.errors import FetchdError, MailboxUnavailable
from fetchd.policy.plan import RemoteMessage
from fetchd.sources.imap import ImapSession, open_imap
from tests import corpus
from tests.lacking import lacking
from tests.pipeline.imap_home import ImapHome
from tests.servers.cyrus import Cyrus, cyrus_available
from tests.servers.dovecot import Dovecot
from tests.servers.imap_boxes import Box
from tests.servers.imap_sins import Sins
from tests.servers.mail import Mail
from tests.servers.scripted_imap import CAPABILITIES, ScriptedImap
from tests.sources.imap_opening import MESSAGES, access, bodies, visit, whole
from tests.sources.opening import PASSWORD

OLD = ("IMAP4rev1", "AUTH=PLAIN", "SASL-IR")
LONG_AGO = datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Dovecot(separator="/") as server:
        yield server


async def names(session: ImapSession) -> list[str]:
    return list(await session.mailboxes())


def visited(server: ScriptedImap, **changes: object) -> list[str]:
    return visit(server.port, names, **changes)


# -- 42 to 47: what is asked ------------------------------------------------------------


@pytest.mark.live
def test_q42_mail_with_an_old_date_is_new(dovecot: Dovecot, tmp_path: Path) -> None:
    dovecot.add_user("q42", PASSWORD)
    dovecot.fill("q42", corpus.small(3))
    here = ImapHome(tmp_path, dovecot.port.imap, "q42")
    here.account["password"] = PASSWORD
    assert here.sync().fetched == 3
    with dovecot.client("q42") as other:
        other.append("INBOX", corpus.small(1, seed=5)[0], (), LONG_AGO)
    assert here.sync().fetched == 1


@pytest.mark.parametrize("capabilities", [CAPABILITIES, OLD])
def test_q43_q44_nothing_is_ever_searched_for(
    capabilities: tuple[str, ...], tmp_path: Path
) -> None:
    """So it does not matter who answers SEARCH wrongly, or not at all."""
    with ScriptedImap({"INBOX": corpus.small(3)}, capabilities=capabilities) as server:
        here = ImapHome(tmp_path, server.port, "work", leave_on_server={"days": 1})
        here.sync()
        here.sync()
        assert not any("SEARCH" in verb for verb in server.verbs())


SPARSE = list(range(3_000_000_001, 3_000_001_000, 2))


@pytest.mark.parametrize(
    "sins",
    [
        Sins(ascending_only=True),  # 45: QQ, hMailServer
        Sins(line_limit=1000),  # 46: Yahoo, UW
        Sins(no_range_of_one=True),  # 47: PMDF
    ],
)
@pytest.mark.parametrize("capabilities", [CAPABILITIES, ("UIDPLUS", *OLD)])
def test_q45_to_q47_sets_are_such_as_any_server_takes(
    sins: Sins, capabilities: tuple[str, ...]
) -> None:
    mails = [b"Subject: %d\r\n\r\n%d\r\n" % (n, n) for n in SPARSE]
    box = Box(mails, uids=SPARSE)

    async def work(session: ImapSession) -> int:
        listing = await whole(session)
        backwards = listing.messages[::-1]
        headers = [one async for one in session.headers(backwards)]
        arrivals = [one async for one in session.fetch(backwards)]
        assert len(headers) == len(arrivals) == len(SPARSE)
        return len((await session.retire(backwards)).uids)

    trash = "x" * 250
    with ScriptedImap({"INBOX": box, trash: []}, sins=sins, capabilities=capabilities) as server:
        assert visit(server.port, work, retire_to=trash) == len(SPARSE)
        assert max(map(len, server.heard)) < 1000


@pytest.mark.parametrize("capabilities", [CAPABILITIES, OLD])
def test_q45_an_empty_mailbox_is_not_asked_for_a_star(capabilities: tuple[str, ...]) -> None:
    sins = Sins(no_star_on_empty=True)
    with ScriptedImap({"INBOX": []}, sins=sins, capabilities=capabilities) as server:
        listing = visit(server.port, whole)
        assert (listing.messages, listing.complete) == ((), True)
        assert not any("*" in line for line in server.heard if line.startswith("UID"))


def test_q54_status_of_what_is_open_is_never_asked_for(tmp_path: Path) -> None:
    boxes = {"INBOX": corpus.small(2), "A": corpus.small(2, seed=4)}
    with ScriptedImap(boxes, sins=Sins(stale_status=True), capabilities=OLD) as server:
        here = ImapHome(tmp_path, server.port, "work")
        here.sync()
        verbs = [v for v in server.verbs() if v in ("STATUS", "EXAMINE")]
        assert verbs == ["STATUS", "STATUS", "EXAMINE", "EXAMINE"]


# -- 59 to 61: LIST and names --------------------------------------------------------------


def test_q59_special_use_refused_is_asked_without() -> None:
    boxes = {"INBOX": [], "Gesendet": Box([], attributes=("\\Sent",)), "Junk": []}
    with ScriptedImap(boxes, sins=Sins(special_use_refused=True)) as server:
        assert visited(server, mailboxes=("\\Sent", "\\Junk")) == ["Gesendet", "Junk"]
        assert server.verbs().count("LIST") == 2


def test_q59_several_may_claim_one_role() -> None:
    boxes = {n: Box([], attributes=("\\Sent",)) for n in ("Sent", "Sent Items", "[G]/Envoyés")}
    with ScriptedImap({"INBOX": [], **boxes}) as server:
        assert set(visited(server, mailboxes=("\\Sent",))) == set(boxes)


@pytest.mark.parametrize(
    "said", [b"<tag> BAD what\r\n", b"* NAMESPACE NIL NIL NIL\r\n<tag> OK\r\n"]
)
def test_q60_a_namespace_that_is_wrong_or_missing(said: bytes) -> None:
    boxes = {"INBOX": MESSAGES, "A/B": []}
    with ScriptedImap(boxes, answers={"NAMESPACE": said}) as server:
        assert visited(server) == ["INBOX", "A/B"]


def test_q60_nil_delimiters_and_mailboxes_that_cannot_be_opened() -> None:
    boxes: dict[str, Box] = {
        "inbox": Box(MESSAGES), "INBOX/INBOX": Box(), "a/b.c": Box(),
        "Above": Box(attributes=("\\Noselect",)), "Gone": Box(attributes=("\\NonExistent",)),
    }  # fmt: skip
    with ScriptedImap({"INBOX": Box(MESSAGES), **boxes}, delimiter=None) as server:
        del server.boxes[b"inbox"]
        found = visited(server)
        assert found[0] == "INBOX"
        assert len(found) == 3
        assert not {"Above", "Gone"} & set(found)
        assert visit(server.port, bodies) == MESSAGES


def test_q60_a_mailbox_that_vanishes_between_list_and_examine_is_its_own_trouble() -> None:
    def remove(server: ScriptedImap) -> None:
        server.boxes.pop(b"A", None)

    async def work(session: ImapSession) -> None:
        assert await session.mailboxes() == ["INBOX", "A"]
        with pytest.raises(MailboxUnavailable, match="'A' cannot be opened"):
            await session.list("A")
        with pytest.raises(MailboxUnavailable, match="no mailbox 'B'"):
            await session.list("B")
        assert await bodies(session) == MESSAGES

    with ScriptedImap({"INBOX": MESSAGES, "A": []}, on={"EXAMINE": remove}) as server:
        visit(server.port, work)


RAW = {
    "utf-7": b"&ZeVnLIqe-",
    "raw UTF-8": "日本語".encode(),
    "shift left open": b"&ZeVnLIqe",
    "dots": b"..",
    "quotes": b'a "b" \\c',
    "upwards": b"../../etc/passwd",
    "colon": b"a:b*?%",
}


def test_q61_a_name_is_its_octets_whatever_they_are(tmp_path: Path) -> None:
    boxes = {wire: [m] for wire, m in zip(RAW.values(), corpus.small(len(RAW)), strict=True)}
    with ScriptedImap({b"INBOX": [], **boxes}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        report = here.sync()
        assert (report.ok, report.fetched) == (True, len(RAW))
        assert len(here.believed()) == len(RAW)
        assert here.archived().total() == len(RAW)
        assert here.verify().damaged == ()
        assert here.sync().fetched == 0


def test_q61_a_name_in_latin_1(tmp_path: Path) -> None:
    with ScriptedImap({b"INBOX": [], b"caf\xe9": corpus.small(1)}) as server:
        here = ImapHome(tmp_path, server.port, "work")
        assert here.sync().fetched == 1


@pytest.mark.parametrize("name", ["日本語", "Entwürfe & Co", 'a "b"'])
def test_q61_names_after_utf8_accept(name: str) -> None:
    with ScriptedImap(
        {"INBOX": [], name: MESSAGES}, capabilities=(*CAPABILITIES, "UTF8=ACCEPT")
    ) as server:

        async def work(session: ImapSession) -> list[bytes | str]:
            assert session.overview.utf8
            assert name in await session.mailboxes()
            return await bodies(session, name)

        assert visit(server.port, work) == MESSAGES


def test_q61_names_with_unescaped_quotes() -> None:
    with ScriptedImap({"INBOX": [], 'say "hi"': []}, sins=Sins(raw_names=True)) as server:
        assert visited(server) == ["INBOX", 'say "hi"']


# -- 62 to 64 ---------------------------------------------------------------------------------

GMAIL = (*CAPABILITIES, "X-GM-EXT-1")
OBJECTS = (*CAPABILITIES, "OBJECTID")


@pytest.mark.parametrize(("capabilities", "labelled"), [(GMAIL, True), (OBJECTS, False)])
def test_q62_one_download_serves_all_its_mailboxes(
    capabilities: tuple[str, ...], labelled: bool, tmp_path: Path
) -> None:
    mails = corpus.small(6)
    boxes = {
        "INBOX": mails[:3], "Arbeit": mails[2:4], "[Gmail]/All": Box(mails, attributes=["\\All"])
    }  # fmt: skip
    with ScriptedImap(boxes, capabilities=capabilities) as server:
        found = visit(server.port, whole).messages
        assert all(m.object_id for m in found)
        assert found[2].labels.split("\n") == (
            ["Arbeit", "INBOX", "[Gmail]/All"] if labelled else [""]
        )
        here = ImapHome(tmp_path, server.port, "work")
        server.heard.clear()
        report = here.sync()
        assert (report.ok, report.fetched, report.linked) == (True, 6, 5)
        asked = [line for line in server.heard if "BODY.PEEK[]" in line]
        assert len(asked) == 2  # INBOX, and what else All Mail has
        assert {n: len(b) for n, b in here.believed().items()} == {
            "INBOX": 3, "Arbeit": 2, "[Gmail]/All": 6,
        }  # fmt: skip


def cyrus_messages() -> list[RemoteMessage]:
    if reason := cyrus_available():
        lacking(reason)
    with Cyrus() as server:
        server.add_user("me", PASSWORD)
        server.fill("me", [Mail(m, ("\\Seen",), LONG_AGO) for m in MESSAGES])
        server.fill("me", MESSAGES[:1], mailbox="INBOX.Copy")

        async def main() -> list[RemoteMessage]:
            session = await open_imap(
                access(server.port.imap), Credentials("me", PASSWORD), Path(tempfile.gettempdir())
            )
            try:
                found = []
                for name in await session.mailboxes():
                    listing = await session.list(name)
                    assert listing is not None
                    found += listing.messages
                return found
            finally:
                await session.close()

        return asyncio.run(main())


@pytest.mark.live
def test_q62_cyrus_has_object_ids() -> None:
    *messages, copy = cyrus_messages()
    assert len({m.object_id for m in messages}) == len(MESSAGES)
    assert all(re.fullmatch("M[0-9a-zA-Z_-]+", m.object_id) for m in messages)
    assert all((m.flags, m.arrived) == ("\\Seen", LONG_AGO) for m in messages)
    assert copy.object_id == messages[0].object_id


REV2 = ("IMAP4rev2", "AUTH=PLAIN")  # the rest goes without saying (RFC 9051, appendix E)
REV2_INSIDE = (
    "IMAP4rev2", "ENABLE", "NAMESPACE", "UIDPLUS", "MOVE", "LIST-EXTENDED", "LIST-STATUS",
    "ESEARCH", "LITERAL-", "UNSELECT", "IDLE",
)  # fmt: skip


def test_q64_a_server_of_imap4rev2_alone(tmp_path: Path) -> None:
    boxes = {"INBOX": corpus.small(3), "Trash": []}
    with ScriptedImap(boxes, capabilities=REV2, inside=REV2_INSIDE) as server:
        server.account.inside = REV2_INSIDE  # what it can do; it tells only the first
        server.answers["CAPABILITY"] = b"* CAPABILITY IMAP4rev2\r\n<tag> OK\r\n"
        here = ImapHome(tmp_path, server.port, "work", leave_on_server="none", retire_to="Trash")
        report = here.sync()
        assert (report.ok, report.fetched, report.retired) == (True, 3, 3)
        assert "UID MOVE" in server.verbs()
        assert "STATUS" not in server.verbs()
        assert not {"LSUB", "SEARCH"} & set(server.verbs())


def test_a_listing_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fetchd.sources.imap_listing.MAX_LISTED", 3)
    with (
        ScriptedImap({"INBOX": MESSAGES}) as server,
        pytest.raises(FetchdError, match="without end"),
    ):
        visit(server.port, whole)
