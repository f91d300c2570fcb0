"""The control socket: who may ask, what is answered, and that nobody who connects hurts it."""

import asyncio
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fetchd import __version__, telemetry
from fetchd.daemon import control, sockets
from fetchd.daemon.control import CLIENTS
from fetchd.daemon.holder import ServiceLock
from fetchd.daemon.messages import (
    REQUEST_LIMIT,
    Done,
    Failed,
    Hello,
    Moved,
    Refused,
    Reload,
    Reloaded,
    Resume,
    Resumed,
    State,
    Status,
    Sync,
    answer,
    line,
)
from fetchd.daemon.sockets import NAME, connected
from fetchd.errors import Remedy, Scope, ServerUnavailable, ServiceError, UsageError
from fetchd.pipeline.deliver import Tally
from fetchd.pipeline.report import Failure, RunReport
from fetchd.pipeline.round import Round
from fetchd.pipeline.snapshot import AccountView, DestinationView, Doing
from fetchd.pipeline.tools import Progress
from tests.cli.at_service import AtService, Scripted, snapshot

SECRET = "correct horse"


class Caller:
    """Somebody at the socket."""

    def __init__(self, folder: Path) -> None:
        self._plug = connected(folder, 20)
        self._file = self._plug.makefile("rb")

    def says(self, octets: bytes) -> None:
        self._plug.sendall(octets)

    def hears(self) -> Any:
        """The next answer; None when there will be no other."""
        octets = self._file.readline()
        return answer(octets) if octets else None

    def hears_all(self) -> list[Any]:
        return list(iter(self.hears, None))

    def close(self) -> None:
        self._file.close()
        self._plug.close()


@contextmanager
def calling(folder: Path) -> Iterator[Caller]:
    caller = Caller(folder)
    try:
        yield caller
    finally:
        caller.close()


def asked(folder: Path, *octets: bytes) -> list[Any]:
    """All that is said to somebody who says this, but for the greeting."""
    with calling(folder) as caller:
        assert caller.hears() == Hello(__version__, os.getpid())
        for piece in octets:
            caller.says(piece)
        return caller.hears_all()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[AtService]:
    with AtService(tmp_path) as running:
        yield running


@pytest.fixture
def handler(service: AtService) -> Scripted:
    return service.handler


