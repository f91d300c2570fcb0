"""Mail put back on a real server: what stands there, what a second run does, what is left out."""

import itertools
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fetchd.catalog import leases
from fetchd.catalog.database import Catalog
from fetchd.catalog.restoring import was_abandoned
from fetchd.clients.stream import Stream
from fetchd.errors import AccountBusy, ServerUnavailable, UsageError
from fetchd.pipeline import restore as restoring
from fetchd.pipeline import restore_mailbox
from fetchd.pipeline.restore_mailbox import Kind
from fetchd.pipeline.storage import open_storage
from tests import corpus
from tests.pipeline.home import PASSWORD
from tests.pipeline.restore_home import RestoreHome, bag
from tests.pipeline.test_imap import FLAGS, NOW, ODD
from tests.servers.dovecot import Dovecot
from tests.servers.mail import Mail, Served
from tests.servers.proxy import Proxy
from tests.servers.scripted import HANG_UP, Answer
from tests.servers.scripted_imap import CAPABILITIES, InTurn, Key, ScriptedImap

_numbers = itertools.count()
CHANGED = b"\r\r\n"  # which Dovecot itself makes a CRLF of, when it is given by APPEND

Home = Callable[..., RestoreHome]


@pytest.fixture(scope="module")
def slashed() -> Iterator[Dovecot]:
    with Dovecot(separator="/", odd_names=True) as server:
        yield server
        assert server.complaints() == []


@pytest.fixture(scope="module")
def dotted() -> Iterator[Dovecot]:
    with Dovecot(separator=".", prefix="INBOX.", odd_names=True) as server:
        yield server
        assert server.complaints() == []


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """These servers have answered, or have not been asked, when a line breaks."""
    monkeypatch.setattr(restoring, "SETTLE", 0.0)


@pytest.fixture
def home(slashed: Dovecot, tmp_path: Path) -> Home:
    def make(target: Dovecot | None = None, port: int = 0) -> RestoreHome:
        to, user = target or slashed, f"restore{next(_numbers)}"
        slashed.add_user(f"{user}-old", PASSWORD)
        to.add_user(f"{user}-new", PASSWORD)
        old = (slashed.port.imap, f"{user}-old")
        return RestoreHome(tmp_path, old, (port or to.port.imap, f"{user}-new"))

    return make


def mails(count: int, seed: int = 1) -> list[Mail]:
    """With flags and dates in turn, a keyword among them; of every odd shape but one."""
    plain = [
        m for m in corpus.realistic(count + 60, total=1_500_000, seed=seed) if CHANGED not in m
    ]
    return [
        Mail(octets, FLAGS[n % len(FLAGS)], NOW - timedelta(hours=n))
        for n, octets in enumerate(plain[:count])
    ]


def uidnexts(server: Dovecot, user: str) -> dict[str, int]:
    with server.client(user) as client:
        return {name: client.status(name, "UIDNEXT") for name in client.mailboxes()}


def on(server: Dovecot, here: RestoreHome, account: str = "new") -> dict[str, Counter[Served]]:
    """What stands in each mailbox that has something."""
    served = server.served_imap(here.at[account][1])
    return {name: bag(messages) for name, messages in served.items() if messages}


def as_dotted(name: str) -> str:
    """The same mailbox where "." is the delimiter and "INBOX." comes before all."""
    if name == "INBOX" or name.startswith("INBOX/"):
        return name.replace("/", ".")
    return "INBOX." + name.replace(".", "_").replace("/", ".")


# -- The same as before ------------------------------------------------------------------


@pytest.mark.live
@pytest.mark.parametrize("names", ["slashed", "dotted"])
def test_everything_comes_back_as_it_was_and_only_once(
    names: str, slashed: Dovecot, dotted: Dovecot, home: Home
) -> None:
    """Octets, flags, dates, mailboxes with odd names; the second run puts nothing."""
    target = dotted if names == "dotted" else slashed
    here = home(target)
    whole = mails(len(ODD) * 4)
    for index, name in enumerate(ODD):
        slashed.fill(here.at["old"][1], whole[index * 4 : index * 4 + 4], mailbox=name)
    here.archive()
    old = on(slashed, here, "old")
    foreseen = {name: one.put for name, one in here.restored(dry_run=True).items()}
    done = here.restored()
    rename = as_dotted if names == "dotted" else str
    assert on(target, here) == {rename(name): box for name, box in old.items()}
    assert {name: one.put for name, one in done.items()} == foreseen
    assert sum(foreseen.values()) == len(whole)
    before = uidnexts(target, here.at["new"][1])
    again = here.restored()
    assert uidnexts(target, here.at["new"][1]) == before
    assert [(one.put, one.present, one.create) for one in again.values()] == [(0, 4, False)] * len(
        ODD
    )


