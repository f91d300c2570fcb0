"""First login, refresh, rotation, revocation: at a real authorization server."""

import asyncio
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fetchd.auth.access import access_token
from fetchd.auth.client import client_of
from fetchd.auth.flows import by_code, by_device
from fetchd.auth.revoking import give_back
from fetchd.auth.tokens import name_of, store_of, token_state
from fetchd.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    Remedy,
    RemoteProtocolError,
    SecretUnavailable,
    UsageError,
)
from fetchd.settings import Server
from fetchd.values import replace
from tests.auth.at_provider import Consenting, asked, log_in, owner, stored
from tests.servers.oauth2 import Provider


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


def token(server: Server, before: str | None = None) -> str:
    return asyncio.run(access_token(server, os.environ, before))


def make_due(server: Server) -> None:
    """As if the hour were over."""
    store, now = store_of(server, os.environ), datetime.now(UTC)
    with store.locked(server):
        old = replace(stored(server), expires_at=now - timedelta(seconds=1))
        store.save(server, old)


def test_the_first_login_by_the_loopback_gives_a_token_that_renews(
    provider: Provider, tmp_path: Path
) -> None:
    server = owner(tmp_path, provider.oauth2())
    first = log_in(server, provider)
    assert first.refresh
    assert token(server) == first.access
    state = token_state(server)
    assert state is not None
    assert state.renews
    assert state.expires_at is not None
    assert timedelta(minutes=55) < state.expires_at - datetime.now(UTC) <= timedelta(hours=1)
    assert first.access not in repr(state) + repr(first)


def test_the_page_asks_for_pkce_the_user_and_the_scope(provider: Provider, tmp_path: Path) -> None:
    server, person = owner(tmp_path, provider.oauth2()), Consenting(provider)
    asyncio.run(by_code(client_of(server), asked(server), person))
    (url,) = person.visited
    for part in ("code_challenge_method=S256", "login_hint=me", "scope=mail", "state="):
        assert part in url
    assert b"can be closed" in person.page


def test_the_address_of_the_last_page_may_be_pasted(provider: Provider, tmp_path: Path) -> None:
    server, person = owner(tmp_path, provider.oauth2()), Consenting(provider, pastes=True)
    got = asyncio.run(by_code(client_of(server), asked(server), person, listen=False))
    assert got.refresh


def test_a_code_needs_the_verifier_of_the_login_that_asked_for_it(
    provider: Provider, tmp_path: Path
) -> None:
    """PKCE: a stolen code is of no use; the provider says so and we say it."""
    server = owner(tmp_path, provider.oauth2())
    other = Consenting(provider, pastes=True)

    class Mixed(Consenting):
        async def _paste(self) -> str:
            stolen = await asyncio.to_thread(
                provider.consent, other.visited[0]
            )  # the code of another login
            return stolen.partition("code=")[2].partition("&")[0]

    with pytest.raises(ConnectionFailed, match="nobody consented"):
        asyncio.run(by_code(client_of(server), asked(server), _Silent(other), patience=0.2))
    mixed = Mixed(provider, pastes=True)
    with pytest.raises(AuthenticationFailed, match="no token was given") as caught:
        asyncio.run(by_code(client_of(server), asked(server), mixed, listen=False))
    assert caught.value.advice == "Run: fetchd login work"


class _Silent(Consenting):
    """Looks at the page and does nothing."""

    def __init__(self, other: Consenting) -> None:
        self._other = other

    def visit(self, url: str, *, listening: bool) -> None:
        self._other.visited.append(url)

    def paste(self) -> None:
        return None


def test_the_device_flow_waits_for_the_person(provider: Provider, tmp_path: Path) -> None:
    server = owner(tmp_path, provider.public())
    assert log_in(server, provider, device=True).access == token(server)


def test_a_device_that_is_denied_gets_nothing(provider: Provider, tmp_path: Path) -> None:
    server, person = owner(tmp_path, provider.public()), Consenting(provider, action="deny")
    with pytest.raises(AuthenticationFailed, match="it was declined"):
        asyncio.run(by_device(client_of(server), asked(server), person))


def test_google_has_no_device_flow_for_mail(provider: Provider, tmp_path: Path) -> None:
    server = owner(tmp_path, {"provider": "google", "client_id": "x"})
    with pytest.raises(UsageError, match="no scope of Gmail"):
        asyncio.run(by_device(client_of(server), asked(server), Consenting(provider)))


def test_a_token_that_is_due_is_renewed_and_stored_before_use(
    provider: Provider, tmp_path: Path
) -> None:
    server = owner(tmp_path, provider.oauth2())
    first = log_in(server, provider)
    make_due(server)
    fresh = token(server)
    now = stored(server)
    assert fresh == now.access != first.access
    assert now.refresh != first.refresh  # the provider rotates
    assert now.granted_at == first.granted_at
    assert token(server) == fresh  # and no second one


