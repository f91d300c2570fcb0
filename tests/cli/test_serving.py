"""The commands that ask a service, beside one that does as the test says, and beside none."""

import asyncio
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from fetchd.cli import asking
from fetchd.daemon import service as service_module
from fetchd.daemon.holder import ServiceLock
from fetchd.daemon.sockets import NAME, bound
from fetchd.errors import AuthenticationFailed, Scope, UsageError
from fetchd.pipeline.report import Failure, RunReport
from fetchd.pipeline.round import Round
from fetchd.pipeline.tools import Progress
from fetchd.settings import Settings
from tests.cli.at_service import AtService, Scripted, run
from tests.cli.conftest import MESSAGES, spawn
from tests.cli.test_sync import on_a_terminal
from tests.pipeline.home import Home

COUNT = len(MESSAGES)


@pytest.fixture
def service(here: Home) -> Iterator[AtService]:
    with AtService(here.data) as running:
        yield running


@pytest.fixture
def handler(service: AtService) -> Scripted:
    return service.handler


class Held:
    """A sync that lasts until the test lets it end."""

    def __init__(self, done: Round | None = None) -> None:
        self.begun, self.gate, self.over = (threading.Event() for _ in range(3))
        self._done = done or Round([RunReport("work", fetched=2, octets=20, on_server=2)])

    async def __call__(self, _accounts: Sequence[str], progress: Progress) -> Round:
        progress.phase("work", "fetching")
        progress.expect("work", 2, 20)
        progress.fetched("work", 1, 10)
        progress.phase("stranger", "fetching")  # only the service's settings have it
        self.begun.set()
        await asyncio.to_thread(self.gate.wait, 20)
        self.over.set()
        return self._done


@pytest.fixture
def held(handler: Scripted) -> Iterator[Held]:
    handler.round = one = Held()
    yield one
    one.gate.set()


# -- sync ----------------------------------------------------------------------------------


def test_a_sync_is_the_services_to_do(here: Home, handler: Scripted) -> None:
    ran = run(here, "sync", "work", "--confirm-retire")
    assert (ran.code, ran.out) == (0, "work: 1 new message (1.0 kB), 1 delivered\n")
    assert '"event": "sync.fetching"' in ran.err
    assert '"event": "sync.finished"' in ran.err
    assert handler.asked == [("sync", "work", True)]


def test_its_document_is_that_of_a_sync_here(here: Home, handler: Scripted) -> None:
    failure = Failure(Scope.ACCOUNT, "work", AuthenticationFailed("it says no", advice="Do."))
    handler.round = Held(Round([RunReport("work", stopped=True, failures=[failure])]))
    handler.round.gate.set()
    by_service = run(here, "sync", "--json")
    assert by_service.code == 1
    document = by_service.document
    assert document["stopped"]
    (told,) = document["accounts"]
    assert told["failures"] == [
        {
            "scope": "account", "name": "work", "sentence": "it says no", "advice": "Do.",
            "remedy": "owner",
        }
    ]  # fmt: skip
    here_ = run(here, "sync", "--json", "--here").document
    assert document.keys() == here_.keys()
    assert told.keys() == here_["accounts"][0].keys()


def test_here_means_here(here: Home, handler: Scripted) -> None:
    ran = run(here, "sync", "--here")
    assert f"work: {COUNT} new messages" in ran.out
    assert handler.asked == []


def test_where_no_service_runs_any_more_it_is_done_here(here: Home) -> None:
    ServiceLock(here.data).close()
    ran = run(here, "sync")
    assert f"work: {COUNT} new messages" in ran.out
    assert "sync.here" not in ran.err


def test_an_account_that_the_service_does_not_know(here: Home, handler: Scripted) -> None:
    handler.error = UsageError("no account is called work", advice="The settings have: x.")
    ran = run(here, "sync", "work")
    assert ran.code == 2
    assert ran.err == (
        "fetchd: no account is called work\n"
        "  The settings have: x. The service has other settings than the file: 'fetchd reload'.\n"
    )


@pytest.fixture(params=["none listens", "it is silent", "it is no service", "it hangs up"])
def silent(request: pytest.FixtureRequest, here: Home) -> Iterator[None]:
    """The folder is held, but whoever should listen at the socket does not."""
    lock = ServiceLock(here.data)
    plug = bound(here.data)
    threads = []
    if request.param != "none listens":
        plug.listen()
    if request.param in ("it is no service", "it hangs up"):
        said = b"220 smtp.example.org ESMTP\r\n" if "no service" in request.param else b""
        threads.append(threading.Thread(target=_answer_once, args=(plug, said)))
    for thread in threads:
        thread.start()
    yield
    plug.close()
    lock.close()
    for thread in threads:
        thread.join(20)


