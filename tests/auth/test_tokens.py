"""Where tokens lie: who may read them, what a key does, who holds the lock."""

import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fetchd.auth import tokens
from fetchd.auth.token import LONGEST, MARGIN, Token, token_from
from fetchd.auth.tokens import TokenStore, login_command, name_of, store_of, token_state
from fetchd.errors import AccountBusy, FetchdError, RemoteProtocolError, SecretUnavailable
from fetchd.settings import Server
from fetchd.values import replace
from tests.auth.at_provider import settings

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
TOKEN = Token(
    access="access-of-the-test", obtained_at=NOW, client="c", endpoint="https://x/token",
    username="me", refresh="refresh-of-the-test", expires_at=NOW + timedelta(hours=1),
)  # fmt: skip
OAUTH2 = {"provider": "google", "client_id": "c"}


def owner(folder: Path, **token_settings: Any) -> Server:
    return settings(folder, OAUTH2, tokens=token_settings).accounts["work"]


def save(server: Server, environ: dict[str, str] | None = None) -> TokenStore:
    store = store_of(server, environ or {})
    with store.locked(server):
        store.save(server, TOKEN)
    return store


def file_of(folder: Path) -> Path:
    return folder / "data" / "tokens" / "account-work.token"


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        save(owner(tmp_path))
    finally:
        os.umask(old)
    assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(file_of(tmp_path).parent.stat().st_mode) == 0o700
    assert [one.name for one in file_of(tmp_path).parent.glob("*.new")] == []


def test_a_folder_that_holds_other_things_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "somebody's").touch()
    server = settings(tmp_path, OAUTH2, tokens={"folder": str(shared)}).accounts["work"]
    shared.chmod(0o755)
    save(server)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
    shared.chmod(0o1777)
    with pytest.raises(SecretUnavailable, match="others may write to"):
        save(server)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777


def test_a_folder_that_is_open_is_closed(tmp_path: Path) -> None:
    file_of(tmp_path).parent.mkdir(parents=True, mode=0o755)
    save(owner(tmp_path))
    assert stat.S_IMODE(file_of(tmp_path).parent.stat().st_mode) == 0o700


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    server = owner(tmp_path)
    assert store_of(server, {}).load(server) is None
    assert token_state(server, {}) is None
    store = save(server)
    assert store.load(server) == TOKEN
    state = token_state(server, {})
    assert state is not None
    assert (state.expires_at, state.obtained_at, state.renews) == (
        TOKEN.expires_at, TOKEN.obtained_at, True,
    )  # fmt: skip
    assert store.forget(server)
    assert not store.forget(server)
    assert store.load(server) is None


def test_it_is_durable_before_save_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    save(owner(tmp_path))
    assert done == ["file", "rename", "folder"]


def test_what_is_left_of_one_who_died_while_writing_is_no_obstacle(tmp_path: Path) -> None:
    store = save(owner(tmp_path))
    (file_of(tmp_path).parent / "account-work.new").write_text("half")
    save(owner(tmp_path))
    assert store.load(owner(tmp_path)) == TOKEN


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    server, target = owner(tmp_path), tmp_path / "target"
    save(server)
    target.write_text("{}")
    file_of(tmp_path).unlink()
    file_of(tmp_path).symlink_to(target)
    with pytest.raises(SecretUnavailable, match="cannot be used"):
        store_of(server, {}).load(server)