def until(condition: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# -- What is asked and answered ------------------------------------------------------------


def test_reload_resume_and_status(service: AtService, handler: Scripted, tmp_path: Path) -> None:
    assert asked(tmp_path, line(Reload())) == [Reloaded()]
    handler.problems = ("fetchd.toml:3: no such key", "two\nlines")
    assert asked(tmp_path, line(Reload())) == [Refused(handler.problems)]
    assert asked(tmp_path, line(Resume(("work",)))) == [Resumed()]
    assert asked(tmp_path, line(Status())) == [State(handler.view)]
    assert handler.asked == ["reload", "reload", ("resume", "work")]


def test_a_request_may_come_in_pieces(service: AtService, tmp_path: Path) -> None:
    whole = line(Reload())
    assert asked(tmp_path, whole[:5], whole[5:]) == [Reloaded()]


def test_what_the_service_refuses_is_told_in_its_words(
    service: AtService, handler: Scripted, tmp_path: Path
) -> None:
    handler.error = UsageError("no account is called x", advice="The settings have: work.")
    for request in (Sync(("x",)), Resume(("x",))):
        (told,) = asked(tmp_path, line(request))
        assert told == Failed("no account is called x", "The settings have: work.", misused=True)
    handler.error = ServiceError("It is ending.")
    assert asked(tmp_path, line(Reload())) == [Failed("It is ending.", "", misused=False)]


@pytest.mark.parametrize("error", [ZeroDivisionError(), ValueError("x"), OSError(5, "x")])
def test_a_bug_costs_one_answer_and_not_the_service(
    service: AtService, handler: Scripted, tmp_path: Path, error: Exception
) -> None:
    handler.error = error
    assert asked(tmp_path, line(Reload())) == [
        Failed("The service could not do it.", "Its log says why.")
    ]
    handler.error = None
    assert asked(tmp_path, line(Reload())) == [Reloaded()]


def test_a_sync_is_told_as_it_goes_and_at_its_end(
    service: AtService, handler: Scripted, tmp_path: Path
) -> None:
    gate = threading.Event()

    async def work(accounts: Sequence[str], progress: Progress) -> Round:
        for _ in range(1000):
            progress.phase("work", "listing")
            progress.phase("work", "fetching")
            progress.expect("work", 2, 20)
            progress.fetched("work", 1, 10)
        await asyncio.to_thread(gate.wait, 20)
        progress.phase("work", "done")
        return Round([RunReport("work", fetched=1000)])

    handler.round = work
    with calling(tmp_path) as caller:
        caller.hears()
        caller.says(line(Sync(("work",), confirm_retire=True)))
        assert caller.hears() == Moved("work", "fetching", 2000, 20_000, 1000, 10_000)
        gate.set()
        assert caller.hears_all() == [
            Moved("work", "done"), Done(Round([RunReport("work", fetched=1000)])),
        ]  # fmt: skip
    assert handler.asked == [("sync", "work", True)]


def test_a_report_comes_through_whole_but_for_what_nobody_shows(
    service: AtService, handler: Scripted, tmp_path: Path
) -> None:
    error = ServerUnavailable("[IN-USE] locked", wait=timedelta(seconds=9), advice="Wait.")
    report = RunReport(
        "work", fetched=3, octets=4, adopted=5, on_server=9, stopped=True, notices=["a notice"],
        aside={("INBOX", b"\xff1")}, home={"INBOX": {b"1", b"2"}}, troubles={"home": "full"},
        failures=[Failure(Scope.MAILBOX, "INBOX", error)],
    )  # fmt: skip
    sent = Round([report], {"old": Tally(1, 2, 3, {"home": "full"})}, {"home": "it is down"})

    async def work(_accounts: Sequence[str], _progress: Progress) -> Round:
        return sent

    handler.round = work
    (done,) = asked(tmp_path, line(Sync()))
    (got,) = done.round.reports
    (failure,) = got.failures
    told = failure.error
    assert (str(told), told.advice) == ("[IN-USE] locked", "Wait.")
    assert (told.scope, told.remedy) == (Scope.ACCOUNT, Remedy.WAIT)
    assert (failure.scope, failure.name) == (Scope.MAILBOX, "INBOX")
    assert got.sentence() == report.sentence()
    assert (got.advice(), got.remedy()) == (report.advice(), report.remedy())
    assert got.counts() == report.counts()
    assert (got.aside, got.notices, got.stopped) == (report.aside, report.notices, True)
    assert (done.round.others, done.round.unreached) == (sent.others, sent.unreached)
    assert got.home == {}
    assert report.home  # of the service's own report nothing was taken


def test_no_secret_crosses_the_line(
    service: AtService, handler: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_literal", "_encoded"):
        monkeypatch.setattr(telemetry, name, ())
    telemetry.conceal(SECRET)
    said = f"USER {SECRET} is strange"

    async def work(_accounts: Sequence[str], _progress: Progress) -> Round:
        failure = Failure(Scope.ACCOUNT, "work", ServerUnavailable(said, advice=said))
        report = RunReport("work", notices=[said], troubles={"home": said}, failures=[failure])
        return Round([report], {"old": Tally(troubles={"home": said})}, {"home": said})

    handler.round = work
    handler.problems = (said,)
    handler.view = snapshot(
        accounts=(AccountView("work", "imap", Doing.HALTED, why=said, advice=said),),
        destinations=(DestinationView("home", "smtp", why=said),),
        reload_refused=said,
        unready=(said,),
        unhealthy=(said,),
    )
    answers = [asked(tmp_path, line(one)) for one in (Sync(), Reload(), Status())]
    handler.error = UsageError(said, advice=said)
    answers.append(asked(tmp_path, line(Reload())))
    for told in answers:
        octets = b"".join(line(one) for one in told)
        assert SECRET.encode() not in octets
        assert b"USER *** is strange" in octets


def test_status_goes_on_for_who_stays(
    service: AtService, handler: Scripted, tmp_path: Path
) -> None:
    with calling(tmp_path) as caller:
        caller.hears()
        began = time.monotonic()
        caller.says(line(Status(every=0)))
        for _ in range(3):
            assert caller.hears() == State(handler.view)
        assert time.monotonic() - began >= 0.4  # however little it asked for
    seen = handler.snapshots
    until(lambda: not service.control._clients)
    assert handler.snapshots <= seen + 1


def test_who_waits_hears_a_word_now_and_then(
    service: AtService, handler: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "BEAT", 0.05)
    gate = threading.Event()

    async def work(_accounts: Sequence[str], _progress: Progress) -> Round:
        await asyncio.to_thread(gate.wait, 20)
        return Round()

    handler.round = work
    with calling(tmp_path) as caller:
        caller.hears()
        caller.says(line(Sync()))
        assert [caller.hears(), caller.hears()] == [control.Beat()] * 2
        gate.set()
        assert caller.hears_all()[-1] == Done(Round())


def test_a_reload_that_takes_too_long_goes_on_and_is_told(
    service: AtService, handler: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "BEAT", 0.05)
    monkeypatch.setattr(control, "ACTING", 0.2)
    gate, over = threading.Event(), threading.Event()

    async def slow() -> tuple[str, ...]:
        await asyncio.to_thread(gate.wait, 20)
        over.set()
        return ()

    monkeypatch.setattr(handler, "reload", slow)
    *_, told = asked(tmp_path, line(Reload()))
    assert "is still at it" in told.sentence
    gate.set()
    assert over.wait(20)


# -- Whoever connects ----------------------------------------------------------------------


def test_the_socket_is_for_its_owner(service: AtService, tmp_path: Path) -> None:
    mode = (tmp_path / NAME).lstat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    with connected(tmp_path, 20) as plug:
        assert sockets.peer_uid(plug) == os.geteuid()


def test_a_stranger_hears_nothing(
    service: AtService, handler: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "peer_uid", lambda _plug: os.geteuid() + 12345)
    with calling(tmp_path) as caller:
        assert caller.hears_all() == []
    monkeypatch.undo()
    assert asked(tmp_path, line(Reload())) == [Reloaded()]
    assert handler.asked == ["reload"]


@pytest.mark.parametrize(
    "octets",
    [
        b"\n", b"{}\n", b"null\n", b"GET / HTTP/1.1\r\n", b'{"is":"sudo"}\n', b"\xff\xfe\n",
        b'{"is":"sync","accounts":"work"}\n', b'{"is":"sync","accounts":[1]}\n',
        b'{"is":"status","every":"soon"}\n', b'{"is":"status","every":1e999}\n',
        b"[" * 5000 + b"\n", b"x" * (REQUEST_LIMIT + 2),
    ],
)  # fmt: skip
def test_nonsense_is_answered_and_does_nothing(
    service: AtService, handler: Scripted, tmp_path: Path, octets: bytes
) -> None:
    with calling(tmp_path) as caller:
        caller.hears()
        try:
            caller.says(octets)
            told = caller.hears()
        except ConnectionError:  # it has hung up in the middle of what was too long
            told = None
    assert told is None or told.sentence.startswith("That is no request")
    assert handler.asked == []
    assert asked(tmp_path, line(Reload())) == [Reloaded()]


def test_who_connects_and_is_silent_is_hung_up_on(
    service: AtService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "ASKING", 0.1)
    (told,) = asked(tmp_path, b'{"is":')
    assert "none came within" in told.sentence


def test_who_does_not_read_is_hung_up_on(
    service: AtService, handler: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "READING", 0.2)
    monkeypatch.setattr(control, "EVERY", (0.001, 1.0))
    many = tuple(AccountView(f"a{i}", "imap", Doing.WAITING) for i in range(2000))
    handler.view = snapshot(accounts=many)
    with calling(tmp_path) as caller:
        caller.says(line(Status(every=0)))
        until(lambda: handler.snapshots)
        until(lambda: not service.control._clients)
        assert asked(tmp_path, line(Reload())) == [Reloaded()]


def test_a_sync_goes_on_without_who_asked_for_it(
    service: AtService, handler: Scripted, tmp_path: Path
) -> None:
    gate, ended = threading.Event(), threading.Event()

    async def work(_accounts: Sequence[str], progress: Progress) -> Round:
        await asyncio.to_thread(gate.wait, 20)
        progress.phase("work", "done")
        ended.set()
        return Round()

    handler.round = work
    with calling(tmp_path) as caller:
        caller.hears()
        caller.says(line(Sync()))
        until(lambda: handler.asked)
    until(lambda: not service.control._clients)
    gate.set()
    assert ended.wait(20)
    assert asked(tmp_path, line(Reload())) == [Reloaded()]


def test_many_ask_at_once_and_one_too_many_is_told_so(service: AtService, tmp_path: Path) -> None:
    callers = [Caller(tmp_path) for _ in range(CLIENTS)]
    try:
        assert all(isinstance(caller.hears(), Hello) for caller in callers)
        with calling(tmp_path) as one_more:
            (told,) = one_more.hears_all()
        assert told.sentence == f"{CLIENTS} commands are asking the service already."
        for caller in callers:
            caller.says(line(Reload()))
        assert all(caller.hears_all() == [Reloaded()] for caller in callers)
    finally:
        for caller in callers:
            caller.close()
    until(lambda: not service.control._clients)
    assert asked(tmp_path, line(Reload())) == [Reloaded()]


def test_any_program_can_ask(service: AtService, tmp_path: Path) -> None:
    with connected(tmp_path, 20) as plug, plug.makefile("rwb") as file:
        assert json.loads(file.readline())["is"] == "hello"
        file.write(b'{"is": "status"}\n')
        file.flush()
        assert json.loads(file.readline())["snapshot"]["pid"] == 4321


# -- Beginning and end ---------------------------------------------------------------------


def test_a_socket_that_a_killed_service_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(tmp_path / NAME))
    with AtService(tmp_path):
        assert asked(tmp_path, line(Reload())) == [Reloaded()]
    assert not (tmp_path / NAME).exists()


def test_a_folder_whose_path_is_longer_than_a_sockets_may_be(tmp_path: Path) -> None:
    folder = tmp_path / ("long " * 40) / "data"
    folder.mkdir(parents=True)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with AtService(folder):
        assert asked(folder, line(Reload())) == [Reloaded()]
        assert stat.S_IMODE((folder / NAME).lstat().st_mode) == 0o600
    assert not (folder / NAME).exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_who_calls_when_many_do_waits_for_the_queue(tmp_path: Path) -> None:
    """The kernel refuses one caller too many at once, whatever its patience."""
    with socket.socket(socket.AF_UNIX) as server, ExitStack() as callers:
        server.bind(str(tmp_path / NAME))
        server.listen(1)
        with suppress(BlockingIOError):
            while True:
                callers.enter_context(connected(tmp_path, 0.0))
        later = threading.Timer(0.2, lambda: callers.enter_context(server.accept()[0]))
        later.start()
        with connected(tmp_path, 20):
            later.join()


def test_a_folder_that_takes_no_socket_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    lock = ServiceLock(tmp_path)
    with pytest.raises(ServiceError, match=r"control\.sock cannot be made"):
        asyncio.run(control.Control(tmp_path, lock, Scripted()).open())
    lock.close()


def test_the_last_answer_is_heard_and_idle_callers_do_not_delay_the_end(
    service: AtService, handler: Scripted, tmp_path: Path
) -> None:
    gate = threading.Event()

    async def work(_accounts: Sequence[str], _progress: Progress) -> Round:
        await asyncio.to_thread(gate.wait, 20)
        return Round([RunReport("work", stopped=True)])

    handler.round = work
    with calling(tmp_path) as silent, calling(tmp_path) as watching, calling(tmp_path) as waiting:
        for caller in (silent, watching, waiting):
            caller.hears()
        watching.says(line(Status(every=3600)))
        watching.hears()
        waiting.says(line(Sync()))
        until(lambda: handler.asked)
        threading.Timer(0.3, gate.set).start()
        began = time.monotonic()
        service.stop_listening()
        assert time.monotonic() - began < control.FAREWELL - 1
        assert waiting.hears_all()[-1] == Done(Round([RunReport("work", stopped=True)]))
        assert (silent.hears_all(), watching.hears_all()) == ([], [])


def test_what_never_ends_is_ended_with_the_service(
    service: AtService, handler: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "FAREWELL", 0.2)
    cancelled = threading.Event()

    async def work(_accounts: Sequence[str], _progress: Progress) -> Round:
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()
        return Round()

    handler.round = work
    with calling(tmp_path) as caller:
        caller.hears()
        caller.says(line(Sync()))
        until(lambda: handler.asked)
        service.stop_listening()
        assert cancelled.wait(20)
        assert not any(isinstance(told, Done) for told in caller.hears_all())