def _answer_once(plug: socket.socket, said: bytes) -> None:
    end, _ = plug.accept()
    with end:
        end.sendall(said)


def test_where_the_service_does_not_answer_a_sync_is_done_here(
    here: Home, silent: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "GREETING", 0.3)
    ran = run(here, "sync")
    assert ran.code == 0
    assert f"work: {COUNT} new messages" in ran.out
    assert '"event": "sync.here"' in ran.err


@pytest.mark.parametrize("command", ["reload", "top --once", "resume"])
def test_who_must_have_an_answer_says_that_there_is_none(
    here: Home, silent: None, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(asking, "GREETING", 0.3)
    ran = run(here, *command.split())
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("fetchd: The service (process ")
    assert "log" in ran.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_detaches_and_the_service_goes_on(
    here: Home, held: Held, number: signal.Signals
) -> None:
    with spawn(here, "sync", "--json", text=True) as process:
        assert held.begun.wait(20)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "The service goes on with the sync." in err
    assert "Traceback" not in err
    assert json.loads(out)["error"]["sentence"] == "The service goes on with the sync."
    assert not held.over.is_set()
    held.gate.set()
    assert held.over.wait(20)


def test_a_service_that_ends_in_the_middle_is_told(
    here: Home, service: AtService, held: Held
) -> None:
    with spawn(here, "sync", text=True) as process:
        assert held.begun.wait(20)
        service.do(_drop_all(service))
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert "went away before it had answered" in err
    assert "Traceback" not in err


async def _drop_all(service: AtService) -> None:
    for task in service.control._clients:
        task.cancel()


def test_a_service_that_hangs_is_not_waited_for_for_ever(
    here: Home, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SILENCE", 0.5)
    ran = run(here, "sync")
    assert ran.code == 1
    assert "does not answer" in ran.err


def test_a_terminal_sees_it_live(here: Home, service: AtService, handler: Scripted) -> None:
    handler.round = held = Held()

    def watch(seen: bytes, _process: object) -> None:
        if b"1/2" in seen:
            held.gate.set()

    seen = on_a_terminal(here, "sync", watch=watch)
    assert b"1/2" in seen
    assert b"Traceback" not in seen
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")


# -- reload, resume ------------------------------------------------------------------------


def test_a_reload_that_applies(here: Home, handler: Scripted) -> None:
    ran = run(here, "reload")
    assert ran.code == 0
    assert ran.out.startswith("The settings are applied (process ")
    assert run(here, "reload", "--json").document["applied"]
    assert handler.asked == ["reload", "reload"]


def test_a_reload_that_is_refused_says_why(here: Home, handler: Scripted) -> None:
    handler.problems = ("data_dir: a service cannot move", "x: one\n   two")
    ran = run(here, "reload")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        "The settings are refused; the service goes on with the old ones:\n"
        "  data_dir: a service cannot move\n  x: one\n     two\n"
    )
    told = run(here, "reload", "--json")
    assert told.code == 1
    assert not told.document["applied"]
    assert told.document["problems"] == list(handler.problems)


def test_resume(here: Home, handler: Scripted) -> None:
    assert "1 account is tried again" in run(here, "resume", "work").out
    assert "Every account that was halted is tried again" in run(here, "resume").out
    assert run(here, "resume", "work", "--json").document == {"resumed": ["work"]}
    assert run(here, "resume", "nobody").code == 2
    assert handler.asked == [("resume", "work"), ("resume",), ("resume", "work")]


@pytest.mark.parametrize("command", ["reload", "resume", "resume work", "top", "top --once"])
def test_without_a_service_they_say_so(here: Home, command: str) -> None:
    ran = run(here, *command.split())
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"fetchd: No service is running for {here.data}.\n  Start it: ")
    assert not here.data.exists()


# -- serve ---------------------------------------------------------------------------------


def test_serve_hands_over_how_to_read_the_settings_again(
    here: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def stay(load: Callable[[], Settings]) -> bool:
        seen.append(load().accounts.keys())
        here.users = ("work", "private")
        here.settings()
        monkeypatch.chdir("/")
        seen.append(load().accounts.keys())
        return False

    monkeypatch.setattr(service_module, "serve", stay)
    assert run(here, "serve").code == 1
    assert [list(names) for names in seen] == [["work"], ["work", "private"]]


def test_what_is_there_of_a_dead_service_does_not_slow_a_sync(here: Home) -> None:
    ServiceLock(here.data).close()
    bound(here.data).close()
    assert (here.data / NAME).exists()
    began = time.monotonic()
    assert run(here, "sync").code == 0
    assert time.monotonic() - began < asking.GREETING
