"""Tokens at real servers: Dovecot and Postfix, which ask the authorization server themselves."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fetchd.auth.tokens import store_of
from fetchd.contracts import Carrier, Session
from fetchd.destinations import open_destination
from fetchd.errors import AuthenticationFailed, ConnectionFailed, ServerUnavailable
from fetchd.settings import Settings
from fetchd.sources import enter
from fetchd.values import replace
from tests.auth.at_provider import USER, log_in, settings, stored
from tests.lacking import lacking
from tests.servers.dovecot import Dovecot, dovecot_available
from tests.servers.oauth2 import MECHANISMS, Provider, dovecot_settings
from tests.servers.postfix import Postfix, postfix_available

MAIL = b"Subject: hello\r\nMessage-ID: <1@x>\r\n\r\nbody\r\n"
PLAIN = {"tls": "none", "allow_plaintext_auth": True}
PATIENCE = 60


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture(scope="module")
def dovecot(provider: Provider) -> Iterator[Dovecot]:
    if reason := dovecot_available():
        lacking(reason)
    asking = dovecot_settings(provider, provider.folder / "dovecot-oauth2.conf.ext")
    provider.folder.chmod(0o755)
    with Dovecot(mechanisms=MECHANISMS, extra=asking, hide=("NOTIFY",)) as server:
        server.add_user(USER, "a password that nobody here knows")
        server.fill(USER, [MAIL])
        yield server


@pytest.fixture(scope="module")
def postfix(provider: Provider) -> Iterator[Postfix]:
    if reason := postfix_available():
        lacking(reason)
    asking = dovecot_settings(provider, provider.folder / "doorman-oauth2.conf.ext")
    provider.folder.chmod(0o755)
    with Postfix(mechanisms=MECHANISMS, doorman=asking) as server:
        yield server


def account(dovecot: Dovecot, protocol: str = "imap", **more: Any) -> dict[str, Any]:
    port = dovecot.port.imap if protocol == "imap" else dovecot.port.pop3
    return {"protocol": protocol, "port": port, **PLAIN, **more}


@asynccontextmanager
async def entered(
    found: Settings, heard: dict[str, str], lines: list[str] | None = None
) -> AsyncIterator[Session]:
    said: list[str] = [] if lines is None else lines
    session = await enter(
        found.accounts["work"],
        Path(tempfile.gettempdir()),
        lambda way, line: said.append(f"{way}: {line}"),
        watch=heard.__setitem__,
    )
    try:
        yield session
    finally:
        await session.abort()


def count(found: Settings, lines: list[str] | None = None) -> tuple[str, int]:
    """How the login was done, and how many messages INBOX has."""
    heard: dict[str, str] = {}

    async def main() -> int:
        async with entered(found, heard, lines) as session:
            (inbox, *_) = await session.mailboxes()
            listing = await session.list(inbox)
            assert listing is not None
            return len(listing.messages)

    found_there = asyncio.run(asyncio.wait_for(main(), PATIENCE))
    return heard["login"], found_there


@pytest.mark.parametrize(
    ("protocol", "auth", "method"),
    [
        ("imap", "auto",        "XOAUTH2"),
        ("imap", "oauthbearer", "OAUTHBEARER"),
        ("pop3", "auto",        "XOAUTH2"),
        ("pop3", "oauthbearer", "OAUTHBEARER"),
    ],
)  # fmt: skip
def test_a_token_opens_the_account(
    provider: Provider, dovecot: Dovecot, tmp_path: Path, protocol: str, auth: str, method: str
) -> None:
    found = settings(tmp_path, provider.oauth2(), account=account(dovecot, protocol, auth=auth))
    token = log_in(found.accounts["work"], provider)
    lines: list[str] = []
    assert count(found, lines) == (method, 1)
    assert token.access not in "".join(lines)
    if protocol == "pop3":  # the token waits for the server's "+" (quirk 23)
        assert "C: ***" in lines


def test_sasl_ir_saves_the_round_trip_and_is_not_needed(
    provider: Provider, dovecot: Dovecot, tmp_path: Path
) -> None:
    found = settings(tmp_path, provider.oauth2(), account=account(dovecot))
    log_in(found.accounts["work"], provider)
    lines: list[str] = []
    assert count(found, lines) == ("XOAUTH2", 1)
    assert "C: ***" not in lines
    with Dovecot(
        mechanisms=MECHANISMS,
        extra=dovecot_settings(provider, provider.folder / "second.conf.ext"),
        hide=("SASL-IR",),
    ) as other:
        other.add_user(USER, "unknown")
        found = settings(tmp_path, provider.oauth2(), account=account(other))
        lines = []
        assert count(found, lines)[0] == "XOAUTH2"
        assert lines.count("C: ***") == 1


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_token_that_the_server_refuses_before_its_time_is_renewed(
    provider: Provider, dovecot: Dovecot, tmp_path: Path, protocol: str
) -> None:
    found = settings(tmp_path, provider.oauth2(), account=account(dovecot, protocol))
    first = log_in(found.accounts["work"], provider)
    provider.expire_access_tokens()
    assert count(found) == ("XOAUTH2", 1)
    assert stored(found.accounts["work"]).access != first.access


@pytest.mark.parametrize(
    ("protocol", "auth"),
    [("imap", "xoauth2"), ("imap", "oauthbearer"), ("pop3", "xoauth2"), ("pop3", "oauthbearer")],
)
def test_a_token_of_somebody_else_is_refused_with_the_servers_reason(
    provider: Provider, dovecot: Dovecot, tmp_path: Path, protocol: str, auth: str
) -> None:
    """The error challenge is answered, so that the server's last word comes and is told."""
    found = settings(tmp_path, provider.oauth2(), account=account(dovecot, protocol, auth=auth))
    owner = found.accounts["work"]
    log_in(owner, provider)
    stolen = settings(tmp_path / "other", provider.oauth2(), account={"username": "you"})
    other = log_in(stolen.accounts["work"], provider)
    store = store_of(owner, os.environ)
    with store.locked(owner):
        store.save(owner, replace(other, username=USER))
    with pytest.raises(AuthenticationFailed, match=r"refuses the login: .*status") as caught:
        count(found)
    assert "fetchd login" in caught.value.advice
    assert "app password" not in caught.value.advice