@pytest.mark.live
def test_what_vanished_from_the_server_comes_back(slashed: Dovecot, home: Home) -> None:
    """Also to the same account; what is still there is left alone."""
    here = home()
    here.at["new"] = here.at["old"]
    user = here.at["old"][1]
    slashed.fill(user, mails(6), mailbox="Kept/more")
    here.archive()
    before = on(slashed, here, "old")
    with slashed.client(user) as other:
        other.expunge("Kept/more", other.uids("Kept/more")[:4])
    here.archive()
    here.restored(to="old")
    assert on(slashed, here, "old") == before


@pytest.mark.live
def test_alike_messages_stand_as_often_as_they_did(slashed: Dovecot, home: Home) -> None:
    here = home()
    user = here.at["old"][1]
    first, second = mails(2)
    slashed.fill(user, [first, first, first, second])
    slashed.fill(user, [first], mailbox="Moved")
    here.archive()
    with slashed.client(user) as other:
        (uid,) = other.uids("Moved")
        other.move("Moved", [uid], "INBOX")
        here.archive()
        other.move("INBOX", [max(other.uids("INBOX"))], "Moved")  # and back: once, not twice
    here.archive()
    slashed.change_uidvalidity(user, "INBOX", 77)  # other uids are no other messages
    here.archive()
    with slashed.client(here.at["new"][1]) as other:
        other.append("INBOX", first.octets, first.flags, first.date)
    done = here.restored()
    assert (done["INBOX"].put, done["INBOX"].present, done["Moved"].put) == (3, 1, 1)
    assert here.restored()["INBOX"].put == 0


ODD_OCTETS = {
    "bare LF": b"From: a@example.org\n\nas Unix\nhas it\n",
    "mixed": b"From: b@example.org\r\n\r\none\ntwo\r\n",
    "no last line end": b"From: c@example.org\r\n\r\nnot ended",
    "two CRs": b"From: d@example.org\r\n\r\none\r\r\ntwo\r\n",
    "no body": b"From: e@example.org\r\n",
    "no header": b"\r\nno header\r\n",
    "NUL": b"From: f@example.org\r\n\r\na\0b\r\n",
}


@pytest.mark.live
def test_what_a_server_changes_is_recognised_all_the_same(slashed: Dovecot, home: Home) -> None:
    """Without a Message-ID: by the header, and by the size that the server makes of it."""
    here = home()
    with ScriptedImap({"INBOX": list(ODD_OCTETS.values())}) as source:
        here.at["old"] = (source.port, "any")
        here.archive()
    assert here.restored()["INBOX"].put == len(ODD_OCTETS)
    assert here.restored()["INBOX"].put == 0


@pytest.mark.live
def test_mail_of_pop3_and_of_accounts_that_are_gone(slashed: Dovecot, home: Home) -> None:
    here = home()
    here.at["old"] = (slashed.port.pop3, here.at["old"][1])
    here.of_old = {"protocol": "pop3"}
    slashed.fill(here.at["old"][1], mails(5))
    here.archive()
    here.users = ("new",)
    done = here.restored(into="Old/mail")
    assert (done["INBOX"].target, done["INBOX"].put) == ("Old/mail/INBOX", 5)
    (box,) = on(slashed, here).values()
    assert {one.digest for one in box} == set(here.archived())


# -- A part of it, and none ------------------------------------------------------------


