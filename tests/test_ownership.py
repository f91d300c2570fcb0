"""What root does with a data folder of somebody else: nothing, and says what to run."""

import os
import pwd
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fetchd.alerting.letters import instance_of
from fetchd.auth.token import Token
from fetchd.auth.tokens import TokenStore
from fetchd.catalog.database import Catalog
from fetchd.daemon.holder import ServiceLock
from fetchd.errors import SecretUnavailable, WrongUser
from fetchd.ownership import refuse_root
from fetchd.settings import Pop3Account, Tokens

SOMEBODY = 65534  # nobody's, which has a name everywhere
NAMELESS = 4_000_123


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another user's, as root sees it; who runs the tests may be root, or that other user."""
    made = tmp_path / "data"
    made.mkdir()
    if os.geteuid() == 0:
        os.chown(made, SOMEBODY, SOMEBODY)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return made


def owner(folder: Path) -> str:
    return pwd.getpwuid(folder.stat().st_uid).pw_name


def test_a_catalog_is_not_opened_for_writing(folder: Path) -> None:
    with pytest.raises(WrongUser, match=f"belongs to the user {owner(folder)}") as refused:
        Catalog(folder / "catalog.sqlite")
    assert refused.value.advice.startswith(f"Run: sudo -u {owner(folder)} fetchd …")
    assert list(folder.iterdir()) == []


def test_a_catalog_is_read_all_the_same(folder: Path) -> None:
    with Catalog(folder / "catalog.sqlite", read_only=True) as catalog:
        assert catalog.rows("SELECT count(*) FROM message") == [(0,)]
    assert list(folder.iterdir()) == []


def test_no_service_begins(folder: Path) -> None:
    with pytest.raises(WrongUser):
        ServiceLock(folder)
    assert list(folder.iterdir()) == []


def test_no_name_of_this_fetchd_is_made(folder: Path) -> None:
    with pytest.raises(WrongUser):
        instance_of(folder)
    assert list(folder.iterdir()) == []


def test_no_token_is_stored(folder: Path) -> None:
    account = Pop3Account.model_validate({
        "protocol": "pop3", "host": "pop.example.org", "username": "me", "password": "x",
    }).model_copy(update={"name": "work"})  # fmt: skip
    store = TokenStore(Tokens(folder=folder))
    now = datetime.now(UTC)
    with (
        pytest.raises(SecretUnavailable, match="belongs to the user") as refused,
        store.locked(account),
    ):
        store.save(account, Token("a", now, "client", "https://example.org/token", "me"))
    assert "sudo -u" in refused.value.advice
    assert list(folder.iterdir()) == []


def test_its_own_and_an_absent_folder_are_taken(tmp_path: Path) -> None:
    refuse_root(tmp_path)
    refuse_root(tmp_path / "absent")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_an_owner_without_a_name_is_told_by_number(tmp_path: Path) -> None:
    os.chown(tmp_path, NAMELESS, NAMELESS)
    with pytest.raises(WrongUser, match=f"the user id {NAMELESS}") as refused:
        refuse_root(tmp_path)
    assert f"setpriv --reuid {NAMELESS} --regid {NAMELESS}" in refused.value.advice
    os.chown(tmp_path, 0, 0)
