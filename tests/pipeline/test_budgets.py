"""Budgets at work: a pause is no failure, nothing is lost by it, and it ends by itself."""

import asyncio
import itertools
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fetchd.auth.preset import UNLIMITED, Caps
from fetchd.catalog import spending
from fetchd.catalog.database import Catalog
from fetchd.errors import BudgetSpent, ServerUnavailable
from fetchd.pipeline.allowance import Allowances, terms_of
from fetchd.pipeline.purse import LENIENCE, Purse
from fetchd.pipeline.report import RunReport
from fetchd.pipeline.restore import RestoreReport, Wish, restore
from fetchd.pipeline.resync import Noticed
from fetchd.pipeline.storage import open_storage
from fetchd.pipeline.tools import Unwatched
from fetchd.pipeline.watch import GATHER
from fetchd.policy.budget import What
from fetchd.sources import imap_bodies
from fetchd.sources.imap_watch import ImapWatch
from fetchd.values import replace
from tests.pipeline.home import PASSWORD, Home
from tests.pipeline.imap_home import ImapHome
from tests.pipeline.restore_home import RestoreHome
from tests.pipeline.watched import Watched
from tests.servers.dovecot import Dovecot
from tests.servers.proxy import Proxy
from tests.servers.scripted_imap import ScriptedImap

SIZE = 50_000
COUNT = 20
DAY = timedelta(hours=25)
_numbers = itertools.count()


def letter(number: int, size: int = SIZE) -> bytes:
    head = f"From: a@example.org\r\nSubject: letter {number}\r\nMessage-ID: <{number}@x>\r\n\r\n"
    body = f"{number:04d}".encode() * ((size - len(head)) // 4)
    return head.encode() + b"\r\n".join(body[n : n + 70] for n in range(0, len(body), 72)) + b"\r\n"


LETTERS = [letter(number) for number in range(COUNT)]


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot(separator="/") as dovecot:
        yield dovecot


@pytest.fixture
def user(server: Dovecot) -> str:
    name = f"budget{next(_numbers)}"
    server.add_user(name, PASSWORD)
    return name


@pytest.fixture
def other(server: Dovecot) -> str:
    name = f"budget{next(_numbers)}"
    server.add_user(name, PASSWORD)
    return name


def budget(home: Home, **values: object) -> None:
    lines = [f"{key} = {value!r}" for key, value in values.items()]
    home.more = "\n".join(['[budgets."127.0.0.1"]', *lines])


def rows(home: Home, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(home.data / "catalog.sqlite")) as db:
        return db.execute(query).fetchall()


# -- A sync ------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_first_backup_takes_as_many_days_as_the_budget_wants(
    protocol: str, server: Dovecot, user: str, tmp_path: Path
) -> None:
    server.fill(user, LETTERS)
    limit = 8 * SIZE
    with Proxy("127.0.0.1", getattr(server.port, protocol)) as proxy:
        home = Home(tmp_path, proxy.port, user, protocol=protocol, compress=False)
        if protocol == "pop3":
            home.account.pop("compress")
        budget(home, download_per_day=limit)
        days: list[RunReport] = []
        octets: list[int] = []
        while len(home.archived()) < COUNT if days else True:
            before = proxy.octets
            days.append(home.sync())
            octets.append(proxy.octets - before)
            assert len(days) < 6, "it goes on"
            home.offset += DAY
    assert len(days) == 3
    assert [day.paused for day in days] == [True, True, False]
    assert all(day.ok and not day.stopped and not day.skipped for day in days)
    assert all(0 < day.fetched < 8 for day in days)
    assert all(used <= limit for used in octets), octets
    assert "The download budget of 127.0.0.1 (0.4 MB a day) is spent" in days[0].notices[0]
    home.holds(LETTERS)
    assert rows(home, "SELECT outcome FROM run ORDER BY id") == [("paused",)] * 2 + [("ok",)]


def test_a_pause_is_no_failure_and_says_until_when(
    server: Dovecot, user: str, tmp_path: Path
) -> None:
    server.fill(user, LETTERS)
    home = Home(tmp_path, server.port.imap, user, protocol="imap")
    budget(home, download_per_day=6 * SIZE)
    begun = datetime.now(UTC)
    report = home.sync()
    assert report.ok
    assert report.not_before is not None
    assert begun + timedelta(hours=23) < report.not_before < begun + timedelta(hours=26)
    ((failures, error, success, until),) = rows(
        home, "SELECT failures, last_error, last_success, not_before FROM account"
    )
    assert (failures, error) == (0, "")
    assert success is not None
    assert until == int(report.not_before.timestamp() * 1_000_000)
    assert home.delivered() != {}, "what came is delivered"


