"""The service on a real Dovecot: pushed, polled, reloaded, stopped, killed, and never alone."""

import itertools
import json
import resource
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.serving import Serving, serving, until
from tests.daemon.site import PASSWORD, Site
from tests.servers.dovecot import Dovecot
from tests.servers.processes import alive_in, free_ports

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("service")]

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot(separator="/") as dovecot:
        yield dovecot


@pytest.fixture
def user(server: Dovecot) -> str:
    name = f"served{next(_numbers)}"
    server.add_user(name, PASSWORD)
    return name


@pytest.fixture
def site(tmp_path: Path, server: Dovecot) -> Site:
    return Site(tmp_path, server)


def test_what_arrives_is_pushed_into_the_maildir(site: Site, user: str) -> None:
    site.add(user, schedule="idle")
    with serving(site.write()) as service:
        until(lambda: service.account(user)["doing"] == "watching", "the account is watched")
        site.send(user, "pushed")
        until(lambda: site.subjects() == ["pushed"], "the message is there", 10)
        assert service.events("sync.finished", account=user, fetched=1, delivered=1)


def test_polled_accounts_are_synced_by_their_schedule(site: Site, user: str) -> None:
    site.add(user, protocol="pop3")
    site.send(user, "before the start")
    with serving(site.write()) as service:
        until(lambda: site.subjects() == ["before the start"], "what was there came at once", 10)
        site.send(user, "later")
        until(lambda: len(site.subjects()) == 2, "the schedule brought the next one", 15)
        snapshot = service.snapshot()
        assert snapshot["ready"]
        assert snapshot["healthy"]
        assert max(snapshot["lateness"]) < 2