@pytest.mark.live
def test_a_part_of_it(slashed: Dovecot, home: Home) -> None:
    here = home()
    for name in ("INBOX", "Sent", "Work/2024", "Work/2025"):
        slashed.fill(here.at["old"][1], mails(4, seed=len(name)), mailbox=name)
    here.archive()
    assert here.restored(mailboxes=("Work/**", "!Work/2025"), dry_run=True).keys() == {"Work/2024"}
    assert here.restored(mailboxes=("\\Sent",), dry_run=True).keys() == {"Sent"}
    since = NOW - timedelta(hours=1)
    assert {one.put for one in here.restored(since=since, dry_run=True).values()} == {2}
    with pytest.raises(UsageError, match="no archived mailbox of account old fits 'Wrk'"):
        here.restore(mailboxes=("Wrk",))
    with pytest.raises(UsageError, match="--mailbox is not understood"):
        here.restore(mailboxes=("\\Sunt",))
    stopped = here.restore(stopped=True)
    assert (stopped.stopped, stopped.ok) == (True, False)
    assert on(slashed, here) == {}  # a dry run makes nothing, nor does one that is stopped
    here.of_old = {"protocol": "pop3"}
    with pytest.raises(UsageError, match="account old is no IMAP account"):
        here.restore(to="old")


@pytest.mark.live
def test_damage_is_told_and_the_rest_goes_on(slashed: Dovecot, home: Home) -> None:
    here = home()
    slashed.fill(here.at["old"][1], mails(3))
    here.archive()
    slashed.fill(here.at["old"][1], mails(3, seed=9), mailbox="Later")
    here.archive()
    with closing(sqlite3.connect(here.data / "catalog.sqlite")) as db:
        (offset,) = db.execute("SELECT min(frame_offset) FROM message").fetchone()
    (segment,) = here.data.glob("archive/*/*/*.tar.zst")
    octets = bytearray(segment.read_bytes())
    octets[offset + 40] ^= 0xFF
    segment.write_bytes(octets)
    for dry_run in (True, False):
        report = here.restore(dry_run=dry_run)
        inbox, later = report.mailboxes
        assert (report.ok, later.put, inbox.put) == (False, 3, 0)
        assert [trouble.kind for trouble in inbox.troubles] == [Kind.DAMAGED] * 3
    assert on(slashed, here).keys() == {"Later"}


def test_other_octets_than_were_stored_are_not_sent(tmp_path: Path) -> None:
    """The catalog leads to another message of the same size."""
    alike = [b"Message-ID: <%d@a>\r\n\r\nx\r\n" % n for n in (1, 2)]
    with ScriptedImap({"INBOX": alike}) as source:
        here = RestoreHome(tmp_path, (source.port, "any"), (1, "any"))
        here.archive()
    with closing(sqlite3.connect(here.data / "catalog.sqlite")) as db, db:
        db.execute("UPDATE message SET inner = (SELECT max(inner) FROM message)")
    with ScriptedImap({"INBOX": []}) as server:
        here.at["new"] = (server.port, "any")
        (inbox,) = here.restore().mailboxes
        assert [trouble.kind for trouble in inbox.troubles] == [Kind.DAMAGED]
        assert [message.octets for message in server.boxes[b"INBOX"].messages] == alike[1:]


# -- Servers that have less, or will not ---------------------------------------------------

SMALL = [
    Mail(b"Message-ID: <%d@example.org>\r\n\r\n%b\r\n" % (n, b"x" * n), ("\\Seen",), NOW)
    for n in (10, 900, 20, 30, 2000, 40)
]
WITHOUT = {
    "MULTIAPPEND": "MULTIAPPEND",
    "LITERAL+": "LITERAL+",
    "both": "MULTIAPPEND LITERAL+",
    "all but the least": " ".join(CAPABILITIES[4:]),
}


@pytest.fixture
def archived(tmp_path: Path) -> RestoreHome:
    """Mail in two mailboxes, with nowhere to go yet."""
    with ScriptedImap({"INBOX": SMALL, "Sent": SMALL[:2]}) as source:
        here = RestoreHome(tmp_path, (source.port, "any"), (1, "any"))
        here.archive()
    return here


def stands(server: ScriptedImap, name: str = "INBOX") -> list[int]:
    """The sizes of the bodies' lines, in order: which of SMALL are there."""
    box = server.boxes[name.encode()]
    return [len(m.octets.partition(b"\r\n\r\n")[2]) - 2 for m in box.messages]