def test_a_revoked_login_says_what_to_run(
    provider: Provider, dovecot: Dovecot, tmp_path: Path
) -> None:
    found = settings(tmp_path, provider.oauth2(), account=account(dovecot))
    log_in(found.accounts["work"], provider)
    provider.revoke_everything()
    with pytest.raises(AuthenticationFailed, match="expired or was revoked") as caught:
        count(found)
    assert caught.value.advice == "Run: fetchd login work"


def test_a_provider_that_is_down_is_no_wrong_password(
    provider: Provider, dovecot: Dovecot, tmp_path: Path
) -> None:
    found = settings(tmp_path, provider.oauth2(), account=account(dovecot))
    owner = found.accounts["work"]
    token = log_in(owner, provider)
    store = store_of(owner, os.environ)
    with store.locked(owner):
        store.save(owner, replace(token, expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    provider.stop()
    try:
        with pytest.raises((ConnectionFailed, ServerUnavailable)):
            count(found)
    finally:
        provider.start()
    assert count(found) == ("XOAUTH2", 1)


# -- Destinations ----------------------------------------------------------------------


def probed(found: Settings, name: str) -> dict[str, str]:
    carrier = open_destination(found.destinations[name], "test")
    assert isinstance(carrier, Carrier)
    heard: dict[str, str] = {}
    asyncio.run(asyncio.wait_for(carrier.probe(heard.__setitem__), PATIENCE))
    return heard


def submission(postfix: Postfix, provider: Provider, **more: Any) -> dict[str, Any]:
    return {
        "kind": "smtp", "host": postfix.host, "port": postfix.submission_port,
        "tls": "starttls", "ca_file": str(postfix.ca_file), "username": USER,
        "oauth2": provider.oauth2(), "recipients": [f"bob@{postfix.domain}"], **more,
    }  # fmt: skip


@pytest.mark.parametrize(("auth", "method"), [("auto", "XOAUTH2"), ("oauthbearer", "OAUTHBEARER")])
def test_a_token_opens_the_submission(
    provider: Provider, postfix: Postfix, tmp_path: Path, auth: str, method: str
) -> None:
    postfix.add_user("bob")
    relay = submission(postfix, provider, auth=auth)
    found = settings(tmp_path, provider.oauth2(), destinations={"relay": relay})
    first = log_in(found.destinations["relay"], provider)  # type: ignore[arg-type]
    assert probed(found, "relay")["login"] == method
    provider.expire_access_tokens()
    assert probed(found, "relay")["login"] == method
    assert stored(found.destinations["relay"]).access != first.access  # type: ignore[arg-type]


def test_a_submission_that_is_refused_tells_the_servers_reason(
    provider: Provider, postfix: Postfix, tmp_path: Path
) -> None:
    postfix.add_user("bob")
    relay = submission(postfix, provider, username="you")
    found = settings(tmp_path, provider.oauth2(), destinations={"relay": relay})
    owner = found.destinations["relay"]
    mine = submission(postfix, provider)
    other = settings(tmp_path / "other", provider.oauth2(), destinations={"relay": mine})
    token = log_in(other.destinations["relay"], provider)  # type: ignore[arg-type]
    store = store_of(owner, os.environ)  # type: ignore[arg-type]
    with store.locked(owner):  # type: ignore[arg-type]
        store.save(owner, replace(token, username="you"))  # type: ignore[arg-type]
    with pytest.raises(AuthenticationFailed, match=r"refuses the login: 535 .*status"):
        probed(found, "relay")


def test_a_token_opens_an_imap_destination(
    provider: Provider, dovecot: Dovecot, tmp_path: Path
) -> None:
    there = {
        "kind": "imap", "host": "127.0.0.1", "port": dovecot.port.imap, **PLAIN,
        "username": USER, "oauth2": provider.oauth2(),
    }  # fmt: skip
    found = settings(tmp_path, provider.oauth2(), destinations={"there": there})
    log_in(found.destinations["there"], provider)  # type: ignore[arg-type]
    provider.expire_access_tokens()
    assert probed(found, "there")["login"] == "XOAUTH2"


# -- While it waits ----------------------------------------------------------------------


def toml(value: Any) -> str:
    """JSON, but for tables within a line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


def test_a_token_that_ends_during_idle_is_renewed_when_the_watch_comes_back(
    provider: Provider, dovecot: Dovecot, tmp_path: Path
) -> None:
    dovecot.add_user("idle", "unknown")
    work = account(dovecot, host="127.0.0.1", username="idle", oauth2=provider.oauth2())
    file = tmp_path / "fetchd.toml"
    lines = [f"{key} = {toml(value)}" for key, value in work.items()]
    file.write_text(
        f"data_dir = {json.dumps(str(tmp_path / 'data'))}\n[accounts.work]\n" + "\n".join(lines)
    )
    file.chmod(0o600)
    found = settings(tmp_path, provider.oauth2(), account=work)
    first = log_in(found.accounts["work"], provider)
    command = [sys.executable, "-m", "fetchd", "--config", str(file), "watch", "work", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            said = json.loads(process.stdout.readline())
            assert (said["what"], said["how"]) == ("watching", "idle")
            provider.expire_access_tokens()
            dovecot.fill("idle", [MAIL], part="new")
            dovecot.kick("idle")
            heard = []
            while "new" not in heard:
                said = json.loads(process.stdout.readline())
                assert "error" not in said, said
                heard.append(said["what"])
            assert stored(found.accounts["work"]).access != first.access
            provider.revoke_everything()
            dovecot.kick("idle")
            while "error" not in said:
                said = json.loads(process.stdout.readline())
            assert "expired or was revoked" in said["error"]["sentence"]
            assert said["error"]["advice"] == "Run: fetchd login work"
            assert process.wait(PATIENCE) == 1
        finally:
            process.kill()
