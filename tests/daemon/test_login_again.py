"""An account whose token was revoked: halted at once, told once, and going on by itself."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.serving import PATIENCE, Serving, serving, until
from tests.daemon.site import Site
from tests.lacking import lacking
from tests.servers.dovecot import Dovecot, dovecot_available
from tests.servers.oauth2 import MECHANISMS, Provider, dovecot_settings

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("service")]

USER = "me"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        running.folder.chmod(0o755)
        yield running


@pytest.fixture(scope="module")
def server(provider: Provider) -> Iterator[Dovecot]:
    if reason := dovecot_available():
        lacking(reason)
    asking = dovecot_settings(provider, provider.folder / "dovecot-oauth2.conf.ext")
    with Dovecot(mechanisms=MECHANISMS, extra=asking) as dovecot:
        dovecot.add_user(USER, "a password that nobody here knows")
        yield dovecot


@pytest.fixture
def site(tmp_path: Path, server: Dovecot, provider: Provider) -> Site:
    made = Site(tmp_path, server)
    made.add("work", user=USER, password=None, oauth2=provider.oauth2())
    return made


def log_in(provider: Provider, file: Path) -> None:
    command = [sys.executable, "-m", "fetchd", "--config", str(file), "login", "work", "--paste"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        page = process.stdout.readline().strip()
        said, _ = process.communicate(f"{provider.consent(page)}\n", timeout=PATIENCE)
        assert process.returncode == 0, said


def doing(service: Serving) -> str:
    return str(service.account("work")["doing"])


@pytest.mark.parametrize("schedule", ["10s", "1h"])
def test_a_revoked_token_halts_and_a_new_login_ends_it(
    site: Site, provider: Provider, schedule: str
) -> None:
    site.add("work", user=USER, password=None, oauth2=provider.oauth2(), schedule=schedule)
    log_in(provider, site.write())
    with serving(site.file) as service:
        until(lambda: service.account("work")["runs"] > 0, "the first sync")
        provider.revoke_everything()
        site.server.kick(USER)
        service.run("sync", "--json")
        until(lambda: doing(service) == "halted", "it is halted at the first refusal")
        alerts = service.run("alerts").stdout
        assert "account work: the login is refused" in alerts
        assert "fetchd login work" in alerts
        site.send(USER, schedule)
        log_in(provider, site.file)
        until(lambda: schedule in site.subjects(), "it goes on by itself", 20)
        until(lambda: "login is refused" not in service.run("alerts").stdout, "it is over", 20)