ALL = [10, 900, 20, 30, 2000, 40]


@pytest.mark.parametrize("lacking", WITHOUT)
@pytest.mark.parametrize("more", ["", "LITERAL-", "CREATE-SPECIAL-USE"])
def test_whatever_the_server_offers(archived: RestoreHome, lacking: str, more: str) -> None:
    offered = [*(c for c in CAPABILITIES if c not in WITHOUT[lacking].split()), *more.split()]
    with ScriptedImap({"INBOX": []}, capabilities=offered) as server:
        archived.at["new"] = (server.port, "any")
        archived.restored()
        assert (stands(server), stands(server, "Sent")) == (ALL, [10, 900])
        appends = len([verb for verb in server.verbs() if verb == "APPEND"])
        assert appends == (2 if "MULTIAPPEND" in offered else 8)
        (create,) = [line for line in server.heard if line.startswith("CREATE")]
        assert create == ("CREATE Sent (USE (\\Sent))" if more.startswith("C") else "CREATE Sent")
        assert [line for line in server.heard if line.startswith("SUBSCRIBE")] == ["SUBSCRIBE Sent"]
        (message, *_) = server.boxes[b"INBOX"].messages
        assert (message.flags, message.date) == ({"\\Seen"}, NOW)
        archived.restored()
        assert len([verb for verb in server.verbs() if verb == "APPEND"]) == appends