def test_sync_asks_the_service_and_shows_what_it_did(site: Site, user: str) -> None:
    site.add(user, schedule="manual")
    with serving(site.write()) as service:
        site.send(user, "by hand")
        done = service.run("sync", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["accounts"][0]["fetched"] == 1
        assert site.subjects() == ["by hand"]
        assert service.account(user)["runs"] == 1
        assert service.account(user)["doing"] == "manual"


def test_a_mailbox_has_a_schedule_of_its_own(site: Site, user: str, server: Dovecot) -> None:
    server.doveadm("mailbox", "create", "-u", user, "Archive")
    site.add(user, schedule="10s", mailbox_schedules={"Archive": "manual"})
    server.fill(user, [b"Subject: old\r\n\r\nold\r\n"], mailbox="Archive")
    site.send(user, "new")
    with serving(site.write()) as service:
        until(lambda: site.subjects() == ["new"], "INBOX has come", 20)
        runs = service.account(user)["runs"]
        until(lambda: service.account(user)["runs"] > runs, "another round", 20)
        assert site.subjects() == ["new"]
        assert service.run("sync", user).returncode == 0  # a person means all of them
        assert site.subjects() == ["new", "old"]


def test_new_settings_apply_without_a_restart_and_wrong_ones_change_nothing(
    site: Site, user: str, server: Dovecot
) -> None:
    site.add(user, schedule="manual")
    with serving(site.write()) as service:
        good = site.file.read_text()
        site.file.write_text(good.replace('"manual"', '"now and then"'))
        refused = service.run("reload")
        assert refused.returncode != 0
        assert "schedule" in refused.stderr
        service.process.send_signal(signal.SIGHUP)
        until(lambda: len(service.events("settings.refused")) >= 1, "the service says so too")
        assert service.account(user)["doing"] == "manual"

        other = f"{user}b"
        server.add_user(other, PASSWORD)
        site.send(other, "of the new account")
        site.add(other, protocol="pop3")
        site.write()
        applied = service.run("reload")
        assert applied.returncode == 0, applied.stderr
        until(lambda: "of the new account" in site.subjects(), "the new account is synced", 20)
        assert "RELOADING=1" in service.told()
        assert service.account(user)["doing"] == "manual"
        del site.accounts[other]
        site.write()
        service.process.send_signal(signal.SIGHUP)
        until(lambda: len(service.snapshot()["accounts"]) == 1, "the account is gone")
        assert service.stop() == 0


def test_a_reload_adds_a_destination(site: Site, user: str, tmp_path: Path) -> None:
    site.add(user, schedule="manual")
    with serving(site.write()) as service:
        site.accounts[user]["deliver_to"] = ["home", "second"]
        second = tmp_path / "Second"
        site.more = f'[destinations.second]\nkind = "maildir"\npath = "{second}"\n'
        site.write()
        assert service.run("reload").returncode == 0
        site.send(user, "for both")
        assert service.run("sync").returncode == 0
        assert site.subjects() == ["for both"]
        assert len(list((second / "new").iterdir())) == 1


def test_what_waits_for_a_destination_goes_to_what_a_reload_makes_of_it(
    site: Site, user: str, tmp_path: Path
) -> None:
    [closed] = free_ports(1)
    site.add(user, schedule="manual", deliver_to=["home", "second"])
    away = (
        f'[destinations.second]\nkind = "smtp"\nhost = "127.0.0.1"\nport = {closed}\n'
        'tls = "none"\nrecipients = ["a@example.org"]\nfirst_sync = "deliver"\n'
    )
    site.more = away
    with serving(site.write()) as service:
        site.send(user, "waits")
        assert service.run("sync").returncode == 1
        site.accounts[user]["deliver_to"] = ["home"]
        site.more = ""
        site.write()
        assert service.run("reload").returncode == 0
        told = service.run("sync")
        assert "1 deliveries are owed to 'second'" in told.stdout + told.stderr
        second = tmp_path / "Second"
        site.accounts[user]["deliver_to"] = ["home", "second"]
        site.more = f'[destinations.second]\nkind = "maildir"\npath = "{second}"\n'
        site.write()
        assert service.run("reload").returncode == 0
        until(lambda: len(list(second.glob("new/*"))) == 1, "it takes what waited, at once", 10)


def test_a_refused_password_is_tried_no_more_until_it_is_another(
    site: Site, user: str, server: Dovecot, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("wrong")
    secret.chmod(0o600)
    site.service["schedule"] = "10s"
    site.add(user, password=None, password_file=str(secret))
    with serving(site.write()) as service:
        until(lambda: service.account(user)["doing"] == "halted", "the account is halted", 30)
        view = service.account(user)
        assert view["failed_runs"] == 1  # Dovecot says [AUTHENTICATIONFAILED]: no doubt about it
        assert "refuses the login" in view["why"]
        site.send(user, "while it was halted")
        assert service.run("sync").returncode == 1  # who names nobody in particular changes nothing
        assert service.account(user)["failed_runs"] == 1
        status = service.run("status")
        assert "refuses the login" in status.stdout
        secret.write_text(PASSWORD)
        until(lambda: site.subjects() == ["while it was halted"], "the new secret is found", 30)
        until(lambda: service.account(user)["doing"] == "waiting", "all is well again")


def test_a_server_that_was_away_is_watched_again_and_the_gap_is_found(tmp_path: Path) -> None:
    with Dovecot(separator="/") as server:
        server.add_user("gap", PASSWORD)
        site = Site(tmp_path, server)
        site.add("gap", schedule="idle")
        with serving(site.write()) as service:
            until(lambda: service.account("gap")["doing"] == "watching", "it is watched")
            server.stop()
            until(lambda: service.account("gap")["doing"] != "watching", "the break is noticed")
            server.start()
            site.send("gap", "in the gap")
            until(lambda: site.subjects() == ["in the gap"], "the gap is found", 60)
            until(lambda: service.account("gap")["doing"] == "watching", "it is watched again")


def test_the_second_service_says_who_holds_the_folder(site: Site, user: str) -> None:
    site.add(user, schedule="manual")
    with serving(site.write()) as service:
        second = service.run("serve")
        assert second.returncode == 1
        assert f"process {service.process.pid}" in second.stderr
        assert "Traceback" not in second.stderr
        service.kill()  # a dead one holds nothing
    with serving(site.file) as after:
        assert after.stop() == 0


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_ended_at_any_moment_it_loses_nothing_and_doubles_nothing(
    site: Site, user: str, end: str
) -> None:
    site.add(user, protocol="pop3", leave_on_server="none")
    expected: list[str] = []
    file = site.write()
    for number, moment in enumerate((0.0, 0.05, 0.1, 0.2)):
        subjects = [f"{number}-{n}" for n in range(80)]
        site.send(user, *subjects)
        expected += subjects
        service = Serving(file)
        try:
            service.until_ready()
            service.begin_sync()
            time.sleep(moment)
            if end == "SIGTERM":
                began = time.monotonic()
                assert service.stop() == 0
                assert time.monotonic() - began < 30  # service.drain
            else:
                service.kill()
        finally:
            service.close()
    with serving(file) as service:
        service.begin_sync()
        until(lambda: len(site.subjects()) >= len(expected), "all is home", 30)
        assert service.stop() == 0
    assert site.subjects() == sorted(expected)
    assert site.archived() == len(expected)


def test_a_stop_waits_for_what_is_under_way_and_no_longer_than_the_drain(
    site: Site, user: str
) -> None:
    site.add(user, protocol="pop3")
    site.send(user, *(str(n) for n in range(300)))
    with serving(site.write()) as service:
        until(lambda: service.account(user)["sync_fetched"] > 0, "the sync is under way")
        assert service.stop() == 0
        assert "STOPPING=1" in service.told()
        assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in service.told())
        begun = site.archived()
    with serving(site.file):
        until(lambda: len(site.subjects()) == 300, "the rest has come", 30)
    assert begun <= 300


def test_a_stop_does_not_wait_for_programs_that_hang(site: Site, user: str, tmp_path: Path) -> None:
    """Nor leaves them behind."""
    program = tmp_path / "hang"
    program.write_text(f"#!/bin/sh\necho $$ >> {tmp_path / 'pids'}\nsleep 300 &\nsleep 300\n")
    program.chmod(0o700)
    site.service["drain"] = "8s"
    site.add(user, deliver_to=["home", "program"])
    site.add("asked", password=None, password_command=[str(program)])
    site.add("led", tunnel=[str(program)])
    site.more = (
        f'[destinations.program]\nkind = "command"\ncommand = ["{program}"]\n'
        'first_sync = "deliver"\n'
    )
    site.send(user, "taken by nobody")
    pids = tmp_path / "pids"
    with serving(site.write()) as service:
        until(lambda: pids.exists() and len(pids.read_text().split()) == 3, "all hang", 30)
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 12
    until(lambda: not any(alive_in(int(pid)) for pid in pids.read_text().split()), "none is left")


def test_the_watchdog_is_fed_and_health_is_told(site: Site, user: str) -> None:
    site.add(user, schedule="manual")
    with serving(site.write(), WATCHDOG_USEC="900000") as service:
        until(lambda: service.told().count("WATCHDOG=1") >= 3, "the watchdog is fed", 10)
        for page in ("healthz", "readyz", "metrics"):
            with urllib.request.urlopen(f"http://127.0.0.1:{site.web}/{page}", timeout=10) as told:
                assert told.status == 200
        assert any(line.startswith("STATUS=1 accounts") for line in service.told())


def test_a_data_folder_in_trouble_is_tried_again(site: Site, user: str) -> None:
    """The service stays, says so, and goes on when the owner has put it right."""
    site.add(user, protocol="pop3")
    file = site.write()
    with serving(file) as service:
        assert service.stop() == 0
    archive = site.data / "archive"
    elsewhere = site.data / "elsewhere"
    site.send(user, "after the trouble")
    with serving(file) as service:
        until(lambda: len(site.subjects()) == 1, "it works")
        assert service.stop() == 0
    archive.rename(elsewhere)
    service = Serving(file)
    try:
        until(lambda: bool(service.events("service.waits")), "it says what is wrong")
        assert service.process.poll() is None
        assert service.run("sync").returncode == 1
        elsewhere.rename(archive)
        assert service.run("reload").returncode == 0  # else it tries again by itself, later
        until(lambda: service.snapshot()["ready"], "it has tried again", 60)
        assert service.stop() == 0
    finally:
        service.close()


def test_a_data_folder_that_goes_away_is_waited_for_and_never_begun_anew(
    site: Site, user: str
) -> None:
    site.add(user, protocol="pop3")
    site.send(user, "before")
    with serving(site.write()) as service:
        until(lambda: site.subjects() == ["before"], "it works")
        aside = site.folder / "aside"
        site.data.rename(aside)
        until(lambda: bool(service.events("service.waits")), "it says what is wrong", 20)
        site.send(user, "after")
        time.sleep(1)
        assert service.process.poll() is None
        assert site.subjects() == ["before"]
        assert not site.data.exists()
        aside.rename(site.data)
        service.process.send_signal(signal.SIGHUP)  # else it tries again by itself, later
        until(lambda: site.subjects() == ["after", "before"], "it goes on", 60)
        assert service.stop() == 0
    assert site.archived() == 2


def test_many_files_may_be_open_and_a_lack_of_them_is_a_line_in_the_log(
    site: Site, user: str
) -> None:
    site.add(user, schedule="manual")
    with serving(site.write()) as service:
        pid = service.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft >= min(hard, 65536)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))  # not one more
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(str(site.data / "control.sock"))
            until(lambda: bool(service.events("service.fault")), "it says what is wrong")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert service.account(user)["doing"] == "manual"
        assert service.stop() == 0
        assert "Traceback" not in service.log.read_text()