def test_until_then_the_server_is_left_alone(server: Dovecot, user: str, tmp_path: Path) -> None:
    server.fill(user, LETTERS)
    with Proxy("127.0.0.1", server.port.imap) as proxy:
        home = Home(tmp_path, proxy.port, user, protocol="imap")
        budget(home, download_per_day=6 * SIZE)
        first, connections = home.sync(), proxy.connections
        again = home.sync()
        assert proxy.connections == connections
    assert (again.skipped, again.paused, again.ok) == (True, True, True)
    assert again.not_before == first.not_before
    assert "budget" in again.notices[0]
    assert len(rows(home, "SELECT * FROM run")) == 1


def test_a_pause_ends_with_the_budget_that_made_it(
    server: Dovecot, user: str, tmp_path: Path
) -> None:
    server.fill(user, LETTERS)
    home = Home(tmp_path, server.port.imap, user, protocol="imap")
    budget(home, download_per_day=6 * SIZE)
    assert home.sync().paused
    budget(home, download_per_day=9 * SIZE)
    more = home.sync()
    assert more.paused
    assert more.fetched > 0
    assert home.sync().skipped
    home.more = ""
    rest = home.sync()
    assert (rest.paused, rest.skipped) == (False, False)
    home.holds(LETTERS)


def test_what_an_earlier_run_spent_is_not_forgotten(
    server: Dovecot, user: str, tmp_path: Path
) -> None:
    server.fill(user, LETTERS[:4])
    home = Home(tmp_path, server.port.imap, user, protocol="imap")
    budget(home, download_per_day=6 * SIZE)
    first = home.sync()
    assert (first.fetched, first.paused) == (4, False)
    server.fill(user, LETTERS[4:8])
    second = home.sync()
    assert (second.fetched, second.paused) == (1, True)
    ((spent,),) = rows(home, "SELECT sum(amount) FROM spending")
    assert isinstance(spent, int)
    assert 5 * SIZE < spent <= 6 * SIZE


def test_a_letter_larger_than_the_budget_does_not_wait_for_ever(
    server: Dovecot, user: str, tmp_path: Path
) -> None:
    letters = [letter(1), letter(2, 20 * SIZE), letter(3)]
    server.fill(user, letters)
    home = Home(tmp_path, server.port.imap, user, protocol="imap")
    budget(home, download_per_day=5 * SIZE)
    for _ in range(3):
        assert home.sync().ok
        home.offset += DAY
    home.holds(letters)


def test_mailboxes_behind_the_pause_come_later(server: Dovecot, user: str, tmp_path: Path) -> None:
    server.fill(user, [letter(n) for n in range(5)])
    with server.client(user) as client:
        for box in ("Archive", "Later"):
            client.create(box)
            for n in range(10, 15):
                client.append(box, letter(n + (10 if box == "Later" else 0)))
    home = Home(tmp_path, server.port.imap, user, protocol="imap")
    budget(home, download_per_day=7 * SIZE)
    reports = []
    for _ in range(4):
        reports.append(home.sync())
        home.offset += DAY
    assert sum(report.fetched for report in reports) == 15
    assert reports[0].paused
    assert reports[0].on_server < 15, "what is behind the pause is not even listed"
    assert not reports[-1].paused
    assert all(report.ok for report in reports)


def test_logins_are_counted(server: Dovecot, user: str, tmp_path: Path) -> None:
    server.fill(user, LETTERS[:1])
    home = Home(tmp_path, server.port.pop3, user)
    budget(home, logins_per_hour=2)
    assert [home.sync().skipped for _ in range(4)] == [False, False, True, True]
    report = home.sync()
    assert "The login budget of 127.0.0.1 (2 an hour) is spent" in report.notices[0]
    home.offset += timedelta(minutes=62)
    assert not home.sync().skipped


def test_a_broken_line_is_picked_up_again_only_if_a_login_is_left(
    server: Dovecot, user: str, tmp_path: Path
) -> None:
    server.fill(user, LETTERS)
    with Proxy("127.0.0.1", server.port.imap, cut_after=8 * SIZE) as proxy:
        home = Home(tmp_path, proxy.port, user, protocol="imap", compress=False)
        budget(home, logins_per_hour=1)
        report = home.sync()
        assert proxy.connections == 1
        assert (report.ok, report.paused) == (True, True)
        assert 0 < report.fetched < COUNT
        proxy.cut_after = None
        home.offset += timedelta(minutes=62)
        assert home.sync().ok
    home.holds(LETTERS)