NO = b"<tag> NO [%b] not that one\r\n"
LARGE = re.compile(r"APPEND .*\{2\d\d\d\+?\}")
REFUSALS: dict[str, tuple[dict[re.Pattern[str], Answer | InTurn], list[Kind], list[int]]] = {
    "NO to one": ({LARGE: NO % b"CANNOT"}, [Kind.REFUSED], [10, 900, 20, 30, 40]),
    "BAD to one": ({LARGE: b"<tag> BAD bare LF\r\n"}, [Kind.REFUSED], [10, 900, 20, 30, 40]),
    "too big": ({LARGE: NO % b"TOOBIG"}, [Kind.TOO_LARGE], [10, 900, 20, 30, 40]),
    "no room": (
        {re.compile(r"APPEND .*\{[29]\d\d+\+?\}"): NO % b"OVERQUOTA"},
        [Kind.REFUSED] * 2,
        [10, 20, 30, 40],
    ),
    "hangs up at one": ({LARGE: HANG_UP}, [Kind.REFUSED], [10, 900, 20, 30, 40]),
    "hangs up once": ({LARGE: InTurn(HANG_UP)}, [], ALL),
    "was removed": ({re.compile("APPEND"): InTurn(NO % b"TRYCREATE")}, [], ALL),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_refused_is_found_out_and_the_rest_goes_on(
    archived: RestoreHome, case: str
) -> None:
    answers, kinds, there = REFUSALS[case]
    with ScriptedImap({"INBOX": [], "Sent": []}, answers=dict(answers)) as server:
        archived.at["new"] = (server.port, "any")
        report = archived.restore()
        inbox = report.mailboxes[0]
        assert report.failure is None
        assert [trouble.kind for trouble in inbox.troubles] == kinds
        assert (sorted(stands(server)), inbox.put) == (sorted(there), len(there))
        assert report.ok is (not kinds)
        server.answers.clear()
        assert archived.restored()["INBOX"].put == len(kinds)
        assert sorted(stands(server)) == sorted(ALL)


@pytest.mark.parametrize("kind", ["APPENDLIMIT=950", "APPENDLIMIT"])
def test_what_is_too_large_is_not_sent(archived: RestoreHome, kind: str) -> None:
    said = {"STATUS": b"* STATUS INBOX (APPENDLIMIT 950)\r\n<tag> OK done\r\n"}
    answers = said if kind == "APPENDLIMIT" else {}
    offered = [c for c in CAPABILITIES if c != "LIST-STATUS"] + [kind]
    with ScriptedImap({"INBOX": [], "Sent": []}, capabilities=offered, answers=answers) as server:
        archived.at["new"] = (server.port, "any")
        for dry_run in (True, False):
            (inbox, _) = archived.restore(dry_run=dry_run).mailboxes
            assert [trouble.kind for trouble in inbox.troubles] == [Kind.TOO_LARGE]
            assert inbox.put == 5
        assert not any(LARGE.search(line) for line in server.heard)
        assert stands(server) == [10, 900, 20, 30, 40]


def test_nul_goes_nowhere_without_binary(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": [ODD_OCTETS["NUL"], SMALL[0]]}) as source:
        here = RestoreHome(tmp_path, (source.port, "any"), (1, "any"))
        here.archive()
    with ScriptedImap({"INBOX": []}) as server:
        here.at["new"] = (server.port, "any")
        (inbox,) = here.restore().mailboxes
        assert ([trouble.kind for trouble in inbox.troubles], inbox.put) == ([Kind.IMPOSSIBLE], 1)


@pytest.mark.parametrize(
    ("capability", "octets", "said"),
    [
        ("BINARY", ODD_OCTETS["NUL"], "~{"),
        ("UTF8=ACCEPT", "Subject: Würfel\r\n\r\nx\r\n".encode(), "UTF8 (~{"),
        ("BINARY", SMALL[0].octets, " {"),
    ],
)
def test_octets_that_need_more_than_a_literal_get_it(
    tmp_path: Path, capability: str, octets: bytes, said: str
) -> None:
    with ScriptedImap({"INBOX": [octets]}) as source:
        here = RestoreHome(tmp_path, (source.port, "any"), (1, "any"))
        here.archive()
    offered, answers = [*CAPABILITIES, capability], {"APPEND": b"<tag> OK done\r\n"}
    with ScriptedImap({"INBOX": []}, capabilities=offered, answers=answers) as server:
        here.at["new"] = (server.port, "any")
        here.restored()
        (append,) = [line for line in server.heard if line.startswith("APPEND")]
        assert f'+0000"{said}' in append.replace(" ~", "~").replace(" UTF8", "UTF8")


def test_flags_that_the_server_does_not_keep_are_counted(tmp_path: Path) -> None:
    flags = ("\\Seen", "$Forwarded", "mine")
    with ScriptedImap({"INBOX": [Mail(SMALL[0].octets, flags)]}) as source:
        here = RestoreHome(tmp_path, (source.port, "any"), (1, "any"))
        here.archive()
    selected = b"* 0 EXISTS\r\n* OK [PERMANENTFLAGS (\\Seen $forwarded)] ok\r\n<tag> OK done\r\n"
    with ScriptedImap({"INBOX": []}, answers={"SELECT": selected}) as server:
        here.at["new"] = (server.port, "any")
        assert here.restored()["INBOX"].flags_dropped == 1
        assert server.boxes[b"INBOX"].messages[0].flags == {"\\Seen", "$Forwarded"}


@pytest.mark.parametrize(
    ("answers", "failed"),
    [
        ({"CREATE": NO % b"LIMIT"}, ["Sent"]),
        ({"EXAMINE INBOX": NO % b"NOPERM"}, ["INBOX"]),
        ({re.compile("APPEND INBOX"): NO % b"NOPERM"}, ["INBOX"]),
        ({"SELECT Sent": b"<tag> OK [READ-ONLY] look only\r\n"}, ["Sent"]),
    ],
)
def test_a_mailbox_that_takes_nothing_does_not_stop_the_others(
    archived: RestoreHome, answers: dict[Key, Answer | InTurn], failed: list[str]
) -> None:
    with ScriptedImap({"INBOX": []}, answers=answers) as server:
        archived.at["new"] = (server.port, "any")
        report = archived.restore()
        assert (report.ok, report.failure) == (False, None)
        assert [one.mailbox for one in report.mailboxes if one.failure is not None] == failed
        assert {one.put for one in report.mailboxes if one.failure is None} <= {2, 6}


def test_a_mailbox_that_vanishes_meanwhile_is_made_again(archived: RestoreHome) -> None:
    times = itertools.count()

    def remove(server: ScriptedImap) -> None:
        if next(times) == 0:
            del server.boxes[b"Sent"]

    with ScriptedImap({"INBOX": []}, on={re.compile("APPEND Sent"): remove}) as server:
        archived.at["new"] = (server.port, "any")
        archived.restored()
        assert (stands(server, "Sent"), server.heard.count("CREATE Sent")) == ([10, 900], 2)
        assert server.verbs().count("LOGOUT") == 1


def test_a_server_that_wants_to_be_left_alone_is(archived: RestoreHome) -> None:
    with ScriptedImap({"INBOX": []}, answers={"APPEND": NO % b"UNAVAILABLE"}) as server:
        archived.at["new"] = (server.port, "any")
        report = archived.restore()
        assert (report.ok, type(report.failure)) == (False, ServerUnavailable)
        assert server.verbs().count("APPEND") == 1


def test_two_restores_do_not_fill_one_account(archived: RestoreHome) -> None:
    with ScriptedImap({"INBOX": []}) as server:
        archived.at["new"] = (server.port, "any")
        now = datetime.now(UTC)
        with open_storage(archived.settings()) as other:
            leases.acquire(other.catalog, "new", now + timedelta(minutes=1), now)
            with pytest.raises(AccountBusy):
                archived.restore()
        archived.restored()


# -- Broken lines and killed processes ---------------------------------------------------


@pytest.fixture
def spread(slashed: Dovecot, home: Home, monkeypatch: pytest.MonkeyPatch) -> RestoreHome:
    """Three mailboxes in small batches."""
    monkeypatch.setattr(restore_mailbox, "BATCH_MESSAGES", 4)
    here = home()
    whole = mails(30)
    for index, name in enumerate(("INBOX", "Kept/one", "Kept/two")):
        slashed.fill(here.at["old"][1], whole[index * 10 : index * 10 + 10], mailbox=name)
    here.archive()
    return here


@pytest.mark.live
def test_a_line_cut_anywhere_loses_and_repeats_nothing(
    slashed: Dovecot, spread: RestoreHome
) -> None:
    old = on(slashed, spread, "old")
    user = spread.at["new"][1]
    with Proxy(slashed.host, slashed.port.imap) as proxy:
        slashed.add_user(f"{user}-whole", PASSWORD)
        spread.at["new"] = (proxy.port, f"{user}-whole")
        spread.restored()
        whole = proxy.octets
        picked_up = 0
        for cut in range(whole // 9, whole, whole // 9):
            slashed.add_user(f"{user}-{cut}", PASSWORD)
            spread.at["new"] = (proxy.port, f"{user}-{cut}")
            proxy.cut_after = cut
            first = spread.restore()
            picked_up += first.ok
            proxy.cut_after = None
            spread.restored()
            assert on(slashed, spread) == old, cut
        assert picked_up  # within the same restore


def killed_at(here: RestoreHome, step: int) -> bool:
    """Restore in a child that is killed behind its n-th write to the server; False: it came
    to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            written = itertools.count(1)
            write = Stream.write

            def watched(self: Stream, data: bytes) -> None:
                write(self, data)
                if next(written) == step:
                    os.kill(os.getpid(), signal.SIGKILL)

            Stream.write = watched  # type: ignore[method-assign]
            code = 0 if here.restore().ok else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.live
def test_killed_again_and_again(
    slashed: Dovecot, spread: RestoreHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "SETTLE", 0.3)
    step = 4
    while killed_at(spread, step):
        with Catalog(spread.data / "catalog.sqlite", read_only=True) as catalog:
            assert was_abandoned(catalog, "new")
        step += 2
    assert step > 20
    assert on(slashed, spread) == on(slashed, spread, "old")


# -- Large ones ------------------------------------------------------------------------


@pytest.mark.live
def test_large_messages_take_little_memory(slashed: Dovecot, home: Home) -> None:
    here = home()
    user = here.at["old"][1]
    slashed.fill(user, corpus.large(4))
    here.archive()
    script = (
        "import sys; from pathlib import Path; from fetchd.cli.main import main\n"
        "sys.argv = ['fetchd', *sys.argv[1:]]\n"
        "try: main()\n"
        "finally: print(Path('/proc/self/status').read_text())"
    )
    words = ["restore", "old", "--to", "new", "--config", str(here.folder / "fetchd.toml")]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", done.stdout)
    assert int(peak) < 120_000
    assert on(slashed, here) == on(slashed, here, "old")