def test_with_a_key_nothing_readable_lies_there(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("correct horse battery staple\n")
    key.chmod(0o600)
    server = owner(tmp_path, key_file=str(key))
    store = save(server)
    lying = file_of(tmp_path).read_bytes()
    for secret in (TOKEN.access, TOKEN.refresh, f'"{TOKEN.username}"', "staple"):
        assert secret.encode() not in lying
    assert store.load(server) == TOKEN
    assert "staple" not in repr(store)


@pytest.mark.parametrize(
    ("tables", "environ", "told"),
    [
        ({"key_env": "K"}, {"K": "another"}, "is not the one that it was encrypted with"),
        ({},               {},               r"it is encrypted, and \[tokens\] has no key"),
        ({"key_env": "K"}, {},               "K is not in the environment"),
        ({"key_env": "K"}, {"K": ""},        "key_env gave nothing"),
        ({"key_credential": "k"}, {},        "CREDENTIALS_DIRECTORY is not set"),
        ({"key_file": "/nonexistent"}, {},   "/nonexistent cannot be read"),
    ],
)  # fmt: skip
def test_a_key_that_does_not_fit_is_told(
    tmp_path: Path, tables: dict[str, str], environ: dict[str, str], told: str
) -> None:
    save(owner(tmp_path, key_env="K"), {"K": "the key"})
    server = owner(tmp_path, **tables)
    with pytest.raises(SecretUnavailable, match=told) as caught:
        store_of(server, environ).load(server)
    assert caught.value.advice
    assert TOKEN.refresh not in caught.value.whole


def test_a_new_login_is_how_a_key_is_changed(tmp_path: Path) -> None:
    save(owner(tmp_path, key_env="K"), {"K": "the old key"})
    server = owner(tmp_path, key_env="K")
    assert save(server, {"K": "the new key"}).load(server) == TOKEN


def test_the_token_of_one_account_does_not_serve_another(tmp_path: Path) -> None:
    """Whoever may write there but has no key could otherwise exchange the accounts."""
    save(owner(tmp_path, key_env="K"), {"K": "the key"})
    found = settings(
        tmp_path, OAUTH2, tokens={"key_env": "K"},
        destinations={"work": {
            "kind": "smtp", "host": "h", "username": "me", "oauth2": OAUTH2,
            "recipients": ["a@example.org"],
        }},
    )  # fmt: skip
    other = found.destinations["work"]
    assert isinstance(other, Server)
    assert login_command(other) == "fetchd login work --destination"
    assert store_of(other, {"K": "the key"}).load(other) is None
    there = file_of(tmp_path).parent / f"{name_of(other)}.token"
    there.write_bytes(file_of(tmp_path).read_bytes())
    with pytest.raises(SecretUnavailable, match="encrypted with"):
        store_of(other, {"K": "the key"}).load(other)


@pytest.mark.parametrize("text", ["", "{}", "not json", '{"access": 1}', "fetchd-sealed-1:???"])
def test_what_is_damaged_is_told(tmp_path: Path, text: str) -> None:
    server = owner(tmp_path, key_env="K")
    save(server, {"K": "k"})
    file_of(tmp_path).write_text(text)
    with pytest.raises(SecretUnavailable) as caught:
        store_of(server, {"K": "k"}).load(server)
    assert "fetchd login work" in caught.value.advice


def test_a_pipe_in_the_place_of_a_token_is_not_waited_for(tmp_path: Path) -> None:
    server = owner(tmp_path)
    save(server)
    file_of(tmp_path).unlink()
    os.mkfifo(file_of(tmp_path))
    with pytest.raises(SecretUnavailable, match="damaged"):
        store_of(server, {}).load(server)


def test_the_command_that_makes_a_token_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    odd = owner(tmp_path)
    odd._name = "it's me"
    assert login_command(odd) == """fetchd login 'it'"'"'s me'"""


def test_the_lock_is_waited_for_and_not_for_ever(tmp_path: Path) -> None:
    server = owner(tmp_path)
    store = store_of(server, {})
    with store.locked(server):
        with pytest.raises(AccountBusy, match="held the token"), store.locked(server, 0.2):
            pass
        got = threading.Event()

        def wait() -> None:
            with store.locked(server, 30):
                got.set()

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.wait(0.2)
    assert got.wait(30)
    waiting.join()


@pytest.mark.parametrize("name", ["..", "a/b", "ü" * 200, "x" * 300, "a b", "~", "new"])
def test_every_name_is_one_file_of_the_folder(tmp_path: Path, name: str) -> None:
    account = {"protocol": "imap", "host": "h", "username": "me", "oauth2": OAUTH2}
    found = settings(tmp_path, OAUTH2)
    found = type(found)(data_dir=tmp_path / "data", accounts={name: account})
    server = found.accounts[name]
    assert save(server).load(server) == TOKEN
    (there,) = (tmp_path / "data" / "tokens").glob("*.token")
    assert there.parent == tmp_path / "data" / "tokens"


class Ring:
    """As much of the package keyring as we ask for."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, name: str) -> str | None:
        self._open()
        return self.held.get((service, name))

    def set_password(self, service: str, name: str, text: str) -> None:
        self._open()
        self.held[service, name] = text

    def delete_password(self, service: str, name: str) -> None:
        del self.held[service, name]

    def _open(self) -> None:
        if self.locked:
            raise RingError


class RingError(Exception):
    pass


def test_the_keyring_holds_it_instead_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = Ring()
    modules = {"keyring": ring, "keyring.errors": SimpleNamespace(KeyringError=RingError)}
    monkeypatch.setattr(tokens, "import_module", modules.__getitem__)
    server = owner(tmp_path, store="keyring", key_env="K")
    store = save(server, {"K": "the key"})
    assert store.load(server) == TOKEN
    assert not list((tmp_path / "data").rglob("*.token"))
    (text,) = ring.held.values()
    assert TOKEN.refresh not in text
    ring.locked = True
    with pytest.raises(SecretUnavailable, match="keyring cannot be used"):
        store.load(server)
    ring.locked = False
    assert store.forget(server)
    assert not ring.held


# -- The token itself -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires", "now", "due"),
    [
        (timedelta(hours=1),    timedelta(),                 False),
        (timedelta(hours=1),    timedelta(minutes=54),       False),
        (timedelta(hours=1),    timedelta(minutes=55),       True),
        (timedelta(hours=1),    timedelta(days=9),           True),
        (timedelta(minutes=1),  timedelta(seconds=50),       False),  # a tenth of a short life
        (timedelta(minutes=1),  timedelta(seconds=54),       True),
        (None,                  timedelta(days=999),         False),  # the server will say
        (timedelta(hours=1),    -MARGIN + timedelta(seconds=1), False),  # clocks differ a little
        (timedelta(hours=1),    -timedelta(days=1),          True),   # the clock was set back
    ],
)  # fmt: skip
def test_when_a_token_is_due(expires: timedelta | None, now: timedelta, *, due: bool) -> None:
    ends = NOW + expires if expires is not None else None
    assert replace(TOKEN, expires_at=ends).is_due(NOW + now) is due


def made(answer: dict[str, Any], before: Token | None = None) -> Token:
    return token_from(answer, "x", client="c", endpoint="e", username="me", before=before)


@pytest.mark.parametrize("seconds", [3600, "3600", 3600.5])
def test_a_lifetime_may_be_a_number_or_text(seconds: object) -> None:
    token = made({"access_token": "a", "expires_in": seconds})
    assert token.expires_at is not None
    assert timedelta(seconds=3590) < token.expires_at - datetime.now(UTC) < timedelta(seconds=3602)


@pytest.mark.parametrize("seconds", [None, "soon", -1, 0, "nan", [], "inf"])
def test_a_lifetime_that_is_none_says_nothing(seconds: object) -> None:
    assert made({"access_token": "a", "expires_in": seconds}).expires_at is None


def test_a_lifetime_of_centuries_does_not_leave_the_calendar() -> None:
    token = made({"access_token": "a", "expires_in": 10**12})
    assert token.expires_at is not None
    assert token.expires_at <= datetime.now(UTC) + LONGEST


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"access_token": ""},
        {"access_token": 5},
        {"access_token": "a\r\nb"},
        {"access_token": "a b"},
        {"access_token": "a\x01b"},
        {"access_token": "x" * 20_000},
        {"access_token": "a", "token_type": "mac"},
    ],
)
def test_what_is_no_bearer_token_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(RemoteProtocolError, match="no bearer token"):
        made(answer)


def test_a_refresh_that_brings_no_new_refresh_token_keeps_the_old() -> None:
    assert made({"access_token": "a"}, TOKEN).refresh == TOKEN.refresh
    assert made({"access_token": "a", "refresh_token": "new"}, TOKEN).refresh == "new"


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FetchdError, match="No space left"):
        save(owner(tmp_path))