def test_a_killed_process_forgets_little_of_what_it_spent(
    server: Dovecot, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetchd.pipeline.allowance.SETTLE", 2 * SIZE)
    monkeypatch.setattr("fetchd.pipeline.fetch.BATCH_MESSAGES", 2)
    written: list[int] = []
    spend = spending.spend

    def note(
        catalog: Catalog, purse: str, amounts: Sequence[tuple[What, int]], now: datetime
    ) -> spending.Spans:
        written.append(sum(amount for _, amount in amounts))
        return spend(catalog, purse, amounts, now)

    monkeypatch.setattr(spending, "spend", note)
    many = [letter(number) for number in range(100)]  # more than is read ahead
    server.fill(user, many)
    home = Home(tmp_path, server.port.pop3, user)
    budget(home, download_per_day=1000 * SIZE)
    assert home.sync().fetched == len(many)
    assert sum(written) > len(many) * SIZE * 0.95
    assert len([amount for amount in written if amount > SIZE]) >= 2, written


def test_accounts_of_a_host_may_share_a_budget(
    server: Dovecot, user: str, other: str, tmp_path: Path
) -> None:
    for name in (user, other):
        server.fill(name, [letter(n + 100 * (name == other)) for n in range(COUNT)])
    limit = 10 * SIZE
    with Proxy("127.0.0.1", server.port.imap) as proxy:
        home = Home(tmp_path, proxy.port, user, other, protocol="imap", compress=False)
        budget(home, download_per_day=limit, shared="host")
        done = home.round()
        assert proxy.octets <= limit
    assert done.ok
    assert all(report.paused for report in done.reports)
    assert 5 <= sum(report.fetched for report in done.reports) <= 10
    assert rows(home, "SELECT DISTINCT purse FROM spending") == [("imap://127.0.0.1",)]


def test_what_compression_saves_on_the_line_counts_all_the_same(
    server: Dovecot, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap_bodies, "SLOW_LINE", 1 << 60)
    monkeypatch.setattr(imap_bodies, "PROBE", 1 << 17)
    monkeypatch.setattr(imap_bodies, "BATCH_OCTETS", 1 << 17)
    monkeypatch.setattr("fetchd.clients.imap.WINDOW_OCTETS", 1 << 18)
    many = [letter(number) for number in range(3 * COUNT)]
    server.fill(user, many)
    with Proxy("127.0.0.1", server.port.imap) as proxy:
        home = ImapHome(tmp_path, proxy.port, user, connections=1)
        home.destination = {}
        budget(home, download_per_day=100 * SIZE)
        assert home.sync().fetched == len(many)
        assert proxy.octets < len(many) * SIZE / 2, "it was compressed"
    ((amount,),) = rows(home, "SELECT sum(amount) FROM spending WHERE what = 'download'")
    assert isinstance(amount, int)
    assert len(many) * SIZE * 0.95 < amount < len(many) * SIZE * 1.1


def test_without_a_budget_nothing_is_written_down(
    server: Dovecot, user: str, tmp_path: Path
) -> None:
    server.fill(user, LETTERS[:1])
    home = Home(tmp_path, server.port.imap, user, protocol="imap")
    assert home.sync().ok
    assert rows(home, "SELECT * FROM spending") == []


# -- Watch and restore ------------------------------------------------------------------------


def test_a_watch_waits_for_the_budget_too(
    server: Dovecot, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hints: list[object] = []
    hear = ImapWatch._hear
    monkeypatch.setattr(
        ImapWatch, "_hear", lambda watch, events: hints.append(1) or hear(watch, events)
    )
    server.fill(user, LETTERS)
    home = Home(tmp_path, server.port.imap, user, protocol="imap")
    budget(home, download_per_day=6 * SIZE)
    with Watched(home) as watched:
        watched.until(lambda: any("download budget" in one for one in notices(watched)))
        before = len(hints)
        with server.client(user) as client:
            client.append("INBOX", letter(99))
        watched.until(lambda: len(hints) > before)
        time.sleep(3 * GATHER)  # a sync that follows a hint would have begun by then
    assert watched.waits == []
    assert len(rows(home, "SELECT * FROM run")) == 1, "hints of news do not end the pause"


def notices(watched: Watched) -> list[str]:
    return [one.sentence for one in watched.heard if isinstance(one, Noticed)]


def test_a_restore_goes_on_the_next_day(
    server: Dovecot, user: str, other: str, tmp_path: Path
) -> None:
    server.fill(user, LETTERS)
    port = server.port.imap
    home = RestoreHome(tmp_path, (port, user), (port, other))
    home.archive()
    home.more = f'[budgets."127.0.0.1"]\nupload_per_day = {8 * SIZE}'
    reports = []
    for day in range(3):
        reports.append(put_back(home, day * DAY))
        there = len(server.served_imap(other)["INBOX"])
        assert there == sum(report.mailboxes[0].put for report in reports)
    assert [report.ok for report in reports] == [False, False, True]
    spent = reports[0].failure
    assert isinstance(spent, BudgetSpent)
    assert "upload budget" in str(spent)
    assert "same command again" in spent.advice
    assert all(0 < report.mailboxes[0].put <= 8 for report in reports)
    assert there == COUNT
    again = put_back(home, timedelta())
    assert again.ok, "where nothing is to be sent, nothing is missing"


def put_back(home: RestoreHome, ahead: timedelta) -> RestoreReport:
    async def run() -> RestoreReport:
        settings = home.settings()
        with open_storage(settings) as storage:
            return await restore(
                settings, Wish("old", "new"), storage, progress=Unwatched(),
                stop=asyncio.Event(), now=lambda: datetime.now(UTC) + ahead,
            )  # fmt: skip

    return asyncio.run(run())


# -- Connections -------------------------------------------------------------------------------


def purse(connections: int | None) -> Purse:
    return Purse("x", "the provider", replace(UNLIMITED, connections=connections))


def run(test: Callable[[], object]) -> None:
    asyncio.run(test())  # type: ignore[arg-type]


def test_no_more_connections_than_allowed() -> None:
    async def main() -> None:
        ours, most, now = purse(3), 0, 0

        async def sync() -> None:
            nonlocal most, now
            async with ours.connection():
                now += 1
                most = max(most, now)
                await asyncio.sleep(0)
                now -= 1

        await asyncio.gather(*(sync() for _ in range(20)))
        assert most == 3

    run(main)


def test_who_watches_leaves_a_place_to_who_syncs() -> None:
    async def main() -> None:
        ours = purse(3)
        async with AsyncExitStack() as held:
            for _ in range(2):
                await held.enter_async_context(ours.connection(lasting=True))
            third = asyncio.create_task(held.enter_async_context(ours.connection(lasting=True)))
            for _ in range(5):
                await asyncio.sleep(0)
            async with asyncio.timeout(5), ours.connection():
                assert not third.done()
            third.cancel()
            # Even a provider that bears no more than one now is synced.
            ours.shrink(0.0)
            assert ours.most == 1
            async with asyncio.timeout(5), ours.connection():
                pass

    run(main)


def test_a_helper_never_takes_the_last_place_nor_waits_for_one() -> None:
    async def main() -> None:
        ours = purse(2)
        async with ours.connection():
            with ours.spare():
                with pytest.raises(ServerUnavailable, match="no more than 2"), ours.spare():
                    pass
                waiting = asyncio.create_task(held(ours))
                await asyncio.sleep(0)
                assert not waiting.done()
        async with asyncio.timeout(5):
            await waiting

    async def held(ours: Purse) -> None:
        async with ours.connection():
            pass

    run(main)


def test_a_crowded_server_gets_half_and_slowly_more_again() -> None:
    async def main() -> None:
        ours = purse(12)
        async with AsyncExitStack() as stack:
            for _ in range(8):
                await stack.enter_async_context(ours.connection())
            ours.shrink(100.0)
        assert ours.most == 4
        ours.grow(101.0)
        assert ours.most == 4, "not at once"
        ours.grow(100.0 + LENIENCE)
        assert ours.most == 8
        ours.grow(100.0 + 2 * LENIENCE)
        assert ours.most == 12

    run(main)


def test_too_many_connections_are_told_by_the_login_and_by_a_helper(tmp_path: Path) -> None:
    home = Home(tmp_path, 1, "work", protocol="imap")

    async def main() -> None:
        settings = home.settings()
        with open_storage(settings) as storage:
            ours = Allowances(settings, storage).of("work")

            async def crowded() -> None:
                raise ServerUnavailable("too many connections", crowded=True)

            for _ in range(2):
                with pytest.raises(ServerUnavailable):
                    await ours.enter(crowded)
            assert ours.most_connections == 1
            with pytest.raises(ServerUnavailable):
                async with ours.connection(), ours.helper():
                    raise AssertionError("there is no place")

    asyncio.run(main())


def test_helpers_count_among_the_limits_of_a_round(tmp_path: Path) -> None:
    home = Home(tmp_path, 1, "work", protocol="imap")
    asked: list[str] = []

    @asynccontextmanager
    async def none(host: str) -> AsyncIterator[None]:
        asked.append(host)
        raise ServerUnavailable("[limits] allow no more connections")
        yield

    async def main() -> None:
        settings = home.settings()
        with open_storage(settings) as storage:
            allowances = Allowances(settings, storage)
            ours = allowances.of("work")
            allowances.spare = none
            with pytest.raises(ServerUnavailable):
                async with ours.helper():
                    raise AssertionError("there is no place")

    asyncio.run(main())
    assert asked == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("allowed", "limit", "hired"), [(None, 8, 3), (2, 8, 2), (1, 8, 1), (None, 2, 2)]
)
def test_helpers_are_hired_as_far_as_provider_and_limits_allow(
    allowed: int | None, limit: int, hired: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imap_bodies, "SLOW_LINE", 1 << 60)
    monkeypatch.setattr(imap_bodies, "PROBE", 1 << 16)
    monkeypatch.setattr(imap_bodies, "BATCH_OCTETS", 1 << 17)
    monkeypatch.setattr("fetchd.clients.imap.WINDOW_OCTETS", 1 << 18)
    many = [letter(n, 20_000) for n in range(200)]
    with (
        ScriptedImap({"INBOX": many}) as scripted,
        Proxy(scripted.host, scripted.port, delay=0.002) as proxy,
    ):
        home = ImapHome(tmp_path, proxy.port, "work", connections=3)
        home.destination = {}
        if allowed:
            budget(home, connections=allowed)
        home.more += f"\n[limits]\nconnections_per_host = {limit}"
        report = home.sync()
        assert (report.ok, report.fetched) == (True, len(many))
        assert scripted.connections == hired


# -- Whose budget it is -------------------------------------------------------------------------


def terms(home: Home, name: str = "work") -> tuple[str, str, Caps]:
    settings = home.settings()
    return terms_of(settings, settings.accounts[name])


def test_a_preset_counts_and_the_settings_count_more(tmp_path: Path) -> None:
    home = Home(
        tmp_path, 993, "work", protocol="imap", host="imap.gmail.com", tls="implicit",
        username="me@gmail.com",
    )  # fmt: skip
    name, title, caps = terms(home)
    assert (name, title) == ("imap://me@gmail.com@gmail", "Gmail")
    assert (caps.download_per_day, caps.upload_per_day, caps.connections) == (
        2_500_000_000, 500_000_000, 15,
    )  # fmt: skip
    home.more = (
        '[budgets.gmail]\ndownload_per_day = "1GB"\n[budgets."IMAP.gmail.com"]\nconnections = 5'
    )
    _, _, changed = terms(home)
    assert changed == replace(caps, download_per_day=1_000_000_000, connections=5)


def test_an_account_may_name_its_provider(tmp_path: Path) -> None:
    home = Home(tmp_path, 1, "work", protocol="pop3", provider="gmail")
    assert terms(home)[2].download_per_day == 1_250_000_000


def test_a_reload_changes_what_is_allowed_and_forgets_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path, 1, "work", protocol="imap")

    async def main() -> None:
        budget(home, download_per_day=1000)
        settings = home.settings()
        with open_storage(settings) as storage:
            allowances = Allowances(settings, storage)
            ours = allowances.of("work")
            ours.meter.received += 1000
            with pytest.raises(BudgetSpent):
                await ours.login()
            budget(home, download_per_day=3000)
            allowances.apply(home.settings())
            assert allowances.of("work") is ours
            await ours.login()
            await ours.settle()
            spans = spending.of(storage.catalog, "imap://work@127.0.0.1")
            assert [span.amount for span in spans[What.DOWNLOAD]] == [1000]

    asyncio.run(main())


# -- A destination --------------------------------------------------------------------------------


def test_an_imap_destination_waits_for_its_budget_and_loses_nothing(
    server: Dovecot, user: str, other: str, tmp_path: Path
) -> None:
    server.fill(user, LETTERS)
    home = Home(tmp_path, server.port.pop3, user, deliver_to=["far"])
    budget(home, upload_per_day=12 * SIZE)
    home.more += f"""
[destinations.far]
kind = "imap"
host = "127.0.0.1"
port = {server.port.imap}
tls = "none"
allow_plaintext_auth = true
username = "{other}"
password = "{PASSWORD}"
mailbox = "INBOX"
"""
    days = 0
    there = 0
    while there < COUNT:
        report = home.sync()
        before, there = there, len(server.served_imap(other)["INBOX"])
        assert before < there
        assert there - before <= 12, "not more than the budget"
        if there < COUNT:
            assert "upload budget" in report.troubles["far"]
        days += 1
        home.offset += DAY
        assert days < 6
    assert days >= 2
    assert home.sync().ok
    assert len(server.served_imap(other)["INBOX"]) == COUNT
