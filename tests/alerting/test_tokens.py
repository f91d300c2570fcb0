"""Which ends of tokens the owner must hear of, and how often they are read."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fetchd.alerting.tokens import EVERY, note_tokens
from fetchd.auth import tokens
from fetchd.auth.token import TokenState
from fetchd.catalog.database import Catalog
from fetchd.catalog.expiry import expiries
from fetchd.errors import SecretUnavailable
from fetchd.settings import Settings, load
from tests.alerting.sites import NOW

DAY = timedelta(days=1)
TABLES = """
[accounts.work]
protocol = "imap"
host = "imap.example.org"
username = "me@example.org"
[accounts.work.oauth2]
provider = "google"
client_id = "x"
[accounts.plain]
protocol = "imap"
host = "imap.example.org"
username = "me"
password = "open sesame"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "fetchd.toml"
    file.write_text(f'data_dir = "{tmp_path}/data"\n{TABLES}')
    file.chmod(0o600)
    return load(file, {})


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog(tmp_path / "data/catalog.sqlite") as opened:
        yield opened


def state(expires: datetime | None, refresh: datetime | None, *, renews: bool) -> TokenState:
    return TokenState(expires, refresh, NOW, NOW, renews)


@pytest.mark.parametrize(
    ("found", "end"),
    [
        (None, None),
        (state(NOW, None, renews=True), None),  # renewed for as long as nobody says otherwise
        (state(NOW, NOW + 7 * DAY, renews=True), NOW + 7 * DAY),
        (state(NOW + DAY, None, renews=False), NOW + DAY),
    ],
)
def test_what_ends_for_good_is_noted(
    settings: Settings,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
    found: TokenState | None,
    end: datetime | None,
) -> None:
    monkeypatch.setattr(tokens, "token_state", lambda _: found)
    note_tokens(settings, catalog, NOW)
    assert [(one.what, one.subject, one.at) for one in expiries(catalog)] == (
        [("token", "work", end)] if end else []
    )


def test_tokens_are_read_once_an_hour_whatever_the_clock_does(
    settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def locked(owner: object) -> None:
        read.append(str(owner))
        raise SecretUnavailable("no key")

    monkeypatch.setattr(tokens, "token_state", locked)
    for at, times in [(NOW, 1), (NOW + EVERY / 2, 1), (NOW + EVERY, 2), (NOW - DAY, 3)]:
        note_tokens(settings, catalog, at)
        assert len(read) == times
