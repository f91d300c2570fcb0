"""A watched account: what other clients do is told, once it is stored; what servers do is borne."""

import asyncio
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fetchd.catalog import leases
from fetchd.catalog.database import Catalog
from fetchd.errors import (
    AccountBusy,
    AuthenticationFailed,
    ConnectionFailed,
    FetchdError,
    ServerUnavailable,
    TlsFailed,
    UsageError,
)
from fetchd.pipeline.news import What
from fetchd.pipeline.resync import Hearer, Noticed, Timing, passes
from fetchd.pipeline.storage import open_storage
from fetchd.pipeline.watch import watch
from fetchd.policy.retry import SPREAD, Schedule
from fetchd.settings import Settings
from tests.pipeline.home import PASSWORD
from tests.pipeline.imap_home import ImapHome
from tests.pipeline.watched import DEADLINE, Watched
from tests.servers.dovecot import Dovecot
from tests.servers.mail import digest
from tests.servers.scripted import HANG_UP, Turns
from tests.servers.scripted_imap import CAPABILITIES, InTurn, ScriptedImap

NEW, FLAGS, GONE, RETIRED = What
QUICK_SWEEP = 0.2
_numbers = itertools.count()


def mail(subject: str) -> bytes:
    return f"From: a@example.org\r\nSubject: {subject}\r\n\r\nHello.\r\n".encode()


Home = Callable[..., ImapHome]


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot(separator="/") as dovecot:
        yield dovecot
        assert dovecot.complaints() == []


@pytest.fixture
def user(server: Dovecot) -> str:
    name = f"watch{next(_numbers)}"
    server.add_user(name, PASSWORD)
    return name


@pytest.fixture
def home(server: Dovecot, user: str, tmp_path: Path) -> Home:
    def make(**account: object) -> ImapHome:
        here = ImapHome(tmp_path, server.port.imap, user, **account)
        here.destination = {}
        return here

    return make


# -- What others do --------------------------------------------------------------------


WAYS = {
    "notify": ((), 3600.0),
    "idle": (("NOTIFY",), QUICK_SWEEP),
    "idle, STATUS of each": (("NOTIFY", "LIST-STATUS", "LIST-EXTENDED"), QUICK_SWEEP),
    "idle, no CONDSTORE": (("NOTIFY", "CONDSTORE", "QRESYNC"), QUICK_SWEEP),
    "polling": (("NOTIFY", "IDLE"), QUICK_SWEEP),
}