def test_a_refused_token_is_renewed_once_however_many_ask(
    provider: Provider, tmp_path: Path
) -> None:
    server = owner(tmp_path, provider.oauth2())
    first = log_in(server, provider)

    async def main() -> list[str]:
        asking = [access_token(server, os.environ, first.access) for _ in range(8)]
        return await asyncio.gather(*asking)

    before = len(provider.requests("token"))
    got = asyncio.run(main())
    assert set(got) == {stored(server).access}
    assert first.access not in got
    assert len(provider.requests("token")) == before + 1


RENEW = """
import asyncio, json, os, sys
from pathlib import Path
from fetchd.auth.access import access_token
from tests.auth.at_provider import owner
given = json.loads(sys.argv[1])
server = owner(Path(given["folder"]), given["oauth2"])
print("ready", flush=True)
sys.stdin.readline()
print(asyncio.run(access_token(server, os.environ, given["before"])))
"""


def test_two_processes_that_refresh_at_once_end_with_one_working_token(
    provider: Provider, tmp_path: Path
) -> None:
    """With rotation and reuse protection the loser would end the login of both."""
    oauth2 = provider.oauth2()
    server = owner(tmp_path, oauth2)
    log_in(server, provider)
    for _ in range(3):
        before = stored(server).access
        given = json.dumps({"folder": str(tmp_path), "oauth2": oauth2, "before": before})
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RENEW, given],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for _ in range(2)
        ]  # fmt: skip
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        said = {racer.communicate(timeout=60)[0].strip() for racer in racers}
        assert said == {stored(server).access}
        assert before not in said
    make_due(server)
    assert token(server) == stored(server).access  # and it can still be renewed


def test_a_login_that_was_revoked_says_what_to_run(provider: Provider, tmp_path: Path) -> None:
    server = owner(tmp_path, provider.oauth2())
    log_in(server, provider)
    provider.revoke_everything()
    make_due(server)
    with pytest.raises(AuthenticationFailed, match="has expired or was revoked") as caught:
        token(server)
    assert caught.value.advice == "Run: fetchd login work"


def test_a_provider_that_is_down_is_waited_for(provider: Provider, tmp_path: Path) -> None:
    server = owner(tmp_path, provider.oauth2())
    log_in(server, provider)
    make_due(server)
    provider.stop()
    try:
        with pytest.raises(ConnectionFailed) as caught:
            token(server)
        assert caught.value.remedy is Remedy.WAIT
    finally:
        provider.start()
    assert token(server) == stored(server).access


def is_locked(file: Path) -> bool:
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_cancelled_refresh_still_stores_what_it_got(provider: Provider, tmp_path: Path) -> None:
    server = owner(tmp_path, provider.oauth2())
    log_in(server, provider)
    make_due(server)
    before = stored(server)

    async def main() -> None:
        work = asyncio.create_task(access_token(server, os.environ))
        lock = server.tokens.folder / f"{name_of(server)}.lock"
        while not await asyncio.to_thread(is_locked, lock):
            assert not work.done()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        with store_of(server, os.environ).locked(server):  # it is done when this is had
            assert stored(server).refresh != before.refresh

    asyncio.run(asyncio.wait_for(main(), 60))
    assert token(server) == stored(server).access


def test_logout_revokes_and_forgets(provider: Provider, tmp_path: Path) -> None:
    provider.revoke_everything()
    server = owner(tmp_path, provider.oauth2())
    log_in(server, provider)
    assert provider.living_refresh_tokens() == 1
    farewell = asyncio.run(give_back(server, os.environ))
    assert (farewell.held, farewell.revoked) == (True, True)
    assert provider.living_refresh_tokens() == 0
    with pytest.raises(SecretUnavailable, match="no token yet"):
        token(server)
    assert not asyncio.run(give_back(server, os.environ)).held


def test_a_wrong_client_secret_is_told_as_such(provider: Provider, tmp_path: Path) -> None:
    server = owner(tmp_path, provider.oauth2())
    log_in(server, provider)
    make_due(server)
    wrong = owner(tmp_path, provider.oauth2(client_secret="no"))
    with pytest.raises(AuthenticationFailed, match="invalid_client") as caught:
        token(wrong)
    assert "client_secret" in caught.value.advice


def test_a_refresh_token_is_shown_to_no_other_endpoint(provider: Provider, tmp_path: Path) -> None:
    log_in(owner(tmp_path, provider.oauth2()), provider)
    for change in ({"token_endpoint": "http://127.0.0.1:1/x"}, {"client_id": "another"}):
        with pytest.raises(SecretUnavailable, match="another client"):
            token(owner(tmp_path, provider.oauth2(**change)))
    moved = owner(tmp_path, provider.oauth2(), account={"username": "you"})
    with pytest.raises(SecretUnavailable, match="another username"):
        token(moved)


def test_an_endpoint_that_is_none_is_not_a_wrong_password(
    provider: Provider, tmp_path: Path
) -> None:
    there = owner(tmp_path, provider.oauth2(token_endpoint=provider.url("nothing-here")))
    with pytest.raises(RemoteProtocolError, match="status 404 and no JSON") as caught:
        asyncio.run(by_code(client_of(there), asked(there), Consenting(provider)))
    assert caught.value.remedy is Remedy.WAIT