@pytest.mark.parametrize(("hidden", "sweep"), WAYS.values(), ids=WAYS.keys())
def test_what_another_client_does_is_told_when_it_is_stored_and_delivered(
    hidden: Sequence[str], sweep: float, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with Dovecot(separator="/", hide=hidden) as server:
        server.add_user("work", PASSWORD)
        server.fill("work", [mail("before")])
        server.fill("work", [mail("elsewhere")], mailbox="Work")
        here = ImapHome(tmp_path, server.port.imap, "work")
        with Watched(here, sweep=sweep) as watched, server.client("work") as other:
            watched.until_told(NEW, "INBOX", "before")
            watched.until_told(NEW, "Work", "elsewhere")
            for mailbox in ("INBOX", "Work"):
                subject = f"fresh in {mailbox}"
                uid = other.append(mailbox, mail(subject))
                watched.until_told(NEW, mailbox, subject)
                assert digest(mail(subject)) in here.archived()
                assert here.mirrored(mailbox).total() == 2
                other.flag(mailbox, [uid], add=["\\Seen"])
                watched.until_told(FLAGS, mailbox, subject)
                other.expunge(mailbox, [uid])
                watched.until_told(GONE, mailbox, subject)
                assert here.mirrored(mailbox).total() == 1
            other.move("INBOX", other.uids("INBOX"), "Work")
            watched.until_told(GONE, "INBOX", "before")
            watched.until_told(NEW, "Work", "before")
            assert watched.ways == [request.node.callspec.id.partition(",")[0]]
            watched.stop()
        here.agrees_with(server.served_imap("work"))
        assert server.connections("work") == 0
        assert server.complaints() == []


def test_flags_are_told_as_they_changed(server: Dovecot, user: str, home: Home) -> None:
    with Watched(home()) as watched, server.client(user) as other:
        uid = other.append("INBOX", mail("one"), ["\\Seen"])
        watched.until_told(NEW, "INBOX", "one")
        other.flag("INBOX", [uid], add=["\\Flagged", "$Label"], drop=["\\Seen"])
        watched.until_told(FLAGS, "INBOX", "one")
    last = watched.all_news[-1]
    assert (last.flags, last.added, last.dropped) == (
        ("$Label", "\\Flagged"), ("$Label", "\\Flagged"), ("\\Seen",),
    )  # fmt: skip
    assert last.message.sender == "a@example.org"


def test_mailboxes_come_and_go(server: Dovecot, user: str, home: Home) -> None:
    with Watched(home()) as watched, server.client(user) as other:
        watched.until(lambda: watched.ways)
        other.create("Fresh")
        other.append("Fresh", mail("first"))
        watched.until_told(NEW, "Fresh", "first")
        other.rename("Fresh", "Other")
        watched.until_told(GONE, "Fresh", "first")
        watched.until_told(NEW, "Other", "first")
        watched.until(lambda: any(isinstance(one, Noticed) for one in watched.heard))


def test_only_what_the_settings_choose_is_watched(server: Dovecot, user: str, home: Home) -> None:
    server.fill(user, [mail("spam")], mailbox="Junk")
    here = home(mailboxes=["*", "!\\Junk"])
    with Watched(here) as watched, server.client(user) as other:
        watched.until(lambda: watched.ways)
        other.append("Junk", mail("more spam"))
        other.append("INBOX", mail("no spam"))
        watched.until_told(NEW, "INBOX", "no spam")
    assert watched.news == [(NEW, "INBOX", "no spam")]


def test_what_we_remove_ourselves_is_told_as_such(server: Dovecot, user: str, home: Home) -> None:
    with (
        Watched(home(leave_on_server="none")) as watched,
        server.client(user) as other,
    ):
        for subject in ("one", "two"):
            other.append("INBOX", mail(subject))
            watched.until_told(RETIRED, "INBOX", subject)
    assert watched.news == [
        (NEW, "INBOX", "one"), (RETIRED, "INBOX", "one"),
        (NEW, "INBOX", "two"), (RETIRED, "INBOX", "two"),
    ]  # fmt: skip
    assert server.served_imap(user)["INBOX"] == {}


def test_what_came_while_nobody_watched_is_told_and_nothing_twice(
    server: Dovecot, user: str, home: Home
) -> None:
    here = home()
    for subjects in (["one", "two"], ["three"]):
        server.fill(user, [mail(subject) for subject in subjects])
        with Watched(here) as watched:
            watched.until_told(NEW, "INBOX", subjects[-1])
        assert watched.news == [(NEW, "INBOX", subject) for subject in subjects]


def test_a_new_uidvalidity_is_no_news(server: Dovecot, user: str, home: Home) -> None:
    server.fill(user, [mail(f"number {n}") for n in range(5)])
    here = home()
    here.sync()
    server.change_uidvalidity(user, "INBOX", 4711)
    with Watched(here) as watched, server.client(user) as other:
        other.append("INBOX", mail("really new"))
        watched.until_told(NEW, "INBOX", "really new")
    assert watched.news == [(NEW, "INBOX", "really new")]


# -- Trouble ------------------------------------------------------------------------------


def test_a_restart_is_survived_and_the_gap_is_filled(tmp_path: Path) -> None:
    with Dovecot() as server:
        server.add_user("work", PASSWORD)
        here = ImapHome(tmp_path, server.port.imap, "work")
        with Watched(here) as watched:
            watched.until(lambda: watched.ways)
            server.stop()
            watched.until(lambda: len(watched.waits) > 1)  # by the second it does not listen
            server.fill("work", [mail("in the gap")])
            server.start()
            watched.until_told(NEW, "INBOX", "in the gap")
            assert len(watched.ways) == 2
            with server.client("work") as other:
                other.append("INBOX", mail("afterwards"))
            watched.until_told(NEW, "INBOX", "afterwards")


def test_another_process_that_syncs_is_waited_for(server: Dovecot, user: str, home: Home) -> None:
    here = home()
    here.sync()
    with Catalog(here.data / "catalog.sqlite") as stranger, Watched(here) as watched:
        watched.until(lambda: watched.ways)

        def taken() -> bool:  # the first sync of the watch may still hold the account
            now = datetime.now(UTC)
            with suppress(AccountBusy):
                leases.acquire(stranger, user, now + timedelta(hours=1), now)
                return True
            return False

        watched.until(taken)
        with server.client(user) as other:
            other.append("INBOX", mail("later"))
        watched.until(lambda: watched.waits)
        assert "has been syncing account" in watched.waits[0].sentence
        assert watched.news == []
        leases.release(stranger, user)
        watched.until_told(NEW, "INBOX", "later")
        assert len(watched.waits) == len(watched.ways) == 1


def test_a_password_that_is_wrong_ends_it(server: Dovecot, user: str, home: Home) -> None:
    with Watched(home(password="guessed")) as watched, pytest.raises(AuthenticationFailed):
        watched.ended()
    assert watched.heard == []


def test_a_password_that_changes_ends_it_at_the_next_login(
    server: Dovecot, user: str, home: Home
) -> None:
    with Watched(home()) as watched:
        watched.until(lambda: watched.ways)
        server.add_user(user, "another")
        server.kick(user)
        with pytest.raises(AuthenticationFailed):
            watched.ended()


@pytest.mark.parametrize(
    ("account", "mailbox", "told"),
    [
        ({"protocol": "pop3"},        "",        "is a POP3 account"),
        ({"connections": 1},          "",        "takes two connections"),
        ({},                          "Wrok",    "has no mailbox 'Wrok'"),
        ({"mailboxes": ["*", "!Work"]}, "Work",  "do not choose the mailbox 'Work'"),
        ({"mailboxes": ["Nothing"]},  "",        "choose none of the mailboxes"),
    ],
)  # fmt: skip
def test_what_cannot_be_watched_is_told(
    server: Dovecot, user: str, home: Home, account: dict[str, object], mailbox: str, told: str
) -> None:
    server.doveadm("mailbox", "create", "-u", user, "Work")
    with Watched(home(**account), mailbox=mailbox) as watched:
        with pytest.raises(UsageError, match=re.escape(told)) as raised:
            watched.ended()
        assert raised.value.advice


# -- What real servers do not do on demand ---------------------------------------------------


def scripted_home(folder: Path, server: ScriptedImap, **account: object) -> ImapHome:
    here = ImapHome(folder, server.port, "work", **account)
    here.destination = {}
    return here


def test_it_leaves_by_done_and_logout(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": [mail("one")]}) as server:
        with Watched(scripted_home(tmp_path, server)) as watched:
            watched.until_told(NEW, "INBOX", "one")
            server.heard.clear()
            watched.stop()
        assert [line for line in server.heard if line] == ["DONE", "LOGOUT"]


def test_a_watch_that_is_cancelled_leaves_no_task_behind(tmp_path: Path) -> None:
    """As a service does it when the settings of the account change."""

    async def cancelled(settings: Settings) -> "set[asyncio.Task[object]]":
        told = asyncio.Event()
        hearer = Hearer(lambda _: None, lambda _: told.set())
        with open_storage(settings) as storage:
            watching = asyncio.create_task(
                watch(settings, "work", storage, hearer, stop=asyncio.Event())
            )
            async with asyncio.timeout(DEADLINE):
                await told.wait()
            await asyncio.sleep(0.3)  # then it has synced, and waits
            watching.cancel()
            await asyncio.wait({watching})
        return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}

    with ScriptedImap({"INBOX": []}) as server:
        assert asyncio.run(cancelled(scripted_home(tmp_path, server).settings())) == set()


def test_a_server_that_says_bye_at_every_idle_is_left_alone_for_ever_longer(
    tmp_path: Path,
) -> None:
    first = timedelta(milliseconds=20)
    bye = [b"+ idling\r\n* BYE over\r\n", HANG_UP]
    with ScriptedImap({"INBOX": [mail("one")]}, answers={"IDLE": bye}) as server:
        with Watched(
            scripted_home(tmp_path, server), reconnect=Schedule(first, timedelta(hours=1))
        ) as watched:
            watched.until(lambda: len(watched.waits) > 2)
            server.change(lambda s: s.boxes[b"INBOX"].add(mail("in the gap")))
            watched.until_told(NEW, "INBOX", "in the gap")  # though no hint ever comes
            watched.until(lambda: len(watched.waits) > 5)
        untils = [wait.until for wait in watched.waits]
        slack = timedelta(milliseconds=10)  # two clocks
        for number, (before, after) in enumerate(itertools.pairwise(untils), 1):
            assert after - before >= first * (1 << number) - slack


def test_a_connection_that_stood_is_as_good_as_new(tmp_path: Path) -> None:
    bye = [b"+ idling\r\n* BYE over\r\n", HANG_UP]
    with ScriptedImap({"INBOX": []}, answers={"IDLE": bye}) as server:
        schedule = Schedule(timedelta(milliseconds=1), timedelta(hours=1))
        with Watched(scripted_home(tmp_path, server), steady=0.0, reconnect=schedule) as watched:
            watched.until(lambda: len(watched.waits) > 20)  # by doubling this takes half an hour


@pytest.mark.parametrize("code", [b"INUSE", b"LIMIT", b"THROTTLED", b"UNAVAILABLE"])
def test_who_is_turned_away_at_the_login_comes_back_much_later(tmp_path: Path, code: bytes) -> None:
    answers = {"AUTHENTICATE": b"<tag> NO [%b] not now\r\n" % code}
    with ScriptedImap({"INBOX": []}, answers=answers) as server:
        away = Schedule(timedelta(hours=2), timedelta(hours=9))
        with Watched(scripted_home(tmp_path, server), turned_away=away) as watched:
            watched.until(lambda: watched.waits)
            assert watched.waits[0].until - datetime.now(UTC) > timedelta(hours=1)
            watched.stop()
        assert server.connections == 1


def test_a_sync_that_is_turned_away_is_not_called_back_by_hints(tmp_path: Path) -> None:
    with ScriptedImap({"INBOX": [], "Work": []}) as server:
        away = Schedule(timedelta(hours=2), timedelta(hours=9))
        here = scripted_home(tmp_path, server)
        with Watched(here, sweep=QUICK_SWEEP, turned_away=away) as watched:
            watched.until(lambda: "LOGOUT" in server.verbs())
            server.answers["AUTHENTICATE"] = b"<tag> NO [LIMIT] too many\r\n"
            server.change(lambda s: s.boxes[b"INBOX"].add(mail("one")))
            watched.until(lambda: watched.waits)
            assert watched.waits[0].until - datetime.now(UTC) > timedelta(hours=1)
            connections, idles = server.connections, server.verbs().count("IDLE")
            server.change(lambda s: s.boxes[b"INBOX"].add(mail("two")))
            watched.until(lambda: server.verbs().count("IDLE") > idles + 5)
            assert server.connections == connections
            assert watched.news == []


NOTIFYING = (*CAPABILITIES, "NOTIFY")
OVERFLOW = Turns([b"+ idling\r\n* OK [NOTIFICATIONOVERFLOW] too much\r\n", b"<tag> OK done\r\n"])


def test_an_overflow_is_answered_by_notify_and_a_second_one_by_idle(tmp_path: Path) -> None:
    answers = {"NOTIFY": b"<tag> OK done\r\n", "IDLE": InTurn(OVERFLOW, OVERFLOW)}
    boxes = {"INBOX": [], "Work": []}
    with ScriptedImap(boxes, answers=answers, capabilities=NOTIFYING) as server:
        with Watched(scripted_home(tmp_path, server), sweep=QUICK_SWEEP) as watched:
            watched.until(lambda: server.verbs().count("IDLE") > 2)
            server.change(lambda s: s.boxes[b"INBOX"].add(mail("heard")))
            watched.until_told(NEW, "INBOX", "heard")
            server.change(lambda s: s.boxes[b"Work"].add(mail("swept")))
            watched.until_told(NEW, "Work", "swept")
        assert (server.verbs().count("NOTIFY"), watched.waits) == (2, [])


@pytest.mark.parametrize(
    ("answers", "notifies", "way"),
    [
        ([b"<tag> NO [BADEVENT (MessageNew)] less\r\n", b"<tag> OK done\r\n"], 2, "notify"),
        ([b"<tag> NO [BADEVENT (MessageNew)] less\r\n", b"<tag> NO no\r\n"],   2, "idle"),
        ([b"<tag> NO [NOTIFICATIONOVERFLOW] no\r\n"],                          1, "idle"),
        ([b"<tag> BAD what?\r\n"],                                             1, "idle"),
    ],
)  # fmt: skip
def test_notify_that_is_refused(
    tmp_path: Path, answers: list[bytes], notifies: int, way: str
) -> None:
    said = {"NOTIFY": InTurn(*answers)}
    boxes = {"INBOX": [], "Work": []}
    with ScriptedImap(boxes, answers=said, capabilities=NOTIFYING) as server:
        with Watched(scripted_home(tmp_path, server), sweep=QUICK_SWEEP) as watched:
            watched.until(lambda: watched.ways)
            server.change(lambda s: s.boxes[b"Work"].add(mail("one")))
            watched.until_told(NEW, "Work", "one")
        assert (watched.ways, server.verbs().count("NOTIFY")) == ([way], notifies)


@pytest.mark.parametrize(
    ("capabilities", "answers"),
    [
        (NOTIFYING,    {"NOTIFY": b"<tag> OK done\r\n", "IDLE": b"<tag> BAD what?\r\n"}),
        (CAPABILITIES, {"IDLE": b"<tag> NO not now\r\n"}),
        (CAPABILITIES, {re.compile("^EXAMINE INBOX$"): b"<tag> NO not now\r\n"}),
    ],
)  # fmt: skip
def test_idle_that_is_refused_leaves_status(
    tmp_path: Path, capabilities: Sequence[str], answers: dict[str, bytes]
) -> None:
    with ScriptedImap({"INBOX": []}, answers=answers, capabilities=capabilities) as server:
        with Watched(scripted_home(tmp_path, server), sweep=QUICK_SWEEP) as watched:
            watched.until(lambda: watched.ways)
            server.change(lambda s: s.boxes[b"INBOX"].add(mail("one")))
            watched.until_told(NEW, "INBOX", "one")
        assert server.verbs().count("IDLE") <= 2
        assert watched.waits == []


def test_what_only_keeps_the_line_warm_costs_no_sync(tmp_path: Path) -> None:
    """Quirk 52."""
    warm = b"+ idling\r\n* OK Still here\r\n* 1 EXISTS\r\n* 0 RECENT\r\n* FLAGS (\\Seen)\r\n"
    with ScriptedImap({"INBOX": [mail("one")]}) as server:
        server.answers["IDLE"] = InTurn(*[Turns([warm, b"<tag> OK done\r\n"])] * 3)
        server.boxes[b"Work"] = server.boxes[b"INBOX"].__class__()
        with Watched(scripted_home(tmp_path, server), sweep=QUICK_SWEEP) as watched:
            watched.until(lambda: server.verbs().count("IDLE") > 3)
        assert server.connections == 2


# -- Pure ------------------------------------------------------------------------------------


MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.mark.parametrize(
    ("error", "failures", "at_login", "least"),
    [
        (ConnectionFailed("cut"),                  1,  True,  timedelta(seconds=2)),
        (ConnectionFailed("cut"),                  4,  True,  timedelta(seconds=16)),
        (ConnectionFailed("cut"),                  99, False, 5 * MINUTE),
        (ServerUnavailable("bye"),                 1,  False, timedelta(seconds=2)),
        (ServerUnavailable("in use"),              1,  True,  MINUTE),
        (ServerUnavailable("in use"),              99, True,  30 * MINUTE),
        (ServerUnavailable("in use", wait=HOUR),   1,  True,  HOUR),
        (ServerUnavailable("bye", wait=HOUR),      1,  False, HOUR),
        (None,                                     1,  True,  MINUTE),
    ],
)  # fmt: skip
def test_how_long_to_wait(
    error: FetchdError | None, failures: int, at_login: bool, least: timedelta
) -> None:
    delay = Timing().delay(error, failures, datetime.now(UTC), at_login=at_login)
    assert least <= delay <= least * (1 + SPREAD)


@pytest.mark.parametrize(
    ("error", "trusted", "expected"),
    [
        (ConnectionFailed("cut"),      False, True),
        (ServerUnavailable("in use"),  False, True),
        (AuthenticationFailed("no"),   True,  False),
        (TlsFailed("another's"),       False, False),  # never was right
        (TlsFailed("another's"),       True,  True),   # a hotel's network
        (UsageError("what?"),          True,  False),
    ],
)  # fmt: skip
def test_what_passes_by_itself(error: FetchdError, trusted: bool, expected: bool) -> None:
    assert passes(error, trusted=trusted) is expected
